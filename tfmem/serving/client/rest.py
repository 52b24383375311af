"""TF Serving's REST API: requests and answers, without any I/O."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from tfmem.serving.client.call import Call
from tfmem.serving.client.errors import ServerError


@dataclass(frozen=True)
class HttpRequest:
    """What to send."""

    method: str
    url: str
    body: str | None = None


@dataclass(frozen=True)
class HttpResponse:
    """What came back."""

    request: HttpRequest
    status: int
    body: bytes


class RestApi:
    """The calls of one model; see `tfmem.serving.client.call.Api`.

    Args:
      url: of the server.
      name: of the model.
    """

    def __init__(self, url: str, name: str):
        self._url = f"{url.rstrip('/')}/v1/models/{quote(name, safe='')}"

    def status(self) -> Call[list[dict[str, Any]]]:
        """See `Api.status`."""
        return Call(HttpRequest("GET", self._url), lambda response: _part(response, "model_version_status"))

    def metadata(self, *, version: int | None, label: str | None) -> Call[dict[str, Any]]:
        """See `Api.metadata`."""
        which = "" if version is None else f"/versions/{version}"
        which = which if label is None else f"/labels/{quote(label, safe='')}"
        return Call(HttpRequest("GET", f"{self._url}{which}/metadata"), _metadata)

    def predict(self, signature: str, inputs: dict[str, np.ndarray], *, version: int) -> Call[Any]:
        """See `Api.predict`. In column form: one list for each input."""
        columns = {name: array.tolist() for name, array in inputs.items()}
        # NaN and Infinity go as the tokens of these names, which TF Serving knows.
        body = json.dumps({"signature_name": signature, "inputs": columns})
        return Call(HttpRequest("POST", f"{self._url}/versions/{version}:predict", body), _outputs)


def _answer(response: HttpResponse) -> Any:
    url, status = response.request.url, response.status
    try:
        answer = json.loads(response.body)
    except ValueError as error:
        raise ServerError(f"{url} answered {status} without JSON", status) from error
    if status != 200:
        reason = answer.get("error") if isinstance(answer, dict) else None
        raise ServerError(f"{url} answered {status}: {reason or 'no reason given'}", status)
    return answer


def _part(response: HttpResponse, key: str) -> Any:
    answer = _answer(response)
    if not isinstance(answer, dict) or key not in answer:
        url = response.request.url
        raise ServerError(f"{url} does not answer as TF Serving does: no {key!r}", response.status)
    return answer[key]


def _metadata(response: HttpResponse) -> dict[str, Any]:
    return {key: _part(response, key) for key in ("model_spec", "metadata")}


def _outputs(response: HttpResponse) -> Any:
    outputs = _part(response, "outputs")
    try:
        if isinstance(outputs, dict):
            return {name: np.asarray(value) for name, value in outputs.items()}
        return np.asarray(outputs)
    except ValueError as error:
        raise ServerError(
            f"{response.request.url} answered arrays that are not rectangular", response.status
        ) from error
