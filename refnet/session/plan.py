"""Graph -> steps: runs of nodes that are computed together, so that what lies between them stays in cache.

A step is a dense convolution, a pointwise one, a whole inverted residual, a global pool or a single node of any other
kind, which is left to `readings.fast`. A run ends where something else reads a tensor, or where it is to be kept.
Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from refnet.graph import SOURCE, Graph, Node

__all__ = ["Excite", "Inverted", "Layer", "Pointwise", "Pool", "Rename", "Single", "Stem", "Step", "plan", "sources"]

Shape = tuple[int, ...]

_ACTIVATIONS = ("relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "swish")


@dataclass(frozen=True)
class Layer:
    """A convolution and the activation after it."""

    conv: Node
    act: Node | None

    @property
    def end(self) -> str:
        """The name of the tensor that it makes."""
        return self.conv.name if self.act is None else self.act.name


@dataclass(frozen=True)
class Excite:
    """Squeeze-and-excite between a depthwise convolution and its projection: the gate of each channel.

    Most networks activate what goes in, some what comes out: `act`.
    """

    pool: Node
    reduce: Layer
    expand: Layer
    scale: Node
    act: Node | None

    @property
    def end(self) -> str:
        """The name of the tensor that it makes."""
        return self.scale.name if self.act is None else self.act.name


@dataclass(frozen=True)
class Stem:
    """A dense convolution, such as the first of a network."""

    source: str
    layer: Layer

    @property
    def end(self) -> str:
        """The name of the tensor that it makes."""
        return self.layer.end


@dataclass(frozen=True)
class Pointwise:
    """A pointwise convolution, its activation and the shortcut added to it."""

    source: str
    layer: Layer
    shortcut: str | None = None
    add: Node | None = None

    @property
    def end(self) -> str:
        """The name of the tensor that it makes."""
        return self.layer.end if self.add is None else self.add.name


@dataclass(frozen=True)
class Inverted:
    """Expand, filter each channel, gate, project, add: an inverted residual, or as much of it as is there."""

    source: str
    expand: Layer | None
    depthwise: Layer
    excite: Excite | None
    project: Pointwise | None

    @property
    def end(self) -> str:
        """The name of the tensor that it makes."""
        return self.depthwise.end if self.project is None else self.project.end


@dataclass(frozen=True)
class Pool:
    """The mean of each map."""

    source: str
    end: str


@dataclass(frozen=True)
class Rename:
    """A 1x1 map flattened: the same numbers under another name."""

    source: str
    end: str


@dataclass(frozen=True)
class Single:
    """Any other node, as `readings.fast` has it."""

    node: Node

    @property
    def end(self) -> str:
        """The name of the tensor that it makes."""
        return self.node.name


Step = Stem | Pointwise | Inverted | Pool | Rename | Single


def plan(graph: Graph, shapes: Mapping[str, Shape], keep: Collection[str] = ()) -> list[Step]:
    """The steps of a graph, in order of execution.

    Parameters
    ----------
    graph : batch norm folded as far as it can be
    shapes : of every tensor, without the batch axis
    keep : names of tensors that must be made as such
    """
    return list(_Planner(graph, shapes, keep).steps())


def sources(step: Step) -> tuple[str, ...]:
    """The tensors that a step reads."""
    match step:
        case Single(node):
            return node.inputs
        case Pointwise(source, _, shortcut, _) | Inverted(source, _, _, _, Pointwise(_, _, shortcut, _)):
            return (source,) if shortcut is None else (source, shortcut)
        case _:
            return (step.source,)


class _Planner:
    """Goes down the nodes and, from each that begins a run, as far as the run holds."""

    def __init__(self, graph: Graph, shapes: Mapping[str, Shape], keep: Collection[str]) -> None:
        self.graph, self.shapes = graph, shapes
        self.readers = graph.readers()
        self.open = {name for name in self.readers if name not in keep and name != graph.output}
        self.made = {SOURCE}

    def steps(self) -> Iterator[Step]:
        inside: set[str] = set()
        for node in self.graph.nodes:
            if node.name in inside:
                continue
            step, run = self.begun(node)
            inside.update(run)
            self.made.add(step.end)
            yield step

    def begun(self, node: Node) -> tuple[Step, set[str]]:
        """The step that begins with a node, and the names of its nodes."""
        source = node.inputs[0]
        if node.op == "conv2d":
            layer = self.filtered(node)
            return Stem(source, layer), _names(layer)
        if source == SOURCE:  # the only map that does not lie channels last
            return Single(node), {node.name}
        if node.op == "pointwise_conv2d":
            layer = self.filtered(node)
            following = self.next(layer.end)
            if following is not None and following.op == "depthwise_conv2d":
                return self.inverted(source, layer, following)
            step = self.pointwise(node)
            return step, _names(step)
        if node.op == "depthwise_conv2d":
            return self.inverted(source, None, node)
        if self.global_pool(node):
            return Pool(source, node.name), {node.name}
        if node.op == "flatten" and len(self.shapes[source]) == 3 and self.shapes[source][1:] == (1, 1):
            return Rename(source, node.name), {node.name}
        return Single(node), {node.name}

    def inverted(self, source: str, expand: Layer | None, conv: Node) -> tuple[Step, set[str]]:
        depthwise = self.filtered(conv)
        excite = self.excite(depthwise.end)
        following = self.next(depthwise.end if excite is None else excite.end)
        project = None
        if following is not None and following.op == "pointwise_conv2d":
            project = self.pointwise(following)
        else:
            excite = None  # a gate needs what it opens into
        step = Inverted(source, expand, depthwise, excite, project)
        return step, _names(expand, depthwise, excite, project)

    def excite(self, name: str) -> Excite | None:
        """The squeeze-and-excite that reads a map, if nothing else does."""
        if name not in self.open or len(self.readers[name]) != 2:
            return None
        pool, scale = self.readers[name]
        if not self.global_pool(pool) or scale.op != "scale" or scale.inputs[0] != name:
            return None
        reduce = self.next(pool.name)
        if reduce is None or reduce.op != "pointwise_conv2d":
            return None
        first = self.filtered(reduce)
        expand = self.next(first.end)
        if expand is None or expand.op != "pointwise_conv2d":
            return None
        second = self.filtered(expand)
        if self.next(second.end) is not scale or scale.inputs[1] != second.end:
            return None
        return Excite(pool, first, second, scale, self.activation(scale))

    def pointwise(self, node: Node) -> Pointwise:
        layer = self.filtered(node)
        add = self.next(layer.end)
        if add is not None and add.op == "add":
            others = [name for name in add.inputs if name != layer.end]
            if len(others) == 1 and others[0] in self.made and others[0] != SOURCE:
                return Pointwise(node.inputs[0], layer, others[0], add)
        return Pointwise(node.inputs[0], layer)

    def filtered(self, conv: Node) -> Layer:
        return Layer(conv, self.activation(conv))

    def activation(self, node: Node) -> Node | None:
        act = self.next(node.name)
        return act if act is not None and act.op in _ACTIVATIONS else None

    def next(self, name: str) -> Node | None:
        """The only reader of a tensor that need not be kept."""
        readers = self.readers[name]
        return readers[0] if name in self.open and len(readers) == 1 else None

    def global_pool(self, node: Node) -> bool:
        shape = self.shapes[node.inputs[0]]
        return node.op == "avg_pool2d" and node.attrs["kernel"] == shape[1:] and not any(map(any, node.attrs["pad"]))


def _names(*parts: Layer | Excite | Pointwise | None) -> set[str]:
    """The names of the nodes that some parts of a step stand for."""
    found: set[str] = set()
    for part in parts:
        match part:
            case Layer(conv, act):
                found |= {conv.name} | ({act.name} if act is not None else set())
            case Excite(pool, reduce, expand, scale, act):
                found |= {pool.name, scale.name, *([] if act is None else [act.name])} | _names(reduce, expand)
            case Pointwise(_, layer, _, add):
                found |= _names(layer) | ({add.name} if add is not None else set())
    return found
