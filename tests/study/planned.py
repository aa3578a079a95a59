"""What a plan says beside what simulated releases do: `make planned` writes docs/planning.md.

Both are made of the same policy, the same rates and the same harms. A plan walks sums of one guardrail at a
time; a simulation walks whole releases through the release's own comparison and stage machine.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from config.policy import Policy
from evaluators import History
from evaluators.planning_walk import Traffic
from evaluators.prospects import Until, plan
from evaluators.rules import Rules
from evaluators.simulation import Figures, Rate, Times, prepare, summarise
from evaluators.streams import Population, draw_history
from tasks import simulating

HERE = Path(__file__).parents[2]
PAGE = HERE / "docs" / "planning.md"
HEAD = """\
# What a plan says, and what then happens

Written by `make planned`. `lastgood plan` beside simulated releases (`lastgood simulate`) of the same policy at the
same rates: the healthy base of docs/study.md with .5% lost runs and .5% infrastructure failures, 20,000 recorded
runs of history. A plan has one history; each simulated release draws its own. {releases} unchanged candidates,
{harmed} with each harm; in brackets the 95% interval of a simulated share. Each figure is plan / simulation.
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
    history = History(draw_history(np.random.default_rng(77), base, RUNS))
    made = plan(setup.rules, history, Traffic(case.per_day))
    most = {"unchanged": releases, "harm": harmed}
    wanted = [most.get(story.kind, 0) for story in setup.stories]
    todo = [
        (number, tuple(place for place, n in enumerate(wanted) if number < n))
        for number in range(max(releases, harmed))
    ]
    ended = simulating.run(setup, todo, workers, lambda _: None)
    figures = summarise(setup, ended)
    equal = next(f for f in figures if f.kind == "unchanged")
    yield row("an equal candidate is promoted", made.promoted, equal.promoted, equal)
    for caught, found in zip(made.caught, (f for f in figures if f.kind == "harm"), strict=True):
        label = f"{caught.harm.guardrail}: {caught.harm.name}"
        yield row(label, caught.until, found.reverted, found)


def row(label: str, said: Until, rate: Rate, found: Figures) -> str:
    """Chance, median runs, p90 runs and median hours, plan then simulation."""
    runs, hours = (found.promoted_runs, found.promoted_hours) if found.kind == "unchanged" else (
        found.reverted_runs, found.reverted_hours)  # fmt: skip
    parts = [
        f"{said.chance:.2f}", f"{rate.rate:.2f} ({rate.low:.2f} to {rate.high:.2f})",
        *beside(said.runs, runs, 0), *beside(said.runs_p90, runs, 1), *beside(said.hours, hours, 0)[:1],
    ]  # fmt: skip
    return f"| {label} | {' | '.join(parts)} |"


def beside(said: float | None, found: Times, place: int) -> tuple[str, str]:
    """A figure of both, and their ratio."""
    seen = (found.median, found.p90)[place]
    if said is None or seen is None:
        return f"{said or '-'} / {seen or '-'}", ""
    return f"{said:,.0f} / {seen:,}", f"{said / max(seen, 1):.2f}"


def main() -> None:
    """Write the tables, each as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=400, help="unchanged candidates")
    parser.add_argument("--harmed", type=int, default=200, help="candidates with each harm")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--only", type=int, nargs="*", help="places of cases")
    given = parser.parse_args()
    page = HEAD.format(releases=given.releases, harmed=given.harmed)
    for number, case in enumerate(cases()):
        if given.only is None or number in given.only:
            rows = "\n".join(table(case, given.releases, given.harmed, given.workers))
            page += f"\n## {case.name[0].upper()}{case.name[1:]}\n\n{COLUMNS}\n{rows}\n"
            PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
