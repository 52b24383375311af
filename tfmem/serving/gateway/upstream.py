"""The policies behind a TF Serving address, by gRPC with the official stubs, which bring TensorFlow along."""

import asyncio
import dataclasses
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from tfmem.errors import InvalidInput
from tfmem.serving import wire
from tfmem.serving.client.grpc_transport import open_channel
from tfmem.serving.client.server import Server
from tfmem.serving.gateway.sessions import Choice, ServedPolicy, SessionError

_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.CANCELLED: 503,  # the server is stopping
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

# Readiness is asked for often, and by callers that wait for a second or so.
_REACHED_S = 1.0


class UpstreamError(SessionError):
    """The server behind the gateway has refused a call, or not answered."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class Upstream:
    """Policies by model and version. Made inside of a running event loop.

    Every method raises `UpstreamError` when the server refuses or does not answer: 400 for bad input, 404 for
    an unknown model or version, 429 when saturated, 503 when unavailable, 504 past the deadline, else 502.

    Args:
      address: the server's gRPC address, `host:port` or `grpc://host:port`; `grpcs://host:port` for TLS.
      timeout_s: the deadline of each call.
      token: a bearer token to send along.
      ca_file: certificates (PEM) to check the server's against; by default the usual ones.

    Raises:
      InvalidInput: when one of them cannot be right.
    """

    def __init__(
        self, address: str, *, timeout_s: float, token: str | None = None, ca_file: str | None = None
    ):
        server = dataclasses.replace(_server(address), token=token, ca_file=ca_file)
        self._address = server.target
        self._timeout_s = timeout_s
        self._metadata = tuple(server.headers.items())
        self._channel = open_channel(grpc.aio, server)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    async def resolve(self, choice: Choice) -> ServedPolicy:
        """The version that a choice comes to now, and what its `step` takes.

        Raises:
          InvalidInput: when the model has no signature `step`.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = choice.model
        if choice.version is not None:
            request.model_spec.version.value = choice.version
        elif choice.label is not None:
            request.model_spec.version_label = choice.label
        try:
            response = await self._call(self._stub.GetModelMetadata, request)
        except UpstreamError as error:
            # TF Serving says of a label that it does not know that the argument is invalid.
            if error.status == 400:
                raise UpstreamError(str(error), 404) from error
            raise
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        if "step" not in signatures.signature_def:
            raise InvalidInput(f"model {choice.model!r} has no signature 'step': it is not a tfmem export")
        inputs = {name: _spec(info) for name, info in signatures.signature_def["step"].inputs.items()}
        return ServedPolicy(
            model=choice.model,
            version=response.model_spec.version.value,
            observation={name: spec for name, spec in inputs.items() if wire.is_observation(name)},
            state={name: spec for name, spec in inputs.items() if wire.is_state(name)},
        )

    async def step(self, policy: ServedPolicy, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of `step` for a batch."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = policy.model
        request.model_spec.version.value = policy.version
        request.model_spec.signature_name = "step"
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = await self._call(self._stub.Predict, request)
        outputs = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
        size = len(inputs[wire.IS_FIRST])
        for name in (wire.ACTION, wire.Q_VALUES, *policy.state):
            if name not in outputs or outputs[name].shape[:1] != (size,):
                raise UpstreamError(f"{self._address} gave no {name!r} for each of {size} sessions", 502)
        return outputs

    async def check(self) -> None:
        """Raises `UpstreamError` unless the server can be reached."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), _REACHED_S)
        except asyncio.TimeoutError as error:
            raise UpstreamError(f"{self._address} cannot be reached", 503) from error

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()
        # gRPC's thread ends with the last reference to the channel; at Python's own end it would complain.
        del self._channel, self._stub

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            status = _STATUSES.get(error.code(), 502)
            reason = " ".join((error.details() or error.code().name).split())
            raise UpstreamError(f"{self._address} answered {error.code().name}: {reason}", status) from error


def _server(address: str) -> Server:
    try:
        server = Server(address if "://" in address else f"grpc://{address}")
        if server.is_grpc:
            return server
    except InvalidInput:  # it would tell of REST, which is not spoken here
        pass
    raise InvalidInput(
        f"the upstream must be a gRPC address such as 127.0.0.1:8500 or grpcs://127.0.0.1:8500,"
        f" not {address!r}"
    )


def _spec(info: Any) -> dict[str, Any]:
    """TensorInfo as dtype and shape without the batch axis."""
    return {
        "dtype": tf.dtypes.as_dtype(info.dtype).name,
        "shape": [dim.size for dim in info.tensor_shape.dim][1:],
    }
