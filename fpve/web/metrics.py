"""Figures for Prometheus: requests by what they were about, and what is served."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fpve.web.guard import METHODS
from fpve.web.served import Served

# Seconds: from a thumbnail that is in memory to a search that loads a model first.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# What no route took: refused, not there, or a file of the page.
_NO_ROUTE = "other"


class Metrics:
    """The figures of one application, in a registry of their own.

    Args:
        served: what is served.
    """

    def __init__(self, served: Served) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fpve_http_requests", "Requests answered.", ["route", "method", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "fpve_http_request_seconds",
            "Time from a request to the end of its answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_Figures(served))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All figures, as Prometheus reads them."""
        return generate_latest(self._registry)

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(route, method, status).inc()
        self._seconds.labels(route).observe(seconds)


class Measured:
    """Counts and times what an application answers.

    Args:
        app: the application; it names in the scope which route it took.
        metrics: where it is counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begun = time.perf_counter()
        try:
            await self._app(scope, receive, send_counted)
        finally:
            # Anybody may send methods and paths that there are not: with a label for each of them memory would fill.
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = getattr(scope.get("route"), "path_format", _NO_ROUTE)
            self._metrics.count(route, method, status, time.perf_counter() - begun)


class _Figures(Collector):
    """What is served, looked at when it is asked for."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def collect(self) -> Iterator[Metric]:
        served, store = self._served, self._served.store.pin()
        manifest = store.opened.searcher.snapshot.manifest
        for name, text, value in (
            ("fpve_snapshot", "Number of the snapshot that is served.", manifest.snapshot),
            ("fpve_images", "Images of the snapshot.", manifest.rows),
            ("fpve_refresh_failing", "Whether the newest snapshot can't be opened.", served.refresh_error is not None),
            ("fpve_uploads_held", "Uploaded pictures that are remembered.", len(served.uploads)),
        ):
            yield GaugeMetricFamily(name, text, value)
        for name, text, value in (
            ("fpve_refreshes", "Newer snapshots that were opened.", served.refreshes),
            ("fpve_refresh_errors", "Attempts to open a newer snapshot that failed.", served.refresh_errors),
            ("fpve_sql_killed", "Processes that answered SQL and had to be ended.", served.sql.killed),
        ):
            yield CounterMetricFamily(name, text, value)
