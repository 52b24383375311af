"""ScanNTM's executions against each other and against Keras' LSTM: time forward and backward.

    python benchmarks/executions.py

One machine, one process, warm; the rounds of all contestants interleave, so that a slow moment of the machine
hits all of them, and the median of the rounds counts. Writes benchmarks/results/executions.json.
"""

import tfmem.quiet  # noqa: F401  # isort: skip  (before anything that imports TensorFlow)

import argparse
import json
import statistics
import time
from pathlib import Path

import tensorflow as tf
from machine import provenance

from tfmem.layers import ScanNTM

RESULTS = Path(__file__).parent / "results" / "executions.json"
BATCH, LENGTH, FEATURES, SLOTS, WIDTH = 32, 64, 64, 16, 32
ROUNDS = 30


def contestant(layer, jit: bool):
    """One traced forward and backward pass over a batch, gradients of inputs and variables."""
    x = tf.random.normal([BATCH, LENGTH, FEATURES])
    layer(x)

    @tf.function(jit_compile=jit, autograph=False)
    def step():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            y = y[0] if isinstance(y, tuple) else y
            loss = tf.reduce_mean(y**2)
        return loss, tape.gradient(loss, [x, *layer.trainable_variables])

    started = time.perf_counter()
    step()[0].numpy()
    return step, time.perf_counter() - started


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    layers = {
        "loop": ScanNTM(SLOTS, WIDTH, execution="loop"),
        "scan": ScanNTM(SLOTS, WIDTH, execution="scan"),
        "LSTM": tf.keras.layers.LSTM(ScanNTM(SLOTS, WIDTH).output_width, return_sequences=True),
    }
    tf.get_logger().setLevel("ERROR")  # six functions of one name are no retracing
    steps, compile_s, times = {}, {}, {}
    for name, layer in layers.items():
        for jit in (False, True):
            key = f"{name}, XLA" if jit else name
            steps[key], compile_s[key] = contestant(layer, jit)
            times[key] = []
    for _ in range(ROUNDS):
        for key, step in steps.items():
            started = time.perf_counter()
            step()[0].numpy()
            times[key].append(1e3 * (time.perf_counter() - started))
    median = {key: statistics.median(values) for key, values in times.items()}
    content = {
        **provenance(),
        "shape": {
            "batch": BATCH,
            "length": LENGTH,
            "features": FEATURES,
            "slots": SLOTS,
            "width": WIDTH,
            "read_heads": len(layers["scan"].read_heads),
            "lstm_units": layers["LSTM"].units,
        },
        "rounds": ROUNDS,
        "median_ms": {key: round(value, 2) for key, value in median.items()},
        "first_call_s": {key: round(value, 2) for key, value in compile_s.items()},
        "loop_over_scan_xla": round(median["loop"] / median["scan, XLA"], 2),
        "loop_xla_over_scan_xla": round(median["loop, XLA"] / median["scan, XLA"], 2),
        "scan_xla_over_lstm_xla": round(median["scan, XLA"] / median["LSTM, XLA"], 2),
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
