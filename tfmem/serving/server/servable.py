"""One version of a model, loaded, with its signatures callable on arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tfmem.errors import require
from tfmem.serving.server.request_error import RequestError, bad_request

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
DEFAULT_SIGNATURE = "serving_default"
# A few bytes ask for rows, and each may be answered with a whole memory.
_MAX_ROWS = 1024
# Of the largest, after which the scheduler refuses more.
_REQUESTS_THAT_WAIT = 4


@dataclass(frozen=True)
class Batching:
    """How requests that come at the same time share one call of the model.

    Attributes:
      max_batch_size: rows in a call at most, a power of two; 1 for no sharing. Batches are padded to the next
        power of two, so that few shapes occur.
      timeout_micros: how long a batch that is not full waits for more rows. With 0, rows gather only while
        others are being computed, which costs a lone request nothing.
    """

    max_batch_size: int = 64
    timeout_micros: int = 0

    def __post_init__(self):
        size = self.max_batch_size
        require(size >= 1 and size & (size - 1) == 0, "max_batch_size", size, "a power of two")
        require(self.timeout_micros >= 0, "timeout_micros", self.timeout_micros, "0 or more")

    @property
    def allowed_sizes(self) -> list[int]:
        """The powers of two up to `max_batch_size`."""
        return [1 << i for i in range(self.max_batch_size.bit_length())]


class Signature:
    """A function of a loaded model, by names.

    Attributes:
      inputs: the spec of every input by name.
      outputs: the names of the outputs.
    """

    def __init__(self, function, batching: Batching):
        self.inputs: dict[str, tf.TensorSpec] = dict(function.structured_input_signature[1])
        self.outputs: list[str] = sorted(function.structured_outputs)
        self._body = self._plain(function)
        self._types = [output.dtype for output in self._body.outputs]
        specs = [*self.inputs.values(), *function.structured_outputs.values()]
        rows = all(spec.shape.rank and spec.shape[0] is None for spec in specs)
        shared = batching.max_batch_size > 1 and rows
        self._run = self._in_batches if shared else self._alone
        self._batching = batching
        # Batchers of one name are one batcher, which would mix models.
        self._batcher = uuid4().hex

    def columns(self, inputs: Mapping[str, np.ndarray]) -> list[tf.Tensor]:
        """The arguments of a call, of inputs that passed `check`."""
        return [tf.constant(inputs[name], spec.dtype) for name, spec in self.inputs.items()]

    def __call__(self, columns: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Computes the outputs; may wait for a batch to fill.

        Args:
          columns: of `columns`.

        Raises:
          RequestError: when the model refuses the values, or too many requests wait already.
        """
        try:
            answer = self._run(columns)
        except tf.errors.InvalidArgumentError as error:
            raise bad_request(_gist(error)) from error
        except tf.errors.UnavailableError as error:  # the scheduler's queue is full
            raise RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED, _gist(error)) from error
        return dict(zip(self.outputs, answer, strict=True))

    def check(self, inputs: Mapping[str, tuple[tf.DType, Sequence[int]]]) -> None:
        """Raises `RequestError` unless inputs of these types and shapes fit."""
        if inputs.keys() != self.inputs.keys():
            extra, missing = (
                "{" + ", ".join(sorted(names)) + "}"
                for names in (inputs.keys() - self.inputs.keys(), self.inputs.keys() - inputs.keys())
            )
            raise bad_request(
                f"inputs do not fit the signature. Sent extra: {extra}. Missing but required: {missing}."
            )
        for name, spec in self.inputs.items():
            dtype, size = inputs[name]
            if dtype != spec.dtype:
                raise bad_request(f"input {name!r} must be of type {spec.dtype.name}, not {dtype.name}")
            if not spec.shape.is_compatible_with(size):
                shape = ["batch" if size is None else size for size in spec.shape.as_list()]
                raise bad_request(f"input {name!r} must have the shape {shape}, not {list(size)}")
        sizes = {name: inputs[name][1][0] for name, spec in self.inputs.items() if spec.shape.rank}
        if len(set(sizes.values())) > 1:
            raise bad_request(f"the inputs' batch sizes differ: {sizes}")
        if 0 in sizes.values():
            raise bad_request("the batch is empty: send at least one row")
        if max(sizes.values(), default=0) > _MAX_ROWS:
            raise bad_request(f"the batch is too large: send at most {_MAX_ROWS} rows in a request")

    def _plain(self, function):
        def call(*columns):
            answer = function(**dict(zip(self.inputs, columns, strict=True)))
            return [answer[name] for name in self.outputs]

        return tf.function(call, autograph=False).get_concrete_function(*self.inputs.values())

    # Both operations are called as they are: a traced function around them would run Python for longer than a
    # small policy computes, in threads that compete for the interpreter.

    def _alone(self, columns: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        arguments = [*columns, *self._body.captured_inputs]
        return tf.raw_ops.StatefulPartitionedCall(args=arguments, Tout=self._types, f=self._body)

    def _in_batches(self, columns: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return tf.raw_ops.BatchFunction(
            in_tensors=columns,
            captured_tensors=self._body.captured_inputs,
            f=self._body,
            Tout=self._types,
            # TensorFlow's own pool. A batcher's own threads would outlive its version, waking all the time.
            num_batch_threads=0,
            max_batch_size=_MAX_ROWS,  # of a request, which is split into allowed sizes
            allowed_batch_sizes=self._batching.allowed_sizes,
            batch_timeout_micros=self._batching.timeout_micros,
            max_enqueued_batches=_REQUESTS_THAT_WAIT * max(1, _MAX_ROWS // self._batching.max_batch_size),
            enable_large_batch_splitting=True,
            shared_name=self._batcher,
        )


class Servable:
    """A SavedModel in a version folder, warmed up by the requests that lie beside it.

    Attributes:
      path: the folder.
      version: its number.
      definitions: `SignatureDef` of every signature by name.
    """

    def __init__(self, path: Path, *, batching: Batching):
        self.path = path
        self.version = int(path.name)
        self._model = tf.saved_model.load(str(path))  # keeps the variables alive
        proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        found: dict[str, meta_graph_pb2.SignatureDef] = dict(proto.meta_graphs[0].signature_def)
        self.definitions = {name: found[name] for name in self._model.signatures}
        self._signatures = {
            name: Signature(function, batching) for name, function in self._model.signatures.items()
        }
        if (path / WARMUP).exists():
            self._warm_up(path / WARMUP)

    def signature(self, name: str = "") -> Signature:
        """A signature by its name, by default `serving_default`.

        Raises:
          RequestError: when there is none of that name.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self._signatures:
            message = f'Serving signature name: "{name}" not found in signature def'
            raise RequestError(grpc.StatusCode.FAILED_PRECONDITION, message)
        return self._signatures[name]

    def _warm_up(self, path: Path) -> None:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            signature = self.signature(request.model_spec.signature_name)
            signature(signature.columns(inputs))


def _gist(error: tf.errors.OpError) -> str:
    """What TensorFlow says went wrong, without where in the graph."""
    return error.message.partition("\n\t [[{{node")[0].splitlines()[-1]
