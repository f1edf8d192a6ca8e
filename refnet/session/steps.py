"""Graph -> steps: runs of nodes that are computed together, so that what lies between them stays in cache.

A step is a dense convolution, a pointwise one, a whole inverted residual, a global pool or a single node of any other
kind, which is left to `readings.fast`. A run ends where something else reads a tensor, or where it is to be kept.
Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from refnet.graph import SOURCE, Graph, Node, Unit, is_global
from refnet.ops import OPS

__all__ = [
    "Excite",
    "InvertedResidual",
    "Pointwise",
    "Pool",
    "Rename",
    "Single",
    "Stem",
    "Step",
    "nodes_of",
    "sources",
    "steps",
]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Excite:
    """Squeeze-and-excite between a depthwise convolution and its projection: the gate of each channel.

    Most networks activate what goes in, some what comes out: `act`.
    """

    pool: Node
    reduce: Unit
    expand: Unit
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
    unit: Unit

    @property
    def end(self) -> str:
        """The name of the tensor that it makes."""
        return self.unit.output


@dataclass(frozen=True)
class Pointwise:
    """A pointwise convolution, its activation and the shortcut added to it."""

    source: str
    unit: Unit
    shortcut: str | None = None
    add: Node | None = None

    @property
    def end(self) -> str:
        """The name of the tensor that it makes."""
        return self.unit.output if self.add is None else self.add.name


@dataclass(frozen=True)
class InvertedResidual:
    """Expand, filter each channel, gate, project, add: an inverted residual, or as much of it as is there."""

    source: str
    expand: Unit | None
    depthwise: Unit
    excite: Excite | None
    project: Pointwise | None

    @property
    def end(self) -> str:
        """The name of the tensor that it makes."""
        return self.depthwise.output if self.project is None else self.project.end


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


Step = Stem | Pointwise | InvertedResidual | Pool | Rename | Single


def steps(graph: Graph, shapes: Mapping[str, Shape], keep: Collection[str] = ()) -> list[Step]:
    """The steps of a graph, in order of execution.

    Parameters
    ----------
    graph : batch norm folded as far as it can be
    shapes : of every tensor, without the batch axis
    keep : names of tensors that must be made as such, besides the outputs
    """
    return list(_Planner(graph, shapes, keep).steps())


def sources(step: Step) -> tuple[str, ...]:
    """The tensors that a step reads."""
    match step:
        case Single(node):
            return node.inputs
        case Pointwise(source, _, shortcut, _) | InvertedResidual(source, _, _, _, Pointwise(_, _, shortcut, _)):
            return (source,) if shortcut is None else (source, shortcut)
        case _:
            return (step.source,)


class _Planner:
    """Goes down the units and, from each that begins a run, as far as the run holds.

    A batch norm that folding has left (behind another one, or wanted by itself) is a node of its own here, and so is an
    activation that has params: a unit is a convolution and its activation, or one node.
    """

    def __init__(self, graph: Graph, shapes: Mapping[str, Shape], keep: Collection[str]) -> None:
        self.graph, self.shapes = graph, shapes
        self.kept = {*keep, *graph.outputs}
        self.units: dict[str, Unit] = {}
        for unit in graph.units(self.kept):
            whole = unit.norm is None and (unit.act is None or not unit.act.params)
            parts = [unit] if whole else map(Unit, unit.nodes)
            self.units |= {part.conv.name: part for part in parts}
        self.made = {SOURCE}

    def steps(self) -> Iterator[Step]:
        inside: set[str] = set()
        for name, unit in self.units.items():
            if name in inside:
                continue
            for step in self.begun(unit):
                inside |= nodes_of(step)
                self.made.add(step.end)
                yield step

    def begun(self, unit: Unit) -> list[Step]:
        """The step that begins with a unit; of one that no step takes as a whole, one for each node."""
        node = unit.conv
        source = node.inputs[0]
        if node.op == "conv2d":
            return [Stem(source, unit)]
        if source == SOURCE:  # the only map that does not lie channels last
            return [Single(each) for each in unit.nodes]
        if node.op == "pointwise_conv2d":
            following = self.next(unit.output)
            if following is not None and following.conv.op == "depthwise_conv2d":
                return [self.inverted(source, unit, following)]
            return [self.pointwise(unit)]
        if node.op == "depthwise_conv2d":
            return [self.inverted(source, None, unit)]
        if self.is_mean(node):
            return [Pool(source, node.name)]
        if node.op == "flatten" and self.shapes[source][1:] == (1, 1):
            return [Rename(source, node.name)]
        return [Single(each) for each in unit.nodes]

    def inverted(self, source: str, expand: Unit | None, depthwise: Unit) -> InvertedResidual:
        excite = self.excite(depthwise.output)
        following = self.next(depthwise.output if excite is None else excite.end)
        if following is None or following.conv.op != "pointwise_conv2d":  # and a gate needs what it opens into
            return InvertedResidual(source, expand, depthwise, None, None)
        return InvertedResidual(source, expand, depthwise, excite, self.pointwise(following))

    def excite(self, name: str) -> Excite | None:
        """The squeeze-and-excite that reads a map, if nothing else does."""
        readers = self.graph.readers()[name]
        if name in self.kept or len(readers) != 2:
            return None
        pool, scale = readers
        reduce = self.next(pool.name) if self.is_mean(pool) else None  # another one may be within a unit
        expand = None if reduce is None else self.next(reduce.output)
        if reduce is None or expand is None:
            return None
        if reduce.conv.op != "pointwise_conv2d" or expand.conv.op != "pointwise_conv2d":
            return None
        if scale.op != "scale" or scale.inputs != (name, expand.output) or self.next(expand.output) is None:
            return None
        after = self.next(scale.name)
        acts = after is not None and OPS[after.conv.op].kind in ("activation", "gate") and not after.conv.params
        return Excite(pool, reduce, expand, scale, after.conv if after is not None and acts else None)

    def pointwise(self, unit: Unit) -> Pointwise:
        source, following = unit.conv.inputs[0], self.next(unit.output)
        if following is not None and following.conv.op == "add":
            (other,) = (name for name in following.conv.inputs if name != unit.output)
            if other in self.made and other != SOURCE:
                return Pointwise(source, unit, other, following.conv)
        return Pointwise(source, unit)

    def next(self, name: str) -> Unit | None:
        """The unit that alone reads a tensor that need not be kept."""
        reader = None if name in self.kept else self.graph.only_reader(name)
        return None if reader is None else self.units[reader.name]

    def is_mean(self, node: Node) -> bool:
        return node.op == "avg_pool2d" and is_global(node, self.shapes[node.inputs[0]])


def nodes_of(part: Step | Excite | Unit | None) -> set[str]:
    """The names of the nodes that a part of a step stands for."""
    match part:
        case Unit():
            return {node.name for node in part.nodes}
        case Excite(pool, reduce, expand, scale, act):
            return {pool.name, scale.name, *([] if act is None else [act.name])} | nodes_of(reduce) | nodes_of(expand)
        case Pointwise(_, unit, _, add):
            return nodes_of(unit) | (set() if add is None else {add.name})
        case InvertedResidual(_, expand, depthwise, excite, project):
            return nodes_of(expand) | nodes_of(depthwise) | nodes_of(excite) | nodes_of(project)
        case Stem(_, unit):
            return nodes_of(unit)
        case None:
            return set()
        case _:
            return {part.end}
