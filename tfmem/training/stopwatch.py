"""Where a run's time goes."""

import collections
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

ACTIVITIES = ("acting", "environment", "learning", "compiling", "evaluating", "recording", "saving")


class Stopwatch(tf.Module):
    """Seconds spent on each of `ACTIVITIES`, kept in a variable so that a resumed run goes on counting."""

    def __init__(self):
        super().__init__(name="stopwatch")
        self._saved = tf.Variable(np.zeros(len(ACTIVITIES)), trainable=False)
        self._since = np.zeros(len(ACTIVITIES))
        # Seconds measured inside of each measurement that is going on; TensorFlow would track a list.
        self._inside = collections.deque([0.0])

    @contextmanager
    def measure(self, activity: str) -> Iterator[None]:
        """Counts the time in its body, less what is measured inside of that."""
        started = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            self._since[ACTIVITIES.index(activity)] += elapsed - self._inside.pop()
            self._inside[-1] += elapsed

    def save(self) -> None:
        """Moves what was counted into the variable."""
        self._saved.assign_add(self._since)
        self._since[:] = 0

    def seconds(self, activity: str) -> float:
        """What was counted of an activity."""
        at = ACTIVITIES.index(activity)
        return float(self._saved[at]) + float(self._since[at])

    def shares(self, total: float) -> dict[str, float]:
        """Each activity's share of `total` seconds, and what is left as `other`."""
        seconds = self._saved.numpy() + self._since
        shares = dict(zip(ACTIVITIES, (seconds / total).tolist(), strict=True))
        return {**shares, "other": 1.0 - sum(shares.values())}
