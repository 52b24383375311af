"""Windows preferred by what they still have to teach."""

from dataclasses import dataclass

import tensorflow as tf

from tfmem.errors import require


@dataclass(frozen=True)
class Priorities:
    """How windows are preferred [Schaul et al., 2016].

    A window of priority p is drawn with probability `P = p^α / Σ p^α`, and its loss is weighted by
    `(n P)^-β`, divided by the largest such weight in the batch; n is the number of windows.

    Attributes:
      exponent: α; 0 draws all windows alike.
      correction: β; 1 undoes the bias of preferring, 0 leaves it.
    """

    exponent: float = 0.9
    correction: float = 0.6

    def __post_init__(self):
        for name in ("exponent", "correction"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"priority {name}", value, "in [0, 1]")


class WindowPriorities(tf.Module):
    """`p^α` for every window's first frame on tapes of `rows` rows, and 0 where no window starts.

    A new window has the greatest priority there has been, so that each is soon seen once. Drawing takes a
    cumulative sum over all windows: with 200 000 frames a fraction of a millisecond, and no tree to keep.
    """

    def __init__(self, priorities: Priorities, rows: int, num_envs: int):
        super().__init__(name="window_priorities")
        self._priorities = priorities
        self._num_envs = num_envs
        self._preference = tf.Variable(tf.zeros([rows, num_envs]), trainable=False)
        self._greatest = tf.Variable(1.0, trainable=False)

    def add(self, row: tf.Tensor, starts: tf.Tensor) -> None:
        """A new row: a window starts in the environments `starts [E]`, and none in the others."""
        new = tf.where(starts, self._greatest, 0.0)[tf.newaxis]
        self._preference.scatter_update(tf.IndexedSlices(new, row[tf.newaxis]))

    def draw(
        self, batch_size: int, complete: tf.Tensor, generator: tf.random.Generator
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Draws windows, one from each of `batch_size` equal shares of the sum of preferences.

        Args:
          batch_size: B.
          complete: `[rows]` bool, the rows whose windows may be drawn.
          generator: the source of randomness.

        Returns:
          `(row [B] int64, environment [B] int64, weight [B])`.
        """
        preference = tf.where(complete[:, tf.newaxis], self._preference, 0.0)
        flat = tf.cast(tf.reshape(preference, [-1]), tf.float64)
        cumulative = tf.cumsum(flat)
        lot = generator.uniform([batch_size], dtype=tf.float64)
        share = (tf.range(batch_size, dtype=tf.float64) + lot) / batch_size
        drawn = tf.searchsorted(cumulative, share * cumulative[-1], side="right", out_type=tf.int64)
        # What rounding takes past the last window belongs to it.
        last = tf.reduce_max(tf.where(flat > 0)[:, 0])
        drawn = tf.minimum(drawn, last)
        probability = tf.gather(flat, drawn) / cumulative[-1]
        windows = tf.cast(tf.math.count_nonzero(flat), tf.float64)
        weight = (windows * probability) ** -self._priorities.correction
        weight = tf.cast(weight / tf.reduce_max(weight), tf.float32)
        return drawn // self._num_envs, drawn % self._num_envs, weight

    def update(self, index: tf.Tensor, priority: tf.Tensor) -> None:
        """Sets the priority `[B]` of the windows that start at `index [B, 2]`, row and environment."""
        preference = tf.maximum(priority, 1e-6) ** self._priorities.exponent
        self._preference.scatter_nd_update(index, preference)
        self._greatest.assign(tf.maximum(self._greatest, tf.reduce_max(preference)))
