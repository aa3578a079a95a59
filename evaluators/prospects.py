"""Prospects: what a policy will see and prove at an agent's traffic, and when: what `lastgood plan` says."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from evaluators.blocks import WHOLE
from evaluators.history import History
from evaluators.mixture import FloatArray
from evaluators.outlook import Outlook, named
from evaluators.planning import said_margin, undecidable
from evaluators.planning_harms import Harm, expected_rate, harms, said_size
from evaluators.planning_hunt import hunt
from evaluators.planning_sources import Source
from evaluators.planning_walk import Ramp, Traffic, alone
from evaluators.planning_worth import worth_of
from evaluators.references import margin
from evaluators.rules import HOUR, Guardrail, Kind, Rules

#: walks of an equal candidate, and of each harm
CLIMBS, HUNTS = 480, 480


@dataclass(frozen=True, slots=True)
class Until:
    """When something happens in many walks; None: not before the horizon."""

    #: part of the walks in which it happens before the horizon, 0..1
    chance: float
    #: candidate runs, in half and in nine of ten walks
    runs: int | None
    runs_p90: int | None
    #: hours since the start, maturity and looks included
    hours: float | None
    hours_p90: float | None

    @classmethod
    def of(cls, runs: FloatArray, us: FloatArray) -> "Until":
        """From walks, infinite where it does not happen."""
        seen = np.isfinite(runs) & np.isfinite(us)
        runs, us = np.where(seen, runs, np.inf), np.where(seen, us, np.inf)
        low, high = np.quantile(runs, [0.5, 0.9], method="inverted_cdf").tolist()
        early, late = (np.quantile(us, [0.5, 0.9], method="inverted_cdf") / HOUR).tolist()
        whole = [None if value == float("inf") else int(np.ceil(value)) for value in (low, high)]
        hours = [None if value == float("inf") else round(value, 3) for value in (early, late)]
        return cls(float(seen.mean()), whole[0], whole[1], hours[0], hours[1])


@dataclass(frozen=True, slots=True)
class Caught:
    """One harm, and when it is caught."""

    harm: Harm
    until: Until


@dataclass(frozen=True, slots=True)
class Reach:
    """What one guardrail reaches by the horizon."""

    guardrail: str
    #: part of equal candidates for which its margin is proven by then, 0..1
    proven: float
    #: its margin, for people; empty where it has none
    margin: str
    #: the smallest margin that is likely proven by then, for people; empty where it is the policy's own
    provable: str
    #: the smallest harm that half of the releases see by then, for people; empty where none is seen
    smallest: str
    #: runs that say as much as one independent one
    design_effect: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a release under a policy can be expected to do."""

    #: what keeps it from ever deciding, a sentence each; empty where nothing does
    problems: tuple[str, ...]
    #: an equal candidate, until it is promoted
    promoted: Until
    #: each guardrail's harms, the largest first
    caught: tuple[Caught, ...]
    reach: tuple[Reach, ...]

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self)


def plan(rules: Rules, history: History, traffic: Traffic, seed: int = 0) -> Plan:
    """What these rules see and prove at a traffic above 0; the same seed gives the same plan.

    A guardrail whose rates nobody knows is left out of the walks and is among the problems.
    """
    outlook = Outlook(rules, history, traffic)
    known = [g for g in rules.guardrails if outlook.known(g)]
    ramp = outlook.climbed(*known, replicates=CLIMBS, seed=seed)
    if len(known) < len(rules.guardrails):  # what nobody knows is never proven
        never = np.full_like(ramp.at_us, np.inf)
        ramp = Ramp(never, never, ramp.proven)
    caught = []
    for place, guardrail in enumerate(rules.guardrails):
        for number, harm in enumerate(harms(guardrail, rules, history)):
            until = _caught(guardrail, harm, outlook, ramp, seed=seed + 100 * place + number)
            if until is not None:
                caught.append(Caught(harm, until))
    served = _served(rules, traffic, ramp)
    reach = tuple(_reach(g, rules, history, served, ramp) for g in rules.guardrails)
    problems = tuple(undecidable(outlook, ways=False))
    return Plan(problems, Until.of(ramp.runs[:, -1], ramp.at_us[:, -1]), tuple(caught), reach)


def _caught(guardrail: Guardrail, harm: Harm, outlook: Outlook, ramp: Ramp, *, seed: int) -> Until | None:
    rules, traffic = outlook.rules, outlook.traffic
    seers = {}
    for each in sorted(rules.guardrails, key=lambda g: g != guardrail):  # its own first
        sources = [Source(each, rules, outlook.history, step.share_bp, harm) for step in rules.steps]
        if sources[0].known and outlook.worth(each).parts:
            seers[each.name] = sources
    if guardrail.name not in seers or traffic is None:
        return None
    worth = {name: outlook.worth(named(rules, name)) for name in seers}
    found = hunt(seers, rules, traffic, worth, ramp.at_us, seed=seed)
    return Until.of(found.runs, found.at_us)


def _served(rules: Rules, traffic: Traffic, ramp: Ramp) -> FloatArray:
    """Candidate runs on each step by the horizon, if the release is not ended before, (steps,)."""
    opens = np.quantile(ramp.at_us, 0.5, axis=0, method="inverted_cdf")[:-1]
    ends = np.append(np.minimum(opens, rules.horizon_us), float(rules.horizon_us))
    began, runs = 0.0, []
    for step, end in zip(rules.steps, ends.tolist(), strict=True):
        share = step.share_bp / WHOLE
        runs.append(max(end - began, 0.0) * traffic.rate(share) * share)
        began = max(began, end)
    left = rules.horizon_runs - np.append(0.0, np.cumsum(runs)[:-1])
    return np.asarray(np.minimum(runs, np.maximum(left, 0.0)), dtype=np.float64)


def _reach(guardrail: Guardrail, rules: Rules, history: History, served: FloatArray, ramp: Ramp) -> Reach:
    proven = ramp.proven.get(guardrail.name, 0.0)
    final = margin(guardrail, rules, history).delta
    provable = "" if proven >= 0.5 else _provable(guardrail, rules, history, served)
    return Reach(
        guardrail.name,
        proven,
        said_margin(guardrail, final) if final is not None else "",
        provable,
        _smallest(guardrail, rules, history, served),
        worth_of(guardrail, rules, history).design_effect,
    )


def _provable(guardrail: Guardrail, rules: Rules, history: History, served: FloatArray) -> str:
    """The smallest margin that the expected evidence at the horizon proves."""
    final = margin(guardrail, rules, history)
    mean = final.reference if guardrail.kind in {Kind.RATIO, Kind.COUNT} else None
    unit = guardrail.highest - guardrail.lowest if guardrail.kind is Kind.SCORE else mean or 1.0
    worth = worth_of(guardrail, rules, history)

    def does(part: float) -> bool:
        wide = replace(guardrail, margin_abs=part * unit, margin_rel=None)
        trial = replace(rules, guardrails=tuple(wide if g == guardrail else g for g in rules.guardrails))
        sources = [Source(wide, trial, history, step.share_bp) for step in rules.steps]
        if not sources[0].known:
            return False
        parts = [
            runs / (s.share * rules.block_size * worth.proof) * s.blocks.mean
            for runs, s in zip(served.tolist(), sources, strict=True)
        ]
        log_e = float(sources[0].gates(np.sum(parts, axis=0)[None])[0, -1]) - worth.price
        return log_e >= float(np.log(1.0 / rules.alpha_promote))

    found = _least(does, (final.delta or 0.001 * unit) / unit, 0.5 if mean is None else 4.0)
    return "" if found is None else said_margin(guardrail, found * unit)


def _smallest(guardrail: Guardrail, rules: Rules, history: History, served: FloatArray) -> str:
    """The smallest harm that the expected evidence at the horizon catches."""
    worth = worth_of(guardrail, rules, history)
    if not worth.reverts:
        return ""
    line = alone(rules, guardrail.weight) + worth.price

    def does(size: float) -> bool:
        harm, total = Harm(guardrail.name, "", size), np.zeros(1)
        for runs, step in zip(served.tolist(), rules.steps, strict=True):
            source = Source(guardrail, rules, history, step.share_bp, harm)
            if not source.known:
                return False
            total = total + runs / source.share * source.drift
        return float(worth.expected(total[None, :])[0]) >= line

    most = 10.0 if guardrail.bad else 0.95
    if guardrail.kind is Kind.SCORE:
        most = 0.99 * _room(guardrail, history)
    elif not guardrail.kind.measured:
        most = 1.0 - (expected_rate(guardrail, rules, history) or 0.0)
    found = _least(does, 1e-4 * most, most)
    return "" if found is None else said_size(guardrail, found)


def _room(guardrail: Guardrail, history: History) -> float:
    """How far the mean mark can fall."""
    found = history.measures.get(guardrail.column)
    if found is None:
        return 0.0
    mean = float(found.values[:, 1].sum()) / found.n
    return abs((guardrail.highest if guardrail.bad else guardrail.lowest) - mean)


def _least(does: Callable[[float], bool], low: float, high: float) -> float | None:
    """The smallest value that does, within a few hundredths; None where not even the highest does."""
    if not 0.0 < low < high or not does(high):
        return None
    if does(low):
        return low
    while high / low > 1.05:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if does(middle) else (middle, high)
    return high


__all__ = ["Caught", "Plan", "Reach", "Until", "plan"]
