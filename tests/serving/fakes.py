"""A policy in NumPy behind both of TF Serving's protocols; it fails, waits and loses versions as told."""

import json
import ssl
import threading
import time
from concurrent import futures
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import any_pb2, json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

NAME = "fake"
STATE = {"memory": (np.float32, [3]), "seen": (np.int64, [])}
WEIGHTS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
HTTP_STATUS = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429}
HTTP_STATUS |= {"UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504, "INTERNAL": 500}


def step(version, *, observation, is_first, memory, seen):
    """Each version starts from another memory, so one version's memory in the other shows."""
    first = np.asarray(is_first, bool)
    memory = np.where(first[:, np.newaxis], np.float32(version), np.asarray(memory, np.float32))
    seen = np.where(first, 0, seen) + 1
    memory = 0.75 * memory + np.eye(3, dtype=np.float32)[np.asarray(observation) % 3]
    q_values = (memory @ WEIGHTS + version).astype(np.float32)
    action = q_values.argmax(-1).astype(np.int32)
    return {"action": action, "q_values": q_values, "memory": memory, "seen": seen}


class Refused(Exception):
    def __init__(self, code, reason):
        super().__init__(reason)
        self.code = code


class Policies:
    """What is served, how the next requests fail, and what was asked."""

    def __init__(self):
        self.versions, self.labels = {1}, {"stable": 1}
        self.signature, self.memory_size = "step", 3
        self.failures, self.delay_s = [], 0.0
        self.calls, self.authorization = [], None

    def enter(self, call, authorization):
        self.calls.append(call)
        self.authorization = authorization
        time.sleep(self.delay_s)
        if self.failures:
            raise Refused(self.failures.pop(0), "told to fail")

    def resolve(self, name, *, version=None, label=None):
        if name != NAME or (version is not None and version not in self.versions):
            raise Refused("NOT_FOUND", f"Servable not found for request: {name} {version}")
        if label is not None and label not in self.labels:
            raise Refused("INVALID_ARGUMENT", f"Unrecognized servable version label: {label}")
        return version or self.labels.get(label) or max(self.versions)

    def signatures(self):
        def info(dtype, shape):
            shape = tf.TensorShape([None, *shape]).as_proto()
            return {"dtype": dtype.as_datatype_enum, "tensor_shape": shape}

        state = {
            "memory": info(tf.float32, [self.memory_size]),
            "seen": info(tf.int64, []),
        }
        result = get_model_metadata_pb2.SignatureDefMap()
        signature = result.signature_def[self.signature]
        inputs = {"observation": info(tf.int64, []), "is_first": info(tf.bool, []), **state}
        outputs = {"action": info(tf.int32, []), "q_values": info(tf.float32, [4]), **state}
        for infos, given in ((signature.inputs, inputs), (signature.outputs, outputs)):
            for name, value in given.items():
                infos[name].dtype = value["dtype"]
                infos[name].tensor_shape.CopyFrom(value["tensor_shape"])
        return result

    def metadata(self):
        return {"signature_def": as_json(self.signatures())}

    def status(self):
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in sorted(self.versions):
            response.model_version_status.add(version=version, state=30).status.SetInParent()
        return response


class Grpc(
    prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    """The official services over `Policies`."""

    def __init__(self, policies):
        self._policies = policies

    @contextmanager
    def _call(self, name, context):
        try:
            self._policies.enter(name, dict(context.invocation_metadata()).get("authorization"))
            yield
        except Refused as error:
            context.abort(grpc.StatusCode[error.code], str(error))

    def _resolve(self, spec):
        version = spec.version.value if spec.HasField("version") else None
        return self._policies.resolve(spec.name, version=version, label=spec.version_label or None)

    def GetModelStatus(self, request, context):
        with self._call("status", context):
            return self._policies.status()

    def GetModelMetadata(self, request, context):
        with self._call("metadata", context):
            assert list(request.metadata_field) == ["signature_def"]
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.version.value = self._resolve(request.model_spec)
            signatures = any_pb2.Any()
            signatures.Pack(self._policies.signatures())
            response.metadata["signature_def"].CopyFrom(signatures)
            return response

    def Predict(self, request, context):
        with self._call("predict", context):
            version = self._resolve(request.model_spec)
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            assert request.model_spec.signature_name == "step"
            assert {name: inputs[name].dtype for name in STATE} == {k: v[0] for k, v in STATE.items()}
            response = predict_pb2.PredictResponse()
            for name, value in step(version, **inputs).items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return response


class Exported(prediction_service_pb2_grpc.PredictionServiceServicer):
    """An export behind the official service, run by TensorFlow."""

    def __init__(self, path):
        self._model = tf.saved_model.load(str(path))
        self._proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())

    def GetModelMetadata(self, request, context):
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in self._proto.meta_graphs[0].signature_def.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.version.value = 1
        response.metadata["signature_def"].Pack(signatures)
        return response

    def Predict(self, request, context):
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        outputs = self._model.signatures[request.model_spec.signature_name](**inputs)
        return predict_pb2.PredictResponse(
            outputs={name: tf.make_tensor_proto(value.numpy()) for name, value in outputs.items()}
        )


def rest_handler(policies):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for an answer

        def answer(self, call):
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            parts = self.path.partition("/v1/models/")[2].replace(":predict", "").split("/")
            which = dict(zip(parts[1::2], parts[2::2], strict=False))
            try:
                policies.enter(call, self.headers.get("Authorization"))
                version = which.get("versions")
                version = policies.resolve(
                    parts[0], version=int(version) if version else None, label=which.get("labels")
                )
                status, answer = 200, getattr(self, call)(version, body)
            except Refused as error:
                if error.code == "LOST":
                    self.close_connection = True
                    return
                status, answer = HTTP_STATUS[error.code], {"error": str(error)}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def status(self, version, body):
            return as_json(policies.status())

        def metadata(self, version, body):
            spec = {"name": NAME, "version": str(version)}
            return {"model_spec": spec, "metadata": policies.metadata()}

        def predict(self, version, body):
            assert body["signature_name"] == "step"
            outputs = step(version, **body["inputs"])
            return {"outputs": {name: value.tolist() for name, value in outputs.items()}}

        def do_GET(self):
            self.answer("metadata" if self.path.endswith("/metadata") else "status")

        def do_POST(self):
            self.answer("predict")

        def log_message(self, *arguments):
            pass

        def handle(self):
            with suppress(ssl.SSLError, ConnectionError):
                super().handle()

    return Handler


def as_json(message):
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


@contextmanager
def served(servicer, *, certificate=None):
    """The URL of a gRPC server of the official services; with TLS given a certificate and its key."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    if isinstance(servicer, model_service_pb2_grpc.ModelServiceServicer):
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    if certificate is None:
        scheme, port = "grpc", server.add_insecure_port("127.0.0.1:0")
    else:
        chain, key = (path.read_bytes() for path in certificate)
        credentials = grpc.ssl_server_credentials([(key, chain)])
        scheme, port = "grpcs", server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"{scheme}://127.0.0.1:{port}"
    server.stop(None).wait()


@contextmanager
def served_over_http(policies, *, certificate=None):
    """The same of an HTTP server."""
    server, scheme = ThreadingHTTPServer(("127.0.0.1", 0), rest_handler(policies)), "http"
    if certificate is not None:
        tls, scheme = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "https"
        tls.load_cert_chain(*certificate)
        # The handshake is the handling thread's, so that a client that refuses cannot stop the others.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"{scheme}://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
