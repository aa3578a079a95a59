"""The watch on real series: switches set into labelled incidents of the Numenta Anomaly Benchmark, and outside them."""

import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from evaluators.watched import FLAGS, SPEND, Kind, Seen, Series, Watched, WatchRules
from evaluators.watching import judge

DATA = Path(__file__).with_name("nab_cloud_series.csv.gz")
MINUTE, HOUR = 60_000_000, 3_600_000_000
#: hours before the window that say what is usual; a placebo's window
HISTORY, WINDOW = 72 * HOUR, 2 * HOUR


@dataclass(frozen=True)
class Switch:
    """A switch set into a series, and what is known of it."""

    series: str
    from_us: int
    at_us: int
    #: `inside` an incident that goes on, at its `end`, or `nowhere` near one
    where: str


def load() -> dict[str, pd.DataFrame]:
    """Each series with its times in microseconds."""
    with gzip.open(DATA, "rt") as file:
        found = pd.read_csv(file)
    found["at_us"] = pd.to_datetime(found["timestamp"]).astype("datetime64[us]").astype(np.int64)
    return {str(name): mine.sort_values("at_us") for name, mine in found.groupby("series")}


def switches(name: str, points: pd.DataFrame, placebos: int = 20) -> list[Switch]:
    """Switches in the middle and at the end of every labelled incident, and `placebos` far from any."""
    at, labelled = points["at_us"].to_numpy(), points["anomaly_window"].to_numpy() == 1
    edges = np.flatnonzero(np.diff(np.append(np.append(0, labelled), 0)))
    found = []
    for first, last in zip(edges[::2], edges[1::2] - 1, strict=True):
        begin, end = int(at[first]), int(at[last])
        if begin - at[0] >= HISTORY:
            found.append(Switch(name, begin, begin + (end - begin) // 2, "inside"))
            found.append(Switch(name, begin, end, "end"))
    random = np.random.default_rng(7)
    for moment in random.choice(at, size=placebos * 10):
        near = (at >= moment - WINDOW - HISTORY) & (at <= moment + HOUR)
        clear = not labelled[near].any() and moment - WINDOW - HISTORY >= at[0] and moment + HOUR <= at[-1]
        if clear and sum(s.where == "nowhere" for s in found) < placebos:
            found.append(Switch(name, int(moment) - WINDOW, int(moment), "nowhere"))
    return found


def watch(points: pd.DataFrame, switch: Switch, *, lower_is_better: bool = True) -> Watched:
    """The verdict of a watch that has this series and nothing else."""
    mine = points.loc[points["at_us"] >= switch.from_us - HISTORY]
    until = switch.at_us + 45 * MINUTE
    pairs = tuple(zip(mine["at_us"].tolist(), mine["value"].tolist(), strict=True))
    shown = tuple(pair for pair in pairs if pair[0] <= until)
    none = pd.DataFrame(
        {n: pd.Series([], dtype=float) for n in ("group", "stratum", "block", "at_us", *FLAGS, SPEND)}
    )
    series = Series("signal", shown, "", lower_is_better)
    return judge(Seen(Kind.REVERT, none, switch.from_us, switch.at_us, until, (series,)), WatchRules())


def counted(placebos: int = 20) -> dict[str, Counter[str]]:
    """Answers by where the switch was set; both directions of every series."""
    found: dict[str, Counter[str]] = {where: Counter() for where in ("inside", "end", "nowhere")}
    for name, points in load().items():
        for switch in switches(name, points, placebos):
            for lower in (True, False):
                found[switch.where][str(watch(points, switch, lower_is_better=lower).answer)] += 1
    return found
