"""`make watches`: is the watch right on planted causes, and what does it say on real series? Writes docs/watch.md.

Results are kept under .watches/, one file a scenario and version of the code: a run that was stopped goes on.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # `make watches` needs no package of its own

import planted  # noqa: E402
import series  # noqa: E402
from scipy.stats import beta  # noqa: E402

from lastgood.store.engine import upgrade  # noqa: E402

#: planted releases of the two targets, and of the others
WATCHES, OTHERS = 200, 20
TARGETS = ("bundle at fault", "provider at fault")
HEAD = """\
# How often the watch is right

Written by `make watches`. Every row is so many releases on a real store under a manual clock: assignments,
triggers, looks, the revert and the watch are the pipeline's own; planted are only the outcomes
(`tests/watches/planted.py`). Drawn anew for each: base rates (completion .92 to .98, validation .93 to .98,
escalation .02 to .08), one run every 3 to 12 seconds, a share of 10%, 20% or 30%, and the fault: a malformed
wrapper, confidently wrong answers, a cheap path that escalates, or failures that also cost more. The watch
lasts 45 minutes under the default thresholds. Seeds are fixed: a second run gives the same numbers.

*Right* is the answer that names the cause; *wrong* names the other one; the rest is `inconclusive`, and a
person is called. In brackets: the lower end of the one-sided 95% interval (Clopper and Pearson) of right, the
upper one of wrong.
"""


def version() -> str:
    """Which code the results belong to."""
    names = (
        "evaluators/watch*.py",
        "evaluators/levels.py",
        "tasks/watch_evidence.py",
        "tests/watches/planted.py",
    )
    files = sorted(file for name in names for file in ROOT.glob(name) if "chart" not in file.name)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def one(job: tuple[str, str, int]) -> dict[str, object]:
    """One planted release."""
    folder, name, seed = job
    return planted.result(Path(folder), name, seed)


def study(pool: ProcessPoolExecutor, folder: str, name: str, wanted: int, kept: Path) -> list[dict[str, Any]]:
    """Results of the first seeds of a scenario, those that are known left alone."""
    known: list[dict[str, Any]] = json.loads(kept.read_text("utf-8")) if kept.exists() else []
    for found in pool.map(one, [(folder, name, seed) for seed in range(len(known), wanted)]):
        known.append(found)
        kept.write_text(json.dumps(known), "utf-8")
    return known[:wanted]


def row(name: str, results: Iterable[dict[str, Any]]) -> str:
    """One line of the table."""
    _, right, wrong = planted.SCENARIOS[name]
    ended = [found for found in results if found["answer"] is not None]
    n = len(ended)
    counts = Counter(found["answer"] for found in ended)
    good, bad = sum(counts[a] for a in right), sum(counts[a] for a in wrong)
    low = beta.ppf(0.05, good, n - good + 1) if good else 0.0
    high = beta.ppf(0.95, bad + 1, n - bad) if bad < n else 1.0
    said = ", ".join(f"{answer} {counts[answer]}" for answer in ("fixed", "elsewhere", "inconclusive"))
    return f"| {name} | {n} | {good / n:.1%} ({low:.1%}) | {bad / n:.1%} ({high:.1%}) | {said} |"


def page(results: dict[str, list[dict[str, Any]]], real: dict[str, Counter[str]]) -> str:
    """The whole page."""
    lines = [HEAD, "| planted | releases | right | wrong | answers |", "|---|---|---|---|---|"]
    lines += [row(name, found) for name, found in results.items()]
    aside = {n: sum(f["answer"] is None for f in found) for n, found in results.items()}
    lines += ["", _aside(aside), SERIES, "| switch set | watches | fixed | elsewhere | inconclusive |"]
    lines.append("|---|---|---|---|---|")
    words = {
        "inside": "in the middle of a labelled incident that goes on", "end": "at the end of one",
        "nowhere": "nowhere near one",
    }  # fmt: skip
    for where, counts in real.items():
        cells = [
            f"{counts[a]} ({counts[a] / counts.total():.1%})" for a in ("fixed", "elsewhere", "inconclusive")
        ]
        lines.append(f"| {words[where]} | {counts.total()} | {' | '.join(cells)} |")
    lines += ["", NOTES]
    return "\n".join(lines)


SERIES = """
## On real series

The watch with one outside signal and no run at all, on the 21 series of the Numenta Anomaly Benchmark that
were recorded in the cloud or have a known cause (`tests/watches/nab_cloud_series.csv.gz`; numenta/NAB, MIT
licence; unchanged), with switches set into their labelled incidents, and 20 a series where nothing is
labelled; both directions of each. Three days before a switch say what is usual.
"""
NOTES = """\
Labelled windows there are wide (a tenth of a series is labelled, and most of a window looks like any other
day), and a 45-minute watch sees nine points of a five-minute series. So a series alone mostly says nothing,
which is what it should say; what counts is the last row: how often it names a cause where there is none.
"""


def _aside(aside: dict[str, int]) -> str:
    told = [f"{n} of `{name}`" for name, n in aside.items() if n]
    if not told:
        return "Every planted release ended as planned."
    return (
        f"Left out, since the release itself ended otherwise (a look promoted or held it): {', '.join(told)}."
    )


def main() -> None:
    """Fill what is missing, then write the page."""
    options = argparse.ArgumentParser()
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--quick", action="store_true", help="a tenth, printed instead of written")
    given = options.parse_args()
    kept = ROOT / ".watches" / version()
    kept.mkdir(parents=True, exist_ok=True)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    results = {}
    with tempfile.TemporaryDirectory(dir=memory) as folder, ProcessPoolExecutor(given.workers) as pool:
        template = Path(folder) / "template.db"
        upgrade(f"sqlite:///{template}")
        planted.season(template, Path(folder))
        for name in planted.SCENARIOS:
            wanted = (WATCHES if name in TARGETS else OTHERS) // (10 if given.quick else 1)
            file = kept / f"{name.replace(' ', '-').replace(',', '')}.json"
            results[name] = study(pool, folder, name, wanted, file)
            print(row(name, results[name]), flush=True)
    text = page(results, series.counted())
    if given.quick:
        print(text)
    else:
        (ROOT / "docs" / "watch.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
