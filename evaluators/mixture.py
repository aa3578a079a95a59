"""Mixtures: the grids of alternatives, their priors, and sums of exponentials.

An e-value here is a weighted mean of likelihood ratios, one for each alternative of a grid. Grids and
priors are fixed before any run is seen (STATISTICS.md, section 2); changing one changes every verdict,
so a test holds them to published values. All logs are natural.
"""

from functools import lru_cache
from math import isfinite
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]


def log_sum_exp(values: npt.ArrayLike, axis: int = -1) -> FloatArray:
    """Ln of the sum of exp(values) along `axis`, without overflow; all -inf gives -inf.

    A verdict calls it some forty times, hence the short ways for one row.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 1 and isfinite(largest := np.maximum.reduce(array)):
        grown = array - largest
        return np.asarray(np.log(np.add.reduce(np.exp(grown, out=grown))) + largest)
    if array.ndim == 2 and len(array) == 1 and axis == -1:
        return log_sum_exp(array[0])[None]
    top = np.maximum.reduce(array, axis=axis, keepdims=True)
    if isfinite(np.add.reduce(top, axis=None)):  # the usual case: no sum is below one, so no log warns
        grown = array - top
        total = np.add.reduce(np.exp(grown, out=grown), axis=axis)
        return np.asarray(np.log(total) + top.reshape(np.shape(total)), dtype=np.float64)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(array - top).sum(axis=axis))
    return np.asarray(total + top.squeeze(axis), dtype=np.float64)


def log_mean_exp(log_weights: npt.ArrayLike, values: npt.ArrayLike) -> FloatArray:
    """Ln of the weighted mean of exp(values) over the last axis; the weights' exps sum to one."""
    return log_sum_exp(np.add(log_weights, values))


def running(start: FloatArray, added: FloatArray) -> FloatArray:
    """`start` (K,), then it plus everything up to each row of `added` (rows, K): (1 + rows, K).

    Added row after row, so that cutting the rows changes no digit; columns one after the other in memory.
    """
    found = np.empty((added.shape[1], len(added) + 1))
    found[:, 0] = start
    found[:, 1:] = added.T
    return np.cumsum(found, axis=1, out=found).T


def log_family(weights: npt.ArrayLike, log_e: npt.ArrayLike) -> FloatArray:
    """Ln SUM_k w_k E_k over the last axis: an e-process under any dependence of its members.

    Source: the mean of e-values is an e-value (Vovk and Wang, "E-values", eq. 7).
    """
    return log_mean_exp(np.log(np.asarray(weights, dtype=np.float64)), log_e)


def bump(x: FloatArray, centre: float, width: float) -> FloatArray:
    """A normal bump over a grid, normalised to sum one."""
    density = np.exp(-0.5 * ((x - centre) / width) ** 2)
    return np.asarray(density / density.sum(), dtype=np.float64)


def frozen(values: npt.ArrayLike) -> FloatArray:
    """A float array that can't be written to."""
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


#: log odds ratios that the harm tests bet on, (24,)
THETAS = frozen(np.geomspace(0.05, 5.0, 24))
#: ln prior of the conditional (FNCH) harm test over THETAS, (24,)
FISHER_PRIOR = frozen(np.log(bump(np.log(THETAS), np.log(0.8), 0.9)))
#: ln prior of the bet on the assignment: a fifth of its mass near 3, where a collapse lies, (24,)
BET_PRIOR = frozen(
    np.log(0.8 * bump(np.log(THETAS), np.log(0.8), 0.9) + 0.2 * bump(np.log(THETAS), np.log(3.0), 0.3))
)
#: distances below the null that the promote test bets on, log odds, (24,)
DISTANCES = frozen(np.geomspace(0.05, 4.0, 24))
#: log odds ratios at which a release's likelihood curve is kept, denser near 0, (61,)
CURVE = frozen(6.0 * np.sinh(np.linspace(-3.0, 3.0, 61)) / np.sinh(3.0))
#: log odds ratios on which a confidence sequence mixes, (2401,)
FINE = frozen(np.linspace(-6.0, 6.0, 2401))
#: ln prior N(0, 1) over FINE, (2401,)
FINE_PRIOR = frozen(np.log(bump(np.asarray(FINE), 0.0, 1.0)))


@lru_cache(maxsize=256)
def promote_prior(null: float) -> FloatArray:
    """Ln prior over DISTANCES for the null "log odds ratio >= null", null > 0: a bump at "no change"."""
    near = bump(np.log(DISTANCES), float(np.log(null)), 0.5)
    return frozen(np.log(0.7 * near + 0.3 / len(DISTANCES)))


def pack(values: FloatArray) -> str:
    """The exact doubles as base64 of little-endian bytes: a third of the size of a JSON list."""
    import base64

    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode("ascii")


def unpack(text: str, shape: tuple[int, ...]) -> FloatArray:
    """The inverse of `pack`; ValueError where the text does not hold `shape` doubles."""
    import base64

    flat: Any = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8")
    return np.asarray(flat.reshape(shape), dtype=np.float64)
