"""Malformed and hostile requests to a server that speaks TF Serving's APIs, from a seed."""

from hostile.by_grpc import GrpcRequest, grpc_requests
from hostile.by_http import HttpRequest, http_requests

__all__ = ["GrpcRequest", "HttpRequest", "grpc_requests", "http_requests"]
