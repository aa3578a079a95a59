"""Two peers' real code on the study's own streams, each in its own environment.

They get running sums at some looks (geometric from 10 candidate runs to the horizon) in some replications of
a few scenarios, corrected for six metrics by Bonferroni, two-sided as they come; harm counts only in the
harmful direction. A peer reverts at its first look that is significant.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from judging import seeded, until_horizon
from scenarios import HORIZON, SCENARIOS, Scenario

ROOT = Path(__file__).parents[2]
#: what each environment is built from: the peer as it was measured
PINS = {
    "gbstats": ("gbstats==0.8.0", "numpy==1.26.4", "pandas==1.5.3", "scipy==1.17.1", "pydantic==2.14.3"),
    "confidence": ("spotify-confidence==4.1.0", "numpy==2.4.6", "pandas==2.3.3", "statsmodels==0.15.0"),
}
#: looks and replications: the bounds of spotify-confidence take half a minute a release at 50 looks
LOOKS, REPLICATIONS = {"gbstats": 50, "confidence": 10}, {"gbstats": 100, "confidence": 25}
NAMES = (
    "no-change", "pareto", "wave-ramp", "sticky-10-.1", "collapse", "drop", "invalid", "incidents", "cost-1.5",
)  # fmt: skip
#: metric: column of bad runs or of amounts, whether it is shared out among the completed runs
METRICS = {
    "completion": ("completed", False), "validation": ("validated", False), "incidents": ("incidents", False),
    "cost": ("cost_usd", True), "escalation": ("escalated", False), "edits": ("operator_edits", True),
}  # fmt: skip


def python(peer: str) -> Path:
    """The peer's interpreter; its environment is built when it is missing."""
    home = ROOT / ".study" / f"venv-{peer}"
    found = home / "bin" / "python"
    if not (home / ".installed").exists():
        venv.create(home, with_pip=True, clear=True)
        pip = [str(found), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PINS[peer]]
        subprocess.run(pip, check=True)
        (home / ".installed").write_text("\n".join(PINS[peer]), "utf-8")
    return found


def sums(runs: pd.DataFrame, looks: int) -> list[dict[str, Any]]:
    """Running sums of both arms at each look that the runs reach, the baseline first."""
    ours = (runs["arm"] == "candidate").to_numpy()
    done = runs["completed"].to_numpy(dtype=float)
    at = np.searchsorted(np.cumsum(ours), np.unique(np.geomspace(10, HORIZON, looks).astype(int)))
    at = at[at < len(runs)]
    columns = {"n": np.ones(len(runs)), "done": done}
    for metric, (column, amount) in METRICS.items():
        x = runs[column].to_numpy(dtype=float)
        x = 1.0 - x if column in {"completed", "validated"} else x
        columns |= {metric: x, f"{metric}^2": x * x}
        if amount:
            columns[f"{metric}*done"] = x * done
    found = {}
    for arm, mine in (("baseline", ~ours), ("candidate", ours)):
        found[arm] = {k: np.cumsum(np.where(mine, v, 0.0))[at].tolist() for k, v in columns.items()}
    return [
        {arm: {name: values[look] for name, values in held.items()} for arm, held in found.items()}
        for look in range(len(at))
    ]


def ask(scenario: Scenario, peer: str, divisor: int) -> list[Any]:
    """What a peer says of a scenario's first streams."""
    releases = []
    for replication in range(max(2, REPLICATIONS[peer] // divisor)):
        rng = seeded(scenario, replication)
        scenario.history(rng)
        runs = until_horizon(scenario.stream(rng, scenario.runs))
        releases.append(sums(runs, LOOKS[peer] if divisor == 1 else 5))
    metrics = {name: amount for name, (_, amount) in METRICS.items()}
    script = str(Path(__file__).with_name(f"peer_{peer}.py"))
    text = json.dumps({"metrics": metrics, "releases": releases})
    done = subprocess.run([str(python(peer)), script], input=text, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def study_peers(folder: Path, divisor: int = 1) -> None:
    """All that is not known yet of both peers, a file a scenario and peer."""
    folder.mkdir(parents=True, exist_ok=True)
    for peer in PINS:
        for name in NAMES:
            file = folder / f"peer-{peer}-{name}.json"
            if not file.exists():
                scenario = next(each for each in SCENARIOS if each.name == name)
                file.write_text(json.dumps(ask(scenario, peer, divisor)), "utf-8")
                print(f"{peer}: {name}", file=sys.stderr)
