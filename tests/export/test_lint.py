"""Every kind of finding, in small modules saved and read back."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.export.policies import SUIT, policy_of
from tfmem.errors import InvalidInput
from tfmem.export import ExportRefused, Finding, export_policy, lint
from tfmem.networks import NetworkConfig, NoCoreConfig

ROW = tf.TensorSpec([None, 2], tf.float32, "x")


@pytest.fixture
def findings(tmp_path):
    """What lint finds in a module that serves one function."""

    def find(function, *, signature="serving_default", **specs):
        module = tf.Module()
        module.function = tf.function(function).get_concrete_function(**(specs or {"x": ROW}))
        tf.saved_model.save(module, str(tmp_path), signatures={signature: module.function})
        return lint(tmp_path)

    return find


def edit(folder, change):
    """Rewrites a SavedModel's protocol buffer as no saver of today would."""
    file = folder / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(proto.meta_graphs[0])
    file.write_bytes(proto.SerializeToString())


def test_a_module_of_tensorflow_operations_passes(findings):
    assert findings(lambda x: {"y": tf.map_fn(tf.reduce_sum, 2.0 * x), "text": tf.strings.as_string(x)}) == []


@pytest.mark.parametrize(
    ("call", "op"),
    [
        (lambda x: tf.py_function(np.square, [x], tf.float32), "EagerPyFunc"),
        (lambda x: tf.numpy_function(np.square, [x], tf.float32), "PyFunc"),
        (lambda x: tf.numpy_function(np.square, [x], tf.float32, stateful=False), "PyFuncStateless"),
    ],
    ids=["py_function", "numpy_function", "stateless"],
)
def test_python_operations(findings, call, op):
    def square(x):
        return {"y": tf.ensure_shape(call(x), [None, 2])}

    (found,) = findings(square)
    assert (found.signature, found.where, found.problem) == (
        "serving_default",
        f"node {op}",
        f"({op}) calls Python",
    )
    assert "square" in found.function
    assert "write it in TensorFlow" in found.change


def test_python_deep_inside_of_a_loop(findings):
    def loop(x):
        def body(row):
            return tf.ensure_shape(tf.numpy_function(np.square, [row], tf.float32, name="deep"), [2])

        return {"y": tf.map_fn(body, x)}

    (found,) = findings(loop, signature="looping")
    assert (found.signature, found.where) == ("looping", "node map/while/deep")
    assert "map_while_body" in found.function


def test_python_that_two_signatures_call_is_named_for_both(tmp_path):
    module = tf.Module()
    inner = tf.function(lambda x: tf.ensure_shape(tf.numpy_function(np.square, [x], tf.float32), [None, 2]))
    module.one = tf.function(lambda x: {"y": inner(x)}).get_concrete_function(x=ROW)
    module.two = tf.function(lambda x: {"y": inner(x)}).get_concrete_function(x=ROW)
    tf.saved_model.save(module, str(tmp_path), signatures={"one": module.one, "two": module.two})
    assert [found.signature for found in lint(tmp_path)] == ["one", "two"]


def test_functions_compiled_by_xla(findings):
    compiled = tf.function(lambda x: 2.0 * x, jit_compile=True)
    (found,) = findings(lambda x: {"y": compiled(x)})
    assert found.where == "node PartitionedCall"
    assert "needs XLA" in found.problem
    assert "jit_compile" in found.change


@pytest.mark.parametrize(
    ("op", "problem"),
    [("MySoftsign", "is no operation of TensorFlow"), ("XlaSort", "needs XLA")],
)
def test_operations_that_a_server_does_not_have(findings, tmp_path, op, problem):
    assert findings(lambda x: {"y": tf.math.softsign(x, name="mine")}) == []

    def change(graph):
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                node.op = op if node.op == "Softsign" else node.op

    edit(tmp_path, change)
    (found,) = lint(tmp_path)
    assert (found.where, found.problem) == ("node mine", f"({op}) {problem}")


def test_what_runs_while_loading(findings, tmp_path):
    assert findings(lambda x: {"y": x}) == []
    edit(tmp_path, lambda graph: graph.graph_def.node.add(name="odd", op="Mine"))
    (found,) = lint(tmp_path)
    assert (found.signature, found.function, found.where) == ("(loading)", "", "node odd")


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        (None, "has an unknown rank"),
        ([], "is a scalar, without a batch axis"),
        ([8, 2], "has the fixed batch size 8"),
        ([5, None], "has the shape [5, None], without a batch axis in front"),
    ],
    ids=str,
)
def test_shapes_of_inputs_and_outputs(findings, shape, problem):
    found = findings(lambda x: {"y": 2.0 * x}, x=tf.TensorSpec(shape, tf.float32, "x"))
    assert [(f.where, f.problem) for f in found] == [("input x", problem), ("output y", problem)]
    assert all(f.change for f in found)


def test_types_that_do_not_travel(findings):
    def unpack(x):
        return {"y": tf.map_fn(lambda v: tf.raw_ops.TensorListLength(input_handle=v), x, tf.int32), "x": x}

    found = findings(unpack, x=tf.TensorSpec([None], tf.variant, "x"))
    assert [(f.where, f.problem) for f in found] == [
        ("input x", "has the type variant, which does not travel"),
        ("output x", "has the type variant, which does not travel"),
    ]


def test_a_resource_as_an_input(findings, tmp_path):
    findings(lambda x: {"y": x})
    edit(tmp_path, lambda graph: setattr(graph.signature_def["serving_default"].inputs["x"], "dtype", 20))
    (found,) = lint(tmp_path)
    assert (found.where, found.problem) == ("input x", "has the type resource, which does not travel")


def test_composite_tensors(findings, tmp_path):
    findings(lambda x: {"y": x})

    def change(graph):
        info = graph.signature_def["serving_default"].inputs["x"]
        info.coo_sparse.values_tensor_name = info.name

    edit(tmp_path, change)
    (found,) = lint(tmp_path)
    assert (found.where, found.problem) == ("input x", "is a composite tensor")


STEP = {
    "observation": tf.TensorSpec([None], tf.int64, "observation"),
    "is_first": tf.TensorSpec([None], tf.bool, "is_first"),
    "memory": tf.TensorSpec([None, 2], tf.float32, "memory"),
}


@pytest.mark.parametrize(
    ("memory", "where", "problem"),
    [
        (lambda m: {}, "input memory", "is a part of the state that does not come out"),
        (
            lambda m: {"memory": tf.cast(m, tf.float64)},
            "output memory",
            "is float64 [None, 2], which went in as float32 [None, 2]",
        ),
        (
            lambda m: {"memory": tf.concat([m, m], 1)},
            "output memory",
            "is float32 [None, 4], which went in as float32 [None, 2]",
        ),
    ],
    ids=["missing", "dtype", "shape"],
)
def test_a_state_that_does_not_come_out_as_it_went_in(findings, memory, where, problem):
    def step(**inputs):
        action = tf.where(inputs["is_first"], inputs["observation"], 0)
        return {"action": action, **memory(inputs["memory"])}

    (found,) = findings(step, signature="step", **STEP)
    assert (found.signature, found.where, found.problem) == ("step", where, problem)
    assert "same name, dtype and shape" in found.change


def test_a_model_without_signatures(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    (found,) = lint(tmp_path)
    assert str(found) == "signature (loading): the model has no signature; save it with signatures=…"


def test_a_finding_reads_as_one_line():
    found = Finding("step", "f", "node n", "(PyFunc) calls Python", "write it otherwise")
    assert str(found) == "signature step: node n in function f (PyFunc) calls Python; write it otherwise"


def test_what_is_no_saved_model(tmp_path):
    with pytest.raises(InvalidInput, match="holds no SavedModel"):
        lint(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(InvalidInput, match="is damaged"):
        lint(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InvalidInput, match="no graph with the tag 'serve'"):
        lint(tmp_path)


def test_a_signature_of_a_node_that_is_not_there(findings, tmp_path):
    findings(lambda x: {"y": x})

    def change(graph):
        graph.signature_def["serving_default"].outputs["y"].name = "lost:0"

    edit(tmp_path, change)
    with pytest.raises(InvalidInput, match="it has no node 'lost'"):
        lint(tmp_path)


def test_every_export_is_looked_at_before_it_is_written(tmp_path):
    policy = policy_of(SUIT, NetworkConfig(core=NoCoreConfig()))
    right = policy.step

    def step(observation, is_first, state):
        action, q_values, state = right(observation, is_first, state)
        return tf.ensure_shape(tf.numpy_function(np.abs, [action], tf.int32), [None]), q_values, state

    policy.step = step
    with pytest.raises(ExportRefused, match=r"serving_default: node PyFunc .* \(and 1 more\)") as raised:
        export_policy(policy, tmp_path / "p")
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "p").iterdir()) == []
