"""TF Serving's gRPC API on its official stubs: predictions, metadata, status and reload."""

from functools import partial
from typing import NoReturn

import grpc
from google.protobuf import message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfmem.errors import InvalidInput
from tfmem.serving.bearer import is_authorized
from tfmem.serving.listening import TOKEN_REQUIRED
from tfmem.serving.server.model_config import check_config
from tfmem.serving.server.models import Models
from tfmem.serving.server.predictions import Predictions
from tfmem.serving.server.request_error import RequestError, bad_request
from tfmem.serving.server.servable import DEFAULT_SIGNATURE, Servable
from tfmem.serving.server.tensor_protos import read_tensors, write_tensor

_STATE = get_model_status_pb2.ModelVersionStatus.State


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """`tensorflow.serving.PredictionService` over the predictions of a server."""

    def __init__(self, predictions: Predictions):
        self._predictions = predictions

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Calls a signature; `output_filter` chooses among its outputs."""
        spec = request.model_spec
        try:
            with self._predictions.metrics.measure(spec.name, "grpc"):
                servable = _find(self._predictions.models, spec)
                wanted = _wanted_outputs(request, servable)
                outputs = await self._predictions.predict(
                    servable,
                    spec.signature_name,
                    read_tensors(request.inputs, servable.signature(spec.signature_name)),
                    timeout_s=context.time_remaining(),
                )
        except RequestError as error:
            await _abort(context, error)
        response = predict_pb2.PredictResponse(model_spec=_spec(spec, servable))
        for name in wanted:
            response.outputs[name].CopyFrom(write_tensor(outputs[name]))
        return response

    async def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version."""
        try:
            servable = _find(self._predictions.models, request.model_spec)
            if list(request.metadata_field) != ["signature_def"]:
                raise bad_request("metadata_field must be 'signature_def' and nothing else")
        except RequestError as error:
            await _abort(context, error)
        response = get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=_spec(request.model_spec, servable)
        )
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.definitions)
        response.metadata["signature_def"].Pack(signatures)
        return response

    async def Classify(self, request, context: grpc.aio.ServicerContext):
        """Refused: a policy has no signature for it."""
        await self._wants_examples(request.model_spec, context)

    async def Regress(self, request, context: grpc.aio.ServicerContext):
        """Refused: a policy has no signature for it."""
        await self._wants_examples(request.model_spec, context)

    async def MultiInference(self, request, context: grpc.aio.ServicerContext):
        """Refused: a policy has no signature for it."""
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        await self._wants_examples(spec, context)

    async def _wants_examples(self, spec: model_pb2.ModelSpec, context: grpc.aio.ServicerContext) -> NoReturn:
        try:
            _find(self._predictions.models, spec).signature(spec.signature_name)
            raise bad_request(
                "Expected a signature for classification or regression; this server's models have none: "
                "use Predict"
            )
        except RequestError as error:
            await _abort(context, error)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """`tensorflow.serving.ModelService`: the states of versions, and reload of the configuration."""

    def __init__(self, models: Models):
        self._models = models

    async def GetModelStatus(
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The states of a model's versions, newest first."""
        try:
            statuses = self._models.statuses(*_wanted(request.model_spec))
        except RequestError as error:
            await _abort(context, error)
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, status in statuses.items():
            one = response.model_version_status.add(version=version, state=_STATE.Value(status.state))
            code = grpc.StatusCode.UNKNOWN if status.error else grpc.StatusCode.OK
            one.status.error_code = code.value[0]
            one.status.error_message = status.error
            one.status.SetInParent()  # there as TF Serving's is, though all of it may be zero
        return response

    async def HandleReloadConfigRequest(
        self,
        request: model_management_pb2.ReloadConfigRequest,
        context: grpc.aio.ServicerContext,
    ) -> model_management_pb2.ReloadConfigResponse:
        """Serves the models of the request and no others; answers once they are loaded."""
        try:
            check_config(request.config)
            await self._models.replace(request.config)
        except InvalidInput as error:
            await _abort(context, bad_request(str(error)))
        return model_management_pb2.ReloadConfigResponse()


class TokenRequired(grpc.aio.ServerInterceptor):
    """Refuses calls without `authorization: Bearer …` of a token, health checks excepted."""

    def __init__(self, token: str):
        self._token = token

    async def intercept_service(self, continuation, handler_call_details):
        """Lets a call through, or answers UNAUTHENTICATED."""
        if handler_call_details.method.startswith("/grpc.health."):
            return await continuation(handler_call_details)
        given = dict(handler_call_details.invocation_metadata).get("authorization", "")
        if is_authorized(str(given).encode(), self._token):
            return await continuation(handler_call_details)

        async def refuse(request, context):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, TOKEN_REQUIRED)

        return grpc.unary_unary_rpc_method_handler(refuse)


class MessageRequired(grpc.aio.ServerInterceptor):
    """Refuses bytes that are not the message of their method; gRPC would call that UNKNOWN."""

    async def intercept_service(self, continuation, handler_call_details):
        """Lets a call through, or answers INVALID_ARGUMENT."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            partial(_parse_and_call, handler), response_serializer=handler.response_serializer
        )


async def _parse_and_call(handler: grpc.RpcMethodHandler, data: bytes, context: grpc.aio.ServicerContext):
    try:
        request = handler.request_deserializer(data)
    except message.DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not a message of this method")
    return await handler.unary_unary(request, context)


def _wanted(spec: model_pb2.ModelSpec) -> tuple[str, int | None, str | None]:
    """Model, version and label of a spec."""
    version = spec.version.value if spec.HasField("version") else None
    return spec.name, version, spec.version_label or None


def _find(models: Models, spec: model_pb2.ModelSpec) -> Servable:
    return models.find(*_wanted(spec))


def _spec(asked: model_pb2.ModelSpec, servable: Servable) -> model_pb2.ModelSpec:
    """What was asked for, with the version that answers."""
    spec = model_pb2.ModelSpec(name=asked.name, signature_name=asked.signature_name or DEFAULT_SIGNATURE)
    spec.version.value = servable.version
    return spec


def _wanted_outputs(request: predict_pb2.PredictRequest, servable: Servable) -> list[str]:
    outputs = servable.signature(request.model_spec.signature_name).outputs
    unknown = set(request.output_filter) - set(outputs)
    if unknown:
        raise bad_request(f"output_filter names {sorted(unknown)}, of the outputs {outputs}")
    return list(request.output_filter) or outputs


async def _abort(context: grpc.aio.ServicerContext, error: RequestError) -> NoReturn:
    await context.abort(error.code, error.message)
    raise AssertionError("abort returns by raising")
