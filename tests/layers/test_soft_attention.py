import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import softmax
from tfmem.layers import SoftAttention


@pytest.mark.parametrize("with_query", [False, True])
def test_additive_follows_the_equation(with_query):
    layer = SoftAttention(4)
    h, query = tf.random.normal([2, 5, 3]), tf.random.normal([2, 6])
    context, weights = layer(h, query=query if with_query else None)
    named = {v.name: v.numpy() for v in layer.variables}
    keys = h.numpy() @ next(v for k, v in named.items() if "key" in k)
    if with_query:
        keys += (query.numpy() @ next(v for k, v in named.items() if "query" in k))[:, None]
    expected = softmax(np.tanh(keys) @ next(v for k, v in named.items() if "vector" in k))
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    np.testing.assert_allclose(context, np.einsum("bt,btd->bd", expected, h), atol=1e-5)


def test_keras_masks_are_honoured():
    h = tf.constant([[[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    masked = tf.keras.layers.Masking()(h)
    context, weights = SoftAttention(4)(masked)
    assert weights[0, 2] == 0
    np.testing.assert_allclose(tf.reduce_sum(weights, -1), [1, 0], atol=1e-6)
    np.testing.assert_array_equal(context[1], [0, 0])


def test_dot_scores_need_a_query():
    with pytest.raises(ValueError, match="needs a query"):
        SoftAttention(4, score="dot")(tf.zeros([1, 2, 3]))
    context, _ = SoftAttention(4, score="dot")(tf.zeros([1, 2, 3]), query=tf.zeros([1, 5]))
    assert context.shape == (1, 3)


def test_an_unknown_score_is_refused():
    with pytest.raises(ValueError, match="'additive' or 'dot'"):
        SoftAttention(4, score="cosine")
