"""A local server that speaks TF Serving's REST and gRPC APIs."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from tfmem.errors import InvalidInput, require
from tfmem.serving.listening import Listening, http_server
from tfmem.serving.server.grpc_services import (
    MessageRequired,
    ModelService,
    PredictionService,
    TokenRequired,
)
from tfmem.serving.server.metrics import Metrics
from tfmem.serving.server.model_config import ModelServerConfig
from tfmem.serving.server.models import Models
from tfmem.serving.server.predictions import Predictions
from tfmem.serving.server.rest import RestApi
from tfmem.serving.server.servable import Batching

_log = logging.getLogger(__name__)
_MIB = 1024**2
# How long requests that are being answered get when the server is told to stop.
DRAIN_S = 15.0


@dataclass(frozen=True, kw_only=True)
class ServerConfig(Listening):
    """How a server listens and what it lets through; see also `Listening`.

    Attributes:
      rest_port: port of REST; 0 for any that is free.
      grpc_port: port of gRPC; the same.
      batching: how requests share a call of the model.
      max_concurrency: requests answered at a time; more are refused with 429 or RESOURCE_EXHAUSTED.
      request_timeout_s: the longest that an answer may take.
      max_request_mib: larger requests are refused. A batch of memories in JSON is large: 128 slots of 20
        numbers take 50 kB for each.
      poll_s: seconds between two looks for new versions.
    """

    rest_port: int = 8501
    grpc_port: int = 8500
    batching: Batching = field(default_factory=Batching)
    max_concurrency: int = 128
    request_timeout_s: float = 30.0
    max_request_mib: int = 64
    poll_s: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        require(self.max_concurrency >= 1, "max_concurrency", self.max_concurrency, "at least 1")
        for name in ("request_timeout_s", "max_request_mib", "poll_s"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")


async def serve(
    source: Callable[[], ModelServerConfig],
    config: ServerConfig,
    *,
    ready: Callable[[str, str, dict[str, list[int]]], None],
    stop: asyncio.Event,
) -> None:
    """Serves until `stop` is set, and then ends once the requests that are running are answered.

    Args:
      source: the models; see `tfmem.serving.server.models.Models`.
      config: how.
      ready: called with the URL of REST, the address of gRPC and the versions, once both listen.
      stop: ends the server.

    Raises:
      InvalidInput: when there is nothing to serve, an address is taken, or a certificate cannot be used.
    """
    metrics = Metrics()
    models = Models(source, batching=config.batching)
    await models.start()
    metrics.set_available(models.available())
    predictions = Predictions(
        models, metrics, max_concurrency=config.max_concurrency, timeout_s=config.request_timeout_s
    )
    async with _rest(predictions, config, stop) as url, _grpc(predictions, config) as address:
        ready(url, address, models.available())
        looking = asyncio.create_task(_keep_looking(models, metrics, config.poll_s))
        await stop.wait()
        looking.cancel()
        _log.info("draining")


async def _keep_looking(models: Models, metrics: Metrics, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await models.refresh()
        except (InvalidInput, OSError) as error:
            _log.error("the models stay as they are", extra={"reason": str(error)})
        metrics.set_available(models.available())


def _rest(
    predictions: Predictions, config: ServerConfig, stop: asyncio.Event
) -> contextlib.AbstractAsyncContextManager[str]:
    api = RestApi(
        predictions, max_request_bytes=config.max_request_mib * _MIB, ready=lambda: not stop.is_set()
    )
    return http_server(api.application(), config, config.rest_port, option="--rest-port", drain_s=DRAIN_S)


@contextlib.asynccontextmanager
async def _grpc(predictions: Predictions, config: ServerConfig) -> AsyncIterator[str]:
    limit = config.max_request_mib * _MIB
    server = grpc.aio.server(
        interceptors=[*([TokenRequired(config.token)] if config.token else []), MessageRequired()],
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            ("grpc.so_reuseport", 0),  # two servers on one port would share its requests
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(predictions), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(predictions.models), server)
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    address = f"{config.host}:{config.grpc_port}"
    try:
        if config.tls_certificate and config.tls_key:
            pair = (config.tls_key.read_bytes(), config.tls_certificate.read_bytes())
            port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise InvalidInput(f"cannot listen on {address}: change --host or --grpc-port") from error
    await server.start()
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    try:
        yield f"{config.host}:{port}"
    finally:
        await healthy.enter_graceful_shutdown()
        await server.stop(DRAIN_S)
