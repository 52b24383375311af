"""What a server counts, for Prometheus."""

import contextlib
import time
from collections.abc import Iterator

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tfmem.serving.server.request_error import RequestError

PATH = "/monitoring/prometheus/metrics"  # TF Serving's, by its own default
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """Requests by model, protocol and status code; how long they took; how many are running."""

    def __init__(self):
        self._registry = CollectorRegistry()
        labels = ("model", "protocol")
        self._requests = Counter(
            "tfmem_serving_requests", "Requests answered.", (*labels, "code"), registry=self._registry
        )
        self._seconds = Histogram(
            "tfmem_serving_request_seconds",
            "From a request's arrival to its answer.",
            labels,
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.runtime = Histogram(
            "tfmem_serving_runtime_seconds",
            "Waiting for a batch and computing it.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "tfmem_serving_in_flight", "Requests being computed now.", registry=self._registry
        )
        self.available = Gauge(
            "tfmem_serving_version_available",
            "1 for a loaded version.",
            ("model", "version"),
            registry=self._registry,
        )

    @contextlib.contextmanager
    def measure(self, model: str, protocol: str) -> Iterator[None]:
        """Counts a prediction by how its body ends; one for an unknown model is counted without its name."""
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            yield
        except RequestError as error:
            code = error.code
            if code is grpc.StatusCode.NOT_FOUND:
                model = ""  # names made up by callers would each be a time series
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            raise
        finally:
            self._requests.labels(model, protocol, code.name).inc()
            self._seconds.labels(model, protocol).observe(time.perf_counter() - started)

    def set_available(self, versions: dict[str, list[int]]) -> None:
        """Tells which versions are loaded now."""
        self.available.clear()
        for model, numbers in versions.items():
            for number in numbers:
                self.available.labels(model, str(number)).set(1)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
