"""What a ScanNTM's controller says of a step, and what its heads do at first."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfmem.ops.addressing import MOVES

# Logit that a head gives its favourite mode at first, and the one that it gives jumps. With 5, a head
# that moves forward does so with probability .98: after 50 steps its weights are still mostly on one
# slot, so what is written stays separate. See docs/learning.md.
FAVOURITE_LOGIT = 5.0
JUMP_LOGIT = -2.0


class Controls(NamedTuple):
    """What a `ScanNTM`'s controller says at each step; leading axes `[B]` or `[B, T]`."""

    hidden: tf.Tensor  # [..., controller_units]
    write_modes: tf.Tensor  # [..., W, 4]
    write_jump: tf.Tensor  # [..., W, N]
    read_modes: tf.Tensor  # [..., R, 4 + W], one more with content reads
    read_jump: tf.Tensor  # [..., R, N]
    erase: tf.Tensor  # [..., W, D], or [..., W, 1]: one strength for a whole slot
    add: tf.Tensor  # [..., W, D]
    key: tf.Tensor | tuple = ()  # [..., R, D] with content reads
    strength: tf.Tensor | tuple = ()  # [..., R] with content reads


def hold(c: Controls, mask: tf.Tensor) -> Controls:
    """Controls that neither move nor write where `mask [B, T]` does not hold."""
    mask = mask[:, :, tf.newaxis, tf.newaxis]

    def stay(modes):
        return tf.where(mask, modes, tf.one_hot(MOVES.index("stay"), modes.shape[-1], dtype=modes.dtype))

    return c._replace(
        write_modes=stay(c.write_modes),
        read_modes=stay(c.read_modes),
        erase=tf.where(mask, c.erase, tf.zeros_like(c.erase)),
        add=tf.where(mask, c.add, tf.zeros_like(c.add)),
    )


def mode_biases(favourites: Sequence[str], modes: Sequence[str], allowed: Sequence[str]) -> np.ndarray:
    """Initial logits of H heads' modes, `[H, modes]`.

    Args:
      favourites: the favourite mode of each head, or `"any"`.
      modes: the names of the modes, the last of them `"jump"`.
      allowed: what may be a favourite.

    Raises:
      ValueError: on a favourite that may be none.
    """
    biases = np.zeros([len(favourites), len(modes)], np.float32)
    biases[:, -1] = JUMP_LOGIT
    for bias, favourite in zip(biases, favourites, strict=True):
        if favourite not in allowed:
            raise ValueError(
                f"a head's favourite mode must be one of {', '.join(allowed)}; not {favourite!r}"
            )
        if favourite != "any":
            bias[modes.index(favourite)] = FAVOURITE_LOGIT
    return biases
