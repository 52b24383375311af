"""A DQN agent that is right for networks with memory."""

from typing import NamedTuple

import tensorflow as tf
from tf_agents.agents import tf_agent
from tf_agents.agents.dqn import dqn_agent
from tf_agents.networks import network
from tf_agents.trajectories import time_step as ts
from tf_agents.typing import types
from tf_agents.utils import common, eager_utils

from tfmem.agents.losses import (
    n_step_targets,
    rescale,
    selection_loss,
    trained_steps,
    unscale,
    window_priority,
)
from tfmem.errors import require

# What the error says of a loss that is no number; under XLA, which leaves checks out, there is none.
NOT_FINITE = "the loss is not finite"


class LossDetails(NamedTuple):
    """What `MemoryDqnAgent` tells of a loss beside its value."""

    td_loss: tf.Tensor  # [B, T], zero where a frame does not count
    td_error: tf.Tensor  # [B, T], zero where a frame does not count
    priority: tf.Tensor  # [B], `tfmem.agents.window_priority`
    # By layer of the network, of all its weights together, before clipping; from `train` alone.
    gradient_norms: dict[str, tf.Tensor] | tuple = ()


class MemoryDqnAgent(dqn_agent.DqnAgent):
    """TF-Agents' DQN agent with a loss that is right for networks that remember.

    It takes `DqnAgent`'s arguments by the same names, works with TF-Agents' drivers, `Learner`, replay
    buffers and `PolicySaver`, and overrides the loss and what is told of it. Over a window of T consecutive
    frames `[B, T]`,

        δ_t = Yⁿ_t − Q(o_0 … o_t, a_t),    L = Σ_t m_t w huber(δ_t) / Σ_t m_t

    where `Yⁿ` are n-step returns (`tfmem.agents.n_step_targets`) that bootstrap with
    `V_t = Q⁻(o_0 … o_t, argmax_a Q(o_0 … o_t, a))`, double Q-learning [van Hasselt et al., 2016], and m are
    the frames that count (`tfmem.agents.trained_steps`).

    What differs from `DqnAgent`:

    - Both networks unroll once over all T frames, so that the target network has seen `o_0` too. Upstream
      unrolls it over `o_1 … o_T` from an empty state, and each of its values lacks the first frame.
    - The loss is the mean over the frames that count, not a sum over time: the learning rate does not grow
      with the window's length.
    - `n_step_update > 1` works with memory, and windows may be of any length from 2.
    - Frames without a successor in their episode, and `burn_in` frames at the start of a window that begins
      inside an episode, are masked.
    - `train` and `loss` take the network state that a window began with.
    - A network that draws what it attends to, and tells its `selection_log_prob [B, T]`, is trained by the
      score function with the TD losses as costs (`tfmem.agents.selection_loss`). Regularisation, such
      as attention's entropy, is added from the network's `losses`.
    - With `value_rescaling` the network learns `h(Q)`: `Yⁿ` is computed from `h⁻¹(V)`, and δ is
      `h(Yⁿ) − Q` (`tfmem.agents.rescale`).

    Args:
      time_step_spec: as `DqnAgent`.
      action_spec: as `DqnAgent`.
      q_network: as `DqnAgent`; usually a `tfmem.networks.MemoryQNetwork`, with or without a state.
      optimizer: as `DqnAgent`.
      n_step_update: n, also with a network that has a state.
      burn_in: frames at a window's start that only warm the state up.
      double_q: choose the bootstrap action by the online network; False for the target network's own.
      value_rescaling: learn `h(Q)` in place of Q, for returns of very different size.
      **kwargs: every other argument of `DqnAgent`.

    Raises:
      InvalidInput: when `n_step_update` or `burn_in` does not fit.
    """

    def __init__(
        self,
        time_step_spec: ts.TimeStep,
        action_spec: types.NestedTensorSpec,
        q_network: network.Network,
        optimizer: types.Optimizer,
        *,
        n_step_update: int = 1,
        burn_in: int = 0,
        double_q: bool = True,
        value_rescaling: bool = False,
        **kwargs,
    ):
        require(n_step_update >= 1, "n_step_update", n_step_update, "at least 1")
        require(burn_in >= 0, "burn_in", burn_in, "0 or more")
        # Upstream refuses n > 1 for a network with a state; the return is this class's affair.
        super().__init__(time_step_spec, action_spec, q_network, optimizer, **kwargs)
        self._n_step_update = n_step_update
        self._burn_in = burn_in
        self._double_q = double_q
        self._value_rescaling = value_rescaling
        # Windows of any length, also for a network without a state.
        self._train_sequence_length = None

    def _train(self, experience, weights, initial_state=()):
        """One update; `initial_state` is the networks' before the windows' first frames, () for their own."""
        # As upstream's update, which neither takes a state nor tells anything of the gradients.
        with tf.GradientTape() as tape:
            info = self._loss(
                experience,
                td_errors_loss_fn=self._td_errors_loss_fn,
                gamma=self._gamma,
                reward_scale_factor=self._reward_scale_factor,
                weights=weights,
                training=True,
                initial_state=initial_state,
            )
        tf.debugging.check_numerics(info.loss, NOT_FINITE)
        variables = self._q_network.trainable_weights
        gradients = list(zip(tape.gradient(info.loss, variables), variables, strict=True))
        of_variable = {variable.ref(): gradient for gradient, variable in gradients}
        norms = {
            name: tf.linalg.global_norm([tf.zeros([]), *(of_variable[v.ref()] for v in own)])
            for name, own in self.modules.items()
        }
        if self._gradient_clipping is not None:
            gradients = eager_utils.clip_gradient_norms(gradients, self._gradient_clipping)
        if self._summarize_grads_and_vars:
            others = [(None, v) for v in self._q_network.non_trainable_weights]
            eager_utils.add_variables_summaries(gradients + others, self.train_step_counter)
            eager_utils.add_gradients_summaries(gradients, self.train_step_counter)
        self._optimizer.apply_gradients(gradients)
        self.train_step_counter.assign_add(1)
        self._update_target()
        return info._replace(extra=info.extra._replace(gradient_norms=norms))

    @property
    def modules(self) -> dict[str, list[tf.Variable]]:
        """The variables that are trained of each layer of the network, by its name."""
        layers = {layer.name: layer.trainable_weights for layer in self._q_network.layers}
        return {name: variables for name, variables in layers.items() if variables}

    def _loss(
        self,
        experience,
        td_errors_loss_fn=None,
        gamma=1.0,
        reward_scale_factor=1.0,
        weights=None,
        training=False,
        initial_state=(),
    ):
        """The masked mean TD loss over `experience`, a `Trajectory` of `[B, T, ...]`; see the class.

        Args:
          experience: windows of consecutive frames.
          td_errors_loss_fn: element-wise loss of (targets, predictions).
          gamma: γ.
          reward_scale_factor: multiplies the rewards.
          weights: `[B]` importance weights of the windows, or None.
          training: passed to the online network.
          initial_state: of both networks before the first frame of each window; () for their own.

        Returns:
          `LossInfo` with the scalar loss, and `LossDetails` in `extra`.
        """
        td_errors_loss_fn = td_errors_loss_fn or self._td_errors_loss_fn
        observation, mask = experience.observation, None
        if self._observation_and_action_constraint_splitter is not None:
            observation, mask = self._observation_and_action_constraint_splitter(observation)

        with tf.name_scope("loss"):
            inputs = {"step_type": experience.step_type, "network_state": initial_state}
            q_values, _ = self._q_network(observation, **inputs, training=training)
            target_q_values, _ = self._target_q_network(observation, **inputs)
            chosen_by = q_values if self._double_q else target_q_values
            if mask is not None:
                chosen_by = tf.where(tf.cast(mask, tf.bool), chosen_by, chosen_by.dtype.min)
            values = tf.gather(target_q_values, tf.argmax(chosen_by, axis=-1), batch_dims=2)
            targets = n_step_targets(
                unscale(values) if self._value_rescaling else values,
                rewards=reward_scale_factor * experience.reward,
                discounts=gamma * experience.discount,
                step_type=experience.step_type,
                n=self._n_step_update,
            )
            if self._value_rescaling:
                targets = rescale(targets)
            taken = tf.gather(q_values, tf.cast(experience.action, tf.int32), batch_dims=2)
            trained = trained_steps(experience.step_type, self._burn_in)
            counts = tf.cast(trained, taken.dtype)
            td_error = counts * (targets - taken)
            td_loss = counts * td_errors_loss_fn(targets, taken)
            weighted = td_loss if weights is None else td_loss * tf.reshape(weights, [-1, 1])
            mean = tf.math.divide_no_nan(tf.reduce_sum(weighted), tf.reduce_sum(counts))
            log_prob = getattr(self._q_network, "selection_log_prob", None)
            if log_prob is not None:
                score = selection_loss(log_prob, weighted, experience.step_type)
                score = tf.math.divide_no_nan(score, tf.reduce_sum(counts))
                mean += score - tf.stop_gradient(score)
            # Optimizers sum gradients over replicas.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            regularization = tf.add_n([tf.zeros([], taken.dtype), *self._q_network.losses])
            loss = (mean + regularization) / replicas

        common.summarize_scalar_dict(
            {"td_loss": mean, "reg_loss": regularization, "total_loss": loss},
            step=self.train_step_counter,
            name_scope="Losses/",
        )
        details = LossDetails(td_loss, td_error, window_priority(td_error, trained))
        return tf_agent.LossInfo(loss, details)
