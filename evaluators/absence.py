"""Absence: guardrails that the baseline's history has nothing of.

What an agent never reported can't be compared. A policy says per guardrail whether that refuses a release
or sets the guardrail aside. It is decided from the baseline's frozen history alone, before the first run:
what a candidate reports, or leaves out, never moves it.
"""

from dataclasses import dataclass

from evaluators.history import History
from evaluators.rules import Guardrail, Rules, WhenAbsent
from evaluators.terms import method
from lastgood.errors import InvalidPolicy


@dataclass(frozen=True, slots=True)
class SetAside:
    """A guardrail that a release does not watch."""

    name: str
    #: one clause for people
    why: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What is left of a policy's rules under a history."""

    #: the rules that the release is judged by; weights sum to 1
    rules: Rules
    #: in the policy's order
    set_aside: tuple[SetAside, ...]


def judged(rules: Rules, history: History, refereed: frozenset[str] = frozenset()) -> Judged:
    """Take out what the policy sets aside under a history; the weights left are shared out.

    `refereed` are columns that a referee fills: history never has them. Raises InvalidPolicy where nothing
    would be left to judge by.
    """
    absent = {g.name: why for g in rules.guardrails if (why := _absence(g, rules, history, refereed))}
    if not absent:
        return Judged(rules, ())
    if len(absent) == len(rules.guardrails):
        raise InvalidPolicy(
            f"nothing is left to judge a release by: {'; '.join(f'{n}: {why}' for n, why in absent.items())}."
            " Let the agent report one of them, or name a guardrail that it reports"
        )
    set_aside = tuple(SetAside(name, why) for name, why in absent.items())
    return Judged(rules.without(absent), set_aside)


def _absence(guardrail: Guardrail, rules: Rules, history: History, refereed: frozenset[str]) -> str:
    """Why a guardrail is set aside; empty where it is not."""
    if guardrail.when_absent is not WhenAbsent.SET_ASIDE or guardrail.column in refereed:
        return ""
    if history.of(guardrail)[0] == 0 and guardrail.name not in dict(rules.references):
        return f"no run of the baseline reported {guardrail.column}"
    if method(guardrail, rules, history) is None:
        return f"{guardrail.column} was 0 in every run of the baseline, or no run had a denominator"
    return ""


__all__ = ["Judged", "SetAside", "judged"]
