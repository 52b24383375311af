"""The few messages of TensorFlow and TF Serving that a client needs, wire-compatible with the official ones.

The official modules import TensorFlow. These are described when this module is imported, in a descriptor
pool of their own, and so get along with the official ones in one process. Fields that the client does not use
are left out: protobuf skips what it does not know.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tfmem.serving.client.dtypes import DTYPES

_PACKAGE = "tfmem.serving"
_Field = descriptor_pb2.FieldDescriptorProto

_ENUMS = {
    "DataType": {"DT_INVALID": 0} | {name: dtype.number for name, dtype in DTYPES.items()},
    # Values of all enumerations share one namespace, so the zero of this one has a name of its own.
    "State": {"UNSET": 0, "START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50},
    "Code": {"OK": 0, "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4}
    | {"NOT_FOUND": 5, "ALREADY_EXISTS": 6, "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8}
    | {"FAILED_PRECONDITION": 9, "ABORTED": 10, "OUT_OF_RANGE": 11, "UNIMPLEMENTED": 12, "INTERNAL": 13}
    | {"UNAVAILABLE": 14, "DATA_LOSS": 15, "UNAUTHENTICATED": 16},
}

# By message: each field's type and number. `T[]` is a repeated field, `{T}` a map from strings.
_MESSAGES = {
    "Dim": {"size": ("int64", 1), "name": ("string", 2)},
    "TensorShapeProto": {"dim": ("Dim[]", 2), "unknown_rank": ("bool", 3)},
    "TensorProto": {
        "dtype": ("DataType", 1),
        "tensor_shape": ("TensorShapeProto", 2),
        "tensor_content": ("bytes", 4),
        "float_val": ("float[]", 5),
        "double_val": ("double[]", 6),
        "int_val": ("int32[]", 7),
        "int64_val": ("int64[]", 10),
        "bool_val": ("bool[]", 11),
        "half_val": ("int32[]", 13),
        "uint32_val": ("uint32[]", 16),
        "uint64_val": ("uint64[]", 17),
    },
    "Int64Value": {"value": ("int64", 1)},
    "ModelSpec": {
        "name": ("string", 1),
        "version": ("Int64Value", 2),
        "signature_name": ("string", 3),
        "version_label": ("string", 4),
    },
    "PredictRequest": {"model_spec": ("ModelSpec", 1), "inputs": ("{TensorProto}", 2)},
    "PredictResponse": {"outputs": ("{TensorProto}", 1), "model_spec": ("ModelSpec", 2)},
    "Any": {"type_url": ("string", 1), "value": ("bytes", 2)},
    "GetModelMetadataRequest": {"model_spec": ("ModelSpec", 1), "metadata_field": ("string[]", 2)},
    "GetModelMetadataResponse": {"model_spec": ("ModelSpec", 1), "metadata": ("{Any}", 2)},
    "TensorInfo": {
        "name": ("string", 1),
        "dtype": ("DataType", 2),
        "tensor_shape": ("TensorShapeProto", 3),
    },
    "SignatureDef": {
        "inputs": ("{TensorInfo}", 1),
        "outputs": ("{TensorInfo}", 2),
        "method_name": ("string", 3),
    },
    "SignatureDefMap": {"signature_def": ("{SignatureDef}", 1)},
    "GetModelStatusRequest": {"model_spec": ("ModelSpec", 1)},
    "StatusProto": {"error_code": ("Code", 1), "error_message": ("string", 2)},
    "ModelVersionStatus": {
        "version": ("int64", 1),
        "state": ("State", 2),
        "status": ("StatusProto", 3),
    },
    "GetModelStatusResponse": {"model_version_status": ("ModelVersionStatus[]", 1)},
}


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, kind: str, number: int) -> None:
    is_map, repeated = kind.startswith("{"), kind.endswith(("[]", "}"))
    kind = kind.strip("[]{}")
    if is_map:  # as protobuf has it: a repeated message of key and value, marked as a map's entry
        camel = "".join(part.capitalize() for part in name.split("_"))
        entry = message.nested_type.add(name=f"{camel}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", "string", 1)
        _add_field(entry, "value", kind, 2)
        kind = f"{message.name}.{entry.name}"
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, label=label)
    if kind in _ENUMS:
        field.type, field.type_name = _Field.TYPE_ENUM, f".{_PACKAGE}.{kind}"
    elif kind[0].isupper():
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="tfmem/serving.proto", package=_PACKAGE, syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (kind, number) in fields.items():
            _add_field(message, field, kind, number)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _classes()
GetModelMetadataRequest = _CLASSES["GetModelMetadataRequest"]
GetModelMetadataResponse = _CLASSES["GetModelMetadataResponse"]
GetModelStatusRequest = _CLASSES["GetModelStatusRequest"]
GetModelStatusResponse = _CLASSES["GetModelStatusResponse"]
Int64Value = _CLASSES["Int64Value"]
ModelSpec = _CLASSES["ModelSpec"]
PredictRequest = _CLASSES["PredictRequest"]
PredictResponse = _CLASSES["PredictResponse"]
SignatureDefMap = _CLASSES["SignatureDefMap"]
TensorProto = _CLASSES["TensorProto"]
