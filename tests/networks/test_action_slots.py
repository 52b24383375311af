"""A slot for every action: against a loop in NumPy, and inside the Q-network."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from tfmem.errors import InvalidInput
from tfmem.networks import LSTMConfig, MemoryQNetwork, NetworkConfig, NoCoreConfig, ScanNTMConfig
from tfmem.networks.action_slots import ActionScores, ActionSlots, Neighbourhoods, OwnParts

ACTIONS, WIDTH, FEATURES = 3, 4, 5
BATCH, LENGTH = 2, 8
ACTION = tensor_spec.BoundedTensorSpec([], tf.int32, 0, ACTIONS - 1)
PREVIOUS = tensor_spec.BoundedTensorSpec([], tf.int64, 0, ACTIONS - 1)
SPEC = {"observation": tensor_spec.BoundedTensorSpec([], tf.int64, 0, 3), "previous_action": PREVIOUS}
ROW = {"observation": tensor_spec.BoundedTensorSpec([ACTIONS], tf.int64, 0, 3), "previous_action": PREVIOUS}
CORES = {
    "none": NoCoreConfig(),
    "lstm": LSTMConfig(units=7),
    "scan_ntm": ScanNTMConfig(slots=6, width=4),
}


@pytest.fixture
def experience():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, LENGTH, FEATURES)).astype(np.float32)
    actions = rng.integers(0, ACTIONS, [BATCH, LENGTH])
    reset = np.zeros([BATCH, LENGTH], bool)
    reset[0, 0] = reset[1, 5] = True
    return x, actions, reset


def joined(x, actions, reset):
    """What is seen and the previous action's code, zeros on first frames, which follow none."""
    return tf.concat([x, tf.one_hot(np.where(reset, -1, actions), ACTIONS)], axis=-1)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_slot_holds_what_was_seen_after_its_action(experience, jit_compile):
    x, actions, reset = experience
    layer = ActionSlots(ACTIONS, WIDTH)
    memory = np.random.default_rng(1).normal(size=(BATCH, ACTIONS, WIDTH)).astype(np.float32)
    call = tf.function(layer, jit_compile=jit_compile)
    y, final = call(joined(x, actions, reset), {"action_slots": tf.constant(memory)}, tf.constant(reset))
    kernel, bias = (weight.numpy() for weight in layer.weights)
    for t in range(LENGTH):
        for b in range(BATCH):
            if reset[b, t]:
                memory[b] = 0.0
            else:
                memory[b, actions[b, t]] = [*(x[b, t] @ kernel + bias), 1.0]
        np.testing.assert_allclose(y[:, t], memory, atol=1e-5)
    np.testing.assert_allclose(final["action_slots"], memory, atol=1e-5)


def test_gradients_reach_what_was_written_last_and_nothing_that_was_overwritten():
    layer = ActionSlots(ACTIONS, WIDTH)
    x = tf.random.stateless_normal([1, 4, FEATURES], [0, 1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        reset = np.array([[True, False, False, False]])
        inputs = joined(x, np.array([[0, 1, 2, 1]]), reset)
        y, _ = layer(inputs, layer.get_initial_state(1), tf.constant(reset))
        loss = tf.reduce_sum(y[:, -1])
    reached = np.abs(tape.gradient(loss, x)[0]).sum(axis=-1) > 1e-6
    # The first frame follows no action, and the second's slot is written again by the fourth.
    assert reached.tolist() == [False, False, True, True]


def test_scores_treat_all_actions_alike():
    layer = ActionScores()
    known = np.random.default_rng(0).normal(size=(BATCH, ACTIONS, WIDTH)).astype(np.float32)
    hidden = tf.random.stateless_normal([BATCH, 6], [0, 1])
    scores = layer(known, hidden).numpy()
    order = [2, 0, 1]
    np.testing.assert_allclose(layer(known[:, order], hidden), scores[:, order], atol=1e-6)
    weights = {v.name.split("action_scores/")[-1].split(":")[0]: v.numpy() for v in layer.weights}
    context = (hidden.numpy() @ weights["context/kernel"])[:, np.newaxis]
    relu = np.maximum(known @ weights["known/kernel"] + weights["known/bias"] + context, 0)
    query = hidden.numpy() @ weights["query/kernel"] + weights["query/bias"]
    match = np.einsum("bau,bu->ba", known @ weights["key/kernel"], query) / np.sqrt(query.shape[-1])
    np.testing.assert_allclose(scores, (relu @ weights["score/kernel"])[..., 0] + match, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("grid", [(5,), (2, 3), (2, 3, 2)])
def test_neighbourhoods_are_a_convolution_along_each_axis(grid, jit_compile):
    layer = Neighbourhoods(grid)
    known = np.random.default_rng(0).normal(size=(BATCH, LENGTH, math.prod(grid), WIDTH)).astype(np.float32)
    around = tf.function(layer, jit_compile=jit_compile)(tf.constant(known))
    kernels, biases = layer.weights[::2], layer.weights[1::2]
    x = known.reshape(BATCH, LENGTH, *grid, WIDTH)
    x = np.concatenate([x, np.ones_like(x[..., :1])], axis=-1)
    for axis, (kernel, bias) in enumerate(zip(kernels, biases, strict=True), start=2):
        y = np.zeros([*x.shape[:-1], bias.shape[0]])
        for cell in np.ndindex(*grid):
            at = [slice(None), slice(None), *cell]
            beside = []
            for offset in (-1, 0, 1):
                at[axis] = cell[axis - 2] + offset
                inside = 0 <= at[axis] < grid[axis - 2]
                beside.append(x[tuple(at)] if inside else np.zeros([BATCH, LENGTH, x.shape[-1]]))
            y[(slice(None), slice(None), *cell)] = np.maximum(np.concatenate(beside, -1) @ kernel + bias, 0)
        x = y
    np.testing.assert_allclose(around, x.reshape(around.shape), atol=1e-5)


def test_a_neighbourhood_is_the_nine_cells_around_an_action():
    known = tf.random.stateless_normal([1, 12, WIDTH], [0, 1])
    layer = Neighbourhoods([3, 4])
    layer(known)
    for weight in layer.weights[1::2]:
        weight.assign(tf.fill(weight.shape, 10.0))  # far from where a relu lets nothing through
    with tf.GradientTape() as tape:
        tape.watch(known)
        corner = tf.reduce_sum(layer(known)[:, 0])
    reached = np.abs(tape.gradient(corner, known)[0]).sum(axis=-1) > 0
    assert reached.reshape(3, 4).tolist() == [
        [True, True, False, False],
        [True, True, False, False],
        [False, False, False, False],
    ]


def test_a_vector_with_a_number_for_each_action_says_something_of_each():
    spec = {
        "cards": tensor_spec.BoundedTensorSpec([ACTIONS], tf.int64, 1, 2),
        "one": tensor_spec.BoundedTensorSpec([], tf.int64, 0, 3),
        "other": tensor_spec.BoundedTensorSpec([ACTIONS + 1], tf.float32, 0.0, 1.0),
        "prices": tensor_spec.BoundedTensorSpec([ACTIONS], tf.float32, 0.0, 10.0),
        # Numbers of different kinds, as many as actions by chance.
        "unlike": tensor_spec.BoundedTensorSpec([ACTIONS], tf.int64, 0, [1, 2, 3]),
    }
    observation = {
        "cards": tf.constant([[1, 2, 1]], tf.int64),
        "one": tf.constant([3], tf.int64),
        "other": tf.ones([1, ACTIONS + 1]),
        "prices": tf.constant([[0.0, 5.0, 7.5]]),
        "unlike": tf.constant([[1, 2, 3]], tf.int64),
    }
    own = OwnParts(spec, ACTIONS)(observation)
    # The one-hot code of its card, and its price from -1 to 1.
    np.testing.assert_allclose(own, [[[1, 0, -1], [0, 1, 0], [1, 0, 0.5]]])
    assert OwnParts({"one": spec["one"]}, ACTIONS)({"one": observation["one"]}).shape == (1, ACTIONS, 0)


def build(spec, config):
    network = MemoryQNetwork(spec, ACTION, config)
    network.create_variables()
    return network


@pytest.fixture(params=sorted(CORES))
def core(request):
    return CORES[request.param]


@pytest.fixture(params=[SPEC, ROW], ids=["one number", "a number for each action"])
def spec(request):
    return request.param


@pytest.fixture(params=[(), (1, ACTIONS)], ids=["a list", "a grid"])
def network(request, spec, core):
    config = NetworkConfig(core=core, embedding=8, hidden=8, action_slots=WIDTH, action_grid=request.param)
    return build(spec, config)


def seen_shape(network):
    return network.input_tensor_spec["observation"].shape


@pytest.fixture
def window(network):
    rng = np.random.default_rng(1)
    step_type = np.full([BATCH, LENGTH], ts.StepType.MID, np.int32)
    step_type[0, 0] = step_type[1, 5] = ts.StepType.FIRST
    observation = {
        "observation": tf.constant(rng.integers(0, 4, [BATCH, LENGTH, *seen_shape(network)])),
        "previous_action": tf.constant(rng.integers(0, ACTIONS, [BATCH, LENGTH])),
    }
    return observation, tf.constant(step_type)


def test_an_unroll_equals_single_steps(network, window):
    observation, step_type = window
    q_values, final = network(observation, step_type=step_type)
    state = network.initial_state(BATCH)
    for t in range(LENGTH):
        now = {name: part[:, t] for name, part in observation.items()}
        q_t, state = network(now, step_type=step_type[:, t], network_state=state)
        np.testing.assert_allclose(q_t, q_values[:, t], atol=1e-5)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), final, state)
    assert final["action_slots"].shape == (BATCH, ACTIONS, WIDTH)


def test_every_weight_gets_a_gradient(network, window):
    observation, step_type = window
    with tf.GradientTape() as tape:
        q_values, _ = network(observation, step_type=step_type, training=True)
        loss = tf.reduce_sum(tf.square(q_values - 1.0))
    weights = [v for v in network.trainable_variables if "scan_ntm" not in v.name]
    # A kernel and a bias of what is written, and the seven weights of the scores; the encoder, the hidden
    # layer and the dueling head have two each.
    assert len(weights) >= 17
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(loss, weights))


def test_what_an_action_found_is_remembered():
    """Without any other memory, what the first action has found changes Q-values after the second."""
    network = build(SPEC, NetworkConfig(core=NoCoreConfig(), embedding=8, hidden=8, action_slots=WIDTH))
    numbers = tf.constant([[0, 1, 2]], tf.int64)
    first = {"observation": tf.constant([[1, 1, 1]], tf.int64), "previous_action": numbers}
    other = {"observation": tf.constant([[1, 3, 1]], tf.int64), "previous_action": numbers}
    step_type = tf.constant([[ts.StepType.FIRST, ts.StepType.MID, ts.StepType.MID]])
    before, _ = network(first, step_type=step_type)
    after, _ = network(other, step_type=step_type)
    assert np.abs(before[:, 2] - after[:, 2]).max() > 1e-6


def test_a_checkpoint_holds_the_network(network, window, tmp_path):
    path = tf.train.Checkpoint(network=network).save(str(tmp_path / "checkpoint"))
    other = network.copy(name="Other")
    other.create_variables()
    tf.train.Checkpoint(network=other).restore(path).assert_existing_objects_matched()
    observation, step_type = window
    expected, _ = network(observation, step_type=step_type)
    np.testing.assert_array_equal(other(observation, step_type=step_type)[0], expected)


def test_the_action_mask_is_nothing_that_is_seen_of_an_action():
    spec = SPEC | {"action_mask": tensor_spec.BoundedTensorSpec([ACTIONS], tf.int8, 0, 1)}
    config = NetworkConfig(core=NoCoreConfig(), embedding=8, hidden=8, action_slots=WIDTH, action_mask=True)
    network = build(spec, config)
    numbers = tf.constant([0, 1], tf.int64)
    seen = {"observation": numbers, "previous_action": numbers}
    all_allowed = seen | {"action_mask": tf.ones([BATCH, ACTIONS], tf.int8)}
    two_allowed = seen | {"action_mask": tf.constant([[1, 1, 0]] * BATCH, tf.int8)}
    middle = tf.fill([BATCH], ts.StepType.MID)
    free, _ = network(all_allowed, step_type=middle)
    masked, _ = network(two_allowed, step_type=middle)
    np.testing.assert_array_equal(masked[:, :2], free[:, :2])
    assert (masked[:, 2].numpy() < -1e8).all()


@pytest.mark.parametrize("spec", [SPEC["observation"], {"observation": SPEC["observation"]}])
def test_slots_need_the_previous_action(spec):
    with pytest.raises(InvalidInput, match=r"needs the part previous_action .* set previous_action=true"):
        MemoryQNetwork(spec, ACTION, NetworkConfig(action_slots=WIDTH))


@pytest.mark.parametrize(
    "previous",
    [
        tensor_spec.BoundedTensorSpec([], tf.int64, 0, ACTIONS),
        tensor_spec.BoundedTensorSpec([], tf.int64, 1, ACTIONS - 1),
        tensor_spec.BoundedTensorSpec([2], tf.int64, 0, ACTIONS - 1),
        tensor_spec.BoundedTensorSpec([], tf.float32, 0, ACTIONS - 1),
        tf.TensorSpec([], tf.int64),
    ],
)
def test_the_previous_action_has_to_be_one_of_the_actions(previous):
    with pytest.raises(InvalidInput, match=r"observation\.previous_action must be an integer from 0 to 2"):
        MemoryQNetwork(SPEC | {"previous_action": previous}, ACTION, NetworkConfig(action_slots=WIDTH))


def test_a_slot_has_room_for_more_than_its_flag():
    with pytest.raises(InvalidInput, match="action_slots must be 0, or at least 2"):
        NetworkConfig(action_slots=1)


def test_a_grid_has_a_cell_for_every_action():
    with pytest.raises(
        InvalidInput, match="the number of cells of action_grid must be 3, the actions, not 4"
    ):
        MemoryQNetwork(SPEC, ACTION, NetworkConfig(action_slots=WIDTH, action_grid=(2, 2)))
    with pytest.raises(InvalidInput, match=r"action_grid must be numbers of cells, .* not \[-1, -3\]"):
        NetworkConfig(action_slots=WIDTH, action_grid=(-1, -3))


def test_a_grid_needs_slots():
    with pytest.raises(InvalidInput, match=r"action_grid must be \[\], .* set action_slots to at least 2"):
        NetworkConfig(action_grid=(1, ACTIONS))
