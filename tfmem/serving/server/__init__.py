"""The local server: TF Serving's REST and gRPC APIs over versions of models (`tfmem serve`)."""

from tfmem.serving.server.model_config import discover, read_config
from tfmem.serving.server.servable import Batching
from tfmem.serving.server.server import ServerConfig, serve

__all__ = ["Batching", "ServerConfig", "discover", "read_config", "serve"]
