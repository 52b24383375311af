"""The gateway's metrics for Prometheus."""

from collections.abc import Iterable
from contextlib import AbstractContextManager

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)


class GatewayMetrics:
    """Sessions, results of acts by status, and how long the calls with them took."""

    CONTENT_TYPE = CONTENT_TYPE_LATEST

    def __init__(self):
        self._registry = CollectorRegistry()
        self._sessions = Gauge("tfmem_gateway_sessions", "Sessions in the store.", registry=self._registry)
        self._seconds = Histogram(
            "tfmem_gateway_act_seconds",
            "Time to answer one call that acts, on one session or a batch of them.",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=self._registry,
        )
        self._results = Counter(
            "tfmem_gateway_acts",
            "Steps asked for, by the status of the answer.",
            ["status"],
            registry=self._registry,
        )

    def timed(self) -> AbstractContextManager:
        """Times what is done inside of it as one call."""
        return self._seconds.time()

    def count(self, statuses: Iterable[int]) -> None:
        """Counts the results of steps."""
        for status in statuses:
            self._results.labels(status=status).inc()

    def text(self, sessions: float) -> bytes:
        """The metrics in Prometheus's form, with this many sessions."""
        self._sessions.set(sessions)
        return generate_latest(self._registry)
