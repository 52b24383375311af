"""Heads that read and write an external memory, each with one of several ways to address its slots."""

from typing import Literal

import numpy as np
import tensorflow as tf

from tfmem import ops
from tfmem._keras import keras

Addressing = Literal["ntm", "content", "direct", "attention", "lru"]
READ_ADDRESSINGS = ("ntm", "content", "direct", "attention")
WRITE_ADDRESSINGS = (*READ_ADDRESSINGS, "lru")

# Controls of a head are clipped to this before they are squashed: they saturate long before.
LARGEST_CONTROL = 20.0
LEAST_LOGIT = -15.0
# Where an `ntm` write head is at first, and what its controls say: sharply on one slot (a logit of 8), going
# forward (a shift logit of 4), sharpened (γ = 3.1), and not by content (a gate of .02).
WRITE_START, WRITE_SHIFT, WRITE_EXPONENT, WRITE_GATE = 8.0, 4.0, 2.0, -4.0
# The share of its usage that a slot keeps from step to step [Santoro et al., 2016, use .95 to .99].
USAGE_DECAY = 0.99


class _Head(keras.layers.Layer):
    """What the heads of both kinds share: how weights over the slots come about."""

    _addressings: tuple[str, ...]

    def __init__(
        self,
        slots: int,
        width: int,
        heads: int = 1,
        addressing: Addressing = "ntm",
        shift_range: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if slots < 2:
            raise ValueError(f"slots must be at least 2, not {slots}")
        if width < 1:
            raise ValueError(f"width must be at least 1, not {width}")
        if not 1 <= heads <= slots:
            raise ValueError(f"heads must be 1 to slots = {slots}, not {heads}")
        if addressing not in self._addressings:
            raise ValueError(f"addressing must be one of {', '.join(self._addressings)}; not {addressing!r}")
        if addressing == "ntm" and not 0 <= 2 * shift_range < slots:
            raise ValueError(
                f"2 · shift_range + 1 must be 1 to slots = {slots}, not R = {shift_range}: pass a smaller one"
            )
        self.slots = slots
        self.width = width
        self.heads = heads
        self.addressing = addressing
        self.shift_range = shift_range

    def build(self, input_shape):
        self._features = input_shape[-1]
        # Key, strength, gate, shifts, exponent.
        controls = {
            "ntm": self.width + 3 + 2 * self.shift_range + 1,
            "content": self.width + 1,
            "direct": self.slots,
            "attention": self.slots,
        }
        if self.addressing in controls:
            self._controls = self._dense("controls", controls[self.addressing], self._first_controls())
        if self.addressing == "ntm":
            self._start = self.add_weight(
                name="start", shape=[self.heads, self.slots], initializer=self._first_position()
            )
        super().build(input_shape)

    def _first_controls(self) -> keras.initializers.Initializer:
        """Of the controls' biases."""
        return keras.initializers.Zeros()

    def _first_position(self) -> keras.initializers.Initializer:
        """Of the logits of the weights before the first step."""
        return keras.initializers.RandomNormal(stddev=1.0)

    def _dense(self, name: str, size: int, bias_initializer="zeros") -> keras.layers.Dense:
        """A projection to `size` numbers for each head."""
        layer = keras.layers.Dense(
            self.heads * size, name=name, bias_initializer=bias_initializer, dtype=self._dtype_policy
        )
        with tf.name_scope(name):
            layer.build([None, self._features])
        return layer

    @property
    def _wide(self) -> tf.DType:
        """Products of many small numbers: addressing is computed in at least 32 bits."""
        dtype = tf.as_dtype(self.compute_dtype)
        return tf.float32 if dtype.size < 4 else dtype

    def _by_head(self, layer, h) -> tf.Tensor:
        """`[B, H, …]`, wide and clipped to where nothing has saturated."""
        controls = tf.cast(layer(h), self._wide)
        controls = tf.reshape(controls, [-1, self.heads, controls.shape[-1] // self.heads])
        return tf.clip_by_value(controls, -LARGEST_CONTROL, LARGEST_CONTROL)

    def _first_weights(self, batch_size) -> tf.Tensor:
        if not self.built:
            raise ValueError(f"{type(self).__name__} learns its initial state: build or call it first")
        if self.addressing != "ntm":  # the first step asks for no earlier weights
            return tf.zeros([batch_size, self.heads, self.slots], self.compute_dtype)
        start = tf.cast(tf.nn.softmax(tf.cast(self._start, self._wide)), self.compute_dtype)
        return tf.tile(start[tf.newaxis], [batch_size, 1, 1])

    def _address(self, h, memory, previous) -> tf.Tensor:
        """The weights after the step `[B, H, N]`, from wide `memory` and `previous` weights."""
        controls = self._by_head(self._controls, h)
        if self.addressing == "direct":
            return tf.nn.softmax(controls)
        if self.addressing == "attention":
            # Never 0, not even in 16 bits: weights of 0 say that no step has been taken (`begun`).
            return tf.sigmoid(tf.maximum(controls, LEAST_LOGIT))
        sizes = [self.width, 1, controls.shape[-1] - self.width - 1]
        key, strength, rest = tf.split(controls, sizes, axis=-1)
        content = ops.content_weights(memory, tf.tanh(key), tf.nn.softplus(strength)[..., 0])
        if self.addressing == "content":
            return content
        gate, shifts, exponent = tf.split(rest, [1, 2 * self.shift_range + 1, 1], axis=-1)
        located = ops.interpolate(content, previous, tf.sigmoid(gate)[..., 0])
        shifted = ops.shift(located, tf.nn.softmax(shifts))
        return ops.sharpen(shifted, 1.0 + tf.nn.softplus(exponent)[..., 0])

    def get_config(self):
        return {
            **super().get_config(),
            "slots": self.slots,
            "width": self.width,
            "heads": self.heads,
            "addressing": self.addressing,
            "shift_range": self.shift_range,
        }


@keras.saving.register_keras_serializable("tfmem")
class ReadHead(_Head):
    """H heads that read a memory, `r_j = Σ_i a_ji M_i`, with weights a_j that depend on an input h.

    How the weights come about is the addressing:

    - `ntm`: by content, gate, shift and sharpening, from the last weights [Graves et al., 2014, eq. 5 to 9]:
      `a_t = sharpen(shift(g softmax(β cos(k, M)) + (1 − g) a_{t-1}, s), γ)`;
    - `content`: `softmax(β cos(k, M))` alone;
    - `direct`: `softmax(W h + b)`;
    - `attention`: `σ(W h + b)`, which need not sum to 1; h may be the weights of an attention layer.

    Of the projections of h, keys pass tanh, strengths softplus, gates σ, shifts softmax and exponents 1 +
    softplus, all clipped to ±20 first; the paper leaves them open.

    Example:
      >>> read = ReadHead(slots=16, width=8)
      >>> r, weights = read(tf.zeros([2, 4]), tf.zeros([2, 16, 8]))
      >>> r, weights = read(tf.zeros([2, 4]), tf.zeros([2, 16, 8]), weights)

    Args:
      slots: N, the number of memory slots; at least 2.
      width: D, the numbers in a slot.
      heads: H, at most N.
      addressing: one of the above.
      shift_range: R, the farthest that `ntm` moves in a step; `2R + 1` must not exceed N.

    Call arguments:
      h: `[B, F]`.
      memory: `[B, N, D]`.
      weights: `[B, H, N]`, what the last call returned; None for the first step's, which are learned.

    Returns:
      `(reads [B, H·D], weights [B, H, N])`.

    Raises:
      ValueError: when an argument does not fit.
    """

    _addressings = READ_ADDRESSINGS

    def call(self, h, memory, weights=None):
        if weights is None:
            weights = self.get_initial_state(tf.shape(h)[0])
        memory, weights = (tf.cast(z, self._wide) for z in (memory, weights))
        weights = self._address(h, memory, weights)
        reads = tf.reshape(ops.read(memory, weights), [-1, self.heads * self.width])
        return tf.cast(reads, self.compute_dtype), tf.cast(weights, self.compute_dtype)

    def get_initial_state(self, batch_size: int | tf.Tensor) -> tf.Tensor:
        """The weights before the first step, `[B, H, N]`; the layer must have been built."""
        return self._first_weights(batch_size)


@keras.saving.register_keras_serializable("tfmem")
class WriteHead(_Head):
    """H heads that erase and add, `M' = Π_j (1 − w_j ⊗ e_j) ⊙ M + Σ_j w_j ⊗ v_j`.

    The erase strengths are `e = σ(W_e h)`, the added vectors `v = tanh(W_v h)` [Graves et al., 2014, eq. 3
    and 4]. The weights w_j come about as those of a `ReadHead`, or by

    - `lru`: the slot used least, or where a read head has just read [Santoro et al., "Meta-Learning with
      Memory-Augmented Neural Networks", 2016]: `w_j = σ(α_j) a_{t-1,j} + (1 − σ(α_j)) u_j`, where u_j is
      one-hot at the j-th least used slot and α_j is learned. That slot is emptied before the write, in
      place of erasing. Usage `γ u + Σ a + Σ w`, γ = .99, counts what was read and written. Where there are
      fewer read heads than write heads, they are taken in turn; the paper has as many of both, and leaves
      open which head takes which of several least used slots.

    By `ntm`, a write head begins sharply on one slot and moves forward, which is where learning to write to
    separate slots succeeds or fails (docs/learning.md); what it does from there is learned.

    Example:
      >>> write = WriteHead(slots=16, width=8)
      >>> memory, state = write(tf.zeros([2, 4]), tf.zeros([2, 16, 8]))
      >>> memory, state = write(tf.zeros([2, 4]), memory, state)

    Args:
      slots: N, the number of memory slots; at least 2.
      width: D, the numbers in a slot.
      heads: H, at most N.
      addressing: `"ntm"`, `"content"`, `"direct"`, `"attention"` or `"lru"`.
      shift_range: R, the farthest that `ntm` moves in a step; `2R + 1` must not exceed N.

    Call arguments:
      h: `[B, F]`.
      memory: `[B, N, D]`.
      state: what the last call returned; None for the first step's.
      read_weights: `[B, R, N]`, where read heads read in the step before; `lru` needs them.

    Returns:
      `(memory [B, N, D], state)`. The state is a list of the weights `[B, H, N]` and, for `lru`, the usage
      `[B, N]`.

    Raises:
      ValueError: when an argument does not fit.
    """

    _addressings = WRITE_ADDRESSINGS

    def _first_controls(self):
        if self.addressing != "ntm":
            return super()._first_controls()
        shifts = np.zeros(2 * self.shift_range + 1)
        shifts[self.shift_range + 1 :][:1] = WRITE_SHIFT
        bias = np.concatenate([np.zeros(self.width + 1), [WRITE_GATE], shifts, [WRITE_EXPONENT]])
        return keras.initializers.Constant(np.tile(bias, self.heads))

    def _first_position(self):
        # A ring has no first slot, so heads may start anywhere: evenly spaced.
        spaced = np.arange(self.heads) * self.slots // self.heads
        return keras.initializers.Constant(WRITE_START * np.eye(self.slots)[spaced])

    def build(self, input_shape):
        super().build(input_shape)
        self._add = self._dense("add", self.width)
        if self.addressing == "lru":
            self._gate = self.add_weight(name="gate", shape=[self.heads, 1], initializer="zeros")
        else:
            self._erase = self._dense("erase", self.width)

    def call(self, h, memory, state=None, read_weights=None):
        if state is None:
            state = self.get_initial_state(tf.shape(h)[0])
        memory, *state = (tf.cast(z, self._wide) for z in (memory, *state))
        add = tf.tanh(self._by_head(self._add, h))
        if self.addressing == "lru":
            if read_weights is None:
                raise ValueError("WriteHead with addressing='lru' needs read_weights")
            weights, usage = state
            read_weights = tf.cast(read_weights, self._wide)
            memory, state = self._write_least_used(memory, weights, usage, read_weights, add)
        else:
            state = [self._address(h, memory, state[0])]
            memory = ops.write(memory, state[0], tf.sigmoid(self._by_head(self._erase, h)), add)
        return tf.cast(memory, self.compute_dtype), [tf.cast(z, self.compute_dtype) for z in state]

    def _write_least_used(self, memory, weights, usage, read_weights, add):
        usage = ops.track_usage(usage, read_weights, weights, USAGE_DECAY)
        empty = ops.least_used(usage, self.heads)
        gate = tf.sigmoid(tf.cast(self._gate, self._wide))
        in_turn = tf.constant([j % read_weights.shape[-2] for j in range(self.heads)])
        weights = gate * tf.gather(read_weights, in_turn, axis=-2) + (1.0 - gate) * empty
        # All erase by their slots alone, then all add by their weights.
        emptied = ops.write(memory, empty, tf.ones_like(add), tf.zeros_like(add))
        return emptied + tf.matmul(weights, add, transpose_a=True), [weights, usage]

    def get_initial_state(self, batch_size: int | tf.Tensor) -> list[tf.Tensor]:
        """The state before the first step; the layer must have been built."""
        weights = self._first_weights(batch_size)
        if self.addressing != "lru":
            return [weights]
        return [weights, tf.zeros([batch_size, self.slots], self.compute_dtype)]

    @property
    def state_size(self) -> list[tf.TensorShape]:
        """The shapes of the state's parts, without the batch axis."""
        weights = tf.TensorShape([self.heads, self.slots])
        return [weights, tf.TensorShape([self.slots])] if self.addressing == "lru" else [weights]
