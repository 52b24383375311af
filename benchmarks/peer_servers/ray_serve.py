"""A version folder behind Ray Serve; started by serving_peers.py.

Tuned by what its guides advise: HAProxy in front and the throughput mode (set by serving_peers.py in the
environment), more ongoing requests than the default of 5, and a thread for the model, so that the loop reads
the next requests while TensorFlow computes.
"""

import asyncio
import json
import signal
import sys

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response
from steps import MAX_BATCH, Steps, arguments


@serve.deployment(max_ongoing_requests=4 * MAX_BATCH)
class Policy:
    """Answers a request of one row each; `wait_s` is how long a batch that is not full waits."""

    def __init__(self, version: str, wait_s: float):
        self._steps = Steps(version)
        self._batch.set_batch_wait_timeout_s(wait_s)

    async def __call__(self, request: Request) -> Response:
        inputs = self._steps.decode(json.loads(await request.body()))
        return Response(self._steps.encode(await self._batch(inputs)), media_type="application/json")

    @serve.batch(max_batch_size=MAX_BATCH)
    async def _batch(self, requests):
        return await asyncio.to_thread(self._steps, requests)


def main() -> None:
    told = arguments(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # ends Ray's processes too
    ray.init(include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": told.port})
    policy = Policy.options(num_replicas=told.workers).bind(told.version, told.wait_s)
    serve.run(policy, route_prefix="/step")
    signal.pause()


if __name__ == "__main__":
    main()
