import functools

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
    for variable in made.trainable_variables:
        variable.assign_add(0.5 * rng.normal(size=variable.shape))
    return made


@pytest.fixture
def inputs():
    return some_inputs()


def some_inputs():
    x = tf.random.stateless_normal([BATCH, LENGTH, FEATURES], seed=[0, 0])
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


VARIANTS = {
    "vector erase": {},
    "scalar erase": {"erase": "scalar"},
    "content reads": {"read_heads": ("content", "back", "any")},
    "no jumps": {"erase": "scalar", "jumps": False, "read_heads": ("write", "write_2", "any")},
    "content reads, no jumps": {"read_heads": ("content", "write_2"), "jumps": False},
}
EXECUTIONS = [
    *(("scan", variant) for variant in VARIANTS),
    ("chunked", "scalar erase"),
    ("chunked", "no jumps"),
    *(("loop", variant) for variant in VARIANTS),
]


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(("execution", "variant"), EXECUTIONS)
@pytest.mark.parametrize("resets", [False, True])
def test_executions_equal_single_steps_gradients_included(inputs, execution, variant, jit, resets):
    x, reset = inputs
    expected = expectation(variant, resets)
    made = layer(execution, **VARIANTS[variant])
    gradients = tf.function(gradients_of, jit_compile=jit, autograph=False)
    found = gradients(made, made, x, reset if resets else None, state_like(made))
    for a, b in zip(tf.nest.flatten(expected), tf.nest.flatten(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(expected[0], found[0], atol=1e-5)


def step_by_step(made, x, initial_state, reset_mask):
    state, initial, ys = initial_state, made.get_initial_state(BATCH), []
    for t in range(LENGTH):
        if reset_mask is not None:
            chosen = reset_mask[:, t][:, None, None]
            state = {k: tf.where(chosen, initial[k], part) for k, part in state.items()}
        y, state = made.step(x[:, t], state)
        ys.append(y)
    return tf.stack(ys, 1), state


def gradients_of(made, run, x, reset, state):
    with tf.GradientTape() as tape:
        tape.watch([x, state])
        y, final = run(x, initial_state=state, reset_mask=reset)
        loss = tf.reduce_mean(tf.sin(y)) + tf.reduce_sum(final["memory"] ** 2)
    sources = [*made.trainable_variables, x, state]
    return y, final, tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)


@functools.cache
def expectation(variant, resets):
    made = layer(**VARIANTS[variant])
    x, reset = some_inputs()
    run = functools.partial(step_by_step, made)
    return gradients_of(made, run, x, reset if resets else None, state_like(made))


@pytest.mark.parametrize(("execution", "variant"), EXECUTIONS)
def test_a_reset_inside_the_window_equals_two_unrolls(execution, variant):
    made = layer(execution, **VARIANTS[variant])
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

    h = np.tanh(x @ find("hidden/kernel") + find("hidden/bias"))
    erase = 1 / (1 + np.exp(-(h @ find("erase/kernel") + find("erase/bias"))))
    add = h @ find("add/kernel") + find("add/bias")
    memory = state["memory"].copy()
    memory[0, 1] = (1 - erase[0]) * memory[0, 1] + add[0]  # the write head moved from 0 to 1
    np.testing.assert_allclose(new["memory"], memory, atol=1e-5)
    # The read head moved back from 2 to 1, and reads what this step wrote there.
    np.testing.assert_allclose(y, np.concatenate([h, memory[:, 1]], -1), atol=1e-5)


def test_a_head_that_rewinds_begins_where_the_first_write_does_and_goes_back():
    tf.keras.utils.set_random_seed(1)
    made = ScanNTM(slots=6, width=2, read_heads=("back", "rewind"), favourite_logit=20.0)
    made.build([None, FEATURES])
    start = made.get_initial_state(1)["read_weights"].numpy()[0]
    np.testing.assert_allclose(start[1, 0], 0.5, atol=1e-6)
    assert start[0, 0] < 0.5
    assert np.all(start > 0.001)  # the other half is anywhere, as other heads are
    _, after = made(tf.random.normal([1, 2, FEATURES]))
    for head in range(2):
        np.testing.assert_allclose(after["read_weights"][0, head], np.roll(start[head], -2), atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(inputs, variant):
    made = layer(**VARIANTS[variant])
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


@pytest.mark.parametrize("execution", ["loop", "chunked"])
def test_variable_length_and_batch_without_retracing(execution):
    made = layer(execution, erase="scalar")
    traced = tf.function(lambda x: made(x)[0], input_signature=[tf.TensorSpec([None, None, FEATURES])])
    for batch, length in ((1, 4), (3, 9), (2, 1)):
        y = traced(tf.ones([batch, length, FEATURES]))
        assert y.shape == (batch, length, made.output_width)
    assert traced.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(("execution", "variant"), EXECUTIONS)
def test_masked_steps_leave_the_state_as_it_is(execution, variant):
    made = layer(execution, **VARIANTS[variant])
    x = tf.random.normal([BATCH, LENGTH, FEATURES])
    keep = np.arange(LENGTH) % 3 != 1
    y, state = made(x, mask=tf.constant(np.tile(keep, [BATCH, 1])))
    expected, expected_state = made(tf.boolean_mask(x, keep, axis=1))
    np.testing.assert_allclose(y.numpy()[:, keep], expected, atol=1e-5)
    for name in state:
        np.testing.assert_allclose(state[name], expected_state[name], atol=1e-5)


def test_a_reset_takes_effect_at_a_masked_step(inputs):
    x, _ = inputs
    reset = tf.tile(tf.range(LENGTH)[tf.newaxis] == 5, [BATCH, 1])
    mask = tf.tile((tf.range(LENGTH) < 4)[tf.newaxis] | (tf.range(LENGTH) > 8), [BATCH, 1])
    for execution in ("loop", "scan", "chunked"):
        made = layer(execution, erase="scalar")
        y, state = made(x, reset_mask=reset, mask=mask)
        expected, expected_state = made(x[:, 9:])
        np.testing.assert_allclose(y[:, 9:], expected, atol=1e-5)
        for name in state:
            np.testing.assert_allclose(state[name], expected_state[name], atol=1e-5)


@pytest.mark.parametrize(
    ("gpu", "length", "scans"), [(True, 5, True), (True, None, False), (False, 5, False)]
)
def test_auto_scans_known_lengths_where_there_is_a_gpu(monkeypatch, gpu, length, scans):
    """The scan is the one execution that works in Fourier space."""
    made = layer("auto")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"] if gpu else [])
    spec = tf.TensorSpec([None, length, FEATURES])
    graph = tf.function(lambda x: made(x)[0], autograph=False).get_concrete_function(spec).graph
    assert any(op.type == "RFFT" for op in graph.get_operations()) == scans


def test_sequences_without_a_step_are_refused():
    with pytest.raises(ValueError, match="at least one step"):
        layer()(tf.zeros([1, 0, FEATURES]))


def test_a_low_temperature_makes_heads_move_exactly():
    made = ScanNTM(slots=50, width=2, read_heads=("stay",))
    x = tf.random.normal([1, 40, FEATURES])
    _, soft = made(x)
    start = next(v for v in made.variables if "write_start" in v.name)
    start.assign(5.0 * start)  # on one slot to the last digit
    made.temperature.assign(0.1)
    _, sharp = made(x)
    assert soft["write_weights"].numpy().max() < 0.7
    np.testing.assert_allclose(sharp["write_weights"][0, 0, 40], 1, atol=1e-3)


def test_content_reads_find_what_was_written():
    """A head that looks up by content, with a key equal to a written vector, reads that vector."""
    made = ScanNTM(slots=5, width=4, read_heads=("content",), write_heads=("forward",), controller_units=5)
    made.build([None, 5])
    for variable in made.variables:
        name = variable.name
        if "hidden/kernel" in name:
            variable.assign(5 * np.eye(5))  # the hidden vector is one-hot as the input is
        elif "add/kernel" in name or "key/kernel" in name:
            variable.assign(np.eye(5, 4))
        elif "strength/bias" in name:
            variable.assign([50.0])
        elif "read_modes/bias" in name:
            variable.assign(1e3 * (np.arange(6) == 4))  # stay, forward, back, write, content, jump
    x = tf.one_hot([[0, 1, 2, 3, 0, 2]], 5)
    y, _ = made(x)
    read = y[0, :, 5:].numpy()
    np.testing.assert_array_equal(read.argmax(-1), [0, 1, 2, 3, 0, 2])


def test_heads_stray_from_their_favourite_as_often_as_its_logit_says():
    layer = ScanNTM(slots=8, width=2, write_heads=("forward",), jumps=False, favourite_logit=3.0)
    x = tf.random.normal([2, 4, 3])
    _, state = layer(x)
    # Stay, forward and back have logits of 0, 3 and 0: e^3 / (e^3 + 2) = .9094 on slot 1 of 8 after a step.
    forward = np.exp(3) / (np.exp(3) + 2)
    np.testing.assert_allclose(layer.controls(x).write_modes[..., 0, 1], np.full([2, 4], forward), rtol=1e-5)
    np.testing.assert_allclose(tf.reduce_max(state["write_weights"][0, 0]), forward**4, atol=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slots": 1}, "slots must be at least 2"),
        ({"execution": "fast"}, "execution must be one of auto, loop, scan, chunked"),
        ({"execution": "chunked"}, "needs erase='scalar' and read heads without 'content'"),
        ({"execution": "chunked", "erase": "scalar", "read_heads": ("content",)}, "needs erase='scalar'"),
        ({"width": 0}, "width and controller_units must be at least 1, not 0 and 64"),
        ({"read_heads": "forward"}, "read_heads must name a favourite mode for each head"),
        ({"write_heads": ()}, "write_heads must name a favourite mode for each head"),
        ({"read_heads": ("contnt",)}, "write, jump, content, rewind, any; not 'contnt'"),
        ({"read_heads": ("jump",), "jumps": False}, "write, content, rewind, any; not 'jump'"),
        ({"erase": "none"}, "erase must be 'vector' or 'scalar'"),
        ({"read_heads": ("sideways",)}, "favourite mode must be one of stay, forward"),
        ({"write_heads": ("write",)}, "favourite mode must be one of"),
        ({"favourite_logit": float("nan")}, "favourite_logit must be a finite number of 0 or more, not nan"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ScanNTM(**{"slots": 4, "width": 2, **arguments})


def test_the_initial_state_of_an_unbuilt_layer_is_refused():
    with pytest.raises(ValueError, match="build or call the layer first"):
        ScanNTM(slots=4, width=2).get_initial_state(1)


ERASED = [("forward", 1 / (1 + np.exp(-1))), ("jump", 1 / (1 + np.exp(2))), ("stay", 1 / 6)]


@pytest.mark.parametrize(("head", "erased"), ERASED)
def test_heads_that_jump_or_stay_erase_little_at_first(head, erased):
    made = ScanNTM(6, 3, write_heads=(head,))
    made.build([None, None, 4])
    state = {**made.get_initial_state(1), "memory": tf.ones([1, 6, 3])}
    _, state = made(tf.zeros([1, 1, 4]), initial_state=state)
    # Where the head writes sums to 1 over the slots, and of inputs 0 nothing is added.
    np.testing.assert_allclose(tf.reduce_sum(1 - state["memory"], axis=1), np.full([1, 3], erased), rtol=1e-5)


def test_heads_that_move_start_far_apart_and_those_that_stay_behind_the_first():
    made = ScanNTM(10, 3, write_heads=("forward", "stay", "jump", "stay"))
    made.build([None, None, 4])
    starts = made.get_initial_state(1)["write_weights"][0].numpy()
    np.testing.assert_array_equal(starts.argmax(-1), [0, 0, 5, 9])


def test_a_read_head_goes_to_the_write_head_that_it_favours():
    made = ScanNTM(10, 3, read_heads=("write", "write_2"), write_heads=("forward", "stay"))
    made.build([None, None, 4])
    state = {**made.get_initial_state(1), "memory": tf.ones([1, 10, 3])}
    _, state = made(tf.zeros([1, 1, 4]), initial_state=state)
    np.testing.assert_array_equal(state["read_weights"][0].numpy().argmax(-1), [1, 0])


@pytest.mark.parametrize("slots", [2, 6])
@pytest.mark.parametrize("erase", ["vector", "scalar"])
def test_a_head_that_stays_adds_nothing_at_first(slots, erase):
    made = ScanNTM(slots, 3, write_heads=("stay",), erase=erase)
    _, state = made(tf.random.normal([2, 5, 4]))
    np.testing.assert_array_equal(state["memory"], np.zeros([2, slots, 3]))


def test_a_head_that_walks_comes_to_the_sum_last_of_all():
    """Of six slots the fifth step leaves slot 0 as it was; the sixth erases it."""
    made = ScanNTM(6, 3, write_heads=("forward", "stay"))
    made.build([None, None, 4])
    state = {**made.get_initial_state(1), "memory": tf.ones([1, 6, 3])}
    kept = []
    for length in (5, 6):
        _, after = made(tf.zeros([1, length, 4]), initial_state=state)
        kept.append(after["memory"][0, 0, 0].numpy())
    assert kept[0] > 0.3 > 0.2 > kept[1]
