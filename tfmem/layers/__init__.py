"""Keras layers of attention and memory over `tfmem.ops`, and what trains them.

Each is an ordinary Keras layer: it builds, saves and loads like the layers that come with Keras.
"""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.layers.attention_training import (
    MovingBaseline,
    TemperatureSchedule,
    attention_cross_entropy,
    score_function_loss,
)
from tfmem.layers.attentive_memory_cell import AttentiveMemoryCell
from tfmem.layers.external_memory import ExternalMemory
from tfmem.layers.hard_attention import HardAttention
from tfmem.layers.heads import ReadHead, WriteHead
from tfmem.layers.ntm_cell import NTMCell
from tfmem.layers.scan_ntm import ScanNTM
from tfmem.layers.soft_attention import SoftAttention

__all__ = [
    "AttentiveMemoryCell",
    "ExternalMemory",
    "HardAttention",
    "MovingBaseline",
    "NTMCell",
    "ReadHead",
    "ScanNTM",
    "SoftAttention",
    "TemperatureSchedule",
    "WriteHead",
    "attention_cross_entropy",
    "score_function_loss",
]
