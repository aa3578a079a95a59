"""A CRM behind HTTP, and an agent whose good bundle serves, on a store of its own."""

import shutil
from dataclasses import dataclass

import httpx
import pytest

from examples.support_agent import agent, http, shop
from examples.support_agent.crm.books import Books
from examples.support_agent.crm.server import serving
from examples.support_agent.crm.service import Service
from examples.support_agent.tickets import case
from lastgood.store.engine import upgrade


@pytest.fixture
def books():
    found = Books()
    yield found
    found.close()


@pytest.fixture
def crm(books, monkeypatch):
    """A CRM on loopback, the one that SUPPORT_CRM_URL names."""
    with serving(books) as server:
        monkeypatch.setenv(http.URL, server.url)
        yield server


@pytest.fixture
def client(crm):
    with httpx.Client(base_url=crm.url, trust_env=False, timeout=10) as found:
        yield found


@dataclass
class Desk:
    """A shop whose baseline is one of the bundles."""

    shop: shop.Shop

    def serve(self, ticket_id):
        """Serve one ticket; its case and the run."""
        found = case(ticket_id)
        with http.through(http.InProcess(Service(self.shop.books))):
            self.shop.traffic.load(found)
            return found, agent.serve(found.ticket, found.risk, start=self.shop.traffic.start)

    def rows(self, query, **values):
        with self.shop.store.reading() as txn:
            return [dict(row) for row in txn.all(query, **values)]

    def outcome(self, run):
        return self.rows("SELECT * FROM outcome WHERE run_id = :id", id=run.id)[0]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """An empty store to copy."""
    path = tmp_path_factory.mktemp("support") / "lastgood.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def desk_of(tmp_path, migrated):
    """Desks by the name of the bundle that serves."""
    made = []

    def make(name="good"):
        place = tmp_path / name
        place.mkdir()
        shutil.copy(migrated, place / "lastgood.db")
        made.append(Desk(shop.opened(place, seed=1, baseline=name)))
        return made[-1]

    yield make
    for each in made:
        each.shop.close()


@pytest.fixture
def desk(desk_of):
    return desk_of()
