"""The tour: the two rules of the domain with fixed arguments, so that every situation is reached each time."""

from typing import Any

from machine import HOUR, TERMS

_FINE: dict[str, Any] = {"completed": True, "latency_s": 0.25, "cost_usd": 0.25}
_BAD: dict[str, Any] = {"completed": False, "latency_s": 0.25}
_THEN = ("kill", "promote", "lapse", "watch", "stale", "late", "alarm", "ramp", "back", "vouch", "harm")


def _members(outcome: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(n % 2, f"u{n}", "faq", None, "message", outcome) for n in range(1, 7)]


def tour(made: type[Any]) -> None:
    """Walk one machine for each of the terms through everything that may follow a canary or a revert."""
    for place, terms in enumerate(TERMS):
        for then in _THEN:
            _walk(made, lambda m, then=then, terms=terms: _burst(m, then, terms))
        for by in ("hand", "evidence", "event", "rollback"):
            _walk(made, lambda m, by=by, terms=terms, cut=place == 0: _storm(m, by, terms, cut))
    _walk(made, _rest)
    _walk(made, _bad)


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
    from bench import Plan

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
    for what in ("point", "ledger", "bundle"):
        m.tamper(what=what, number=1)


def _bad(m: Any) -> None:
    """Runs that end badly, reported without their token and then with it."""
    m.start(actor=0, bundle=1, terms=TERMS[1], plan=None)
    m.share(actor=0, which=0, share_bp=10_000, lease_us=HOUR, plan=None)
    for number in range(6):
        m.begin(actor=0, unit=f"u{number}", risk=None, task_type="faq", conversation=None, plan=None)
    for token in ("missing", "right"):
        m.end(actor=0, reports=[(number, _BAD) for number in range(6)], token=token, plan=None)
