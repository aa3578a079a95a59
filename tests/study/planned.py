"""What a plan says beside what simulated releases do: `make planned` writes docs/planning.md.

Both are made of the same policy, the same rates and the same harms. A plan walks sums of the guardrails that
see a harm; a simulation walks whole releases through the release's own comparison and stage machine. Simulated
releases are kept under .study/planned/ every few: a run that was stopped goes on where it stood.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from scipy.stats import binom

from config.policy import Policy
from evaluators.blocks import WHOLE
from evaluators.mixture import FloatArray
from evaluators.planning_harms import Harm, harms
from evaluators.planning_walk import Traffic
from evaluators.prospects import HUNTS, Until, plan
from evaluators.replay import Ending
from evaluators.rules import HOUR, Rules
from evaluators.simulation import Rate, Story, prepare
from evaluators.streams import Population, draw_history
from tasks import simulating

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "planning.md"
#: how near a plan is meant to be to a simulation; of a harm under SMALL, a difference of shares of runs
NEAR, NEAR_SMALL, SMALL = 0.15, 0.25, 0.03
#: releases of each kind that are walked between two writes
ROUND = 10
#: modules of evaluators/ that only a plan is made by
PLANS = ("planning", "prospects", "outlook", "blindness", "simulation_charts", "charts")
HEAD = """\
# What a plan says, and what then happens

Written by `make planned`. `lastgood plan` beside `lastgood simulate`, of the same policy on the same 20,000 recorded
runs: drawn once from the healthy base of docs/study.md, with .5% lost runs and .5% infrastructure failures. A plan has
those runs for its history; each simulated release draws its own history, and its runs, from them.

Each figure is plan / simulation, then the ratio of both. In brackets stands the 95% interval of a simulated share, and
of a median the range that holds the true one in 95 of 100 simulations. Of each candidate {releases} releases were simulated,
whatever the first of them showed. A plan's own medians rest on {walks} walks and are good to about 5%.

A plan is meant to say the median number of candidate runs within 15%; within 25% where the harm is less than 3 points
more bad runs (the bound stands in the last column). `yes`: it does. `outside`: it does not, and lies outside of the
simulated range too. `not known`: the simulated range is itself wider than the bound, or reaches the plan.

A plan counts to the end of the block (20 runs, of `low_traffic` 10) whose last run shows the harm, as a simulation
does. So a figure is known to a block: at the first share of each policy that is one to three candidate runs, and medians
that lie so close count as equal. A real release is looked at within a block too and reverts up to a block sooner.

A candidate that every gate lets through may be promoted before a harm within the margins is seen; both count that as
not caught.
"""
COLUMNS = (
    "| what is true | in time: plan | simulation | candidate runs, median | ratio | nine of ten within | ratio |"
    " hours, median | within |\n|---|---|---|---|---|---|---|---|---|"
)
#: runs of recorded history
RUNS = 20_000
SIX = """
name: {name}
steps: {steps}
guardrails:
  completion: {{margin: 2 points, matures: 10 min}}
  validation: {{margin: 2 points, matures: 10 min}}
  escalation: {{margin: 2 points, matures: 10 min}}
  incidents: {{margin: 0.5 points, matures: 10 min}}
  cost: {{margin_rel: 10%, matures: 10 min}}
  edits: {{margin_rel: 30%, matures: 10 min}}
horizon: {{runs: 5000, time: 90 d}}
"""
RAMP = "[{share: 10%, rule_out: 3}, {share: 25%, rule_out: 2}, {share: 50%}]"


@dataclass(frozen=True)
class Case:
    """One policy at one traffic."""

    name: str
    rules: Rules
    per_day: int


def cases() -> Iterator[Case]:
    """A flat share, a ramp, the default, and low traffic."""
    flat = Policy.load(SIX.format(name="flat", steps="[{share: 10%}]")).rules()
    yield Case("six guardrails, 10%", flat, 2_000)
    ramp = Policy.load(SIX.format(name="ramp", steps=RAMP)).rules()
    yield Case("six guardrails, 10%, 25%, 50%", ramp, 20_000)
    yield Case("the policy `default`", Policy.builtin("default").rules(), 2_000)
    yield Case("the policy `low_traffic`, 200 runs a day", Policy.builtin("low_traffic").rules(), 200)


class Table:
    """One case's simulated releases, and the plan beside them."""

    def __init__(self, case: Case) -> None:
        """Prepare both; what an earlier run simulated under the same judge is read again."""
        self.case = case
        healthy = replace(Population(), lost=0.005, infra_failure=0.005)
        base = Population.from_frame(draw_history(np.random.default_rng(7), healthy, RUNS))
        self.setup = prepare(case.rules, base, history_runs=RUNS, runs_per_day=case.per_day, seed=7)
        told = [told_apart(story) for story in self.setup.stories]
        digest = hashlib.sha256(judge() + repr((case.rules, told)).encode()).hexdigest()[:12]
        self.file = ROOT / ".study" / "planned" / f"{digest}.jsonl"
        lines = self.file.read_text("utf-8").splitlines() if self.file.exists() else []
        #: place of the story, how it ended, candidate runs and microseconds
        self.ended = [End(*json.loads(line)) for line in lines]

    def simulate(self, reached: int, workers: int) -> None:
        """Walk on to `reached` releases of each story; candidates at their margins are none of this page."""
        wanted = [
            (len(seen.runs), 0 if story.kind == "margin" else reached)
            for story, seen in zip(self.setup.stories, self.seen, strict=True)
        ]
        todo = []
        for number in range(reached):
            places = tuple(place for place, (first, end) in enumerate(wanted) if first <= number < end)
            todo += [(number, places)] if places else []
        found = simulating.run(self.setup, todo, workers, lambda _: None)
        ends = [End(place, str(r.ending), r.candidate_runs, r.age_us) for place, r in found]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(end)}\n" for end in ends)
        self.ended += ends

    @property
    def seen(self) -> "list[Seen]":
        """What each story's releases did."""
        return [
            Seen.of(
                [end for end in self.ended if end.place == place],
                Ending.PROMOTED if story.kind == "unchanged" else Ending.REVERTED,
            )
            for place, story in enumerate(self.setup.stories)
        ]

    def lines(self) -> Iterator[str]:
        """The table."""
        name = self.case.name
        yield f"\n## {name[0].upper()}{name[1:]}\n"
        yield COLUMNS
        both = list(self.beside())
        yield from (row(each) for each in both)
        yield f"\n{summed_up(both)}"

    def beside(self) -> "Iterator[Beside]":
        """What a plan says of each story, and what its releases did."""
        made = plan(self.setup.rules, self.setup.history, Traffic(self.case.per_day))
        caught = iter(made.caught)
        for story, seen, bound in zip(self.setup.stories, self.seen, self.bounds, strict=True):
            if story.kind == "unchanged":
                yield Beside("an equal candidate is promoted", made.promoted, seen, *bound)
            elif story.kind == "harm":
                said = next(caught)
                yield Beside(f"{said.harm.guardrail}: {said.harm.name}", said.until, seen, *bound)

    @cached_property
    def bounds(self) -> list[tuple[float, float]]:
        """By story how near a plan is meant to be, and the candidate runs of a block."""
        rules, history = self.setup.rules, self.setup.history
        known = {(g.name, harm.name): harm for g in rules.guardrails for harm in harms(g, rules, history)}
        found = [known.get((story.guardrail, story.label)) for story in self.setup.stories]
        block = rules.block_size * rules.steps[0].share_bp / WHOLE
        return [(NEAR if harm is None else bound_of(rules, harm), block) for harm in found]


class End(NamedTuple):
    """How one simulated release ended."""

    place: int
    ending: str
    candidate_runs: int
    age_us: int


def judge() -> bytes:
    """What the results belong to: all that walks a release, and nothing that plans one."""
    files = [f for f in sorted((ROOT / "evaluators").glob("*.py")) if not f.name.startswith(PLANS)]
    return b"".join(file.read_bytes() for file in files)


def told_apart(story: Story) -> str:
    """All that makes a story's runs: a plan's modules say how large its harm is."""
    return repr((story.kind, story.guardrail, story.label, replace(story.candidate, recorded=None)))


@dataclass(frozen=True)
class Seen:
    """What simulated releases did."""

    rate: Rate
    #: candidate runs, and hours, until it happened, rising; infinite where it did not
    runs: FloatArray
    hours: FloatArray

    @classmethod
    def of(cls, ends: Sequence[End], ending: Ending) -> Self:
        """Of releases, by what they are waited for."""
        there = [end.ending == str(ending) for end in ends]
        values = np.array([[end.candidate_runs, end.age_us / HOUR] for end in ends], dtype=np.float64)
        values = values.reshape(len(ends), 2)
        values[~np.array(there, dtype=np.bool_)] = np.inf
        return cls(Rate.of_counts(sum(there), len(ends)), *np.sort(values, axis=0).T)

    @property
    def median(self) -> float:
        """Candidate runs; infinite where it happens in less than half."""
        return at(self.runs, 0.5)

    @property
    def median_range(self) -> tuple[float, float]:
        """The 95% range of the median runs by order statistics."""
        n = len(self.runs)
        low, high = int(binom.ppf(0.025, n, 0.5)) - 1, int(binom.ppf(0.975, n, 0.5))
        return float(self.runs[max(low, 0)]), float(self.runs[min(high, n - 1)])

    def within(self, bound: float, block: float) -> bool:
        """Whether that range is no wider than a bound around the median, or a block."""
        return all(near(end, self.median, bound, block) for end in self.median_range)


def near(runs: float, seen: float, bound: float, block: float) -> bool:
    """Whether candidate runs lie within a bound of those that were seen, or within a block."""
    if np.isinf(runs) or np.isinf(seen):
        return runs == seen
    return abs(runs - seen) <= max(bound * seen, block)


def at(values: FloatArray, level: float) -> float:
    """A quantile, infinite ones included."""
    return float(np.quantile(values, level, method="inverted_cdf"))


@dataclass(frozen=True)
class Beside:
    """What a plan says of one story beside what its releases did."""

    label: str
    said: Until
    seen: Seen
    #: how near the medians are meant to be
    bound: float
    #: candidate runs of a block: what no figure is finer than
    block: float

    @property
    def medians(self) -> tuple[float, float]:
        """Of the plan and the simulation; infinite where the horizon comes first."""
        said = self.said.runs
        return np.inf if said is None else float(said), self.seen.median

    @property
    def verdict(self) -> str:
        """`yes`, `outside` or `not known`; empty where neither has a median."""
        (said, seen), (low, high) = self.medians, self.seen.median_range
        if np.isinf(said) and np.isinf(seen):
            return ""
        if not near(said, seen, self.bound, self.block):
            return "not known" if low <= said <= high else "outside"
        return "yes" if self.seen.within(self.bound, self.block) else "not known"


def bound_of(rules: Rules, harm: Harm) -> float:
    """How near a plan for a harm is meant to be: an effect of few points more bad runs is less sharp."""
    (guardrail,) = (g for g in rules.guardrails if g.name == harm.guardrail)
    return NEAR_SMALL if not guardrail.kind.measured and harm.size < SMALL else NEAR


def row(found: Beside) -> str:
    """Chance, median runs, p90 runs and median hours, plan then simulation."""
    said, seen = found.said, found.seen
    median, ratio = beside(said.runs, at(seen.runs, 0.5))
    parts = [
        f"{said.chance:.2f}", f"{seen.rate.rate:.2f} ({seen.rate.low:.2f} to {seen.rate.high:.2f}) of {seen.rate.of}",
        f"{median} ({' to '.join(map(whole, seen.median_range))})", ratio, *beside(said.runs_p90, at(seen.runs, 0.9)),
        beside(said.hours, at(seen.hours, 0.5))[0],
    ]  # fmt: skip
    verdict = f"{found.verdict} ({found.bound:.0%})" if found.verdict else ""
    return f"| {found.label} | {' | '.join(parts)} | {verdict} |"


def summed_up(both: Sequence[Beside]) -> str:
    """How many medians of the plan lie as near the simulated ones as they are meant to, and which do not."""
    by = {word: [each for each in both if each.verdict == word] for word in ("yes", "outside", "not known")}
    all_of = sum(map(len, by.values()))
    lines = [
        f"{len(by['yes'])} of {all_of} medians of the plan lie within their bound of the simulated ones."
    ]
    for word in ("outside", "not known"):
        told = [f"{each.label}{said_ratio(*each.medians)}" for each in by[word]]
        lines += [f"{word.capitalize()}: {'; '.join(told)}."] if told else []
    return " ".join(lines)


def said_ratio(said: float, seen: float) -> str:
    """A ratio in brackets, where there is one."""
    return f" ({said / seen:.2f})" if np.isfinite(said) and np.isfinite(seen) else ""


def beside(said: float | None, seen: float) -> tuple[str, str]:
    """A figure of both, and their ratio where both have one."""
    own = np.inf if said is None else said
    ratio = f"{own / max(seen, 1.0):.2f}" if np.isfinite(own) and np.isfinite(seen) else ""
    return f"{whole(own)} / {whole(seen)}", ratio


def whole(value: float) -> str:
    """A number of runs or hours; `later` where the horizon came first."""
    return f"{value:,.0f}" if np.isfinite(value) else "later"


def main() -> None:
    """Simulate in rounds, all cases alike far, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--releases", type=int, default=400, help="of each candidate at most; 0: write the page"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--only", type=int, nargs="*", help="places of cases")
    given = parser.parse_args()
    tables = [Table(c) for place, c in enumerate(cases()) if given.only is None or place in given.only]
    for reached in [*range(ROUND, given.releases, ROUND), given.releases]:
        for each in tables:
            each.simulate(reached, given.workers)
    walked = {len(seen.runs) for each in tables for seen in each.seen if len(seen.runs)}
    releases = " to ".join(map(str, sorted({min(walked), max(walked)})))
    lines = [
        HEAD.format(walks=HUNTS, releases=releases).rstrip("\n"),
        *(line for each in tables for line in each.lines()),
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
