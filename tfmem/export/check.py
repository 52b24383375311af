"""Runs an exported policy in a process of plain TensorFlow and writes what it did.

Run as a program with the export's folder, an .npz of inputs and an .npz for outputs. It imports nothing of
tfmem or TF-Agents: whatever the export needs, TensorFlow alone must have.
"""

import sys
from typing import Any

import numpy as np
import tensorflow as tf


def main(export: str, inputs_path: str, outputs_path: str) -> None:
    """Steps through the inputs' time axis, carrying the state."""
    step = tf.saved_model.load(export).signatures["step"]
    given = dict(np.load(inputs_path))
    names = set(step.structured_input_signature[1])
    state = {name: tf.constant(value) for name, value in given.items() if name.startswith("state/")}
    state = {name.removeprefix("state/"): value for name, value in state.items()}
    sequences = {name: value for name, value in given.items() if not name.startswith("state/")}
    if names != set(state) | set(sequences):
        raise ValueError(f"the export takes {sorted(names)}")
    record: dict[str, list[np.ndarray]] = {}
    for t in range(len(sequences["is_first"])):
        outputs = step(**{name: tf.constant(value[t]) for name, value in sequences.items()}, **state)
        state = {name: outputs[name] for name in state}
        for name, value in outputs.items():
            record.setdefault(name, []).append(value.numpy())
    foreign = sorted({"tfmem", "tf_agents"} & set(sys.modules))
    arrays: dict[str, Any] = {name: np.stack(values) for name, values in record.items()}
    np.savez(outputs_path, foreign=np.asarray(foreign, str), **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
