"""`lastgood simulate`: how often a policy errs and how soon it decides, at an agent's own rates."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from config.policy import Policy
from evaluators import simulation
from evaluators.blocks import WHOLE
from evaluators.rules import Rules
from evaluators.simulation import Figures, Rate, Setup, Times
from lastgood.cli.common import environment_option, store
from lastgood.plural import counted
from lastgood.shown import laid_out
from tasks import simulating
from tasks.commands.options import (
    columns_option,
    file_of,
    find_policy,
    history_option,
    seed_option,
    variants_option,
)
from tasks.simulating import Source

_EXAMPLES = """\b
lastgood simulate default
lastgood simulate policy.yaml --history support --plot policy.png
lastgood simulate policy.yaml --history runs.csv --variant v1 --releases 200 --json
"""


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """The answer."""

    policy: Policy
    setup: Setup
    source: Source
    runs_per_day: int
    figures: tuple[Figures, ...]

    @property
    def rules(self) -> Rules:
        """What was simulated."""
        return self.setup.rules

    def of(self, kind: str) -> list[Figures]:
        """The figures of one kind of story."""
        return [found for found in self.figures if found.kind == kind]

    def to_json(self) -> dict[str, Any]:
        """A plain dict; rates with their 95% intervals."""
        return {
            "policy": self.policy.name,
            "policy_digest": self.policy.digest,
            "rates": self.source.said,
            "history_runs": self.setup.history_runs,
            "runs_per_day": self.runs_per_day,
            "seed": self.setup.seed,
            "alpha": {"revert": self.rules.alpha_revert, "promote": self.rules.alpha_promote},
            "refused": list(self.setup.refused),
            "set_aside": {gone.name: gone.why for gone in self.setup.set_aside},
            "stories": [found.to_json() for found in self.figures],
        }

    def lines(self) -> Iterator[str]:
        """The answer for people."""
        (equal,) = self.of("unchanged")
        steps = ", ".join(f"{step.share_bp / WHOLE:.0%}" for step in self.rules.steps)
        yield (
            f"policy {self.policy.name}: {counted(equal.promoted.of, 'release', form=',')} of a candidate"
            f" that changes nothing, up to {self.rules.horizon_runs:,} candidate runs each, at {steps},"
            f" {self.runs_per_day:,} eligible runs a day"
        )
        yield self.source.said
        for gone in self.setup.set_aside:
            yield f"set aside, its weight shared out: {gone.name} ({gone.why})"
        yield ""
        yield from self._equal(equal)
        yield ""
        yield from self._margins()
        yield ""
        yield from self._harms()
        yield ""
        for reason in self.setup.refused:
            yield f"a real release would be refused: {reason}"
        yield ("In brackets: 95% interval of what more releases would show. Ceilings are not simulated.")

    def _equal(self, found: Figures) -> Iterator[str]:
        yield "A candidate that is as good as the baseline"
        named = ", ".join(f"{name} {count}" for name, count in found.culprits.items())
        yield (
            f"  reverted by mistake   {_rate(found.reverted)}, allowed {self.rules.alpha_revert:.3g}"
            + (f"; named first: {named}" if named else "")
        )
        after = _after(found.promoted_runs, found.promoted_hours)
        yield f"  promoted              {_rate(found.promoted)}{after}"
        at_end = self.rules.on_undecided
        yield f"  undecided             {_rate(found.undecided)}, then the policy says: {at_end}"

    def _margins(self) -> Iterator[str]:
        yield (
            "A candidate that is worse by exactly a guardrail's margin (promoting it is the other mistake,"
            f" allowed {self.rules.alpha_promote:.3g})"
        )
        rows = [(f.guardrail, f.words, _rate(f.promoted), _rate(f.reverted)) for f in self.of("margin")]
        yield from laid_out(
            [("guardrail", "baseline -> candidate", "promoted by mistake", "reverted"), *rows], "  "
        )

    def _harms(self) -> Iterator[str]:
        yield "A candidate that does harm"
        rows = [
            (
                f.guardrail,
                f.words,
                _rate(f.reverted),
                _count(f.reverted_runs.median),
                _count(f.reverted_runs.p90),
                _rate(f.right_culprit) if f.reverted.count else "-",
            )
            for f in self.of("harm")
        ]
        header = (
            "guardrail",
            "baseline -> candidate",
            "caught",
            "half within",
            "9 of 10 within",
            "named rightly",
        )
        yield from laid_out([header, *rows], "  ")
        yield "  (candidate runs; - where fewer were caught before the release ended otherwise)"


@click.command(epilog=_EXAMPLES)
@click.argument("reference", metavar="POLICY")
@history_option
@variants_option
@columns_option
@click.option("--releases", default=1_000, show_default=True, type=click.IntRange(1, 100_000),
              help="Unchanged candidates; a fifth as many at each margin, a tenth a harm.")  # fmt: skip
@click.option("--runs-per-day", default=2_000, show_default=True, type=click.IntRange(1, 100_000_000),
              help="Eligible runs a day, which the policy's times are counted on.")  # fmt: skip
@click.option("--history-runs", default=20_000, show_default=True, type=click.IntRange(0, 1_000_000),
              help="Without --history: baseline runs before a release.")  # fmt: skip
@seed_option
@click.option("--workers", type=click.IntRange(1, 256), help="Processes; default: one a processor.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw it to this PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@environment_option
def simulate(
    reference: str, history: str | None, variants: tuple[str, ...], columns: dict[str, str], releases: int,
    runs_per_day: int, history_runs: int, seed: int, workers: int | None, plot: Path | None, environment: str,
    *, as_json: bool,
) -> None:  # fmt: skip
    """Walk simulated releases under POLICY (a file, a built-in or a stored name) and count how they end.

    Answers how often it would revert a candidate that changes nothing, promote one that is worse by a margin,
    and how many candidate runs it needs to catch a harm, at the rates of your recorded runs (--history). The
    judging is the release's own, a look at every block; only the runs are drawn. Ends with code 1 where a
    real release under POLICY would be refused.
    """
    if plot is not None and plot.suffix != ".png":
        raise click.BadParameter(f"{plot} is no .png file", param_hint="--plot")
    if plot is not None and not plot.parent.is_dir():
        raise click.BadParameter(f"there is no folder {plot.parent}", param_hint="--plot")
    policy = find_policy(reference)
    source = _source(history, variants, columns, policy, environment, history_runs)
    setup = simulation.prepare(
        policy.rules(),
        source.population,
        history_runs=source.history_runs,
        runs_per_day=runs_per_day,
        seed=seed,
        triggers=policy.triggers().rates,
    )
    todo = simulating.work(setup, releases)
    with _shown(sum(len(stories) for _, stories in todo)) as seen:
        ended = simulating.run(setup, todo, workers or _processors(), seen)
    told = Told(policy, setup, source, runs_per_day, simulation.summarise(setup, ended))
    click.echo(json.dumps(told.to_json()) if as_json else "\n".join(told.lines()))
    if plot is not None:
        _draw(told, plot)
    if setup.refused:
        raise SystemExit(1)


def _source(
    history: str | None, variants: tuple[str, ...], columns: dict[str, str], policy: Policy,
    environment: str, history_runs: int,
) -> Source:  # fmt: skip
    """Whose rates: a file's, an agent's, or a typical healthy agent's."""
    file = file_of(history, variants, columns)
    if file is not None:
        return simulating.from_file(file, variants, columns, policy.rules())
    if history is None:
        return simulating.healthy(policy.rules(), history_runs)
    return simulating.from_agent(store(), history, environment, policy)


def _processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _shown(total: int) -> Iterator[Callable[[int], None]]:
    """What hears of releases that are done, and shows it where somebody sits at a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=total, label="simulating releases", file=sys.stderr) as bar:
        yield bar.update


def _draw(told: Told, path: Path) -> None:
    from evaluators import simulation_charts  # matplotlib takes half a second to load
    from tasks.png import png

    figures = told.figures
    image = png(
        simulation_charts.risks(figures, told.rules), simulation_charts.detection(figures, told.rules)
    )
    path.write_bytes(image)
    click.echo(f"drawn to {path}", err=True)


def _rate(found: Rate) -> str:
    return f"{found.rate:.1%} ({found.low:.1%} to {found.high:.1%})"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _after(runs: Times, hours: Times) -> str:
    if runs.median is None:
        return ""
    more = "" if runs.p90 is None else f", nine of ten within {runs.p90:,} and {hours.p90:,} h"
    return f", half of all within {runs.median:,} candidate runs and {hours.median:,} h{more}"


__all__ = ["simulate"]
