"""TensorFlow's own files: frozen graphs (.pb) and SavedModels (a folder with saved_model.pb and variables/).

A frozen graph is a GraphDef whose weights are constants. Of a SavedModel, the graph of its default signature is read,
with the variables that its checkpoint gives to it: which is which, the graph itself says, by how it restores them. The
messages are read by `protobuf`, the checkpoint by `bundle`; nothing is run and no other file is opened. Graphs of
several signatures with none called 'serving_default', custom functions that are missing and words as constants are
refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import allowed, opened, shown
from refnet.files.containers.beside import Beside, inside
from refnet.files.containers.bundle import Bundle
from refnet.files.containers.graphdef import Flat, Function, GraphDefNode, by_name, ends, flatten, source_of
from refnet.files.containers.protobuf import Message, message
from refnet.files.containers.structure import Contents, Structure
from refnet.files.containers.tensorflow_values import Budget, attribute, shape_of

__all__ = ["SAVED_MODEL", "read"]

Array = npt.NDArray[Any]

SAVED_MODEL = "saved_model.pb"
_VARIABLES = "variables/variables"
_MOST_TABLE = 8 << 20  # bytes of variables.index
_INIT = "__saved_model_init_op"
_DEFAULT = "serving_default"
_THROUGH = ("Identity", "Cast")  # between what is restored and the variable that gets it


def read(path: str | os.PathLike[str]) -> Contents:
    """Read the arrays of a graph, and the graph.

    Parameters
    ----------
    path : of a frozen graph, of a SavedModel's folder, or of its saved_model.pb

    Returns
    -------
    contents : what leads to the graph's outputs; arrays by the names of constants and variables

    Raises
    ------
    FormatError
        if it is no such file, is damaged, or holds what this module refuses. One line: the file, what is wrong.
    """
    where = Path(path)
    where = inside(where, SAVED_MODEL)
    with opened(where) as file:
        data = file.read()
        root = message(data)
        if 1 in root and data[:1] == b"\x08":
            return _saved_model(root, where.parent, len(data))
        return _frozen(root, len(data))


def _frozen(graph: Message, size: int) -> Contents:
    budget = Budget(allowed(size))
    nodes, functions = _graph(graph, budget)
    wanted = ends(nodes)
    if not wanted:
        raise FormatError("a graph without an output that follows from an input: no network")

    def variable(node: GraphDefNode) -> Array:
        raise FormatError(f"{shown(node.name)} is a variable, and its value lies elsewhere: freeze the graph first")

    flat = flatten(nodes, wanted, functions=functions, constant=_constant, variable=variable)
    return _contents(flat, f"TensorFlow graph {_versions(graph)}".strip())


def _contents(flat: Flat, producer: str) -> Contents:
    structure = Structure(producer, flat.operations, flat.inputs, flat.outputs)
    return Contents("tensorflow", flat.arrays, structure)


def _versions(graph: Message) -> str:
    versions = graph.message(4)
    return "" if versions is None else f"version {versions.integer(1)}"


def _constant(node: GraphDefNode) -> Array:
    value: Array = node.attrs.get("value", ())  # that it is an array, `flatten` checks
    return value


# ----------------------------------------------------------------------------------------------------------- SavedModel


def _saved_model(root: Message, folder: Path, size: int) -> Contents:
    metas = root.messages(2)
    if root.integer(1) != 1 or len(metas) != 1:
        raise FormatError(f"a SavedModel of format {root.integer(1)} with {len(metas)} graphs: only format 1 with one")
    meta = metas[0]
    graph, budget = meta.message(2), Budget(allowed(size))
    if graph is None:
        raise FormatError("a SavedModel without a graph: damaged")
    nodes, functions = _graph(graph, budget)
    inputs, outputs = _signature(meta)
    variables = _Variables(nodes, functions, meta.message(3), folder)
    flat = flatten(nodes, outputs, functions=functions, constant=_constant, variable=variables.array)
    shapes = {name: inputs.get(source_of(name), shape) for name, shape in flat.inputs.items()}
    info = meta.message(1)
    version = "" if info is None else info.text(5)[:40]
    return _contents(flat._replace(inputs=shapes), f"TensorFlow {version}".strip())


def _signature(meta: Message) -> tuple[dict[str, tuple[int | None, ...]], tuple[str, ...]]:
    """Shapes of the placeholders, and the tensors, that the default signature takes and returns."""
    found = {name: entry for name, entry in meta.entries(5).items() if name != _INIT}
    name = _DEFAULT if _DEFAULT in found or len(found) != 1 else next(iter(found))
    if name not in found:
        raise FormatError(f"has {len(found)} signatures, none of them {shown(_DEFAULT)}: only the default one is read")
    inputs: dict[str, tuple[int | None, ...]] = {}
    for info in found[name].entries(1).values():
        shape = shape_of(info.message(3))
        if shape is not None:
            inputs[source_of(info.text(1))] = shape
    outputs = tuple(info.text(1) for info in found[name].entries(2).values())
    if not outputs:
        raise FormatError(f"its signature {shown(name)} returns nothing: no network")
    return inputs, outputs


class _Variables:
    """The values of a SavedModel's variables, by the nodes that stand for them."""

    def __init__(
        self,
        nodes: Mapping[str, GraphDefNode],
        functions: Mapping[str, Callable[[], Function]],
        saver: Message | None,
        folder: Path,
    ) -> None:
        self.keys = _restored(nodes, {name: name for name in nodes})
        call = nodes.get(source_of(saver.text(3))) if saver is not None else None
        called = functions.get(str(call.attrs.get("f"))) if call is not None else None
        if call is not None and called is not None:
            body = called()
            given = (source_of(name) for name in call.inputs if not name.startswith("^"))
            self.keys |= _restored(body.nodes, dict(zip(body.arguments, given, strict=False)))
        self.files = Beside(folder)
        self._bundle: Bundle | None = None

    def array(self, node: GraphDefNode) -> Array:
        """The value of a variable."""
        bundle = self.bundle
        key = self.keys.get(node.name)
        if key is None:
            names = (str(node.attrs.get("shared_name", "")), node.name)
            key = next((name for name in names if name in bundle.entries), node.name)
        return bundle.array(key)

    @property
    def bundle(self) -> Bundle:
        """The checkpoint, opened when it is first needed."""
        if self._bundle is None:
            table = self.files.whole(f"{_VARIABLES}.index", "the table of variables", _MOST_TABLE)
            self._bundle = Bundle(table, self.files, _VARIABLES)
        return self._bundle


def _restored(nodes: Mapping[str, GraphDefNode], variables: Mapping[str, str]) -> dict[str, str]:
    """Which key of the checkpoint each variable gets, where the graph assigns it one.

    Parameters
    ----------
    nodes : of the graph or function that restores
    variables : what the nodes that stand for variables are called there -> in the graph
    """
    found: dict[str, str] = {}
    for node in nodes.values():
        if node.op not in ("Assign", "AssignVariableOp") or len(node.inputs) < 2:
            continue
        target, value = source_of(node.inputs[0]), node.inputs[1]
        for _ in range(8):
            maker = nodes.get(source_of(value))
            if maker is None or maker.op not in _THROUGH or not maker.inputs:
                break
            value = maker.inputs[0]
        maker = nodes.get(source_of(value))
        if maker is None or maker.op != "RestoreV2" or len(maker.inputs) < 2 or target not in variables:
            continue
        names = nodes.get(source_of(maker.inputs[1]))
        words = () if names is None else names.attrs.get("value", ())
        place = value.rpartition(":")[2] if ":" in value else "0"
        if isinstance(words, tuple) and place.isdigit() and int(place) < len(words):
            found[variables[target]] = words[int(place)]
    return found


# --------------------------------------------------------------------------------------------------------------- graphs


def _graph(graph: Message, budget: Budget) -> tuple[dict[str, GraphDefNode], dict[str, Callable[[], Function]]]:
    """Nodes and functions of a GraphDef; functions are parsed when they are called."""
    nodes = by_name(_node(each, budget) for each in graph.messages(1))
    if not nodes:
        raise FormatError("no graph of TensorFlow's, or an empty one")
    functions: dict[str, Callable[[], Function]] = {}
    library = graph.message(2)
    for each in library.messages(1) if library is not None else ():
        signature = each.message(1)
        name = signature.text(1) if signature is not None else ""
        if signature is None or not name or name in functions:
            raise FormatError(f"function {shown(name)} is there twice, or has no name: damaged")
        functions[name] = _parser(each, signature, budget)
    return nodes, functions


def _parser(function: Message, signature: Message, budget: Budget) -> Callable[[], Function]:
    def parse() -> Function:
        results: dict[str, str] = {}
        for entry in function.messages(4):
            results[entry.text(1)] = entry.text(2)
        names = [output.text(1) for output in signature.messages(3)]
        if missing := [name for name in names if name not in results]:
            raise FormatError(f"function {shown(signature.text(1))} does not make {shown(missing[0])}: damaged")
        arguments = tuple(given.text(1) for given in signature.messages(2))
        nodes = by_name(_node(each, budget) for each in function.messages(3))
        if nodes.keys() & set(arguments) or len(set(arguments)) < len(arguments):
            raise FormatError(f"function {shown(signature.text(1))} has two tensors of one name: damaged")
        return Function(arguments, nodes, tuple(results[name] for name in names))

    return parse


def _node(node: Message, budget: Budget) -> GraphDefNode:
    name = node.text(1)
    attrs = {
        key: attribute(value, f"{key} of {name[:100]}", budget)
        for key, value in node.entries(5).items()
        if not key.startswith("_")
    }
    return GraphDefNode(name, node.text(2), node.texts(3), attrs)
