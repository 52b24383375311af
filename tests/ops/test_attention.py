import numpy as np
import tensorflow as tf

from tests.conftest import softmax
from tfmem.ops import additive_scores, attend, dot_product_scores, masked_softmax


def test_scores_follow_their_equations():
    rng = np.random.default_rng(0)
    keys, query, vector = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 3)), rng.normal(size=3)
    additive = additive_scores(tf.constant(keys), tf.constant(vector), tf.constant(query))
    np.testing.assert_allclose(additive, np.tanh(keys + query[:, None]) @ vector)
    plain = additive_scores(tf.constant(keys), tf.constant(vector))
    np.testing.assert_allclose(plain, np.tanh(keys) @ vector)
    dot = dot_product_scores(tf.constant(keys), tf.constant(query))
    np.testing.assert_allclose(dot, np.einsum("btu,bu->bt", keys, query) / np.sqrt(3))


def test_masked_softmax_is_the_softmax_of_what_the_mask_leaves():
    scores = np.random.default_rng(0).normal(size=(3, 4))
    mask = np.array([[1, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
    weights = masked_softmax(tf.constant(scores), tf.constant(mask)).numpy()
    np.testing.assert_allclose(weights[0, mask[0]], softmax(scores[0, mask[0]]))
    np.testing.assert_array_equal(weights[1], [0, 0, 1, 0])
    np.testing.assert_array_equal(weights[2], np.zeros(4))
    assert weights[0, 2] == 0


def test_no_gradient_is_nan_where_nothing_may_be_attended_to():
    scores = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        weights = masked_softmax(scores, tf.constant([[False, False]]))
        loss = tf.reduce_sum(attend(weights, tf.ones([1, 2, 3])))
    np.testing.assert_array_equal(tape.gradient(loss, scores), [[0, 0]])
