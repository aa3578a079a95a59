"""`make support`: how soon each faulty bundle of the agent is caught, written to docs/support-agent.md.

Releases are real (the store, the stages, the looks, the referee, the CRM's service) on a clock of their own;
what became of each is kept under .support/, so that a stopped measurement goes on. Releases by the hundred
are replayed from recorded runs.
"""

import datetime as dt
import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from config.policy import Policy
from examples.support_agent import figures
from examples.support_agent.trials import HISTORY, Trial, record, season, trial
from lastgood.clock import ManualClock
from tasks.commands import backtest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: releases that are replayed from recorded runs, and runs that are recorded of each bundle
REPLAYS, RECORDED = 200, 3_000
#: files that change no figure
_BESIDE = {
    *("__main__.py", "agent.yaml", "figures.py", "http.py", "measure.py", "replay.py", "story.py", "undo.py"),
}


def policy() -> Policy:
    """The policy that the agent comes with."""
    return Policy.load(HERE / "policy.yaml")


def version() -> str:
    """Which agent, bundles and policy kept trials belong to: 12 hex digits."""
    ours = [
        path
        for path in HERE.rglob("*")
        if path.suffix in {".py", ".md", ".yaml"} and path.name not in _BESIDE
    ]
    told = b"".join(path.read_bytes() for path in sorted(ours))
    return hashlib.sha256(told).hexdigest()[:12]


def _one(seasoned: Path, clock: ManualClock, wanted: tuple[str, int]) -> Trial:
    with tempfile.TemporaryDirectory(prefix="support-") as folder:
        return trial(seasoned, Path(folder), clock, policy(), *wanted)


def known(file: Path) -> list[Trial]:
    """The trials that are kept."""
    if not file.exists():
        return []
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [Trial(**{**row, "culprits": tuple(row["culprits"])}) for row in rows]


def fill(file: Path, wanted: Sequence[tuple[str, int]], workers: int) -> list[Trial]:
    """Make the trials that are not kept yet, and keep each as it ends."""
    done = {(each.bundle, each.number) for each in known(file)}
    left = [each for each in wanted if each not in done]
    if left:
        with tempfile.TemporaryDirectory(prefix="support-") as folder:
            clock = season(Path(folder))
            with ProcessPoolExecutor(workers) as pool, file.open("a", encoding="utf-8") as kept:
                for number, made in enumerate(pool.map(partial(_one, Path(folder), clock), left), start=1):
                    kept.write(json.dumps(asdict(made)) + "\n")
                    kept.flush()
                    click.echo(f"{number} of {len(left)}: {made}")
    return [each for each in known(file) if (each.bundle, each.number) in set(wanted)]


def replayed(file: Path, candidate: str, replays: int) -> backtest.Told:
    """Replay releases of a bundle, and of the good one against itself, from recorded runs."""
    asked = backtest.Asked(file, ("good",), (candidate,), policy(), None, replays, 0, 5_760, False, {})
    return backtest.run(asked)


def page(trials: Sequence[Trial], told: backtest.Told | None, began: float) -> Iterator[str]:
    """The whole page."""
    yield from figures.head(len(trials), HISTORY)
    yield from (each.row() for each in figures.caught(trials))
    yield from ("", "## Bundles that are not worse", "")
    yield from figures.live(trials)
    if told is not None:
        yield from _replayed(told)
    minutes = (time.monotonic() - began) / 60
    yield from ("", f"The last run of the command took {minutes:.0f} minutes, on {machine()}.")


def _replayed(told: backtest.Told) -> Iterator[str]:
    found, healthy, case = told.summary, told.healthy, told.prepared.case
    yield (
        f"- better, replayed from {case.candidate.size:,} recorded runs: of {found.replays} releases "
        f"{found.promoted} promoted, {found.reverted} reverted, {found.undecided} undecided; median "
        f"{found.candidate_runs.median} candidate runs"
    )
    yield (
        f"- the good one against itself, replayed from {case.baseline.size:,} recorded runs: of "
        f"{healthy.replays} releases {healthy.reverted} reverted (at most {healthy.reverted_upper:.3f} at "
        f"95% confidence; the policy allows {policy().alpha.revert:g}), {healthy.promoted} promoted, "
        f"{healthy.undecided} undecided"
    )


def machine() -> str:
    """Where and when."""
    today = dt.datetime.now(tz=dt.UTC).date()
    return f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}, {today}"


@click.command()
@click.option("--releases", default=40, show_default=True, help="Of each faulty bundle.")
@click.option("--better", default=3, show_default=True, help="Of the better one, for real.")
@click.option("--again", default=2, show_default=True, help="Of the good one against itself, for real.")
@click.option("--replays", default=REPLAYS, show_default=True, help="Releases replayed from recorded runs.")
@click.option("--workers", default=1, show_default=True)
@click.option("--out", default=ROOT / "docs" / "support-agent.md", type=click.Path(path_type=Path))
@click.option(
    "--keep", default=ROOT / ".support", type=click.Path(path_type=Path), help="Where trials are kept."
)
def main(releases: int, better: int, again: int, replays: int, workers: int, out: Path, keep: Path) -> None:
    """Measure, or go on measuring, and write the page; ends with 1 where a target is missed."""
    began = time.monotonic()
    keep.mkdir(exist_ok=True)
    wanted = [(target.bundle, number) for number in range(releases) for target in figures.TARGETS]
    wanted += [("better", number) for number in range(better)] + [
        ("good again", number) for number in range(again)
    ]
    trials = fill(keep / f"trials-{version()}.jsonl", wanted, workers)
    told = replayed(recording(keep), "better", replays) if replays else None
    out.write_text("\n".join(page(trials, told, began)) + "\n", encoding="utf-8")
    click.echo(out.read_text("utf-8"))
    missed = [each.target.bundle for each in figures.caught(trials) if not each.holds]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


def recording(keep: Path) -> Path:
    """Recorded runs of the good bundle and the better one."""
    path = keep / f"recorded-{version()}.jsonl"
    if not path.exists():
        part = keep / "recorded.part"
        part.unlink(missing_ok=True)
        for name in ("good", "better"):
            with tempfile.TemporaryDirectory(prefix="support-") as folder:
                record(Path(folder), part, name, RECORDED)
        part.rename(path)
    return path


if __name__ == "__main__":
    main()
