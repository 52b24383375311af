"""tfmem's layers inside TF-Agents as it comes: its networks, agent and policy saver, and none of tfmem's."""

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.agents.dqn import dqn_agent
from tf_agents.keras_layers import dynamic_unroll_layer
from tf_agents.networks import q_rnn_network, sequential
from tf_agents.policies import policy_saver
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory
from tf_agents.utils import common

from tfmem.layers import HardAttention, NTMCell, SoftAttention

F, M, L = (int(t) for t in (ts.StepType.FIRST, ts.StepType.MID, ts.StepType.LAST))
SEEN = tf.TensorSpec([4], tf.float32)
WORDS = tf.TensorSpec([5, 4], tf.float32)
IN_THE_MIDDLE = tf.constant([[False, False, True, False, False]] * 2)
CONTROLLERS = ["feed_forward", "lstm", "gru"]
THREE_ACTIONS = tensor_spec.BoundedTensorSpec([], tf.int32, 0, 2)


def tiny(controller="feed_forward"):
    return NTMCell(6, 3, controller_units=8, read_heads=2, controller=controller)


def unroll(controller="feed_forward"):
    return dynamic_unroll_layer.DynamicUnroll(tiny(controller))


def random_unroll(controller="feed_forward"):
    """With weights that make its memory, and where it starts, matter."""
    layer = unroll(controller)
    layer(tf.zeros([1, 1, 4]))  # builds the cell, even if it was built before
    for variable in layer.variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.5))
    return layer


def rnn(cell=None):
    """As TF-Agents asks for Keras' recurrent layers."""
    return tf.keras.layers.RNN(cell or tiny(), return_sequences=True, return_state=True)


def take_context(both):
    return both[0]


def assert_all_close(found, expected):
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_dynamic_unroll_computes_what_keras_rnn_does(controller):
    layer = random_unroll(controller)
    x = tf.random.normal([2, 5, 4])
    expected, *expected_state = rnn(layer.cell)(x)
    y, state = layer(x)
    assert_all_close((y, state), (expected, expected_state))
    assert [s.shape[1:] for s in state] == layer.cell.state_size
    # In pieces, the first a single step without a time axis.
    first, state = layer(x[:, 0])
    rest, state = layer(x[:, 1:], initial_state=state)
    assert_all_close((tf.concat([first[:, None], rest], 1), state), (expected, expected_state))


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_reset_in_the_middle_equals_two_unrolls(controller):
    layer = random_unroll(controller)
    x = tf.random.normal([3, 5, 4])
    _, before = layer(tf.random.normal([3, 4, 4]))
    resets = np.zeros([3, 5], bool)
    resets[0, 3] = resets[1, 0] = True  # the third member carries on
    y, state = tf.function(layer, autograph=False)(x, initial_state=before, reset_mask=tf.constant(resets))

    def run(member, start, stop, state=None):
        one = slice(member, member + 1)
        return layer(x[one, start:stop], initial_state=state and [s[one] for s in state])

    expected = [
        tf.concat([run(0, 0, 3, before)[0], run(0, 3, 5)[0]], axis=1),
        run(1, 0, 5)[0],
        run(2, 0, 5, before)[0],
    ]
    assert_all_close(y, tf.concat(expected, axis=0))
    ends = [run(0, 3, 5)[1], run(1, 0, 5)[1], run(2, 0, 5, before)[1]]
    assert_all_close(state, [tf.concat(s, axis=0) for s in zip(*ends, strict=True)])


def test_where_heads_start_is_learned_through_a_reset():
    layer = random_unroll()
    x = tf.random.normal([2, 5, 4])
    _, before = layer(x)
    with tf.GradientTape() as tape:
        y, _ = layer(x, initial_state=before, reset_mask=IN_THE_MIDDLE)
        loss = tf.reduce_sum(y**2)
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(loss, layer.trainable_variables), strict=True
    ):
        assert np.abs(gradient).max() > 0, variable.name


def test_stacked_cells_reset_each_of_their_states():
    layer = dynamic_unroll_layer.DynamicUnroll(tf.keras.layers.StackedRNNCells([tiny(), tiny("lstm")]))
    x = tf.random.normal([2, 5, 4])
    y, state = layer(x, reset_mask=IN_THE_MIDDLE)
    parts = [layer(x[:, :2])[0], layer(x[:, 2:])[0]]
    assert_all_close(y, tf.concat(parts, axis=1))
    assert tf.nest.map_structure(lambda s: s.shape[1:], state) == tuple(layer.state_size)


def test_dynamic_unroll_is_made_again_from_its_configuration():
    made = unroll("gru")
    # TF-Agents notes the bare name of the cell's class, not the one it is registered by.
    again = type(made).from_config(made.get_config(), custom_objects={"NTMCell": NTMCell})
    assert again.cell.get_config() == made.cell.get_config()


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("wrap", [rnn, dynamic_unroll_layer.DynamicUnroll])
def test_sequential_carries_the_state(controller, wrap):
    layers = [tf.keras.layers.Dense(4), wrap(tiny(controller)), tf.keras.layers.Dense(3)]
    net = sequential.Sequential(layers, input_spec=SEEN)
    net.create_variables()
    assert [s.shape for s in net.state_spec[0]] == tiny(controller).state_size
    x = tf.random.normal([2, 5, 4])
    expected, expected_state = net(x)
    assert_all_close(expected, layers[2](rnn(layers[1].cell)(layers[0](x))[0]))
    state, steps = (), []
    for t in range(5):
        y, state = net(x[:, t], network_state=state)
        steps.append(y)
    assert_all_close((tf.stack(steps, axis=1), state), (expected, expected_state))


def test_a_copied_sequential_begins_with_the_same_numbers_and_shares_none():
    net = sequential.Sequential([rnn(), tf.keras.layers.Dense(3)], input_spec=SEEN)
    net.create_variables()
    copied = net.copy(name="copied")
    copied.create_variables()
    x = tf.random.normal([2, 5, 4])
    before, _ = net(x)
    np.testing.assert_array_equal(copied(x)[0], before)
    for variable in net.variables:
        variable.assign_add(tf.ones_like(variable))
    np.testing.assert_array_equal(copied(x)[0], before)
    assert np.abs(net(x)[0] - before).max() > 0.1


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("wrap", [rnn, dynamic_unroll_layer.DynamicUnroll])
def test_the_zeros_that_networks_begin_with_stand_for_the_initial_state(controller, wrap):
    net = sequential.Sequential([wrap(tiny(controller))], input_spec=SEEN)
    net.create_variables()
    for variable in net.variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.5))
    zeros = net.get_initial_state(batch_size=2)
    assert not any(np.any(s) for s in tf.nest.flatten(zeros))
    x = tf.random.normal([2, 5, 4])
    assert_all_close(net(x, network_state=zeros), net(x))
    # One of the batch alone.
    _, state = net(x)
    mixed = tf.nest.map_structure(lambda s, z: tf.concat([s[:1], z[1:]], axis=0), state, zeros)
    y, _ = net(x, network_state=mixed)
    assert_all_close(y, tf.concat([net(x, network_state=state)[0][:1], net(x)[0][1:]], axis=0))


@pytest.mark.parametrize("attention", [SoftAttention, HardAttention])
def test_sequential_passes_a_context_on(attention):
    layer = attention(4)
    net = sequential.Sequential(
        [layer, tf.keras.layers.Lambda(take_context), tf.keras.layers.Dense(3)], input_spec=WORDS
    )
    net.create_variables()
    assert net.state_spec == ()
    words = tf.random.normal([2, 5, 4])
    assert_all_close(net(words), (net.layers[2](layer(words)[0]), ()))


def q_rnn():
    """What attention finds among each observation's words goes into the memory."""
    words = tf.keras.Input(WORDS.shape)
    context, _ = SoftAttention(4)(words)
    return q_rnn_network.QRnnNetwork(
        WORDS,
        THREE_ACTIONS,
        preprocessing_layers=tf.keras.Model(words, context),
        input_fc_layer_params=(16,),
        output_fc_layer_params=(16,),
        rnn_construction_fn=unroll,
    )


def q_sequential():
    return sequential.Sequential([rnn(), tf.keras.layers.Dense(3)], input_spec=SEEN)


def q_attention():
    layers = [SoftAttention(16), tf.keras.layers.Lambda(take_context), tf.keras.layers.Dense(64, "relu")]
    return sequential.Sequential([*layers, tf.keras.layers.Dense(3)], input_spec=WORDS)


def agent_of(net):
    optimizer = tf.keras.optimizers.Adam(1e-2)
    made = dqn_agent.DqnAgent(
        ts.time_step_spec(net.input_tensor_spec),
        THREE_ACTIONS,
        net,
        optimizer,
        gamma=0.0,
        target_update_tau=0.25,
    )
    made.initialize()
    optimizer.build(net.trainable_variables)  # else the training is traced twice
    return made


def experience(net):
    """Two episodes in each row; transitions, where the network has no memory."""
    rng = np.random.default_rng(0)
    rows = [[F, M, L, F, M, M]] * 4 if net.state_spec else [[F, M]] * 16
    step_type = np.array(rows, np.int32)
    shape = step_type.shape
    return trajectory.Trajectory(
        step_type=tf.constant(step_type),
        observation=tf.constant(rng.normal(size=[*shape, *net.input_tensor_spec.shape]), tf.float32),
        action=tf.constant(rng.integers(0, 3, shape), tf.int32),
        policy_info=(),
        next_step_type=tf.constant(np.roll(step_type, -1, axis=1)),
        reward=tf.constant(rng.normal(size=shape), tf.float32),
        discount=tf.ones(shape),
    )


@pytest.mark.parametrize("make", [q_rnn, q_sequential, q_attention])
def test_a_stock_agent_learns_a_batch_by_heart_and_its_saved_policy_acts_alike(make, tmp_path):
    net = make()
    made = agent_of(net)
    online, target = made._q_network.variables, made._target_q_network.variables
    assert not {id(v) for v in online} & {id(v) for v in target}
    before = [v.numpy() for v in target]
    batch = experience(net)
    train = common.function(made.train)
    losses = [float(train(batch).loss)]
    for now, then, ours in zip(target, before, online, strict=True):
        np.testing.assert_allclose(now, 0.75 * then + 0.25 * ours, atol=1e-6)
    losses += [float(train(batch).loss) for _ in range(60)]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.1 * losses[0]

    policy_saver.PolicySaver(made.policy, batch_size=None).save(str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    own_state, state = made.policy.get_initial_state(4), loaded.get_initial_state(4)
    act = common.function(made.policy.action)
    actions = []
    for t in range(8):
        seen = tf.random.normal([4, *net.input_tensor_spec.shape])
        time_step = ts.restart(seen, 4) if t in (0, 5) else ts.transition(seen, tf.zeros([4]))
        own, other = act(time_step, own_state), loaded.action(time_step, state)
        np.testing.assert_array_equal(own.action, other.action)
        assert_all_close(own.state, other.state)
        own_state, state = own.state, other.state
        actions.append(other.action)
    assert len(np.unique(actions)) > 1
