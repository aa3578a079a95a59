"""Blindness: what a release can't see, said before it starts and in every report."""

from collections.abc import Collection

from evaluators.absence import SetAside
from evaluators.history import History
from evaluators.rules import MINUTE, OnHarm, Rules

#: part of runs without an amount from which it is said that they hide harm
SILENT = 0.05
#: what harm in one slice alone does, where it does not revert
_DOES = {
    OnHarm.HOLD: "holds the release and reverts nothing",
    OnHarm.REPORT: "is only reported",
}


def blind_spots(rules: Rules, set_aside: Collection[SetAside], refereed: Collection[str]) -> tuple[str, ...]:
    """What a release does not see, one sentence each: accepted trades, then the worst first."""
    waived = [
        f"{waiver.guardrail} in slice {waiver.stratum} may get worse: {waiver.reason}"
        f" (accepted by {waiver.approver})"
        for waiver in rules.waivers
    ]
    found = [f"{aside.name} is not watched: {aside.why}" for aside in set_aside]
    columns = {guardrail.column for guardrail in rules.guardrails}
    if not refereed and "validated" not in columns:
        found.insert(0, "nobody checks what runs answer: no validator and no referee, so wrong answers pass")
    elif not refereed:
        found.append("no referee: a wrong answer that passes the agent's own validator counts as right")
    found += [
        f"{guardrail.name}: what is reported later than {_time(guardrail.maturity_us)} after a run's start"
        " changes no verdict"
        for guardrail in rules.guardrails
        if guardrail.column in {"incidents", "operator_edits"}
    ]
    found += [
        f"harm in slice {name} that the other runs do not show {_DOES[word]}"
        for name, _ in rules.strata
        if (word := dict(rules.on_harm).get(name, OnHarm.REVERT)) in _DOES
    ]
    return (*waived, *found)


def hidden(rules: Rules, history: History) -> tuple[str, ...]:
    """Guardrails whose harm is hidden by baseline runs that brought no amount, one sentence each."""
    said = []
    for guardrail in rules.guardrails:
        found = history.measures.get(guardrail.column) if guardrail.kind.measured else None
        if found is not None and found.silent > SILENT * (found.n + found.silent):
            part = found.silent / (found.n + found.silent)
            said.append(
                f"{guardrail.name}: {part:.0%} of the baseline's runs brought no {guardrail.column}; each"
                " counts as the worst on both arms, which hides harm: let every run report it"
            )
    return tuple(said)


def _time(micros: int) -> str:
    minutes = micros / MINUTE
    return f"{minutes:.3g} min" if minutes < 120 else f"{minutes / 60:.3g} h"


__all__ = ["SILENT", "blind_spots", "hidden"]
