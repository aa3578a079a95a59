"""The tour: the two rules of the domain with fixed arguments, so that every situation is reached each time."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from afterwards import AFTER
from bench import Plan
from core import HOUR, SECOND
from machine import TERMS

_FINE: dict[str, Any] = {"completed": True, "latency_s": 0.25, "cost_usd": 0.25}
_BAD: dict[str, Any] = {"completed": False, "latency_s": 0.25}


def _members(outcome: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(n % 2, f"u{n}", "faq", None, "message", outcome) for n in range(1, 7)]


def _stories() -> Iterator[Callable[[Any], None]]:
    yield from (_rest, _bad, _crashes)
    for place, terms in enumerate(TERMS):
        for then in AFTER:
            yield partial(_burst, then=then, terms=terms)
        for by in ("hand", "evidence", "event", "rollback"):
            yield partial(_storm, by=by, terms=terms, cut=place == 0)
    yield from (_unserved, _orphaned)


def tour(made: type[Any]) -> None:
    """Walk one machine for each of the terms through everything that may follow a canary or a revert."""
    for story in _stories():
        _walk(made, story)


def _walk(made: type[Any], steps: Any) -> None:
    walked = made()
    try:
        steps(walked)
    finally:
        walked.teardown()


def _burst(m: Any, then: str, terms: Any) -> None:
    for outcome in (_FINE, _BAD):
        m.burst(
            actor=0, bundle=1, terms=terms, share_bp=5_000, members=_members(outcome), asks=False, then=then
        )


def _storm(m: Any, by: str, terms: Any, cut: bool) -> None:
    m.storm(
        actor=0, bundle=1, terms=terms, far=True, cut=cut, plan=None, asks=True, opens=True, by=by, after=0
    )


def _rest(m: Any) -> None:
    """What the two rules leave out, one after another."""
    m.start(actor=0, bundle=1, terms=TERMS[1], plan=Plan("statement", 3, True))
    m.start(actor=0, bundle=1, terms=TERMS[1], plan=Plan("committed", 0, True))
    m.share(actor=0, which=0, share_bp=10_000, lease_us=HOUR, plan=None)
    m.share(actor=1, which=1, share_bp=10_000, lease_us=HOUR, plan=None)
    m.begin(actor=0, unit="u1", risk=None, task_type="faq", conversation="c1", plan=None)
    m.begin(actor=0, unit="u2", risk=None, task_type="faq", conversation="c1", plan=None)
    for end in ("open", "done"):
        m.act(actor=0, number=0, kind="message", key="k1", end=end, plan=None)
    for _ in range(2):
        m.act(actor=0, number=0, kind="message", key="k2", end="done", plan=None)
    m.late(actor=0, number=0, given={"operator_edits": 3}, key="k1", token="forged", plan=None)
    m.late(actor=0, number=0, given={"operator_edits": 3}, key="k1", token="right", plan=None)
    m.end(actor=0, reports=[(0, _FINE), (0, _FINE)], token="right", plan=None)
    m.look(actor=0, which=0, kind="harm", runs=1, plan=None)
    m.promote(actor=0, which=0, held=False, plan=None)
    m.start(actor=0, bundle=1, terms=TERMS[1], plan=None)
    m.set_clock(us=HOUR)
    for what in ("ledger", "bundle", "point"):
        for number in range(5):
            m.tamper(what=what, number=number)


def _bad(m: Any) -> None:
    """Runs that end badly, reported without their token and then with it."""
    m.start(actor=0, bundle=1, terms=TERMS[1], plan=None)
    m.share(actor=0, which=0, share_bp=10_000, lease_us=HOUR, plan=None)
    for number in range(6):
        m.begin(actor=0, unit=f"u{number}", risk=None, task_type="faq", conversation=None, plan=None)
    for token in ("missing", "forged", "crossed", "expired", "right"):
        m.end(actor=0, reports=[(number, _BAD) for number in range(6)], token=token, plan=None)


def _unserved(m: Any) -> None:
    """A release may be reverted before it serves anybody, and none starts while the kill switch is on."""
    m.start(actor=0, bundle=1, terms=TERMS[1], plan=None)
    m.revert(actor=1, which=0, by="hand", held=True, plan=None)
    for what in ("kill", "clear"):
        m.switch(actor=0, what=what, plan=None)
        m.start(actor=1, bundle=2, terms=TERMS[1], plan=None)
    m.rollback(actor=1, to=-1, vouched=False, plan=None)
    for how in ("nothing", "case", "case", "reason"):
        m.learn(actor=0, number=0, how=how, plan=None)
    m.start(actor=0, bundle=2, terms=TERMS[1], plan=None)
    m.rollback(actor=1, to=-1, vouched=False, plan=None)
    for plan in (Plan("statement", 2, True), Plan("committed", 0, True)):
        m.learn(actor=1, number=1, how="reason", plan=plan)


def _orphaned(m: Any) -> None:
    """A writer dies over its epoch word; time passes, and somebody settles it."""
    m.start(actor=0, bundle=1, terms=TERMS[1], plan=None)
    m.share(actor=0, which=0, share_bp=5_000, lease_us=HOUR, plan=Plan("commit", 0, True))
    for _ in range(5):
        m.wait(us=SECOND)


def _crashes(m: Any) -> None:
    """Every kind of move, with a crash at each of its statements in turn, until it is through."""
    m.begin(actor=0, unit="u1", risk=None, task_type="faq", conversation=None, plan=None)
    for nth in range(18):
        plan = Plan("statement", nth, nth % 2 == 1)
        m.start(actor=0, bundle=1, terms=TERMS[1], plan=plan)
        m.share(actor=0, which=0, share_bp=10_000, lease_us=HOUR, plan=plan)
        m.begin(actor=0, unit="u1", risk=None, task_type="faq", conversation=None, plan=plan)
        m.act(actor=0, number=0, kind="message", key=None, end="done", plan=plan)
        m.end(actor=0, reports=[(0, _FINE)], token="right", plan=plan)
    for dies in (False, True):
        plan = Plan("committed", 0, dies)
        m.begin(actor=0, unit="u2", risk=None, task_type="faq", conversation=None, plan=None)
        m.act(actor=0, number=0, kind="message", key="k1", end="done", plan=plan)
        m.end(actor=0, reports=[(0, _FINE)], token="none", plan=plan)
        m.event(actor=0, number=0, name="data_leak", token="none", plan=plan)


#: examples that the tour takes
STORIES = len(list(_stories()))
