"""`make healthy`: which peers revert healthy candidates on the same streams, and what they find.

Each peer sees the first streams of some of the study's nulls, and of two harms. What was judged is kept
under .study/healthy/, a file a scenario; docs/peers.json, docs/peers.md and the README's table are written
from it. `--table` only writes the pages, from docs/peers.json.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from healthy_page import PAGES, WHOLE, write
from judging import LINES, reverted
from peers import METRICS, python, sums
from rule_kayenta import Judge
from rule_thresholds import Argo, Flagger
from scenarios import SCENARIOS
from watched import HEALTHY, Watched

from evaluators import Comparison, History

ROOT = Path(__file__).parents[2]
#: nulls and harms, the one that takes longest last
NAMES = ("no-change", "pareto", "wave-ramp", "rising", "drop", "two-points", "sticky-10-.1")
#: streams that are held in memory at a time
BATCH = 100
#: of each kind where a peer's own code takes longest
FEWER = {"gbstats-alike": 50, "confidence": 50}
#: runs of traffic behind one data point of Kayenta, and between two looks at a threshold
POINT, INTERVAL = 100, 500
#: looks of the peers' own code, between 10 and 5,000 candidate runs
LOOKS = {"gbstats": 25, "confidence": 10}


def ours(watched: Watched) -> int | None:
    """lastgood, looking at every closed block."""
    history, runs = watched.drawn
    comparison = Comparison(watched.scenario.rules, History(history))
    for piece in (runs.iloc[:2_000], runs.iloc[2_000:]):
        if not comparison.ended:
            comparison.observe(piece)
    found = reverted(watched.scenario, comparison.path(), LINES["05"])
    return found[0] if found else None


def kayenta(judge: Judge) -> Callable[[Watched], int | None]:
    """Candidate runs until the judge fails the canary beside a baseline of its size."""

    def rule(watched: Watched) -> int | None:
        arms = (watched.windows(mine, POINT) for mine in (watched.ours, watched.alike))
        at = judge.failed(*arms)
        return None if at is None else watched.seen(at, POINT)

    return rule


@dataclass(frozen=True)
class Limits:
    """What a threshold lets through, above the healthy value of each metric that is watched."""

    #: failures a run
    rate: float
    #: times an amount a completed run; None: amounts are not watched
    amount: float | None = None
    metrics: tuple[str, ...] = ("completion",)

    def out(self, watched: Watched) -> dict[str, np.ndarray]:
        """Whether each metric is out of bounds at each look; missing is out."""
        seen = watched.windows(watched.ours, INTERVAL)
        most = {
            name: HEALTHY[name] * self.amount if METRICS[name][1] else HEALTHY[name] + self.rate
            for name in self.metrics
        }
        return {name: ~(seen[name] <= most[name] + 1e-12) for name in self.metrics}


ALL = Limits(0.05, 1.5, tuple(METRICS))


def argo(limits: Limits, rule: Argo = Argo()) -> Callable[[Watched], int | None]:  # noqa: B008 - frozen
    """Candidate runs until one metric's measurements fail the analysis."""

    def judge(watched: Watched) -> int | None:
        found = [rule.failed(out) for out in limits.out(watched).values()]
        there = [number for number in found if number is not None]
        return watched.seen(min(there), INTERVAL) if there else None

    return judge


def flagger(limits: Limits, rule: Flagger = Flagger()) -> Callable[[Watched], int | None]:  # noqa: B008 - frozen
    """Candidate runs until the rollback; a check is all the metrics."""

    def judge(watched: Watched) -> int | None:
        at = rule.failed(np.any(list(limits.out(watched).values()), axis=0))
        return None if at is None else watched.seen(at, INTERVAL)

    return judge


FIVE, ONE, HALFWAY = Limits(0.05), Limits(0.01), Limits(0.14)
#: what is judged here, by its key in the pages
RULES: dict[str, Callable[[Watched], int | None]] = {
    "lastgood": ours,
    "kayenta": kayenta(Judge()),
    "kayenta-critical": kayenta(Judge().every_metric_critical()),
    "argo": argo(FIVE),
    "argo-long": argo(FIVE, Argo(count=None)),
    "argo-halfway": argo(HALFWAY),
    "argo-halfway-long": argo(HALFWAY, Argo(count=None)),
    "argo-all": argo(ALL),
    "argo-all-long": argo(ALL, Argo(count=None)),
    "flagger": flagger(ONE),
    "flagger-five": flagger(FIVE),
    "flagger-halfway": flagger(HALFWAY),
    "flagger-all": flagger(ALL),
}
#: what the peers' own code is asked: its environment, whether its arms are of equal size, its question
ASKED: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "gbstats": ("gbstats", False, {"test": "sequential", "alpha": 0.05 / 6}),
    "gbstats-alike": ("gbstats", True, {"test": "sequential", "alpha": 0.05 / 6}),
    "gbstats-fixed": ("gbstats", False, {"test": "fixed", "alpha": 0.05 / 6}),
    "confidence": ("confidence", False, {}),
}


def asked(key: str, streams: list[Watched]) -> list[int | None]:
    """What a peer's own code says of each stream: candidate runs until it reverts."""
    peer, alike, question = ASKED[key]
    releases = []
    for watched in streams:
        runs = watched.runs.loc[watched.ours | watched.alike] if alike else watched.runs
        releases.append(sums(runs, LOOKS[peer]))
    text = json.dumps(
        {"metrics": {name: amount for name, (_, amount) in METRICS.items()}, "releases": releases, **question}
    )
    script = str(Path(__file__).with_name(f"peer_{peer}.py"))
    done = subprocess.run([str(python(peer)), script], input=text, capture_output=True, text=True, check=True)
    return [found[0] if found else None for found in json.loads(done.stdout)]


def judged(file: Path, name: str, keys: list[str], start: int, end: int) -> None:
    """Fill a scenario's file with what is not known yet of some streams; written after each peer."""
    known = json.loads(file.read_text("utf-8")) if file.exists() else {}
    scenario = next(each for each in SCENARIOS if each.name == name)
    drawn = [Watched(scenario, i) for i in range(start, end)]
    for key in keys:
        missing = drawn[max(0, len(known.get(key, [])) - start) : FEWER.get(key, end) - start]
        if not missing:
            continue
        began = time.process_time()
        found = asked(key, missing) if key in ASKED else [RULES[key](each) for each in missing]
        known[key] = known.get(key, []) + found
        took = time.process_time() - began
        hits = sum(each is not None for each in found)
        print(f"{name} {start}: {key} {hits} of {len(found)} ({took:.1f} s)", file=sys.stderr)
        file.write_text(json.dumps(known), "utf-8")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=WHOLE, help=f"of each kind (default {WHOLE})")
    parser.add_argument("--only", nargs="*", default=None, help="keys of peers")
    parser.add_argument("--table", action="store_true", help="only write the pages, from docs/peers.json")
    wanted = parser.parse_args()
    raw = ROOT / "docs" / "peers.json"
    if not wanted.table:
        folder = ROOT / ".study" / "healthy"
        folder.mkdir(parents=True, exist_ok=True)
        keys = [key for key in (*RULES, *ASKED) if wanted.only is None or key in wanted.only]
        for start in range(0, wanted.streams, BATCH):
            for name in NAMES:
                judged(folder / f"{name}.json", name, keys, start, min(start + BATCH, wanted.streams))
        rows = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in NAMES}
        raw.write_text(json.dumps(rows), "utf-8")
    write(json.loads(raw.read_text("utf-8")), *PAGES)


if __name__ == "__main__":
    main()
