"""What in a SavedModel a stock TF Serving would refuse, or could not batch, found without running it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework import op_def_registry

from tfmem.export.saved_model import calls, reached, read_graph, signatures
from tfmem.serving import wire

PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
# Where a node is that no signature runs: reading the variables, and what else loading does.
LOADING = "(loading)"


@dataclass(frozen=True)
class Finding:
    """One thing to change before a model can be served.

    Attributes:
      signature: the signature that needs it, or `(loading)` where the whole model does.
      function: the function that holds it; empty for the graph itself and for inputs and outputs.
      where: the node or tensor.
      problem: what is wrong with it.
      change: what to do.
    """

    signature: str
    function: str
    where: str
    problem: str
    change: str

    def __str__(self) -> str:
        inside = f" in function {self.function}" if self.function else ""
        return f"signature {self.signature}: {self.where}{inside} {self.problem}; {self.change}"


def lint(path: str | os.PathLike[str]) -> list[Finding]:
    """Looks for what a stock server does not take in any SavedModel, one of tfmem or not.

    Python operations, XLA-compiled functions, operations that TensorFlow does not have, inputs and outputs
    without a free batch axis in front or of types that do not travel, and a state of the signature `step`
    that does not come out as it goes in. Operations of a library loaded into this process are not told from
    TensorFlow's own.

    Args:
      path: a version folder.

    Returns:
      The findings, none where a server takes the model.

    Raises:
      InvalidInput: when `path` holds no SavedModel.

    Example:
      >>> lint("saved_models/repeat_previous/1")
      []
    """
    graph = read_graph(path)
    served = signatures(graph)
    if not served:
        return [Finding(LOADING, "", "the model", "has no signature", "save it with signatures=…")]
    findings = []
    for name, signature in served.items():
        for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
            for key, info in sorted(tensors.items()):
                findings += [
                    Finding(name, "", f"{kind} {key}", *found) for found in _look_at_tensor(kind, info)
                ]
        if name == "step":
            findings += _look_at_state(name, signature)
    return findings + _look_at_nodes(graph, served)


def _look_at_tensor(kind: str, info: meta_graph_pb2.TensorInfo) -> Iterator[tuple[str, str]]:
    """What is wrong with an input or output, and what to do."""
    if info.WhichOneof("encoding") != "name":
        yield "is a composite tensor", "give its parts as dense tensors of their own"
        return
    dtype = tf.as_dtype(info.dtype)
    if dtype in (tf.variant, tf.resource) or dtype._is_ref_dtype:
        yield f"has the type {dtype.name}, which does not travel", "give its values as dense tensors"
        return
    sizes = [dim.size for dim in info.tensor_shape.dim]
    if info.tensor_shape.unknown_rank:
        yield "has an unknown rank", "give its spec a shape whose first axis is None, the batch"
    elif not sizes:
        yield "is a scalar, without a batch axis", f"make it an {kind} of shape [None]"
    elif sizes[0] != -1 and -1 in sizes:
        yield f"has the shape {_shown(sizes)}, without a batch axis in front", "transpose it"
    elif sizes[0] != -1:
        yield f"has the fixed batch size {sizes[0]}", "leave the first axis of its spec None"


def _shown(sizes: list[int]) -> list[int | None]:
    return [None if size == -1 else size for size in sizes]


def _look_at_state(name: str, signature: meta_graph_pb2.SignatureDef) -> Iterator[Finding]:
    """What of the state does not come out as it goes in."""
    for key, given in sorted(signature.inputs.items()):
        if not wire.is_state(key):
            continue
        change = "return the next state under the same name, dtype and shape"
        if key not in signature.outputs:
            yield Finding(name, "", f"input {key}", "is a part of the state that does not come out", change)
            continue
        into, out = (
            (tf.as_dtype(info.dtype).name, _shown([dim.size for dim in info.tensor_shape.dim]))
            for info in (given, signature.outputs[key])
        )
        if into != out:
            differs = f"is {out[0]} {out[1]}, which went in as {into[0]} {into[1]}"
            yield Finding(name, "", f"output {key}", differs, change)


def _look_at_nodes(
    graph: meta_graph_pb2.MetaGraphDef, served: dict[str, meta_graph_pb2.SignatureDef]
) -> list[Finding]:
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    compiled = {name for name, function in functions.items() if _is_compiled(function.attr)}
    roots = {
        name: [info.name for info in signature.outputs.values() if info.name]
        for name, signature in served.items()
    }
    roots[LOADING] = [node.name for node in graph.graph_def.node]
    findings, seen = [], set()
    for signature, names in roots.items():
        for function, node in reached(graph.graph_def, names):
            called = calls(node)
            if node.op in PYTHON_OPS:
                problem, change = f"({node.op}) calls Python", "write it in TensorFlow operations"
            elif _is_compiled(node.attr) or compiled.intersection(called) or node.op.startswith("Xla"):
                problem, change = f"({node.op}) needs XLA", "export the function without jit_compile"
            elif node.op not in functions and op_def_registry.get(node.op) is None:
                problem, change = f"({node.op}) is no operation of TensorFlow", "use one that is"
            else:
                continue
            if signature != LOADING or (function, node.name) not in seen:
                findings.append(Finding(signature, function, f"node {node.name}", problem, change))
                seen.add((function, node.name))
    return findings


def _is_compiled(attributes: dict[str, attr_value_pb2.AttrValue]) -> bool:
    return any(name in attributes and attributes[name].b for name in ("_XlaMustCompile", "_xla_must_compile"))
