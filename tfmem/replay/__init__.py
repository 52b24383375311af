"""Experience as it came: consecutive frames of every environment, sampled as windows over time."""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.replay.priorities import Priorities
from tfmem.replay.sequence_replay import SequenceReplay, Windows, estimate_bytes

__all__ = ["Priorities", "SequenceReplay", "Windows", "estimate_bytes"]
