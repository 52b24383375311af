"""Acts through a policy server, over REST or gRPC, carrying the policy's memory. Imports no TensorFlow.

The public names are those of `tfmem.serving`.

| module | what |
| --- | --- |
| `client`, `async_client` | what users hold, blocking and for asyncio |
| `policy`, `memory`, `snapshot` | what both share: inputs and outputs, an episode's memory, its saved form |
| `rest`, `grpc_messages`, `tensors`, `messages` | requests and answers of both protocols, without any I/O |
| `requests_transport`, `aiohttp_transport`, `grpc_transport` | the I/O, and nothing else |
| `retrying` | which failures are tried again, and when |
"""
