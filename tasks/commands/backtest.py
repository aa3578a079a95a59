"""`lastgood backtest`: a policy replayed on recorded runs, before it is trusted with a release."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from config.policy import Policy
from config.quantities import format_share, parse_share
from evaluators import backtest as replaying
from evaluators import planning
from evaluators.backtest import Prepared, Spread, Summary
from evaluators.blocks import WHOLE
from evaluators.replay import Replay
from evaluators.rules import Kind, Rules
from lastgood.plural import counted
from lastgood.shown import laid_out
from tasks import recorded
from tasks.commands.options import columns_option, find_policy, seed_option

#: of the virtual clock: beyond it two runs share a millisecond
_MOST_RUNS_PER_DAY = 100_000_000


#: `\\b` keeps click from joining the lines
_EXAMPLES = """\b
lastgood backtest runs.csv --baseline v1 --candidate v2
lastgood backtest runs.csv -b v1 -c v2 --share 10% --column stratum=repo --json
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks to replay."""

    path: Path
    baseline: tuple[str, ...]
    candidate: tuple[str, ...]
    policy: Policy
    #: basis points of the one step, None for the policy's steps
    share_bp: int | None
    replays: int
    seed: int
    runs_per_day: int
    strict: bool
    #: the file's own name of a column, by the known one
    columns: dict[str, str]


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """`10%` or `0.1` as basis points."""
    if value is None:
        return None
    try:
        return parse_share(value if value.strip().endswith("%") else float(value))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command(epilog=_EXAMPLES)
@click.argument("path", metavar="RUNS", type=click.Path(path_type=Path))
@click.option(
    "--baseline",
    "-b",
    metavar="V",
    multiple=True,
    required=True,
    help="Variant served now; several are pooled.",
)
@click.option(
    "--candidate",
    "-c",
    metavar="V",
    multiple=True,
    required=True,
    help="Variant to release; several are pooled.",
)
@click.option(
    "--policy", "reference", default="default", show_default=True, help="Built-in or stored name, or a file."
)
@click.option(
    "--share",
    metavar="S",
    callback=_share,
    help="One step of this share (10% or 0.1) instead of the policy's.",
)
@click.option(
    "--replays", default=200, show_default=True, type=click.IntRange(1, 100_000), help="Releases to replay."
)
@seed_option
@click.option(
    "--runs-per-day", default=2_000, show_default=True, type=click.IntRange(1, _MOST_RUNS_PER_DAY),
    help="Eligible runs on the virtual clock, which the policy's times are counted on.",
)  # fmt: skip
@columns_option
@click.option("--strict", is_flag=True, help="Keep guardrails without data: they hold, as in a real release.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; counts are of replays.")
def backtest(
    path: Path, baseline: tuple[str, ...], candidate: tuple[str, ...], reference: str, share: int | None,
    replays: int, seed: int, runs_per_day: int, columns: dict[str, str], *, strict: bool, as_json: bool,
) -> None:  # fmt: skip
    """Replay recorded RUNS as releases and say how a policy decides.

    RUNS is CSV, JSON lines or Parquet, one run a row: a column `variant` and any of completed, validated,
    escalated, incidents, lost, infra_failure (true/false, 1/0 or counts), cost_usd, operator_edits, latency_s
    (numbers), what the policy watches beside them, stratum, unit; `success` and `infra_fail` are read as
    completed and infra_failure. A guardrail without data is reported as no_data and set aside. As many
    replays of the baseline against itself show how often a healthy release is disturbed.
    """
    asked = Asked(
        path, baseline, candidate, find_policy(reference), share, replays, seed, runs_per_day, strict, columns
    )
    told = run(asked)
    click.echo(json.dumps(told.to_json(), sort_keys=False) if as_json else "\n".join(told.lines()))


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """The answer."""

    asked: Asked
    prepared: Prepared
    #: known column and the file's own name for it, where they differ
    renamed: tuple[tuple[str, str], ...]
    summary: Summary
    #: the baseline against itself
    healthy: Summary
    #: why a real release under the policy would be refused
    refused: tuple[str, ...]

    @property
    def runs_before_time(self) -> int:
        """Candidate runs that come before the horizon's time at the largest share."""
        rules = self.prepared.case.rules
        share_bp = max(step.share_bp for step in rules.steps)
        return rules.horizon_us // self.prepared.case.interval_us * share_bp // WHOLE

    def to_json(self) -> dict[str, Any]:
        """A plain dict; counts are of replays."""
        asked, case = self.asked, self.prepared.case
        return {
            **self.summary.to_json(),
            "healthy": self.healthy.to_json(),
            "no_data": list(self.prepared.no_data),
            "strict": asked.strict,
            "refused": list(self.refused),
            "baseline": list(asked.baseline),
            "candidate": list(asked.candidate),
            "recorded": {"baseline": case.baseline.size, "candidate": case.candidate.size},
            "repeated_units": self.prepared.repeated,
            "columns": dict(self.renamed),
            "strata": dict(case.rules.strata),
            "policy": asked.policy.name,
            "policy_digest": asked.policy.digest,
            "share": None if asked.share_bp is None else asked.share_bp / WHOLE,
            "steps": [step.share_bp / WHOLE for step in case.rules.steps],
            "runs_per_day": asked.runs_per_day,
            "seed": asked.seed,
        }

    def lines(self) -> Iterator[str]:
        """The answer for people."""
        asked, case = self.asked, self.prepared.case
        shares = ", ".join(format_share(step.share_bp) for step in case.rules.steps)
        yield (
            f"{'+'.join(asked.baseline)} -> {'+'.join(asked.candidate)}: {counted(asked.replays, 'replay')}"
            f" of policy {asked.policy.name} at {shares}, {asked.runs_per_day:,} eligible runs a day,"
            f" seed {asked.seed}"
        )
        yield (
            f"recorded runs: {case.baseline.size:,} of the baseline, {case.candidate.size:,} of the candidate"
            + "".join(f"; {known} is read from {source}" for known, source in self.renamed)
            + (f"; {self.prepared.repeated:,} of repeated units left out" if self.prepared.repeated else "")
        )
        yield ""
        yield from _columns_of(self.summary, self.healthy)
        yield ""
        yield from self._notes()

    def _notes(self) -> Iterator[str]:
        asked, found = self.asked, self.summary
        for label, names in (
            ("reverted by", found.culprits),
            ("by a trigger", found.triggers),
            ("slices", found.slices),
        ):
            if names:
                yield f"{label}: " + ", ".join(f"{name} {count}" for name, count in names.items())
        upper, alpha = 100 * self.healthy.reverted_upper, 100 * self.prepared.case.rules.alpha_revert
        yield (
            f"a healthy release is disturbed in {self.healthy.reverted} of"
            f" {counted(self.healthy.replays, 'replay')}"
            f" (at most {upper:.1f}% at 95% confidence; the policy allows {alpha:g}%)"
        )
        if self.prepared.no_data:
            what = (
                "they hold, as in a real release"
                if self.asked.strict
                else "set aside, their weight shared out"
            )
            yield f"no_data: {', '.join(self.prepared.no_data)} ({what})"
        case = self.prepared.case
        if case.strata and max(case.baseline.strata.max(), case.candidate.strata.max()) < 0:
            yield "strata: no recorded run is in a slice of the policy; name them with --column stratum=NAME"
        fit, runs = self.runs_before_time, case.rules.horizon_runs
        if fit < runs and found.undecided + self.healthy.undecided:
            yield (
                f"the horizon's time ends replays: at {asked.runs_per_day:,} eligible runs a day about"
                f" {fit:,} candidate runs come before it, not {runs:,}; --runs-per-day says how busy it is"
            )
        for reason in self.refused:
            yield f"a real release would be refused: {reason}"


def run(asked: Asked) -> Told:
    """Read the recording and replay it; raises InvalidRuns before the first replay."""
    rules = asked.policy.rules()
    if asked.share_bp is not None:
        rules = replaying.one_step(rules, asked.share_bp)
    own = [guardrail.column for guardrail in rules.guardrails if guardrail.kind is Kind.PROPORTION]
    numbers = [guardrail.column for guardrail in rules.guardrails if guardrail.kind is not Kind.PROPORTION]
    recording = recorded.read(asked.path, asked.columns, own, numbers)
    prepared = replaying.prepare(
        rules,
        recording.of(asked.baseline),
        recording.of(asked.candidate),
        triggers=asked.policy.triggers().rates,
        strict=asked.strict,
        runs_per_day=asked.runs_per_day,
        seed=asked.seed,
    )
    case = prepared.case
    refused = planning.can_decide(_watched(case.rules, prepared), case.history)
    with _shown(2 * asked.replays) as show:
        candidate = list(show(replaying.replayed(case, asked.replays, "candidate")))
        healthy = list(show(replaying.replayed(replaying.healthy(case), asked.replays, "healthy")))
    summaries = replaying.summarise(candidate), replaying.summarise(healthy)
    return Told(asked, prepared, recording.renamed, *summaries, tuple(refused))


def _watched(rules: Rules, prepared: Prepared) -> Rules:
    """The rules without the guardrails that have no data: what planning can say something on."""
    kept = tuple(g for g in rules.guardrails if g.name not in prepared.no_data)
    return replace(rules, guardrails=kept)


@contextmanager
def _shown(total: int) -> Iterator[Any]:
    """A function that passes replays on and shows them go by, where somebody sits at a terminal."""
    if not sys.stderr.isatty():
        yield iter
        return
    with click.progressbar(length=total, label="replaying", file=sys.stderr) as bar:

        def show(replays: Iterable[Replay]) -> Iterator[Replay]:
            for replay in replays:
                bar.update(1)
                yield replay

        yield show


def _columns_of(summary: Summary, healthy: Summary) -> Iterator[str]:
    """The endings of both side by side."""
    rows = [
        (ending, str(getattr(summary, ending)), str(getattr(healthy, ending)))
        for ending in ("promoted", "reverted", "undecided", "invalid")
    ]
    for label, name in (
        ("candidate runs until promoted", "promoted_runs"),
        ("candidate runs until reverted", "reverted_runs"),
        ("candidate runs served until then", "served"),
        ("hours until then", "hours"),
    ):
        rows.append((label, _said(getattr(summary, name)), _said(getattr(healthy, name))))
    return laid_out([("replays", "candidate", "baseline against itself"), *rows])


def _said(spread: Spread) -> str:
    return "-" if spread.median is None else f"median {spread.median:,}, p90 {spread.p90:,}"
