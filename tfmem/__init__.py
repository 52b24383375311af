"""tfmem: attention and external memory for deep Q-networks, from training to TF Serving.

Importing this package is cheap: it loads no TensorFlow. The sub-packages do, except `tfmem.serving`,
whose client runs without it.
"""

import os as _os

# TF-Agents 0.19 needs Keras 2. TensorFlow chooses its Keras on the first use of `tf.keras`, so the
# choice has to be made before that; `tfmem._keras` checks that it held.
_os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

__version__ = "0.1.0"
