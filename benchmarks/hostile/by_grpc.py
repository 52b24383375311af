"""Hostile gRPC."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

from hostile.junk import HUGE, NAN, TEXTS, mixed

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
_RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
_METHODS = (_PREDICT, _METADATA, _STATUS, _RELOAD, "/grpc.health.v1.Health/Check")
_OTHERS = (
    *("Classify", "Regress", "MultiInference", "Nothing", "", "../Predict", "predict", "x" * 2000),
    *("%00", "Predict/Predict"),
)


@dataclass(frozen=True)
class GrpcRequest:
    """A unary call whose message is already bytes.

    Attributes:
      kind: what was done to it.
      method: the full name.
      data: the message.
      metadata: of the call.
      timeout_s: its deadline.
    """

    kind: str
    method: str
    data: bytes
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    timeout_s: float = 20.0


def grpc_requests(model: str, inputs: dict[str, np.ndarray], *, seed: int) -> Iterator[GrpcRequest]:
    """gRPC requests without end; see `http_requests`."""
    rng = random.Random(seed)

    def valid() -> predict_pb2.PredictRequest:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = "step"
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return request

    def predict(kind: str, request: message.Message) -> GrpcRequest:
        return GrpcRequest(kind, _PREDICT, request.SerializeToString())

    def noise() -> GrpcRequest:
        return GrpcRequest("noise", rng.choice(_METHODS), rng.randbytes(rng.randint(1, 300)))

    def spliced() -> GrpcRequest:
        data = bytearray(valid().SerializeToString())
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(min(len(data), rng.choice((200, 10**9))))
            data[at : at + rng.randint(0, 4)] = rng.randbytes(rng.randint(0, 4))
        return GrpcRequest("spliced bytes", _PREDICT, bytes(data))

    def truncated() -> GrpcRequest:
        data = valid().SerializeToString()
        return GrpcRequest("truncated", _PREDICT, data[: rng.randrange(len(data))])

    def tensors() -> GrpcRequest:
        request = valid()
        for _ in range(rng.choice((1, 1, 2, 3))):
            _mutate_tensor(rng, request.inputs[rng.choice(sorted(inputs))])
        return predict("odd tensor", request)

    def signatures() -> GrpcRequest:
        request = valid()
        kind = rng.randrange(8)
        if kind == 0:
            request.model_spec.signature_name = rng.choice(TEXTS)
        elif kind == 1:
            request.output_filter.extend([rng.choice(TEXTS)] * rng.choice((1, 3, 1000)))
        elif kind == 2:
            request.inputs.clear()
        elif kind == 3:
            del request.inputs[rng.choice(sorted(inputs))]
        elif kind == 4:
            request.inputs[rng.choice(TEXTS)].CopyFrom(tf.make_tensor_proto(1.0))
        elif kind == 5:
            request.model_spec.version.value = rng.choice((-1, 0, *HUGE, -(2**63)))
        elif kind == 6:
            request.model_spec.version_label = rng.choice(TEXTS[1:])
        else:
            request.model_spec.name = rng.choice(TEXTS)
        return predict("odd names", request)

    def rows() -> GrpcRequest:
        """A few bytes that say that they are many rows."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = rng.choice(("", "initial_state", "step"))
        for name in ("observation", "batch") if request.model_spec.signature_name == "step" else ("batch",):
            tensor = request.inputs["observation" if not request.model_spec.signature_name else name]
            tensor.dtype = rng.choice((types_pb2.DT_INT64, types_pb2.DT_INT32))
            tensor.tensor_shape.dim.add(size=rng.choice((10**5, 10**7, *HUGE)))
            if tensor.dtype == types_pb2.DT_INT64:
                tensor.int64_val.append(1)
            else:
                tensor.int_val.append(1)
        return predict("many rows", request)

    def metadata() -> GrpcRequest:
        pairs: tuple[tuple[str, str | bytes], ...] = rng.choice(
            (
                (("authorization", "Bearer junk"),),
                (("x-bin", rng.randbytes(100)),),
                (("x-large", "x" * 7000),),
                tuple((f"x-{i}", str(i)) for i in range(100)),
                (("content-type-x", "application/json"), ("te", "nothing")),
            )
        )
        late = rng.choice((20.0, 1e-4, 1e-3, 5e-3))
        return GrpcRequest("odd metadata", _PREDICT, valid().SerializeToString(), pairs, late)

    def methods() -> GrpcRequest:
        service = rng.choice(("PredictionService", "ModelService", "SessionService", "é", ""))
        method = f"/tensorflow.serving.{service}/{rng.choice(_OTHERS)}"
        return GrpcRequest("unknown method", method, rng.choice((b"", valid().SerializeToString())))

    def lookups() -> GrpcRequest:
        request: Any
        if rng.random() < 0.5:
            request = get_model_metadata_pb2.GetModelMetadataRequest()
            request.metadata_field.extend(rng.choice((["signature_def"], [], ["x"], ["signature_def"] * 9)))
        else:
            request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = rng.choice((model, *TEXTS))
        if rng.random() < 0.7:
            request.model_spec.version.value = rng.choice((-1, 0, *HUGE))
        else:
            request.model_spec.version_label = rng.choice(TEXTS)
        is_metadata = isinstance(request, get_model_metadata_pb2.GetModelMetadataRequest)
        return GrpcRequest("odd look-up", _METADATA if is_metadata else _STATUS, request.SerializeToString())

    def reloads() -> GrpcRequest:
        """Configurations that must be refused, so that the model goes on."""
        request = model_management_pb2.ReloadConfigRequest()
        for _ in range(rng.choice((1, 1, 2, 5))):
            config = request.config.model_config_list.config.add()
            config.name = rng.choice((f"made-up-{rng.random()}", model, "", "\0", *TEXTS))
            config.base_path = rng.choice(
                ("/nowhere", "/\0", "relative", "", "/" + "x" * 5000, "/dev/null", "/proc/self/mem", "/é\n")
            )
            config.model_platform = rng.choice(("tensorflow", "tensorflow", "", "pytorch", "\0"))
            config.model_version_policy.specific.versions.extend(rng.choice(([], [-1], list(HUGE))))
            if rng.random() < 0.3:
                config.version_labels[rng.choice(TEXTS)] = rng.choice((-1, *HUGE))
        if rng.random() < 0.1:
            request.config.Clear()
        return GrpcRequest("junk configuration", _RELOAD, request.SerializeToString())

    kinds: list[tuple[int, Callable[[], GrpcRequest]]] = [
        *((3, noise), (4, spliced), (2, truncated), (9, tensors), (4, signatures), (2, rows)),
        *((2, metadata), (2, methods), (2, lookups), (2, reloads)),
    ]
    yield from mixed(rng, kinds)


def _mutate_tensor(rng: random.Random, tensor: Any) -> None:
    kind = rng.randrange(10)
    if kind == 0:
        tensor.dtype = rng.choice([*types_pb2.DataType.values(), 77, -1, 2**31 - 1])
    elif kind == 1:
        for dim in tensor.tensor_shape.dim:
            if rng.random() < 0.6:
                dim.size = rng.choice((-1, -5, 0, 1, 2, 33, *HUGE, -(2**63)))
    elif kind == 2:
        del tensor.tensor_shape.dim[:]
    elif kind == 3:
        for _ in range(rng.choice((1, 3, 40, 300))):
            tensor.tensor_shape.dim.add(size=rng.choice((0, 1, 1, -1, 2, 10**6)))
    elif kind == 4:
        tensor.tensor_content = rng.randbytes(rng.choice((0, 1, 7, 8, 2048, 2049, 65536)))
    elif kind == 5:  # fewer or more typed values than the shape has
        tensor.ClearField("tensor_content")
        tensor.float_val.extend([NAN] * rng.choice((0, 1, 2, 3000)))
        tensor.int64_val.extend([2**62] * rng.choice((0, 1, 2, 3000)))
        tensor.bool_val.extend([True] * rng.choice((0, 1, 2)))
    elif kind == 6:
        tensor.tensor_shape.unknown_rank = True
    elif kind == 7:
        tensor.Clear()
    elif kind == 8:
        tensor.dtype = types_pb2.DT_STRING
        tensor.ClearField("tensor_content")
        tensor.string_val.extend([rng.randbytes(20)] * rng.choice((0, 1, 2, 100)))
    else:
        tensor.dtype = rng.choice((types_pb2.DT_VARIANT, types_pb2.DT_RESOURCE))
        tensor.variant_val.add(type_name="tensorflow::TensorList", metadata=rng.randbytes(20))
        tensor.resource_handle_val.add(device="/cpu:0", container="\0", name="x", hash_code=7)
