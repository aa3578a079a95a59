"""Scoring: recorded runs as bad or good, guardrail by guardrail.

Who counts is decided here, once, for the history and for a release alike: a repeated unit counts by its
first run, a lost run is a failure, an infrastructure failure is left out, a missing outcome is bad.
"""

from dataclasses import dataclass
from numbers import Integral
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd

from evaluators.mixture import BoolArray, FloatArray
from lastgood.errors import InvalidEvidence

#: the column of runs that were assigned and never reported
LOST = "lost"
#: the column of runs that the host or the gateway, not the bundle, declared broken
INFRA = "infra_failure"
#: amounts of a run record, never below 0; a free column may be
AMOUNTS = ("cost_usd", "operator_edits", "latency_s")


@dataclass(frozen=True, slots=True, eq=False)
class Flag:
    """One outcome column of some runs."""

    #: whether the outcome was reported, (runs,)
    known: BoolArray
    #: whether it was reported as true (or as a count above 0), (runs,)
    true: BoolArray

    def bad(self, lost: BoolArray, *, bad: bool) -> BoolArray:
        """Runs that count as bad when `bad` is the bad value: a missing outcome or a lost run is bad."""
        return np.asarray(~self.known | lost | (self.true == bad), dtype=np.bool_)


def first_runs(runs: pd.DataFrame, seen: set[str]) -> tuple[BoolArray, list[str]]:
    """Runs that are their unit's first, (runs,), and the units that they bring; no unit: a unit itself."""
    if "unit" not in runs:
        return np.ones(len(runs), dtype=np.bool_), []
    units = runs["unit"].astype(object)
    named = units.notna().to_numpy(dtype=np.bool_)
    text = units.map(str)
    first = ~(text.duplicated().to_numpy(dtype=np.bool_))
    if seen:
        first &= ~text.isin(seen).to_numpy(dtype=np.bool_)
    fresh = text[first & named].tolist()
    return np.asarray(first | ~named, dtype=np.bool_), [str(unit) for unit in fresh]


def read_flag(runs: pd.DataFrame, column: str) -> Flag:
    """A column of true/false, 0/1 or counts, missing values allowed; InvalidEvidence names run and column."""
    series = runs[column]
    if series.dtype == np.bool_:
        return Flag(np.ones(len(series), dtype=np.bool_), series.to_numpy(dtype=np.bool_))
    known = series.notna().to_numpy(dtype=np.bool_)
    values = np.zeros(len(series))
    try:
        values[known] = series.to_numpy(dtype=object)[known].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidEvidence(f"runs, column {column}: {error}; give true, false, 0, 1 or a count") from error
    wrong = ~(np.isfinite(values) & (values >= 0) & (values == np.floor(values)))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InvalidEvidence(
            f"run {runs.index[row]} (row {row}), column {column}: {values[row]:g} is no true, false or count"
        )
    return Flag(known, values > 0)


@dataclass(frozen=True, slots=True, eq=False)
class Amount:
    """One column of numbers of some runs."""

    #: whether a number was reported, (runs,)
    known: BoolArray
    #: the number, 0 where there is none, (runs,)
    value: FloatArray


def read_number(runs: pd.DataFrame, column: str) -> Amount:
    """A column of finite numbers, missing values allowed; InvalidEvidence names run and column."""
    series = runs[column]
    known = series.notna().to_numpy(dtype=np.bool_)
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iuf":
        value = np.where(known, series.to_numpy(dtype=np.float64), 0.0)
        return Amount(known, _finite(runs, column, value))
    value = np.zeros(len(series))
    try:
        value[known] = series.to_numpy(dtype=object)[known].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidEvidence(f"runs, column {column}: {error}; give numbers") from error
    return Amount(known, _finite(runs, column, value))


def _finite(runs: pd.DataFrame, column: str, value: FloatArray) -> FloatArray:
    wrong = ~np.isfinite(value)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InvalidEvidence(
            f"run {runs.index[row]} (row {row}), column {column}: {value[row]} is no number"
        )
    return value


def refuse_outside(runs: pd.DataFrame, column: str, amount: Amount, least: float, most: float) -> None:
    """InvalidEvidence where a reported number lies outside its range."""
    wrong = amount.known & ~((amount.value >= least) & (amount.value <= most))
    _refuse(runs, column, wrong, f"is not within {least:g} to {most:g}")


def read_units(runs: pd.DataFrame) -> "pd.Series[Any]":
    """The unit of each run as objects, missing ones allowed: all texts, or all whole numbers.

    One release is dealt by one kind of unit; InvalidEvidence where kinds are mixed, or a unit is neither.
    """
    units = _plain_units(runs["unit"])
    if pd.api.types.infer_dtype(units, skipna=True) in {"string", "integer", "empty"}:
        return units  # the usual case, without a look at each
    kinds = units.map(type)
    text = kinds.map(lambda kind: issubclass(kind, str)).to_numpy(dtype=np.bool_)
    whole = kinds.map(lambda kind: issubclass(kind, Integral) and kind is not bool).to_numpy(dtype=np.bool_)
    known = units.notna().to_numpy(dtype=np.bool_)
    _refuse(runs, "unit", known & ~text & ~whole, "is no text and no whole number")
    if text.any() and whole.any():
        other = whole if text[int(np.argmax(known))] else text
        _refuse(
            runs, "unit", other, "is mixed with units of another kind; deal a release by one kind of unit"
        )
    return units


def _plain_units(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Units as objects: whole numbers that missing ones made floats are whole again, a UUID is its text."""
    units = column.astype(object)
    kind = pd.api.types.infer_dtype(units, skipna=True)
    if kind in {"floating", "mixed-integer-float", "mixed", "uuid"}:
        return units.map(_plain_unit)
    return units


def _plain_unit(unit: Any) -> Any:
    if isinstance(unit, UUID):
        return str(unit)
    if isinstance(unit, float | np.floating) and float(unit).is_integer():
        return int(unit)
    return unit


def read_arm(runs: pd.DataFrame) -> BoolArray:
    """Whether each run was the candidate's, (runs,)."""
    column = _required(runs, "arm", "baseline or candidate")
    candidate = (column == "candidate").to_numpy(dtype=np.bool_, na_value=False)
    baseline = (column == "baseline").to_numpy(dtype=np.bool_, na_value=False)
    _refuse(runs, "arm", ~(candidate | baseline), "is neither 'baseline' nor 'candidate'")
    return candidate


def read_share(runs: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The candidate's share when each run was assigned, basis points, (runs,)."""
    column = pd.to_numeric(_required(runs, "share", "the candidate's share, 0..1"), errors="coerce")
    share: FloatArray = column.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(invalid="ignore"):
        wrong = ~((share > 0) & (share < 1))
    _refuse(runs, "share", wrong, "is not between 0 and 1")
    points = np.rint(share * 10_000).astype(np.int64)
    _refuse(runs, "share", (points < 1) | (points > 9_999), "is under a basis point from 0 or 1")
    return points


def read_modifiers(runs: pd.DataFrame) -> tuple[BoolArray, BoolArray]:
    """Lost runs and infrastructure failures, (runs,) each.

    A run whose `lost` is missing counts as lost; one whose `infra_failure` is missing was not asserted to
    be one, so it stays in.
    """
    none = np.zeros(len(runs), dtype=np.bool_)
    lost, infra = none, none
    if LOST in runs and has_data(runs, LOST):
        flag = read_flag(runs, LOST)
        lost = ~flag.known | flag.true
    if INFRA in runs:
        infra = read_flag(runs, INFRA).true
    return lost, infra


def has_data(runs: pd.DataFrame, column: str) -> bool:
    """Whether a column exists and any run reported it."""
    return column in runs and bool(runs[column].notna().any())


def counted_and_bad(
    runs: pd.DataFrame, column: str, lost: BoolArray, infra: BoolArray, *, bad: bool
) -> tuple[BoolArray, BoolArray]:
    """Runs that count in a guardrail and those of them that are bad, (runs,) each.

    `infra_failure` counts every run by what the host asserted; `lost` every run but those; any other
    column too, and there a lost run is bad whatever it reported.
    """
    flag = read_flag(runs, column)
    if column == INFRA:
        return np.ones(len(runs), dtype=np.bool_), np.asarray(flag.known & (flag.true == bad))
    counted = ~infra
    return counted, np.asarray(flag.bad(lost, bad=bad) & counted, dtype=np.bool_)


def left_out(runs: pd.DataFrame, amount: Amount, infra: BoolArray) -> BoolArray:
    """Runs without part in a column of numbers, (runs,).

    Infrastructure failures, and runs whose client went away (`disconnected`) before it was reported.
    """
    if "disconnected" not in runs:
        return infra
    return np.asarray(infra | (read_flag(runs, "disconnected").true & ~amount.known), dtype=np.bool_)


def past_threshold(
    runs: pd.DataFrame, column: str, lost: BoolArray, infra: BoolArray, line: float, *, above: bool
) -> tuple[BoolArray, BoolArray]:
    """As `counted_and_bad` for a column of numbers: bad is past a threshold, unreported, or lost."""
    amount = read_number(runs, column)
    if column in AMOUNTS:
        refuse_outside(runs, column, amount, 0.0, np.inf)
    past = amount.value > line if above else amount.value < line
    counted = ~left_out(runs, amount, infra)
    return counted, np.asarray((~amount.known | lost | past) & counted, dtype=np.bool_)


def _required(runs: pd.DataFrame, column: str, meaning: str) -> "pd.Series[str]":
    if column not in runs:
        raise InvalidEvidence(f"runs have no column {column}; it must hold {meaning}")
    return runs[column]


def _refuse(runs: pd.DataFrame, column: str, wrong: BoolArray, why: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        value = runs[column].iloc[row]
        raise InvalidEvidence(f"run {runs.index[row]} (row {row}), column {column}: {value!r} {why}")
