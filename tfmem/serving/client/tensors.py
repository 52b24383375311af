"""NumPy arrays as TensorProto and back."""

import math
from typing import Any

import numpy as np

from tfmem.serving.client.dtypes import DTYPES, DType
from tfmem.serving.client.messages import TensorProto

_BY_NUMPY = {dtype.numpy: dtype for dtype in DTYPES.values()}
_BY_NUMBER = {dtype.number: dtype for dtype in DTYPES.values()}


def to_proto(array: np.ndarray) -> Any:
    """An array as TensorProto, its values as bytes.

    Raises:
      ValueError: when its type cannot be sent.
    """
    if array.dtype.name not in _BY_NUMPY:
        raise ValueError(f"arrays of type {array.dtype.name} cannot be sent; use one of {sorted(_BY_NUMPY)}")
    dtype = _BY_NUMPY[array.dtype.name]
    return TensorProto(
        dtype=dtype.number,
        tensor_shape={"dim": [{"size": size} for size in array.shape]},
        tensor_content=array.astype(dtype.wire).tobytes(),
    )


def from_proto(proto: Any) -> np.ndarray:
    """The array in a TensorProto, whichever way it holds the values.

    Raises:
      ValueError: when the type is unknown, or the values do not fit the shape.
    """
    if proto.dtype not in _BY_NUMBER:
        raise ValueError(f"a tensor has TensorFlow's type {proto.dtype}, which the client does not know")
    dtype = _BY_NUMBER[proto.dtype]
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_content:
        values = np.frombuffer(proto.tensor_content, dtype.wire).astype(dtype.numpy)
    else:
        values = _from_field(proto, dtype, size=math.prod(shape))
    return values.reshape(shape)


def _from_field(proto: Any, dtype: DType, *, size: int) -> np.ndarray:
    """Values of a field by type: the last stands for all that are left out, none at all for zeros."""
    given = getattr(proto, dtype.field)
    if not given:
        return np.zeros(size, dtype.numpy)
    if dtype.field == "half_val":  # the numbers that their bits make
        values = np.asarray(given, np.int32).astype(np.uint16).view(np.float16)
    else:
        held = np.int32 if dtype.field == "int_val" else dtype.numpy
        values = np.asarray(given, held).astype(dtype.numpy)
    return np.pad(values, (0, max(0, size - len(values))), mode="edge")
