"""What a plan says beside what simulated releases do: `make planned` writes docs/planning.md.

Both are made of the same policy, the same rates and the same harms. A plan walks sums of one guardrail at a
time; a simulation walks whole releases through the release's own comparison and stage machine.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import binom

from config.policy import Policy
from evaluators.mixture import FloatArray
from evaluators.planning_walk import Traffic
from evaluators.prospects import HUNTS, Until, plan
from evaluators.replay import Ending, Replay
from evaluators.rules import Rules
from evaluators.simulation import Rate, Times, prepare, summarise
from evaluators.streams import Population
from tasks import simulating

HERE = Path(__file__).parents[2]
PAGE = HERE / "docs" / "planning.md"
HEAD = """\
# What a plan says, and what then happens

Written by `make planned`. `lastgood plan` beside simulated releases (`lastgood simulate`) of the same policy at the
same rates: the healthy base of docs/study.md with .5% lost runs and .5% infrastructure failures, 20,000 recorded
runs of history. A plan has one history; each simulated release draws its own of the same rates.

Each figure is plan / simulation, then the ratio of both. {releases} unchanged candidates and {harmed} with each harm
are simulated: in brackets stands the 95% interval of a share, and of a median the range that holds the true one in 95
of 100 simulations. A plan's own medians rest on {walks} walks and are good to about 5%.

A plan counts to the end of the block (20 runs, of `low_traffic` 10) whose last run shows the harm, as a simulation
does. So a figure is known to a block: at a share of 10% that is two candidate runs, at 50% ten. A real release is looked
at within a block too and reverts up to a block sooner.
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


def table(case: Case, releases: int, harmed: int, workers: int) -> Iterator[str]:
    """The case's rows."""
    base = replace(Population(), lost=0.005, infra_failure=0.005)
    setup = prepare(case.rules, base, history_runs=RUNS, runs_per_day=case.per_day, seed=7)
    made = plan(setup.rules, setup.history, Traffic(case.per_day))
    most = {"unchanged": releases, "harm": harmed}
    wanted = [most.get(story.kind, 0) for story in setup.stories]
    todo = [
        (number, tuple(place for place, n in enumerate(wanted) if number < n))
        for number in range(max(releases, harmed))
    ]
    ended = list(simulating.run(setup, todo, workers, lambda _: None))
    caught = iter(made.caught)
    for place, (story, found) in enumerate(zip(setup.stories, summarise(setup, ended), strict=True)):
        own = [replay for number, replay in ended if number == place]
        if story.kind == "unchanged":
            seen = Seen(found.promoted, found.promoted_hours, runs_to(own, Ending.PROMOTED))
            yield row("an equal candidate is promoted", made.promoted, seen)
        elif story.kind == "harm":
            said = next(caught)
            seen = Seen(found.reverted, found.reverted_hours, runs_to(own, Ending.REVERTED))
            yield row(f"{said.harm.guardrail}: {said.harm.name}", said.until, seen)


@dataclass(frozen=True)
class Seen:
    """What simulated releases did."""

    rate: Rate
    hours: Times
    #: candidate runs until it happened, rising; infinite where it did not
    runs: FloatArray

    def at(self, level: float) -> float:
        """A quantile of the runs."""
        return float(np.quantile(self.runs, level, method="inverted_cdf"))

    @property
    def median_range(self) -> str:
        """The 95% range of the median by order statistics; `later` where too few got there."""
        n = len(self.runs)
        low, high = int(binom.ppf(0.025, n, 0.5)) - 1, int(binom.ppf(0.975, n, 0.5))
        return f"{whole(self.runs[max(low, 0)])} to {whole(self.runs[min(high, n - 1)])}"


def runs_to(replays: list[Replay], ending: Ending) -> FloatArray:
    """Candidate runs until each release ended so, rising."""
    return np.sort([float(r.candidate_runs) if r.ending is ending else np.inf for r in replays])


def row(label: str, said: Until, seen: Seen) -> str:
    """Chance, median runs, p90 runs and median hours, plan then simulation."""
    rate, hours = seen.rate, seen.hours.median
    median, ratio = beside(said.runs, seen.at(0.5))
    parts = [
        f"{said.chance:.2f}", f"{rate.rate:.2f} ({rate.low:.2f} to {rate.high:.2f})",
        f"{median} ({seen.median_range})", ratio, *beside(said.runs_p90, seen.at(0.9)),
        beside(said.hours, np.inf if hours is None else float(hours))[0],
    ]  # fmt: skip
    return f"| {label} | {' | '.join(parts)} |"


def beside(said: float | None, seen: float) -> tuple[str, str]:
    """A figure of both, and their ratio where both have one."""
    own = np.inf if said is None else said
    ratio = f"{own / max(seen, 1.0):.2f}" if np.isfinite(own) and np.isfinite(seen) else ""
    return f"{whole(own)} / {whole(seen)}", ratio


def whole(value: float) -> str:
    """A number of runs or hours; `later` where the horizon came first."""
    return f"{value:,.0f}" if np.isfinite(value) else "later"


def main() -> None:
    """Write the tables, each as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=400, help="unchanged candidates")
    parser.add_argument("--harmed", type=int, default=200, help="candidates with each harm")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--only", type=int, nargs="*", help="places of cases")
    given = parser.parse_args()
    page = HEAD.format(releases=given.releases, harmed=given.harmed, walks=HUNTS)
    for number, case in enumerate(cases()):
        if given.only is None or number in given.only:
            rows = "\n".join(table(case, given.releases, given.harmed, given.workers))
            page += f"\n## {case.name[0].upper()}{case.name[1:]}\n\n{COLUMNS}\n{rows}\n"
            PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
