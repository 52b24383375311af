"""What a client asks of a server, apart from how it travels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request and how its response is read.

    Attributes:
      request: for the transport.
      read: makes the answer of the transport's response; raises `ServerError` for a refusal.
    """

    request: Any
    read: Callable[[Any], Answer]


class Api(Protocol):
    """The calls of one model, in one protocol."""

    def status(self) -> Call[list[dict[str, Any]]]:
        """TF Serving's `model_version_status` in JSON values."""

    def metadata(self, *, version: int | None, label: str | None) -> Call[dict[str, Any]]:
        """The metadata of a version, of a label's, or of the newest, in the JSON values of the REST API."""

    def predict(self, signature: str, inputs: dict[str, np.ndarray], *, version: int) -> Call[Any]:
        """The outputs as arrays by name; the array alone where there is one."""
