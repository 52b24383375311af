"""TF-Agents' own recurrent DQN over our environments: `QRnnNetwork`, `DqnAgent`, its driver and replay."""

import tensorflow as tf
from tf_agents.agents.dqn import dqn_agent
from tf_agents.drivers import dynamic_step_driver
from tf_agents.environments import py_environment, tf_py_environment
from tf_agents.networks import q_rnn_network
from tf_agents.replay_buffers import tf_uniform_replay_buffer
from tf_agents.utils import common

from tfmem._keras import keras
from tfmem.training import TrainConfig
from tfmem.training.learner import FINAL_LEARNING_RATE, TD_LOSSES


def _as_numbers(spec) -> keras.layers.Layer:
    """One-hot codes of a choice; numbers in units of their bounds."""
    if spec.dtype.is_integer:
        return keras.layers.Lambda(lambda x, count=int(spec.maximum) + 1: tf.one_hot(x, count))
    return keras.layers.Lambda(lambda x, most=spec.maximum: x / most)


EPSILON = 0.05  # as in the preset `recall`; a ladder is not TF-Agents'


class StockDqn:
    """What TF-Agents' tutorials put together, with what a `TrainConfig` sets and it can take.

    An LSTM of 128 units between the same encoder and the same hidden layer as ours; γ, rates, windows,
    batches, target, loss and the scale of rewards as ours. It has no burn-in, stored state or averaged
    weights, and n-step returns not for networks with a state.
    """

    def __init__(self, environment: py_environment.PyEnvironment, config: TrainConfig):
        self._config = config
        self.environment = tf_py_environment.TFPyEnvironment(environment)
        network = q_rnn_network.QRnnNetwork(
            self.environment.observation_spec(),
            self.environment.action_spec(),
            preprocessing_layers=tf.nest.map_structure(_as_numbers, self.environment.observation_spec()),
            preprocessing_combiner=keras.layers.Concatenate(),
            input_fc_layer_params=(config.embedding,),
            lstm_size=(128,),
            output_fc_layer_params=(config.hidden,) * config.hidden_layers,
        )
        self._epsilon = tf.Variable(1.0, trainable=False)
        self._reward_sums = tf.Variable([0.0, 0.0], trainable=False)  # of squares, and how many are not 0
        self._reward_scale = tf.Variable(1.0, trainable=False)
        rounds = config.env_steps / (config.num_envs * config.collect_steps)
        rate = keras.optimizers.schedules.PolynomialDecay(
            config.learning_rate,
            decay_steps=max(1, round(rounds * config.updates)),
            end_learning_rate=config.learning_rate * FINAL_LEARNING_RATE,
        )
        self.steps = 0
        self.agent = dqn_agent.DdqnAgent(
            self.environment.time_step_spec(),
            self.environment.action_spec(),
            network,
            keras.optimizers.Adam(rate),
            epsilon_greedy=lambda: self._epsilon,
            target_update_tau=config.target_tau,
            td_errors_loss_fn=TD_LOSSES[config.td_loss],
            gamma=config.gamma,
            reward_scale_factor=self._reward_scale,
            gradient_clipping=config.gradient_clip,
        )
        self.agent.initialize()
        self._replay = tf_uniform_replay_buffer.TFUniformReplayBuffer(
            self.agent.collect_data_spec,
            batch_size=config.num_envs,
            max_length=config.replay_capacity // config.num_envs,
        )
        driver = dynamic_step_driver.DynamicStepDriver(
            self.environment,
            self.agent.collect_policy,
            observers=[self._replay.add_batch, self._measure],
            num_steps=config.collect_steps * config.num_envs,
        )
        self._drive = common.function(driver.run)
        self._train = common.function(self.agent.train)
        self._progress = None
        self._data = None

    def _measure(self, frames) -> None:
        reward = frames.reward
        sums = tf.stack([tf.reduce_sum(reward**2), tf.math.count_nonzero(reward, dtype=tf.float32)])
        self._reward_sums.assign_add(sums)

    def collect(self) -> None:
        """`collect_steps` steps of every environment."""
        share = self.steps / self._config.epsilon_steps
        self._epsilon.assign(max(1.0 - (1.0 - EPSILON) * share, EPSILON))
        if self._progress is None:
            state = self.agent.collect_policy.get_initial_state(self._config.num_envs)
            self._progress = (self.environment.reset(), state)
        self._progress = self._drive(*self._progress)
        self.steps += self._config.collect_steps * self._config.num_envs

    def update(self) -> tf.Tensor:
        """One update on sampled windows; the loss."""
        squares, count = self._reward_sums.numpy()
        self._reward_scale.assign((count / squares) ** 0.5 if squares else 1.0)
        if self._data is None:
            windows = self._replay.as_dataset(
                sample_batch_size=self._config.batch_size,
                num_steps=self._config.sequence_length,
                num_parallel_calls=2,
            )
            self._data = iter(windows.prefetch(4))
        experience, _ = next(self._data)
        return self._train(experience).loss
