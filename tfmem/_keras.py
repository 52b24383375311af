"""The one place that decides which Keras tfmem runs on: Keras 2 (`tf-keras`), as TF-Agents 0.19 needs.

TensorFlow resolves `tf.keras` lazily from `TF_USE_LEGACY_KERAS`, so a user may import TensorFlow before
tfmem as long as nothing has touched `tf.keras` yet. Where Keras 3 is already in place, nothing can be
mended in this process, and importing this module says what to change.
"""

import os

import tensorflow as tf
from gym_notices.notices import notices


def _require_keras_2() -> None:
    if tf.keras.layers.Layer.__module__.startswith("tf_keras."):
        return
    if os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True"):
        cause = "tf.keras was used before tfmem was imported; import tfmem first"
    else:
        cause = f"TF_USE_LEGACY_KERAS is {os.environ.get('TF_USE_LEGACY_KERAS')!r}; unset it"
    raise ImportError(
        f"tfmem needs Keras 2 but tf.keras is Keras 3 here: {cause}, or set TF_USE_LEGACY_KERAS=1 "
        "in the environment."
    )


_require_keras_2()

# TF-Agents imports `gym` for wrappers that tfmem does not use, and gym prints an advertisement for
# Gymnasium, which tfmem does use.
notices.clear()

keras = tf.keras
