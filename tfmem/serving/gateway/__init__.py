"""The session gateway: an HTTP proxy that keeps the memory of each session (`tfmem gateway`)."""

from tfmem.serving.gateway.server import GatewayConfig, serve

__all__ = ["GatewayConfig", "serve"]
