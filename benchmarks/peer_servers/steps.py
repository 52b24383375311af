"""The signature `step` of a SavedModel for a peer: JSON values in, JSON text out."""

import argparse
import json
from typing import Any

import numpy as np
import tensorflow as tf

MAX_BATCH = 64  # as `tfmem serve` has it


def arguments(description: str) -> argparse.Namespace:
    """What serving_peers.py starts a peer with: version, port, workers, wait_s."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("version")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--wait-s", type=float, required=True)
    return parser.parse_args()


class Steps:
    """The function of a version folder; a peer runs each part of an answer where it is best."""

    def __init__(self, version: str):
        self._model = tf.saved_model.load(version)  # keeps the variables alive
        self._step = self._model.signatures["step"]
        specs = self._step.structured_input_signature[1]
        self._dtypes = {name: spec.dtype.as_numpy_dtype for name, spec in specs.items()}

    def decode(self, body: dict[str, Any]) -> dict[str, np.ndarray]:
        """The arrays of a request."""
        inputs = body["inputs"]
        return {name: np.asarray(inputs[name], dtype) for name, dtype in self._dtypes.items()}

    def __call__(self, requests: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        """One call of the model for requests of one row each."""
        columns = {name: np.concatenate([one[name] for one in requests]) for name in self._dtypes}
        outputs = self._step(**{name: tf.constant(column) for name, column in columns.items()})
        arrays = {name: output.numpy() for name, output in outputs.items()}
        return [{name: array[i : i + 1] for name, array in arrays.items()} for i in range(len(requests))]

    @staticmethod
    def encode(outputs: dict[str, np.ndarray]) -> bytes:
        """The text of an answer."""
        return json.dumps({"outputs": {name: value.tolist() for name, value in outputs.items()}}).encode()
