"""Keras layers of attention and memory over `tfmem.ops`.

Each is an ordinary Keras layer: it builds, saves and loads like the layers that come with Keras.
"""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.layers.scan_ntm import ScanNTM
from tfmem.layers.soft_attention import SoftAttention

__all__ = ["ScanNTM", "SoftAttention"]
