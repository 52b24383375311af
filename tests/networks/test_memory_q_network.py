import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from tfmem.errors import InvalidInput
from tfmem.networks import (
    LSTMConfig,
    MemoryQNetwork,
    NetworkConfig,
    NoCoreConfig,
    ScanNTMConfig,
)

ACTIONS = tensor_spec.BoundedTensorSpec([], tf.int32, 0, 2)
SUIT = tensor_spec.BoundedTensorSpec([], tf.int64, 0, 3)
BATCH, LENGTH = 3, 9

CONFIGS = {
    "scan_ntm": NetworkConfig(core=ScanNTMConfig(slots=6, width=4), embedding=8, hidden=8),
    "lstm": NetworkConfig(core=LSTMConfig(units=7), embedding=8, hidden=8),
    "three hidden layers": NetworkConfig(core=LSTMConfig(units=7), embedding=8, hidden=8, hidden_layers=3),
    "attention": NetworkConfig(core=NoCoreConfig(), attention_window=4, embedding=8, hidden=8),
    "hard attention": NetworkConfig(
        core=NoCoreConfig(), attention_window=4, attention="gumbel", embedding=8, hidden=8
    ),
    "attention and scan_ntm": NetworkConfig(
        core=ScanNTMConfig(slots=6, width=4), attention_window=3, embedding=8, hidden=8
    ),
}


def build(config, spec=SUIT, seed=0):
    network = MemoryQNetwork(spec, ACTIONS, config)
    network.create_variables()
    rng = np.random.default_rng(seed)
    for variable in network.variables:
        variable.assign(variable + 0.2 * rng.normal(size=variable.shape))
    return network


@pytest.fixture(params=sorted(CONFIGS))
def network(request):
    return build(CONFIGS[request.param])


@pytest.fixture
def window():
    observation = tf.constant(np.random.default_rng(1).integers(0, 4, [BATCH, LENGTH]))
    step_type = np.full([BATCH, LENGTH], ts.StepType.MID, np.int32)
    step_type[0, 0] = step_type[1, 4] = step_type[1, 5] = ts.StepType.FIRST
    step_type[1, 3] = step_type[2, 8] = ts.StepType.LAST
    return observation, tf.constant(step_type)


def test_every_field_of_the_memorys_configuration_reaches_the_layer():
    core = ScanNTMConfig(
        slots=6,
        width=4,
        read_heads=("forward", "any"),
        write_heads=("stay",),
        controller_units=5,
        jumps=False,
        favourite_logit=7.0,
    )
    network = build(NetworkConfig(core=core, embedding=8, hidden=8))
    (layer,) = (layer for layer in network.layers if layer.name == "scan_ntm")
    given = dataclasses.asdict(core)
    del given["kind"]
    assert {name: getattr(layer, name) for name in given} == given


def test_unroll_equals_single_steps(network, window):
    observation, step_type = window
    q_values, final = network(observation, step_type=step_type)
    state = network.initial_state(BATCH)
    for t in range(LENGTH):
        q_t, state = network(observation[:, t], step_type=step_type[:, t], network_state=state)
        np.testing.assert_allclose(q_t, q_values[:, t], atol=1e-5)
    for name in final:
        if name != "past":  # entries that past_valid rules out may differ
            np.testing.assert_allclose(final[name], state[name], atol=1e-5)


def test_a_reset_inside_the_window_equals_two_unrolls(network):
    observation = tf.constant(np.random.default_rng(1).integers(0, 4, [BATCH, LENGTH]))
    step_type = np.full([BATCH, LENGTH], ts.StepType.MID, np.int32)
    step_type[:, 4] = ts.StepType.FIRST
    whole, _ = network(observation, step_type=tf.constant(step_type))
    first, _ = network(observation[:, :4], step_type=tf.constant(step_type[:, :4]))
    second, _ = network(observation[:, 4:], step_type=tf.constant(step_type[:, 4:]))
    np.testing.assert_allclose(whole, tf.concat([first, second], 1), atol=1e-5)


def test_an_unroll_goes_on_from_an_earlier_one(network, window):
    observation, step_type = window
    whole, _ = network(observation, step_type=step_type)
    _, state = network(observation[:, :5], step_type=step_type[:, :5])
    rest, _ = network(observation[:, 5:], step_type=step_type[:, 5:], network_state=state)
    np.testing.assert_allclose(rest, whole[:, 5:], atol=1e-5)


def test_a_first_step_ignores_the_state_that_comes_in(network):
    observation = tf.constant([0, 1, 2], tf.int64)
    first = tf.fill([BATCH], ts.StepType.FIRST)
    initial = network.initial_state(BATCH)
    other = {name: part + 3.0 * tf.random.uniform(part.shape) for name, part in initial.items()}
    fresh, _ = network(observation, step_type=first, network_state=initial)
    ignored, _ = network(observation, step_type=first, network_state=other)
    np.testing.assert_array_equal(fresh, ignored)
    carried, _ = network(observation, step_type=tf.fill([BATCH], ts.StepType.MID), network_state=other)
    assert np.abs(carried - fresh).max() > 1e-3


def test_a_copy_shares_no_variable(network):
    copy = network.copy(name="Copy")
    copy.create_variables()
    assert not {id(v) for v in network.variables} & {id(v) for v in copy.variables}
    assert [v.shape for v in network.variables] == [v.shape for v in copy.variables]


def test_memory_reaches_back(network, window):
    """Changing the observation three steps ago changes the Q-values now, and not across a reset."""
    observation, _ = window
    changed = observation.numpy()
    changed[:, 5] = (changed[:, 5] + 1) % 4
    for step_8, remembers in ((ts.StepType.MID, True), (ts.StepType.FIRST, False)):
        step_type = np.full([BATCH, LENGTH], ts.StepType.MID, np.int32)
        step_type[:, 8] = step_8
        before, _ = network(observation, step_type=tf.constant(step_type))
        after, _ = network(tf.constant(changed), step_type=tf.constant(step_type))
        assert (np.abs(before[:, 8] - after[:, 8]).max() > 1e-6) == remembers


def test_without_core_and_attention_there_is_no_state():
    network = build(NetworkConfig(core=NoCoreConfig()))
    assert network.state_spec == ()
    q_values, state = network(tf.zeros([2, 5], tf.int64))
    assert q_values.shape == (2, 5, 3)
    assert state == ()


def test_hidden_layers_follow_one_another():
    """Q-values against NumPy: relu of every layer in turn, then the dueling head."""
    network = build(NetworkConfig(core=NoCoreConfig(), embedding=8, hidden=5, hidden_layers=2))
    kernels, biases = ([v.numpy() for v in network.variables[i::2]] for i in (0, 1))
    x = np.eye(4)[[1, 2]]
    for kernel, bias in zip(kernels[:3], biases[:3], strict=True):  # the encoder's, the two hidden layers'
        x = np.maximum(x @ kernel + bias, 0)
    value, advantage = (x @ kernel + bias for kernel, bias in zip(kernels[3:], biases[3:], strict=True))
    q_values, _ = network(tf.constant([1, 2], tf.int64))
    expected = value + advantage - advantage.mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(q_values, expected, atol=1e-5)


def test_the_head_is_dueling():
    """Adding a constant to the value layer's bias raises all Q-values by it; to the advantages', none."""
    network = build(NetworkConfig(core=NoCoreConfig()))
    observation = tf.constant([1, 2], tf.int64)
    before, _ = network(observation)
    for variable in network.variables:
        if "value/bias" in variable.name:
            variable.assign_add([1.0])
        if "advantage/bias" in variable.name:
            variable.assign_add([5.0, 5.0, 5.0])
    after, _ = network(observation)
    np.testing.assert_allclose(after, before + 1, atol=1e-5)


def bounded(shape, dtype, low, high):
    return tensor_spec.BoundedTensorSpec(shape, dtype, low, high)


SPECS = {
    "discrete": SUIT,
    "multi-discrete": bounded([2], tf.int64, 0, [3, 5]),
    "vector": bounded([4], tf.float32, -np.inf, np.inf),
    "bytes": bounded([128], tf.uint8, 0, 255),
    "binary": bounded([5], tf.int8, 0, 1),
    "matrix": tf.TensorSpec([3, 4], tf.float32),
    "large image": bounded([84, 84, 3], tf.uint8, 0, 255),
    "large image, channels first": bounded([4, 84, 84], tf.uint8, 0, 255),
    "large grey image": bounded([84, 84], tf.uint8, 0, 255),
    "image of integers": bounded([8, 8, 3], tf.int32, 0, 255),
    "small image": bounded([10, 10, 4], tf.float32, 0, 1),
    "tuple": (SUIT, bounded([], tf.int64, 0, 1)),
    "dict": {"b": SUIT, "a": {"c": tf.TensorSpec([2], tf.float32)}},
}


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_kind_of_observation_is_encoded_and_matters(name):
    network = build(CONFIGS["scan_ntm"], SPECS[name])
    rng = np.random.default_rng(0)

    def draw(*outer):
        def one(spec):
            shape = [*outer, *spec.shape]
            if spec.dtype.is_floating:
                return tf.constant(rng.normal(size=shape), spec.dtype)
            high = np.asarray(spec.maximum, np.int64)
            return tf.constant(rng.integers(0, high, shape, endpoint=True), spec.dtype)

        return tf.nest.map_structure(one, SPECS[name])

    q_values, _ = network(draw(2, 3))
    assert q_values.shape == (2, 3, 3)
    one, _ = network(draw(64))
    assert np.ptp(one.numpy(), axis=0).max() > 1e-3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (bounded([], tf.int64, 0, 10**6), "more than 1024 values"),
        ({"a": tf.TensorSpec([], tf.int64)}, "observation a has integers without bounds"),
        (bounded([2, 2], tf.uint32, 0, 2**32 - 1), r"integers of up to 4\.29497e\+09; give it with bounds"),
        (tf.TensorSpec([], tf.string), "dtype string"),
    ],
)
def test_what_cannot_be_encoded_is_named(spec, message):
    with pytest.raises(InvalidInput, match=message):
        MemoryQNetwork(spec, ACTIONS)


def test_gradients_reach_every_parameter(network, window):
    observation, step_type = window
    with tf.GradientTape() as tape:
        q_values, _ = network(observation, step_type=step_type, training=True)
        loss = tf.reduce_sum(q_values**2)
    for variable, gradient in zip(
        network.trainable_variables,
        tape.gradient(loss, network.trainable_variables),
        strict=True,
    ):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.name


MASKED = {"suit": SUIT, "action_mask": tensor_spec.BoundedTensorSpec([3], tf.int8, 0, 1)}


def test_forbidden_actions_have_the_lowest_value_and_the_mask_is_seen_by_nothing_else():
    network = build(NetworkConfig(core=NoCoreConfig(), embedding=8, hidden=8, action_mask=True), MASKED)
    suits = tf.constant([1, 1, 1], tf.int64)
    mask = tf.constant([[1, 1, 1], [0, 1, 1], [0, 0, 0]], tf.int8)
    q_values = network({"suit": suits, "action_mask": mask})[0].numpy()
    np.testing.assert_array_equal(q_values[0, 1:], q_values[1, 1:])
    assert q_values[1, 0] == -1e9
    np.testing.assert_array_equal(q_values[0], q_values[2])  # nothing allowed, nothing forbidden


def test_a_missing_action_mask_is_named():
    for spec in (SUIT, {"suit": SUIT, "action_mask": tensor_spec.BoundedTensorSpec([2], tf.int8, 0, 1)}):
        with pytest.raises(InvalidInput, match=r"observation.action_mask's shape must be \(3,\)"):
            MemoryQNetwork(spec, ACTIONS, NetworkConfig(action_mask=True))


def test_a_large_images_brightness_and_contrast_do_not_matter():
    spec = tensor_spec.BoundedTensorSpec([40, 36, 2], tf.uint8, 0, 255)
    network = MemoryQNetwork(spec, ACTIONS, NetworkConfig(core=NoCoreConfig(), embedding=8, hidden=8))
    network.create_variables()
    image = np.random.default_rng(0).integers(0, 100, [BATCH, 40, 36, 2], np.uint8)
    np.testing.assert_allclose(network(image)[0], network(2 * image + 30)[0], atol=1e-6)
    assert np.abs(network(image)[0] - network(image[::-1])[0]).max() > 1e-3
    assert np.isfinite(network(np.full_like(image, 7))[0]).all()


def test_an_image_is_the_same_whichever_axis_its_channels_are_on():
    rng = np.random.default_rng(0)
    for channels, first in ((3, [3, 40, 36]), (1, [40, 36])):
        image = rng.integers(0, 255, [BATCH, 40, 36, channels], np.uint8)
        answers = []
        for shape in ([40, 36, channels], first):
            tf.keras.utils.set_random_seed(0)
            spec = tensor_spec.BoundedTensorSpec(shape, tf.uint8, 0, 255)
            network = MemoryQNetwork(spec, ACTIONS, NetworkConfig(core=NoCoreConfig(), embedding=8, hidden=8))
            network.create_variables()
            seen = image if shape[-1] == channels else np.moveaxis(image, -1, 1).reshape([BATCH, *shape])
            answers.append(network(tf.constant(seen))[0])
        np.testing.assert_allclose(*answers, atol=1e-5)


def test_numbers_are_scaled_by_bounds_that_say_something():
    # The middle of a range is 0, its end 1: 2 in [-4, 4] is .5, and so is 7.5 in [0, 10]. The greatest float
    # is no bound, and neither is infinity.
    spec = tensor_spec.BoundedTensorSpec([4], tf.float32, [-4, 0, -3e38, -np.inf], [4, 10, 3e38, 5])
    network = build(NetworkConfig(core=NoCoreConfig(), embedding=8, hidden=8), spec)
    plain = build(NetworkConfig(core=NoCoreConfig(), embedding=8, hidden=8), tf.TensorSpec([4], tf.float32))
    for own, other in zip(plain.variables, network.variables, strict=True):
        own.assign(other)
    seen, scaled = tf.constant([[2, 7.5, 0.5, 5]]), tf.constant([[0.5, 0.5, 0.5, 5]])
    np.testing.assert_allclose(network(seen)[0], plain(scaled)[0], rtol=1e-5)
