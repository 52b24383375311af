"""Gymnasium environments as batched TF-Agents environments."""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.environments.gymnasium_environment import (
    EnvironmentFailed,
    GymnasiumEnvironment,
    Probe,
    Vectorization,
    load,
    probe,
)

__all__ = ["EnvironmentFailed", "GymnasiumEnvironment", "Probe", "Vectorization", "load", "probe"]
