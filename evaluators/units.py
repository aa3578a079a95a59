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
        names = units.astype(str).where(named, None) if named.any() else pd.Series([None] * len(units))
        codes, fresh_names = pd.factorize(names.to_numpy(dtype=object))
        # each name's first row here, and its place where it has one already
        opens = np.empty(len(fresh_names), dtype=np.int64)
        opens[codes[::-1][codes[::-1] >= 0]] = np.flatnonzero(codes >= 0)[::-1]
        held = np.array([self.index.get(name, -1) for name in fresh_names], dtype=np.int64)
        first = ~named
        first[opens[held < 0]] = True
        founded = self.size + np.cumsum(first) - 1
        places = np.where(held < 0, founded[opens], held)
        code = founded.copy()
        code[named] = places[codes[named]]
        index = dict(self.index)
        index.update(zip(fresh_names[held < 0].tolist(), places[held < 0].tolist(), strict=True))
        return Placed(code, first, index, self.size + int(first.sum()))

    def before(self, name: str, placed: Placed, counted: BoolArray, x: FloatArray) -> tuple[FloatArray, Any]:
        """Runs and sum of scores of its unit ahead of each run, (runs, 2), and the sums after all of them."""
        held = np.zeros((placed.size, 2))
        known = self.sums.get(name)
        if known is not None:
            held[: len(known)] = known
        own = np.stack([counted.astype(np.float64), np.where(counted, x, 0.0)], axis=1)
        if placed.first.all():  # nothing came before any of them
            held[placed.code] = own
            return np.zeros(own.shape), held
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
