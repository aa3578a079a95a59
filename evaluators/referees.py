"""Referees: who judged the runs, as part of the evidence.

A referee judges a random sample of both arms, blind to the arm. Which runs it is asked for is drawn from
their ids under the release's own salt, so neither an arm nor an outcome has a part in it. Evidence that two
different referees made, or that the arms' own different validators made, proves nothing; evidence of a
referee that left runs unjudged proves nothing either, since those could be the ones that matter.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from evaluators.rules import Guardrail, Kind, Rules
from evaluators.verdict import Decision, GuardrailVerdict, Verdict, Word
from lastgood.assignment import bucketer

#: what follows a column's name where a referee fills it: whether the run was asked for, and who judged it
SAMPLED, DIGEST = ":sampled", ":digest"
#: share of the sample that may stay unjudged; an unjudged run counts as the worst, in either arm
UNJUDGED = 0.05
#: the outcome column of an agent's own validator
VALIDATED = "validated"


@dataclass(frozen=True, slots=True)
class Refereed:
    """What a referee did on one column, over the runs that were scored so far."""

    column: str
    #: digests of all referees that judged a run
    digests: tuple[str, ...] = ()
    #: scored runs that were drawn for judging, and those of them with a mark
    sampled: int = 0
    judged: int = 0

    def add(self, digests: Collection[str], sampled: int, judged: int) -> "Refereed":
        """With further runs."""
        known = tuple(sorted({*self.digests, *digests}))
        return Refereed(self.column, known, self.sampled + sampled, self.judged + judged)

    @property
    def mixed(self) -> str:
        """Why its marks can't be used at all; empty where they can."""
        if len(self.digests) < 2:
            return ""
        names = ", ".join(digest[:12] for digest in self.digests)
        return (
            f"{len(self.digests)} different referees judged {self.column} ({names}): their marks can't be"
            " compared; revert the release and start it again under one referee"
        )

    @property
    def behind(self) -> str:
        """Why its marks are too few yet; empty where they are enough."""
        if self.judged >= (1.0 - UNJUDGED) * self.sampled:
            return ""
        return (
            f"the referee judged {self.judged} of {self.sampled} sampled runs in time: raise its budget,"
            f" lower its sample, or let {self.column} mature later"
        )


@dataclass(frozen=True, slots=True)
class Judges:
    """Who judged the runs that a look scored."""

    refereed: tuple[Refereed, ...] = ()
    #: whether the arms' bundles name different validators
    validators_differ: bool = False


def sampler(release_id: str, column: str, share_bp: int) -> "Sampler":
    """Who is drawn for judging in a release; `share_bp` basis points of all runs."""
    return Sampler(column, share_bp, f"{release_id}/referee/{column}")


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws runs for judging by their ids."""

    column: str
    #: basis points of runs that are judged, 1..10000
    share_bp: int
    salt: str

    def place(self, run_id: str) -> int:
        """A run's place in the order of judging, 0..9999: nothing of the run itself is in it."""
        return bucketer(self.salt)(run_id)

    def draws(self, run_id: str) -> bool:
        """Whether a run is judged."""
        return self.place(run_id) < self.share_bp


def judged_by_validators(guardrail: Guardrail) -> bool:
    """Whether the agent's own validator decides what a guardrail counts."""
    return guardrail.column == VALIDATED or (guardrail.kind is Kind.RATIO and guardrail.per == VALIDATED)


def unfit(rules: Rules, judges: Judges) -> tuple[str, ...]:
    """Guardrails whose arms are judged by validators of their own: no evidence is taken for them."""
    common = {found.column for found in judges.refereed}
    if not judges.validators_differ or VALIDATED in common:
        return ()
    return tuple(g.name for g in rules.guardrails if judged_by_validators(g))


def applied(verdict: Verdict, rules: Rules, judges: Judges) -> Verdict:
    """The verdict with what the judges allow: it may hold instead of promote, and never masks a revert."""
    own = (
        "the bundles name different validators: let one referee judge both arms (`referee: {column:"
        " validated, ...}` in the policy)"
    )
    reasons = dict.fromkeys(unfit(rules, judges), own)
    broken = own if reasons else ""
    for found in judges.refereed:
        why = found.mixed or found.behind
        broken = broken or found.mixed
        reasons |= {g.name: why for g in rules.guardrails if why and _counts_on(g, found.column)}
    if not reasons:
        return verdict
    return replace(
        verdict,
        decision=Decision.REVERT if verdict.decision is Decision.REVERT else Decision.HOLD,
        guardrails=tuple(_said(g, reasons[g.name]) if g.name in reasons else g for g in verdict.guardrails),
        gates=tuple(False for _ in verdict.gates),
        valid=verdict.valid and not broken,
        invalid_reason=verdict.invalid_reason or broken,
    )


def _counts_on(guardrail: Guardrail, column: str) -> bool:
    return guardrail.column == column or (guardrail.kind is Kind.RATIO and guardrail.per == column)


def _said(found: GuardrailVerdict, why: str) -> GuardrailVerdict:
    return found if found.word is Word.FAIL else replace(found, word=Word.INVALID, reason=why)


__all__ = [
    "DIGEST",
    "SAMPLED",
    "UNJUDGED",
    "Judges",
    "Refereed",
    "Sampler",
    "applied",
    "judged_by_validators",
    "sampler",
    "unfit",
]
