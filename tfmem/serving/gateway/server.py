"""Starts and stops a gateway."""

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import AsyncIterator, Callable

from tfmem.errors import require
from tfmem.serving.gateway.http import Gateway
from tfmem.serving.gateway.redis_store import RedisStore
from tfmem.serving.gateway.session_store import MemoryStore, SessionStore
from tfmem.serving.gateway.upstream import Upstream
from tfmem.serving.listening import Listening, http_server

# How long calls that are being answered get when the gateway is told to stop.
_DRAIN_S = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatewayConfig(Listening):
    """What a gateway is started with; see also `Listening`.

    Args:
      upstream: the gRPC address of TF Serving or `tfmem serve`; `grpcs://` and the address for TLS.
      upstream_token: a bearer token to send along.
      upstream_ca_file: certificates (PEM) to check the upstream's against; by default the usual ones.
      port: port to listen on; 0 for any that is free.
      store: `memory`, or the URL of a Redis that gateways share.
      idle_timeout_s: seconds after which a session that nothing has acted on is forgotten.
      max_sessions: the cap on sessions.
      max_in_flight: requests answered at a time; more get 429.
      request_timeout_s: how long the server, and the store, may take to answer.

    Raises:
      InvalidInput: when a value is out of its range.
    """

    upstream: str
    upstream_token: str | None = dataclasses.field(default=None, repr=False)
    upstream_ca_file: str | None = None
    port: int = 8600
    store: str = "memory"
    idle_timeout_s: float = 600.0
    max_sessions: int = 100_000
    max_in_flight: int = 256
    request_timeout_s: float = 10.0

    def __post_init__(self):
        super().__post_init__()
        for name in ("idle_timeout_s", "request_timeout_s"):
            value = getattr(self, name)
            require(0 < value < math.inf, name, value, "a number of seconds above 0")
        for name in ("max_sessions", "max_in_flight"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


@contextlib.asynccontextmanager
async def running(config: GatewayConfig) -> AsyncIterator[str]:
    """A gateway that listens; gives its URL. At the end, requests that are being answered are finished first.

    Raises:
      InvalidInput: when the address is taken, or a part of the configuration does not fit.
    """
    async with contextlib.AsyncExitStack() as stack:
        store = _store(config)
        stack.push_async_callback(store.close)
        upstream = Upstream(
            config.upstream,
            timeout_s=config.request_timeout_s,
            token=config.upstream_token,
            ca_file=config.upstream_ca_file,
        )
        stack.push_async_callback(upstream.close)
        gateway = Gateway(store, upstream, max_in_flight=config.max_in_flight)
        listening = http_server(gateway.application(), config, config.port, option="--port", drain_s=_DRAIN_S)
        yield await stack.enter_async_context(listening)


def _store(config: GatewayConfig) -> SessionStore:
    if config.store == "memory":
        return MemoryStore(max_sessions=config.max_sessions, idle_timeout_s=config.idle_timeout_s)
    return RedisStore(
        config.store,
        max_sessions=config.max_sessions,
        idle_timeout_s=config.idle_timeout_s,
        timeout_s=config.request_timeout_s,
    )


async def serve(config: GatewayConfig, *, ready: Callable[[str], None], stop: asyncio.Event) -> None:
    """Serves until `stop` is set; calls `ready` with the URL once the gateway listens."""
    async with running(config) as url:
        ready(url)
        await stop.wait()
