"""A version folder behind LitServe; started by serving_peers.py.

The worker writes the JSON text itself, which spares the process that speaks HTTP a second pass over it.
"""

import litserve
from starlette.responses import Response
from steps import MAX_BATCH, Steps, arguments


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
    told = arguments(__doc__)
    policy = Policy(told.version, told.wait_s)
    server = litserve.LitServer(policy, accelerator="cpu", workers_per_device=told.workers)
    server.run(host="127.0.0.1", port=told.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
