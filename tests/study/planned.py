"""What a plan says beside what simulated releases do: `make planned` writes docs/planning.md.

Both are made of the same policy, the same rates and the same harms. A plan walks sums of one guardrail at a
time; a simulation walks whole releases through the release's own comparison and stage machine. Simulated
releases are kept under .study/planned/ every few: a run that was stopped goes on where it stood.
"""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from config.policy import Policy
from evaluators.mixture import FloatArray
from evaluators.planning_walk import Traffic
from evaluators.prospects import HUNTS, Until, plan
from evaluators.replay import Ending
from evaluators.rules import HOUR, Rules
from evaluators.simulation import Rate, prepare
from evaluators.streams import Population, draw_history
from tasks import simulating

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "planning.md"
#: how near a plan is meant to be to a simulation
NEAR = 0.15
#: releases of each kind that are walked between two writes
ROUND = 20
#: modules of evaluators/ that only a plan is made by
PLANS = ("planning", "prospects", "outlook", "blindness", "simulation_charts", "charts")
HEAD = """\
# What a plan says, and what then happens

Written by `make planned`. `lastgood plan` beside `lastgood simulate`, of the same policy on the same 20,000 recorded
runs: drawn once from the healthy base of docs/study.md, with .5% lost runs and .5% infrastructure failures. A plan has
those runs for its history; each simulated release draws its own history, and its runs, from them.

Each figure is plan / simulation, then the ratio of both. In brackets stands the 95% interval of a simulated share, and
of a median the range that holds the true one in 95 of 100 simulations. A plan's own medians rest on {walks} walks and
are good to about 5%.

A plan counts to the end of the block (20 runs, of `low_traffic` 10) whose last run shows the harm, as a simulation
does. So a figure is known to a block: at a share of 10% that is two candidate runs, at 50% ten. A real release is looked
at within a block too and reverts up to a block sooner.

A lost run fails every other guardrail too, and a plan walks each harm in its own guardrail alone: candidates that lose
runs are found sooner than it says. A candidate that every gate lets through may be promoted before a harm within the
margins is seen; both count that as not caught.
"""
COLUMNS = (
    "| what is true | in time: plan | simulation | candidate runs, median | ratio | nine of ten within | ratio |"
    " hours, median |\n|---|---|---|---|---|---|---|---|"
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
        digest = hashlib.sha256(judge() + repr(case.rules).encode()).hexdigest()[:12]
        self.file = ROOT / ".study" / "planned" / f"{digest}.jsonl"
        lines = self.file.read_text("utf-8").splitlines() if self.file.exists() else []
        #: place of the story, how it ended, candidate runs and microseconds
        self.ended = [End(*json.loads(line)) for line in lines]

    def simulate(self, releases: int, harmed: int, workers: int) -> None:
        """Walk releases until there are so many unchanged ones, and with each harm."""
        most, done = {"unchanged": releases, "harm": harmed}, Counter(end.place for end in self.ended)
        wanted = [(done[place], most.get(s.kind, 0)) for place, s in enumerate(self.setup.stories)]
        todo = []
        for number in range(max(releases, harmed)):
            places = tuple(place for place, (first, end) in enumerate(wanted) if first <= number < end)
            todo += [(number, places)] if places else []
        found = simulating.run(self.setup, todo, workers, lambda _: None)
        ends = [End(place, str(r.ending), r.candidate_runs, r.age_us) for place, r in found]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(end)}\n" for end in ends)
        self.ended += ends

    def lines(self) -> Iterator[str]:
        """The table."""
        done = Counter(end.place for end in self.ended)
        kinds = {story.kind: done[place] for place, story in enumerate(self.setup.stories)}
        name = self.case.name
        yield f"\n## {name[0].upper()}{name[1:]}\n"
        yield f"{kinds['unchanged']} unchanged candidates, {kinds['harm']} with each harm.\n"
        yield COLUMNS
        both = list(self.beside())
        yield from (row(*each) for each in both)
        yield f"\n{summed_up(both)}"

    def beside(self) -> "Iterator[tuple[str, Until, Seen]]":
        """What a plan says of each story, and what its releases did."""
        made = plan(self.setup.rules, self.setup.history, Traffic(self.case.per_day))
        caught = iter(made.caught)
        for place, story in enumerate(self.setup.stories):
            if story.kind == "unchanged":
                yield "an equal candidate is promoted", made.promoted, self.seen(place, Ending.PROMOTED)
            elif story.kind == "harm":
                said = next(caught)
                label = f"{said.harm.guardrail}: {said.harm.name}"
                yield label, said.until, self.seen(place, Ending.REVERTED)

    def seen(self, place: int, ending: Ending) -> "Seen":
        """What a story's releases did."""
        own = [end for end in self.ended if end.place == place]
        there = [end.ending == str(ending) for end in own]
        values = np.array([[end.candidate_runs, end.age_us / HOUR] for end in own], dtype=np.float64)
        values[~np.array(there)] = np.inf
        return Seen(Rate.of_counts(sum(there), len(own)), *np.sort(values, axis=0).T)


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


@dataclass(frozen=True)
class Seen:
    """What simulated releases did."""

    rate: Rate
    #: candidate runs, and hours, until it happened, rising; infinite where it did not
    runs: FloatArray
    hours: FloatArray

    @property
    def median_range(self) -> tuple[float, float]:
        """The 95% range of the median runs by order statistics."""
        n = len(self.runs)
        low, high = int(binom.ppf(0.025, n, 0.5)) - 1, int(binom.ppf(0.975, n, 0.5))
        return float(self.runs[max(low, 0)]), float(self.runs[min(high, n - 1)])


def at(values: FloatArray, level: float) -> float:
    """A quantile, infinite ones included."""
    return float(np.quantile(values, level, method="inverted_cdf"))


def row(label: str, said: Until, seen: Seen) -> str:
    """Chance, median runs, p90 runs and median hours, plan then simulation."""
    rate = seen.rate
    median, ratio = beside(said.runs, at(seen.runs, 0.5))
    parts = [
        f"{said.chance:.2f}", f"{rate.rate:.2f} ({rate.low:.2f} to {rate.high:.2f})",
        f"{median} ({' to '.join(map(whole, seen.median_range))})", ratio, *beside(said.runs_p90, at(seen.runs, 0.9)),
        beside(said.hours, at(seen.hours, 0.5))[0],
    ]  # fmt: skip
    return f"| {label} | {' | '.join(parts)} |"


def summed_up(both: Sequence[tuple[str, Until, Seen]]) -> str:
    """How many medians of the plan lie near the simulated ones, and which can't be the same."""
    known = [(label, float(said.runs), seen) for label, said, seen in both if said.runs is not None]
    known = [each for each in known if np.isfinite(at(each[2].runs, 0.5))]
    far = []
    for label, said, seen in known:
        low, high = seen.median_range
        if abs(said / at(seen.runs, 0.5) - 1.0) > NEAR:
            far.append(f"{label} ({'inside' if low <= said <= high else 'outside'} the simulated range)")
    rest = f" The others: {'; '.join(far)}." if far else ""
    near = len(known) - len(far)
    return f"{near} of {len(known)} medians of the plan lie within {NEAR:.0%} of the simulated ones.{rest}"


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
    parser.add_argument("--releases", type=int, default=400, help="unchanged candidates")
    parser.add_argument("--harmed", type=int, default=200, help="candidates with each harm")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--only", type=int, nargs="*", help="places of cases")
    given = parser.parse_args()
    tables = [Table(c) for place, c in enumerate(cases()) if given.only is None or place in given.only]
    most = max(given.releases, given.harmed)
    for reached in [*range(ROUND, most, ROUND), most]:
        for each in tables:
            each.simulate(min(reached, given.releases), min(reached, given.harmed), given.workers)
    lines = [HEAD.format(walks=HUNTS).rstrip("\n"), *(line for each in tables for line in each.lines())]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
