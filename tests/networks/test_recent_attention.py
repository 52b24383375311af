"""Soft attention over the recent past against a loop in NumPy."""

import numpy as np
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
