"""One replication: draw a release, judge it with the real `Comparison`, keep what the table needs."""

import zlib
from typing import Any

import numpy as np
import pandas as pd
from scenarios import HORIZON, PIECES, Scenario

from evaluators import Comparison, History

#: natural logs of 1/.05 and 1/.01
LINES = {"05": float(np.log(20.0)), "01": float(np.log(100.0))}


def seeded(scenario: Scenario, replication: int) -> np.random.Generator:
    """The same numbers for the same replication, whatever ran before it."""
    return np.random.default_rng([zlib.crc32(scenario.name.encode()), replication])


def judge(scenario: Scenario, replication: int) -> dict[str, Any]:
    """What became of one release; see the functions of each group."""
    rng = seeded(scenario, replication)
    fresh = Comparison(scenario.rules, History(scenario.history(rng)))
    if scenario.group == "effect":
        return found(scenario, rng, fresh)
    fresh.observe(until_horizon(scenario.stream(rng, scenario.runs)), every_run=scenario.every_run)
    path = fresh.path()
    if scenario.group == "null":
        return {f"revert_{name}": reverted(scenario, path, line) for name, line in LINES.items()}
    return {
        "revert": reverted(scenario, path, LINES["05"]),
        "promote": first(path, path["decision"] == "promote"),
        "gate": first(path, path[f"promote:{scenario.culprit}"] >= LINES["05"]) if scenario.culprit else None,
    }


def until_horizon(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs up to the candidate's HORIZON-th."""
    ours = np.cumsum((runs["arm"] == "candidate").to_numpy())
    return runs.iloc[: int(np.searchsorted(ours, HORIZON)) + 1]


def first(path: pd.DataFrame, hit: "pd.Series[bool]") -> int | None:
    """Candidate runs at the first look that hits; None where none does."""
    return int(path["candidate"].iloc[int(np.argmax(hit))]) if hit.any() else None


def reverted(scenario: Scenario, path: pd.DataFrame, line: float) -> list[Any] | None:
    """Candidate runs and the guardrail with the largest part when the family reached a line."""
    hit = (path["family"] >= line).to_numpy()
    if not hit.any():
        return None
    row = path.iloc[int(np.argmax(hit))]
    parts = {g.name: row[f"harm:{g.name}"] + np.log(g.weight) for g in scenario.rules.guardrails}
    return [int(row["candidate"]), max(parts, key=parts.__getitem__)]


def found(scenario: Scenario, rng: np.random.Generator, comparison: Comparison) -> dict[str, Any]:
    """Candidate runs until the revert and the first culprit; drawn in pieces until then."""
    seen = 0
    for piece in PIECES:
        runs = scenario.stream(rng, piece)
        ours = np.cumsum((runs["arm"] == "candidate").to_numpy())
        left = HORIZON - seen
        runs = runs.iloc[: int(np.searchsorted(ours, left)) + 1] if ours[-1] >= left else runs
        seen += int((runs["arm"] == "candidate").sum())
        comparison.observe(runs, every_run=scenario.every_run)
        if comparison.ended or seen >= HORIZON:
            break
    if not comparison.ended:
        return {"revert": None}
    verdict = comparison.verdict()
    return {"revert": [verdict.candidate_runs, verdict.culprits[0]]}
