"""Recorded runs: CSV, JSON lines or Parquet with one run a row, read into plain checked columns."""

import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import IO, Any

import pandas as pd

from lastgood.errors import InvalidRuns

#: outcomes of a run that are true or false
FLAGS = ("completed", "validated", "escalated", "infra_failure", "lost")
#: outcomes that count
COUNTS = ("incidents", "operator_edits")
#: outcomes that measure: US dollars, seconds
AMOUNTS = ("cost_usd", "latency_s")
#: what a run is, beside its outcomes
LABELS = ("variant", "stratum", "task_id", "unit")
KNOWN = (*LABELS, *FLAGS, *COUNTS, *AMOUNTS)
#: names that benchmarks use, taken where the known one is absent
ALIASES = {"completed": "success", "infra_failure": "infra_fail"}
#: endings of a file's name
SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet")
#: a run that reported without naming these had none (as `tasks.frames` reads the store)
_NOTHING = {"escalated": 0.0, "incidents": 0.0}
_WORDS = {"true": 1.0, "false": 0.0}
_EMPTY = frozenset({"", "na", "nan", "null", "none"})
#: names that a message lists at most
_SHOWN = 12


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Recorded runs by known columns."""

    #: one run a row; labels are text, outcomes are numbers, missing values allowed in both
    runs: pd.DataFrame
    #: known column and the file's own name for it, where they differ
    renamed: tuple[tuple[str, str], ...]

    def of(self, variants: Sequence[str]) -> pd.DataFrame:
        """The runs of some variants, in the file's order; InvalidRuns where one has none."""
        there = list(dict.fromkeys(self.runs["variant"].dropna()))
        for variant in variants:
            if variant not in there:
                raise InvalidRuns(f"no run of variant {variant!r} is recorded; there are {_listed(there)}")
        return self.runs[self.runs["variant"].isin(list(variants))].reset_index(drop=True)


def read(
    path: Path,
    names: Mapping[str, str] | None = None,
    own: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> Recording:
    """Read a file of recorded runs.

    Args:
        path: a file with one of SUFFIXES.
        names: the file's own name of a known column, by the known one.
        own: further outcome columns, true/false or counts, that a policy watches.
        numbers: further outcome columns that it watches as numbers.

    Raises:
        InvalidRuns: the file can't be read or is empty; a name is unknown; there is no `variant` or no
            outcome at all; an outcome is no number or one that it can't be (the message names the row).
    """
    given = dict(names or {})
    outcomes = tuple(dict.fromkeys((*FLAGS, *COUNTS, *AMOUNTS, *own, *numbers)))
    for known in given:
        if known not in {*KNOWN, *outcomes}:
            raise InvalidRuns(
                f"{known!r} is no column of a recorded run; known are"
                f" {', '.join(dict.fromkeys((*KNOWN, *outcomes)))}"
            )
    free = set(numbers) - set(KNOWN)
    raw = _frame(path)
    sources = _sources(path, raw, (*LABELS, *outcomes), given)
    if "variant" not in sources:
        raise InvalidRuns(
            f"{path.name} has no column variant, which says what served each run; its columns are"
            f" {_listed(raw.columns)}; name the one that does with --column variant=NAME"
        )
    if not set(sources) & set(outcomes):
        raise InvalidRuns(
            f"{path.name} has no outcome of a run (any of {', '.join(outcomes)}); its columns are"
            f" {_listed(raw.columns)}; name one with --column completed=NAME"
        )
    columns = {
        known: _label(raw[source]) if known in LABELS else _outcome(path, raw[source], known, free)
        for known, source in sources.items()
    }
    renamed = tuple((known, source) for known, source in sources.items() if known != source)
    return Recording(pd.DataFrame(columns), renamed)


def _sources(path: Path, raw: pd.DataFrame, known: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The file's column that each known one is read from."""
    found = {}
    for name in known:
        source = given.get(name)
        if source is not None and source not in raw:
            columns = _listed(raw.columns)
            raise InvalidRuns(
                f"{path.name} has no column {source!r} to read {name} from; its columns are {columns}"
            )
        candidates = (source,) if source is not None else (name, ALIASES.get(name))
        for candidate in candidates:
            if candidate is not None and candidate in raw:
                found[name] = candidate
                break
    return found


def _frame(path: Path) -> pd.DataFrame:
    """The file as it stands; cells of a CSV are text."""
    if not path.name.endswith(SUFFIXES):
        raise InvalidRuns(f"{path}: recorded runs are a file that ends in {', '.join(SUFFIXES)}")
    try:
        frame = _parsed(path)
    except OSError as error:
        raise InvalidRuns(f"{path} can't be read: {error.strerror or error}") from error
    except InvalidRuns:
        raise
    except (ValueError, EOFError, zlib.error) as error:  # the errors of pandas and pyarrow are ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise InvalidRuns(f"{path} does not hold what its name's ending says: {reason}") from error
    doubled = frame.columns[frame.columns.duplicated()]
    if len(doubled):
        raise InvalidRuns(f"{path.name} has the column {doubled[0]!r} twice; rename one")
    if frame.empty:
        raise InvalidRuns(f"{path.name} holds no runs")
    return frame


def _parsed(path: Path) -> pd.DataFrame:
    if path.name.endswith(".parquet"):
        return pd.read_parquet(path)
    if path.name.endswith((".csv", ".csv.gz")):
        return _csv(path)
    return pd.DataFrame(list(_objects(path)))


def _csv(path: Path) -> pd.DataFrame:
    """The cells as text, the header as it stands (pandas would rename a doubled column)."""
    try:
        cells = pd.read_csv(path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    header = [str(name).strip() for name in cells.iloc[0]]
    return pd.DataFrame(cells.iloc[1:].to_numpy(dtype=object), columns=header)


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    import gzip

    opened: Callable[..., IO[str]] = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise InvalidRuns(
                    f"{path.name}, line {number}: no JSON ({error}); one object a line"
                ) from error
            if not isinstance(value, dict):
                raise InvalidRuns(
                    f"{path.name}, line {number}: a run is a JSON object, not {line.strip()[:40]}"
                )
            yield value


def _label(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Text, None where there is none."""
    return pd.Series([None if _absent(cell) else _text(cell) or None for cell in cells], dtype=object)


def _text(cell: Any) -> str:
    """A label as it reads in any format: 3.0, which Parquet makes of a 3 beside a gap, is 3."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _absent(cell: Any) -> bool:
    """Whether a cell holds nothing in any format's own way."""
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, Real) and math.isnan(cell))


def _missing(cell: Any) -> bool:
    """Whether an outcome's cell holds nothing, in a file's words too."""
    return cell.strip().lower() in _EMPTY if isinstance(cell, str) else _absent(cell)


def _outcome(path: Path, cells: "pd.Series[Any]", column: str, free: set[str]) -> "pd.Series[float]":
    """Numbers, NaN where nothing was reported."""
    values = []
    for row, cell in enumerate(cells, start=1):
        value = math.nan if _missing(cell) else _number(cell)
        wanted = _unfit(value, column, free)
        if wanted:
            raise InvalidRuns(
                f"{path.name}, row {row}, column {cells.name}: {str(cell)[:40]!r} is not {wanted}"
            )
        values.append(value)
    series = pd.Series(values, dtype="float64")
    nothing = _NOTHING.get(column)
    return series if nothing is None or series.isna().all() else series.fillna(nothing)


def _number(cell: Any) -> float:
    """A cell as a number; infinite where it is none, which no outcome may be."""
    word = _WORDS.get(cell.strip().lower()) if isinstance(cell, str) else None
    try:
        value = float(cell) if word is None else word
    except (TypeError, ValueError):
        return math.inf
    return math.inf if math.isnan(value) else value


def _unfit(value: float, column: str, free: set[str]) -> str:
    """What the column should hold, where the value is not that; else empty."""
    if math.isnan(value):
        return ""
    if column in FLAGS:
        return "" if value in (0.0, 1.0) else "true or false (1 or 0)"
    if column in free:
        return "" if math.isfinite(value) else "a number"
    if column in AMOUNTS:
        return "" if 0.0 <= value < math.inf else "a number, 0 or more"
    return (
        "" if 0.0 <= value < math.inf and value == int(value) else "a count, 0 or more (true, false, 1 or 0)"
    )


def _listed(names: Any) -> str:
    """Names for people, shortened."""
    found = [str(name) for name in names]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
