"""The Neural Turing Machine as a Keras RNN cell."""

from typing import Literal, NamedTuple

import tensorflow as tf

from tfmem import ops
from tfmem._keras import keras

Controller = Literal["feed_forward", "lstm", "gru"]
CONTROLLERS = ("feed_forward", "lstm", "gru")

# A memory that starts the same everywhere, and nearly empty, converges fastest [Collier and Beel, 2018].
INITIAL_MEMORY = 1e-6
# Controls of a head are clipped to this before they are squashed: they saturate long before.
LARGEST_CONTROL = 20.0


class _Head(NamedTuple):
    """How a kind of head is controlled; leading axes `[B, H]`."""

    key: tf.Tensor  # [B, H, D]
    strength: tf.Tensor  # [B, H]
    gate: tf.Tensor  # [B, H]
    shifts: tf.Tensor  # [B, H, 2R + 1]
    exponent: tf.Tensor  # [B, H]


@keras.saving.register_keras_serializable("tfmem")
class NTMCell(keras.layers.Layer):
    """The Neural Turing Machine [Graves et al., 2014] as an RNN cell: `tf.keras.layers.RNN(NTMCell(...))`.

    At each step a controller sees the input and what was read at the step before, moves the heads by content
    and location (`tfmem.ops.content_weights`, `interpolate`, `shift`, `sharpen`), writes, and reads:

        h_t = controller([x_t, r_{t-1}])
        M_t = Π_j (1 − w_tj ⊗ e_tj) ⊙ M_{t-1} + Σ_j w_tj ⊗ v_tj
        r_tj = Σ_i a_tji M_ti
        y_t = [h_t, r_t]

    Where it deviates from the paper: the controls' activations, which the paper leaves open, are softplus for
    strengths, 1 + softplus for the sharpening exponent and tanh for keys and added vectors; controls are
    clipped to ±20 first. Reads see the step's own write. The memory starts at 1e-6 everywhere; where heads
    start and what they read at first is learned [Collier and Beel, "Implementing Neural Turing Machines",
    2018].

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
      shift_range: R, the farthest a head moves in a step; `2R + 1` must not exceed N.
      controller: `"feed_forward"` (tanh), `"lstm"` or `"gru"`.

    Call arguments:
      inputs: `[B, F]`.
      states: `[memory [B, N, D], reads [B, R·D], read weights [B, R, N], write weights [B, W, N],
        the controller's own …]`.

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
        **kwargs,
    ):
        super().__init__(**kwargs)
        if slots < 2:
            raise ValueError(f"slots must be at least 2, not {slots}")
        if read_heads < 1 or write_heads < 1:
            raise ValueError(f"heads must be at least 1 each, not {read_heads} and {write_heads}")
        if not 0 <= 2 * shift_range < slots:
            raise ValueError(f"2 · shift_range + 1 must be 1 to slots = {slots}, not R = {shift_range}")
        if controller not in CONTROLLERS:
            raise ValueError(f"controller must be one of {', '.join(CONTROLLERS)}; not {controller!r}")
        self.slots = slots
        self.width = width
        self.controller_units = controller_units
        self.read_heads = read_heads
        self.write_heads = write_heads
        self.shift_range = shift_range
        self.controller = controller
        cells = {"lstm": keras.layers.LSTMCell, "gru": keras.layers.GRUCell}
        policy = self._dtype_policy
        self._recurrent = controller in cells
        self._controller = (
            cells[controller](controller_units, name="controller", dtype=policy)
            if self._recurrent
            else keras.layers.Dense(controller_units, activation="tanh", name="controller", dtype=policy)
        )

    @property
    def state_size(self):
        own = _as_list(self._controller.state_size) if self._recurrent else []
        return [
            tf.TensorShape([self.slots, self.width]),
            tf.TensorShape([self.read_heads * self.width]),
            tf.TensorShape([self.read_heads, self.slots]),
            tf.TensorShape([self.write_heads, self.slots]),
            *(tf.TensorShape([size]) for size in own),
        ]

    @property
    def output_size(self):
        return self.controller_units + self.read_heads * self.width

    def build(self, input_shape):
        units, features = self.controller_units, input_shape[-1] + self.read_heads * self.width
        with tf.name_scope("controller"):
            self._controller.build(tf.TensorShape([None, features]))
        # Key, strength, gate, shifts, exponent; a write head erases and adds besides.
        addressing = self.width + 3 + 2 * self.shift_range + 1

        def dense(name, size):
            layer = keras.layers.Dense(size, name=name, dtype=self._dtype_policy)
            with tf.name_scope(name):
                layer.build([None, units])
            return layer

        self._read_controls = dense("read_controls", self.read_heads * addressing)
        self._write_controls = dense("write_controls", self.write_heads * addressing)
        self._erase = dense("erase", self.write_heads * self.width)
        self._add = dense("add", self.write_heads * self.width)
        self._initial_reads = self.add_weight(
            name="initial_reads", shape=[self.read_heads * self.width], initializer="zeros"
        )
        self._read_start, self._write_start = (
            self.add_weight(
                name=name,
                shape=[heads, self.slots],
                initializer=keras.initializers.RandomNormal(stddev=1.0),
            )
            for name, heads in (
                ("read_start", self.read_heads),
                ("write_start", self.write_heads),
            )
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

        def tiled(x):
            x = tf.cast(x, dtype)[tf.newaxis]
            return tf.tile(x, [batch_size, *[1] * (x.shape.rank - 1)])

        return [
            tf.fill([batch_size, self.slots, self.width], tf.cast(INITIAL_MEMORY, dtype)),
            tiled(self._initial_reads),
            tiled(tf.nn.softmax(self._read_start)),
            tiled(tf.nn.softmax(self._write_start)),
            *own,
        ]

    def call(self, inputs, states, training=None):
        memory, reads, read_weights, write_weights, *own = states
        seen = tf.concat([inputs, tf.cast(reads, inputs.dtype)], axis=-1)
        if self._recurrent:
            hidden, own = self._controller(seen, own, training=training)
            own = _as_list(own)
        else:
            hidden = self._controller(seen)
        dtype = hidden.dtype
        # Products of many small numbers: addressing is computed in at least 32 bits.
        wide = tf.float32 if dtype.size < 4 else dtype
        memory, read_weights, write_weights = (
            tf.cast(z, wide) for z in (memory, read_weights, write_weights)
        )
        write_head = self._head(tf.cast(self._write_controls(hidden), wide), self.write_heads)
        write_weights = _move(memory, write_weights, write_head)
        erase, add = (
            tf.reshape(tf.cast(layer(hidden), wide), [-1, self.write_heads, self.width])
            for layer in (self._erase, self._add)
        )
        memory = ops.write(memory, write_weights, tf.sigmoid(erase), tf.tanh(add))
        read_head = self._head(tf.cast(self._read_controls(hidden), wide), self.read_heads)
        read_weights = _move(memory, read_weights, read_head)
        reads = tf.reshape(ops.read(memory, read_weights), [-1, self.read_heads * self.width])
        new = [tf.cast(z, dtype) for z in (memory, reads, read_weights, write_weights)]
        return tf.concat([hidden, new[1]], axis=-1), [*new, *own]

    def _head(self, controls: tf.Tensor, heads: int) -> _Head:
        controls = tf.clip_by_value(
            tf.reshape(controls, [-1, heads, controls.shape[-1] // heads]),
            -LARGEST_CONTROL,
            LARGEST_CONTROL,
        )
        sizes = [self.width, 1, 1, 2 * self.shift_range + 1, 1]
        key, strength, gate, shifts, exponent = tf.split(controls, sizes, axis=-1)
        return _Head(
            key=tf.tanh(key),
            strength=tf.nn.softplus(strength)[..., 0],
            gate=tf.sigmoid(gate)[..., 0],
            shifts=tf.nn.softmax(shifts),
            exponent=1.0 + tf.nn.softplus(exponent)[..., 0],
        )

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
        }


def _as_list(x) -> list:
    """Keras' cells have one state, or a list of them."""
    return list(x) if isinstance(x, list | tuple) else [x]


def _move(memory: tf.Tensor, weights: tf.Tensor, head: _Head) -> tf.Tensor:
    """A head's weights after the step, `[B, H, N]`."""
    content = ops.content_weights(memory, head.key, head.strength)
    located = ops.interpolate(content, weights, head.gate)
    return ops.sharpen(ops.shift(located, head.shifts), head.exponent)
