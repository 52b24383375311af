"""A ScanNTM's controller: what it says of a step, and what it tells its heads to do at first."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfmem._keras import keras
from tfmem.ops.addressing import MOVES

# Logit that a head gives its favourite mode at first, and the one that it gives jumps. With 5, a head
# that moves forward does so with probability .98: after 50 steps its weights are still mostly on one
# slot, so what is written stays separate. See docs/learning.md.
FAVOURITE_LOGIT = 5.0
JUMP_LOGIT = -2.0
# Biases of the erase strengths, before their sigmoid, where not 1: a head that jumps comes back to what it
# wrote, as to a count that it keeps there, and adds to it.
FIRST_ERASE = {"jump": -2.0}
# Bias of a content look-up's key strength, before softplus.
FIRST_STRENGTH = 5.0
# All write heads together leave this share of a slot at least, where `chunked_read` is exact.
LEAST_KEPT = 1e-3


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


class Controller(keras.layers.Layer):
    """`h_t = tanh(W x_t + b)`, and a projection of it for everything that the heads are told.

    Args:
      units: width of `h_t`.
      slots: N, of the memory.
      width: D, the numbers in a slot.
      write_heads: the favourite mode of each of the W write heads.
      write_modes: the names of a write head's modes.
      read_heads: the favourite mode of each of the R read heads.
      read_modes: the names of a read head's modes.
      erase: `"vector"` or `"scalar"`; see `ScanNTM`.

    Call arguments:
      x: `[B, F]` or `[B, T, F]`.
      temperature: τ, a scalar; modes are `softmax(logits / τ)`.

    Returns:
      `Controls` with the leading axes of `x`.

    Raises:
      ValueError: on a favourite mode that a head does not have.
    """

    def __init__(
        self,
        *,
        units: int,
        slots: int,
        width: int,
        write_heads: Sequence[str],
        write_modes: Sequence[str],
        read_heads: Sequence[str],
        read_modes: Sequence[str],
        erase: str,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._units = units
        self._slots = slots
        self._width = width
        self._writers = len(write_heads)
        self._readers = len(read_heads)
        self._scalar_erase = erase == "scalar"
        self._looks_up = "content" in read_modes
        self._write_mode_bias = mode_biases(write_heads, write_modes, [*MOVES, "jump", "any"])
        self._read_mode_bias = mode_biases(
            read_heads, read_modes, [*MOVES, "write", "content", "jump", "any"]
        )
        self._erase_bias = np.repeat(
            [FIRST_ERASE.get(head, 1.0) for head in write_heads], 1 if self._scalar_erase else width
        )

    def build(self, input_shape):
        def dense(name, units, features=self._units, **kwargs):
            layer = keras.layers.Dense(units, name=name, dtype=self._dtype_policy, **kwargs)
            with tf.name_scope(name):
                layer.build([None, features])
            return layer

        def biased(name, bias, **kwargs):
            initializer = keras.initializers.Constant(bias.reshape(-1))
            return dense(name, bias.size, bias_initializer=initializer, **kwargs)

        # Zero kernels for modes: at first a head follows its favourite whatever the input is.
        self._hidden = dense("hidden", self._units, input_shape[-1], activation="tanh")
        self._write_modes = biased("write_modes", self._write_mode_bias, kernel_initializer="zeros")
        self._read_modes = biased("read_modes", self._read_mode_bias, kernel_initializer="zeros")
        self._write_jump = dense("write_jump", self._writers * self._slots)
        self._read_jump = dense("read_jump", self._readers * self._slots)
        self._erase = biased("erase", self._erase_bias, activation="sigmoid")
        self._add = dense("add", self._writers * self._width)
        if self._looks_up:
            self._key = dense("key", self._readers * self._width)
            self._strength = biased("strength", np.full([self._readers], FIRST_STRENGTH))
        super().build(input_shape)

    def call(self, x: tf.Tensor, temperature: tf.Tensor) -> Controls:
        hidden = self._hidden(x)

        def by_head(layer, heads):
            y = layer(hidden)
            shape = tf.concat([tf.shape(y)[:-1], [heads, y.shape[-1] // heads]], axis=0)
            return tf.ensure_shape(tf.reshape(y, shape), [*y.shape[:-1], heads, y.shape[-1] // heads])

        content = {}
        if self._looks_up:
            content = {
                "key": by_head(self._key, self._readers),
                "strength": tf.nn.softplus(by_head(self._strength, self._readers))[..., 0],
            }
        erase = by_head(self._erase, self._writers)
        return Controls(
            hidden=hidden,
            write_modes=tf.nn.softmax(by_head(self._write_modes, self._writers) / temperature),
            write_jump=tf.nn.softmax(by_head(self._write_jump, self._writers)),
            read_modes=tf.nn.softmax(by_head(self._read_modes, self._readers) / temperature),
            read_jump=tf.nn.softmax(by_head(self._read_jump, self._readers)),
            erase=(1.0 - LEAST_KEPT ** (1.0 / self._writers)) * erase if self._scalar_erase else erase,
            add=by_head(self._add, self._writers),
            **content,
        )
