"""Policies that are small, quick to trace and not trained."""

import numpy as np
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tfmem.agents import MemoryPolicy
from tfmem.networks import MemoryQNetwork, NetworkConfig, ScanNTMConfig

SMALL = NetworkConfig(core=ScanNTMConfig(slots=6, width=4), embedding=8, hidden=8)
SUIT = tensor_spec.BoundedTensorSpec([], tf.int64, 0, 3)


def policy_of(observation_spec, config, initial_memory=0.0):
    """A policy with random weights and three actions."""
    actions = tensor_spec.BoundedTensorSpec([], tf.int32, 0, 2)
    network = MemoryQNetwork(observation_spec, actions, config)
    network.create_variables()
    rng = np.random.default_rng(0)
    for variable in network.variables:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
        if "initial_memory" in variable.name:
            variable.assign(tf.fill(variable.shape, initial_memory))
    return MemoryPolicy(network)
