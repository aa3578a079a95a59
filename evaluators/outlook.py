"""Outlooks: what rules can be expected to prove and to catch, before any run of the release.

Expected paths first: the evidence that each run adds on average, added up along the policy's steps, read by
the release's own tests. Chance brings an e-value to its line sooner than its expected path does, so what an
expected path leaves open is walked many times (`evaluators.planning_walk`). Source: STATISTICS.md, section 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluators.blocks import WHOLE
from evaluators.history import History
from evaluators.mixture import BoolArray, FloatArray
from evaluators.planning_harms import Harm, expected_rate
from evaluators.planning_sources import Source
from evaluators.planning_walk import Ramp, Traffic, alone, climb
from evaluators.planning_worth import Worth, worth_of
from evaluators.rules import Guardrail, Rules, Undecided

#: no plan looks further, candidate runs
FAR = 1e9
#: horizons that an expected path may take before it is called hopeless: chance makes up for no more
HOPELESS = 4.0
#: a part of the horizon within which an expected path leaves no doubt
EASY = 0.3
#: walks that find a median, their seed, and how many horizons they may last
WALKS, SEED, LONG = 120, 1, 8


@dataclass(frozen=True, slots=True)
class Need:
    """What an expected path takes to its line."""

    #: candidate runs; infinite where it never gets there
    runs: float
    #: microseconds since the start, to the look that sees it; 0 where the traffic is not known
    us: float
    #: index of the step that it ends on, or is stuck at
    step: int

    def within(self, rules: Rules, part: float = 1.0) -> bool:
        """Whether it comes before a part of the horizon."""
        return self.runs <= part * rules.horizon_runs and self.us <= part * rules.horizon_us


def floor_nats(p_base: float, p_cand: float, ratio: float) -> float:
    """The most that one candidate run can say about a harm, nats: D = KL(p_c||p_0) + r KL(p_b||p_0).

    `ratio` r is baseline runs a candidate run and p_0 the pooled rate; no valid test grows faster.
    """
    pooled = (p_cand + ratio * p_base) / (1.0 + ratio)

    def divergence(p: float) -> float:
        return float(p * np.log(p / pooled) + (1.0 - p) * np.log((1.0 - p) / (1.0 - pooled)))

    return divergence(p_cand) + ratio * divergence(p_base)


class Outlook:
    """Rules, a history and a traffic, with what was scored once for all questions to them."""

    def __init__(
        self, rules: Rules, history: History, traffic: Traffic | None = None, *, like: "Outlook | None" = None
    ) -> None:
        """Without `traffic` only runs count. `like` lends what it has scored of the same history."""
        self.rules, self.history, self.traffic = rules, history, traffic
        # horizon and weights change no score
        self._same = replace(
            rules, guardrails=(), horizon_runs=0, horizon_us=0, on_undecided=Undecided.REVERT
        )
        self.scored: dict[tuple[Guardrail, int, Rules], Source] = {} if like is None else like.scored

    def changed(self, rules: Rules) -> "Outlook":
        """The same for other rules."""
        return Outlook(rules, self.history, self.traffic, like=self)

    def sources(self, guardrail: Guardrail) -> list[Source]:
        """Runs of an equal candidate, one source a step."""
        found = []
        for step in self.rules.steps:
            key = guardrail, step.share_bp, self._same
            if key not in self.scored:
                self.scored[key] = Source(guardrail, self.rules, self.history, step.share_bp)
            found.append(self.scored[key])
        return found

    def known(self, guardrail: Guardrail) -> bool:
        """Whether history or the policy says how an equal candidate would fare, and any run is judged."""
        return self.sources(guardrail)[0].known and self.worth(guardrail).judged > 0.0

    def worth(self, guardrail: Guardrail) -> Worth:
        """What runs are worth as evidence on a guardrail."""
        return worth_of(guardrail, self.rules, self.history)

    def expected(self, *guardrails: Guardrail) -> Need:
        """What the expected path of an equal candidate takes to open every gate on these guardrails."""
        paths = [_Path(self.sources(g), self.worth(g)) for g in guardrails]
        lag = max(self.rules.classes) + self.rules.look_interval_us
        runs = us = 0.0
        for place, step in enumerate(self.rules.steps):
            own = max(float(step.min_runs), *(path.reach(place) for path in paths))
            if own >= FAR:
                return Need(float("inf"), us, place)
            served = own
            if self.traffic is not None:
                rate = self.traffic.rate(step.share_bp / WHOLE) * step.share_bp / WHOLE
                if rate <= 0.0:
                    return Need(float("inf"), float("inf"), place)
                spent = max(own / rate + lag, float(step.min_time_us))
                us, served = us + spent, rate * spent
                own = max(own, served - rate * lag)  # those of a least time are scored too
            if place == len(self.rules.steps) - 1:
                break
            runs += served
            for path in paths:
                path.serve(place, served)
        return Need(float(np.ceil(runs + own)), us, len(self.rules.steps) - 1)

    def climbed(self, *guardrails: Guardrail, replicates: int, seed: int) -> Ramp:
        """Walks of an equal candidate on these guardrails."""
        rules = self.rules
        if self.traffic is None:  # only runs count: none is served while others mature
            rules = replace(
                rules,
                steps=tuple(replace(step, min_time_us=0) for step in rules.steps),
                guardrails=tuple(replace(g, maturity_us=0) for g in rules.guardrails),
                look_interval_us=0,
            )
        return climb(
            {g.name: self.sources(g) for g in guardrails},
            rules,
            self.traffic or Traffic(1e12),
            {g.name: self.worth(g) for g in guardrails},
            replicates=replicates,
            seed=seed,
        )

    def in_time(self, *guardrails: Guardrail) -> bool:
        """Whether an equal candidate typically opens every gate before the horizon, as far as these go."""
        return self.chance(*guardrails) >= 0.5

    def chance(self, *guardrails: Guardrail) -> float:
        """The part of equal candidates that open every gate before the horizon, as far as these go, 0..1."""
        if not all(self.known(g) for g in guardrails):
            return 0.0
        found = self.expected(*guardrails)
        if found.within(self.rules, EASY if len(guardrails) > 1 else 1.0):
            return 1.0
        if not found.within(self.rules, HOPELESS):
            return 0.0
        ramp = self.climbed(*guardrails, replicates=WALKS, seed=SEED)
        return float(np.isfinite(ramp.runs[:, -1]).mean())

    def typical(self, guardrail: Guardrail) -> Need:
        """What an equal candidate typically needs, as far as one guardrail goes."""
        if not self.known(guardrail):
            return Need(float("inf"), 0.0, 0)
        found = self.expected(guardrail)
        if not found.within(self.rules, HOPELESS * LONG):
            return found
        far = replace(
            self.rules, horizon_runs=LONG * self.rules.horizon_runs, horizon_us=LONG * self.rules.horizon_us
        )
        return self.changed(far).median(guardrail) or found

    def median(self, *guardrails: Guardrail) -> Need | None:
        """The median of some walks; None where the horizon ends half of them."""
        ramp = self.climbed(*guardrails, replicates=WALKS, seed=SEED)
        runs, us = (np.quantile(found[:, -1], 0.5, method="higher") for found in (ramp.runs, ramp.at_us))
        if not np.isfinite(runs):
            return None
        known = float(us) if self.traffic is not None else 0.0
        return Need(float(np.ceil(runs)), known, len(self.rules.steps) - 1)


class _Path:
    """The expected evidence on one guardrail, step after step."""

    def __init__(self, sources: Sequence[Source], worth: Worth) -> None:
        """Before the first run."""
        rules = sources[0].rules
        self.sources, self.price = sources, worth.price
        self.line = float(np.log(1.0 / rules.alpha_promote)) + worth.price
        #: what a candidate run adds on each step
        self.parts = [s.blocks.mean / (s.share * rules.block_size * worth.proof) for s in sources]
        self.total = np.zeros(len(self.parts[0]))
        self.crossed = np.zeros(len(sources), dtype=np.bool_)

    def reach(self, gate: int) -> float:
        """Candidate runs on a step until its gate is expected to open; infinite where it never does."""

        def opens(runs: FloatArray) -> BoolArray:
            found = self.sources[gate].gates(self.total + runs[:, None] * self.parts[gate])[:, gate]
            return np.asarray((found >= self.line) | (self.crossed[gate] & (found >= self.price)))

        return _first(opens)

    def serve(self, step: int, runs: float) -> None:
        """Add candidate runs of a step."""
        self.total = self.total + runs * self.parts[step]
        self.crossed |= self.sources[step].gates(self.total[None])[0] >= self.line


def runs_to_promote(rules: Rules, history: History, name: str, share: float) -> float:
    """Candidate runs until an equal candidate is expected to prove a guardrail's margin; inf where never.

    `share` is the candidate's, 0..1, all the time. Raises KeyError for an unknown guardrail.
    """
    one = replace(rules.steps[-1], share_bp=round(share * WHOLE), min_runs=0, min_time_us=0)
    outlook, guardrail = Outlook(replace(rules, steps=(one,)), history), named(rules, name)
    return outlook.expected(guardrail).runs if outlook.known(guardrail) else float("inf")


def runs_to_revert(rules: Rules, history: History, name: str, bad_rate: float, share: float) -> float:
    """Candidate runs until a candidate of this bad rate (0..1) is expected to be reverted; inf if never.

    Of a share of bad runs alone. Raises KeyError for an unknown guardrail.
    """
    guardrail = named(rules, name)
    rate = expected_rate(guardrail, rules, history)
    if rate is None:
        return float("inf")
    source = Source(guardrail, rules, history, round(share * WHOLE), Harm(name, "", bad_rate - rate))
    return runs_to_catch(source, worth_of(guardrail, rules, history))


def named(rules: Rules, name: str) -> Guardrail:
    """The guardrail of a name; KeyError where there is none."""
    for guardrail in rules.guardrails:
        if guardrail.name == name:
            return guardrail
    raise KeyError(name)


def runs_to_catch(source: Source, worth: Worth) -> float:
    """Candidate runs until a source's harm is expected to be caught at its share; inf where never."""
    if not source.known:
        return float("inf")
    line = alone(source.rules, source.guardrail.weight) + worth.price
    drift = source.drift / source.share
    return _first(lambda runs: np.asarray(worth.expected(runs[:, None] * drift) >= line))


def _first(reached: Callable[[FloatArray], BoolArray]) -> float:
    """The first number of runs at which a path has reached, within a hundredth; inf where it doesn't."""
    low, high = 1.0, FAR
    for _ in range(2):
        grid = np.geomspace(low, high, 300)
        over = np.flatnonzero(reached(grid))
        if len(over) == 0:
            return float("inf")
        place = int(over[0])
        low, high = float(grid[max(place - 1, 0)]), float(grid[place])
    return float(np.ceil(high))


__all__ = [
    "Need",
    "Outlook",
    "floor_nats",
    "named",
    "runs_to_catch",
    "runs_to_promote",
    "runs_to_revert",
]
