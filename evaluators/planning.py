"""Planning: what keeps a policy from ever deciding, and what would do."""

from dataclasses import replace

import numpy as np

from evaluators.blocks import WHOLE
from evaluators.history import History
from evaluators.outlook import (
    Need,
    Outlook,
    floor_nats,
    runs_to_catch,
    runs_to_promote,
    runs_to_revert,
)
from evaluators.planning_harms import Harm, expected_rate
from evaluators.planning_sources import Source
from evaluators.planning_walk import DAY, Traffic
from evaluators.references import margin
from evaluators.rules import HOUR, Guardrail, Kind, Rules, Undecided

#: widest margins that are proposed: of a share of runs (points / 100), and as a part of a mean
WIDEST, WIDEST_PART = 0.25, 2.0
#: part of equal candidates that have to be promoted, else a policy is refused
LIKELY = 0.2
#: design effect from which clustered units are named as a reason
ALIKE = 1.2


def can_decide(rules: Rules, history: History, traffic: Traffic | None = None) -> list[str]:
    """What keeps these rules from ever deciding, a sentence each with what would do.

    Empty where an equal candidate is likely promoted and a collapse reverted before the horizon; with
    `on_undecided: ask` a person may promote what evidence can't prove. Without `traffic` the horizon's time
    is not looked at.
    """
    return undecidable(Outlook(rules, history, traffic))


def undecidable(outlook: Outlook, *, ways: bool = True) -> list[str]:
    """The same of an outlook; without `ways` it is not said what would do."""
    rules, found = outlook.rules, _too_long(outlook.rules) or _waived_whole(outlook)
    if found:
        return found
    # a score's scale and margin are all that its tests need: nothing known is no reason against it
    planned = [g for g in rules.guardrails if outlook.known(g) or g.kind is not Kind.SCORE]
    for guardrail in rules.guardrails:
        if rules.on_undecided is Undecided.REVERT and guardrail in planned:
            found += _promotion(outlook, guardrail, ways=ways)
        found += _collapse(outlook, guardrail)
    if not found and planned and rules.on_undecided is Undecided.REVERT:
        chance = outlook.chance(*planned)
        found += [_jointly(outlook, chance)] if chance < LIKELY else []
    return found


def _too_long(rules: Rules) -> list[str]:
    found = []
    time = sum(step.min_time_us for step in rules.steps)
    if time > rules.horizon_us:
        found.append(
            f"the steps last at least {time / HOUR:g} h together and the horizon is"
            f" {rules.horizon_us / HOUR:g} h;"
            f" set the horizon to more than {time / HOUR:g} h or shorten a step's min_time"
        )
    runs = sum(step.min_runs for step in rules.steps)
    if runs > rules.horizon_runs:
        found.append(
            f"the steps need at least {runs} candidate runs together and the horizon is {rules.horizon_runs};"
            f" set the horizon to {runs} runs or more, or lower a step's min_runs"
        )
    return found


def _waived_whole(outlook: Outlook) -> list[str]:
    """A guardrail that is judged nowhere never passes, and so the release is never promoted."""
    rules = outlook.rules
    if rules.on_undecided is not Undecided.REVERT:
        return []
    return [
        f"guardrail {g.name} is waived in every slice that runs come in ({', '.join(rules.waived(g.name))}):"
        " it is judged nowhere and never passes; drop the guardrail or a waiver"
        for g in rules.guardrails
        if rules.waived(g.name) and not outlook.worth(g).judged
    ]


def _promotion(outlook: Outlook, guardrail: Guardrail, *, ways: bool) -> list[str]:
    if outlook.chance(guardrail) >= LIKELY:
        return []
    rules, traffic = outlook.rules, outlook.traffic
    need, final = outlook.typical(guardrail), margin(guardrail, rules, outlook.history)
    if final.reason and need.runs == float("inf"):
        return [f"guardrail {guardrail.name} can't be proven: {final.reason}"]
    step = rules.steps[need.step]
    goal = f"prove its margin of {said_margin(guardrail, final.delta or 0.0)}"
    if step.rule_out is not None:
        goal = f"rule out a {step.rule_out:g}-fold harm, the first thing to prove,"
    how = f"about {need.runs:,.0f}" if need.runs < float("inf") else "endlessly many"
    when = f" and {said_time(need.us)}" if traffic is not None and np.isfinite(need.runs) else ""
    effect = outlook.worth(guardrail).design_effect
    why = f" (runs of one unit are alike: {effect:.1f} say as much as one)" if effect > ALIKE else ""
    problem = (
        f"guardrail {guardrail.name}: an equal candidate needs {how} candidate runs{when} to {goal} at a"
        f" share of {step.share_bp / WHOLE:.0%}{why}, and the horizon is {_ends(outlook)}"
    )
    return [f"{problem}; {_ways_out(outlook, guardrail, need)}" if ways else problem]


def _jointly(outlook: Outlook, chance: float) -> str:
    """No guardrail takes too long, all of them together do."""
    names = ", ".join(g.name for g in outlook.rules.guardrails)
    return (
        f"each guardrail alone would be proven in time, but only {chance:.0%} of equal candidates prove all"
        f" of them ({names}) before the horizon, which is {_ends(outlook)};"
        " a longer horizon, wider margins or fewer steps would do"
    )


def _ends(outlook: Outlook) -> str:
    time = f" or {said_time(outlook.rules.horizon_us)}" if outlook.traffic is not None else ""
    return f"{outlook.rules.horizon_runs:,}{time}"


def _ways_out(outlook: Outlook, guardrail: Guardrail, need: Need) -> str:
    ways, rules = [], outlook.rules
    wider = wider_margin(outlook, guardrail)
    if wider is not None:
        final = margin(wider, rules, outlook.history).delta or 0.0
        ways.append(f"a margin of {said_margin(wider, final)}")
    if need.runs < float("inf"):
        smaller = 1.0 - need.runs * (1.0 - rules.steps[-1].share_bp / WHOLE) / rules.horizon_runs
        if smaller >= 0.01 and need.us <= rules.horizon_us and len(rules.steps) == 1:
            ways.append(f"a share of {smaller:.0%}")
        time = f" and {said_time(need.us)}" if need.us > rules.horizon_us else ""
        ways.append(f"a horizon of {need.runs:,.0f} candidate runs{time}")
    return f"{' or '.join(ways)} would do" if ways else "no margin or horizon would do; drop the guardrail"


def wider_margin(outlook: Outlook, guardrail: Guardrail, part: float = 1.0) -> Guardrail | None:
    """The guardrail with the smallest margin that an equal candidate is expected to prove in time.

    In time is before `part` of the horizon. Two significant digits, rounded up. By the expected path, so that
    it holds for most releases and not just for half of them. None where no
    sensible margin does, or nothing is known of it.
    """
    rules, final = outlook.rules, margin(guardrail, outlook.rules, outlook.history)
    mean = final.reference if guardrail.kind in {Kind.RATIO, Kind.COUNT} else None
    width = guardrail.highest - guardrail.lowest if guardrail.kind is Kind.SCORE else 1.0
    widest = WIDEST * width if mean is None else WIDEST_PART * mean
    low, high = float(np.log(final.delta or widest / 100.0)), float(np.log(widest))

    def widened(log_delta: float) -> Guardrail:
        delta = float(np.exp(log_delta))
        if mean is not None:
            return replace(guardrail, margin_abs=None, margin_rel=_up(delta / mean))
        return replace(guardrail, margin_abs=_up(delta))

    def does(trial: Guardrail) -> bool:
        own = tuple(trial if g.name == guardrail.name else g for g in rules.guardrails)
        return outlook.changed(replace(rules, guardrails=own)).expected(trial).within(rules, part)

    if low >= high or not outlook.known(guardrail) or not does(widened(high)):
        return None
    for _ in range(7):
        middle = (low + high) / 2.0
        low, high = (low, middle) if does(widened(middle)) else (middle, high)
    return widened(high)


def _up(value: float) -> float:
    """Two significant digits, rounded up."""
    digit = 10.0 ** (np.floor(np.log10(value)) - 1.0)
    return float(f"{np.ceil(value / digit - 1e-9) * digit:.2g}")


def _collapse(outlook: Outlook, guardrail: Guardrail) -> list[str]:
    """A candidate that is as bad as can be has to be caught."""
    rules, history = outlook.rules, outlook.history
    rate = expected_rate(guardrail, rules, history)
    if not guardrail.kind.measured and rate is not None:
        harm, what = Harm(guardrail.name, "", 1.0 - rate), "that is bad in every run"
    elif guardrail.kind in {Kind.RATIO, Kind.COUNT}:
        harm, what = Harm(guardrail.name, "", 4.0 if guardrail.bad else 0.8), "that is five times worse"
    else:
        return []
    worth = outlook.worth(guardrail)

    def catching(seen: History) -> float:
        found = [Source(guardrail, rules, seen, share, harm) for share in {s.share_bp for s in rules.steps}]
        known = found[0].known and worth.reverts  # else harm is waived or holds, and the policy says so
        return min(runs_to_catch(source, worth) for source in found) if known else 0.0

    need = catching(history)
    if need <= rules.horizon_runs:
        return []
    spoken = history.spoken(guardrail.column)
    if spoken is not history and catching(spoken) <= rules.horizon_runs:
        return []  # runs that bring no amount hide it: a blind spot, which is told (`blindness.hidden`)
    how = f"about {need:,.0f}" if need < float("inf") else "endlessly many"
    way = f"a horizon of {need:,.0f} candidate runs" if need < float("inf") else "another metric"
    problem = (
        f"guardrail {guardrail.name}: a candidate {what} needs {how} candidate runs to be"
        f" reverted, and the horizon is {rules.horizon_runs:,}; {way} would do"
    )
    return [problem]


def said_margin(guardrail: Guardrail, delta: float) -> str:
    """A margin in the guardrail's own unit."""
    if not guardrail.kind.measured:
        return f"{100.0 * delta:+.3g} points"
    unit = guardrail.unit or guardrail.column
    per = f" per {guardrail.per} run" if guardrail.kind is Kind.RATIO else ""
    return f"{delta if guardrail.bad else -delta:+.3g} {unit}{per}"


def said_time(us: float) -> str:
    """A time for people: minutes, hours or days."""
    if us < HOUR:
        return f"{us / 60_000_000:.0f} min"
    return f"{us / HOUR:.1f} h" if us < 2 * DAY else f"{us / DAY:.1f} days"


__all__ = [
    "can_decide",
    "floor_nats",
    "runs_to_promote",
    "runs_to_revert",
    "said_margin",
    "said_time",
    "undecidable",
    "wider_margin",
]
