"""HTTP by requests."""

import requests

from tfmem.serving.client.errors import TIMED_OUT, ServerError
from tfmem.serving.client.rest import HttpRequest, HttpResponse
from tfmem.serving.client.server import Server


class RequestsTransport:
    """Sends requests and waits for their responses."""

    def __init__(self, server: Server):
        self._verify = server.ca_file or True
        self._http = requests.Session()
        self._http.headers["Content-Type"] = "application/json"
        # As an authentication and not as a header, for which requests would prefer what .netrc says.
        self._http.auth = _Headers(server.headers)

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """The response, whatever its status; `ServerError` when there is none."""
        try:
            response = self._http.request(
                request.method,
                request.url,
                data=request.body,
                timeout=timeout_s,
                verify=self._verify,
                allow_redirects=False,  # a redirected POST would become a GET
            )
        except requests.Timeout as error:
            raise ServerError(
                f"no answer from {request.url} in time; a larger timeout_s waits longer", TIMED_OUT
            ) from error
        except requests.RequestException as error:
            raise ServerError(f"no answer from {request.url}: {_root_cause(error)}") from error
        return HttpResponse(request, response.status_code, response.content)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()


class _Headers(requests.auth.AuthBase):
    def __init__(self, headers: dict[str, str]):
        self._headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def _root_cause(error: requests.RequestException) -> str:
    """What lies under requests' and urllib3's own errors, such as "Connection refused"."""
    cause: BaseException = next((arg for arg in error.args if isinstance(arg, BaseException)), error)
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return str(cause) or type(cause).__name__
