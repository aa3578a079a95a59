"""What a team says once about an agent: its owner, where people are told, how it is replayed and undone.

No part of any bundle and of any policy: it may change while a release is live. `config.profile` reads what
people write; here it is read back, light enough for an agent's process.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood.errors import CorruptRow, InvalidProfile
from lastgood.scanning import scan_json
from lastgood.store import telling
from lastgood.store.connection import Row, Transaction

#: microseconds for which a notice that no route takes waits for one
REROUTED_US = 24 * 3_600_000_000


@dataclass(frozen=True, slots=True)
class Route:
    """One way to tell people, and what goes there."""

    #: what a delivery is recorded under; unique in a profile
    name: str
    #: the transport: `slack`, `webhook`, `email` or `prefect`
    to: str
    #: levels that go there, `page` and `inform`
    levels: tuple[str, ...]
    #: kinds of notices that go there; empty: every kind
    kinds: tuple[str, ...]
    #: environments whose notices go there; empty: all
    environments: tuple[str, ...]
    #: microseconds for which a delivery is tried again
    retry_for_us: int
    #: the transport's own settings by name; a secret is a reference (`lastgood.secret`)
    settings: Mapping[str, str]

    def takes(self, environment: str, kind: str, level: str) -> bool:
        """Whether a notice goes there."""
        wanted = not self.kinds or kind in self.kinds
        here = not self.environments or environment in self.environments
        return level in self.levels and wanted and here


@dataclass(frozen=True, slots=True)
class Profile:
    """An agent's profile; every field is empty where none is registered."""

    agent: str
    #: who answers for the agent
    owner: str = ""
    routes: tuple[Route, ...] = ()
    #: what replays a run: `package.module:function` or a URL
    replay: str = ""
    #: what undoes each kind of action: a call, or a map of `call` and `in_doubt` (`undo` or `list`)
    undo: Mapping[str, Any] = field(default_factory=dict)
    #: what the watch asks beside the runs, by name
    signals: Mapping[str, Any] = field(default_factory=dict)
    #: sha256 of the stored text; empty where none is registered
    digest: str = ""


def find(txn: Transaction, agent: str) -> Row | None:
    """Return an agent's stored profile; None where none is registered."""
    return txn.one(telling.PROFILE, agent=agent)


def read(txn: Transaction, agent: str) -> Profile:
    """Return an agent's profile, an empty one where none is registered; raises `CorruptRow`."""
    row = find(txn, agent)
    return Profile(agent) if row is None else from_row(row)


def from_row(row: Row) -> Profile:
    """Build the profile of a stored row; raises `CorruptRow` when its text does not match its digest."""
    agent = row["agent"]
    try:
        if digest_of(row["body"]) != row["digest"]:
            raise ValueError("it does not match its digest")
        raw: dict[str, Any] = json.loads(row["body"])
        if raw["agent"] != agent:
            raise ValueError(f"it is {raw['agent']}'s")
        return Profile(
            agent=agent,
            owner=raw["owner"],
            routes=tuple(_route(each) for each in raw["routes"]),
            replay=raw["replay"],
            undo=raw["undo"],
            signals=raw["signals"],
            digest=row["digest"],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = f"the profile of {agent} can't be read ({error}); set it again with `lastgood agent set FILE`"
        raise CorruptRow(msg) from error


def _route(raw: dict[str, Any]) -> Route:
    lists = {name: tuple(raw[name]) for name in ("levels", "kinds", "environments")}
    return Route(raw["name"], raw["to"], **lists, retry_for_us=raw["retry_for_us"], settings=raw["settings"])


def digest_of(body: str) -> str:
    """Sha256 of a profile's text, 64 hex digits."""
    return hashlib.sha256(body.encode()).hexdigest()


def store_body(txn: Transaction, agent: str, body: str, *, actor: str) -> bool:
    """Register a profile's canonical JSON (`config.profile` writes it); return whether it changed anything.

    What no route of the old one took is routed anew (`lastgood.outbox.route_new`). Raises `InvalidProfile`
    for one that holds what looks like a secret.
    """
    scan_json("a profile", body, InvalidProfile)
    found = find(txn, agent)
    digest = digest_of(body)
    if found is not None and found["digest"] == digest and found["body"] == body:
        return False
    values = {"agent": agent, "body": body, "digest": digest, "changed_us": txn.now_us, "actor": actor}
    txn.run(telling.SET_PROFILE, **values)
    txn.run(telling.REROUTE, agent=agent, since_us=txn.now_us - REROUTED_US)
    return True
