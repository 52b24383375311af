"""The weights that did best in a run's own evaluations, kept until its end."""

import math

import tensorflow as tf

from tfmem.networks import MemoryQNetwork


class BestPolicy(tf.Module):
    """The weights with the highest mean greedy return of all evaluations so far.

    Q-learning goes up and down until its end, and what it does worst is as likely to be its last as what it
    does best. The best is chosen by the run's own evaluations, so its return there is too good: it is to be
    told from episodes that took no part in the choice, as `tfmem evaluate --best` plays.

    Args:
      network: what the weights are of; the policy before the first evaluation.
    """

    def __init__(self, network: MemoryQNetwork):
        super().__init__(name="best_policy")
        # In the order of the network's own: a checkpoint of them restores into any network of its shape.
        self.weights = [tf.Variable(variable, trainable=False) for variable in network.variables]
        self.reward_scale = tf.Variable(1.0, trainable=False)
        self.greedy_return = tf.Variable(-math.inf, dtype=tf.float64, trainable=False)
        self.env_steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    def offer(
        self, network: MemoryQNetwork, *, reward_scale: float, greedy_return: float, env_steps: int
    ) -> None:
        """Keeps a policy that did at least as well as the one kept; of equals the last has learned longest.

        Args:
          network: its network, of the shape given at first.
          reward_scale: the scale of its Q-values.
          greedy_return: its mean return in an evaluation.
          env_steps: the environment steps it has learned from.
        """
        if greedy_return < float(self.greedy_return):
            return
        for kept, variable in zip(self.weights, network.variables, strict=True):
            kept.assign(variable)
        self.reward_scale.assign(reward_scale)
        self.greedy_return.assign(greedy_return)
        self.env_steps.assign(env_steps)
