"""Fixtures: recorded answers of tools and of HTTP services, from which a rehearsal is served.

As JSON, one map each:

    {tool: find_order, arguments: {order: "7"}, result: {...}}        or error: what the tool raised
    {http: GET, url: "http://crm/orders/7?full=1", body: {json: ...}, status: 200, headers: {...},
     answer: {json: ...}, within: refund, ignore: [request_id]}       bodies: json, form, text, or base64

`within` names the tool whose code made the request; fields that `ignore` names are left out when requests are
compared. The host counts only where several answer the same request, since a service moves.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from lastgood.errors import InvalidInput
from lastgood.records import redact

#: methods that change nothing (RFC 9110, section 9.2.1)
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: headers of an answer that are kept: an agent reads these, and none holds a secret
KEPT_HEADERS: Final = ("content-type", "etag", "link", "location", "retry-after")
#: bytes of one recorded answer
MAX_ANSWER: Final = 256_000
_TOOL_KEYS = frozenset({"tool", "arguments", "result", "error"})
_HTTP_KEYS = frozenset({"http", "url", "body", "status", "headers", "answer", "within", "ignore"})
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ToolFixture:
    """What one call of a tool returned or raised."""

    tool: str
    arguments: Mapping[str, Any]
    result: Any = None
    #: text of what it raised; None where it returned
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as a map of JSON values."""
        said = {"result": self.result} if self.error is None else {"error": self.error}
        return {"tool": self.tool, "arguments": dict(self.arguments), **said}


@dataclass(frozen=True, slots=True)
class Asked:
    """An HTTP request."""

    method: str
    url: str
    #: `{json: ...}`, `{form: [[name, value]]}`, `{text: ...}`, `{base64: ...}`; None for an empty body
    body: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Method and URL, as messages show it."""
        return f"{self.method} {self.url[:200]}"


@dataclass(frozen=True, slots=True)
class HttpFixture:
    """What an HTTP service answered to one request."""

    asked: Asked
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    #: a body, as in `Asked`
    answer: Mapping[str, Any] | None = None
    #: the tool whose code made the request
    within: str | None = None
    #: names of fields, at any depth of JSON bodies and among query parameters, that are not compared
    ignore: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as a map of JSON values, without what is empty."""
        asked = self.asked
        found = {
            "http": asked.method, "url": asked.url, "body": asked.body and dict(asked.body),
            "status": self.status, "headers": dict(self.headers), "answer": self.answer and dict(self.answer),
            "within": self.within, "ignore": list(self.ignore),
        }  # fmt: skip
        return {name: value for name, value in found.items() if value not in (None, {}, [])}


Fixture = ToolFixture | HttpFixture


def body_of(content: bytes, content_type: str) -> dict[str, Any] | None:
    """Return a body as fixtures hold it: parsed where it is JSON or a form, else text, else base64."""
    if not content:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}
    if "json" in content_type:
        try:
            return {"json": json.loads(text)}
        except ValueError:
            pass
    if "x-www-form-urlencoded" in content_type:
        return {"form": [list(pair) for pair in parse_qsl(text, keep_blank_values=True)]}
    return {"text": text}


def bytes_of(body: Mapping[str, Any] | None) -> bytes:
    """Return the bytes of a body that fixtures hold."""
    if body is None:
        return b""
    if "json" in body:
        return json.dumps(body["json"], ensure_ascii=False).encode()
    if "form" in body:
        return urlencode([(name, value) for name, value in body["form"]]).encode()
    return str(body["text"]).encode() if "text" in body else base64.b64decode(body["base64"], validate=True)


def _redacted_url(url: str, rules: tuple[str, ...]) -> str:
    """A URL with what the rules match taken out of its path and query, where `@` may read `%40`."""
    parts = urlsplit(url)
    pairs = [[name, value] for name, value in parse_qsl(parts.query, keep_blank_values=True)]
    kept: Any = redact([unquote(parts.path), pairs], rules)
    path, query = quote(kept[0], safe="/[]:,@"), urlencode([tuple(pair) for pair in kept[1]], safe="[]")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, query, ""))


@dataclass(frozen=True)
class Fixtures:
    """The recorded answers of one case; `rules` are those by which they were redacted."""

    entries: tuple[Fixture, ...] = ()
    rules: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, entries: Any, rules: tuple[str, ...] = (), *, what: str = "fixtures") -> "Fixtures":
        """Read what `to_json` wrote; raises InvalidInput, which calls it `what` and names the entry."""
        if not isinstance(entries, list):
            raise InvalidInput(f"{what}: a list of recorded calls is wanted, not {type(entries).__name__}")
        return cls(tuple(_read(entry, f"{what}[{at}]") for at, entry in enumerate(entries)), rules)

    def to_json(self) -> list[dict[str, Any]]:
        """Return them as a list of maps."""
        return [entry.to_json() for entry in self.entries]

    def redacted(self) -> "Fixtures":
        """Return them with what the rules match taken out."""
        told = self.to_json()
        for entry in told:
            if "url" in entry:
                entry["url"] = _redacted_url(entry["url"], self.rules)
        return Fixtures.from_json(redact(told, self.rules), self.rules)

    @cached_property
    def tools(self) -> frozenset[str]:
        """Tools with recorded calls: they are served, never made."""
        return frozenset(entry.tool for entry in self.entries if isinstance(entry, ToolFixture))

    @cached_property
    def within(self) -> frozenset[str]:
        """Tools whose code is run, since the requests that it makes are recorded."""
        return frozenset(
            entry.within for entry in self.entries if isinstance(entry, HttpFixture) and entry.within
        )

    def for_tool(self, name: str, arguments: Mapping[str, Any]) -> list[ToolFixture]:
        """Return what calls of a tool with these arguments answered, in order."""
        wanted = self._same(arguments)
        return [
            entry
            for entry in self.entries
            if isinstance(entry, ToolFixture) and entry.tool == name and self._same(entry.arguments) == wanted
        ]

    def for_http(self, asked: Asked) -> list[HttpFixture]:
        """Return what this request was answered, in order; by its own host alone where that has answers."""
        found = [
            entry
            for entry in self.entries
            if isinstance(entry, HttpFixture)
            and self._request(entry.asked, entry.ignore) == self._request(asked, entry.ignore)
        ]
        host = urlsplit(asked.url).netloc
        return [entry for entry in found if urlsplit(entry.asked.url).netloc == host] or found

    def _same(self, value: Any) -> str:
        return json.dumps(redact(value, self.rules), sort_keys=True, ensure_ascii=False)

    def _request(self, asked: Asked, ignore: tuple[str, ...]) -> Key:
        parts = urlsplit(asked.url)
        query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in ignore]
        body = None if asked.body is None else _without(dict(asked.body), ignore)
        if body is not None and "form" in body:
            body = {"form": [pair for pair in body["form"] if pair[0] not in ignore]}
        return (
            asked.method,
            self._same([unquote(parts.path) or "/", sorted(map(list, query))]),
            self._same(body),
        )


def _without(value: Any, names: Iterable[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(item, names) for name, item in value.items() if name not in names}
    return [_without(item, names) for item in value] if isinstance(value, list) else value


def _read(entry: Any, what: str) -> Fixture:
    if not isinstance(entry, dict) or ("tool" in entry) == ("http" in entry):
        raise InvalidInput(f"{what} is no recorded call: it has either `tool` or `http`")
    allowed = _TOOL_KEYS if "tool" in entry else _HTTP_KEYS
    unknown = sorted(set(entry) - allowed)
    if unknown:
        raise InvalidInput(f"{what} has the unknown key {unknown[0]!r}; known: {', '.join(sorted(allowed))}")
    return _read_tool(entry, what) if "tool" in entry else _read_http(entry, what)


def _read_tool(entry: dict[str, Any], what: str) -> ToolFixture:
    error = entry.get("error")
    if not (isinstance(entry["tool"], str) and isinstance(entry.get("arguments", {}), dict)):
        raise InvalidInput(f"{what}: `tool` is a name and `arguments` a map")
    if not isinstance(error, str | None):
        raise InvalidInput(f"{what}: `error` is a text")
    return ToolFixture(entry["tool"], entry.get("arguments", {}), entry.get("result"), error)


def _read_http(entry: dict[str, Any], what: str) -> HttpFixture:
    status, headers, ignore = entry.get("status", 200), entry.get("headers", {}), entry.get("ignore", [])
    if not (isinstance(entry["http"], str) and isinstance(entry.get("url"), str)):
        raise InvalidInput(f"{what}: `http` is a method and `url` a URL")
    if not isinstance(status, int) or isinstance(status, bool) or not 100 <= status <= 599:
        raise InvalidInput(f"{what}: the status {status!r} is none; write 200, for example")
    texts = isinstance(headers, dict) and all(isinstance(x, str) for x in (*headers, *headers.values()))
    if not texts or not (isinstance(ignore, list) and all(isinstance(name, str) for name in ignore)):
        raise InvalidInput(f"{what}: `headers` is a map of texts, `ignore` a list of names")
    asked = Asked(entry["http"].upper(), entry["url"], _read_body(entry.get("body"), f"{what}.body"))
    answer = _read_body(entry.get("answer"), f"{what}.answer")
    return HttpFixture(asked, status, headers, answer, entry.get("within"), tuple(ignore))


def _read_body(body: Any, what: str) -> dict[str, Any] | None:
    if body is None:
        return None
    if not (isinstance(body, dict) and len(body) == 1 and set(body) <= {"json", "form", "text", "base64"}):
        raise InvalidInput(f"{what} is no body; write one of json, form, text, base64")
    try:
        bytes_of(body)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidInput(f"{what} can't be read: {error}") from error
    return body


__all__ = ["Asked", "Fixture", "Fixtures", "HttpFixture", "ToolFixture", "body_of", "bytes_of"]
