"""Experience as it came: consecutive frames of every environment, sampled as windows over time."""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.replay.sequence_replay import SequenceReplay, estimate_bytes

__all__ = ["SequenceReplay", "estimate_bytes"]
