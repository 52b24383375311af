"""Requests that a server runs once when it loads a version, so that no client waits for the first step."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import prediction_log_pb2
from tf_agents.specs import tensor_spec

from tfmem.errors import require
from tfmem.export.saved_model import read_graph, signatures
from tfmem.serving import wire

WARMUP_PATH = Path("assets.extra") / "tf_serving_warmup_requests"
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
# TF Serving loads no model with more than 1,000 records, and there are up to four signatures.
MAX_BATCH_SIZES = 250


def require_batch_sizes(batch_sizes: tuple[int, ...]) -> None:
    """Raises `InvalidInput` unless these can be the batch sizes that a server runs."""
    increasing = all(a < b for a, b in zip((0, *batch_sizes), batch_sizes, strict=False))
    require(
        increasing and 0 < len(batch_sizes) <= MAX_BATCH_SIZES,
        "batch_sizes",
        batch_sizes,
        f"1 to {MAX_BATCH_SIZES} sizes, positive and strictly increasing",
    )


def write_warmup(
    model: Path,
    *,
    name: str,
    observation: Mapping[str, tf.TensorSpec],
    batch_sizes: tuple[int, ...],
) -> None:
    """Writes the warm-up file of a SavedModel, a record for each signature and batch size.

    Args:
      model: its folder.
      name: what it is served as.
      observation: the spec of each part of the observation, by its name on the wire.
      batch_sizes: those to warm up, increasing.
    """
    (model / WARMUP_PATH).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(model / WARMUP_PATH)) as writer:
        for record in _records(model, name=name, observation=observation, batch_sizes=batch_sizes):
            writer.write(record.SerializeToString(deterministic=True))


def _records(
    model: Path, *, name: str, observation: Mapping[str, tf.TensorSpec], batch_sizes: tuple[int, ...]
) -> Iterator[prediction_log_pb2.PredictionLog]:
    for signature, definition in signatures(read_graph(model)).items():
        for size in batch_sizes:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, info in definition.inputs.items():
                shape = [size, *(dim.size for dim in info.tensor_shape.dim[1:])]
                # The model puts its own initial state in place of the zeros.
                value = True if key == wire.IS_FIRST else _nearest_to_zero(observation.get(key))
                request.inputs[key].CopyFrom(_filled(shape, value, tf.as_dtype(info.dtype)))
            yield log


def _nearest_to_zero(spec: tf.TensorSpec | None) -> np.ndarray | int:
    """What an observation may be: an index out of its bounds would fail the load."""
    if isinstance(spec, tensor_spec.BoundedTensorSpec):
        return np.clip(0, spec.minimum, spec.maximum)
    return 0


def _filled(shape: list[int], value: np.ndarray | bool | int, dtype: tf.DType) -> tensor_pb2.TensorProto:
    """A tensor of one value throughout, which takes a few bytes, or of a part repeated along the batch."""
    first = np.ravel(value)[0]
    if np.all(np.equal(value, first)):
        return tf.make_tensor_proto(first.item(), dtype, shape)
    return tf.make_tensor_proto(np.broadcast_to(value, shape), dtype)
