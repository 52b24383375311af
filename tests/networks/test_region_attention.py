"""Attention over the regions of an image: against a loop in NumPy, by its draws, and by what it learns."""

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory

from tests.conftest import softmax
from tfmem.agents import MemoryDqnAgent, MemoryPolicy
from tfmem.errors import InvalidInput
from tfmem.networks import LSTMConfig, MemoryQNetwork, NetworkConfig, NoCoreConfig
from tfmem.networks.region_attention import RegionAttention

KINDS = ["soft", "reinforce", "gumbel", "straight_through"]
IMAGE = tensor_spec.BoundedTensorSpec([10, 10, 4], tf.uint8, 0, 1)
LARGE = tensor_spec.BoundedTensorSpec([84, 84, 1], tf.uint8, 0, 255)
ACTIONS = tensor_spec.BoundedTensorSpec([], tf.int32, 0, 3)


def build(spec=IMAGE, core=None, **config):
    core = core or NoCoreConfig()
    network = MemoryQNetwork(spec, ACTIONS, NetworkConfig(core=core, embedding=16, hidden=16, **config))
    network.create_variables()
    return network


def images(*outer, spec=IMAGE):
    shape, highest = [*outer, *spec.shape], int(np.max(spec.maximum))
    return tf.constant(np.random.default_rng(0).integers(0, highest, shape, endpoint=True), spec.dtype)


def test_contexts_and_weights_against_a_loop():
    layer = RegionAttention("soft", heads=2)
    features = np.random.default_rng(0).normal(size=(3, 2, 4, 5)).astype(np.float32)
    context = layer(tf.constant(features))
    weight = {v.name.split(":")[0].rsplit("/", 2 if "kernel" in v.name else 1)[1]: v for v in layer.weights}
    for b in range(3):
        regions = features[b].reshape(8, 5) + weight["place"].numpy()
        keys = np.tanh(regions @ weight["key"].numpy()).reshape(8, 2, -1)
        weights = [softmax(keys[:, head] @ weight["vector"].numpy()[head]) for head in range(2)]
        expected = np.concatenate([w @ regions for w in weights])
        np.testing.assert_allclose(context[b], expected, atol=1e-5)
        np.testing.assert_allclose(layer.attention[b], np.mean(weights, axis=0).reshape(2, 4), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("spec", "grid"), [(IMAGE, (6, 6)), (LARGE, (9, 9))], ids=["small", "large"])
def test_every_step_shows_where_it_looked(kind, spec, grid):
    policy = MemoryPolicy(build(spec, LSTMConfig(4), region_attention=kind))
    arguments = images(3, spec=spec), tf.fill([3], True), policy.initial_state(3)
    *answer, explained = policy.explain(*arguments)
    assert sorted(explained) == ["region_attention"]
    shown = explained["region_attention"].numpy()
    assert shown.shape == (3, *grid)
    np.testing.assert_allclose(shown.sum((1, 2)), 1.0, rtol=1e-5)
    if kind == "soft":
        assert shown.min() > 0  # no region is masked
    else:  # the four most probable
        largest = np.sort(shown.reshape(3, -1))[:, -5:]
        np.testing.assert_array_equal(largest, [[0, 0.25, 0.25, 0.25, 0.25]] * 3)
    tf.nest.map_structure(np.testing.assert_array_equal, tuple(answer), policy.step(*arguments))


def test_without_it_there_is_nothing_to_show():
    policy = MemoryPolicy(build())
    assert policy.explain(images(3), tf.fill([3], True), {})[3] == {}


def test_a_region_is_looked_at_for_what_it_holds():
    """A change in one region changes its own share, and how the others compare with each other not at all."""
    network = build(region_attention="soft", region_attention_heads=1)
    one = images(1).numpy()
    other = one.copy()
    other[:, 0, 0] = 1 - other[:, 0, 0]  # seen by the first region alone
    shares = []
    for image in (one, other):
        network(tf.constant(image))
        shares.append(network.explained["region_attention"].numpy().ravel())
    assert shares[0][0] != pytest.approx(shares[1][0], rel=1e-4)
    np.testing.assert_allclose(*(share[1:] / share[-1] for share in shares), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind):
    network = build(core=LSTMConfig(4), region_attention=kind, region_attention_heads=2)
    with tf.GradientTape() as tape:
        q_values, _ = network(images(4, 3), training=True)
        loss = tf.reduce_sum(q_values**2)
        if kind == "reinforce":  # as the agent does, with another cost for each frame
            loss += tf.reduce_sum(network.selection_log_prob * tf.reshape(tf.range(12.0), [4, 3]))
        else:
            assert network.selection_log_prob is None
    gradients = tape.gradient(loss, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.name


def test_an_unroll_attends_as_single_steps_do():
    network = build(core=LSTMConfig(4), region_attention="soft")
    seen = images(2, 3)
    whole, _ = network(seen)
    shown = tf.reshape(network.explained["region_attention"], [2, 3, 6, 6])
    state = network.initial_state(2)
    for t in range(3):
        q_values, state = network(seen[:, t], network_state=state)
        np.testing.assert_allclose(q_values, whole[:, t], atol=1e-5)
        np.testing.assert_allclose(network.explained["region_attention"], shown[:, t], atol=1e-6)


def test_draws_in_training_tell_their_probability_and_outside_of_it_none_are_made():
    """Over many draws the frequency of a region is the probability that it tells."""
    network = build(region_attention="reinforce", region_attention_heads=1)
    seen = tf.tile(images(1, 1), [4000, 1, 1, 1, 1])
    network(seen, training=True)
    assert network.selection_log_prob.shape == (4000, 1)
    told = np.exp(network.selection_log_prob.numpy()[:, 0])
    drawn = network.explained["region_attention"].numpy().reshape(4000, -1)
    np.testing.assert_array_equal(np.sort(drawn)[:, -2:], [[0.0, 1.0]] * 4000)
    frequency, region = drawn.mean(0), drawn.argmax(1)
    np.testing.assert_allclose(frequency[region], told, atol=0.02)
    network(seen)
    assert network.selection_log_prob is None
    assert len(np.unique(network.explained["region_attention"], axis=0)) == 1


def test_what_regions_and_the_past_draw_is_told_together():
    drawing = {"region_attention": "reinforce", "attention_window": 2, "attention": "reinforce"}
    network = build(**drawing)
    network(images(64, 2), training=True)
    both = network.selection_log_prob.numpy()
    alone = build(region_attention="reinforce")
    alone(images(64, 2), training=True)
    # A first frame has only itself to select, a second one two of about equal probability.
    assert both[:, 0].mean() == pytest.approx(alone.selection_log_prob.numpy()[:, 0].mean(), abs=0.2)
    assert (both[:, 1] - both[:, 0]).mean() == pytest.approx(np.log(0.5), abs=0.2)


def test_the_entropy_is_in_the_losses_once():
    network = build(region_attention="soft", region_attention_heads=2, region_attention_entropy=0.5)
    network.set_weights([np.zeros_like(w) for w in network.get_weights()])
    network(images(4, 3), training=True)
    np.testing.assert_allclose(tf.add_n(network.losses), 0.5 * 2 * np.log(36), rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (tf.TensorSpec([4], tf.float32), "there is none; set it to 'none'"),
        ({"left": IMAGE, "right": IMAGE}, "there are 2: left, right; set it to 'none'"),
    ],
)
def test_an_observation_without_one_image_is_named(spec, found):
    with pytest.raises(InvalidInput, match=f"region_attention needs one image in the observation.* {found}"):
        build(spec, region_attention="soft")


FRAMES = 128


def frames_with_a_mark():
    """Images, the value at each one's mark, and the mark's row and column."""
    environment = gym.make("tests/Marked-v0").unwrapped
    seen = np.stack([environment.reset(seed=i)[0] for i in range(FRAMES)])
    _, row, column, channel = np.nonzero(seen)
    return seen, channel, row, column


@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_in_which_a_single_region_counts_is_learned(kind):
    """It comes to expect the rewards, and the region it looks at most holds what they depend on."""
    network = build(region_attention=kind, region_attention_heads=1)
    agent = MemoryDqnAgent(
        ts.time_step_spec(IMAGE), ACTIONS, network, tf.keras.optimizers.Adam(3e-3), gamma=0.0
    )
    agent.initialize()
    seen, channel, row, column = frames_with_a_mark()
    rng = np.random.default_rng(0)
    action = np.where(rng.random(FRAMES) < 0.5, channel, rng.integers(0, 4, FRAMES))
    # The second frame of each window does not count: it has no successor.
    twice = lambda x, dtype: tf.constant(np.stack([x, x], axis=1).astype(dtype))  # noqa: E731
    step_type = tf.tile([[ts.StepType.FIRST, ts.StepType.MID]], [FRAMES, 1])
    batch = trajectory.Trajectory(
        step_type=step_type,
        observation=twice(seen, np.uint8),
        action=twice(action, np.int32),
        policy_info=(),
        next_step_type=step_type,
        reward=twice(action == channel, np.float32),
        discount=tf.ones([FRAMES, 2]),
    )
    train = tf.function(agent.train, jit_compile=True, autograph=False)
    for _ in range(400):
        info = train(batch)
    assert np.abs(info.extra.td_error).mean() < 0.02
    network(tf.constant(seen))
    most = network.explained["region_attention"].numpy().reshape(FRAMES, -1).argmax(1)
    top, left = np.divmod(most, 6)  # of the 5×5 pixels that a region sees
    holds = (top <= row) & (row < top + 5) & (left <= column) & (column < left + 5)
    # One of the four channels may be told by its absence; by chance a region holds the mark in a third.
    assert holds.mean() > 0.6
