"""Acting and learning, each one traced function over variables that a checkpoint holds."""

import itertools

import numpy as np
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import common

from tfmem._keras import keras
from tfmem.agents import MemoryDqnAgent
from tfmem.environments import GymnasiumEnvironment
from tfmem.errors import require
from tfmem.networks import MemoryQNetwork
from tfmem.networks.encoder import is_image
from tfmem.networks.memory_q_network import ACTION_MASK, allowed_actions
from tfmem.replay import Priorities, SequenceReplay
from tfmem.training.config import TrainConfig

# The shares of the run between which heads are made sharp: once they have learned where to go, and early
# enough for what reads with them to follow.
FALLING_TEMPERATURE = (0.4, 0.8)
# The ladder's greatest power, less 1 [Horgan et al., 2018].
LADDER = 7.0
GPU = "/gpu:0"
TD_LOSSES = {"huber": common.element_wise_huber_loss, "squared": common.element_wise_squared_loss}
# The learning rate falls linearly to this share of its start, over the environment steps that are learned
# from: what is learned early settles.
FINAL_LEARNING_RATE = 0.1


def make_network(environment: GymnasiumEnvironment, config: TrainConfig) -> MemoryQNetwork:
    """The configured Q-network for an environment, with its variables created."""
    network = MemoryQNetwork(
        tensor_spec.from_spec(environment.observation_spec()),
        tensor_spec.from_spec(environment.action_spec()),
        config.network,
    )
    network.create_variables()
    return network


def _device(device: str) -> str:
    """The device that is meant, as TensorFlow names it."""
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    require(device != "gpu" or has_gpu, "device", device, "'cpu' or 'auto': TensorFlow sees no GPU")
    return GPU if has_gpu and device != "cpu" else "/cpu:0"


class Learner(tf.Module):
    """Network, agent, replay and randomness of a run, and the two traced functions over them.

    Args:
      environment: only its specs and batch size are used.
      config: the run.
    """

    def __init__(self, environment: GymnasiumEnvironment, config: TrainConfig):
        super().__init__(name="learner")
        self._config = config
        keras.utils.set_random_seed(config.seed)
        device = _device(config.device)
        self._strategy = tf.distribute.OneDeviceStrategy(device)
        time_step_spec = tensor_spec.from_spec(environment.time_step_spec())
        action_spec = tensor_spec.from_spec(environment.action_spec())
        with self._strategy.scope():
            self.env_steps = tf.Variable(0, dtype=tf.int64, trainable=False)
            self.updates = tf.Variable(0, dtype=tf.int64, trainable=False)
            # Rewards are scaled so that the root mean square of those that are not 0 is 1: Adam's step has a
            # fixed size, so what is learned of rewards of 0.02 would drown in it.
            self._reward_square = tf.Variable(0.0, dtype=tf.float64, trainable=False)
            self._reward_count = tf.Variable(0.0, dtype=tf.float64, trainable=False)
            self.reward_scale = tf.Variable(1.0, trainable=False)
            self._random = tf.random.Generator.from_seed(config.seed)
            self.network = make_network(environment, config)
            self.replay = SequenceReplay(
                time_step_spec,
                action_spec,
                num_envs=config.num_envs,
                capacity=config.replay_capacity,
                length=config.sequence_length,
                stride=config.sequence_length - 1 - config.burn_in,
                state_spec=(self.network.state_spec or None) if config.stored_state else None,
                priorities=_priorities(config),
            )
            self._optimizer = keras.optimizers.Adam(config.learning_rate)
            self.agent = MemoryDqnAgent(
                time_step_spec,
                action_spec,
                self.network,
                self._optimizer,
                n_step_update=config.n_step,
                burn_in=config.burn_in,
                double_q=config.double_q,
                value_rescaling=config.value_rescaling,
                td_errors_loss_fn=TD_LOSSES[config.td_loss],
                target_update_tau=config.target_tau,
                target_update_period=config.target_period,
                gamma=config.gamma,
                reward_scale_factor=self.reward_scale,
                gradient_clipping=config.gradient_clip,
                train_step_counter=self.updates,
            )
            self.agent.initialize()
            self._optimizer.build(self.network.trainable_variables)
            # Of the latest update.
            self.gradient_norms = {name: tf.Variable(0.0, trainable=False) for name in self.agent.modules}
            # What evaluations and exports are made of.
            self.answering = self.network
            if config.averaging:
                self.answering = make_network(environment, config)
                for mean, weight in zip(self.answering.variables, self.network.variables, strict=True):
                    mean.assign(weight)
        # On CPUs XLA's convolutions take twice as long as those that TensorFlow calls without it.
        compiled = device == GPU or not any(map(is_image, tf.nest.flatten(time_step_spec.observation)))
        # Without AutoGraph: TF-Agents and tfmem branch by TensorFlow's own operations.
        self._train = tf.function(
            lambda experience, weights, state: self.agent.train(
                experience, weights=weights, initial_state=state
            ),
            jit_compile=compiled,
            autograph=False,
        )
        self._q_values = tf.function(
            lambda time_step, state: self.network(
                time_step.observation, step_type=time_step.step_type, network_state=state
            ),
            jit_compile=compiled,
            autograph=False,
        )
        state_spec = self.network.state_spec
        self.act = tf.function(
            self._act,
            input_signature=[
                _batched(time_step_spec, config.num_envs),
                _batched(state_spec, config.num_envs) if state_spec else (),
            ],
            autograph=False,
        )
        self.learn = tf.function(self._learn, input_signature=[], autograph=False)

    def start_from(self, network: MemoryQNetwork) -> None:
        """Takes over the weights of a network; raises `InvalidInput` where its shapes are others.

        But for the number of slots: the initial state of a memory of another size stays this run's own.
        """
        weights, mine = network.trainable_variables, self.network.trainable_variables
        memory = self.network.memory
        of_slots = {weight.ref() for weight in memory.slot_weights} if memory else set()
        # By order, for names count the layers of a process.
        for theirs, ours in itertools.zip_longest(weights, mine):
            found, wanted = ("absent" if weight is None else str(weight.shape) for weight in (theirs, ours))
            require(
                found == wanted or (theirs is not None and ours is not None and ours.ref() in of_slots),
                f"the shape of the pretrained {(theirs if ours is None else ours).name}",
                found,
                f"{wanted}, by this run's observations, actions, core, action_slots, action_grid, tallies, "
                "embedding and hidden layers",
            )
        for variables in (mine, self.answering.trainable_variables):
            for variable, weight in zip(variables, weights, strict=True):
                if variable.shape == weight.shape:
                    variable.assign(weight)
        self.agent.initialize()  # the target network is a copy

    def epsilon(self) -> tf.Tensor:
        """The probability of a random action in each environment now, `[E]`."""
        config = self._config
        power = np.ones(config.num_envs)
        if config.exploration == "ladder":
            power += LADDER * np.arange(config.num_envs) / max(1, config.num_envs - 1)
        final = tf.constant(config.epsilon**power, tf.float32)
        progress = tf.cast(self.env_steps, tf.float32) / float(config.epsilon_steps)
        return tf.maximum(1.0 - (1.0 - final) * progress, final)

    def _act(self, time_step: ts.TimeStep, state):
        """ε-greedy actions for all environments; stores the frame and counts the steps.

        Takes a batched time step and policy state, returns `(action [E], next state)`.
        """
        size = self._config.num_envs
        came_with = state
        q_values, state = self._q_values(time_step, state)
        explore = self._random.uniform([size]) < self.epsilon()
        action = tf.where(
            explore,
            self._random_action(time_step.observation, q_values.shape),
            tf.argmax(q_values, axis=-1, output_type=tf.int32),
        )
        self.replay.add(time_step, action, came_with)
        taken = tf.math.count_nonzero(tf.not_equal(time_step.step_type, ts.StepType.FIRST))
        self.env_steps.assign_add(taken)
        reward = tf.cast(time_step.reward, tf.float64)
        self._reward_square.assign_add(tf.reduce_sum(tf.square(reward)))
        self._reward_count.assign_add(tf.math.count_nonzero(reward, dtype=tf.float64))
        return action, state

    def temperature(self) -> tf.Tensor:
        """Of the heads that move over a memory, now."""
        start, end = FALLING_TEMPERATURE
        progress = tf.cast(self.env_steps, tf.float32) / float(self._config.env_steps)
        fallen = tf.clip_by_value((progress - start) / (end - start), 0.0, 1.0)
        return 1.0 + fallen * (self._config.temperature - 1.0)

    def learning_rate(self) -> tf.Tensor:
        """Adam's, now."""
        config = self._config
        learned_from = tf.cast(self.env_steps - config.first_update, tf.float32)
        progress = learned_from / float(config.env_steps - config.first_update)
        fallen = tf.clip_by_value(progress, 0.0, 1.0) * (1.0 - FINAL_LEARNING_RATE)
        return config.learning_rate * (1.0 - fallen)

    def _random_action(self, observation, shape) -> tf.Tensor:
        """One of the allowed actions of each environment, all alike, `[E]` int32."""
        lot = self._random.uniform(shape)
        if self._config.action_mask:
            lot = tf.where(allowed_actions(observation[ACTION_MASK]), lot, -1.0)
        return tf.argmax(lot, axis=-1, output_type=tf.int32)

    def _learn(self) -> tf.Tensor:
        """A round of updates, each on fresh windows; returns the mean loss."""
        config = self._config
        mean_square = tf.math.divide_no_nan(self._reward_square, self._reward_count)
        scale = tf.where(mean_square > 0, tf.math.rsqrt(mean_square), tf.ones([], tf.float64))
        self.reward_scale.assign(tf.cast(scale, tf.float32))
        self.network.set_temperature(self.temperature())
        self._optimizer.learning_rate.assign(self.learning_rate())
        _, total = tf.while_loop(
            lambda update, _: update < config.updates,
            lambda update, total: (update + 1, total + self._update()),
            (tf.constant(0), tf.zeros([])),
            parallel_iterations=1,
        )
        if config.averaging:
            self._average_weights()
        return total / config.updates

    def _update(self) -> tf.Tensor:
        """One update, on windows drawn now; returns its loss."""
        windows = self.replay.sample(self._config.batch_size, generator=self._random)
        arguments = (windows.experience, windows.weights, windows.initial_state)
        info = self._strategy.run(self._train, arguments)
        self.replay.update_priorities(windows.index, info.extra.priority)
        for name, norm in info.extra.gradient_norms.items():
            self.gradient_norms[name].assign(norm)
        return info.loss

    def _average_weights(self) -> None:
        # The mean of the first rounds forgets sooner, so that it is not of the weights before learning.
        rounds = tf.cast(self.updates, tf.float32) / self._config.updates
        kept = tf.minimum(self._config.averaging, rounds / (rounds + 9.0))
        trained = zip(self.answering.trainable_variables, self.network.trainable_variables, strict=True)
        for mean, weight in trained:
            mean.assign(kept * mean + (1.0 - kept) * weight)
        self.answering.set_temperature(self.temperature())

    def ready(self) -> bool:
        """Whether there is experience enough to learn from."""
        return int(self.env_steps) >= self._config.first_update

    def weights_are_finite(self) -> bool:
        """Whether every weight of the network is a finite number."""
        return all(np.isfinite(variable.numpy()).all() for variable in self.network.variables)


def _priorities(config: TrainConfig) -> Priorities | None:
    if not config.priority_exponent:
        return None
    return Priorities(config.priority_exponent, config.priority_correction)


def _batched(spec, size: int):
    return tf.nest.map_structure(lambda s: tf.TensorSpec([size, *s.shape], s.dtype), spec)
