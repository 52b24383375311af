import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import softmax
from tfmem.layers import NTMCell

CONTROLLERS = ["feed_forward", "lstm", "gru"]


def cell(seed=0, **kwargs):
    """A cell with random weights, so that no term of its equations is zero."""
    tf.keras.utils.set_random_seed(seed)
    made = NTMCell(**{"slots": 6, "width": 3, "controller_units": 5, **kwargs})
    made.build(tf.TensorShape([None, 4]))
    rng = np.random.default_rng(seed)
    made.set_weights([w + 0.5 * rng.normal(size=w.shape) for w in made.get_weights()])
    return made


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def test_a_step_follows_the_equations():
    made = cell(read_heads=2, write_heads=2)
    weight = {v.name.split(":")[0]: v.numpy() for v in made.variables}
    dense = lambda name, z: z @ weight[f"{name}/kernel"] + weight[f"{name}/bias"]  # noqa: E731
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 4))
    memory, reads = rng.normal(size=(2, 6, 3)), rng.normal(size=(2, 6))
    a, w = softmax(rng.normal(size=(2, 2, 6))), softmax(rng.normal(size=(2, 2, 6)))

    def move(weights, controls):
        moved = np.zeros_like(weights)
        for b, h in np.ndindex(2, 2):
            c = controls[b].reshape(2, -1)[h]
            key, strength, gate = np.tanh(c[:3]), softplus(c[3]), sigmoid(c[4])
            shifts, exponent = softmax(c[5:8]), 1 + softplus(c[8])
            cosine = memory[b] @ key / np.linalg.norm(memory[b], axis=-1) / np.linalg.norm(key)
            located = gate * softmax(strength * cosine) + (1 - gate) * weights[b, h]
            shifted = sum(shifts[i] * np.roll(located, i - 1) for i in range(3))
            moved[b, h] = shifted**exponent / (shifted**exponent).sum()
        return moved

    y, states = made(tf.constant(x, tf.float32), [tf.constant(z, tf.float32) for z in (memory, a, w, reads)])
    hidden = np.tanh(dense("controller", np.concatenate([x, reads], -1)))
    w = move(w, dense("memory/write/controls", hidden))
    erase = sigmoid(dense("memory/write/erase", hidden)).reshape(2, 2, 3)
    add = np.tanh(dense("memory/write/add", hidden)).reshape(2, 2, 3)
    for head in range(2):
        memory = memory * (1 - w[:, head, :, None] * erase[:, head, None])
    memory = memory + np.einsum("bhn,bhd->bnd", w, add)
    a = move(a, dense("memory/read/controls", hidden))
    reads = np.einsum("bhn,bnd->bhd", a, memory).reshape(2, 6)
    for found, expected in zip(states, (memory, a, w, reads), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(y, np.concatenate([hidden, reads], -1), atol=1e-5)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_runs_in_keras_rnn_stacked_masked_stateful_and_bidirectional(controller):
    x = tf.random.normal([2, 5, 4])
    make = lambda: NTMCell(6, 3, controller_units=5, controller=controller)  # noqa: E731
    stacked = tf.keras.layers.RNN([make(), make()], return_sequences=True)
    assert stacked(x).shape == (2, 5, 8)
    both = tf.keras.layers.Bidirectional(tf.keras.layers.RNN(make()))
    assert both(x).shape == (2, 16)
    masked = tf.keras.layers.RNN(make())
    mask = tf.constant([[True, True, True, False, False]] * 2)
    np.testing.assert_allclose(masked(x, mask=mask), masked(x[:, :3]), atol=1e-6)
    stateful = tf.keras.layers.RNN(make(), stateful=True, batch_input_shape=(2, None, 4))
    first = stateful(x)
    assert np.abs(stateful(x) - first).max() > 1e-6


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_gradients_reach_every_parameter(controller):
    layer = tf.keras.layers.RNN(
        cell(controller=controller, read_heads=2, write_heads=2), return_sequences=True
    )
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.random.normal([2, 5, 4])) ** 2)
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(loss, layer.trainable_variables), strict=True
    ):
        assert np.abs(gradient).max() > 0, variable.name


@pytest.mark.parametrize("jit", [False, True])
def test_compiled_or_not_any_batch_and_length(jit):
    layer = tf.keras.layers.RNN(cell())
    traced = tf.function(layer, jit_compile=jit, reduce_retracing=True)
    for batch, length in ((1, 3), (4, 7)):
        x = tf.random.normal([batch, length, 4])
        np.testing.assert_allclose(traced(x), layer(x), atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_other_precisions(dtype):
    policy = tf.keras.mixed_precision.Policy(dtype)
    layer = tf.keras.layers.RNN(NTMCell(6, 3, dtype=policy), dtype=policy)
    y = layer(tf.random.normal([2, 5, 4]))
    assert y.dtype == policy.compute_dtype
    assert np.isfinite(tf.cast(y, tf.float32)).all()
    assert all(v.dtype == policy.variable_dtype for v in layer.variables)


@pytest.mark.parametrize("strength", [1e-6, 1e6])
def test_long_sequences_and_extreme_controls_stay_finite(strength):
    made = cell()
    for variable in made.variables:
        if "controls" in variable.name:
            variable.assign(variable * strength)
    layer = tf.keras.layers.RNN(made)

    @tf.function(jit_compile=True)
    def run(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        return loss, tape.gradient(loss, layer.trainable_variables)

    loss, gradients = run(tf.random.normal([2, 10_000, 4]))
    assert np.isfinite(loss)
    for gradient in gradients:
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slots": 1}, "slots must be at least 2"),
        ({"read_heads": 0}, "heads must be 1 to slots = 6, not 0"),
        ({"shift_range": 3}, "must be 1 to slots = 6"),
        ({"controller": "transformer"}, "controller must be one of feed_forward, lstm, gru"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        NTMCell(**{"slots": 6, "width": 3, **arguments})


def test_the_initial_state_of_an_unbuilt_cell_is_refused():
    with pytest.raises(ValueError, match="build or call it first"):
        NTMCell(6, 3).get_initial_state(batch_size=1)
