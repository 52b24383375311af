"""Gymnasium environments as batched TF-Agents environments."""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.environments.gymnasium_environment import (
    EnvironmentFailed,
    GymnasiumEnvironment,
    Vectorization,
    load,
    longest_episode,
)

__all__ = ["EnvironmentFailed", "GymnasiumEnvironment", "Vectorization", "load", "longest_episode"]
