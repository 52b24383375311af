"""Attention over the recent past: soft against a loop in NumPy, hard by its distribution."""

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import softmax
from tfmem.networks.stateful import RecentAttention

WINDOW, FEATURES = 3, 4


def test_attends_to_the_last_inputs_of_the_episode():
    layer = RecentAttention(WINDOW, FEATURES)
    x = np.random.default_rng(0).normal(size=(1, 7, FEATURES)).astype(np.float32)
    reset = np.zeros([1, 7], bool)
    reset[0, 4] = True
    y, state = layer(tf.constant(x), initial_state=layer.get_initial_state(1), reset_mask=tf.constant(reset))
    weight = {v.name.split(":")[0].rsplit("recent_attention/")[-1]: v.numpy() for v in layer.variables}
    find = lambda part: next(v for k, v in weight.items() if part in k)  # noqa: E731
    for t in range(7):
        start = max(t - WINDOW + 1, 4 if t >= 4 else 0)
        age = find("age")[WINDOW - (t - start + 1) :]
        past = x[0, start : t + 1] + age
        keys = past @ find("key") + x[0, t] @ find("query")
        weights = softmax(np.tanh(keys) @ find("vector")[0])
        context = weights @ past
        np.testing.assert_allclose(y[0, t], np.concatenate([x[0, t], context]), atol=1e-5)
    np.testing.assert_allclose(state["attention"][0], weights, atol=1e-5)


def call(layer, x, training):
    reset = tf.zeros(x.shape[:2], tf.bool)
    return layer(x, initial_state=layer.get_initial_state(len(x)), reset_mask=reset, training=training)


def test_drawn_selections_tell_their_probability():
    """Over many draws the frequency of a selection is the probability that it tells."""
    layer = RecentAttention(2, FEATURES, attention="reinforce")
    x = tf.tile(tf.random.stateless_normal([1, 2, FEATURES], [0, 1]), [4000, 1, 1])
    call(layer, x, training=False)
    assert layer.selection_log_prob is None
    layer.set_weights([3 * w for w in layer.get_weights()])  # far from even
    _, state = call(layer, x, training=True)
    chosen = state["attention"].numpy()
    assert set(np.unique(chosen)) == {0.0, 1.0}
    told = np.exp(layer.selection_log_prob.numpy())
    np.testing.assert_allclose(told[:, 0], 1.0, rtol=1e-5)  # the first frame has only itself
    older = told[chosen[:, 0] == 1, 1]
    assert older[0] == pytest.approx(np.mean(chosen[:, 0]), abs=0.03)
    # Outside of training the more probable one, always.
    _, state = call(layer, x, training=False)
    assert np.unique(state["attention"], axis=0).tolist() == [[1.0, 0.0] if older[0] > 0.5 else [0.0, 1.0]]


@pytest.mark.parametrize("attention", ["soft", "gumbel"])
def test_the_entropy_is_in_the_losses(attention):
    # Two inputs alike, their ages of no account: H = log 2 at the second frame, 0 at the first.
    layer = RecentAttention(2, FEATURES, attention=attention, entropy=0.5)
    x = tf.ones([3, 2, FEATURES])
    call(layer, x, training=True)
    layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    call(layer, x, training=True)
    np.testing.assert_allclose(tf.add_n(layer.losses), 0.5 * np.log(2) / 2, rtol=1e-5)
