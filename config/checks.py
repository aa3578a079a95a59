"""Relations between the values of a policy that would make a release senseless, each a pure function.

Every check raises Misplaced with the path of the value to change.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise

from config.durations import format_duration
from config.metrics import WEIGHT_SLACK, Misplaced, nearest
from config.sections import GuardrailSpec, HorizonSpec, StepSpec, WaiverSpec
from evaluators.rules import Kind, OnHarm


def check_steps(steps: tuple[StepSpec, ...]) -> None:
    """Shares rise; what is ruled out does not rise; only the last step has no such bound."""
    for place, (step, following) in enumerate(pairwise(steps)):
        if following.share <= step.share:
            raise Misplaced("shares should rise from step to step", "steps", place + 1, "share")
        if step.rule_out is None:
            raise Misplaced(
                "needs rule_out, such as 3.0: the harm that this step's gate rules out",
                "steps",
                place,
                "rule_out",
            )
        if following.rule_out is not None and following.rule_out > step.rule_out:
            raise Misplaced("should not be above that of the step before", "steps", place + 1, "rule_out")
    if steps[-1].rule_out is not None:
        raise Misplaced(
            "leave it out on the last step: its gate is each guardrail's margin",
            "steps",
            len(steps) - 1,
            "rule_out",
        )


def check_guardrails(
    guardrails: Mapping[str, GuardrailSpec], lost_after: int, reference: Mapping[str, float]
) -> None:
    """Weights sum to 1, no run is scored before it can be known lost, references name guardrails."""
    weights = math.fsum(guardrail.weight for guardrail in guardrails.values())
    if abs(weights - 1) > WEIGHT_SLACK:
        raise Misplaced(
            f"the weights sum to {weights:.6g}, not 1; correct them, or leave all out for the defaults",
            "guardrails",
        )
    for name, guardrail in guardrails.items():
        if guardrail.matures < lost_after:
            raise Misplaced(
                f"{format_duration(guardrail.matures)} is before lost_after ({format_duration(lost_after)}): "
                "a silent run would be scored before it is known to be lost; "
                "raise matures or lower lost_after",
                *("guardrails", name, "matures"),
            )
    _check_units(guardrails)
    for name in reference:
        if name not in guardrails:
            known = ", ".join(guardrails)
            raise Misplaced(
                f"no guardrail of this policy{nearest(name, guardrails)} It has: {known}", "reference", name
            )
        if guardrails[name].kind is not Kind.PROPORTION:
            raise Misplaced("only a share of bad runs has a declared rate; leave it out", "reference", name)


def _check_units(guardrails: Mapping[str, GuardrailSpec]) -> None:
    """One column is measured in one unit."""
    units: dict[str, tuple[str, str]] = {}
    for name, guardrail in guardrails.items():
        if not guardrail.unit:
            continue
        other, unit = units.setdefault(guardrail.column, (name, guardrail.unit))
        if unit != guardrail.unit:
            raise Misplaced(
                f"{guardrail.column} is in {guardrail.unit!r} here and in {unit!r} in {other}: a column has"
                " one unit; report each unit in a column of its own",
                *("guardrails", name, "unit"),
            )


def check_strata(strata: Mapping[str, float]) -> None:
    """Weights sum to 1."""
    weights = math.fsum(strata.values())
    if strata and abs(weights - 1) > WEIGHT_SLACK:
        raise Misplaced(
            f"the weights sum to {weights:.6g}, not 1; a list of names takes equal weights", "strata"
        )


def check_slices(
    strata: Mapping[str, float],
    guardrails: Mapping[str, GuardrailSpec],
    on_harm: Mapping[str, OnHarm],
    waivers: tuple[WaiverSpec, ...],
) -> None:
    """Slices and guardrails that are named exist, and nothing is waived twice."""
    for name in on_harm:
        if name not in strata:
            raise Misplaced(f"no slice of this policy{nearest(name, strata)}", "on_harm", name)
    seen = set()
    for place, waiver in enumerate(waivers):
        if waiver.slice not in strata:
            problem = f"no slice of this policy{nearest(waiver.slice, strata)}"
            raise Misplaced(problem, "waivers", place, "slice")
        if waiver.guardrail not in guardrails:
            problem = f"no guardrail of this policy{nearest(waiver.guardrail, guardrails)}"
            raise Misplaced(problem, "waivers", place, "guardrail")
        if (waiver.guardrail, waiver.slice) in seen:
            raise Misplaced("is waived twice", "waivers", place)
        seen.add((waiver.guardrail, waiver.slice))


def check_leases(look_every: int, waits: Mapping[str, int]) -> None:
    """A lease or driver that runs out before the next look would lapse between any two."""
    for name, wait in waits.items():
        if wait <= look_every:
            raise Misplaced(
                f"{format_duration(wait)} is no longer than look_every ({format_duration(look_every)}); "
                f"three look intervals would be {format_duration(3 * look_every)}",
                name,
            )


def check_horizon(
    steps: tuple[StepSpec, ...], guardrails: Mapping[str, GuardrailSpec], horizon: HorizonSpec
) -> None:
    """The steps' least runs and times, and the slowest guardrail, fit before the horizon."""
    wait = sum(step.min_time for step in steps) + max(guardrail.matures for guardrail in guardrails.values())
    if wait >= horizon.time:
        raise Misplaced(
            f"no release could end in time: the steps' min_time and the slowest guardrail take "
            f"{format_duration(wait)}, the horizon is {format_duration(horizon.time)}",
            *("horizon", "time"),
        )
    runs = sum(step.min_runs for step in steps)
    if runs > horizon.runs:
        raise Misplaced(
            f"no release could end in time: the steps' min_runs sum to {runs}, the horizon is {horizon.runs}",
            *("horizon", "runs"),
        )


def spread(strata: object) -> object:
    """A list of slices as a mapping with equal weights; anything else as it is."""
    if not isinstance(strata, (list, tuple)):
        return strata
    for place, name in enumerate(strata):
        if not isinstance(name, str):
            raise Misplaced("a slice's name is text; quote it", place)
        if name in strata[:place]:
            raise Misplaced(f"slice {name[:60]!r} is listed twice", place)
    return dict.fromkeys(strata, 1 / len(strata) if len(strata) > 1 else 1)


def bad_rates(
    reference: Mapping[str, float], guardrails: Mapping[str, GuardrailSpec]
) -> tuple[tuple[str, float], ...]:
    """References as rates of the bad outcome, in the guardrails' order.

    A reference says how often the column is true, which is the good outcome where `bad` is false.
    """
    return tuple(
        (name, reference[name] if guardrail.bad else float(1 - Decimal(repr(reference[name]))))
        for name, guardrail in guardrails.items()
        if name in reference
    )
