import numpy as np
import pytest
import tensorflow as tf

from tfmem.ops import linear_recurrence


def by_hand(decay, update, initial, reset, reset_value):
    states, x = [], initial
    for t in range(decay.shape[1]):
        x = np.where(reset[:, t].reshape(-1, *[1] * (x.ndim - 1)), reset_value, x)
        x = decay[:, t] * x + update[:, t]
        states.append(x)
    return np.stack(states, 1)


def random_problem(dtype, length, seed=0):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        z = rng.normal(size=shape)
        return (z + 1j * rng.normal(size=shape) if dtype.is_complex else z).astype(dtype.as_numpy_dtype)

    shape = (3, length, 4, 2)
    reset = rng.random((3, length)) < 0.3
    return 0.7 * draw(*shape), draw(*shape), draw(3, 4, 2), reset, draw(4, 2)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.complex64])
@pytest.mark.parametrize("length", [1, 2, 7, 16])
@pytest.mark.parametrize("traced", [False, True])
def test_equals_the_loop(dtype, length, traced):
    decay, update, initial, reset, reset_value = random_problem(dtype, length)
    solve = tf.function(linear_recurrence) if traced else linear_recurrence
    found = solve(
        tf.constant(decay),
        tf.constant(update),
        initial=tf.constant(initial),
        reset_mask=tf.constant(reset),
        reset_value=tf.constant(reset_value),
    )
    expected = by_hand(decay, update, initial, reset, reset_value)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_gradients_equal_those_of_numerical_differences():
    decay, update, initial, reset, reset_value = random_problem(tf.float64, 6)
    reset = tf.constant(reset)

    def solve(decay, update, initial, reset_value):
        x = linear_recurrence(decay, update, initial=initial, reset_mask=reset, reset_value=reset_value)
        return tf.reduce_sum(tf.sin(x))

    arguments = [tf.constant(a) for a in (decay, update, initial, reset_value)]
    analytic, numeric = tf.test.compute_gradient(solve, arguments, delta=1e-5)
    for a, n in zip(analytic, numeric, strict=True):
        np.testing.assert_allclose(a, n, atol=1e-6)


def test_complex_gradient_equals_that_of_real_and_imaginary_parts():
    decay, update, initial, reset, reset_value = random_problem(tf.complex64, 5)

    def loss(decay_re, decay_im, solver):
        x = solver(tf.complex(decay_re, decay_im))
        return tf.reduce_sum(tf.math.real(x) ** 2 + 3.0 * tf.math.imag(x))

    def scanned(a):
        return linear_recurrence(
            a,
            tf.constant(update),
            initial=tf.constant(initial),
            reset_mask=tf.constant(reset),
            reset_value=tf.constant(reset_value),
        )

    def looped(a):
        x, states = tf.constant(initial), []
        for t in range(5):
            x = tf.where(reset[:, t][:, None, None], reset_value, x)
            x = a[:, t] * x + update[:, t]
            states.append(x)
        return tf.stack(states, 1)

    parts = [tf.Variable(decay.real), tf.Variable(decay.imag)]
    gradients = []
    for solver in (scanned, looped):
        with tf.GradientTape() as tape:
            value = loss(*parts, solver)
        gradients.append(tape.gradient(value, parts))
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_a_reset_forgets_everything_before_it():
    decay, update, initial, _, reset_value = random_problem(tf.float32, 6)
    reset = np.zeros((3, 6), bool)
    reset[:, 4] = True

    def solve(initial, update):
        return linear_recurrence(
            tf.constant(decay),
            tf.constant(update),
            initial=tf.constant(initial),
            reset_mask=tf.constant(reset),
            reset_value=tf.constant(reset_value),
        ).numpy()

    changed = update.copy()
    changed[:, :4] += 100.0
    np.testing.assert_array_equal(solve(initial, update)[:, 4:], solve(initial + 100, changed)[:, 4:])
