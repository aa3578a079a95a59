"""Counting: matured runs as the blocks of every guardrail, from frames of the store's rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd

from evaluators import scoring
from evaluators.blocks import WHOLE, BlockCounts
from evaluators.clusters import by_arm, run_moments
from evaluators.evidence import BOTH
from evaluators.gathering import FINE
from evaluators.method import Method, Scored
from evaluators.mixture import BoolArray, FloatArray
from evaluators.path import ASSIGNED, FIRST
from evaluators.referees import SAMPLED
from evaluators.rules import Guardrail
from evaluators.units import Placed, Units

Blocks = dict[str, list[BlockCounts]]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Matured runs that are looked at, in the order of assignment."""

    #: one run a row, see `tasks.frames.frame`, with `stratum`
    runs: pd.DataFrame
    #: runs that no sealed block holds, (runs,)
    fresh: BoolArray
    #: every unit before these runs; None where no unit has repeated
    units: Units | None

    @property
    def candidate(self) -> BoolArray:
        """Whether each run was the candidate's."""
        return np.asarray(self.runs["arm"].to_numpy() == "candidate")


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """A window's runs as one guardrail counts them."""

    scored: Scored
    #: runs that count, (runs,)
    counts: BoolArray
    #: each run's score, (runs,): what the design effect is made of
    x: FloatArray
    #: what each run adds to both arms' moments, (runs, 12); None where no unit has repeated
    moments: FloatArray | None


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """A window counted."""

    #: by guardrail name
    counted: Mapping[str, Counted]
    #: one row a block in the order in which blocks ended, indexed by (stratum, block)
    table: pd.DataFrame
    #: numbers in the sums of each name's blocks
    widths: Mapping[str, int]


def key_of(unit: str) -> str:
    """A unit's name in stored evidence, which outlives the run records: it tells nobody who it was."""
    return blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def tally(window: Window, methods: Mapping[Guardrail, Method], *, with_assigned: bool) -> Tally:
    """Score a window's runs and lay the fresh ones into their blocks."""
    placed = _placed(window)
    first = np.ones(len(window.runs), dtype=np.bool_) if placed is None else placed.first
    candidate, columns = window.candidate, dict[str, Any]()
    counted, widths = dict[str, Counted](), dict[str, int]()
    for guardrail, method in methods.items():
        found = _scored(window, placed, guardrail, method)
        counted[guardrail.name] = found
        hit = found.scored.hit & found.counts
        added = np.where(found.counts[:, None], found.scored.added, 0.0)
        columns |= _block_columns(guardrail.name, candidate, found.counts, hit, added)
        widths[guardrail.name] = method.width
        if found.moments is not None:
            alone = np.hstack([np.where(first[:, None], added, 0.0), found.moments])
            name = guardrail.name + FIRST
            columns |= _block_columns(name, candidate, found.counts & first, hit & first, alone)
            widths[name] = method.width + BOTH
    if with_assigned:
        everyone = np.ones(len(first), dtype=np.bool_)
        columns |= _block_columns(ASSIGNED, candidate, everyone, ~first, np.zeros((len(first), 0)))
        widths[ASSIGNED] = 0
    return Tally(counted, _summed(window, columns), widths)


def units_after(window: Window, counted: Mapping[str, Counted], prefix: BoolArray) -> Units:
    """The units with a window's first runs, those of `prefix` (runs,), added."""
    held = window.units or Units()
    keys = pd.Series([key_of(unit) for unit in window.runs["unit"][prefix]], dtype=object)
    placed = held.place(keys)
    sums = {
        name: held.before(name, placed, found.counts[prefix], found.x[prefix])[1]
        for name, found in counted.items()
    }
    return held.after(placed, sums)


def blocks_of(tally_: Tally, closed: "pd.Series[bool]") -> Blocks:
    """The table's rows as blocks, by name."""
    table = tally_.table
    return {
        name: [
            _block(key, row, name, width, shut=bool(shut))
            for (key, row), shut in zip(table.iterrows(), closed, strict=True)
        ]
        for name, width in tally_.widths.items()
    }


def _placed(window: Window) -> Placed | None:
    if window.units is None:
        return None
    return window.units.place(pd.Series([key_of(unit) for unit in window.runs["unit"]], dtype=object))


def _scored(window: Window, placed: Placed | None, guardrail: Guardrail, method: Method) -> Counted:
    runs = window.runs
    if guardrail.column not in runs:  # nobody has reported it yet in these runs
        runs = runs.assign(**{guardrail.column: None})
    lost, infra = scoring.read_modifiers(runs)
    share = runs["share_bp"].to_numpy(dtype=np.float64) / WHOLE
    scored = method.score(runs, window.candidate, share, lost, infra)
    counts = scored.counted & _asked(runs, guardrail)
    x = np.rint(scored.x * FINE) / FINE
    if placed is None:
        return Counted(scored, counts, x, None)
    held = window.units or Units()
    ahead, _ = held.before(guardrail.name, placed, counts, x)
    own = np.where(counts[:, None], run_moments(x, ahead[:, 0], ahead[:, 1]), 0.0)
    return Counted(scored, counts, x, by_arm(own, window.candidate))


def _asked(runs: pd.DataFrame, guardrail: Guardrail) -> BoolArray:
    """Runs that count where a referee fills a column: those that were drawn for it."""
    found = np.ones(len(runs), dtype=np.bool_)
    for column in (guardrail.column, guardrail.per):
        if column + SAMPLED in runs:
            found &= runs[column + SAMPLED].to_numpy(dtype=np.bool_)
    return found


def _summed(window: Window, columns: dict[str, Any]) -> pd.DataFrame:
    """The fresh runs' columns by (stratum, block)."""
    runs = window.runs[window.fresh]
    keys = [runs["stratum"], runs["block"].astype(int)]
    data = {name: column[window.fresh] for name, column in columns.items()}
    table = pd.DataFrame(data, index=runs.index).groupby(keys, sort=False).sum()
    table["share_bp"] = runs.groupby(keys, sort=False)["share_bp"].first()
    table["ended"] = runs.groupby(keys, sort=False)["seq"].max()
    return table.sort_values("ended")


def _block_columns(
    name: str, candidate: BoolArray, counted: BoolArray, bad: BoolArray, added: FloatArray
) -> dict[str, Any]:
    """What each run adds to a name's blocks: four counts, then its sums."""
    four = {
        f"{name}:n_c": counted & candidate,
        f"{name}:y_c": bad & candidate,
        f"{name}:n_b": counted & ~candidate,
        f"{name}:y_b": bad & ~candidate,
    }
    return four | {f"{name}:{place}": column for place, column in enumerate(added.T)}


def _block(key: Any, row: "pd.Series[Any]", name: str, width: int, *, shut: bool) -> BlockCounts:
    n_c, y_c, n_b, y_b = (int(row[f"{name}:{column}"]) for column in ("n_c", "y_c", "n_b", "y_b"))
    sums = tuple(float(row[f"{name}:{place}"]) for place in range(width))
    return BlockCounts(str(key[0]), int(key[1]), int(row["share_bp"]), n_c, y_c, n_b, y_b, shut, sums)


__all__ = ["Blocks", "Counted", "Tally", "Window", "blocks_of", "key_of", "tally", "units_after"]
