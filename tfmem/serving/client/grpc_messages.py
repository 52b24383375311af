"""TF Serving's gRPC API: requests and answers, without any I/O."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import json_format, message

from tfmem.errors import InvalidInput
from tfmem.serving.client import messages, tensors
from tfmem.serving.client.call import Call
from tfmem.serving.client.errors import ServerError


@dataclass(frozen=True)
class GrpcRequest:
    """What to send: a method's path, its message, and the class of what comes back."""

    method: str
    message: Any
    response: Any


class GrpcApi:
    """The calls of one model; see `tfmem.serving.client.call.Api`.

    Args:
      name: of the model.
    """

    def __init__(self, name: str):
        self._name = name

    def status(self) -> Call[list[dict[str, Any]]]:
        """See `Api.status`."""
        request = GrpcRequest(
            "/tensorflow.serving.ModelService/GetModelStatus",
            messages.GetModelStatusRequest(model_spec={"name": self._name}),
            messages.GetModelStatusResponse,
        )
        return Call(request, lambda response: _json(response)["model_version_status"])

    def metadata(self, *, version: int | None, label: str | None) -> Call[dict[str, Any]]:
        """See `Api.metadata`."""
        spec = messages.ModelSpec(name=self._name, version_label=label or "")
        if version is not None:
            spec.version.CopyFrom(messages.Int64Value(value=version))
        request = GrpcRequest(
            "/tensorflow.serving.PredictionService/GetModelMetadata",
            messages.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"]),
            messages.GetModelMetadataResponse,
        )
        return Call(request, _metadata)

    def predict(self, signature: str, inputs: dict[str, np.ndarray], *, version: int) -> Call[Any]:
        """See `Api.predict`."""
        spec = messages.ModelSpec(
            name=self._name, version=messages.Int64Value(value=version), signature_name=signature
        )
        try:
            tensor_protos = {name: tensors.to_proto(array) for name, array in inputs.items()}
        except ValueError as error:
            raise InvalidInput(f"the inputs cannot be sent: {error}") from error
        request = GrpcRequest(
            "/tensorflow.serving.PredictionService/Predict",
            messages.PredictRequest(model_spec=spec, inputs=tensor_protos),
            messages.PredictResponse,
        )
        return Call(request, _outputs)


def _json(response: Any) -> dict[str, Any]:
    """A message in the JSON values of the REST API."""
    return json_format.MessageToDict(
        response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _metadata(response: Any) -> dict[str, Any]:
    try:
        signatures = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value)
    except message.DecodeError as error:
        raise ServerError("the server's metadata is not TF Serving's: no 'signature_def'", 200) from error
    return {
        "model_spec": {"version": str(response.model_spec.version.value)},
        "metadata": {"signature_def": _json(signatures)},
    }


def _outputs(response: Any) -> Any:
    try:
        outputs = {name: tensors.from_proto(proto) for name, proto in response.outputs.items()}
    except ValueError as error:
        raise ServerError(f"the server's answer cannot be read: {error}", 200) from error
    return outputs if len(outputs) > 1 else next(iter(outputs.values()), outputs)
