"""A network is data: a list of named nodes.

This file holds the two types everything else reads (`Node`, `Graph`), the table of operations (`OPS`) and
`walk`, which runs any reading of a graph: a reading is a module with one function per operation, spelled as
the operation is. The file knows no arithmetic, no vendor and no file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from refnet.errors import GraphError

__all__ = ["CONVOLUTIONS", "OPS", "SOURCE", "Graph", "Node", "Op", "Recipe", "check", "evaluate", "segment", "walk"]

SOURCE = "input"  # the name of the array that a network is given


CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "pointwise_conv2d")


class Op(NamedTuple):
    """What a node of this operation carries: how many inputs, which parameters, which attributes."""

    inputs: int
    params: tuple[str, ...] = ()
    attrs: tuple[str, ...] = ()


_FILTER = ("stride", "pad", "dilation")

OPS: Mapping[str, Op] = {
    "conv2d": Op(1, ("w", "b"), _FILTER),
    "depthwise_conv2d": Op(1, ("w", "b"), _FILTER),
    "pointwise_conv2d": Op(1, ("w", "b")),
    "pad": Op(1, (), ("pad", "mode", "value")),
    "batch_norm": Op(1, ("gamma", "beta", "mean", "var"), ("eps",)),
    "affine": Op(1, (), ("slope", "offset")),
    "relu": Op(1),
    "relu6": Op(1),
    "hard_sigmoid": Op(1, (), ("slope", "offset")),
    "hard_swish": Op(1),
    "sigmoid": Op(1),
    "swish": Op(1),
    "avg_pool2d": Op(1, (), ("kernel", "stride", "pad")),
    "max_pool2d": Op(1, (), ("kernel", "stride", "pad")),
    "scale": Op(2),
    "add": Op(2),
    "flatten": Op(1),
    "resize_bilinear": Op(1, (), ("size", "align_corners")),
    "softmax": Op(1),
}

_OPTIONAL = ("b",)  # the only parameter that an operation may go without


@dataclass(frozen=True)
class Node:
    """One operation of a network and the tensor it makes; both have the same name.

    Attributes
    ----------
    name : dotted, 'block3.depthwise.bn'; fit to be a file name
    op : a key of `OPS`
    inputs : names of earlier nodes, or 'input'
    params : the arrays it needs, {'w': shape}; in a params dict they are called 'block3.depthwise.w'
    attrs : plain numbers, strings and nested tuples of them
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    params: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        params = [f"{slot}{list(shape)}" for slot, shape in self.params.items()]
        attrs = [f"{key}={value}" for key, value in self.attrs.items()]
        return f"{self.name} = {self.op}({', '.join([*self.inputs, *params, *attrs])})"


@dataclass(frozen=True)
class Recipe:
    """What `build` was asked for, so that the same network can be built again at another size."""

    model: str
    width: float
    size: tuple[int, int]
    classes: int
    channels: int = 3


@dataclass(frozen=True)
class Graph:
    """Nodes in execution order, and the recipe that they were built from."""

    recipe: Recipe
    nodes: tuple[Node, ...]

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        height, width = self.recipe.size
        head = f"{self.recipe.model}, width {self.recipe.width:g}: input[N, {self.recipe.channels}, {height}, {width}]"
        return "\n".join([head, *map(str, self.nodes)])

    @property
    def output(self) -> str:
        """The name of the last node, which is what calling a network returns."""
        return self.nodes[-1].name

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one input."""
        return (self.recipe.channels, *self.recipe.size)

    def params(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every array that the nodes need, in order."""
        return {f"{node.name}.{slot}": shape for node in self.nodes for slot, shape in node.params.items()}

    def readers(self) -> dict[str, list[Node]]:
        """The nodes that read each tensor, the input's included."""
        found: dict[str, list[Node]] = {SOURCE: [], **{node.name: [] for node in self.nodes}}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return found


def check(graph: Graph) -> Graph:
    """Refuse a graph that breaks its own rules; return it otherwise.

    Raises
    ------
    GraphError
        naming the node: unknown operation, name used twice, input not defined before its reader, parameters or
        attributes other than the operation's.
    """
    if not graph.nodes:
        raise GraphError("the graph has no nodes")
    seen = {SOURCE}
    for node in graph.nodes:
        op = OPS.get(node.op)
        if op is None:
            raise GraphError(f"{node.name}: no operation is called {node.op!r}; they are {', '.join(OPS)}")
        if node.name in seen:
            raise GraphError(f"{node.name}: the name is used twice")
        if undefined := [name for name in node.inputs if name not in seen]:
            raise GraphError(f"{node.name}: reads {undefined[0]!r}, which no earlier node makes")
        if len(node.inputs) != op.inputs:
            raise GraphError(f"{node.name}: {node.op} reads {op.inputs} tensor(s), not {len(node.inputs)}")
        required = [slot for slot in op.params if slot not in _OPTIONAL]
        if not set(required) <= set(node.params) <= set(op.params):
            raise GraphError(f"{node.name}: {node.op} takes the parameters {op.params}, not {tuple(node.params)}")
        if set(node.attrs) != set(op.attrs):
            raise GraphError(f"{node.name}: {node.op} takes the attributes {op.attrs}, not {tuple(node.attrs)}")
        seen.add(node.name)
    return graph


def walk(
    graph: Graph, rules: Any, params: Mapping[str, Any], given: Mapping[str, Any], *, keep: bool = False
) -> Iterator[tuple[Node, Any]]:
    """Read a graph with a table of rules: yield each node and what its rule made, in order.

    For a node of operation `op` this calls ``rules.op(*inputs, *parameters, **attributes)``, a parameter that
    the node goes without being None. What flows along the edges is up to the rules: arrays, shapes, error bounds.

    Parameters
    ----------
    rules : anything with one attribute per operation, usually a module
    params : by 'node.slot'
    given : values to start from, by name; {'input': x} for the whole network. A node that is given is not run.
    keep : keep every value alive; otherwise each is let go after its last reader, so that memory stays low

    Examples
    --------
    >>> from refnet.readings import fast
    >>> for node, y in walk(graph, fast, params, {"input": x}):  # doctest: +SKIP
    ...     np.save(node.name, y)
    """
    values = dict(given)
    last_reader = {name: node.name for node in graph.nodes for name in node.inputs}
    for node in graph.nodes:
        if node.name in given:
            continue
        rule = getattr(rules, node.op)
        arrays = [values[name] for name in node.inputs]
        weights = [params[f"{node.name}.{slot}"] if slot in node.params else None for slot in OPS[node.op].params]
        values[node.name] = rule(*arrays, *weights, **node.attrs)
        del arrays
        yield node, values[node.name]
        if not keep:
            for name in {*node.inputs, node.name}:
                if last_reader.get(name, node.name) == node.name:
                    values.pop(name, None)


def evaluate(graph: Graph, rules: Any, params: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """What the last node's rule makes; arguments as for `walk`."""
    ((_, value),) = deque(walk(graph, rules, params, given), maxlen=1)
    return value


def segment(graph: Graph, ends: str, starts: set[str]) -> Graph:
    """The nodes between some tensors and one later tensor, as a graph of its own.

    Parameters
    ----------
    ends : the tensor that the segment makes
    starts : tensors taken as given; the walk back from `ends` stops at them

    Raises
    ------
    GraphError
        when the walk back reaches a tensor that nothing makes (the input, if it is not among `starts`).
    """
    by_name = {node.name: node for node in graph.nodes}
    wanted: set[str] = set()
    stack = [ends]
    while stack:
        name = stack.pop()
        if name in wanted or (name in starts and name != ends):
            continue
        if name not in by_name:
            raise GraphError(f"{ends}: needs {name!r}, which is not given")
        wanted.add(name)
        stack.extend(by_name[name].inputs)
    return Graph(graph.recipe, tuple(node for node in graph.nodes if node.name in wanted))
