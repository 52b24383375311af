import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import softmax
from tfmem.ops import content_weights, interpolate, sharpen, shift

RNG = np.random.default_rng(0)
MEMORY, KEY = RNG.normal(size=(2, 5, 3)), RNG.normal(size=(2, 4, 3))
WEIGHTS = softmax(RNG.normal(size=(2, 4, 5)))


def test_content_weights_are_a_softmax_of_cosines():
    strength = RNG.random((2, 4)) * 5
    cosine = np.einsum("bhd,bnd->bhn", KEY, MEMORY)
    cosine /= np.linalg.norm(KEY, axis=-1)[..., None] * np.linalg.norm(MEMORY, axis=-1)[:, None]
    found = content_weights(*map(tf.constant, (MEMORY, KEY, strength)))
    np.testing.assert_allclose(found, softmax(strength[..., None] * cosine), atol=1e-9)


def test_interpolation_and_sharpening_follow_their_equations():
    other, gate = softmax(RNG.normal(size=(2, 4, 5))), RNG.random((2, 4))
    expected = gate[..., None] * other + (1 - gate[..., None]) * WEIGHTS
    np.testing.assert_allclose(interpolate(*map(tf.constant, (other, WEIGHTS, gate))), expected)
    exponent = 1 + 3 * RNG.random((2, 4))
    powers = WEIGHTS ** exponent[..., None]
    found = sharpen(tf.constant(WEIGHTS), tf.constant(exponent))
    np.testing.assert_allclose(found, powers / powers.sum(-1, keepdims=True), atol=1e-12)


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_a_shift_is_a_circular_convolution(reach):
    distribution = softmax(RNG.normal(size=(2, 4, 2 * reach + 1)))
    expected = np.zeros_like(WEIGHTS)
    for n in range(5):
        for i, offset in enumerate(range(-reach, reach + 1)):
            expected[..., (n + offset) % 5] += distribution[..., i] * WEIGHTS[..., n]
    np.testing.assert_allclose(shift(tf.constant(WEIGHTS), tf.constant(distribution)), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-6, 1.0, 1e6])
@pytest.mark.parametrize("strength", [0.0, 1.0, 1e6])
def test_weights_and_gradients_are_finite_at_every_norm_and_strength(scale, strength):
    memory = tf.Variable(scale * MEMORY, dtype=tf.float32)
    key = tf.Variable(scale * KEY, dtype=tf.float32)
    with tf.GradientTape() as tape:
        weights = content_weights(memory, key, tf.fill([2, 4], strength))
        weights = sharpen(weights, tf.fill([2, 4], 1.0 + strength))
        loss = tf.reduce_sum(weights**2)
    np.testing.assert_allclose(tf.reduce_sum(weights, -1), 1, atol=1e-5)
    for gradient in tape.gradient(loss, [memory, key]):
        assert np.isfinite(gradient).all()
