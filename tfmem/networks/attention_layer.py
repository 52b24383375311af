"""The attention that a configuration names."""

import numpy as np

from tfmem._keras import keras
from tfmem.layers import HardAttention, SoftAttention
from tfmem.networks.config import Attention


def attention_layer(
    units: int, attention: Attention, *, entropy: float = 0.0, count: int = 1
) -> keras.layers.Layer:
    """Soft attention of `count` heads, or hard attention that makes `count` selections.

    Args:
      units: width of the space in which scores are computed.
      attention: `"soft"`, or an estimator of `tfmem.layers.HardAttention`.
      entropy: λ of its entropy in the layer's losses.
      count: heads or selections.
    """
    if attention == "soft":
        return SoftAttention(units, heads=count, entropy_weight=entropy)
    # NumPy's randomness is seeded with Keras', so that a run's seed decides what is drawn.
    seed = int(np.random.randint(2**31))
    return HardAttention(units, attention, entropy_weight=entropy, selections=count, seed=seed)
