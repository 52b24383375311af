"""The protocol buffer of a SavedModel, without its variables."""

import os
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tfmem.errors import InvalidInput

# What a server looks for in a model.
SERVE = "serve"


def read_graph(path: str | os.PathLike[str]) -> meta_graph_pb2.MetaGraphDef:
    """The graph that a server would serve of the SavedModel in a folder.

    Raises:
      InvalidInput: when there is none.
    """
    file = Path(path) / "saved_model.pb"
    if not file.is_file():
        raise InvalidInput(f"{path} holds no SavedModel: expected the file {file.name} in a version folder")
    try:
        graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except DecodeError as error:
        raise InvalidInput(f"{file} is damaged: it is no SavedModel; export it again") from error
    served = [graph for graph in graphs if SERVE in graph.meta_info_def.tags]
    if not served:
        raise InvalidInput(f"{path} has no graph with the tag {SERVE!r}; save it with that tag")
    return served[0]


def signatures(graph: meta_graph_pb2.MetaGraphDef) -> dict[str, meta_graph_pb2.SignatureDef]:
    """The signatures that a client can call, by name."""
    return {
        name: definition
        for name, definition in sorted(graph.signature_def.items())
        if not name.startswith("__saved_model_")
    }


def calls(node: node_def_pb2.NodeDef) -> list[str]:
    """The names of the functions that a node runs, its operation among them."""
    called = [node.op]
    for attribute in node.attr.values():
        called += [function.name for function in (attribute.func, *attribute.list.func) if function.name]
    return called


def reached(graph: graph_pb2.GraphDef, tensors: list[str]) -> Iterator[tuple[str, node_def_pb2.NodeDef]]:
    """Every node that runs for these tensors, with the name of the function it is in, empty for the graph.

    Raises:
      InvalidInput: when a node is named that is not there.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    nodes = {node.name: node for node in graph.node}

    def named(tensor: str) -> tuple[str, node_def_pb2.NodeDef]:
        name = tensor.removeprefix("^").split(":")[0]
        if name not in nodes:
            raise InvalidInput(f"the graph is damaged: it has no node {name!r}; export it again")
        return "", nodes[name]

    waiting = [named(tensor) for tensor in tensors]
    seen = set()
    while waiting:
        function, node = waiting.pop()
        if (function, node.name) in seen:
            continue
        seen.add((function, node.name))
        yield function, node
        if not function:
            waiting += [named(source) for source in node.input]
        for called in calls(node):
            if called in functions:
                waiting += [(called, inner) for inner in functions[called].node_def]
