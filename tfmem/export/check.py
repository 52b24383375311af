"""Runs an exported policy in a process of plain TensorFlow and writes what it did.

Run as a program with the export's folder, an .npz of inputs and an .npz for outputs. It imports nothing of
tfmem or TF-Agents: whatever the export needs, TensorFlow alone must have. The warm-up file's requests are the
exception to TensorFlow alone: they are read with TF Serving's own protocol buffers.
"""

import os
import sys
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2


def main(export: str, inputs_path: str, outputs_path: str) -> None:
    """Replays the warm-up file, then steps through the inputs' time axis, carrying the state."""
    signatures = tf.saved_model.load(export).signatures
    replay(signatures, os.path.join(export, "assets.extra", "tf_serving_warmup_requests"))
    step = signatures["step"]
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


def replay(signatures: Any, warmup: str) -> None:
    """Runs every record of a warm-up file; a server loads no model of which one fails."""
    for record in tf.data.TFRecordDataset(warmup):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        name = request.model_spec.signature_name
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        (size,) = {len(value) for value in inputs.values()}
        try:
            outputs = signatures[name](**inputs)
        except tf.errors.OpError as error:
            # Around the reason are a heading and the names of nodes.
            reasons = [line for line in error.message.splitlines() if line and "[[" not in line]
            raise ValueError(f"warm-up of {name} fails at batch size {size}: {reasons[-1]}") from None
        for key, value in outputs.items():
            if value.shape[0] != size:
                raise ValueError(f"{key} of {name} has {value.shape[0]} rows for {size} of its inputs")


if __name__ == "__main__":
    main(*sys.argv[1:])
