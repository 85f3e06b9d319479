"""Figures for Prometheus, in a registry of the application's own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter as RequestCounter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from siglip_ingest.db import items
from siglip_ingest.errors import SiglipError
from siglip_ingest.file_cache import FileCache
from siglip_ingest.web.asgi import Application, Message, Receive, Scope, Send, route_path
from siglip_ingest.web.context import Context, Kept, VectorCache
from siglip_ingest.web.scopes import find_route

LEDGER_S = 10.0  # the ledger is counted at most so often: that reads all of it
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STATES = ("queued", "claimed", "done", "failed")


class Metrics:
    """The figures of one application.

    Labels have few values, whatever is asked: a route is written with the names of its parameters, a path that there
    isn't is `none`, and a method that nobody knows is `other`.
    """

    def __init__(self, context: Context) -> None:
        self.registry = CollectorRegistry()
        self.requests = RequestCounter(
            "siglip_http_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "siglip_http_request_seconds",
            "Seconds until an answer began; what is streamed goes on after that.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "siglip_http_requests_in_flight", "Requests that are being answered.", registry=self.registry
        )
        self.registry.register(_ContextCollector(context))
        ProcessCollector(registry=self.registry)

    def render(self) -> bytes:
        """All figures, in Prometheus' text format."""
        return generate_latest(self.registry)


class Measured:
    """Counts and times requests.

    Args:
        app: What is behind it: all else.
        metrics: Where they are counted.
    """

    def __init__(self, app: Application, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics = self._metrics
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = find_route(method, route_path(scope)).template or "none"
        started = time.perf_counter()

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                metrics.seconds.labels(route).observe(time.perf_counter() - started)
                metrics.requests.labels(method, route, str(message["status"])).inc()
            await send(message)

        with metrics.in_flight.track_inprogress():
            await self._app(scope, receive, send_measured)


class _ContextCollector(Collector):
    """What is looked up when Prometheus asks: the ledger, the batches, the caches."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ledger: Kept[Mapping[str, int]] = Kept(self._count_items, LEDGER_S)

    def collect(self) -> Iterator[Metric]:
        yield from self._collect_ledger()
        yield from self._collect_batches(self._context.client.count_batches())
        requests = CounterMetricFamily("siglip_cache_requests", "Asked of a cache.", labels=["cache", "result"])
        caches: tuple[tuple[str, FileCache | VectorCache], ...] = (
            ("thumbnails", self._context.thumbnails),
            ("uploads", self._context.uploads),
            ("vectors", self._context.vectors),
        )
        for name, cache in caches:
            requests.add_metric([name, "hit"], cache.hits)
            requests.add_metric([name, "miss"], cache.misses)
        yield requests

    def describe(self) -> list[Metric]:
        return []  # so that registering asks nothing of the database

    def _collect_ledger(self) -> Iterator[Metric]:
        try:
            counts = self._ledger.get()
        except SiglipError:
            counts = None
        up = GaugeMetricFamily("siglip_database_up", "Whether the database answered.")
        up.add_metric([], float(counts is not None))
        yield up
        if counts is not None:
            ledger = GaugeMetricFamily("siglip_ingest_items", "Images in the ledger, of all models.", labels=["state"])
            for state in _STATES:
                ledger.add_metric([state], counts.get(state, 0))
            yield ledger

    def _count_items(self) -> Mapping[str, int]:
        with self._context.client.database.connection() as connection:
            counts = items.count_all(connection)
        return {state: getattr(counts, state) for state in _STATES}

    @staticmethod
    def _collect_batches(batches: Mapping[str, Counter[int]]) -> Iterator[Metric]:
        rows = HistogramMetricFamily(
            "siglip_embed_batch_rows", "Queries that were embedded at a time.", labels=["kind"]
        )
        embedded = CounterMetricFamily("siglip_queries_embedded", "Queries embedded in this process.", labels=["kind"])
        for kind, counts in batches.items():
            buckets = [(str(float(limit)), sum(n for size, n in counts.items() if size <= limit)) for limit in _ROWS]
            total = sum(size * n for size, n in counts.items())
            rows.add_metric([kind], [*buckets, ("+Inf", counts.total())], total)
            embedded.add_metric([kind], total)
        yield rows
        yield embedded
