import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tfmem.inspection import Trace
from tfmem.inspection.summaries import memory_summaries
from tfmem.networks import LSTMConfig, MemoryQNetwork, NetworkConfig, NoCoreConfig, ScanNTMConfig

OBSERVATION = tensor_spec.BoundedTensorSpec([], tf.int64, 0, 3)
ACTION = tensor_spec.BoundedTensorSpec([], tf.int32, 0, 1)
MOVING = ScanNTMConfig(slots=4, width=2, read_heads=("stay", "back"), write_heads=("forward",))


def network_of(core=MOVING, **kwargs):
    network = MemoryQNetwork(OBSERVATION, ACTION, NetworkConfig(8, core, hidden=8, **kwargs))
    network.create_variables()
    return network


def episode_of(network, steps=4, **state):
    """An episode that saw 0, 1, 2 … and whose state was as told, or else the network's first."""
    initial = {name: part[0].numpy() for name, part in network.initial_state(1).items()}
    first = {name: np.stack([part] * steps) for name, part in initial.items()}
    return Trace(
        observation={"observation": np.arange(steps) % 4},
        frames=None,
        action=np.zeros(steps, np.int32),
        q_values=np.zeros([steps, 2]),
        reward=np.zeros(steps),
        td_error=np.zeros(steps),
        state=first | {name: np.asarray(part, np.float32) for name, part in state.items()},
        initial_state=initial,
        explained={},
        truncated=False,
    )


def walk(*slots):
    """Weights `[T, 1, 4]` of a head that is at these slots."""
    return np.eye(4)[list(slots)][:, np.newaxis]


def test_a_head_that_follows_another_two_steps_behind():
    network = network_of()
    reads = np.concatenate([walk(2, 3, 0, 1), walk(0, 0, 0, 0)], axis=1)
    found = memory_summaries(episode_of(network, write_weights=walk(0, 1, 2, 3), read_weights=reads), network)
    # The first read head finds nothing written in two steps, then twice what was written two steps ago.
    np.testing.assert_allclose(found.histograms["distance/read_1"][:, 2], [0, 0, 0.5, 0])
    np.testing.assert_allclose(found.histograms["distance/read_2"][:, 2], [0.25] * 4)
    np.testing.assert_array_equal(found.histograms["distance/read_1"][2, :2], [1.5, 2.5])
    assert found.scalars["mean_distance/read_1"] == pytest.approx(2)
    assert found.scalars["mean_distance/read_2"] == pytest.approx(1.5)
    assert found.scalars["slots_used/read_1"] == pytest.approx(4)
    assert found.scalars["slots_used/read_2"] == pytest.approx(1)
    assert found.scalars["slots_used/write_1"] == pytest.approx(4)
    assert found.scalars["entropy/read_1"] == pytest.approx(0)


def test_entropy_of_even_weights_is_the_logarithm_of_their_number():
    network = network_of(attention_window=2)
    half = np.full([4, 1, 4], 0.25)
    attention = np.full([4, 2], 0.5)
    found = memory_summaries(episode_of(network, write_weights=half, attention=attention), network).scalars
    assert found["entropy/write_1"] == pytest.approx(np.log(4))
    assert found["entropy/attention"] == pytest.approx(np.log(2))


def test_modes_are_those_that_move_the_heads_and_erasing_that_of_the_layer():
    network = network_of()
    found = memory_summaries(episode_of(network), network).scalars
    # At first, whatever is seen, a head has its favourite mode with e⁵ / (e⁵ + e⁰ … + e⁻²).
    favourite = np.exp(5) / (np.exp(5) + 2 + np.exp(-2))
    assert found["modes/write_1/forward/mean"] == pytest.approx(favourite, rel=1e-5)
    favourite = np.exp(5) / (np.exp(5) + 3 + np.exp(-2))
    assert found["modes/read_1/stay/mean"] == pytest.approx(favourite, rel=1e-5)
    assert found["modes/read_2/back/mean"] == pytest.approx(favourite, rel=1e-5)
    assert found["modes/read_2/back/std"] == pytest.approx(0, abs=1e-6)
    modes = [tag for tag in found if tag.startswith("modes/read_1/") and tag.endswith("/mean")]
    assert sum(found[tag] for tag in modes) == pytest.approx(1)
    # What the network says of the observations 0 … 3 themselves.
    erase = network.controls(tf.range(4, dtype=tf.int64), network.initial_state(4)).erase.numpy()
    assert found["erase/write_1/mean"] == pytest.approx(erase.mean())
    assert found["erase/write_1/std"] == pytest.approx(erase.std(), rel=1e-5)
    assert found["erase/write_1/std"] > 0


@pytest.mark.parametrize("window", [0, 3])
def test_the_networks_controls_are_those_it_acts_by(window):
    network = network_of(attention_window=window)
    start = network.initial_state(1)
    _, after_one = network(tf.constant([1], tf.int64), network_state=start)
    _, after_two = network(tf.constant([2], tf.int64), network_state=after_one)
    controls = network.controls(tf.constant([2], tf.int64), after_one)
    memory = network.memory
    _, moved = memory._transition(controls, {name: after_one[name] for name in memory.state_shapes})
    for name, part in moved.items():
        np.testing.assert_allclose(part, after_two[name], atol=1e-6)


def test_controls_are_those_of_the_state_before_each_step():
    network = network_of(attention_window=3)
    state, before, after, erase = network.initial_state(1), [], [], []
    for seen in range(4):
        before.append(state)
        _, state = network(tf.constant([seen], tf.int64), network_state=state)
        after.append(state)
        erase.append(network.controls(tf.constant([seen], tf.int64), before[-1]).erase.numpy())
    played = {name: np.concatenate([step[name] for step in after]) for name in state}
    found = memory_summaries(episode_of(network, **played), network).scalars
    assert found["erase/write_1/mean"] == pytest.approx(np.mean(erase), rel=1e-6)
    assert found["erase/write_1/std"] == pytest.approx(np.std(erase), rel=1e-4)


def test_pictures_have_slots_beneath_each_other_and_steps_beside_each_other():
    network = network_of(attention_window=2)
    reads = np.concatenate([walk(2, 3, 0), walk(0, 0, 0)], axis=1)
    memory = np.zeros([3, 4, 2])
    memory[-1, 1] = [2.0, -1.0]
    attention = np.array([[0, 1], [0.4, 0.6], [1, 0]])
    found = memory_summaries(
        episode_of(network, steps=3, read_weights=reads, memory=memory, attention=attention), network
    ).images
    o = 255
    expected = [
        [0, 0, o],
        [0, 0, 0],
        [o, 0, 0],
        [0, o, 0],
        [o, o, o],  # between the heads
        [o, o, o],
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
    ]
    np.testing.assert_array_equal(found["memory/read_weights"], expected)
    np.testing.assert_array_equal(found["memory/attention"], [[0, 102, o], [o, 153, 0]])
    np.testing.assert_array_equal(found["memory/content"], [[128, 128], [255, 64], [128, 128], [128, 128]])
    assert found["memory/content"].dtype == np.uint8


@pytest.mark.parametrize(
    ("core", "window", "sections"),
    [
        (NoCoreConfig(), 0, set()),
        (LSTMConfig(4), 0, set()),
        (LSTMConfig(4), 3, {"entropy", "mean_distance"}),
        (NoCoreConfig(), 3, {"entropy", "mean_distance"}),
        (MOVING, 0, {"entropy", "slots_used", "mean_distance", "modes", "erase"}),
    ],
)
def test_what_a_network_does_not_have_is_left_out(core, window, sections):
    network = network_of(core, attention_window=window)
    attention = {"attention": np.eye(3)[[2, 2, 1, 0]]} if window else {}
    found = memory_summaries(episode_of(network, **attention), network)
    assert {tag.split("/")[0] for tag in found.scalars} == sections
    assert bool(found.images) == bool(sections)
    assert all(np.isfinite(value) for value in found.scalars.values())
