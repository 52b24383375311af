"""Gymnasium environments as batched TF-Agents environments."""

from tfmem.environments.gymnasium_environment import GymnasiumEnvironment, load

__all__ = ["GymnasiumEnvironment", "load"]
