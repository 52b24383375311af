"""What ScanNTM costs against the length of sequences and the number of slots: time and memory, and finite.

    python benchmarks/scaling.py

Forward and backward with XLA, batch 4, slots of 32 numbers; each point in a process of its own, so that its
peak of memory is its own: what the process held above what it held before the first call. The last points
take 10,000 steps with controls scaled by 1e±6 and a memory of zeros, in 32 and in 16 bits, and say whether
every output and gradient is finite. Writes benchmarks/results/scaling.json and docs/images/scaling.png.
"""

import tfmem.quiet  # noqa: F401  # isort: skip  (before anything that imports TensorFlow)

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import provenance

ROOT = Path(__file__).parent
RESULTS = ROOT / "results" / "scaling.json"
PICTURE = ROOT.parent / "docs" / "images" / "scaling.png"
BATCH, WIDTH, FEATURES = 4, 32, 64
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
SLOTS = (16, 32, 64, 128, 256, 512, 1024)
LAYERS = {"loop": {"execution": "loop"}, "chunked": {"execution": "chunked", "erase": "scalar"}}


def measure(name: str, length: int, slots: int, scale: float, dtype: str) -> dict:
    """One point, in this process."""
    import tensorflow as tf

    from tfmem.layers import ScanNTM

    layer = ScanNTM(slots, WIDTH, dtype=tf.keras.mixed_precision.Policy(dtype), **LAYERS[name])
    x = tf.random.stateless_normal([BATCH, length, FEATURES], seed=[0, 0])
    layer(x[:, :1])
    for variable in layer.trainable_variables:
        if "start" not in variable.name:
            variable.assign(variable * scale)

    @tf.function(jit_compile=True, autograph=False)
    def step():
        with tf.GradientTape() as tape:
            y, _ = layer(x)
            loss = tf.reduce_mean(tf.cast(y, tf.float32) ** 2)
        return y, tape.gradient(loss, layer.trainable_variables)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outputs = tf.nest.flatten(step())
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    finite = all(bool(tf.reduce_all(tf.math.is_finite(tf.cast(z, tf.float32)))) for z in outputs)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        step()[0].numpy()
        times.append(1e3 * (time.perf_counter() - started))
    return {
        "execution": name,
        "length": length,
        "slots": slots,
        "ms": round(statistics.median(times), 2),
        "peak_mib": round((after - before) / 1024, 1),
        "finite": finite,
    }


def point(name: str, length: int, slots: int, scale: float = 1.0, dtype: str = "float32") -> dict:
    """One point, in a process of its own."""
    command = [sys.executable, __file__, "--point", name, str(length), str(slots), str(scale), dtype]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def draw(content: dict) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained", sharex="col")
    for column, kind in enumerate(("length", "slots")):
        for row, (figure_name, label) in enumerate((("ms", "ms a step"), ("peak_mib", "peak MiB"))):
            axis = axes[row, column]
            for name in LAYERS:
                points = [p for p in content[kind] if p["execution"] == name]
                axis.loglog([p[kind] for p in points], [p[figure_name] for p in points], "o-", label=name)
            axis.set_ylabel(label)
            axis.grid(alpha=0.3)
    axes[1, 0].set_xlabel("steps T (16 slots)")
    axes[1, 1].set_xlabel("slots N (64 steps)")
    axes[0, 0].legend()
    figure.suptitle("ScanNTM forward and backward, XLA, batch 4, slots of 32 numbers")
    figure.savefig(PICTURE, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--point", nargs=5, help="measure one point and print it; used by the script itself")
    chosen = parser.parse_args().point
    if chosen:
        name, length, slots, scale, dtype = chosen
        print(json.dumps(measure(name, int(length), int(slots), float(scale), dtype)))
        return
    content = {
        **provenance(),
        "batch": BATCH,
        "width": WIDTH,
        "length": [point(name, length, 16) for name in LAYERS for length in LENGTHS],
        "slots": [point(name, 64, slots) for name in LAYERS for slots in SLOTS],
        "extremes": [
            {"scale": scale, "dtype": dtype, **point(name, 10_000, 16, scale, dtype)}
            for name in LAYERS
            for scale in (1e-6, 1.0, 1e6)
            for dtype in ("float32", "mixed_float16")
        ],
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    draw(content)
    print(json.dumps(content["extremes"], indent=1))


if __name__ == "__main__":
    main()
