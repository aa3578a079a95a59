"""Prometheus figures of the service: how many requests, how they ended, how long they took."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Figures:
    """Prometheus figures of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "lastgood_requests", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "lastgood_request_seconds",
            "Seconds until the answer began.",
            ("route",),
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
        )
        self.open = Gauge("lastgood_open_requests", "Requests under way.", registry=self.registry)


class Measured:
    """ASGI middleware: counts and times requests by route, never by what a client wrote in a path."""

    def __init__(self, app: ASGIApp, figures: Figures) -> None:
        self._app, self._figures = app, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                self._figures.requests.labels(route, message["status"]).inc()
                self._figures.seconds.labels(route).observe(time.perf_counter() - began)
            await send(message)

        with self._figures.open.track_inprogress():
            await self._app(scope, receive, noting)
