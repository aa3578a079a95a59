"""Signals over HTTP: what Prometheus, Langfuse or any address that answers with JSON says.

Every address goes through the guard of outgoing URLs. A try that fails by a time-out, a lost connection or an
answer that says "not now" is made again, for a few seconds; then there is an absence that says why.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from config.durations import parse_duration
from evaluators.watched import Series
from lastgood import guard, secret
from lastgood.errors import InvalidInput
from tasks.readings import Reading, Source, micros, said, time_of

#: seconds of one try, of all tries, and how many there are
_TRY_S, _ALL_S, _TRIES = 5.0, 12.0, 3
#: answers after which another try may do better
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
#: bytes of an answer
_BYTES = 5_000_000
#: points of one answer of Prometheus, which gives 11,000 at most
_STEPS = 10_000
#: microseconds that one question to Langfuse spans, which answers with 1,000 rows of a minute at most
_SPAN_US, _ROWS, _MINUTE_US = 12 * 3_600_000_000, 1_000, 60_000_000
#: view, measure and aggregation of Langfuse by the profile's word
_METRICS = {
    "score": ("scores-numeric", "value", "avg"),
    "cost": ("observations", "totalCost", "sum"),
    "latency": ("observations", "latency", "avg"),
    "count": ("observations", "count", "count"),
}


class Unanswered(Exception):
    """A server's answer is no figure; the message says what it was."""


def fetch(
    url: str, params: Mapping[str, str], headers: Mapping[str, str], auth: tuple[str, str] | None
) -> Any:
    """Ask an address for JSON; raises `Unanswered`, `BlockedUrl` and what httpx raises after the last try."""
    tries = Retrying(
        retry=retry_if_exception(_may_be_over),
        stop=stop_after_attempt(_TRIES) | stop_after_delay(_ALL_S),
        wait=wait_exponential(multiplier=0.2, max=2.0) + wait_random(0.0, 0.2),
        reraise=True,
    )
    return tries(_once, url, params, headers, auth)


def _once(
    url: str, params: Mapping[str, str], headers: Mapping[str, str], auth: tuple[str, str] | None
) -> Any:
    with guard.client(timeout_s=_TRY_S, silent_s=_TRY_S, most_bytes=_BYTES, headers=dict(headers)) as client:
        answer = client.get(url, params=params or None, auth=auth)
    if answer.is_redirect:
        raise Unanswered(f"it answered {answer.status_code}: it redirects; give the final address")
    if not answer.is_success:
        answer.raise_for_status()
    try:
        return answer.json()
    except (ValueError, RecursionError) as error:
        raise Unanswered(f"it answered {answer.status_code} with no JSON: {answer.text[:80]!r}") from error


def _may_be_over(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _LATER
    return isinstance(error, httpx.TransportError)


@dataclass(frozen=True, slots=True)
class Asked:
    """A signal that is asked for over HTTP; whatever goes wrong is an absence."""

    reading: Reading
    #: what is asked, for people
    what: str
    points: Callable[[int, int], Iterator[tuple[Any, Any]]]

    def read(self, since_us: int, until_us: int) -> Series:
        """Its points between two times, or why there are none."""
        try:
            return self.reading.series(self.points(since_us, until_us), until_us)
        except httpx.HTTPStatusError as error:
            why = f"it answered {error.response.status_code}: {_told(error.response)}"
            return self.reading.absent(f"{self.what} can't be read: {why}")
        except (Unanswered, InvalidInput) as error:
            return self.reading.absent(f"{self.what} can't be read: {error}")
        except Exception as error:  # noqa: BLE001  a server may answer anything
            return self.reading.absent(f"{self.what} can't be read: {said(error)}")


def _told(answer: httpx.Response) -> str:
    """What a refusal says: `error` or `message` of its JSON, else its first line."""
    try:
        found = answer.json()
        text = str(found.get("error") or found.get("message") or found)
    except (ValueError, AttributeError, RecursionError):
        text = answer.text
    return said(Exception(text)).removeprefix("Exception: ") if text.strip() else "nothing"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A range of one series; Prometheus itself carries a sample on for five minutes."""

    url: str
    query: str
    step_us: int
    token: str = ""

    def __call__(self, since_us: int, until_us: int) -> Iterator[tuple[Any, Any]]:
        """Yield (seconds, number) pairs; not-a-number is what Prometheus says where nothing is known."""
        step_us = max(self.step_us, -(-(until_us - since_us) // _STEPS))
        params = {
            "query": self.query, "step": f"{step_us / 1e6:.3f}",
            "start": f"{since_us / 1e6:.3f}", "end": f"{until_us / 1e6:.3f}",
        }  # fmt: skip
        found = fetch(plain(self.url).rstrip("/") + "/api/v1/query_range", params, bearer(self.token), None)
        data = at(found, "data")
        if at(data, "resultType") != "matrix":
            raise Unanswered(f"it answered a {at(data, 'resultType')}, not a matrix")
        series = at(data, "result")
        if len(series) > 1:
            raise Unanswered(f"its query answers {len(series)} series; aggregate them to one, sum(...) say")
        for at_s, value in at(series[0], "values") if series else ():
            if value != "NaN":
                yield at_s, float(value)


@dataclass(frozen=True, slots=True)
class Langfuse:
    """One metric of Langfuse by the minute, at the end of each minute; the running one is left out."""

    url: str
    metric: str
    name: str
    public_key: str
    secret_key: str

    def __call__(self, since_us: int, until_us: int) -> Iterator[tuple[Any, Any]]:
        """Yield (microseconds as datetime, number) pairs."""
        auth = (secret.reveal(self.public_key), secret.reveal(self.secret_key))
        url = plain(self.url).rstrip("/") + "/api/public/v2/metrics"
        _, measure, aggregation = _METRICS[self.metric]
        for start_us in range(since_us, until_us, _SPAN_US):
            end_us = min(start_us + _SPAN_US, until_us)
            query = json.dumps(self._query(start_us, end_us), separators=(",", ":"))
            rows = at(fetch(url, {"query": query}, {}, auth), "data")
            if len(rows) >= _ROWS:
                raise Unanswered(f"it answered {len(rows)} rows, which may be cut off")
            for row in rows:
                at_us, value = micros(at(row, "time_dimension")), at(row, f"{aggregation}_{measure}")
                if value is not None and at_us + _MINUTE_US <= until_us:
                    yield time_of(at_us + _MINUTE_US), float(value)

    def _query(self, start_us: int, end_us: int) -> dict[str, Any]:
        view, measure, aggregation = _METRICS[self.metric]
        column = "name" if self.metric == "score" else "traceName"
        named = [{"column": column, "operator": "=", "value": self.name, "type": "string"}]
        return {
            "view": view,
            "metrics": [{"measure": measure, "aggregation": aggregation}],
            "filters": named if self.name else [],
            "timeDimension": {"granularity": "minute"},
            "fromTimestamp": iso(start_us),
            "toTimestamp": iso(end_us),
            "config": {"row_limit": _ROWS},
        }


@dataclass(frozen=True, slots=True)
class Json:
    """Any address that answers with a list of points somewhere in JSON."""

    url: str
    points: str
    time: str
    value: str
    token: str = ""

    def __call__(self, since_us: int, until_us: int) -> Iterator[tuple[Any, Any]]:
        """Yield (time, number) pairs; {since} and {until} in the address are ISO times."""
        url = plain(self.url).replace("{since}", iso(since_us)).replace("{until}", iso(until_us))
        points = at(fetch(url, {}, bearer(self.token), None), self.points)
        if not isinstance(points, list):
            raise Unanswered(f"{self.points} is no list of points")
        for each in points:
            yield at(each, self.time), number(at(each, self.value))


def number(value: Any) -> Any:
    """A number that is written as text, as some servers do."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError as error:
        raise Unanswered(f"the value {value[:40]!r} is no number") from error


def at(found: Any, path: str) -> Any:
    """What stands at a path, as `data.rows.0`; raises `Unanswered` where nothing does."""
    for step in path.split("."):
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise Unanswered(f"its answer has no {path}") from error
    return found


def plain(url: str) -> str:
    """An address, of the secret that holds it where it is a reference."""
    return secret.reveal(url) if secret.is_reference(url) else url


def bearer(token: str) -> dict[str, str]:
    """The header of a token that is a reference; none of an empty one."""
    return {"Authorization": f"Bearer {secret.reveal(token)}"} if token else {}


def iso(at_us: int) -> str:
    """A time as ISO text in UTC."""
    return time_of(at_us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def source(reading: Reading, spec: Mapping[str, Any]) -> Source:
    """The source of a signal that is asked for over HTTP, as the profile holds it."""
    if "prometheus" in spec:
        step_us = parse_duration(spec.get("step", "1 min"))
        asks = Prometheus(spec["prometheus"], spec["query"], step_us, spec.get("token", ""))
        return Asked(reading, "Prometheus", asks)
    if "langfuse" in spec:
        keys = (spec["public_key"], spec["secret_key"])
        return Asked(
            reading, "Langfuse", Langfuse(spec["langfuse"], spec["metric"], spec.get("name", ""), *keys)
        )
    given = (spec["points"], spec["time"], spec["value"], spec.get("token", ""))
    return Asked(reading, "its address", Json(spec["json"], *given))


__all__ = [
    "Asked",
    "Json",
    "Langfuse",
    "Prometheus",
    "Unanswered",
    "at",
    "bearer",
    "fetch",
    "iso",
    "number",
    "plain",
    "source",
]
