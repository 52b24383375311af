"""A policy behind TF Serving's API: the client, and a local server (`tfmem.serving.server`).

The client imports no TensorFlow, and so importing this package does not either.
"""

from tfmem.serving.client import (
    AsyncPinnedPolicy,
    AsyncPolicyClient,
    AsyncSession,
    PinnedPolicy,
    PolicyClient,
    ServerError,
    Session,
    VersionGone,
)

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
