"""The drill: a release is opened, switched back in one step and timed, on a shadow control point.

The shadow is a store of its own in a temporary folder, with these two bundles and nothing else, so that the
live control point, its ledger and its notices are never touched.
"""

import atexit
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from lastgood import control, registry, releasing
from lastgood.assigning import Request, assign
from lastgood.bundle import Bundle
from lastgood.caps import Caps
from lastgood.decision import CANDIDATE
from lastgood.errors import LastgoodError
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState, Terms
from lastgood.releasing import Stage, Start
from lastgood.snapshot import Serving
from lastgood.store.connection import Store

#: units that ask for a bundle before and after the switch
UNITS = 40
#: share of the shadow's canary, basis points, and its lease
_SHARE_BP, _LEASE_US = 5_000, 600_000_000
#: seconds for which a drill of the same two bundles is not made again
_FRESH_S = 600.0
_ACTOR = "readiness drill"
#: no ceiling at all
UNCAPPED = Caps(None, None, None, (), ())


@dataclass(frozen=True, slots=True)
class Drilled:
    """How a drill went."""

    #: milliseconds that the switch back took
    took_ms: float
    #: units that met the candidate before it, and after it
    before: int
    after: int
    #: why it could not be made; empty where it was
    failed: str = ""

    @property
    def well(self) -> bool:
        """Whether the candidate served before and nobody after."""
        return not self.failed and self.before > 0 and self.after == 0


_done: dict[tuple[str, str, Terms], tuple[float, Drilled]] = {}


def drill(agent: str, baseline: Bundle, candidate: Bundle, terms: Terms) -> Drilled:
    """Switch a shadow of these two bundles back, for real; a drill of a moment ago stands."""
    terms = replace(terms, caps=UNCAPPED)  # a ceiling that is reached would look like a switch
    key = (baseline.id, candidate.id, terms)
    known = _done.get(key)
    if known is not None and time.monotonic() - known[0] < _FRESH_S:
        return known[1]
    found = _tried(agent, baseline, candidate, terms)
    _done[key] = (time.monotonic(), found)
    return found


def _tried(agent: str, baseline: Bundle, candidate: Bundle, terms: Terms) -> Drilled:
    try:
        with tempfile.TemporaryDirectory(prefix="lastgood-drill-") as folder:
            path = shutil.copy(_template(), Path(folder) / "shadow.db")
            store = Store(f"sqlite:///{path}")
            try:
                return _made(store, agent, baseline, candidate, terms)
            finally:
                store.close()
    except (LastgoodError, OSError) as error:
        return Drilled(0.0, 0, 0, str(error))


@cache
def _template() -> Path:
    """A migrated, empty store, made once a process."""
    from lastgood.store.engine import upgrade  # Alembic and SQLModel: half a second of each start, else

    folder = Path(tempfile.mkdtemp(prefix="lastgood-drill-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


def _made(store: Store, agent: str, baseline: Bundle, candidate: Bundle, terms: Terms) -> Drilled:
    for bundle in (baseline, candidate):
        registry.register(store, agent, bundle, author=_ACTOR)
    control.adopt(store, agent, "drill", baseline.id, actor=_ACTOR, reason="a drill")
    release_id = releasing.start(
        store, Start(agent, "drill", candidate.id, "drill", "", "{}", "{}", terms, _ACTOR)
    )
    with store.reading() as txn:
        row = txn.one("SELECT epoch, driver_term FROM control_point")
        assert row is not None  # noqa: S101  it was adopted above
        expect = Expect(row["epoch"], row["driver_term"])
    releasing.set_share(
        store, release_id, Stage("canary:0", ReleaseState.CANARY, 0), share_bp=_SHARE_BP,
        lease_us=_LEASE_US, entry=Entry("share", _ACTOR, "a drill", release_id), expect=expect,
    )  # fmt: skip
    runtimes = baseline.runtimes | candidate.runtimes  # the drill is of the switch, not of this host
    serving = Serving(store, agent, "drill", runtimes=runtimes)
    before = _met(serving, terms, 0)
    began = time.perf_counter()
    control.rollback(store, agent, "drill", actor=_ACTOR, reason="a drill")
    took_ms = (time.perf_counter() - began) * 1_000
    return Drilled(took_ms, before, _met(serving, terms, UNITS))


def _met(serving: Serving, terms: Terms, first: int) -> int:
    """How many new units meet the candidate."""
    asked = (
        Request(f"unit-{n}", "drill", terms.eligible_risks[0], None, tools=())
        for n in range(first, first + UNITS)
    )
    return sum(assign(serving, request).decision.arm == CANDIDATE for request in asked)


__all__ = ["UNITS", "Drilled", "drill"]
