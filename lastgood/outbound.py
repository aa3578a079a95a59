"""HTTP clients that a rehearsal can answer: `outbound.client(base_url=...)` in place of `httpx.Client(...)`.

In service a request passes through untouched. In a rehearsal (`lastgood.rehearsal`) it is answered from the
case's fixtures, made for real where that is allowed, or denied. An SDK takes such a client too, for example
`OpenAI(http_client=outbound.client())`. Needs httpx, which `import lastgood` never loads.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from lastgood import rehearsal
from lastgood.fixtures import KEPT_HEADERS, Asked, HttpFixture, body_of, bytes_of

#: options of `httpx.Client` that are its transport's
_TRANSPORT = frozenset({"verify", "cert", "trust_env", "http1", "http2", "limits", "proxy"})


class Transport(httpx.BaseTransport):
    """Passes requests on to another transport, unless a rehearsal answers them."""

    def __init__(self, inner: httpx.BaseTransport | None = None) -> None:
        self._inner = inner or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request; raises `Denied` and `MissingFixture` in a rehearsal."""
        held = rehearsal.current()
        if held is None:
            return self._inner.handle_request(request)
        request.read()
        asked = _asked(request)
        served = held.http(asked)
        if served is not None:
            return _response(served)
        with held.passing():
            response = self._inner.handle_request(request)
            response.read()
            response.close()
        answered = _answered(asked, response)
        held.note(asked, answered)
        return _again(response)

    def close(self) -> None:
        """Close what it passes requests to."""
        self._inner.close()


class AsyncTransport(httpx.AsyncBaseTransport):
    """The same for asyncio."""

    def __init__(self, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._inner = inner or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request; raises `Denied` and `MissingFixture` in a rehearsal."""
        held = rehearsal.current()
        if held is None:
            return await self._inner.handle_async_request(request)
        await request.aread()
        asked = _asked(request)
        served = held.http(asked)
        if served is not None:
            return _response(served)
        with held.passing():
            response = await self._inner.handle_async_request(request)
            await response.aread()
            await response.aclose()
        answered = _answered(asked, response)
        held.note(asked, answered)
        return _again(response)

    async def aclose(self) -> None:
        """Close what it passes requests to."""
        await self._inner.aclose()


def client(**options: Any) -> httpx.Client:
    """Return an `httpx.Client`; takes its options. Proxies are those of `proxy`, never the environment's."""
    inner, rest = _split(options)
    transport = rest.pop("transport", None) or httpx.HTTPTransport(**inner)
    return httpx.Client(transport=Transport(transport), **rest)


def async_client(**options: Any) -> httpx.AsyncClient:
    """Return an `httpx.AsyncClient`; takes its options, as `client` does."""
    inner, rest = _split(options)
    transport = rest.pop("transport", None) or httpx.AsyncHTTPTransport(**inner)
    return httpx.AsyncClient(transport=AsyncTransport(transport), **rest)


def _split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    inner = {name: value for name, value in options.items() if name in _TRANSPORT}
    return inner, {name: value for name, value in options.items() if name not in _TRANSPORT}


def _asked(request: httpx.Request) -> Asked:
    body = body_of(request.content, request.headers.get("content-type", ""))
    return Asked(request.method, str(request.url), body)


def _answered(asked: Asked, response: httpx.Response) -> HttpFixture:
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    answer = body_of(response.content, response.headers.get("content-type", ""))
    return HttpFixture(asked, response.status_code, headers, answer, rehearsal.inside_tool())


def _response(served: HttpFixture) -> httpx.Response:
    return httpx.Response(served.status, headers=dict(served.headers), content=bytes_of(served.answer))


def _again(response: httpx.Response) -> httpx.Response:
    """The response that was read here, for whoever reads it next: decoded, and of known length."""
    gone = {"content-encoding", "content-length", "transfer-encoding"}
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in gone]
    return httpx.Response(response.status_code, headers=headers, content=response.content)


__all__ = ["AsyncTransport", "Transport", "async_client", "client"]
