"""Layers that remember, behind one interface, so that a network can chain them.

The interface is `tfmem.layers.ScanNTM`'s: a call over `[B, T, F]` with `initial_state`, `reset_mask` and
`training`, `step` over `[B, F]`, `get_initial_state(batch_size)`, and `state_shapes` with the shape of every
named part of the state.
"""

import tensorflow as tf

from tfmem._keras import keras
from tfmem.layers import ScanNTM
from tfmem.networks.attention_layer import attention_layer
from tfmem.networks.config import Attention, LSTMConfig, NetworkConfig, ScanNTMConfig
from tfmem.ops import lstm


class Stateful(keras.layers.Layer):
    """A layer that remembers, from zeros, and that takes a single step as an unroll of length 1."""

    state_shapes: dict[str, tuple[int, ...]]

    def get_initial_state(self, batch_size):
        """Zeros."""
        return {name: tf.zeros([batch_size, *shape]) for name, shape in self.state_shapes.items()}

    def step(self, x, state):
        """One step without a reset: `x [B, F]` and a state to `(y [B, ·], next state)`."""
        y, final = self(x[:, tf.newaxis], state, tf.zeros([tf.shape(x)[0], 1], tf.bool))
        return y[:, 0], final


class LSTM(Stateful):
    """Keras' LSTM cell over sequences with resets, `tfmem.ops.lstm`; `[B, T, F]` to `[B, T, units]`.

    The state is `hidden [B, units]` and `cell [B, units]`, zero at first.
    """

    def __init__(self, units: int):
        super().__init__(name="lstm")
        self._cell = keras.layers.LSTMCell(units)
        self.state_shapes = {"hidden": (units,), "cell": (units,)}

    def build(self, input_shape):
        self._cell.build([None, input_shape[-1]])
        super().build(input_shape)

    def call(self, x, initial_state, reset_mask, training=False):
        del training
        weights = self._cell.kernel, self._cell.recurrent_kernel, self._cell.bias
        y, hidden, cell = lstm(x, *weights, **initial_state, reset_mask=reset_mask)
        return y, {"hidden": hidden, "cell": cell}

    def step(self, x, state):
        """One step without a reset: `x [B, F]` and a state to `(y [B, U], next state)`."""
        y, (hidden, cell) = self._cell(x, [state["hidden"], state["cell"]])
        return y, {"hidden": hidden, "cell": cell}


class RecentAttention(Stateful):
    """Joins each input to its attention, soft or hard, over the episode's last K inputs, itself included.

    `[B, T, F]` to `[B, T, 2F]`: `y_t = [x_t, c_t]`, where `c_t` attends with query `x_t` to
    `x_{t-K+1} … x_t`, each with a learned embedding of its age added, and never reaches back over a reset.
    The state is `past [B, K-1, F]`, `past_valid [B, K-1]`, 1 where `past` holds an input of the episode, and
    `attention [B, K]`, the weights of the latest step, oldest input first, for whoever wants to look.

    After a call in training `selection_log_prob` is `log p(L_t)` of what hard attention by `reinforce` has
    drawn, `[B, T]`; otherwise it is None.
    """

    def __init__(self, window: int, features: int, attention: Attention = "soft", entropy: float = 0.0):
        super().__init__(name="recent_attention")
        self._window = window
        self._features = features
        self._attention = attention_layer(features, attention, entropy=entropy)
        self._scores = attention == "reinforce"
        self.selection_log_prob: tf.Tensor | None = None
        self.state_shapes = {
            "past": (window - 1, features),
            "past_valid": (window - 1,),
            "attention": (window,),
        }

    def build(self, input_shape):
        self._age = self.add_weight(
            name="age", shape=[self._window, self._features], initializer="random_normal"
        )
        super().build(input_shape)

    def call(self, x, initial_state, reset_mask, training=False):
        length = tf.shape(x)[1]
        past = tf.concat([initial_state["past"], x], axis=1)  # [B, K-1+T, F]
        valid = tf.concat([initial_state["past_valid"], tf.ones_like(x[:, :, 0])], axis=1)
        # Two inputs are of the same episode when as many resets came before one as before the other.
        resets = tf.cumsum(tf.cast(reset_mask, tf.int32), axis=1)
        episode = tf.pad(resets, [[0, 0], [self._window - 1, 0]])
        index = tf.range(length)[:, tf.newaxis] + tf.range(self._window)  # [T, K]
        same = tf.gather(episode, index, axis=1) == resets[:, :, tf.newaxis]
        mask = same & (tf.gather(valid, index, axis=1) > 0)
        y, weights = self._join(x, tf.gather(past, index, axis=1), mask, training)
        kept = self._window - 1
        keep = tf.cast(episode == episode[:, -1:], valid.dtype) * valid
        return y, {
            "past": past[:, length:],
            "past_valid": keep[:, length : length + kept],
            "attention": weights[:, -1],
        }

    def _join(self, x, window, mask, training):
        """`x [B, T, F]`, `window [B, T, K, F]`, `mask [B, T, K]` to `(y [B, T, 2F], weights [B, T, K])`."""
        batch, length = tf.shape(x)[0], tf.shape(x)[1]
        inputs = {
            "h": tf.reshape(window + self._age, [-1, self._window, self._features]),
            "query": tf.reshape(x, [-1, self._features]),
            "mask": tf.reshape(mask, [-1, self._window]),
        }
        context, weights = self._attention(**inputs, training=training)
        self.selection_log_prob = None
        if self._scores and training:
            log_prob = self._attention.log_prob(weights, **inputs)
            self.selection_log_prob = tf.reshape(log_prob, [batch, length])
        context = tf.reshape(context, [batch, length, self._features])
        return tf.concat([x, context], axis=-1), tf.reshape(weights, [batch, length, self._window])


def stateful_layers(config: NetworkConfig) -> list[keras.layers.Layer]:
    """The chain of layers that `config` asks for; empty for a memoryless network."""
    layers: list[keras.layers.Layer] = []
    if config.attention_window:
        layers.append(
            RecentAttention(
                config.attention_window,
                config.embedding,
                attention=config.attention,
                entropy=config.attention_entropy,
            )
        )
    core = config.core
    if isinstance(core, LSTMConfig):
        layers.append(LSTM(core.units))
    elif isinstance(core, ScanNTMConfig):
        layers.append(
            ScanNTM(
                slots=core.slots,
                width=core.width,
                read_heads=core.read_heads,
                write_heads=core.write_heads,
                controller_units=core.controller_units,
                jumps=core.jumps,
                favourite_logit=core.favourite_logit,
                name="scan_ntm",
            )
        )
    return layers
