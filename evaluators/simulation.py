"""Simulation: how a policy would decide releases of an agent with known rates, by Monte Carlo.

Every release is walked as the policy says by `evaluators.replay`, so the judging is the real `Comparison`
and the stage machine decides; only the runs are drawn (`evaluators.streams`). Release number n draws the
same runs whoever computes it, so that the answer does not depend on how the work was cut up.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from evaluators import absence, planning
from evaluators.absence import SetAside
from evaluators.dealing import Dealt, judged_columns
from evaluators.drawing import Case, Pool, Watch
from evaluators.history import History
from evaluators.planning_walk import Traffic
from evaluators.replay import Ending, Release, Replay
from evaluators.rules import HOUR, Mode, Rules
from evaluators.scoring import has_data
from evaluators.streams import Population, draw_history
from evaluators.worse import Worsening
from lastgood.errors import InvalidPolicy
from lastgood.triggers import RateTrigger

#: what tells a release's history from its runs among the seeds
_HISTORY = 1_000_000
#: standard normal quantile of a two-sided 95% interval
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True, eq=False)
class Story:
    """One kind of candidate."""

    #: `unchanged`, `margin` or `harm`
    kind: str
    #: the guardrail that is worse; empty where none is
    guardrail: str
    #: a few words
    label: str
    #: from what to what; empty where nothing changes
    words: str
    candidate: Population


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """What all releases of a simulation share."""

    #: in mode `act`, without the guardrails that are set aside
    rules: Rules
    baseline: Population
    stories: tuple[Story, ...]
    #: baseline runs that each release's history is counted from
    history_runs: int
    #: microseconds from one eligible run to the next
    interval_us: int
    seed: int
    triggers: tuple[RateTrigger, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    #: what the harms' sizes were read from; each release draws its own of the same rates
    history: History = field(default_factory=History)
    #: why a real release under these rules would be refused
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of releases with its Monte-Carlo error."""

    count: int
    of: int
    #: count / of, 0..1; and its 95% Wilson interval
    rate: float
    low: float
    high: float

    @classmethod
    def of_counts(cls, count: int, of: int) -> "Rate":
        """The share and its interval (Wilson 1927); 0..1 where there is nothing to count."""
        if of == 0:
            return cls(0, 0, 0.0, 0.0, 1.0)
        rate, z = count / of, _Z * _Z / of
        centre = (rate + z / 2.0) / (1.0 + z)
        half = _Z / (1.0 + z) * float(np.sqrt(rate * (1.0 - rate) / of + z / (4.0 * of)))
        low, high = max(centre - half, 0.0), min(centre + half, 1.0)
        return cls(count, of, rate, 0.0 if count == 0 else low, 1.0 if count == of else high)


@dataclass(frozen=True, slots=True)
class Times:
    """When something happened, over all releases; None where it happened in too few for a value."""

    median: int | None
    p90: int | None

    @classmethod
    def of(cls, values: Sequence[int], releases: int) -> "Times":
        """Of the releases in which it happened; in the others it comes after everything."""
        rising = sorted(values)

        def at(level: float) -> int | None:
            place = int(np.ceil(level * releases)) - 1
            return rising[place] if 0 <= place < len(rising) else None

        return cls(at(0.5), at(0.9))


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of one story's releases."""

    kind: str
    guardrail: str
    label: str
    words: str
    promoted: Rate
    #: by the evidence or a trigger
    reverted: Rate
    #: the horizon came first, or the evidence could not be used
    undecided: Rate
    #: reverted releases that named the harmed guardrail, or one of the same column, first
    right_culprit: Rate
    #: candidate runs until promoted, and until reverted
    promoted_runs: Times
    reverted_runs: Times
    #: hours until then, maturity included
    promoted_hours: Times
    reverted_hours: Times
    #: releases by the guardrail that was named first
    culprits: dict[str, int]
    #: candidate runs of each reverted release, rising
    reverted_at: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {**asdict(self), "reverted_at": list(self.reverted_at)}


#: number of the story, and how the release ended
Ended = tuple[int, Replay]


def prepare(
    rules: Rules,
    baseline: Population,
    *,
    history_runs: int,
    runs_per_day: int,
    seed: int,
    triggers: Sequence[RateTrigger] = (),
) -> Setup:
    """What to simulate of a policy at an agent's rates.

    A guardrail that the population has nothing of is set aside and its weight shared out. InvalidPolicy
    where nothing is left.
    """
    history = _known(baseline, rules, history_runs, seed) if history_runs else History()
    judged = absence.judged(replace(_without_absent(rules, baseline), mode=Mode.ACT), history)
    gone = tuple(
        SetAside(g.name, f"no run has {g.column}") for g in rules.guardrails if not _has(baseline, g.column)
    )
    worsening = Worsening(baseline, judged.rules, history)
    stories = [Story("unchanged", "", "an equal candidate", "", baseline)]
    for kind, found in (("margin", worsening.at_margins()), ("harm", worsening.harmed())):
        stories += [Story(kind, w.guardrail, w.label, w.words, w.candidate) for w in found]
    interval = 24 * HOUR // runs_per_day
    refused = planning.can_decide(judged.rules, history, Traffic(runs_per_day))
    return Setup(
        judged.rules, baseline, tuple(stories), history_runs, interval, seed, tuple(triggers),
        (*gone, *judged.set_aside), history, tuple(refused),
    )  # fmt: skip


def simulated(setup: Setup, number: int, stories: Iterable[int]) -> Iterator[Ended]:
    """Walk release `number` of some stories (by their places) to its end."""
    history = History()
    if setup.history_runs:
        rng = np.random.default_rng([setup.seed, number, _HISTORY])
        history = _history(draw_history(rng, setup.baseline, setup.history_runs), setup.rules)
    nothing = Pool(0, {}, np.zeros(0, dtype=np.int64))
    strata = tuple(name for name, _ in setup.rules.strata)
    watches = _watches(setup.rules, setup.triggers)
    case = Case(setup.rules, history, nothing, nothing, strata, setup.interval_us, setup.seed, watches)
    for place in stories:
        stream = Dealt(case, setup.baseline, setup.stories[place].candidate, (setup.seed, number, place))
        yield place, Release(case, f"simulation-{number}", stream).replay()


def summarise(setup: Setup, ended: Iterable[Ended]) -> tuple[Figures, ...]:
    """Count how releases ended, story by story."""
    by_story: dict[int, list[Replay]] = {place: [] for place in range(len(setup.stories))}
    for place, replay in ended:
        by_story[place].append(replay)
    return tuple(_figures(setup, setup.stories[place], found) for place, found in by_story.items())


def _known(baseline: Population, rules: Rules, runs: int, seed: int) -> History:
    """What the harms are read from: the recorded runs themselves, as a plan does; else drawn ones."""
    if baseline.as_recorded and baseline.recorded is not None:
        return _history(baseline.recorded, rules)
    return _history(draw_history(np.random.default_rng([seed, _HISTORY]), baseline, runs), rules)


def _history(runs: pd.DataFrame, rules: Rules) -> History:
    return History(runs[[name for name in judged_columns(rules) if name in runs]])


def _has(population: Population, column: str) -> bool:
    """Whether a population's runs report a column."""
    recorded = population.recorded
    return column in population.columns() and (recorded is None or has_data(recorded, column))


def _without_absent(rules: Rules, population: Population) -> Rules:
    """The rules without guardrails that the population has nothing of."""
    absent = {g.name for g in rules.guardrails if not _has(population, g.column)}
    if len(absent) == len(rules.guardrails):
        wanted = ", ".join(sorted({g.column for g in rules.guardrails}))
        raise InvalidPolicy(
            f"the history has nothing of what the policy watches ({wanted}); name one that has, or none"
        )
    return rules.without(absent)


def _watches(rules: Rules, triggers: Sequence[RateTrigger]) -> tuple[Watch, ...]:
    known = {g.name: g for g in rules.guardrails}
    return tuple(Watch(t, known[t.metric].column, known[t.metric].bad) for t in triggers if t.metric in known)


def _figures(setup: Setup, story: Story, replays: list[Replay]) -> Figures:
    n = len(replays)
    promoted = [r for r in replays if r.ending is Ending.PROMOTED]
    reverted = [r for r in replays if r.ending is Ending.REVERTED]
    column = {g.name: g.column for g in setup.rules.guardrails}
    right = [r for r in reverted if r.culprits and column.get(r.culprits[0]) == column.get(story.guardrail)]

    def hours(found: list[Replay]) -> Times:
        return Times.of([-(-r.age_us // HOUR) for r in found], n)

    return Figures(
        story.kind,
        story.guardrail,
        story.label,
        story.words,
        Rate.of_counts(len(promoted), n),
        Rate.of_counts(len(reverted), n),
        Rate.of_counts(n - len(promoted) - len(reverted), n),
        Rate.of_counts(len(right) if story.guardrail else 0, len(reverted) if story.guardrail else 0),
        Times.of([r.candidate_runs for r in promoted], n),
        Times.of([r.candidate_runs for r in reverted], n),
        hours(promoted),
        hours(reverted),
        dict(Counter(r.culprits[0] for r in reverted if r.culprits).most_common()),
        tuple(sorted(r.candidate_runs for r in reverted)),
    )


__all__ = ["Figures", "Rate", "Setup", "Story", "Times", "prepare", "simulated", "summarise"]
