"""The report of a plan: what a policy will see and prove at an agent's traffic, and what would do instead."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from config.amended import amended
from config.policy import Policy
from evaluators.planning import ALIKE, said_time
from evaluators.planning_nearest import Proposal, nearest
from evaluators.prospects import Plan, Until, plan
from evaluators.rules import HOUR, Undecided
from lastgood.shown import laid_out, percent
from tasks.planned import Known


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """The answer."""

    known: Known
    plan: Plan
    #: policies that can decide, the nearest first; none where this one can
    proposals: tuple[Proposal, ...]

    def to_json(self) -> dict[str, Any]:
        """A plain dict; hours and candidate runs are null where the horizon comes first."""
        known, rules = self.known, self.known.rules
        return {
            "policy": known.policy.name,
            "policy_digest": known.policy.digest,
            "rates": known.said,
            "runs_per_day": known.traffic.runs_per_day,
            "candidate_runs_per_hour_at_most": known.traffic.most_per_hour,
            "horizon": {"runs": rules.horizon_runs, "hours": rules.horizon_us / HOUR},
            "can_decide": not self.plan.problems,
            **self.plan.to_json(),
            "blind": list(known.blind),
            "nearest": [
                {"change": str(p.lever), "said": p.said, "policy": json.loads(self.policy(p).to_json())}
                for p in self.proposals
            ],
        }

    @property
    def unlikely(self) -> bool:
        """Whether a good candidate is put back more often than not."""
        return unlikely(self.plan, self.known)

    def policy(self, proposal: Proposal) -> Policy:
        """A proposal as a policy."""
        return amended(self.known.policy, proposal.rules)

    def lines(self) -> Iterator[str]:
        """The answer for people."""
        known, rules = self.known, self.known.rules
        steps = ", ".join(percent(step.share_bp) for step in rules.steps)
        yield (
            f"policy {known.policy.name}: steps {steps}; at most {rules.horizon_runs:,} candidate runs and"
            f" {said_time(rules.horizon_us)}; {known.traffic.runs_per_day:,.0f} eligible runs a day"
        )
        yield known.said
        yield from self._ceiling()
        yield ""
        yield from self._promotion()
        yield ""
        yield from self._harms()
        yield from self._unseen()
        yield ""
        yield "What it does not see:"
        yield from (f"  - {spot}" for spot in (*known.blind, *_ALWAYS))
        yield from self._refusal()

    def _ceiling(self) -> Iterator[str]:
        most, traffic = self.known.traffic.most_per_hour, self.known.traffic
        share = max(step.share_bp for step in self.known.rules.steps) / 10_000
        if most is not None and traffic.runs_per_day / 24.0 * share > most:
            yield (
                f"the policy's ceilings let about {most:,.0f} candidate runs start an hour, fewer than the"
                f" {traffic.runs_per_day / 24.0 * share:,.0f} that the traffic would bring"
            )

    def _promotion(self) -> Iterator[str]:
        until, rules = self.plan.promoted, self.known.rules
        chance = f"{until.chance:.0%} of candidates that are as good as the baseline"
        if until.runs is None or until.hours is None:
            end = "a person is asked" if rules.on_undecided is Undecided.ASK else "the baseline is put back"
            yield f"Promotion: proven for {chance} before the horizon; for the others {end} there."
        else:
            yield (
                f"Promotion: proven for {chance} before the horizon; half of all after"
                f" {until.runs:,} candidate runs and {said_time(until.hours * HOUR)}{_nine_of_ten(until)}."
            )
        reached = [found for found in self.plan.reach if found.provable]
        if reached:
            yield "  By then these margins are likely proven, and a person may vouch on them:"
            yield from (
                f"    {found.guardrail} {found.provable} (the policy wants {found.margin})"
                for found in reached
            )

    def _harms(self) -> Iterator[str]:
        yield "A candidate that does harm is caught after (candidate runs, and time with maturity and looks):"
        rows: list[tuple[str, ...]] = [
            ("guardrail", "harm", "half within", "", "9 of 10 within", "", "ever caught")
        ]
        for found in self.plan.caught:
            until = found.until
            rows.append(
                (
                    found.harm.guardrail,
                    found.harm.name,
                    *_when(until.runs, until.hours),
                    *_when(until.runs_p90, until.hours_p90),
                    f"{until.chance:.0%}",
                )
            )
        yield from laid_out(rows, "  ")
        yield "  (-: not before the horizon; ever caught: the part of such candidates that is, before it)"

    def _unseen(self) -> Iterator[str]:
        seen = [f"{found.guardrail} {found.smallest}" for found in self.plan.reach if found.smallest]
        if seen:
            yield "Smaller harms than these are more likely missed than caught before the horizon:"
            yield f"  {', '.join(seen)}"
        for found in self.plan.reach:
            if found.design_effect > ALIKE:
                yield (
                    f"Runs of one unit are alike: on {found.guardrail} {found.design_effect:.1f} of them say"
                    " as much as one; routing by run would be quicker"
                )

    def _refusal(self) -> Iterator[str]:
        if self.plan.problems:
            yield ""
            yield f"Refused: policy {self.known.policy.name} can't decide before its horizon:"
            yield from (f"  - {problem}" for problem in self.plan.problems)
        elif self.unlikely:
            yield ""
            yield "A good candidate is more likely put back than promoted: its proof takes longer."
        else:
            return
        if not self.proposals:
            yield "No change of margins, steps or horizon would do; change what is named above."
            return
        yield "Any one of these would do, the nearest first (--write FILE writes the first as a policy):"
        yield from (f"  - {proposal.said}" for proposal in self.proposals)


def unlikely(made: Plan, known: Known) -> bool:
    """Whether a good candidate is put back more often than not."""
    return made.promoted.chance < 0.5 and known.rules.on_undecided is Undecided.REVERT


#: what no plan here knows
_ALWAYS = (
    "harm that makes several columns worse at once is caught sooner than said: one is made worse at a time",
    "harm that begins after the promotion, or only in runs that no candidate may serve",
)


def answer(known: Known, seed: int = 0) -> Told:
    """What a policy will see and prove, and the nearest ones that can decide where it can't."""
    made = plan(known.rules, known.history, known.traffic, seed)
    short = made.problems or unlikely(made, known)
    return Told(known, made, nearest(known.rules, known.history, known.traffic) if short else ())


def _when(runs: int | None, hours: float | None) -> tuple[str, str]:
    return ("-", "") if runs is None or hours is None else (f"{runs:,} runs", said_time(hours * HOUR))


def _nine_of_ten(until: Until) -> str:
    if until.runs_p90 is None or until.hours_p90 is None:
        return ""
    return f", nine of ten within {until.runs_p90:,} and {said_time(until.hours_p90 * HOUR)}"


__all__ = ["Told", "answer"]
