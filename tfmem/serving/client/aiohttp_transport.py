"""HTTP by aiohttp."""

import asyncio
import ssl

import aiohttp

from tfmem.serving.client.errors import TIMED_OUT, ServerError
from tfmem.serving.client.rest import HttpRequest, HttpResponse
from tfmem.serving.client.server import Server


class AiohttpTransport:
    """Sends requests and awaits their responses. Belongs to the event loop that it is made in."""

    def __init__(self, server: Server):
        tls = ssl.create_default_context(cafile=server.ca_file) if server.is_secure else None
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls or True),
            headers={"Content-Type": "application/json", **server.headers},
            trust_env=True,  # proxies, as requests and gRPC do
        )

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """The response, whatever its status; `ServerError` when there is none."""
        try:
            async with self._http.request(
                request.method,
                request.url,
                data=request.body,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                return HttpResponse(request, response.status, await response.read())
        except asyncio.TimeoutError as error:
            raise ServerError(
                f"no answer from {request.url} in time; a larger timeout_s waits longer", TIMED_OUT
            ) from error
        except aiohttp.ClientError as error:
            raise ServerError(f"no answer from {request.url}: {error.__cause__ or error}") from error

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()
