"""A local server that speaks TF Serving's REST API: predict, status and metadata."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import tensorflow as tf
from aiohttp import web
from google.protobuf import message

from tfmem.errors import InvalidInput
from tfmem.serving.servable import BadRequest, Servable

_log = logging.getLogger(__name__)

# A batch of memories in JSON is large: 128 slots of 20 numbers take 50 kB for each.
MAX_REQUEST_BYTES = 64 * 1024**2


class ModelNotFound(LookupError):
    """There is no such model or version."""


def load_models(base: Path) -> dict[str, Servable]:
    """Loads the newest version of every model in `base`, a folder of `NAME/VERSION/saved_model.pb`.

    Raises:
      InvalidInput: when there is none, or one cannot be loaded.
    """
    newest: dict[str, Path] = {}
    for path in sorted(base.glob("*/*/saved_model.pb")):
        version, name = path.parent, path.parent.parent.name
        if version.name.isdigit() and (name not in newest or int(newest[name].name) < int(version.name)):
            newest[name] = version
    if not newest:
        raise InvalidInput(
            f"{base} holds no models: it must have folders NAME/VERSION/ with a saved_model.pb"
        )
    return {name: _load(path) for name, path in newest.items()}


def _load(path: Path) -> Servable:
    try:
        return Servable(path)
    except (OSError, ValueError, tf.errors.OpError, message.DecodeError) as error:
        raise InvalidInput(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error


class PredictionServer:
    """Answers TF Serving's REST requests for a fixed set of loaded models.

    Errors are `{"error": …}` with TF Serving's statuses: 400 for what does not fit, 404 for an unknown model
    or version.
    """

    def __init__(self, models: dict[str, Servable]):
        self._models = models

    def application(self) -> web.Application:
        """The server's routes as an aiohttp application."""
        application = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[_errors])
        model = r"/v1/models/{model:[^/:]+}"
        for path in (model, model + r"/versions/{version:\d+}", model + r"/labels/{label:[^/:]+}"):
            application.router.add_get(path, self._status)
            application.router.add_get(path + "/metadata", self._metadata)
            application.router.add_post(path + ":predict", self._predict)
        application.router.add_route("*", "/{tail:.*}", _malformed)
        return application

    def _find(self, request: web.Request) -> tuple[str, Servable]:
        name, version = request.match_info["model"], request.match_info.get("version")
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        servable = self._models.get(name)
        if servable is None or (version is not None and int(version) != servable.version):
            raise ModelNotFound(f"Servable not found for request: {wanted}")
        if "label" in request.match_info:
            label = request.match_info["label"]
            raise ModelNotFound(f"Unrecognized servable version label: {label}")
        return name, servable

    async def _status(self, request: web.Request) -> web.Response:
        _, servable = self._find(request)
        status = {
            "version": str(servable.version),
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
        return web.json_response({"model_version_status": [status]})

    async def _metadata(self, request: web.Request) -> web.Response:
        name, servable = self._find(request)
        return web.json_response(
            {
                "model_spec": {
                    "name": name,
                    "signature_name": "",
                    "version": str(servable.version),
                },
                "metadata": {"signature_def": {"signature_def": servable.metadata()}},
            }
        )

    async def _predict(self, request: web.Request) -> web.Response:
        _, servable = self._find(request)
        try:
            body: Any = json.loads(await request.read())
        except ValueError as error:
            raise BadRequest(f"JSON Parse error: {error}") from error
        if not isinstance(body, dict):
            raise BadRequest("JSON Value: the request must be an object")
        # TensorFlow releases the interpreter while it computes; the event loop stays free.
        return web.json_response(await asyncio.to_thread(servable.predict, body))


async def _malformed(request: web.Request) -> web.Response:
    raise BadRequest(f"Malformed request: {request.method} {request.path}")


@web.middleware
async def _errors(request: web.Request, handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (BadRequest, tf.errors.InvalidArgumentError) as error:
        return web.json_response({"error": str(error)}, status=400)
    except ModelNotFound as error:
        return web.json_response({"error": str(error)}, status=404)
    except web.HTTPException as error:
        return web.json_response({"error": error.reason}, status=error.status)
    except Exception:
        _log.exception("%s %s failed", request.method, request.path)
        return web.json_response({"error": "internal error; see the server's log"}, status=500)


async def serve(
    models: dict[str, Servable],
    *,
    host: str,
    rest_port: int,
    ready,
    stop: asyncio.Event,
) -> None:
    """Serves until `stop` is set.

    Args:
      models: the loaded models by name.
      host: address to listen on.
      rest_port: port to listen on; 0 for any that is free.
      ready: called with the server's URL once it listens.
      stop: ends the server; requests that are being answered are finished first.

    Raises:
      InvalidInput: when the address is taken.
    """
    runner = web.AppRunner(PredictionServer(models).application(), access_log=None)
    await runner.setup()
    try:
        try:
            site = web.TCPSite(runner, host, rest_port)
            await site.start()
        except OSError as error:
            raise InvalidInput(
                f"cannot listen on {host}:{rest_port}: {error.strerror}; change --host or --rest-port"
            ) from error
        port = runner.addresses[0][1]
        ready(f"http://{host}:{port}")
        await stop.wait()
    finally:
        await runner.cleanup()
