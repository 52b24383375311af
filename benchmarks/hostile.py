"""Malformed and hostile requests to a server that speaks TF Serving's APIs, from a seed."""

import base64
import json
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

_NAN, _INFINITY = float("nan"), float("inf")
_HUGE = (2**31, 2**40, 2**62, 2**63 - 1)
_TEXTS = ("", " ", "step\0", "../..", "é漢🙂", "a" * 5000, "%00", "{}", "-1", "None", "\u202e")
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
class HttpRequest:
    """Bytes for a connection of their own.

    Attributes:
      kind: what was done to them.
      data: the bytes.
      whole: whether an answer is to be waited for; the connection is dropped otherwise.
    """

    kind: str
    data: bytes
    whole: bool = True


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


def http_requests(model: str, inputs: dict[str, np.ndarray], *, seed: int) -> Iterator[HttpRequest]:
    """HTTP requests without end.

    Args:
      model: one that is served, with a signature `step`.
      inputs: what `step` takes.
      seed: of the generator.
    """
    rng = random.Random(seed)
    columns = {name: value.tolist() for name, value in inputs.items()}
    path = f"/v1/models/{model}:predict"

    def valid() -> dict[str, Any]:
        body: dict[str, Any] = {"signature_name": "step"}
        if rng.random() < 0.5:
            return {**body, "inputs": dict(columns)}
        size = len(columns["is_first"])
        return {**body, "instances": [{k: v[i] for k, v in columns.items()} for i in range(size)]}

    def mutated() -> HttpRequest:
        body: Any = json.loads(json.dumps(valid()))
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            body = _mutate_json(rng, body)
        return _post("mutated JSON", path, json.dumps(body).encode())

    def spliced() -> HttpRequest:
        text = bytearray(json.dumps(valid()).encode())
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(text))
            text[at : at + rng.randint(0, 4)] = rng.randbytes(rng.randint(0, 4))
        return _post("spliced bytes", path, bytes(text))

    def truncated() -> HttpRequest:
        text = json.dumps(valid()).encode()
        return _post("truncated JSON", path, text[: rng.randrange(len(text))])

    def shaped() -> HttpRequest:
        """Values that are large, deep or odd in the place of a whole input."""
        name = rng.choice(sorted(columns))
        value = rng.choice(
            (
                "[" * 100_000,
                "[" * 60 + "1" + "]" * 60,
                "[" * 900 + "]" * 900,
                '{"a":' * 2000 + "1" + "}" * 2000,
                "9" * 10_000,
                "1e400",
                "-1e308",
                "[NaN, Infinity, -Infinity]",
                "[[1, 2], [3]]",
                "[true, 1, null]",
                "[" + "1," * 100_000 + "1]",
                '[{"b64": "AAAA"}]',
                '[{"b64": "***"}]',
                '{"b64": 7}',
                '["\\ud800"]',
                '"\ud7ff"',
                "[" + "[]," * 1000 + "[]]",
            )
        )
        body = json.dumps({"signature_name": "step", "inputs": {**columns, name: "HERE"}})
        return _post("odd values", path, body.replace('"HERE"', value).encode())

    def addressed() -> HttpRequest:
        version = rng.choice(("0", "-1", "1.0", "9" * 18, "9" * 400, "٣", "1e3", "x", "", "%31", "1%00"))
        label = rng.choice(("stable", "%2F", "%00", "%ff%fe", "a" * 4000, "..", "%F0%9F%99%82", "{}", "%"))
        name = rng.choice((model, "nothing", "%2e%2e", "a" * 7000, "%C3%28", "", ":", "*"))
        where = rng.choice(("", f"/versions/{version}", f"/labels/{label}"))
        action = rng.choice(
            ("", "/metadata", ":predict", ":classify", ":regress", ":", "/", "?a=b", "#", "//")
        )
        root = rng.choice(("/v1/models/", "/v1/models/", "/v1/models/", "/v2/models/", "/", "//", "/v1/"))
        method = rng.choice(("GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"))
        line = f"{method} {root}{name}{where}{action} HTTP/1.1"
        return HttpRequest("odd address", _http(line, b"{}"))

    def raw_line() -> HttpRequest:
        line = rng.choice(
            (
                "GET",
                "GET / HTTP/9.9",
                "GET http://[bad/ HTTP/1.1",
                "OPTIONS * HTTP/1.1",
                "CONNECT a:1 HTTP/1.1",
                "GET /%zz HTTP/1.1",
                "G\x01T / HTTP/1.1",
                "POST " + "/" * 20_000 + " HTTP/1.1",
                "PRI * HTTP/2.0",
                "\x16\x03\x01\x02",
            )
        )
        return HttpRequest("odd request line", _http(line, rng.randbytes(rng.randint(0, 40))))

    def headers() -> HttpRequest:
        header = rng.choice(
            (
                "X-Large: " + "x" * 100_000,
                "\r\n".join(f"X-{i}: {i}" for i in range(2000)),
                "Content-Encoding: gzip",
                "Content-Encoding: deflate",
                "Content-Encoding: nothing",
                "Expect: miracles",
                "Content-Type: \xff",
                "Content-Type: application/json; charset=nothing",
                "Authorization: Bearer \xff\xfe",
                "Host: [bad",
                "No colon here",
                "Cookie: " + ";" * 1000,
                "Upgrade: websocket\r\nConnection: upgrade",
                "Content-Length: 5",
                "Range: bytes=9-1",
                ": empty",
            )
        )
        return HttpRequest("odd header", _http(f"POST {path} HTTP/1.1", json.dumps(valid()).encode(), header))

    def lengths() -> HttpRequest:
        text = json.dumps(valid()).encode()
        length = rng.choice(
            (
                *("Content-Length: -1", "Content-Length: x", "Content-Length: 10"),
                *(f"Content-Length: {2**70}", "Content-Length: 1000000", f"Content-Length: {2**40}"),
                "Transfer-Encoding: chunked",
            )
        )
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode()
        return HttpRequest("wrong length", head + text, whole=False)

    def chunks() -> HttpRequest:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        tail = rng.choice((b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n", b"2\r\n{}0\r\n\r\n", b"f" * 40 + b"\r\n{}"))
        return HttpRequest("odd chunks", head + tail)

    def noise() -> HttpRequest:
        return HttpRequest("noise", rng.randbytes(rng.randint(1, 300)) + b"\r\n\r\n", whole=False)

    kinds: list[tuple[int, Callable[[], HttpRequest]]] = [
        *((8, mutated), (4, spliced), (2, truncated), (4, shaped), (4, addressed), (1, raw_line)),
        *((3, headers), (1, lengths), (1, chunks), (1, noise)),
    ]
    yield from _mixed(rng, kinds)


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
            request.model_spec.signature_name = rng.choice(_TEXTS)
        elif kind == 1:
            request.output_filter.extend([rng.choice(_TEXTS)] * rng.choice((1, 3, 1000)))
        elif kind == 2:
            request.inputs.clear()
        elif kind == 3:
            del request.inputs[rng.choice(sorted(inputs))]
        elif kind == 4:
            request.inputs[rng.choice(_TEXTS)].CopyFrom(tf.make_tensor_proto(1.0))
        elif kind == 5:
            request.model_spec.version.value = rng.choice((-1, 0, *_HUGE, -(2**63)))
        elif kind == 6:
            request.model_spec.version_label = rng.choice(_TEXTS[1:])
        else:
            request.model_spec.name = rng.choice(_TEXTS)
        return predict("odd names", request)

    def rows() -> GrpcRequest:
        """A few bytes that say that they are many rows."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = rng.choice(("", "initial_state", "step"))
        for name in ("observation", "batch") if request.model_spec.signature_name == "step" else ("batch",):
            tensor = request.inputs["observation" if not request.model_spec.signature_name else name]
            tensor.dtype = rng.choice((types_pb2.DT_INT64, types_pb2.DT_INT32))
            tensor.tensor_shape.dim.add(size=rng.choice((10**5, 10**7, *_HUGE)))
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
        request.model_spec.name = rng.choice((model, *_TEXTS))
        if rng.random() < 0.7:
            request.model_spec.version.value = rng.choice((-1, 0, *_HUGE))
        else:
            request.model_spec.version_label = rng.choice(_TEXTS)
        is_metadata = isinstance(request, get_model_metadata_pb2.GetModelMetadataRequest)
        return GrpcRequest("odd look-up", _METADATA if is_metadata else _STATUS, request.SerializeToString())

    def reloads() -> GrpcRequest:
        """Configurations that must be refused, so that the model goes on."""
        request = model_management_pb2.ReloadConfigRequest()
        for _ in range(rng.choice((1, 1, 2, 5))):
            config = request.config.model_config_list.config.add()
            config.name = rng.choice((f"made-up-{rng.random()}", model, "", "\0", *_TEXTS))
            config.base_path = rng.choice(
                ("/nowhere", "/\0", "relative", "", "/" + "x" * 5000, "/dev/null", "/proc/self/mem", "/é\n")
            )
            config.model_platform = rng.choice(("tensorflow", "tensorflow", "", "pytorch", "\0"))
            config.model_version_policy.specific.versions.extend(rng.choice(([], [-1], list(_HUGE))))
            if rng.random() < 0.3:
                config.version_labels[rng.choice(_TEXTS)] = rng.choice((-1, *_HUGE))
        if rng.random() < 0.1:
            request.config.Clear()
        return GrpcRequest("junk configuration", _RELOAD, request.SerializeToString())

    kinds: list[tuple[int, Callable[[], GrpcRequest]]] = [
        *((3, noise), (4, spliced), (2, truncated), (9, tensors), (4, signatures), (2, rows)),
        *((2, metadata), (2, methods), (2, lookups), (2, reloads)),
    ]
    yield from _mixed(rng, kinds)


def _mixed(rng: random.Random, kinds: list[tuple[int, Callable[[], Any]]]) -> Iterator[Any]:
    weights = [weight for weight, _ in kinds]
    while True:
        ((_, make),) = rng.choices(kinds, weights)
        yield make()


def _http(line: str, body: bytes, *headers: str) -> bytes:
    head = [line, "Host: x", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode("utf-8", "surrogatepass") + body


def _post(kind: str, path: str, body: bytes) -> HttpRequest:
    return HttpRequest(kind, _http(f"POST {path} HTTP/1.1", body))


def _mutate_json(rng: random.Random, value: Any) -> Any:
    """The value with something in it, at any depth, that does not belong there."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        change = rng.random()
        if change < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if change < 0.2:
            return {**value, rng.choice(_TEXTS): _junk(rng)}
        return {**value, key: _mutate_json(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.75:
        at = rng.randrange(len(value))
        change = rng.random()
        if change < 0.1:
            return value[:at] + value[at + 1 :]
        if change < 0.2:
            return [*value, value[at]]
        return [*value[:at], _mutate_json(rng, value[at]), *value[at + 1 :]]
    return _junk(rng)


def _junk(rng: random.Random) -> Any:
    return rng.choice(
        (
            *(None, True, False, 0, -1, 1.5, -0.0, _NAN, _INFINITY, -_INFINITY, 1e308, "x", "", [], {}, [[]]),
            *(2**31, 2**63, 2**64, -(2**63) - 1, 10**400, "NaN", "\ud800", "é\0🙂", [[1], [1, 2]], [None]),
            *({"b64": ""}, {"b64": base64.b64encode(rng.randbytes(9)).decode()}, {"b64": "*"}, {"b64": None}),
            *({"observation": {}}, [0] * 1000, "x" * 10_000, {"": {"": {"": []}}}),
        )
    )


def _mutate_tensor(rng: random.Random, tensor: Any) -> None:
    kind = rng.randrange(10)
    if kind == 0:
        tensor.dtype = rng.choice([*types_pb2.DataType.values(), 77, -1, 2**31 - 1])
    elif kind == 1:
        for dim in tensor.tensor_shape.dim:
            if rng.random() < 0.6:
                dim.size = rng.choice((-1, -5, 0, 1, 2, 33, *_HUGE, -(2**63)))
    elif kind == 2:
        del tensor.tensor_shape.dim[:]
    elif kind == 3:
        for _ in range(rng.choice((1, 3, 40, 300))):
            tensor.tensor_shape.dim.add(size=rng.choice((0, 1, 1, -1, 2, 10**6)))
    elif kind == 4:
        tensor.tensor_content = rng.randbytes(rng.choice((0, 1, 7, 8, 2048, 2049, 65536)))
    elif kind == 5:  # fewer or more typed values than the shape has
        tensor.ClearField("tensor_content")
        tensor.float_val.extend([_NAN] * rng.choice((0, 1, 2, 3000)))
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
