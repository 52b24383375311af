"""Encoder, core and Q head as one TF-Agents network, which owns the time axis and the reset mask.

Configurations are frozen dataclasses, so that a network and its target copy share nothing.
"""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.networks.config import (
    CoreConfig,
    LSTMConfig,
    NetworkConfig,
    NoCoreConfig,
    ScanNTMConfig,
)
from tfmem.networks.memory_q_network import MemoryQNetwork

__all__ = [
    "CoreConfig",
    "LSTMConfig",
    "MemoryQNetwork",
    "NetworkConfig",
    "NoCoreConfig",
    "ScanNTMConfig",
]
