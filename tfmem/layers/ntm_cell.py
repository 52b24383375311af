"""The Neural Turing Machine as a Keras RNN cell."""

from typing import Literal

import tensorflow as tf

from tfmem._keras import keras
from tfmem.layers.external_memory import ExternalMemory, Initial
from tfmem.layers.heads import Addressing
from tfmem.layers.initial_state import begun

Controller = Literal["feed_forward", "lstm", "gru"]
CONTROLLERS = ("feed_forward", "lstm", "gru")


@keras.saving.register_keras_serializable("tfmem")
class NTMCell(keras.layers.Layer):
    """The Neural Turing Machine [Graves et al., 2014] as an RNN cell: `tf.keras.layers.RNN(NTMCell(...))`.

    At each step a controller sees the input and what was read at the step before; what it says moves the
    heads of an `ExternalMemory`, which writes and then reads:

        h_t = controller([x_t, r_{t-1}])
        M_t, r_t = memory(h_t, M_{t-1})
        y_t = [h_t, r_t]

    With the addressings as they are, by content and location, this is the paper's machine. `read_addressing=
    "content", write_addressing="lru"` and an LSTM controller make it a memory-augmented network [Santoro et
    al., 2016].

    Where it deviates from the paper: reads see the step's own write; the controls' activations, which the
    paper leaves open, are those of `ReadHead` and `WriteHead`; the memory starts at 1e-6 everywhere, and
    where heads start and what they read at first is learned [Collier and Beel, "Implementing Neural Turing
    Machines", 2018].

    Each step needs the one before: use `ScanNTM` where sequences are long and speed matters.

    Example:
      >>> layer = tf.keras.layers.RNN(NTMCell(slots=16, width=8), return_sequences=True)
      >>> y = layer(tf.zeros([2, 10, 4]))

    Args:
      slots: N, the number of memory slots; at least 2.
      width: D, the numbers in a slot.
      controller_units: width of `h_t`.
      read_heads: number of read heads, at least 1.
      write_heads: number of write heads, at least 1.
      shift_range: the farthest a head moves in a step; twice that must be less than N.
      controller: `"feed_forward"` (tanh), `"lstm"` or `"gru"`.
      read_addressing: how read heads find their slots, see `ReadHead`.
      write_addressing: the same for write heads, see `WriteHead`.
      initial: what the memory holds at first: `"constant"`, or `"learned"`.

    Call arguments:
      inputs: `[B, F]`.
      states: those of `ExternalMemory`, the reads `[B, R·D]`, and the controller's own. A state of zeros
        stands for the initial state.

    Returns:
      `(y [B, controller_units + R·D], new states)`.

    Raises:
      ValueError: when an argument does not fit.
    """

    def __init__(
        self,
        slots: int,
        width: int,
        controller_units: int = 100,
        read_heads: int = 1,
        write_heads: int = 1,
        shift_range: int = 1,
        controller: Controller = "feed_forward",
        read_addressing: Addressing = "ntm",
        write_addressing: Addressing = "ntm",
        initial: Initial = "constant",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if controller not in CONTROLLERS:
            raise ValueError(f"controller must be one of {', '.join(CONTROLLERS)}; not {controller!r}")
        if controller_units < 1:
            raise ValueError(f"controller_units must be at least 1, not {controller_units}")
        self.slots = slots
        self.width = width
        self.controller_units = controller_units
        self.read_heads = read_heads
        self.write_heads = write_heads
        self.shift_range = shift_range
        self.controller = controller
        self.read_addressing = read_addressing
        self.write_addressing = write_addressing
        self.initial = initial
        cells = {"lstm": keras.layers.LSTMCell, "gru": keras.layers.GRUCell}
        policy = self._dtype_policy
        self._recurrent = controller in cells
        self._controller = (
            cells[controller](controller_units, name="controller", dtype=policy)
            if self._recurrent
            else keras.layers.Dense(controller_units, activation="tanh", name="controller", dtype=policy)
        )
        self._memory = ExternalMemory(
            slots,
            width,
            read_heads,
            write_heads,
            read_addressing,
            write_addressing,
            shift_range,
            initial,
            name="memory",
            dtype=policy,
        )

    @property
    def state_size(self):
        own = _as_list(self._controller.state_size) if self._recurrent else []
        return [
            *self._memory.state_size,
            *(tf.TensorShape([size]) for size in [self._memory.output_size, *own]),
        ]

    @property
    def output_size(self):
        return self.controller_units + self.read_heads * self.width

    def build(self, input_shape):
        seen = tf.TensorShape([None, input_shape[-1] + self._memory.output_size])
        with tf.name_scope("controller"):
            self._controller.build(seen)
        with tf.name_scope("memory"):
            self._memory.build(tf.TensorShape([None, self.controller_units]))
        self._initial_reads = self.add_weight(
            name="initial_reads", shape=[self._memory.output_size], initializer="zeros"
        )
        super().build(input_shape)

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        """The state before the first step, for the batch of `inputs` or for `batch_size`; see `states`."""
        if not self.built:
            raise ValueError("NTMCell learns its initial state: build or call it first")
        if inputs is not None:
            batch_size = tf.shape(inputs)[0]
        dtype = dtype or self.compute_dtype
        own: list[tf.Tensor] = []
        if self._recurrent:
            own = _as_list(self._controller.get_initial_state(batch_size=batch_size, dtype=dtype))
        reads = tf.tile(tf.cast(self._initial_reads, dtype)[tf.newaxis], [batch_size, 1])
        return [*self._memory.get_initial_state(batch_size=batch_size, dtype=dtype), reads, *own]

    def call(self, inputs, states, training=None):
        kept = len(self._memory.state_size)
        memory_states, reads, own = states[:kept], states[kept], list(states[kept + 1 :])
        (reads,) = begun([reads], [self._initial_reads[tf.newaxis]], weights=memory_states[1])
        seen = tf.concat([inputs, tf.cast(reads, inputs.dtype)], axis=-1)
        if self._recurrent:
            hidden, own = self._controller(seen, own, training=training)
            own = _as_list(own)
        else:
            hidden = self._controller(seen)
        reads, memory_states = self._memory(hidden, memory_states)
        return tf.concat([hidden, reads], axis=-1), [*memory_states, reads, *own]

    def get_config(self):
        return {
            **super().get_config(),
            "slots": self.slots,
            "width": self.width,
            "controller_units": self.controller_units,
            "read_heads": self.read_heads,
            "write_heads": self.write_heads,
            "shift_range": self.shift_range,
            "controller": self.controller,
            "read_addressing": self.read_addressing,
            "write_addressing": self.write_addressing,
            "initial": self.initial,
        }


def _as_list(x) -> list:
    """Keras' cells have one state, or a list of them."""
    return list(x) if isinstance(x, list | tuple) else [x]
