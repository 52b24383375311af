import numpy as np
import pytest
import tensorflow as tf

from tfmem.ops import lstm

BATCH, LENGTH, FEATURES, UNITS = 3, 7, 4, 5


def problem() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {
        "x": [BATCH, LENGTH, FEATURES],
        "kernel": [FEATURES, 4 * UNITS],
        "recurrent_kernel": [UNITS, 4 * UNITS],
        "bias": [4 * UNITS],
        "hidden": [BATCH, UNITS],
        "cell": [BATCH, UNITS],
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


RESETS = np.random.default_rng(1).random([BATCH, LENGTH]) < 0.3


def by_hand(x, kernel, recurrent_kernel, bias, hidden, cell, reset_mask):
    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    ys = []
    for t in range(x.shape[1]):
        keep = ~reset_mask[:, t, np.newaxis]
        hidden, cell = hidden * keep, cell * keep
        i, f, g, o = np.split(x[:, t] @ kernel + hidden @ recurrent_kernel + bias, 4, axis=-1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        ys.append(hidden)
    return np.stack(ys, axis=1), hidden, cell


@pytest.mark.parametrize("run", [lstm, tf.function(lstm), tf.function(lstm, jit_compile=True)])
def test_is_the_recurrence_written_out(run):
    p = problem()
    found = run(**{name: tf.constant(value, tf.float32) for name, value in p.items()}, reset_mask=RESETS)
    for a, b in zip(found, by_hand(**p, reset_mask=RESETS), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    p = problem()

    @tf.function
    def all_outputs(*arguments):
        outputs = lstm(**dict(zip(p, arguments, strict=True)), reset_mask=RESETS)
        return tf.concat([tf.reshape(z, [-1]) for z in outputs], axis=0)

    arguments = [tf.constant(value) for value in p.values()]
    for name, analytic, numeric in zip(
        p, *tf.test.compute_gradient(all_outputs, arguments, delta=1e-5), strict=True
    ):
        np.testing.assert_allclose(analytic, numeric, atol=1e-8, err_msg=name)


def test_gradients_are_the_same_when_compiled():
    arguments = {name: tf.constant(value) for name, value in problem().items()}

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            outputs = lstm(**arguments, reset_mask=RESETS)
            loss = tf.add_n([tf.reduce_sum(z**2) for z in outputs])
        return tape.gradient(loss, arguments)

    eager, compiled = gradients(), tf.function(gradients, jit_compile=True)()
    for name, expected in eager.items():
        np.testing.assert_allclose(compiled[name], expected, atol=1e-10, err_msg=name)


def test_batch_and_length_may_vary_in_one_trace():
    p = {name: tf.constant(value) for name, value in problem().items()}
    free = {"x": [None, None, FEATURES], "hidden": [None, UNITS], "cell": [None, UNITS]}
    signature = {name: tf.TensorSpec(free.get(name, z.shape), tf.float64) for name, z in p.items()}

    @tf.function(input_signature=[signature, tf.TensorSpec([None, None], tf.bool)])
    def gradient(p, reset_mask):
        with tf.GradientTape() as tape:
            tape.watch(p["x"])
            loss = tf.reduce_sum(lstm(**p, reset_mask=reset_mask)[0])
        return tape.gradient(loss, p["x"])

    whole = gradient(p, RESETS)
    part = gradient({**p, "x": p["x"][:2], "hidden": p["hidden"][:2], "cell": p["cell"][:2]}, RESETS[:2])
    np.testing.assert_allclose(part, whole[:2])
    assert gradient({**p, "x": p["x"][:, :1]}, RESETS[:, :1]).shape == [BATCH, 1, FEATURES]
    assert gradient.experimental_get_tracing_count() == 1
