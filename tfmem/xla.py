"""Import this before XLA compiles anything to have it compile for CPUs in about half of the time.

LLVM's costlier passes, and XLA's newer way to emit fused loops, take most of the time of compiling an update,
and what comes out runs as long, give or take a tenth (docs/learning.md). Nothing is set where there is a GPU,
which has not been measured, and flags that are set already keep their word. All of the process is concerned,
so `tfmem train` does this, and importing the library does not.
"""

import os

import tensorflow as tf

_FLAGS = "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"

if not tf.config.list_physical_devices("GPU"):
    os.environ["XLA_FLAGS"] = f"{_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip()
