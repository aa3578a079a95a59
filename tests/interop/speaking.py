"""Servers on loopback that speak the part of a protocol that a recipe needs, for its real client.

Their answers are written in the shape of the API, not recorded. `OpenAI` speaks `/v1/responses`: the model
calls the tool `send`, then answers. `Langfuse` takes what its client sends, scores by its API and spans by
OTLP, and gives the scores back as its API v3 and its metrics do.
"""

import contextlib
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class OpenAI:
    """A model that sends a message and says so."""

    def __init__(self) -> None:
        #: what was asked, one a request
        self.asked: list[dict[str, Any]] = []
        #: whether its first call of a conversation lacks an argument
        self.slips = True

    def answer(self, _method: str, path: str, _query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Answer one request."""
        if path != "/v1/responses":
            return 404, {"error": {"message": f"nobody speaks {path} here", "type": "invalid_request_error"}}
        self.asked.append(body)
        outputs = [item for item in body["input"] if item.get("type") == "function_call_output"]
        if len(outputs) > self.slips:
            return 200, _response(body["model"], _message("It arrives on Monday."), len(self.asked))
        arguments = {"to": "ann@example.com", "text": "It arrives on Monday."}
        if self.slips and not outputs:
            del arguments["text"]
        return 200, _response(body["model"], _call(arguments, len(self.asked)), len(self.asked))


def _call(arguments: dict[str, str], number: int) -> dict[str, Any]:
    names = {"id": f"fc_{number}", "call_id": f"call_{number}", "name": "send"}
    return {"type": "function_call", "status": "completed", "arguments": json.dumps(arguments), **names}


def _message(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


def _response(model: str, output: dict[str, Any], number: int) -> dict[str, Any]:
    usage = {
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 120,
    }  # fmt: skip
    return {
        "id": f"resp_{number}", "object": "response", "created_at": 1_796_000_000, "status": "completed",
        "model": model, "output": [output], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": usage, "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "temperature": 1.0, "top_p": 1.0,
    }  # fmt: skip


class Langfuse:
    """Scores and traces, as they came."""

    def __init__(self) -> None:
        #: (trace, name, value, when)
        self.scores: list[tuple[str, str, float, datetime]] = []
        #: requests with spans
        self.spans = 0
        #: what nobody speaks here
        self.strange: list[str] = []

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Answer one request."""
        match method, path:
            case "POST", "/api/public/otel/v1/traces":
                self.spans += 1
                return 200, None
            case "POST", "/api/public/scores":
                return 202, self._take(body)
            case "GET", "/api/public/v3/scores":
                wanted = set(query["traceId"].split(","))
                rows = [each for each in self.scores if each[0] in wanted and each[1] == query["name"]]
                return 200, {"data": [_score(*each) for each in rows], "meta": {"limit": int(query["limit"])}}
            case "GET", "/api/public/v2/metrics":
                return 200, {"data": self._by_minute(json.loads(query["query"]))}
        self.strange.append(f"{method} {path}")
        return 404, {"message": f"nobody speaks {path} here"}

    def _take(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        for each in batch:
            at = datetime.fromisoformat(each["timestamp"])
            self.scores.append((each["traceId"], each["name"], float(each["value"]), at))
        return {"message": "Accepted"}

    def _by_minute(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        [named] = query["filters"]
        since, until = (datetime.fromisoformat(query[f"{end}Timestamp"]) for end in ("from", "to"))
        found: defaultdict[datetime, list[float]] = defaultdict(list)
        for _, name, value, at in self.scores:
            if name == named["value"] and since <= at < until:
                found[at.astimezone(UTC).replace(second=0, microsecond=0)].append(value)
        return [
            {"time_dimension": minute.isoformat(), "avg_value": sum(values) / len(values)}
            for minute, values in sorted(found.items())
        ]


def _score(trace: str, name: str, value: float, at: datetime) -> dict[str, Any]:
    when = at.isoformat()
    return {
        "id": f"s-{trace}", "projectId": "p-1", "name": name, "value": value, "dataType": "NUMERIC",
        "source": "API", "timestamp": when, "environment": "production", "createdAt": when, "updatedAt": when,
        "subject": {"kind": "trace", "id": trace},
    }  # fmt: skip


@contextlib.contextmanager
def speaking(server: OpenAI | Langfuse) -> Iterator[str]:
    """Serve it; the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _take(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_json = "json" in self.headers.get("Content-Type", "")
            status, said = server.answer(
                self.command, parts.path, query, json.loads(sent) if is_json else sent
            )
            body = b"" if said is None else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _take  # noqa: N815  names of the standard library

        def log_message(self, *_: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}"
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
