"""Distributions: what history says of a measured column, small enough to be frozen with a release.

A few hundred bins, finer towards the upper end, hold their exact sums; so caps, thresholds and spreads of
any guardrail can be read from them later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from evaluators.mixture import BoolArray, FloatArray, pack, unpack

#: values of a column up to which each has a bin of its own
DISTINCT = 200
#: quantiles that end the bins of a column with more values
LEVELS = np.unique(
    np.concatenate([[0.01], np.linspace(0, 0.9, 46), np.linspace(0.9, 0.99, 19), np.linspace(0.99, 1, 11)])
)


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """A column's values in rising bins."""

    #: the bins' upper ends, included, (bins,)
    upper: FloatArray
    #: values, their sum and their squares' sum, (bins, 3)
    values: FloatArray
    #: by flag: runs on which it was true, and the sum of their values, (bins, 2)
    flags: Mapping[str, FloatArray]
    #: runs that count and brought no value, since they were lost or did not report it
    silent: int = 0
    #: those of them on which a flag was true, by flag
    silent_flags: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        values: FloatArray,
        flags: Mapping[str, BoolArray],
        silent: int = 0,
        silent_flags: Mapping[str, int] | None = None,
    ) -> Self:
        """Bin some values (at least one), each with flags of its run; see `silent`."""
        distinct = np.unique(values)
        if len(distinct) > DISTINCT:
            distinct = np.unique(np.quantile(values, LEVELS, method="inverted_cdf"))
        place = np.searchsorted(distinct, values)

        def summed(weights: FloatArray) -> FloatArray:
            sums = np.bincount(place, weights=weights, minlength=len(distinct))
            return np.asarray(sums, dtype=np.float64)

        moments = [summed(np.ones(len(values))), summed(values), summed(values**2)]
        pairs = {
            name: np.stack([summed(true.astype(np.float64)), summed(values * true)], axis=1)
            for name, true in flags.items()
        }
        return cls(distinct, np.stack(moments, axis=1), pairs, silent, silent_flags or {})

    @property
    def n(self) -> int:
        """Values."""
        return int(self.values[:, 0].sum())

    def quantile(self, level: float) -> float:
        """The least bin end that at least `level` (0..1) of the values do not pass."""
        reached = np.cumsum(self.values[:, 0]) >= level * self.n - 1e-9
        return float(self.upper[int(np.argmax(reached))])

    def past(self, threshold: float, *, above: bool) -> int:
        """Values above a threshold, or below it; a bin that it cuts counts by its mean."""
        mean = self.values[:, 1] / self.values[:, 0]
        beyond = (mean > threshold) if above else (mean < threshold)
        return int(self.values[beyond, 0].sum())

    def capped(self, cap: float, per: str | None) -> tuple[float, float, float, float]:
        """Sums of min(x, cap), its square, its product with the flag `per`, and of the flag.

        None counts every run as true.
        """
        n, total, squares = self.values.T
        low = total / n <= cap
        runs, with_flag = self.flags[per].T if per is not None else (n, total)
        return (
            float(np.where(low, total, n * cap).sum()),
            float(np.where(low, squares, n * cap * cap).sum()),
            float(np.where(low, with_flag, runs * cap).sum()),
            float(runs.sum()),
        )

    def to_json(self) -> dict[str, Any]:
        """A plain dict; the doubles are exact."""
        return {
            "bins": len(self.upper),
            "upper": pack(self.upper),
            "values": pack(self.values),
            "flags": {name: pack(pair) for name, pair in sorted(self.flags.items())},
            "silent": {"runs": self.silent, "flags": dict(sorted(self.silent_flags.items()))},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        bins = int(data["bins"])
        flags = {str(name): unpack(text, (bins, 2)) for name, text in data["flags"].items()}
        silent = data.get("silent", {"runs": 0, "flags": {}})  # histories frozen before it was counted
        return cls(
            unpack(data["upper"], (bins,)),
            unpack(data["values"], (bins, 3)),
            flags,
            int(silent["runs"]),
            {str(name): int(n) for name, n in silent["flags"].items()},
        )


__all__ = ["Distribution"]
