"""The nearest rules that can decide: margins, steps or horizon changed one at a time, else together."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from evaluators.history import History
from evaluators.outlook import Need, Outlook
from evaluators.planning import said_margin, said_time, undecidable, wider_margin
from evaluators.planning_walk import DAY, Traffic
from evaluators.references import margin
from evaluators.rules import Guardrail, Rules, Step, Undecided

#: last shares that are proposed, basis points
SHARES = (500, 1_000, 1_500, 2_000, 2_500, 3_000, 4_000, 5_000)
#: longest horizon that is proposed, and the one that everything together begins with, microseconds
LONGEST, TOGETHER = 60 * DAY, 30 * DAY
#: part of the horizon that the expected path of a proposal may take: guardrails that have to be proven at
#: the same time take longer than each of them, and most releases have to be decided, not half
PART = 0.6
#: most candidate runs of a proposed horizon
MOST_RUNS = 1_000_000
#: candidate runs that everything together may take
ENOUGH_RUNS = 5_000


class Lever(StrEnum):
    """What a proposal changes."""

    MARGINS = "margins"  #: wider margins of the guardrails that take too long
    STEPS = "steps"  #: other shares, or fewer steps
    HORIZON = "horizon"  #: more runs or time
    TOGETHER = "together"  #: all of these
    ASK = "ask"  #: a person decides at the horizon


@dataclass(frozen=True, slots=True)
class Proposal:
    """Rules that can decide, near those that can't."""

    lever: Lever
    rules: Rules
    #: what is changed, for people
    said: str
    #: how far that is: the largest change, as a natural log of its factor
    distance: float


def nearest(rules: Rules, history: History, traffic: Traffic | None) -> tuple[Proposal, ...]:
    """Rules that can decide: one for each lever that suffices alone, else one of all together.

    The nearest comes first; the last resort is to ask a person. Each is verified as a plan is; empty where
    none holds, as with a guardrail whose collapse can't be seen.
    """
    outlook = Outlook(rules, history, traffic)
    found = [p for p in (_margins(outlook), _steps(outlook), _horizon(outlook)) if p is not None]
    found = [p for p in found if _verified(outlook, p)]
    if not found:
        together = _together(outlook)
        found = [together] if together is not None and _verified(outlook, together) else []
    if rules.on_undecided is Undecided.REVERT:
        asks = replace(rules, on_undecided=Undecided.ASK)
        said = "on_undecided: ask (harm is tested from the first run; at the horizon a person decides)"
        found += [p for p in [Proposal(Lever.ASK, asks, said, float("inf"))] if _verified(outlook, p)]
    return tuple(sorted(found, key=lambda p: p.distance))


def _verified(outlook: Outlook, proposal: Proposal) -> bool:
    changed = outlook.changed(proposal.rules)
    if undecidable(changed, ways=False):
        return False
    asks = proposal.rules.on_undecided is Undecided.ASK
    return asks or changed.in_time(*proposal.rules.guardrails)


def _needs(outlook: Outlook) -> Iterator[tuple[Guardrail, Need | None]]:
    """What each guardrail takes alone; None where nothing is known of it."""
    for guardrail in outlook.rules.guardrails:
        yield guardrail, outlook.expected(guardrail) if outlook.known(guardrail) else None


def _margins(outlook: Outlook) -> Proposal | None:
    """Every margin that takes too long made wide enough."""
    rules, guardrails, said, far = outlook.rules, [], [], 0.0
    for guardrail, need in _needs(outlook):
        if need is not None and need.within(rules, PART):
            guardrails.append(guardrail)
            continue
        wider = wider_margin(outlook, guardrail, PART)
        if wider is None:
            return None
        guardrails.append(wider)
        delta = margin(wider, rules, outlook.history).delta or 0.0
        before = margin(guardrail, rules, outlook.history).delta or delta
        far = max(far, float(np.log(delta / before)))
        said.append(f"{guardrail.name} {said_margin(guardrail, delta)}")
    changed = replace(rules, guardrails=tuple(guardrails))
    return Proposal(Lever.MARGINS, changed, f"margins: {', '.join(said)}", far)


def _layouts(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    """Other steps, the nearest first: another last share, then without the first steps."""
    for left in range(len(steps)):
        kept = steps[left:]
        least = kept[-2].share_bp if len(kept) > 1 else 0
        last = kept[-1].share_bp
        for share in sorted({*SHARES, last}, key=lambda other: abs(np.log(other / last))):
            if share > least and (left or share != last):
                yield *kept[:-1], replace(kept[-1], share_bp=share)


def _steps(outlook: Outlook) -> Proposal | None:
    if not all(outlook.known(g) for g in outlook.rules.guardrails):
        return None
    for layout in _layouts(outlook.rules.steps):
        trial = replace(outlook.rules, steps=layout)
        if outlook.changed(trial).expected(*trial.guardrails).within(trial, PART):
            far = float(abs(np.log(layout[-1].share_bp / outlook.rules.steps[-1].share_bp)))
            dropped = len(outlook.rules.steps) - len(layout)
            return Proposal(Lever.STEPS, trial, _said_steps(layout), far + dropped)
    return None


def _said_steps(layout: tuple[Step, ...]) -> str:
    shares = ", ".join(f"{step.share_bp / 100:g}%" for step in layout)
    return f"steps: {shares}" if len(layout) > 1 else f"one step: {shares}"


def _horizon(outlook: Outlook) -> Proposal | None:
    if not all(outlook.known(g) for g in outlook.rules.guardrails):
        return None
    need = outlook.expected(*outlook.rules.guardrails)
    if not need.runs <= MOST_RUNS or need.us > PART * LONGEST:
        return None
    return _with_horizon(Lever.HORIZON, outlook.rules, need, "")


def _with_horizon(lever: Lever, rules: Rules, need: Need, before: str) -> Proposal:
    most = max(rules.horizon_runs, int(np.ceil(need.runs / PART / 100.0)) * 100)
    time = max(rules.horizon_us, int(np.ceil(need.us / PART / DAY)) * DAY)
    said = f"{before}horizon: {most:,} candidate runs, {said_time(time)}"
    far = max(float(np.log(most / rules.horizon_runs)), float(np.log(time / rules.horizon_us)))
    return Proposal(lever, replace(rules, horizon_runs=most, horizon_us=time), said, far)


def _together(outlook: Outlook) -> Proposal | None:
    """A long horizon, half of the runs, as few steps dropped as can be, and then margins."""
    rules = outlook.rules
    wide = replace(
        rules, horizon_us=max(rules.horizon_us, TOGETHER), horizon_runs=max(rules.horizon_runs, ENOUGH_RUNS)
    )
    for left in range(len(rules.steps)):
        kept = rules.steps[left:]
        layout = (*kept[:-1], replace(kept[-1], share_bp=max(kept[-1].share_bp, SHARES[-1])))
        found = _margins(outlook.changed(replace(wide, steps=layout)))
        if found is not None:
            need = outlook.changed(found.rules).expected(*found.rules.guardrails)
            said = f"{found.said}; {_said_steps(layout)}; "
            near = replace(found.rules, horizon_us=rules.horizon_us, horizon_runs=rules.horizon_runs)
            return _with_horizon(Lever.TOGETHER, near, need, said)
    return None


__all__ = ["Lever", "Proposal", "nearest"]
