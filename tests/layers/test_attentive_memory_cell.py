import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import softmax
from tfmem.layers import AttentiveMemoryCell


def cell(seed=0):
    tf.keras.utils.set_random_seed(seed)
    made = AttentiveMemoryCell(units=5, slots=4, width=3, window=2)
    made.build(tf.TensorShape([None, 6]))
    rng = np.random.default_rng(seed)
    made.set_weights([w + 0.3 * rng.normal(size=w.shape) for w in made.get_weights()])
    return made


def test_steps_follow_the_equations():
    made = cell()
    named = {v.name.split(":")[0]: v.numpy() for v in made.variables}

    def dense(name, x):
        return x @ named[f"{name}/kernel"] + named.get(f"{name}/bias", 0.0)

    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    rng = np.random.default_rng(1)
    xs = rng.normal(size=[2, 3, 6]).astype(np.float32)
    states = made.get_initial_state(batch_size=2)
    memory, read = np.stack([named["initial_memory"]] * 2), np.zeros([2, 3])
    for t in range(3):
        y, states = made(tf.constant(xs[:, t]), states)
        x = xs[:, t]
        past = xs[:, max(0, t - 1) : t + 1]  # a window of two, the first step has only itself
        query = dense("query", np.concatenate([x, read], -1))
        keys = np.concatenate([dense("input_key", past), memory @ named["slot_key"]], 1)
        attention = softmax(np.einsum("bu,biu->bi", query, keys) / np.sqrt(5))
        read = np.einsum("bi,bid->bd", attention, np.concatenate([dense("value", past), memory], 1))
        padded = np.concatenate([np.zeros([2, 6 - attention.shape[1]]), attention], 1)
        w = sigmoid(dense("write", padded))[..., None]
        erase, add = sigmoid(dense("erase", x))[:, None], np.tanh(dense("add", x))[:, None]
        memory = memory * (1 - w * erase) + w * add
        np.testing.assert_allclose(y, read, atol=1e-5)
        np.testing.assert_allclose(states[0], memory, atol=1e-5)
        np.testing.assert_allclose(states[-1], padded, atol=1e-5)


def test_gradients_reach_every_parameter():
    layer = tf.keras.layers.RNN(cell())
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.random.normal([2, 7, 6])) ** 2)
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(loss, layer.trainable_variables), strict=True
    ):
        assert np.abs(gradient).max() > 0, variable.name


def test_it_learns_to_recall_what_has_left_the_window():
    """The first of eight inputs is asked for at the end, with a window of two."""
    tf.keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, [512, 8, 3]).astype(np.float32)
    x = np.concatenate([x, np.tile(np.eye(8), [512, 1, 1])], -1)
    inputs = tf.keras.Input([8, 11])
    read = tf.keras.layers.RNN(AttentiveMemoryCell(16, slots=4, width=8, window=2))(inputs)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(3, activation="sigmoid")(read))
    model.compile(tf.keras.optimizers.Adam(1e-2), "bce", metrics=["binary_accuracy"])
    model.fit(x, x[:, 0, :3], epochs=12, batch_size=32, verbose=0)
    assert model.evaluate(x, x[:, 0, :3], verbose=0)[1] > 0.95


@pytest.mark.parametrize("name", ["units", "slots", "width", "window"])
def test_sizes_below_1_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        AttentiveMemoryCell(**{"units": 2, "slots": 2, "width": 2, "window": 2, name: 0})
