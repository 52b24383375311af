import numpy as np
import pytest
import tensorflow as tf

from tfmem.ops import unroll


def step(x, state, scale):
    """A step with a nested state, a boolean input and a constant."""
    features, skip = x
    count, total = state["count"], state["total"]
    new = tf.where(skip[:, tf.newaxis], total, tf.tanh(scale * total + features))
    return {"y": new * 2.0, "seen": features}, {"count": count + 1.0, "total": new}


def problem(batch=2, length=5):
    rng = np.random.default_rng(0)
    features = tf.constant(rng.normal(size=[batch, length, 3]), tf.float64)
    skip = tf.constant(rng.random([batch, length]) < 0.3)
    state = {
        "count": tf.zeros([batch, 1], tf.float64),
        "total": tf.constant(rng.normal(size=[batch, 3]), tf.float64),
    }
    return (features, skip), state, tf.constant(rng.normal(size=[3]), tf.float64)


def by_hand(inputs, state, scale):
    features, skip = (z.numpy() for z in inputs)
    total, ys = state["total"].numpy(), []
    for t in range(features.shape[1]):
        total = np.where(skip[:, t, None], total, np.tanh(scale.numpy() * total + features[:, t]))
        ys.append(2 * total)
    return np.stack(ys, 1), total


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("traced", [False, True])
def test_equals_the_steps_by_hand(length, traced):
    inputs, state, scale = problem(length=length)
    run = tf.function(unroll, autograph=False) if traced else unroll
    y, final = run(step, inputs, state, scale)
    expected, total = by_hand(inputs, state, scale)
    np.testing.assert_allclose(y["y"], expected, atol=1e-12)
    np.testing.assert_array_equal(y["seen"], inputs[0])
    np.testing.assert_allclose(final["total"], total, atol=1e-12)
    np.testing.assert_array_equal(final["count"], length)


def test_gradients_equal_those_of_numerical_differences():
    (features, skip), state, scale = problem()

    def loss(features, total, scale):
        y, final = unroll(step, (features, skip), {"count": state["count"], "total": total}, scale)
        return tf.reduce_sum(tf.sin(y["y"])) + tf.reduce_sum(final["total"] ** 2) + tf.reduce_sum(y["seen"])

    analytic, numeric = tf.test.compute_gradient(loss, [features, state["total"], scale], delta=1e-5)
    for a, n in zip(analytic, numeric, strict=True):
        np.testing.assert_allclose(a, n, atol=1e-7)


@pytest.mark.parametrize("jit", [False, True])
def test_any_batch_and_length_in_one_trace(jit):
    spec = tf.TensorSpec

    @tf.function(
        input_signature=[spec([None, None, 3], tf.float64), spec([None, None], tf.bool)],
        jit_compile=jit,
        autograph=False,
    )
    def gradient(features, skip):
        zeros = tf.zeros([tf.shape(features)[0], 1], tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(features)
            state = {"count": zeros, "total": tf.tile(zeros, [1, 3])}
            y, _ = unroll(step, (features, skip), state, tf.constant(1.0, tf.float64))
        return y["y"], tape.gradient(y["y"], features)

    for batch, length in ((1, 3), (4, 7)):
        (features, skip), _, _ = problem(batch, length)
        for found in gradient(features, skip):
            assert found.shape == (batch, length, 3)
    assert gradient.experimental_get_tracing_count() == 1


def test_static_shapes_are_kept():
    @tf.function(input_signature=[tf.TensorSpec([None, 7, 3])])
    def run(x):
        y, final = unroll(lambda x, s, _: (x, s + x), x, x[:, 0])
        assert y.shape.as_list() == [None, 7, 3]
        assert final.shape.as_list() == [None, 3]

    run.get_concrete_function()
