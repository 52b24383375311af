import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import softmax
from tfmem.layers import SoftAttention

UNITS = 4


def weight(layer, part):
    return next(v.numpy() for v in layer.variables if part in v.name)


def by_hand(layer, h, query=None, allowed=None):
    """One head after the other, one query after the other: contexts `[B, S, H·D]`, weights `[B, S, H, T]`."""
    keys = h @ weight(layer, "key")
    queries = np.zeros([*h.shape[:1], 1, layer.heads * UNITS]) if query is None else query
    queries = queries if query is None else queries @ weight(layer, "query")
    all_weights = np.zeros([h.shape[0], queries.shape[1], layer.heads, h.shape[1]])
    for b, s, head in np.ndindex(*all_weights.shape[:3]):
        part = slice(head * UNITS, (head + 1) * UNITS)
        k, q = keys[b, :, part], queries[b, s, part]
        if layer.score == "additive":
            scores = np.tanh(k + q) @ weight(layer, "vector")[head]
        else:
            scores = k @ q / np.sqrt(UNITS)
        may = np.ones(h.shape[1], bool) if allowed is None else allowed[b, s]
        if may.any():
            all_weights[b, s, head, may] = softmax(scores[may])
    contexts = np.einsum("bsht,btd->bshd", all_weights, h)
    return contexts.reshape(*contexts.shape[:2], -1), all_weights


@pytest.mark.parametrize("score", ["additive", "dot"])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("traced", [False, True])
def test_one_query_follows_the_equations(score, heads, traced):
    layer = SoftAttention(UNITS, score=score, heads=heads)
    h, query = tf.random.normal([2, 5, 3]), tf.random.normal([2, 6])
    mask = tf.constant([[True, True, False, True, True], [False, True, True, True, False]])
    call = tf.function(layer) if traced else layer
    context, weights = call(h, query=query, mask=mask)
    expected, expected_weights = by_hand(layer, h.numpy(), query.numpy()[:, None], mask.numpy()[:, None])
    np.testing.assert_allclose(context, expected[:, 0], atol=1e-5)
    expected_weights = expected_weights[:, 0, 0] if heads == 1 else expected_weights[:, 0]
    np.testing.assert_allclose(weights, expected_weights, atol=1e-5)


def test_additive_scores_need_no_query():
    layer = SoftAttention(UNITS)
    h = tf.random.normal([2, 5, 3])
    context, weights = layer(h)
    expected, expected_weights = by_hand(layer, h.numpy())
    np.testing.assert_allclose(context, expected[:, 0], atol=1e-5)
    np.testing.assert_allclose(weights, expected_weights[:, 0, 0], atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2])
def test_causal_attention_sees_the_past_alone(heads):
    layer = SoftAttention(UNITS, score="dot", heads=heads, causal=True)
    h = tf.random.normal([2, 5, 3])
    mask = np.ones([2, 5], bool)
    mask[1, :2] = False
    context, weights = layer(h, query=h, mask=tf.constant(mask))
    allowed = np.tril(np.ones([5, 5], bool)) & mask[:, None]
    expected, expected_weights = by_hand(layer, h.numpy(), h.numpy(), allowed)
    np.testing.assert_allclose(context, expected, atol=1e-5)
    np.testing.assert_allclose(
        weights, expected_weights[:, :, 0] if heads == 1 else expected_weights, atol=1e-5
    )
    np.testing.assert_array_equal(context[1, :2], np.zeros([2, 3 * heads]))


def test_keras_masks_are_honoured():
    h = tf.constant([[[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    masked = tf.keras.layers.Masking()(h)
    context, weights = SoftAttention(4)(masked)
    assert weights[0, 2] == 0
    np.testing.assert_allclose(tf.reduce_sum(weights, -1), [1, 0], atol=1e-6)
    np.testing.assert_array_equal(context[1], [0, 0])


def test_gradients_reach_every_parameter_and_are_finite_where_nothing_is_allowed():
    layer = SoftAttention(UNITS, heads=2)
    h, query = tf.random.normal([2, 5, 3]), tf.random.normal([2, 6])
    mask = tf.constant([[True] * 5, [False] * 5])
    with tf.GradientTape() as tape:
        context, _ = layer(h, query=query, mask=mask)
        loss = tf.reduce_sum(context**2)
    for gradient in tape.gradient(loss, layer.trainable_variables):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


@pytest.mark.parametrize(
    ("arguments", "query", "message"),
    [
        ({"score": "dot"}, None, "needs a query"),
        ({"causal": True}, [1, 3], "needs a query for every input"),
    ],
)
def test_a_missing_query_is_named(arguments, query, message):
    with pytest.raises(ValueError, match=message):
        SoftAttention(4, **arguments)(tf.zeros([1, 2, 3]), query=query and tf.zeros(query))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"score": "cosine"}, "'additive' or 'dot'"), ({"heads": 0}, "heads must be at least 1")],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SoftAttention(4, **arguments)


@pytest.mark.parametrize("weight", [0.1, -0.1])
def test_entropy_of_all_heads_and_queries_joins_the_losses(weight):
    layer = SoftAttention(UNITS, heads=2, entropy_weight=weight)
    h, query = tf.random.normal([3, 5, 2]), tf.random.normal([3, 4, 6])
    mask = tf.sequence_mask([5, 0, 2], 5)
    with tf.GradientTape() as tape:
        _, weights = layer(h, query=query, mask=mask)
        (loss,) = layer.losses
    w = weights.numpy()
    entropy = -np.where(w > 0, w * np.log(np.where(w > 0, w, 1)), 0).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(loss, weight * entropy, rtol=1e-5)
    assert all(np.isfinite(g).all() for g in tape.gradient(loss, layer.trainable_variables))


def test_dot_products_that_outgrow_float16_stay_finite():
    layer = SoftAttention(64, score="dot", dtype=tf.keras.mixed_precision.Policy("mixed_float16"))
    context, _ = layer(300.0 * tf.random.normal([2, 5, 8]), query=300.0 * tf.random.normal([2, 8]))
    assert np.isfinite(context).all()
