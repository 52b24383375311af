"""A server with TF Serving's gRPC service over a small model in numpy that remembers. It fails as told."""

import asyncio
import threading

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc


def step(version, inputs):
    """Its memory is a sum in which the order counts, different for each version."""
    if "observation" in inputs:
        seen = inputs["observation"].astype(np.float32)
    else:
        seen = inputs["observation_x"].sum(-1) * inputs["observation_on"]
    first = inputs["is_first"]
    count = np.where(first, 0, inputs["count"]).astype(np.int32) + 1
    total = np.where(first[:, None], np.float32(version), inputs["total"])
    total = (total + version * np.stack([seen, seen * count], 1)).astype(np.float32)
    action = (total.sum(-1).astype(np.int64) % 5).astype(np.int32)
    q_values = np.concatenate([total, count[:, None]], 1).astype(np.float32)
    return {"action": action, "q_values": q_values, "total": total, "count": count}


class Reference:
    """The same model in this process, one session."""

    def __init__(self, version):
        self._version, self._steps = version, 0
        self._state = {"total": np.zeros([1, 2], np.float32), "count": np.zeros([1], np.int32)}

    def act(self, observation):
        """What a gateway must answer."""
        parts = observation if isinstance(observation, dict) else {"observation": observation}
        inputs = {name: np.asarray([part]) for name, part in parts.items()}
        outputs = step(self._version, {**inputs, "is_first": np.asarray([self._steps == 0]), **self._state})
        self._steps += 1
        self._state = {name: outputs[name] for name in self._state}
        return {
            "action": int(outputs["action"][0]),
            "q_values": outputs["q_values"][0].tolist(),
            "step": self._steps,
            "version": self._version,
        }


SIGNATURES = {
    "sum": {"observation": ("int64", [])},
    "parts": {"observation_x": ("float32", [2]), "observation_on": ("bool", [])},
    "no_step": None,
}
POISON = 13


class FakeUpstream(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Serves the models of `SIGNATURES`.

    Attributes:
      versions: those that are served.
      labels: versions by label.
      failure: a gRPC status that every call is answered with.
      open: while this is not set, predictions wait.
      asked: how many predictions have come, answered or not.
      batches: version and size of every batch that was answered.
      width: of the state `total`, to make a version with another memory.
    """

    def __init__(self):
        self.open = threading.Event()
        self.forget()

    def forget(self):
        """Everything as at first."""
        self.versions, self.labels, self.failure, self.asked = {1}, {}, None, 0
        self.batches, self.width = [], 2
        self.open.set()

    async def _version(self, spec, context):
        if self.failure is not None:
            await context.abort(self.failure, "told to")
        if spec.version_label and spec.version_label not in self.labels:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label")
        version = self.labels[spec.version_label] if spec.version_label else max(self.versions, default=0)
        version = spec.version.value if spec.HasField("version") else version
        if spec.name not in SIGNATURES or version not in self.versions:
            await context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
        return version

    async def GetModelMetadata(self, request, context):
        version = await self._version(request.model_spec, context)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        signatures = get_model_metadata_pb2.SignatureDefMap()
        if SIGNATURES[request.model_spec.name] is not None:
            state = {"total": ("float32", [self.width]), "count": ("int32", [])}
            inputs = {**SIGNATURES[request.model_spec.name], "is_first": ("bool", []), **state}
            for name, (dtype, shape) in inputs.items():
                info = signatures.signature_def["step"].inputs[name]
                info.dtype = tf.as_dtype(dtype).as_datatype_enum
                info.tensor_shape.CopyFrom(tf.TensorShape([None, *shape]).as_proto())
        response.metadata["signature_def"].Pack(signatures)
        return response

    async def Predict(self, request, context):
        self.asked += 1
        while not self.open.is_set():
            await asyncio.sleep(0.01)
        version = await self._version(request.model_spec, context)
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        if np.any(inputs.get("observation") == POISON):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "observation out of range")
        self.batches.append((version, len(inputs["is_first"])))
        response = predict_pb2.PredictResponse()
        for name, value in step(version, inputs).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


class BackgroundLoop:
    """An event loop in a thread of its own, for servers that a test calls from outside."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine):
        """Waits for a coroutine's result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def close(self):
        """Ends the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def start(servicer):
    """The running gRPC server and its port."""
    server = grpc.aio.server()
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port
