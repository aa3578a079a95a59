"""Rehearsals: an agent's own code on a given bundle, served from fixtures, with every effect denied.

    with rehearse(Rehearsal("support", bundle, fixtures)) as held:
        output = replay(inputs)
    held.log

Inside, `lastgood.run` gives a run on that bundle which writes to no store; `run.tool` and the clients of
`lastgood.outbound` are answered from the fixtures; an external effect is noted in the log and not done.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lastgood import outside
from lastgood.bundle import Bundle
from lastgood.errors import CapReached, Denied, MissingFixture
from lastgood.fixtures import MAX_ANSWER, SAFE, Asked, Fixture, Fixtures, HttpFixture, ToolFixture, bytes_of
from lastgood.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Access:
    """What a rehearsal may reach beside its fixtures; hosts as `api.example.com` or `127.0.0.1:8080`."""

    #: hosts that are called for real: those of model vendors
    live: frozenset[str] = frozenset()
    #: whether what has no fixture yet is read for real, and recorded
    record: bool = False
    #: hosts where recording may send anything: a sandbox's, or a model vendor's
    sandbox: frozenset[str] = frozenset()

    def is_live(self, url: str) -> bool:
        """Whether a URL's host is called for real."""
        return _among(url, self.live)

    def may_record(self, asked: Asked) -> bool:
        """Whether a request without a fixture is made for real, and recorded."""
        return self.record and (asked.method in SAFE or _among(asked.url, self.sandbox))


def _among(url: str, hosts: frozenset[str]) -> bool:
    parts = urlsplit(url)
    return parts.netloc in hosts or (parts.hostname or "") in hosts


class Purse:
    """A ceiling in US dollars over every model call of some rehearsals, in any thread."""

    def __init__(self, ceiling_usd: float) -> None:
        #: US dollars
        self.ceiling_usd, self.spent_usd = ceiling_usd, 0.0
        self._lock = threading.Lock()

    def spend(self, usd: float) -> None:
        """Count what a call cost."""
        with self._lock:
            self.spent_usd += usd

    def check(self, what: str) -> None:
        """Raise `CapReached` where nothing is left."""
        if self.spent_usd >= self.ceiling_usd:
            msg = (
                f"{what} is refused: the rehearsals spent ${self.spent_usd:.2f} of ${self.ceiling_usd:.2f}; "
                "raise the ceiling, or record fixtures and replay from them"
            )
            raise CapReached(msg, cap="rehearsal_usd", level=self.ceiling_usd, used=self.spent_usd)


@dataclass(frozen=True, slots=True)
class Act:
    """An external effect that the agent wanted, and that was not done."""

    kind: str
    target: str = ""
    #: the declared tool; None for `run.action`
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Log:
    """What happened in a rehearsal."""

    #: outcome of every run that ended
    outcomes: list[Outcome] = field(default_factory=list)
    actions: list[Act] = field(default_factory=list)
    #: named events with their details
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    #: calls that no fixture answers, in words
    missing: list[str] = field(default_factory=list)
    #: what was denied, in words
    denied: list[str] = field(default_factory=list)
    #: answers that were recorded
    recorded: list[Fixture] = field(default_factory=list)


@dataclass(slots=True)
class Inside:
    """A tool whose code runs."""

    tool: str
    #: whether its calls have an external effect
    effect: bool
    #: whether it reached outside other than through `lastgood.outbound`
    reached: bool = False


_inside: ContextVar[Inside | None] = ContextVar("lastgood_inside", default=None)
_passing: ContextVar[bool] = ContextVar("lastgood_passing", default=False)


@dataclass(eq=False)
class Rehearsal:
    """One rehearsal: a bundle, what answers, and what was noted."""

    agent: str
    bundle: Bundle
    fixtures: Fixtures = field(default_factory=Fixtures)
    access: Access = field(default_factory=Access)
    purse: Purse | None = None
    log: Log = field(default_factory=Log)
    #: runs by id: a suspended one is resumed
    runs: dict[str, Any] = field(default_factory=dict)
    _begun: int = 0
    _turns: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _flying: int = 0

    def next_id(self) -> str:
        """Return the id of the next run: the same in every rehearsal, so that recorded requests match."""
        with self._lock:
            self._begun += 1
            return f"run_rehearsed{self._begun}"

    def tool(self, name: str, arguments: Mapping[str, Any], *, effect: bool) -> ToolFixture | None:
        """Return what this call of a tool answers, None where no call of this tool is recorded.

        Raises `MissingFixture` for a read of which calls with other arguments alone are.
        """
        if name not in self.fixtures.tools:
            return None
        found = self.fixtures.for_tool(name, arguments)
        if not found and (effect or self.access.record):
            return None
        if not found:
            raise self.missing(f"the tool {name} with {_short(arguments)}")
        return found[self._turn(f"{name} {found[0].to_json()['arguments']}", len(found))]

    def http(self, asked: Asked) -> HttpFixture | None:
        """Return what answers a request; None where it may be made for real.

        Raises `MissingFixture`, `Denied`, and `CapReached` where the ceiling leaves nothing.
        """
        found = self.fixtures.for_http(asked)
        if found:
            return found[self._turn(f"{found[0].asked}", len(found))]
        if self.access.is_live(asked.url) or self.access.may_record(asked):
            if self.purse is not None:
                self.purse.check(asked.name)
            return None
        if asked.method in SAFE:
            raise self.missing(asked.name)
        raise self.deny(f"{asked.name} is no read, and its answer is not recorded")

    def note(self, asked: Asked, answered: HttpFixture) -> None:
        """Record what was answered for real."""
        if not self.access.record or self.access.is_live(asked.url):
            return
        size = len(bytes_of(answered.answer))
        if size > MAX_ANSWER:
            raise self.deny(f"the answer to {asked.name} has {size:,} bytes, {MAX_ANSWER:,} are recorded")
        self.log.recorded.append(answered)

    def _turn(self, key: str, number: int) -> int:
        """The place among equal calls: in order, and the last one again."""
        with self._lock:
            turn = self._turns.get(key, 0)
            self._turns[key] = turn + 1
        return min(turn, number - 1)

    def missing(self, what: str) -> MissingFixture:
        """Note a call that no fixture answers; return the error to raise."""
        self.log.missing.append(what)
        return MissingFixture(
            f"no recorded answer to {what}: record the case anew with `lastgood cases record`, or add a "
            "fixture to it by hand"
        )

    def deny(self, what: str) -> Denied:
        """Note what is denied; return the error to raise."""
        self.log.denied.append(what)
        return Denied(f"denied in a rehearsal: {what}; nothing was sent")

    def reach(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Decide on a socket or subprocess: for real calls, and for reading tools while recording."""
        if _passing.get() or (event in outside.LOOKUPS and self._flying):
            return
        inside = _inside.get()
        if self.access.record and inside is not None and not inside.effect:
            inside.reached = True
            return
        if inside is not None and not inside.effect:
            raise self.missing(f"the tool {inside.tool}, which reaches outside by itself ({event})")
        where = f"{event} {_short(arguments[-1] if arguments else '')}"
        raise self.deny(
            f"{where}: reach outside through a tool (`run.tool`) or a client of `lastgood.outbound`"
        )

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Let what is called inside reach outside."""
        token = _passing.set(True)
        with self._lock:
            self._flying += 1
        try:
            yield
        finally:
            _passing.reset(token)
            with self._lock:
                self._flying -= 1


@contextmanager
def inside(tool: Inside) -> Iterator[Inside]:
    """Name the tool whose code is run."""
    token = _inside.set(tool)
    try:
        yield tool
    finally:
        _inside.reset(token)


def inside_tool() -> str | None:
    """Return the name of the tool whose code runs, None outside of any."""
    found = _inside.get()
    return None if found is None else found.tool


@contextmanager
def rehearse(rehearsal: Rehearsal) -> Iterator[Rehearsal]:
    """Hold a rehearsal for the code that is called inside."""
    with outside.guarded(rehearsal):
        yield rehearsal


def current() -> Rehearsal | None:
    """Return the rehearsal that the calling code is in, None in service."""
    found: Rehearsal | None = outside.current()
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
