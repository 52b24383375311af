"""A ScanNTM's controller: what it says of a step, and what it tells its heads to do at first."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfmem._keras import keras
from tfmem.layers.scan_ntm_starts import REWIND
from tfmem.ops.addressing import MOVES

# Logit that a head gives jumps at first.
JUMP_LOGIT = -2.0
# Biases of the erase strengths, before their sigmoid. A head that jumps erases little: it comes back to what
# it wrote, as to a count, and adds to it.
ERASE_BIAS, JUMP_ERASE_BIAS = 1.0, -2.0
# Bias of a content look-up's key strength, before softplus.
FIRST_STRENGTH = 5.0
# All write heads together leave this share of a slot at least, where `chunked_read` is exact.
LEAST_KEPT = 1e-3


class Controls(NamedTuple):
    """What a `ScanNTM`'s controller says at each step; leading axes `[B]` or `[B, T]`."""

    hidden: tf.Tensor  # [..., controller_units]
    write_modes: tf.Tensor  # [..., W, 3], one more with jumps
    read_modes: tf.Tensor  # [..., R, 3 + W], one more with content reads, and one with jumps
    erase: tf.Tensor  # [..., W, D], or [..., W, 1]: one strength for a whole slot
    add: tf.Tensor  # [..., W, D]
    write_jump: tf.Tensor | tuple = ()  # [..., W, N] with jumps
    read_jump: tf.Tensor | tuple = ()  # [..., R, N] with jumps
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


def mode_biases(
    favourites: Sequence[str], modes: Sequence[str], logit: float, others: Sequence[str] = ()
) -> np.ndarray:
    """Initial logits of H heads' modes, `[H, modes]`.

    Args:
      favourites: the favourite mode of each head, or `"any"`.
      modes: the names of the modes.
      logit: of the favourite mode.
      others: modes that the head would have, were they a favourite: for the error's message.

    Raises:
      ValueError: on a favourite that may be none.
    """
    biases = np.zeros([len(favourites), len(modes)], np.float32)
    biases[:, [mode == "jump" for mode in modes]] = JUMP_LOGIT
    for bias, favourite in zip(biases, favourites, strict=True):
        if favourite not in (*modes, "any"):
            known = ", ".join(dict.fromkeys([*modes, *others, "any"]))
            raise ValueError(f"a head's favourite mode must be one of {known}; not {favourite!r}")
        if favourite != "any":
            bias[modes.index(favourite)] = logit
    return biases


def erase_bias(favourite: str, slots: int) -> float:
    """The initial logit of a write head's erase strength.

    A head that stays adds up what it sees: it erases 1/N of its slot in a step, so that of what the first of
    N steps wrote, the last finds more than a third.
    """
    if favourite == "stay":
        return -math.log(slots - 1)
    return JUMP_ERASE_BIAS if favourite == "jump" else ERASE_BIAS


class _AddKernel(keras.initializers.GlorotUniform):
    """Glorot's kernel, but zeros for what heads that stay add.

    What they add up grows with the sequence, and would drown what others read: at first they add nothing.
    """

    def __init__(self, write_heads: Sequence[str], width: int):
        super().__init__()
        self._adds = np.repeat([head != "stay" for head in write_heads], width)

    def __call__(self, shape, dtype=None, **kwargs):
        kernel = super().__call__(shape, dtype, **kwargs)
        return kernel * tf.cast(self._adds, kernel.dtype)


class Controller(keras.layers.Layer):
    """`h_t = tanh(W x_t + b)`, and a projection of it for everything that the heads are told.

    Args:
      units: width of `h_t`.
      slots: N, of the memory.
      width: D, the numbers in a slot.
      write_heads: the favourite mode of each of the W write heads.
      write_modes: the names of a write head's modes.
      read_heads: the favourite mode of each of the R read heads; one that rewinds goes back.
      read_modes: the names of a read head's modes.
      erase: `"vector"` or `"scalar"`; see `ScanNTM`.
      favourite_logit: see `ScanNTM`.

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
        favourite_logit: float,
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
        self._jumps = "jump" in read_modes
        self._write_mode_bias = mode_biases(write_heads, write_modes, favourite_logit)
        favourites = ["back" if head == REWIND else head for head in read_heads]
        self._read_mode_bias = mode_biases(favourites, read_modes, favourite_logit, ["content", REWIND])
        self._add_kernel = _AddKernel(write_heads, width)
        self._erase_bias = np.repeat(
            [erase_bias(head, slots) for head in write_heads], 1 if self._scalar_erase else width
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
        if self._jumps:
            self._write_jump = dense("write_jump", self._writers * self._slots)
            self._read_jump = dense("read_jump", self._readers * self._slots)
        self._erase = biased("erase", self._erase_bias, activation="sigmoid")
        self._add = dense("add", self._writers * self._width, kernel_initializer=self._add_kernel)
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

        places: dict[str, tf.Tensor] = {}
        if self._jumps:
            places |= {
                "write_jump": tf.nn.softmax(by_head(self._write_jump, self._writers)),
                "read_jump": tf.nn.softmax(by_head(self._read_jump, self._readers)),
            }
        if self._looks_up:
            places |= {
                "key": by_head(self._key, self._readers),
                "strength": tf.nn.softplus(by_head(self._strength, self._readers))[..., 0],
            }
        erase = by_head(self._erase, self._writers)
        return Controls(
            hidden=hidden,
            write_modes=tf.nn.softmax(by_head(self._write_modes, self._writers) / temperature),
            read_modes=tf.nn.softmax(by_head(self._read_modes, self._readers) / temperature),
            erase=(1.0 - LEAST_KEPT ** (1.0 / self._writers)) * erase if self._scalar_erase else erase,
            add=by_head(self._add, self._writers),
            **places,
        )
