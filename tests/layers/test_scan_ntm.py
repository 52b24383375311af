import numpy as np
import pytest
import tensorflow as tf

from tfmem.layers import ScanNTM

BATCH, LENGTH, FEATURES = 3, 17, 6


def layer(execution="auto", seed=1, **kwargs):
    """A layer with random weights, so that no term of its equations is zero."""
    arguments = {"slots": 8, "width": 5, "write_heads": ("forward", "stay"), "controller_units": 12}
    tf.keras.utils.set_random_seed(seed)
    made = ScanNTM(**{**arguments, **kwargs}, execution=execution)
    made.build([None, None, FEATURES])
    rng = np.random.default_rng(seed)
    made.set_weights([w + 0.5 * rng.normal(size=w.shape) for w in made.get_weights()])
    return made


@pytest.fixture
def inputs():
    x = tf.random.normal([BATCH, LENGTH, FEATURES])
    reset = np.zeros([BATCH, LENGTH], bool)
    reset[0, 0] = reset[1, 5] = reset[1, 6] = reset[2, LENGTH - 1] = True
    return x, tf.constant(reset)


def state_like(made, seed=3):
    rng = np.random.default_rng(seed)
    state = made.get_initial_state(BATCH)
    return {
        k: v + tf.constant(0.1 * rng.random(v.shape), tf.float32) if k == "memory" else v
        for k, v in state.items()
    }


def run_with_gradients(made, x, reset, jit=False):
    @tf.function(jit_compile=jit, autograph=False)
    def run(x, reset, state):
        with tf.GradientTape() as tape:
            tape.watch([x, state["memory"]])
            y, final = made(x, initial_state=state, reset_mask=reset)
            loss = tf.reduce_mean(tf.sin(y)) + tf.reduce_sum(final["memory"] ** 2)
        return y, final, tape.gradient(loss, [*made.trainable_variables, x, state["memory"]])

    return run(x, reset, state_like(made))


@pytest.mark.parametrize("jit", [False, True])
def test_scan_equals_loop_gradients_included(inputs, jit):
    loop = run_with_gradients(layer("loop"), *inputs)
    scan = run_with_gradients(layer("scan"), *inputs, jit=jit)
    np.testing.assert_allclose(loop[0], scan[0], atol=1e-5)
    for name in loop[1]:
        np.testing.assert_allclose(loop[1][name], scan[1][name], atol=1e-5)
    for a, b in zip(loop[2], scan[2], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_unroll_equals_single_steps(inputs):
    x, reset = inputs
    made = layer("scan")
    y, final = made(x, initial_state=state_like(made), reset_mask=reset)
    state, initial = state_like(made), made.get_initial_state(BATCH)
    for t in range(LENGTH):
        state = {k: tf.where(reset[:, t][:, None, None], initial[k], part) for k, part in state.items()}
        y_t, state = made.step(x[:, t], state)
        np.testing.assert_allclose(y_t, y[:, t], atol=1e-5)
    for name in final:
        np.testing.assert_allclose(final[name], state[name], atol=1e-5)


@pytest.mark.parametrize("execution", ["loop", "scan"])
def test_a_reset_inside_the_window_equals_two_unrolls(execution):
    made = layer(execution)
    x = tf.random.normal([BATCH, LENGTH, FEATURES])
    reset = tf.tile(tf.range(LENGTH)[tf.newaxis] == 7, [BATCH, 1])
    whole, final = made(x, reset_mask=reset)
    first, _ = made(x[:, :7])
    second, second_final = made(x[:, 7:])
    np.testing.assert_allclose(whole, tf.concat([first, second], 1), atol=1e-5)
    for name in final:
        np.testing.assert_allclose(final[name], second_final[name], atol=1e-5)


def test_the_output_follows_the_equations():
    """One step against NumPy: one head each, moved by its favourite mode alone."""
    made = ScanNTM(slots=4, width=2, read_heads=("back",), write_heads=("forward",), controller_units=3)
    made.build([None, FEATURES])
    rng = np.random.default_rng(0)
    for variable in made.trainable_variables:
        if "modes/bias" in variable.name:
            favourite = 1 if "write_modes" in variable.name else 2
            variable.assign(np.eye(variable.shape[0])[favourite] * 1000.0)
        elif "modes" not in variable.name and "start" not in variable.name:
            variable.assign(rng.normal(size=variable.shape))
    named = {v.name: v.numpy() for v in made.variables}
    find = lambda part: next(v for k, v in named.items() if part in k)  # noqa: E731
    x = rng.normal(size=(1, FEATURES)).astype(np.float32)
    state = {
        "memory": rng.normal(size=(1, 4, 2)).astype(np.float32),
        "read_weights": np.array([[[0.0, 0.0, 1.0, 0.0]]], np.float32),
        "write_weights": np.array([[[1.0, 0.0, 0.0, 0.0]]], np.float32),
    }
    y, new = made.step(tf.constant(x), {k: tf.constant(v) for k, v in state.items()})

    h = np.tanh(x @ find("controller/kernel") + find("controller/bias"))
    erase = 1 / (1 + np.exp(-(h @ find("erase/kernel") + find("erase/bias"))))
    add = h @ find("add/kernel") + find("add/bias")
    memory = state["memory"].copy()
    memory[0, 1] = (1 - erase[0]) * memory[0, 1] + add[0]  # the write head moved from 0 to 1
    np.testing.assert_allclose(new["memory"], memory, atol=1e-5)
    # The read head moved back from 2 to 1, and reads what this step wrote there.
    np.testing.assert_allclose(y, np.concatenate([h, memory[:, 1]], -1), atol=1e-5)


def test_gradients_reach_every_parameter(inputs):
    made = layer()
    with tf.GradientTape() as tape:
        y, _ = made(*inputs[:1], reset_mask=inputs[1])
        loss = tf.reduce_sum(y**2)
    for variable, gradient in zip(
        made.trainable_variables, tape.gradient(loss, made.trainable_variables), strict=True
    ):
        assert np.abs(gradient).max() > 0, variable.name


def test_a_fresh_layer_moves_its_heads_by_their_favourite_modes():
    made = ScanNTM(slots=10, width=2, read_heads=("stay", "write"), write_heads=("forward",))
    x = tf.random.normal([2, 3, FEATURES])
    _, state = made(x)
    assert np.argmax(state["write_weights"][0, 0]) == 3
    np.testing.assert_allclose(state["write_weights"][0, 0], state["read_weights"][0, 1], atol=0.05)
    assert state["write_weights"].numpy().max() > 0.9


def test_variable_length_and_batch_without_retracing():
    made = layer("loop")
    traced = tf.function(lambda x: made(x)[0], input_signature=[tf.TensorSpec([None, None, FEATURES])])
    for batch, length in ((1, 4), (3, 9), (2, 1)):
        y = traced(tf.ones([batch, length, FEATURES]))
        assert y.shape == (batch, length, made.output_width)
    assert traced.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slots": 1}, "slots must be at least 2"),
        ({"execution": "fast"}, "execution must be"),
        ({"read_heads": ("sideways",)}, "favourite mode must be one of stay, forward"),
        ({"write_heads": ("write",)}, "favourite mode must be one of"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ScanNTM(**{"slots": 4, "width": 2, **arguments})


def test_the_initial_state_of_an_unbuilt_layer_is_refused():
    with pytest.raises(ValueError, match="build or call the layer first"):
        ScanNTM(slots=4, width=2).get_initial_state(1)
