"""Where a run's time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

ACTIVITIES = ("acting", "environment", "learning", "compiling", "evaluating", "saving")


class Stopwatch(tf.Module):
    """Seconds spent on each of `ACTIVITIES`, kept in a variable so that a resumed run goes on counting."""

    def __init__(self):
        super().__init__(name="stopwatch")
        self._saved = tf.Variable(np.zeros(len(ACTIVITIES)), trainable=False)
        self._since = np.zeros(len(ACTIVITIES))

    @contextmanager
    def measure(self, activity: str) -> Iterator[None]:
        """Counts the time in its body."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._since[ACTIVITIES.index(activity)] += time.perf_counter() - started

    def save(self) -> None:
        """Moves what was counted into the variable."""
        self._saved.assign_add(self._since)
        self._since[:] = 0

    def shares(self, total: float) -> dict[str, float]:
        """Each activity's share of `total` seconds, and what is left as `other`."""
        seconds = self._saved.numpy() + self._since
        shares = dict(zip(ACTIVITIES, (seconds / total).tolist(), strict=True))
        return {**shares, "other": 1.0 - sum(shares.values())}
