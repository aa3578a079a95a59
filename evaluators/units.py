"""Units: which runs are their unit's first, and what each unit has brought so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd

from evaluators.mixture import BoolArray, FloatArray, IntArray, pack, unpack


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Some runs' units."""

    #: each run's place among all units, (runs,)
    code: IntArray
    #: whether the run is its unit's first; a run without a unit always is, (runs,)
    first: BoolArray
    #: units after these runs, by name
    index: Mapping[str, int]
    #: units after these runs, those without a name included
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Every unit that a release has seen. Nothing of it is kept where runs name no units."""

    #: place by name
    index: Mapping[str, int] = field(default_factory=dict)
    #: units, those without a name included
    size: int = 0
    #: by guardrail: runs and sum of their scores of each unit, (units, 2)
    sums: Mapping[str, FloatArray] = field(default_factory=dict)

    def place(self, units: "pd.Series[Any]") -> Placed:
        """Find or found the unit of each run, in order; a missing name is a unit of its own."""
        named = units.notna().to_numpy(dtype=np.bool_)
        code = np.empty(len(units), dtype=np.int64)
        first = np.ones(len(units), dtype=np.bool_)
        index, size = dict(self.index), self.size
        for row, (name, known) in enumerate(zip(units.map(str).tolist(), named.tolist(), strict=True)):
            held = index.get(name) if known else None
            if held is None:
                held, size = size, size + 1
                if known:
                    index[name] = held
            else:
                first[row] = False
            code[row] = held
        return Placed(code, first, index, size)

    def before(self, name: str, placed: Placed, counted: BoolArray, x: FloatArray) -> tuple[FloatArray, Any]:
        """Runs and sum of scores of its unit ahead of each run, (runs, 2), and the sums after all of them."""
        held = np.zeros((placed.size, 2))
        known = self.sums.get(name)
        if known is not None:
            held[: len(known)] = known
        own = np.stack([counted.astype(np.float64), np.where(counted, x, 0.0)], axis=1)
        running = pd.DataFrame(own).groupby(placed.code).cumsum().to_numpy() + held[placed.code]
        after = held.copy()
        np.add.at(after, placed.code, own)
        return running - own, after

    def after(self, placed: Placed, sums: Mapping[str, FloatArray]) -> "Units":
        """The units with some runs added."""
        return Units(placed.index, placed.size, {**self.sums, **sums})

    def to_json(self) -> dict[str, Any]:
        """A plain dict; the doubles are exact."""
        return {
            "names": list(self.index),
            "places": list(self.index.values()),
            "size": self.size,
            "sums": {name: [len(found), pack(found)] for name, found in sorted(self.sums.items())},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        sums = {str(name): unpack(text, (int(n), 2)) for name, (n, text) in data["sums"].items()}
        index = {str(name): int(place) for name, place in zip(data["names"], data["places"], strict=True)}
        return cls(index, int(data["size"]), sums)


__all__ = ["Placed", "Units"]
