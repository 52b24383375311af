"""The client's own messages against the official ones, both ways over their bytes."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import any_pb2
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

from tests.serving import fakes
from tfmem.errors import InvalidInput
from tfmem.serving import ServerError
from tfmem.serving.client import messages, tensors
from tfmem.serving.client.dtypes import DTYPES
from tfmem.serving.client.grpc_messages import GrpcApi

SHAPES = [(), (0,), (3,), (2, 0, 4), (2, 3, 4)]
FIELDS = {dtype.numpy: dtype.field for dtype in DTYPES.values()}


def random_array(dtype, shape):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    return (rng.normal(size=shape) * 10).astype(dtype)


def to_official(message, official):
    return official.FromString(message.SerializeToString())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", FIELDS)
def test_tensors_both_ways(dtype, shape):
    array = np.asarray(random_array(dtype, shape))
    theirs = tf.make_ndarray(to_official(tensors.to_proto(array), tensor_pb2.TensorProto))
    proto = messages.TensorProto.FromString(tf.make_tensor_proto(array).SerializeToString())
    ours = tensors.from_proto(proto)
    for found in (theirs, ours):
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)
    ours[...] = 0  # it may be written to


@pytest.mark.parametrize("dtype", FIELDS)
@pytest.mark.parametrize("given", [0, 1, 2, 4])
def test_values_that_are_left_out_repeat_the_last(dtype, given):
    """As TensorFlow itself reads a constant that holds fewer values than its shape."""
    values = random_array(dtype, (given,))
    official = tensor_pb2.TensorProto(dtype=tf.as_dtype(dtype).as_datatype_enum)
    official.tensor_shape.dim.add(size=2)
    official.tensor_shape.dim.add(size=2)
    bits = values.view(np.uint16) if dtype == "float16" else values
    getattr(official, FIELDS[dtype]).extend(bits.tolist())
    ours = tensors.from_proto(messages.TensorProto.FromString(official.SerializeToString()))
    np.testing.assert_array_equal(ours, tf.io.parse_tensor(official.SerializeToString(), dtype))
    assert ours.dtype == dtype


def test_type_numbers_are_the_official_ones():
    assert {name: types_pb2.DataType.Value(name) for name in DTYPES} == {
        name: dtype.number for name, dtype in DTYPES.items()
    }


def test_tensors_that_cannot_be_read():
    with pytest.raises(ValueError, match="type 7, which the client does not know"):
        tensors.from_proto(messages.TensorProto(dtype=7))
    short = tensors.to_proto(np.zeros(3, np.float32))
    short.tensor_content = short.tensor_content[:-4]
    with pytest.raises(ValueError, match="reshape"):
        tensors.from_proto(short)
    with pytest.raises(InvalidInput, match="arrays of type str32 cannot be sent"):
        GrpcApi("m").predict("step", {"x": np.asarray("a")}, version=1)


def test_requests_are_the_official_ones():
    api = GrpcApi("m")
    official = predict_pb2.PredictRequest()
    official.model_spec.name, official.model_spec.signature_name = "m", "step"
    official.model_spec.version.value = 0
    official.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([1, 2], np.int64)))
    found = api.predict("step", {"x": np.array([1, 2])}, version=0).request
    assert found.method == "/tensorflow.serving.PredictionService/Predict"
    assert to_official(found.message, predict_pb2.PredictRequest) == official
    again = messages.PredictRequest.FromString(official.SerializeToString())
    assert again == found.message

    for version, label in ((None, None), (3, None), (None, "canary")):
        official = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        official.model_spec.name = "m"
        if version is not None:
            official.model_spec.version.value = version
        if label is not None:
            official.model_spec.version_label = label
        found = api.metadata(version=version, label=label).request
        assert to_official(found.message, get_model_metadata_pb2.GetModelMetadataRequest) == official

    official = get_model_status_pb2.GetModelStatusRequest()
    official.model_spec.name = "m"
    found = api.status().request
    assert to_official(found.message, get_model_status_pb2.GetModelStatusRequest) == official


def test_official_answers_are_read():
    api, policies = GrpcApi("m"), fakes.Policies()
    status = policies.status()
    status.model_version_status[0].state = get_model_status_pb2.ModelVersionStatus.END
    status.model_version_status[0].status.error_code = 2
    status.model_version_status[0].status.error_message = "lost"
    call = api.status()
    read = call.read(call.request.response.FromString(status.SerializeToString()))
    assert read == fakes.as_json(status)["model_version_status"]
    assert (read[0]["state"], read[0]["status"]["error_code"]) == ("END", "UNKNOWN")

    metadata = get_model_metadata_pb2.GetModelMetadataResponse()
    metadata.model_spec.version.value = 5
    metadata.metadata["signature_def"].Pack(policies.signatures())
    call = api.metadata(version=None, label=None)
    read = call.read(call.request.response.FromString(metadata.SerializeToString()))
    assert read["model_spec"] == {"version": "5"}
    expected = fakes.as_json(policies.signatures())["signature_def"]["step"]
    found = read["metadata"]["signature_def"]["signature_def"]["step"]
    for infos in ("inputs", "outputs"):
        for name, info in expected[infos].items():
            assert found[infos][name]["dtype"] == info["dtype"]
            assert found[infos][name]["tensor_shape"] == info["tensor_shape"]

    metadata.metadata["signature_def"].CopyFrom(any_pb2.Any(value=b"\xff"))
    with pytest.raises(ServerError, match="no 'signature_def'"):
        call.read(call.request.response.FromString(metadata.SerializeToString()))

    call = api.predict("step", {}, version=1)
    answer = predict_pb2.PredictResponse()
    answer.outputs["a"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
    single = call.read(call.request.response.FromString(answer.SerializeToString()))
    np.testing.assert_array_equal(single, [1, 2])
    answer.outputs["b"].CopyFrom(tf.make_tensor_proto(["text"]))
    with pytest.raises(ServerError, match="cannot be read: a tensor has TensorFlow's type 7"):
        call.read(call.request.response.FromString(answer.SerializeToString()))
