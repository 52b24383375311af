"""ScanNTM's executions against its plain loop, NTMCell and Keras' LSTM: milliseconds forward and backward.

    python benchmarks/executions.py

One machine, one process, warm; the rounds of all contestants interleave, so that a slow moment of the machine
hits all of them; each is called twice a round, the second call counts, and of the rounds the median. A plain
loop is `tf.scan` over `ScanNTM.step`, or over erase, add and read where the memory is measured alone. The
arithmetic limit is the time that the multiplications of the chunked execution's memory would take at the rate
of a large matrix product, measured in the same process. Writes benchmarks/results/executions.json.
"""

import tfmem.quiet  # noqa: F401  # isort: skip  (before anything that imports TensorFlow)

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from machine import provenance

from tfmem.layers import NTMCell, ScanNTM
from tfmem.ops import chunked_read, read, write
from tfmem.ops.chunked import CHUNK

RESULTS = Path(__file__).parent / "results" / "executions.json"
FEATURES, ROUNDS = 64, 20
CHUNKED_SHAPE = 16, 208, 128, 16  # batch, length, slots, width
HEADS = ("forward", "forward", "back", "write", "any")


def plain_loop(layer: ScanNTM) -> Callable:
    def run(x):
        def body(carry, x_t):
            return layer.step(x_t, carry[1])

        start = (tf.zeros([tf.shape(x)[0], layer.output_width]), layer.get_initial_state(tf.shape(x)[0]))
        return tf.transpose(tf.scan(body, tf.transpose(x, [1, 0, 2]), start)[0], [1, 0, 2])

    return run


def training_step(run: Callable, inputs: list[tf.Tensor], variables: list, jit: bool) -> Callable:
    """A traced forward and backward pass: the output, and gradients of inputs and variables."""

    @tf.function(jit_compile=jit, autograph=False)
    def step():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = tf.nest.flatten(run(*inputs))[0]
            loss = tf.reduce_mean(y**2)
        return y, tape.gradient(loss, [*inputs, *variables])

    return step


def race(steps: dict[str, Callable], rounds: int = ROUNDS) -> tuple[dict[str, float], dict[str, float]]:
    """Median milliseconds of each, and seconds of its first call."""
    first, times = {}, {key: [] for key in steps}
    for key, step in steps.items():
        started = time.perf_counter()
        tf.nest.flatten(step())[0].numpy()
        first[key] = round(time.perf_counter() - started, 2)
    for _ in range(rounds):
        for key, step in steps.items():
            tf.nest.flatten(step())[0].numpy()  # so that no contestant pays for what the one before left
            started = time.perf_counter()
            tf.nest.flatten(step())[0].numpy()
            times[key].append(1e3 * (time.perf_counter() - started))
    return {key: round(statistics.median(values), 2) for key, values in times.items()}, first


def contestants(slots: int, width: int, read_heads: tuple[str, ...], x: tf.Tensor) -> dict[str, Callable]:
    """Every execution with and without XLA; one layer's weights for all that have the same."""

    def make(execution, **kwargs):
        tf.keras.utils.set_random_seed(0)
        layer = ScanNTM(slots, width, read_heads=read_heads, execution=execution, **kwargs)
        layer(x)
        return layer

    layers = {
        "loop": make("loop"),
        "scan": make("scan"),
        "scalar erase, loop": make("loop", erase="scalar"),
        "scalar erase, chunked": make("chunked", erase="scalar"),
        "LSTM of the output's width": tf.keras.layers.LSTM(make("loop").output_width, return_sequences=True),
        "LSTM of the controller's width": tf.keras.layers.LSTM(64, return_sequences=True),
        "NTMCell": tf.keras.layers.RNN(
            NTMCell(slots, width, 64, read_heads=len(read_heads)), return_sequences=True
        ),
    }
    steps = {}
    for name in ("loop", "scalar erase, loop"):
        key = name.replace("loop", "plain loop")
        variables = layers[name].trainable_variables
        steps[key] = training_step(plain_loop(layers[name]), [x], variables, jit=False)
    for name, layer in layers.items():
        layer(x)
        for jit in (False, True):
            variables = layer.trainable_variables
            steps[f"{name}, XLA" if jit else name] = training_step(layer, [x], variables, jit)
    return steps


def equal_width() -> dict:
    batch, length, slots, width = 32, 64, 16, 32
    x = tf.random.stateless_normal([batch, length, FEATURES], seed=[0, 0])
    median, first = race(contestants(slots, width, HEADS, x))
    best = median["loop, XLA"]
    lstm = {width: median[f"LSTM of the {width}'s width, XLA"] for width in ("output", "controller")}
    return {
        "shape": {"batch": batch, "length": length, "slots": slots, "width": width, "read_heads": len(HEADS)},
        "median_ms": median,
        "first_call_s": first,
        "over_lstm_of_the_outputs_width_xla": round(best / lstm["output"], 2),
        "over_lstm_of_the_controllers_width_xla": round(best / lstm["controller"], 2),
        "ntm_cell_over_scan_ntm": round(median["NTMCell"] / best, 2),
        "ntm_cell_over_scan_ntm_with_scalar_erase": round(
            median["NTMCell"] / median["scalar erase, chunked, XLA"], 2
        ),
        "plain_loop_over_scan_ntm": round(median["plain loop"] / best, 2),
    }


def relative_errors(found, expected) -> list[float]:
    """Of the output and every gradient, relative to its largest number, the two largest."""
    pairs = zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True)
    errors = [float(tf.reduce_max(tf.abs(a - b)) / tf.reduce_max(tf.abs(b))) for a, b in pairs]
    return sorted(errors, reverse=True)[:2]


def multiplications_per_second() -> float:
    a = tf.random.stateless_normal([1024, 1024], seed=[0, 0])
    product = tf.function(lambda: tf.matmul(a, a), jit_compile=False)
    median, _ = race({"product": product}, rounds=30)
    return 1024**3 / (median["product"] / 1e3)


def chunked() -> dict:
    """The whole layer, controller and heads included."""
    batch, length, slots, width = CHUNKED_SHAPE
    x = tf.random.stateless_normal([batch, length, FEATURES], seed=[0, 0])
    steps = contestants(slots, width, ("forward",), x)
    plain = "scalar erase, plain loop"
    median, first = race(steps)
    # Like with like: XLA rounds otherwise, with the loop as well, which the last pair shows.
    pairs = (
        ("scalar erase, chunked", plain),
        ("scalar erase, chunked, XLA", "scalar erase, loop, XLA"),
        ("scalar erase, loop, XLA", plain),
    )
    error = {f"{one} from {other}": relative_errors(steps[one](), steps[other]()) for one, other in pairs}
    best = min(median["scalar erase, chunked"], median["scalar erase, chunked, XLA"])
    return {
        "shape": {"batch": batch, "length": length, "slots": slots, "width": width, "read_heads": 1},
        "median_ms": median,
        "first_call_s": first,
        "plain_loop_over_chunked": round(median[plain] / best, 2),
        "largest_two_relative_errors": error,
    }


def memory_alone() -> dict:
    """The memory of the same shape, given what its heads do."""
    batch, length, slots, width = CHUNKED_SHAPE

    def uniform(seed, *shape):
        return tf.random.stateless_uniform([batch, length, *shape], seed=[seed, 0])

    where = [tf.nn.softmax(8.0 * uniform(seed, 1, slots)) for seed in range(2)]
    inputs = [*where, uniform(2, 1), uniform(3, 1, width)]
    initial = tf.zeros([batch, slots, width])

    def plain(read_weights, write_weights, erase, add):
        def body(carry, x):
            r, w, e, v = x
            memory = write(carry[1], w, e[..., tf.newaxis], v)
            return read(memory, r), memory

        by_time = tf.nest.map_structure(
            lambda z: tf.einsum("bt...->tb...", z), (read_weights, write_weights, erase, add)
        )
        return tf.einsum("tb...->bt...", tf.scan(body, by_time, (tf.zeros([batch, 1, width]), initial))[0])

    def chunks(*inputs):
        return chunked_read(*inputs, initial=initial)[0]

    steps = {
        f"{name}, XLA" if jit else name: training_step(run, inputs, [], jit)
        for name, run in (("plain loop", plain), ("chunked", chunks))
        for jit in (False, True)
    }
    median, _ = race(steps)
    # Forward: sums of logarithms and scores, T·C·N each; reads of the chunk, T·C·D; what is written and what
    # is read of the memory between chunks, T·N·D each. Backward twice that.
    products = 3 * batch * length * (2 * CHUNK * slots + CHUNK * width + 2 * slots * width)
    limit = 1e3 * products / multiplications_per_second()
    expected = steps["plain loop"]()
    best = min(median["chunked"], median["chunked, XLA"])
    return {
        "shape": {"batch": batch, "length": length, "slots": slots, "width": width, "read_heads": 1},
        "median_ms": median,
        "plain_loop_over_chunked": round(median["plain loop"] / best, 2),
        "arithmetic_limit_ms": round(limit, 2),
        "chunked_over_the_limit": round(best / limit, 2),
        "largest_two_relative_errors": {
            name: relative_errors(steps[name](), expected) for name in ("chunked", "chunked, XLA")
        },
    }


def single_step() -> dict:
    slots, width = 128, 20
    layer = ScanNTM(slots, width)
    x = tf.random.stateless_normal([1, FEATURES], seed=[0, 0])
    layer(x[tf.newaxis])
    state = layer.get_initial_state(1)
    numbers = sum(int(np.prod(part.shape)) for part in state.values())
    cell = tf.keras.layers.LSTMCell(numbers // 2)
    zeros = cell.get_initial_state(batch_size=1, dtype=tf.float32)
    cell(x, zeros)
    steps = {}
    for jit in (False, True):
        suffix = ", XLA" if jit else ""
        steps[f"ScanNTM{suffix}"] = tf.function(lambda: layer.step(x, state), jit_compile=jit)
        steps[f"LSTM of equal state{suffix}"] = tf.function(lambda: cell(x, zeros), jit_compile=jit)
    median, _ = race(steps, rounds=300)
    return {
        "shape": {"batch": 1, "slots": slots, "width": width, "numbers_in_the_state": numbers},
        "median_ms": median,
        "over_lstm": round(median["ScanNTM"] / median["LSTM of equal state"], 2),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    tf.get_logger().setLevel("ERROR")  # functions of one name are no retracing
    content = {
        **provenance(),
        "rounds": ROUNDS,
        "equal_width": equal_width(),
        "chunked": chunked(),
        "memory_alone": memory_alone(),
        "single_step": single_step(),
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
