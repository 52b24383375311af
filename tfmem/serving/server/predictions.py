"""Answers predictions for both protocols: bounded, timed, counted."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np

from tfmem.serving.server.metrics import Metrics
from tfmem.serving.server.models import Models
from tfmem.serving.server.request_error import RequestError
from tfmem.serving.server.servable import Servable


class Predictions:
    """Runs signatures in threads, so many at a time and no more.

    TensorFlow releases the interpreter while it computes, so the event loop stays free, and threads that wait
    for a batch to fill cost nothing.

    Args:
      models: what can be asked for.
      metrics: where requests are counted.
      max_concurrency: requests that are answered or wait for a batch at a time; more are refused.
      timeout_s: the longest that an answer may take.
    """

    def __init__(self, models: Models, metrics: Metrics, *, max_concurrency: int, timeout_s: float):
        self.models = models
        self.metrics = metrics
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="predict")
        self._max_concurrency = max_concurrency
        self._timeout_s = timeout_s
        self._running = 0

    async def predict(
        self,
        servable: Servable,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        *,
        timeout_s: float | None = None,
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature.

        Args:
          servable: the version.
          signature: by name; empty for the default one.
          inputs: arrays by name.
          timeout_s: how long the caller waits, where it says so.

        Raises:
          RequestError: when the inputs do not fit, the server is saturated, or the answer takes too long.
        """
        call = servable.signature(signature)
        if self._running >= self._max_concurrency:
            raise RequestError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the server is saturated: {self._running} requests are being answered; try again later",
            )
        columns = call.columns(inputs)
        limit = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        started = time.perf_counter()
        self._running += 1
        self.metrics.in_flight.set(self._running)
        answer = asyncio.get_running_loop().run_in_executor(self._threads, call, columns)
        # A thread cannot be stopped: its place is taken until it is done, whoever still waits for it.
        answer.add_done_callback(self._finished)
        try:
            outputs = await asyncio.wait_for(asyncio.shield(answer), limit)
        except asyncio.TimeoutError as error:  # not yet the built-in one in Python 3.10
            message = f"no answer within {limit:g} s"
            raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, message) from error
        self.metrics.runtime.observe(time.perf_counter() - started)
        return {name: output.numpy() for name, output in outputs.items()}

    def _finished(self, answer: asyncio.Future) -> None:
        self._running -= 1
        self.metrics.in_flight.set(self._running)
        if not answer.cancelled():
            answer.exception()  # whoever waited has seen it, or has left
