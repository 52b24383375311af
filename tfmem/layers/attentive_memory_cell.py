"""Attention over the recent past and an external memory together, as a Keras RNN cell."""

import tensorflow as tf

from tfmem import ops
from tfmem._keras import keras
from tfmem.layers.initial_state import begun

# Where attention looks decides where is written: rows of W_a this far apart write to different slots from
# the start, and a bias this low leaves most of the memory as it is.
WRITE_KERNEL_STDDEV = 2.0
WRITE_BIAS = -2.0


@keras.saving.register_keras_serializable("tfmem")
class AttentiveMemoryCell(keras.layers.Layer):
    """One attention over the last K inputs and N memory slots; its weights drive the writes.

    What was read at the step before is part of the query; inputs and slots compete in one softmax:

        q_t = W_q [x_t, r_{t-1}]
        e_t = [q_t · W_k x_{t-K+1}, …, q_t · W_k x_t, q_t · W_m M_{t-1,1}, …, q_t · W_m M_{t-1,N}] / √U
        a_t = softmax(e_t)
        r_t = Σ_i a_ti W_v x_i + Σ_j a_tj M_{t-1,j}
        w_t = σ(W_a a_t + b_a)
        M_t = (1 − w_t ⊗ σ(W_e x_t)) ⊙ M_{t-1} + w_t ⊗ tanh(W_u x_t)

    So what leaves the window can go on in memory, and attention finds either by the same query. Inputs before
    the first are masked out; M_0 is learned. The scores are those of Vaswani et al. (2017), the write that of
    Graves et al. (2014).

    Example:
      >>> layer = tf.keras.layers.RNN(AttentiveMemoryCell(units=16, slots=8, width=12, window=4))
      >>> read = layer(tf.zeros([2, 10, 4]))

    Args:
      units: U, the width of the space in which scores are computed.
      slots: N, the number of memory slots.
      width: D, the numbers in a slot.
      window: K, how many inputs, the present one among them, attention sees directly.

    Call arguments:
      inputs: `[B, F]`.
      states: `[memory [B, N, D], keys [B, K, U], values [B, K, D], present [B, K], read [B, D],
        attention [B, K + N]]`: keys and values of the last inputs, where 1 in `present` says that there was
        one, and a_t. A state of zeros stands for the initial state.

    Returns:
      `(r_t [B, D], new states)`.

    Raises:
      ValueError: when a size is below 1.
    """

    def __init__(self, units: int, slots: int, width: int, window: int, **kwargs):
        super().__init__(**kwargs)
        for name, size in (("units", units), ("slots", slots), ("width", width), ("window", window)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        self.units = units
        self.slots = slots
        self.width = width
        self.window = window

    @property
    def state_size(self):
        return [
            tf.TensorShape([self.slots, self.width]),
            tf.TensorShape([self.window, self.units]),
            tf.TensorShape([self.window, self.width]),
            tf.TensorShape([self.window]),
            tf.TensorShape([self.width]),
            tf.TensorShape([self.window + self.slots]),
        ]

    @property
    def output_size(self):
        return self.width

    def build(self, input_shape):
        features = input_shape[-1]

        def dense(name, units, inputs, **kwargs):
            layer = keras.layers.Dense(units, name=name, dtype=self._dtype_policy, **kwargs)
            with tf.name_scope(name):
                layer.build([None, inputs])
            return layer

        self._query = dense("query", self.units, features + self.width, use_bias=False)
        self._input_key = dense("input_key", self.units, features, use_bias=False)
        # Not a Dense layer: XLA cannot compile its gradient for inputs of three axes in a loop.
        self._slot_key = self.add_weight(name="slot_key", shape=[self.width, self.units])
        self._value = dense("value", self.width, features, use_bias=False)
        self._write = dense(
            "write",
            self.slots,
            self.window + self.slots,
            activation="sigmoid",
            kernel_initializer=keras.initializers.RandomNormal(stddev=WRITE_KERNEL_STDDEV),
            bias_initializer=keras.initializers.Constant(WRITE_BIAS),
        )
        self._erase = dense("erase", self.width, features, activation="sigmoid")
        self._add = dense("add", self.width, features, activation="tanh")
        self._initial_memory = self.add_weight(
            name="initial_memory",
            shape=[self.slots, self.width],
            initializer=keras.initializers.RandomNormal(stddev=0.1),
        )
        super().build(input_shape)

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        """The state before the first step, for the batch of `inputs` or for `batch_size`; see `states`."""
        if not self.built:
            raise ValueError("AttentiveMemoryCell learns its initial state: build or call it first")
        if inputs is not None:
            batch_size = tf.shape(inputs)[0]
        dtype = dtype or self.compute_dtype
        memory_size, *others = self.state_size
        memory = tf.broadcast_to(tf.cast(self._initial_memory, dtype), [batch_size, *memory_size])
        return [memory, *(tf.zeros([batch_size, *size], dtype) for size in others)]

    def call(self, inputs, states):
        memory, keys, values, present, read, last = (tf.cast(z, inputs.dtype) for z in states)
        (memory,) = begun([memory], [self._initial_memory[tf.newaxis]], weights=last)

        def moved_on(window, newest):
            return tf.concat([window[:, 1:], newest[:, tf.newaxis]], axis=1)

        keys = moved_on(keys, self._input_key(inputs))
        values = moved_on(values, self._value(inputs))
        present = moved_on(present, tf.ones_like(present[:, 0]))
        query = self._query(tf.concat([inputs, read], axis=-1))
        slot_keys = tf.einsum("bnd,du->bnu", memory, tf.cast(self._slot_key, memory.dtype))
        scores = ops.dot_product_scores(tf.concat([keys, slot_keys], axis=1), query)
        there = tf.concat([present > 0, tf.ones_like(memory[..., 0], tf.bool)], axis=1)
        attention = tf.cast(ops.masked_softmax(scores, there), inputs.dtype)
        read = ops.attend(attention, tf.concat([values, memory], axis=1))
        weights = self._write(attention)[:, tf.newaxis]
        memory = ops.write(
            memory, weights, self._erase(inputs)[:, tf.newaxis], self._add(inputs)[:, tf.newaxis]
        )
        return read, [memory, keys, values, present, read, attention]

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "slots": self.slots,
            "width": self.width,
            "window": self.window,
        }
