import numpy as np
import pytest
import tensorflow as tf
from tf_agents.agents.dqn import dqn_agent
from tf_agents.networks import network
from tf_agents.policies import policy_saver
from tf_agents.replay_buffers import tf_uniform_replay_buffer
from tf_agents.specs import tensor_spec
from tf_agents.train import learner
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory
from tf_agents.utils import common

from tfmem.agents import MemoryDqnAgent
from tfmem.errors import InvalidInput
from tfmem.networks import MemoryQNetwork, NetworkConfig, NoCoreConfig, ScanNTMConfig

F, M, L = (int(t) for t in (ts.StepType.FIRST, ts.StepType.MID, ts.StepType.LAST))
NUMBER = tf.TensorSpec([], tf.float32)
TWO_ACTIONS = tensor_spec.BoundedTensorSpec([], tf.int32, 0, 1)
SUIT = tensor_spec.BoundedTensorSpec([], tf.int64, 0, 3)


class RunningSum(network.Network):
    """Q(s, a) = scale_a × the sum of the episode's observations so far: memory without parameters to fit."""

    def __init__(self, scales=(1.0, 0.0), name="RunningSum"):
        super().__init__(NUMBER, {"sum": tf.TensorSpec([], tf.float32)}, name)
        self._scales = tf.Variable(scales)

    def call(self, observation, step_type=None, network_state=(), training=False):
        if observation.shape.rank == 1:
            previous = network_state["sum"] if network_state else tf.zeros_like(observation)
            total = observation + tf.where(step_type == ts.StepType.FIRST, 0.0, previous)
            return total[..., None] * self._scales, {"sum": total}
        total, sums = network_state["sum"] if network_state else tf.zeros_like(observation[:, 0]), []
        for t in range(observation.shape[1]):
            total = observation[:, t] + tf.where(step_type[:, t] == ts.StepType.FIRST, 0.0, total)
            sums.append(total)
        return tf.stack(sums, 1)[..., None] * self._scales, {"sum": total}


def agent_of(network_, spec=NUMBER, cls=MemoryDqnAgent, **kwargs):
    made = cls(
        ts.time_step_spec(spec),
        TWO_ACTIONS,
        network_,
        tf.keras.optimizers.Adam(1e-2),
        **{"td_errors_loss_fn": common.element_wise_squared_loss, "gamma": 1.0, **kwargs},
    )
    made.initialize()
    return made


def experience(observation, step_type, action=0, reward=0.0, discount=1.0):
    shape = np.shape(observation)
    full = lambda value, dtype: np.broadcast_to(np.asarray(value, dtype), shape).copy()  # noqa: E731
    step_type = full(step_type, np.int32)
    return trajectory.Trajectory(
        step_type=tf.constant(step_type),
        observation=tf.constant(observation),
        action=tf.constant(full(action, np.int32)),
        policy_info=(),
        next_step_type=tf.constant(np.concatenate([step_type[:, 1:], full(M, np.int32)[:, :1]], 1)),
        reward=tf.constant(full(reward, np.float32)),
        discount=tf.constant(full(discount, np.float32)),
    )


SUMS = np.array([[100.0, 1.0, 1.0, 1.0]], np.float32)  # the memory holds 100, 101, 102, 103


def test_the_running_sum_has_td_errors_of_one_where_upstream_has_minus_99():
    window = experience(SUMS, [[F, M, M, M]])
    # Q_{t+1} - Q_t = 1 with no reward and no discount; the last frame has no successor.
    found = agent_of(RunningSum())._loss(window, gamma=1.0)
    np.testing.assert_allclose(found.extra.td_error, [[1, 1, 1, 0]])
    np.testing.assert_allclose(found.loss, 1.0)  # the mean over the three that count
    upstream = agent_of(RunningSum(), cls=dqn_agent.DdqnAgent)._loss(window, gamma=1.0)
    np.testing.assert_allclose(upstream.extra.td_error, [[-99, -99, -99]])


def test_a_new_episode_in_the_window_starts_from_a_fresh_sum():
    window = experience(np.array([[5.0, 1.0, 7.0, 2.0]], np.float32), [[M, L, F, M]], discount=[[0, 1, 1, 1]])
    # t=0: terminates with reward 0: 0 - 5. t=1: LAST. t=2: 9 - 7 = 2 in the new episode.
    found = agent_of(RunningSum())._loss(window, gamma=1.0)
    np.testing.assert_allclose(found.extra.td_error, [[-5, 0, 2, 0]])
    np.testing.assert_allclose(found.loss, (25 + 4) / 2)


def test_n_steps_rewards_and_discounts():
    window = experience(SUMS, [[F, M, M, M]], reward=[[1, 2, 3, 0]])
    # γ = .5, n = 2: t=0: 1 + .5 * 2 + .25 * 102 - 100 = -72.5; t=1: 2 + 1.5 + .25 * 103 - 101 = -71.75;
    # t=2, cut to one reward: 3 + .5 * 103 - 102 = -47.5.
    found = agent_of(RunningSum(), n_step_update=2, gamma=0.5)._loss(window, gamma=0.5)
    np.testing.assert_allclose(found.extra.td_error, [[-72.5, -71.75, -47.5, 0]])


def test_burn_in_warms_the_memory_up_without_training():
    window = experience(SUMS, [[M, M, M, M]], reward=[[10, 0, 0, 0]])
    found = agent_of(RunningSum(), burn_in=1)._loss(window, gamma=1.0)
    np.testing.assert_allclose(found.extra.td_error, [[0, 1, 1, 0]])
    np.testing.assert_allclose(found.loss, 1.0)


def test_double_q_chooses_by_the_online_network_and_values_by_the_target():
    # Online: Q = sum × (1, 2), so action 1. Target: Q⁻ = sum × (5, 3). V_1 = 3 × 2 = 6; 6 - 1 = 5.
    # Without double Q, V_1 = max(5, 3) × 2 = 10; 10 - 1 = 9.
    window = experience(np.array([[1.0, 1.0]], np.float32), [[F, M]])
    for double_q, expected in ((True, 5), (False, 9)):
        made = agent_of(RunningSum((1.0, 2.0)), double_q=double_q)
        made._target_q_network.variables[0].assign([5.0, 3.0])
        found = made._loss(window, gamma=1.0)
        np.testing.assert_allclose(found.extra.td_error[0, 0], expected)


def test_forbidden_actions_are_not_bootstrapped_from():
    # Both networks prefer action 0, which the mask forbids at the next frame: V_1 = 0 × 2 - 1 = -1.
    spec = {"number": NUMBER, "allowed": tf.TensorSpec([2], tf.bool)}
    made = agent_of(
        RunningSum(),
        spec,
        observation_and_action_constraint_splitter=lambda o: (o["number"], o["allowed"]),
    )
    window = experience(np.array([[1.0, 1.0]], np.float32), [[F, M]])
    allowed = tf.constant([[[True, True], [False, True]]])
    window = window._replace(observation={"number": window.observation, "allowed": allowed})
    found = made._loss(window, gamma=1.0)
    np.testing.assert_allclose(found.extra.td_error[0, 0], -1)


def test_importance_weights_weigh_windows():
    window = experience(np.repeat(SUMS, 2, 0), [[F, M, M, M]] * 2)
    found = agent_of(RunningSum())._loss(window, gamma=1.0, weights=tf.constant([1.0, 3.0]))
    np.testing.assert_allclose(found.loss, 2.0)  # six errors of 1, three of them thrice: 12 / 6


def test_a_window_goes_on_from_the_state_it_is_given():
    # The sum was 100 before the window, so Q is 101, 102, 103.
    # γ = .5: 10 + .5 * 102 - 101 = -40; 10 + .5 * 103 - 102 = -40.5. A FIRST frame starts from 0 still.
    ones = np.ones([1, 3], np.float32)
    made = agent_of(RunningSum())
    state = {"sum": tf.constant([100.0])}
    found = made._loss(experience(ones, [[M, M, M]], reward=10), gamma=0.5, initial_state=state)
    np.testing.assert_allclose(found.extra.td_error, [[-40, -40.5, 0]])
    public = made.loss(experience(ones, [[F, M, M]]), initial_state=state)
    assert np.isfinite(public.loss)
    found = made._loss(experience(ones, [[F, M, M]]), gamma=1.0, initial_state=state)
    np.testing.assert_allclose(found.extra.td_error, [[1, 1, 0]])


def test_a_network_that_draws_is_trained_by_the_score_function():
    # Q is 1 at both first frames, 100 and 10 would be right: costs 99² and 9², and 0 at the last frames,
    # which do not count. C - b = 9801 - 81 and the opposite, over two frames that count; the loss is the
    # mean cost.
    class Drawing(RunningSum):
        def __init__(self, name="Drawing"):
            super().__init__(name=name)
            self.selection_log_prob = tf.Variable(tf.fill([2, 2], -1.0))

    made = agent_of(Drawing())
    window = experience(np.ones([2, 2], np.float32), [[F, M]] * 2, reward=[[98, 0], [8, 0]])
    log_prob = made._q_network.selection_log_prob
    with tf.GradientTape() as tape:
        loss = made._loss(window, gamma=1.0).loss
    np.testing.assert_allclose(loss, (99**2 + 9**2) / 2)
    np.testing.assert_allclose(tape.gradient(loss, log_prob), [[4860, 0], [-4860, 0]])


def test_training_passes_the_state_on():
    made = agent_of(RunningSum(), gamma=0.5, gradient_clipping=None)
    window = experience(np.ones([1, 3], np.float32), [[M, M, M]], reward=10)
    assert made._loss(window, gamma=1.0).extra.td_error[0, 0] == 11  # 10 + 2 - 1, from its own state
    info = made.train(window, initial_state={"sum": tf.constant([100.0])})
    np.testing.assert_allclose(info.extra.td_error, [[-40, -40.5, 0]])
    # .9 * 40.5 + .1 * 40.25 = 40.475
    np.testing.assert_allclose(info.extra.priority, [40.475], rtol=1e-6)


def test_gradient_norms_are_those_of_each_layers_weights_before_clipping():
    config = NetworkConfig(embedding=4, core=ScanNTMConfig(slots=3, width=2), hidden=4, attention_window=2)
    net = MemoryQNetwork(SUIT, TWO_ACTIONS, config)
    made = agent_of(net, SUIT, gamma=0.5, gradient_clipping=1e-3)
    suits = np.array([[0, 1, 2, 3], [3, 1, 0, 0]], np.int64)
    window = experience(suits, [[F, M, M, M]] * 2, action=[[0, 1, 0, 1]] * 2, reward=10.0)
    with tf.GradientTape() as tape:
        loss = made._loss(window, gamma=0.5, training=True).loss
    names = ["encoder", "recent_attention", "scan_ntm", "hidden", "value", "advantage"]
    weights = {layer.name: layer.trainable_weights for layer in net.layers}
    assert list(weights) == names
    gradients = tape.gradient(loss, weights)
    found = made.train(window).extra.gradient_norms
    assert list(found) == names
    for name in names:
        expected = np.sqrt(sum(np.square(gradient.numpy()).sum() for gradient in gradients[name]))
        assert expected > 1e-2  # far above what is left by clipping
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)


def test_value_rescaling():
    # Q_0 = Q_1 = 3. h⁻¹(3) is the x with √(x + 1) = 4 - .001 x: 14.881, as √15.881 = 3.9851 = 4 - .0149.
    # The target is h(10 + .5 x) = h(17.441) = √18.441 - 1 + .0174 = 3.3117.
    made = agent_of(RunningSum(), value_rescaling=True)
    window = experience(np.array([[3.0, 0.0]], np.float32), [[F, M]], reward=10)
    found = made._loss(window, gamma=0.5)
    np.testing.assert_allclose(found.extra.td_error, [[0.3117, 0]], atol=1e-4)


def test_a_target_can_be_a_copy_now_and_then():
    made = agent_of(memory_network(), SUIT, target_update_tau=1.0, target_update_period=2)
    online, target = made._q_network.variables, made._target_q_network.variables
    before = [v.numpy() for v in target]
    made.train(random_window())
    np.testing.assert_array_equal(target[0], before[0])
    made.train(random_window())
    for o, t in zip(online, target, strict=True):
        np.testing.assert_array_equal(o, t)


def test_huber_is_the_default():
    window = experience(np.array([[3.0, 1.0, 0.5]], np.float32), [[F, M, M]])
    # TD errors 1 and .5; huber(δ) = δ²/2 to 1: (.5 + .125) / 2.
    found = agent_of(RunningSum(), td_errors_loss_fn=None)._loss(window, gamma=1.0)
    np.testing.assert_allclose(found.loss, 0.3125)


def memory_network(core=None):
    config = NetworkConfig(core=core or ScanNTMConfig(slots=6, width=8), embedding=16, hidden=32)
    return MemoryQNetwork(SUIT, TWO_ACTIONS, config)


def random_window(batch=4, length=6):
    rng = np.random.default_rng(0)
    observation = rng.integers(0, 4, [batch, length])
    observation[:, 0] = np.arange(batch)  # no two histories are equal
    return experience(
        observation,
        [[F] + [M] * (length - 1)] * batch,
        action=rng.integers(0, 2, [batch, length]),
        reward=rng.normal(size=[batch, length]),
    )


def test_the_target_network_shares_no_variable_and_follows_as_told():
    made = agent_of(memory_network(), SUIT, target_update_tau=0.25)
    online, target = made._q_network.variables, made._target_q_network.variables
    assert not {id(v) for v in online} & {id(v) for v in target}
    before = [v.numpy() for v in target]
    made.train(random_window())
    for o, t, b in zip(online, target, before, strict=True):
        np.testing.assert_allclose(t, 0.75 * b + 0.25 * o, atol=1e-6)


def test_one_batch_can_be_learned_by_heart():
    made = agent_of(memory_network(), SUIT, gamma=0.0)
    window = random_window()
    train = common.function(made.train)
    losses = [float(train(window).loss) for _ in range(500)]
    assert losses[-1] < 0.02 * losses[0]


@pytest.mark.parametrize("core", [None, NoCoreConfig()])
def test_works_with_tf_agents_driver_replay_buffer_learner_and_policy_saver(tmp_path, core):
    from tf_agents.drivers import dynamic_step_driver
    from tf_agents.environments import tf_py_environment

    from tfmem.environments import load

    environment = tf_py_environment.TFPyEnvironment(load("tests/RememberFirst-v0", num_envs=2))
    config = NetworkConfig(core=core or ScanNTMConfig(slots=4, width=3), embedding=8, hidden=8)
    q_network = MemoryQNetwork(environment.observation_spec(), environment.action_spec(), config)
    made = MemoryDqnAgent(
        environment.time_step_spec(),
        environment.action_spec(),
        q_network,
        tf.keras.optimizers.Adam(),
        train_step_counter=tf.Variable(0, dtype=tf.int64),
    )
    made.initialize()
    replay = tf_uniform_replay_buffer.TFUniformReplayBuffer(
        made.collect_data_spec, batch_size=2, max_length=100
    )
    dynamic_step_driver.DynamicStepDriver(
        environment, made.collect_policy, [replay.add_batch], num_steps=60
    ).run()

    def dataset():
        return replay.as_dataset(sample_batch_size=4, num_steps=8).prefetch(1)

    trainer = learner.Learner(
        str(tmp_path / "learner"), made.train_step_counter, made, experience_dataset_fn=dataset
    )
    loss = trainer.run(iterations=3)
    assert np.isfinite(loss.loss)
    assert int(made.train_step_counter) == 3

    policy_saver.PolicySaver(made.policy, batch_size=None).save(str(tmp_path / "policy"))
    loaded = tf.saved_model.load(str(tmp_path / "policy"))
    time_step = environment.reset()
    own = made.policy.action(time_step, made.policy.get_initial_state(2))
    other = loaded.action(time_step, made.policy.get_initial_state(2))
    np.testing.assert_array_equal(own.action, other.action)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"n_step_update": 0}, "n_step_update must be"), ({"burn_in": -1}, "burn_in must be")],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        agent_of(RunningSum(), **arguments)
