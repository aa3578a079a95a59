"""The one place where the agent's HTTP client is made: rehearsals answer it, tests replace its transport."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from urllib.parse import urlsplit

import httpx

from examples.support_agent.crm.service import Request, Service
from lastgood.outbound import Transport

#: names the CRM
URL = "SUPPORT_CRM_URL"
#: seconds that the CRM may take
TIMEOUT_S = 3.0
_replaced: ContextVar[httpx.BaseTransport | None] = ContextVar("support_transport", default=None)


def client() -> httpx.Client:
    """A client of the CRM that SUPPORT_CRM_URL names; connections are kept by the process, not by it."""
    url = os.environ.get(URL, "http://127.0.0.1:8070")
    transport = Transport(_replaced.get() or _shared())
    return httpx.Client(base_url=url, transport=transport, timeout=TIMEOUT_S, trust_env=False)


@lru_cache(maxsize=1)
def _shared() -> httpx.HTTPTransport:
    return httpx.HTTPTransport(trust_env=False)


@contextmanager
def through(transport: httpx.BaseTransport) -> Iterator[None]:
    """Send what the agent sends through another transport, for as long as the block lasts."""
    token = _replaced.set(transport)
    try:
        yield
    finally:
        _replaced.reset(token)


class InProcess(httpx.BaseTransport):
    """The CRM's own answers without a socket: for a virtual clock, and for thousands of releases."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request as the server would."""
        body = json.loads(request.read() or b"{}")
        path = urlsplit(str(request.url)).path
        key = request.headers.get("Idempotency-Key")
        found = self._service.answer(Request(request.method, path, body, key))
        return httpx.Response(found.status, json=found.body)
