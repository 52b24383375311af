"""A policy behind TF Serving's API: the client, and a local server (`tfmem.serving.server`).

The client imports no TensorFlow, and so importing this package does not either.
"""

from tfmem.serving.client import PinnedPolicy, PolicyClient, ServerError, Session

__all__ = ["PinnedPolicy", "PolicyClient", "ServerError", "Session"]
