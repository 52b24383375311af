"""Where a ScanNTM's heads are before the first step."""

from collections.abc import Sequence

import tensorflow as tf

from tfmem._keras import keras

# A read head that goes back from slot 0.
REWIND = "rewind"
# Start positions are softmax(START_SCALE · θ): the scale lets an optimiser with small steps move a
# start position to another slot within a few hundred updates.
START_SCALE = 10.0


def start_weights(theta: tf.Tensor) -> tf.Tensor:
    """Heads' positions over the slots from their parameters θ, both `[H, N]`."""
    return tf.nn.softmax(START_SCALE * theta)


def first_slots(write_heads: Sequence[str], slots: int) -> list[int]:
    """The slot that each write head is on at first.

    A ring has no first slot, so write heads may start anywhere, as sharp as they can: those that move evenly
    spaced, those that stay where a head that walks forward from slot 0 writes last, on slot 0 and behind it.
    Where the readers have to start relative to them is for learning to find.
    """
    moving = sum(head != "stay" for head in write_heads)
    spaced = (i * slots // moving for i in range(moving))
    behind = (-i % slots for i in range(len(write_heads) - moving))
    return [next(behind if head == "stay" else spaced) for head in write_heads]


class WriteStart(keras.initializers.Initializer):
    """Every write head on its first slot."""

    def __init__(self, write_heads: Sequence[str]):
        self._write_heads = tuple(write_heads)

    def __call__(self, shape, dtype=None, **kwargs):
        _, slots = shape
        return tf.one_hot(first_slots(self._write_heads, slots), slots, dtype=dtype or tf.float32)


class ReadStart(keras.initializers.RandomNormal):
    """Read heads start anywhere; of those that rewind, one half is on slot 0.

    The sign in which a new head's reads are understood is an accident: started anywhere, the one head that
    reads a list backwards can be driven off the list's end for good (docs/learning.md).
    """

    def __init__(self, read_heads: Sequence[str]):
        super().__init__(stddev=0.1)
        self._rewinds = [head == REWIND for head in read_heads]

    def __call__(self, shape, dtype=None, **kwargs):
        noise = super().__call__(shape, dtype, **kwargs)
        as_all_others = tf.reduce_logsumexp(START_SCALE * noise[:, 1:], axis=1) / START_SCALE
        first = tf.where(self._rewinds, as_all_others, noise[:, 0])
        return tf.concat([first[:, tf.newaxis], noise[:, 1:]], axis=1)
