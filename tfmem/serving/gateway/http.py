"""A stateless HTTP proxy in front of TF Serving that keeps each session's memory in a store.

| call | body | answer |
| --- | --- | --- |
| `POST /v1/sessions` | `{"model", "version"? or "label"?, "session_id"?}` | 201 and a session |
| `POST /v1/sessions/ID:act` | `{"observation", "step"?}` | `{"action", "q_values", "step", "version"}` |
| `POST /v1/sessions:act` | `{"sessions": [{"session_id", "observation", "step"?}, …]}` | `{"results": […]}` |
| `POST /v1/sessions/ID:reset` | | a session |
| `GET /v1/sessions/ID` | | a session |
| `DELETE /v1/sessions/ID` | | 204 |
| `GET /healthz` | | 200 while the gateway runs |
| `GET /readyz` | | 200 while the store and the server answer |
| `GET /metrics` | | Prometheus |

A session is `{"session_id", "version", "fingerprint", "step"}`. `step` is always the number of the session's
next step, 0 at first; given with an `:act`, it makes that call safe to repeat. `observation` is a value, or
values by their names on the wire. Each result is what `:act` would answer, or `{"error", "status"}`.

Errors are `{"error"}` in one line, with the status:

| status | when |
| --- | --- |
| 400 | the request or the observation does not fit |
| 401 | a bearer token is asked for (`tfmem.serving.listening`), and is missing or wrong |
| 404 | no such session; on starting or resetting, no such model, version or label |
| 409 | the id is taken; another call is being answered on the session |
| 410 | the version that the episode is pinned to is no longer served; a reset goes on with fresh memory |
| 412 | the step is out of order; `step` has the next one |
| 413 | the request is larger than 64 MB |
| 429 | the gateway or the server is saturated |
| 502 | the server answers with an error of its own |
| 503 | the server or the store is unavailable, or the cap on sessions is reached |
| 504 | the server did not answer in time |
"""

import asyncio
import logging
import math
from typing import Any

from aiohttp import web

from tfmem.errors import InvalidInput
from tfmem.serving.gateway import requests
from tfmem.serving.gateway.metrics import GatewayMetrics
from tfmem.serving.gateway.session_service import Act, SessionService
from tfmem.serving.gateway.session_store import SessionStore, StoreUnavailable
from tfmem.serving.gateway.sessions import Session, SessionError
from tfmem.serving.gateway.upstream import Upstream

_log = logging.getLogger(__name__)

_MAX_REQUEST_BYTES = 64 * 1024**2


class Gateway:
    """Answers the gateway's HTTP requests.

    Args:
      store: keeps the sessions.
      upstream: steps the policies.
      max_in_flight: requests answered at a time.
    """

    def __init__(self, store: SessionStore, upstream: Upstream, *, max_in_flight: int):
        self._store = store
        self._upstream = upstream
        self._sessions = SessionService(store, upstream)
        self._metrics = GatewayMetrics()
        self._max_in_flight = max_in_flight
        self._in_flight = 0

    def application(self) -> web.Application:
        """The gateway's routes as an aiohttp application."""
        application = web.Application(client_max_size=_MAX_REQUEST_BYTES, middlewares=[self._answer])
        session = f"/v1/sessions/{{id:{requests.SESSION_ID}}}"
        application.add_routes(
            [
                web.post("/v1/sessions", self._start),
                web.post("/v1/sessions:act", self._act_many),
                web.post(session + ":act", self._act),
                web.post(session + ":reset", self._reset),
                web.get(session, self._status),
                web.delete(session, self._end),
                web.get("/healthz", self._alive),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._scrape),
            ]
        )
        return application

    @web.middleware
    async def _answer(self, request: web.Request, handler) -> web.StreamResponse:
        try:
            if not request.path.startswith("/v1/"):
                return await handler(request)
            if self._in_flight >= self._max_in_flight:
                return web.json_response({"error": "the gateway is saturated; try again later"}, status=429)
            self._in_flight += 1
            try:
                return await handler(request)
            finally:
                self._in_flight -= 1
        except web.HTTPException as error:
            return web.json_response({"error": error.reason}, status=error.status)
        except Exception as error:
            status, body = _refusal(error)
            return web.json_response(body, status=status)

    async def _start(self, request: web.Request) -> web.Response:
        choice, wanted_id = requests.read_start(await request.read())
        session_id, session = await self._sessions.start(choice, wanted_id)
        return web.json_response(_described(session_id, session), status=201)

    async def _act(self, request: web.Request) -> web.Response:
        act = requests.read_act(request.match_info["id"], await request.read())
        ((status, answer),) = await self._answers([act])
        return web.json_response(answer, status=status)

    async def _act_many(self, request: web.Request) -> web.Response:
        acts = requests.read_acts(await request.read())
        results = [
            answer if status == 200 else {**answer, "status": status}
            for status, answer in await self._answers(acts)
        ]
        return web.json_response({"results": results})

    async def _answers(self, acts: list[Act | InvalidInput]) -> list[tuple[int, dict[str, Any]]]:
        with self._metrics.timed():
            results = [
                _refusal(result) if isinstance(result, BaseException) else (200, _answered(result))
                for result in await self._sessions.act(acts)
            ]
        self._metrics.count(status for status, _ in results)
        return results

    async def _reset(self, request: web.Request) -> web.Response:
        session = await self._sessions.reset(request.match_info["id"])
        return web.json_response(_described(request.match_info["id"], session))

    async def _status(self, request: web.Request) -> web.Response:
        session = await self._sessions.status(request.match_info["id"])
        return web.json_response(_described(request.match_info["id"], session))

    async def _end(self, request: web.Request) -> web.Response:
        await self._sessions.end(request.match_info["id"])
        return web.Response(status=204)

    async def _alive(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _ready(self, request: web.Request) -> web.Response:
        await asyncio.gather(self._store.ping(), self._upstream.check())
        return web.json_response({"status": "ready"})

    async def _scrape(self, request: web.Request) -> web.Response:
        try:
            sessions = float(await self._store.count())
        except StoreUnavailable:
            sessions = math.nan
        return web.Response(
            body=self._metrics.text(sessions), headers={"Content-Type": GatewayMetrics.CONTENT_TYPE}
        )


def _refusal(error: BaseException) -> tuple[int, dict[str, Any]]:
    if isinstance(error, SessionError):
        if error.status >= 500:
            _log.info("%s", error)
        return error.status, error.body()
    if isinstance(error, InvalidInput):
        return 400, {"error": str(error)}
    _log.error("a request failed", exc_info=error)
    return 500, {"error": "internal error; see the gateway's log"}


def _described(session_id: str, session: Session) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "version": session.version,
        "fingerprint": session.fingerprint,
        "step": session.step,
    }


def _answered(session: Session) -> dict[str, Any]:
    return {**session.answer, "step": session.step, "version": session.version}
