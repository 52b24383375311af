"""The DQN agent for networks that remember, and the pure functions of its loss."""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.agents.losses import (
    n_step_targets,
    rescale,
    selection_loss,
    trained_steps,
    unscale,
    window_priority,
)
from tfmem.agents.memory_dqn_agent import MemoryDqnAgent
from tfmem.agents.memory_policy import MemoryPolicy

__all__ = [
    "MemoryDqnAgent",
    "MemoryPolicy",
    "n_step_targets",
    "rescale",
    "selection_loss",
    "trained_steps",
    "unscale",
    "window_priority",
]
