"""A policy behind TF Serving's API: the client; a local server (`server`); sessions (`gateway`).

The client imports no TensorFlow, and so importing this package does not either.
"""

from tfmem.serving.client.async_client import AsyncPinnedPolicy, AsyncPolicyClient, AsyncSession
from tfmem.serving.client.client import PinnedPolicy, PolicyClient, Session
from tfmem.serving.client.errors import ServerError, VersionGone

__all__ = [
    "AsyncPinnedPolicy",
    "AsyncPolicyClient",
    "AsyncSession",
    "PinnedPolicy",
    "PolicyClient",
    "ServerError",
    "Session",
    "VersionGone",
]
