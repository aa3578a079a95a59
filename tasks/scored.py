"""Scores of runs that somebody else gave: read by run id from Langfuse, any JSON or any SQL database.

A run that has no score there has none here, and waits. What is unjudged at its maturity counts as the worst
of its arm, in both alike, and a referee that left more than a few so proves nothing: a source that can't be
read never lets a candidate pass.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from config.scores import ScoresSpec
from lastgood import secret
from lastgood.errors import LastgoodError
from tasks import asked, signals
from tasks.asked import Unanswered, at, bearer, fetch, iso, plain
from tasks.judges import within
from tasks.readings import micros, said

#: runs of one question to Langfuse, whose address must stay short, and questions of one reading
_TOGETHER, _QUESTIONS = 40, 25
#: scores of one page of Langfuse, and pages of one question
_PAGE, _PAGES = 100, 10
#: seconds that a database may take
_PATIENCE_S = 20.0
#: rows that a database or an address may answer with
_MOST = 50_000


@dataclass(frozen=True, slots=True)
class Scores:
    """What a source said."""

    #: by run id, of those that were asked for
    found: Mapping[str, Any] = field(default_factory=dict)
    #: why there is nothing, or not all; empty where the source answered
    absent: str = ""


def read(spec: ScoresSpec, runs: Sequence[str], since_us: int, until_us: int) -> Scores:
    """Return the scores of these runs, oldest first; whatever goes wrong is an absence that says why."""
    wanted, found = frozenset(runs), {}
    try:
        for run, value in _source(spec, runs, since_us, until_us):
            if run in wanted:
                found[run] = _number(value)
    except httpx.HTTPStatusError as error:
        return Scores(found, f"{_named(spec)} can't be read: it answered {error.response.status_code}")
    except (Unanswered, LastgoodError) as error:
        return Scores(found, f"{_named(spec)} can't be read: {error}")
    except Exception as error:  # noqa: BLE001  a server or a driver may raise anything
        return Scores(found, f"{_named(spec)} can't be read: {said(error)}")
    return Scores(found)


def _named(spec: ScoresSpec) -> str:
    return "Langfuse" if spec.langfuse else "the database of scores" if spec.sql else "the address of scores"


def _source(spec: ScoresSpec, runs: Sequence[str], since_us: int, until_us: int) -> Iterator[tuple[str, Any]]:
    if spec.langfuse is not None:
        return _of_langfuse(spec, runs)
    if spec.sql is not None:
        return _of_database(spec, since_us, until_us)
    return _of_address(spec, since_us, until_us)


def _number(value: Any) -> bool | float:
    """A score as a mark; raises `Unanswered` for one that is no finite number."""
    if isinstance(value, str):
        value = asked.number(value)
    if not isinstance(value, bool | int | float) or not math.isfinite(value):
        raise Unanswered(f"the score {str(value)[:40]!r} is no finite number")
    return value


def _of_langfuse(spec: ScoresSpec, runs: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield (run, value) pairs, the newest of a run last; API v3, which answers for the ids asked for."""
    by_trace = spec.runs_as != "session"
    ids = {trace_id(run) if by_trace else run: run for run in runs}
    every = list(ids)[: _TOGETHER * _QUESTIONS]
    for start in range(0, len(every), _TOGETHER):
        some = every[start : start + _TOGETHER]
        rows = list(_pages(spec, "traceId" if by_trace else "sessionId", some))
        for row in sorted(rows, key=lambda row: micros(at(row, "timestamp"))):
            run = ids.get(str(at(row, "subject.id")))
            if run is None:
                continue  # of an observation, or of something that was not asked for
            if at(row, "dataType") not in {"NUMERIC", "BOOLEAN"}:
                raise Unanswered(f"the score {spec.name} is {row['dataType']}: it is no number")
            yield run, at(row, "value")


def trace_id(run: str) -> str:
    """The id that Langfuse's clients make of a run's: `Langfuse.create_trace_id(seed=run.id)`."""
    return hashlib.sha256(run.encode()).hexdigest()[:32]


def _pages(spec: ScoresSpec, by: str, ids: Sequence[str]) -> Iterator[Any]:
    auth = (secret.reveal(spec.public_key or ""), secret.reveal(spec.secret_key or ""))
    url = f"{plain(spec.langfuse or '').rstrip('/')}/api/public/v3/scores"
    params = {"name": spec.name or "", by: ",".join(ids), "fields": "subject", "limit": str(_PAGE)}
    for _ in range(_PAGES):
        answer = fetch(url, params, {}, auth)
        yield from at(answer, "data")
        cursor = at(answer, "meta").get("cursor")
        if not cursor:
            return
        params = {**params, "cursor": cursor}
    raise Unanswered(f"it has more than {_PAGE * _PAGES:,} scores of {len(ids)} runs")


def _of_database(spec: ScoresSpec, since_us: int, until_us: int) -> Iterator[tuple[str, Any]]:
    ask = partial(signals.rows_of, spec.sql or "", spec.database or "", since_us, until_us, most=_MOST)
    rows = within(_PATIENCE_S, ask)
    if len(rows) > _MOST:
        raise Unanswered(f"it has more than {_MOST:,} rows; let it name :since")
    for row in rows:
        if len(row) != 2:
            raise Unanswered("its rows are no pairs of a run id and a score")
        yield str(row[0]), row[1]


def _of_address(spec: ScoresSpec, since_us: int, until_us: int) -> Iterator[tuple[str, Any]]:
    url = plain(spec.json_ or "").replace("{since}", iso(since_us)).replace("{until}", iso(until_us))
    rows = at(fetch(url, {}, bearer(spec.token or ""), None), spec.points or "")
    if not isinstance(rows, list):
        raise Unanswered(f"{spec.points} is no list of scores")
    for row in rows[:_MOST]:
        yield str(at(row, spec.run or "")), at(row, spec.value or "")


__all__ = ["Scores", "read", "trace_id"]
