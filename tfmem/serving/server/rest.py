"""TF Serving's REST API: predict, status and metadata; beside it metrics, health and readiness."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from google.protobuf import json_format

from tfmem.serving.server import json_tensors, metrics
from tfmem.serving.server.predictions import Predictions
from tfmem.serving.server.request_error import RequestError, bad_request
from tfmem.serving.server.servable import Servable

_log = logging.getLogger(__name__)


class RestApi:
    """Routes over the predictions of a server.

    Errors are `{"error": …}` with TF Serving's statuses: 400 for what does not fit, 404 for an unknown model
    or version, 429 when saturated, 504 when an answer took too long.

    Args:
      predictions: what answers.
      max_request_bytes: larger requests are refused with 413.
      ready: whether the server takes requests now; for `/readyz`.
    """

    def __init__(
        self,
        predictions: Predictions,
        *,
        max_request_bytes: int,
        ready: Callable[[], bool],
    ):
        self._predictions = predictions
        self._models = predictions.models
        self._max_request_bytes = max_request_bytes
        self._ready = ready

    def application(self) -> web.Application:
        """The routes as an aiohttp application."""
        application = web.Application(client_max_size=self._max_request_bytes, middlewares=[_errors])
        model = r"/v1/models/{model:[^/:]+}"
        for path in (model, model + r"/versions/{version:\d{1,18}}", model + r"/labels/{label:[^/:]+}"):
            application.router.add_get(path, self._status)
            application.router.add_get(path + "/metadata", self._metadata)
            application.router.add_post(path + ":predict", self._predict)
            for method in ("classify", "regress"):
                application.router.add_post(f"{path}:{method}", self._wants_examples)
        application.router.add_get(metrics.PATH, self._metrics)
        application.router.add_get("/healthz", self._health)
        application.router.add_get("/readyz", self._readiness)
        application.router.add_route("*", "/{tail:.*}", _malformed)
        return application

    async def _status(self, request: web.Request) -> web.Response:
        statuses = self._models.statuses(*_wanted(request))
        return web.json_response(
            {
                "model_version_status": [
                    {
                        "version": str(version),
                        "state": status.state,
                        "status": {
                            "error_code": "UNKNOWN" if status.error else "OK",
                            "error_message": status.error,
                        },
                    }
                    for version, status in statuses.items()
                ]
            }
        )

    async def _metadata(self, request: web.Request) -> web.Response:
        name, *_ = _wanted(request)
        servable = self._find(request)
        return web.json_response(
            {
                "model_spec": {"name": name, "signature_name": "", "version": str(servable.version)},
                "metadata": {
                    "signature_def": {
                        "signature_def": {
                            signature: json_format.MessageToDict(
                                definition,
                                preserving_proto_field_name=True,
                                always_print_fields_with_no_presence=True,
                            )
                            for signature, definition in servable.definitions.items()
                        }
                    }
                },
            }
        )

    async def _predict(self, request: web.Request) -> web.Response:
        with self._predictions.metrics.measure(request.match_info["model"], "rest"):
            servable = self._find(request)
            body = await _body(request)
            name = body.get("signature_name") or ""
            if not isinstance(name, str):
                raise bad_request(f'Serving signature name: "{name}" not found in signature def')
            inputs = json_tensors.read_inputs(body, servable.signature(name))
            outputs = await self._predictions.predict(servable, name, inputs)
        answer = json_tensors.write_outputs(body, outputs)
        return web.Response(body=answer, content_type="application/json")

    async def _wants_examples(self, request: web.Request) -> web.Response:
        self._find(request)
        raise bad_request(
            "Expected a signature for classification or regression; this server's models have none: "
            "use :predict"
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        text = self._predictions.metrics.text()
        return web.Response(body=text, content_type="text/plain", charset="utf-8")

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readiness(self, request: web.Request) -> web.Response:
        ready = self._ready()
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    def _find(self, request: web.Request) -> Servable:
        return self._models.find(*_wanted(request))


def _wanted(request: web.Request) -> tuple[str, int | None, str | None]:
    """Model, version and label of a path."""
    match = request.match_info
    version = int(match["version"]) if "version" in match else None
    return match["model"], version, match.get("label")


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json_tensors.parse(await request.read())
    except (web.RequestPayloadError, ConnectionError) as error:  # or the caller left before its end
        raise bad_request("the body is not as its headers say") from error
    except (ValueError, RecursionError) as error:
        raise bad_request(f"JSON Parse error: {error}") from error
    if not isinstance(body, dict):
        raise bad_request("JSON Value: the request must be an object")
    return body


async def _malformed(request: web.Request) -> web.Response:
    raise bad_request(f"Malformed request: {request.method} {request.path}")


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestError as error:
        return web.json_response({"error": error.message}, status=error.http_status)
    except web.HTTPException as error:
        return web.json_response({"error": error.reason}, status=error.status)
    except Exception:
        _log.exception("failed", extra={"method": request.method, "path": request.path})
        return web.json_response({"error": "internal error; see the server's log"}, status=500)
