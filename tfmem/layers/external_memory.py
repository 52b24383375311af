"""An external memory with its heads, as a Keras RNN cell."""

from typing import Literal

import tensorflow as tf

from tfmem._keras import keras
from tfmem.layers.heads import Addressing, ReadHead, WriteHead
from tfmem.layers.initial_state import begun

Initial = Literal["constant", "learned"]
# A memory that starts the same everywhere, and nearly empty, converges fastest [Collier and Beel, 2018].
INITIAL_MEMORY = 1e-6


@keras.saving.register_keras_serializable("tfmem")
class ExternalMemory(keras.layers.Layer):
    """A memory of N slots of D numbers whose heads follow the inputs, as an RNN cell.

    At each step `WriteHead` erases and adds, then `ReadHead` reads what is there after the write:

        M_t = Π_j (1 − w_tj ⊗ e_tj) ⊙ M_{t-1} + Σ_j w_tj ⊗ v_tj
        r_tj = Σ_i a_tji M_ti

    with weights and vectors that are functions of the input x_t, by the addressings that the heads have. The
    cell has no controller of its own: `NTMCell` puts one in front.

    Example:
      >>> layer = tf.keras.layers.RNN(ExternalMemory(slots=16, width=8), return_sequences=True)
      >>> reads = layer(tf.zeros([2, 10, 4]))

    Args:
      slots: N, the number of memory slots; at least 2.
      width: D, the numbers in a slot.
      read_heads: number of read heads, R.
      write_heads: number of write heads, W.
      read_addressing: `"ntm"`, `"content"`, `"direct"` or `"attention"`; see `ReadHead`.
      write_addressing: one of these or `"lru"`; see `WriteHead`.
      shift_range: the farthest that `ntm` moves in a step.
      initial: `"constant"`, 1e-6 everywhere, or `"learned"`.

    Call arguments:
      inputs: `[B, F]`.
      states: `[memory [B, N, D], read weights [B, R, N], write weights [B, W, N]]`, and the usage `[B, N]`
        where heads write to the least used slot. A state of zeros stands for the initial state.

    Returns:
      `(reads [B, R·D], new states)`.

    Raises:
      ValueError: when an argument does not fit.
    """

    def __init__(
        self,
        slots: int,
        width: int,
        read_heads: int = 1,
        write_heads: int = 1,
        read_addressing: Addressing = "ntm",
        write_addressing: Addressing = "ntm",
        shift_range: int = 1,
        initial: Initial = "constant",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if initial not in ("constant", "learned"):
            raise ValueError(f"initial must be 'constant' or 'learned', not {initial!r}")
        self.slots = slots
        self.width = width
        self.initial = initial
        shared = {"shift_range": shift_range, "dtype": self._dtype_policy}
        self._read = ReadHead(slots, width, read_heads, read_addressing, name="read", **shared)
        self._write = WriteHead(slots, width, write_heads, write_addressing, name="write", **shared)

    @property
    def state_size(self):
        return [
            tf.TensorShape([self.slots, self.width]),
            tf.TensorShape([self._read.heads, self.slots]),
            *self._write.state_size,
        ]

    @property
    def output_size(self):
        return self._read.heads * self.width

    def build(self, input_shape):
        for head in (self._read, self._write):
            with tf.name_scope(head.name):
                head.build(input_shape)
        if self.initial == "learned":
            self._initial_memory = self.add_weight(
                name="initial_memory",
                shape=[self.slots, self.width],
                initializer=keras.initializers.Constant(INITIAL_MEMORY),
            )
        super().build(input_shape)

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        """The state before the first step, for the batch of `inputs` or for `batch_size`; see `states`."""
        if not self.built:
            raise ValueError("ExternalMemory learns its initial state: build or call it first")
        if inputs is not None:
            batch_size = tf.shape(inputs)[0]
        dtype = dtype or self.compute_dtype
        shape = [batch_size, self.slots, self.width]
        if self.initial == "learned":
            memory = tf.broadcast_to(tf.cast(self._initial_memory, dtype), shape)
        else:
            memory = tf.fill(shape, tf.cast(INITIAL_MEMORY, dtype))
        heads = [self._read.get_initial_state(batch_size), *self._write.get_initial_state(batch_size)]
        return [memory, *(tf.cast(z, dtype) for z in heads)]

    def call(self, inputs, states):
        initial = self.get_initial_state(batch_size=1, dtype=self.compute_dtype)
        memory, read_weights, *write_state = begun(states, initial, weights=states[1])
        memory, write_state = self._write(inputs, memory, write_state, read_weights)
        reads, read_weights = self._read(inputs, memory, read_weights)
        return reads, [memory, read_weights, *write_state]

    def get_config(self):
        return {
            **super().get_config(),
            "slots": self.slots,
            "width": self.width,
            "read_heads": self._read.heads,
            "write_heads": self._write.heads,
            "read_addressing": self._read.addressing,
            "write_addressing": self._write.addressing,
            "shift_range": self._read.shift_range,
            "initial": self.initial,
        }
