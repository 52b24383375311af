"""TensorFlow's types as NumPy's: their names, numbers and where a TensorProto keeps values of them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DType:
    """One type that can be sent.

    Attributes:
      number: in the enumeration `tensorflow.DataType`.
      numpy: the name in NumPy.
      field: of TensorProto, for values that are not in `tensor_content`.
    """

    number: int
    numpy: str
    field: str

    @property
    def wire(self) -> np.dtype:
        """The type in the byte order of `tensor_content`."""
        return np.dtype(self.numpy).newbyteorder("<")


DTYPES = {
    "DT_FLOAT": DType(1, "float32", "float_val"),
    "DT_DOUBLE": DType(2, "float64", "double_val"),
    "DT_INT32": DType(3, "int32", "int_val"),
    "DT_UINT8": DType(4, "uint8", "int_val"),
    "DT_INT16": DType(5, "int16", "int_val"),
    "DT_INT8": DType(6, "int8", "int_val"),
    "DT_INT64": DType(9, "int64", "int64_val"),
    "DT_BOOL": DType(10, "bool", "bool_val"),
    "DT_UINT16": DType(17, "uint16", "int_val"),
    "DT_HALF": DType(19, "float16", "half_val"),
    "DT_UINT32": DType(22, "uint32", "uint32_val"),
    "DT_UINT64": DType(23, "uint64", "uint64_val"),
}
