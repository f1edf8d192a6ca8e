"""TensorFlow's graphs, however they are written: nodes and functions in, the operations that make some tensors out.

A tensor of a graph is called 'node' or 'node:1', in a function's body 'node:output:0' or as an argument; '^node' only
says what runs first. Calls of functions are written out, constants and variables become arrays, and what does not lead
to the wanted tensors is left out. What is written out is counted, and functions that call themselves are refused, so
that a small file cannot describe a graph without end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Operation

__all__ = ["VARIABLES", "Flat", "Function", "GraphDefNode", "by_name", "ends", "flatten"]

Array = npt.NDArray[Any]

_MOST = 20_000  # operations and calls that are written out
_DEEPEST = 24  # calls within calls
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_ASIDE = ("Assert", "NoOp", "SaveV2", "MergeV2Checkpoints", "Assign", "AssignVariableOp", "ScalarSummary", "Print")
# First outputs of the operations that have several; of all others the outputs are numbered.
_FIRST_OUTPUTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "_FusedBatchNormEx"), ("y",)),
    "TopKV2": ("values",),
    "Switch": ("output_false",),
    "MaxPoolWithArgmax": ("output",),
    "Unique": ("y",),
}


class GraphDefNode(NamedTuple):
    """A NodeDef: attributes as plain values, types as TensorFlow's numbers or names of them."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attrs: Mapping[str, Any]


class Function(NamedTuple):
    """A FunctionDef: names of its arguments, its body, the tensor of the body that each result is, in order."""

    arguments: tuple[str, ...]
    nodes: Mapping[str, GraphDefNode]
    results: tuple[str, ...]


class Flat(NamedTuple):
    """A graph without calls.

    Attributes
    ----------
    operations : in order of execution
    arrays : constants and variables that they read
    inputs : names and shapes of the placeholders that they read
    outputs : the wanted tensors
    """

    operations: tuple[Operation, ...]
    arrays: dict[str, Array]
    inputs: dict[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]


def by_name(nodes: Iterable[GraphDefNode]) -> dict[str, GraphDefNode]:
    """Nodes by their name.

    Raises
    ------
    FormatError : two have one name
    """
    found: dict[str, GraphDefNode] = {}
    for node in nodes:
        if not node.name or node.name in found:
            raise FormatError(f"node {shown(node.name)} is there twice, or has no name: damaged")
        found[node.name] = node
    return found


def ends(nodes: Mapping[str, GraphDefNode]) -> tuple[str, ...]:
    """The nodes of a graph that nobody reads, and that follow from its placeholders."""
    read = {source_of(name) for node in nodes.values() for name in node.inputs if not name.startswith("^")}
    readers: dict[str, list[str]] = {}
    for node in nodes.values():
        for name in node.inputs:
            if not name.startswith("^"):
                readers.setdefault(source_of(name), []).append(node.name)
    reached: set[str] = set()
    stack = [node.name for node in nodes.values() if node.op == "Placeholder"]
    while stack:
        name = stack.pop()
        if name not in reached:
            reached.add(name)
            stack.extend(readers.get(name, ()))
    return tuple(name for name, node in nodes.items() if name in reached and name not in read and node.op not in _ASIDE)


def source_of(name: str) -> str:
    """The node that makes a tensor.

    Examples
    --------
    >>> source_of("norm:1"), source_of("norm:y:0"), source_of("^norm")
    ('norm', 'norm', 'norm')
    """
    return name.removeprefix("^").partition(":")[0]


def flatten(
    nodes: Mapping[str, GraphDefNode],
    wanted: Sequence[str],
    *,
    functions: Mapping[str, Callable[[], Function]],
    constant: Callable[[GraphDefNode], Array],
    variable: Callable[[GraphDefNode], Array],
) -> Flat:
    """Write out what makes some tensors.

    Parameters
    ----------
    nodes : of the graph
    wanted : tensors of it
    functions : by name; parsed when they are called
    constant : the array of a Const
    variable : the array of one of `VARIABLES`

    Raises
    ------
    FormatError
        if something is missing, goes in a circle, or is more than any network has.
    """
    work = _Work(functions, constant, variable)
    outputs = work.scope(nodes, {}, tuple(wanted), depth=0)
    return Flat(tuple(work.operations), work.arrays, work.inputs, outputs)


class _Work:
    """What has been written out so far."""

    def __init__(
        self,
        functions: Mapping[str, Callable[[], Function]],
        constant: Callable[[GraphDefNode], Array],
        variable: Callable[[GraphDefNode], Array],
    ) -> None:
        self.functions, self.constant, self.variable = functions, constant, variable
        self.operations: list[Operation] = []
        self.arrays: dict[str, Array] = {}
        self.inputs: dict[str, tuple[int | None, ...]] = {}
        self.counts: dict[str, int] = {}
        self.parsed: dict[str, Function] = {}
        self.left = _MOST

    def scope(
        self, nodes: Mapping[str, GraphDefNode], arguments: Mapping[str, str], wanted: tuple[str, ...], *, depth: int
    ) -> tuple[str, ...]:
        """Write out what makes `wanted` in one graph or body; what the tensors are called outside of it."""
        made = dict(arguments)
        for node in self._order(nodes, arguments, wanted):
            self._write(node, nodes, made, depth)
        return tuple(self._resolved(name, nodes, made) for name in wanted)

    def _order(
        self, nodes: Mapping[str, GraphDefNode], arguments: Mapping[str, str], wanted: tuple[str, ...]
    ) -> list[GraphDefNode]:
        """The nodes that lead to some tensors, each after those that it reads."""
        order: list[GraphDefNode] = []
        state: dict[str, bool] = {}  # False while what it reads is looked at
        stack = [source_of(name) for name in reversed(wanted)]
        while stack:
            name = stack[-1]
            if name in arguments or state.get(name):
                stack.pop()
                continue
            node = nodes.get(name)
            if node is None:
                raise FormatError(f"refers to {shown(name)}, which no node makes: damaged")
            before = [source_of(ref) for ref in node.inputs if not ref.startswith("^")]
            if name in state:
                state[name] = True
                order.append(node)
                stack.pop()
                continue
            self._spend(1 + len(before))
            state[name] = False
            for ref in reversed(before):
                if state.get(ref) is False:
                    raise FormatError(f"node {shown(ref)} reads its own output: only graphs without loops are read")
                if ref not in state:
                    stack.append(ref)
        return order

    def _spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise FormatError(f"describes more than {_MOST} operations and tensors: no network does")

    def _write(self, node: GraphDefNode, nodes: Mapping[str, GraphDefNode], made: dict[str, str], depth: int) -> None:
        inputs = tuple(self._resolved(name, nodes, made) for name in node.inputs if not name.startswith("^"))
        if node.op in _CALLS:
            self._call(node, str(node.attrs.get("f")), inputs, made, depth)
            return
        name = made[node.name] = self._fresh(node.name)
        if node.op == "Const":
            self.arrays[name] = self._array(self.constant, node)
        elif node.op in VARIABLES:
            self.arrays[name] = self._array(self.variable, node)
        elif node.op == "Placeholder":
            shape = node.attrs.get("shape")
            self.inputs[name] = shape if isinstance(shape, tuple) else ()
        else:
            attrs = {key: value for key, value in node.attrs.items() if not key.startswith("_")}
            self.operations.append(Operation(node.op, inputs, (name,), attrs, node.name))

    def _array(self, read: Callable[[GraphDefNode], Array], node: GraphDefNode) -> Array:
        array = read(node)
        if not isinstance(array, np.ndarray):
            raise FormatError(f"{shown(node.name)} holds words: only numbers are read")
        return array

    def _call(self, node: GraphDefNode, called: str, inputs: tuple[str, ...], made: dict[str, str], depth: int) -> None:
        if called not in self.functions:
            raise FormatError(f"node {shown(node.name)} calls {shown(called)}, which is not in the file: damaged")
        if depth >= _DEEPEST:
            raise FormatError(f"calls of functions lie more than {_DEEPEST} deep, {shown(called)} the last: refused")
        if called not in self.parsed:
            self.parsed[called] = self.functions[called]()
        body = self.parsed[called]
        if len(body.arguments) != len(inputs):
            raise FormatError(f"{shown(called)} is called with {len(inputs)} of its {len(body.arguments)} arguments")
        self._spend(1 + len(inputs) + len(body.results))
        arguments = dict(zip(body.arguments, inputs, strict=True))
        results = self.scope(body.nodes, arguments, body.results, depth=depth + 1)
        for place, result in enumerate(results):
            made[f"{node.name}:{place}" if place else node.name] = result

    def _fresh(self, name: str) -> str:
        """A name that no other tensor has: numbered where a function is called twice."""
        new = name
        while new in self.counts:
            self.counts[name] += 1
            new = f"{name}#{self.counts[name]}"
        self.counts[new] = 1
        return new

    def _resolved(self, name: str, nodes: Mapping[str, GraphDefNode], made: Mapping[str, str]) -> str:
        """What a tensor is called outside of functions."""
        node, *rest = name.split(":")
        place = rest[-1] if rest else "0"
        if not place.isdigit() or len(place) > 6 or len(rest) > 2:
            raise FormatError(f"refers to the tensor {shown(name)}: damaged")
        index = int(place)
        if len(rest) == 2 and node in nodes:
            firsts = _FIRST_OUTPUTS.get(nodes[node].op)
            if firsts is not None and rest[0] not in firsts:
                index += 1  # one of the later outputs, which nobody needs to tell apart
        whole = f"{node}:{index}"
        if index and whole in made:
            return made[whole]
        if node not in made:
            raise FormatError(f"refers to {shown(name)}, which no node makes: damaged")
        return f"{made[node]}:{index}" if index else made[node]
