"""Sums of shared embeddings: against a loop in NumPy, as counts, and inside the Q-network."""

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from tfmem.errors import InvalidInput
from tfmem.networks import LSTMConfig, MemoryQNetwork, NetworkConfig, NoCoreConfig, ScanNTMConfig
from tfmem.networks.tallies import AlikeCodes, Tallies, alike

BATCH, LENGTH, WIDTH = 2, 8, 5
ACTION = tensor_spec.BoundedTensorSpec([], tf.int32, 0, 2)
# Two suits, a rank from 1, and one more of it; a number and a lone choice that nothing is like.
SPEC = {
    "lone": tensor_spec.BoundedTensorSpec([], tf.int64, 0, 6),
    "number": tensor_spec.BoundedTensorSpec([2], tf.float32, 0.0, 1.0),
    "rank": tensor_spec.BoundedTensorSpec([], tf.int64, 1, 3),
    "suits": tensor_spec.BoundedTensorSpec([3], tf.int32, [0, 0, 1], [3, 3, 3]),
}
GROUPS = ((1, 3, 2), (0, 4, 2))
CORES = {
    "none": NoCoreConfig(),
    "lstm": LSTMConfig(units=7),
    "scan_ntm": ScanNTMConfig(slots=6, width=4),
}


def observations(*outer):
    rng = np.random.default_rng(0)
    suits = [rng.integers(0, 4, outer), rng.integers(0, 4, outer), rng.integers(1, 4, outer)]
    return {
        "lone": rng.integers(0, 7, outer),
        "number": rng.random([*outer, 2], np.float32),
        "rank": rng.integers(1, 4, outer),
        "suits": np.stack(suits, axis=-1).astype(np.int32),
    }


def resets():
    reset = np.zeros([BATCH, LENGTH], bool)
    reset[0, 0] = reset[1, 5] = True
    return reset


def codes_of(observation):
    flat = tf.nest.map_structure(lambda z: tf.reshape(z, [-1, *z.shape[2:]]), observation)
    return tf.reshape(AlikeCodes(SPEC)(flat), [BATCH, LENGTH, -1])


def test_components_with_the_same_categories_are_found_in_all_parts():
    assert alike(SPEC) == GROUPS
    assert alike({"lone": SPEC["lone"], "number": SPEC["number"]}) == ()
    assert alike(tensor_spec.BoundedTensorSpec([2], tf.int64, 0, 5000)) == ()  # quantities


@pytest.mark.parametrize("jit_compile", [False, True])
def test_sums_times_what_is_shown_now(jit_compile):
    seen, reset = observations(BATCH, LENGTH), resets()
    layer = Tallies(GROUPS, WIDTH)
    sums = np.random.default_rng(1).normal(size=(BATCH, 4, WIDTH)).astype(np.float32)
    call = tf.function(layer, jit_compile=jit_compile)
    y, final = call(codes_of(seen), {"tallies": tf.constant(sums)}, tf.constant(reset))
    rank, suit = (weight.numpy() for weight in layer.weights)
    for t in range(LENGTH):
        for b in range(BATCH):
            suits = seen["suits"][b, t]
            ranks = [seen["rank"][b, t], suits[2]]
            now = np.stack([*rank[np.array(ranks) - 1], *suit[suits[:2]]])
            sums[b] = (0.0 if reset[b, t] else sums[b]) + now
            products = [sums[b, i] * now[j] for group in ((0, 1), (2, 3)) for i in group for j in group]
            np.testing.assert_allclose(y[b, t], np.concatenate(products), atol=1e-5)
    np.testing.assert_allclose(final["tallies"], sums, atol=1e-5)


def test_steps_are_the_sequence():
    seen, layer = observations(BATCH, LENGTH), Tallies(GROUPS, WIDTH)
    x = codes_of(seen)
    y, final = layer(x, layer.get_initial_state(BATCH), tf.zeros([BATCH, LENGTH], tf.bool))
    state = layer.get_initial_state(BATCH)
    for t in range(LENGTH):
        step, state = layer.step(x[:, t], state)
        np.testing.assert_allclose(step, y[:, t], atol=1e-5)
    np.testing.assert_allclose(state["tallies"], final["tallies"], atol=1e-5)


def test_with_orthogonal_embeddings_they_are_counts():
    layer = Tallies(((0, 4, 2),), 4)
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 4, [1, LENGTH, 2])
    x = tf.reshape(tf.one_hot(shown, 4), [1, LENGTH, 8])
    layer(x, layer.get_initial_state(1), tf.zeros([1, LENGTH], tf.bool))
    layer.weights[0].assign(tf.eye(4))
    y, _ = layer(x, layer.get_initial_state(1), tf.zeros([1, LENGTH], tf.bool))
    found = tf.reduce_sum(tf.reshape(y, [LENGTH, 2, 2, 4]), axis=-1).numpy()
    for t in range(LENGTH):
        for i in range(2):
            for j in range(2):
                assert found[t, i, j] == (shown[0, : t + 1, i] == shown[0, t, j]).sum()


def test_gradients_reach_what_was_shown_since_the_reset_alone():
    layer = Tallies(GROUPS, WIDTH)
    x, reset = codes_of(observations(BATCH, LENGTH)), tf.constant(resets())
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, _ = layer(x, layer.get_initial_state(BATCH), reset)
        loss = tf.reduce_sum(y[1, -1])
    reached = np.abs(tape.gradient(loss, x)[1]).sum(axis=-1) > 1e-6
    assert reached.tolist() == [False] * 5 + [True] * 3


@pytest.mark.parametrize("core", CORES)
def test_the_network_carries_them_and_starts_anew_where_episodes_start(core):
    tf.keras.utils.set_random_seed(0)
    config = NetworkConfig(core=CORES[core], embedding=8, hidden=8, tallies=WIDTH)
    network = MemoryQNetwork(SPEC, ACTION, config)
    network.create_variables()
    assert network.state_spec["tallies"].shape == (4, WIDTH)
    seen = tf.nest.map_structure(tf.constant, observations(BATCH, LENGTH))
    types = tf.where(resets(), ts.StepType.FIRST, ts.StepType.MID)
    whole, final = network(seen, step_type=types, network_state=network.initial_state(BATCH))
    state = network.initial_state(BATCH)
    for t in range(LENGTH):
        now = tf.nest.map_structure(lambda z, t=t: z[:, t], seen)
        q_values, state = network(now, step_type=types[:, t], network_state=state)
        np.testing.assert_allclose(q_values, whole[:, t], atol=1e-5)
    np.testing.assert_allclose(state["tallies"], final["tallies"], atol=1e-5)


def test_what_does_not_fit_is_named():
    with pytest.raises(InvalidInput, match=r"two integer components .* set tallies=0"):
        MemoryQNetwork(SPEC["number"], ACTION, NetworkConfig(tallies=4))
    with pytest.raises(InvalidInput, match="tallies must be at least 0"):
        NetworkConfig(tallies=-1)
