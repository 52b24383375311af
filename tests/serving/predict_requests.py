"""Predict requests of the official stubs, as tests make them."""

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2


def predict_request(inputs, *, name, signature="", version=None, label=None):
    """A request for a model's signature; `inputs` are arrays or numbers by name."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name = name
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    if label is not None:
        message.model_spec.version_label = label
    for key, value in inputs.items():
        message.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return message
