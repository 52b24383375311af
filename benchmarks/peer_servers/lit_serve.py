"""A version folder behind LitServe; started by serving_peers.py.

The worker writes the JSON text itself, which spares the process that speaks HTTP a second pass over it.
"""

import argparse

import litserve
from starlette.responses import Response
from steps import MAX_BATCH, Steps


class Policy(litserve.LitAPI):
    """Answers a request of one row each; batches are lists, which the model's call puts together."""

    def __init__(self, version: str, wait_s: float):
        super().__init__(max_batch_size=MAX_BATCH, batch_timeout=wait_s, api_path="/step")
        self._version = version

    def setup(self, device):
        self._steps = Steps(self._version)

    def decode_request(self, request):
        return self._steps.decode(request)

    def batch(self, inputs):
        return inputs

    def predict(self, inputs):
        return self._steps(inputs)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return Response(self._steps.encode(output), media_type="application/json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--wait-s", type=float, required=True)
    arguments = parser.parse_args()
    policy = Policy(arguments.version, arguments.wait_s)
    server = litserve.LitServer(policy, accelerator="cpu", workers_per_device=arguments.workers)
    server.run(host="127.0.0.1", port=arguments.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
