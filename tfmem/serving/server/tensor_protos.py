"""Tensors of gRPC requests as arrays, once they are known to fit, and arrays as tensors of answers."""

import functools
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2

from tfmem.serving.server.request_error import bad_request
from tfmem.serving.server.servable import Signature

# A few bytes can say that they are a tensor of any size, because its last value repeats.
_MAX_ELEMENTS = 1 << 24


def read_tensors(
    tensors: Mapping[str, tensor_pb2.TensorProto], signature: Signature
) -> dict[str, np.ndarray]:
    """The inputs of a predict request as arrays.

    Raises:
      RequestError: when a tensor is none, or does not fit the signature.
    """
    signature.check({name: _declared(name, tensor) for name, tensor in tensors.items()})
    return {name: _to_array(name, tensor) for name, tensor in tensors.items()}


def _declared(name: str, tensor: tensor_pb2.TensorProto) -> tuple[tf.DType, list[int]]:
    """Type and shape as the tensor says, before memory is taken for it."""
    try:
        dtype = tf.as_dtype(tensor.dtype)
    except TypeError as error:
        raise bad_request(f"input {name!r} is not a tensor: there is no type {tensor.dtype}") from error
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise bad_request(f"input {name!r} is not a tensor: its shape is not known")
    if math.prod(shape) > _MAX_ELEMENTS:
        raise bad_request(f"input {name!r} has more than {_MAX_ELEMENTS} elements: send fewer rows")
    return dtype, shape


def write_tensor(array: np.ndarray) -> tensor_pb2.TensorProto:
    """An output as a tensor, its numbers as bytes."""
    if array.dtype == object:
        return tf.make_tensor_proto(array)
    return tensor_pb2.TensorProto(
        dtype=tf.as_dtype(array.dtype).as_datatype_enum,
        tensor_shape=_shape(array.shape),
        tensor_content=array.tobytes(),
    )


@functools.lru_cache(maxsize=1024)
def _shape(sizes: tuple[int, ...]) -> tensor_shape_pb2.TensorShapeProto:
    return tf.TensorShape(sizes).as_proto()


def _to_array(name: str, tensor: tensor_pb2.TensorProto) -> np.ndarray:
    try:
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise bad_request(f"input {name!r} is not a tensor: {reason}") from error
