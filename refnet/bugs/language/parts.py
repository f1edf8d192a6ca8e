"""The parts of a network, found by how its nodes are joined: squeezes, blocks, linear bottlenecks, the head.

No name of a node is looked into, so that a network of a file's own has the same parts as a known one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from refnet.graph import SOURCE, Graph, Node, Unit, is_global
from refnet.networks.folded import folded_convolutions
from refnet.ops import ACTIVATIONS, CONVOLUTIONS, OPS, RESIZES
from refnet.readings.shapes import shape_after, shapes

__all__ = ["BlockNodes", "CoarseGate", "FineJoin", "Parts", "Squeeze"]


class Squeeze(NamedTuple):
    """Squeeze-and-excite: pool -> reduce -> activation -> expand -> gate, and the scale that reads the gate."""

    pool: Node
    reduce: Node
    expand: Node
    scale: Node


class BlockNodes(NamedTuple):
    """A depthwise convolution with the pointwise one behind it, and the one before it that expands its channels.

    Attributes
    ----------
    entry, exit : the tensor that the block reads, and what it makes before a shortcut is added
    expand : None where the block does not expand
    depthwise : of the block
    act : operation of the activation behind the depthwise convolution, '' for none
    squeeze : None where the block has none
    linear : whether no activation follows the last convolution
    add : that sums entry and exit, None where there is no shortcut
    """

    entry: str
    exit: str
    expand: Node | None
    depthwise: Node
    act: str
    squeeze: Squeeze | None
    linear: bool
    add: Node | None

    @property
    def end(self) -> str:
        """What the next block reads."""
        return self.exit if self.add is None else self.add.name


class CoarseGate(NamedTuple):
    """The gate of LR-ASPP: pool -> convolution -> gate, perhaps enlarged, and the scale that reads it."""

    pool: Node
    conv: Node
    scale: Node


class FineJoin(NamedTuple):
    """Where LR-ASPP is joined by an earlier, finer map: high and low are its classifiers, added, then enlarged.

    `first` enlarges what `high` reads to the finer map, `last` the sum to the image.
    """

    low: Node
    high: Node
    add: Node
    first: Node
    last: Node


@dataclass(frozen=True, eq=False)
class Parts:
    """A graph and its parts, each found once.

    Attributes
    ----------
    graph : the network
    known : shapes that a candidate's tensors have instead of those that the nodes before them make
    """

    graph: Graph
    known: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor without the batch axis."""
        if not self.known:
            return shapes(self.graph)
        found = {SOURCE: self.known.get(SOURCE, self.graph.input_shape)}
        for node in self.graph.nodes:
            found[node.name] = self.known.get(node.name) or shape_after(node, *(found[name] for name in node.inputs))
        return found

    @cached_property
    def folded(self) -> tuple[str, ...]:
        """The convolutions into which batch norm was folded."""
        return folded_convolutions(self.graph)

    @cached_property
    def gates(self) -> frozenset[str]:
        """The nodes by which something is scaled, also where their map is enlarged for that."""

        def origin(name: str) -> str:
            node = self.graph.by_name.get(name)
            return origin(node.inputs[0]) if node is not None and node.op in RESIZES else name

        return frozenset(origin(node.inputs[1]) for node in self.graph.nodes if node.op == "scale")

    @cached_property
    def squeezes(self) -> tuple[Squeeze, ...]:
        """Every squeeze-and-excite, in order."""
        return tuple(
            found for node in self.graph.nodes if node.op == "scale" and (found := self._squeeze(node)) is not None
        )

    @cached_property
    def coarse(self) -> tuple[CoarseGate, ...]:
        """Every gate of LR-ASPP, in order."""
        found = []
        for scale in (node for node in self.graph.nodes if node.op == "scale"):
            chain = list(self._back(scale.inputs[1]))
            convolutions = [node for node in chain if node.op in CONVOLUTIONS]
            if chain and chain[-1].op == "avg_pool2d" and len(convolutions) == 1:
                found.append(CoarseGate(chain[-1], convolutions[0], scale))
        return tuple(found)

    @cached_property
    def joins(self) -> tuple[FineJoin, ...]:
        """Every sum of two classifiers of which one reads an enlarged map, itself enlarged."""
        return tuple(found for node in self.graph.nodes if node.op == "add" and (found := self._join(node)) is not None)

    @cached_property
    def blocks(self) -> tuple[BlockNodes, ...]:
        """Every block, in order."""
        found = (self._block(unit) for unit in self._units.values() if unit.conv.op == "depthwise_conv2d")
        return tuple(block for block in found if block is not None)

    @cached_property
    def linear(self) -> frozenset[str]:
        """The tensors of few channels that no activation touches: ends of linear bottlenecks, and sums of them."""
        ends = {unit.output for unit in self._units.values() if unit.conv.op in CONVOLUTIONS and unit.act is None}
        sums = {node.name for node in self.graph.nodes if node.op == "add"}
        readers = self.graph.readers()
        return frozenset(
            name
            for name in ends | sums
            if readers[name] and all(reader.op in (*CONVOLUTIONS, "add") for reader in readers[name])
        )

    @cached_property
    def head(self) -> tuple[Node, ...]:
        """The nodes from the global pool before the classifier to the output; none where there is no such pool."""
        chain: list[Node] = []
        name = self.graph.output
        while name != SOURCE and len(self.graph[name].inputs) == 1:
            node = self.graph[name]
            chain.append(node)
            if self.is_global(node):
                return tuple(reversed(chain))
            name = node.inputs[0]
        return ()

    @cached_property
    def dense(self) -> tuple[Node, ...]:
        """The convolutions of the head: the hidden layers, and last the one that gives the classes."""
        return tuple(node for node in self.head if node.op in CONVOLUTIONS)

    @property
    def classifier(self) -> str:
        """The convolution that gives the classes, '' where there is none."""
        return self.dense[-1].name if self.dense else ""

    def twins(self, name: str) -> list[str]:
        """The other ends of blocks, before their sums too, that are of the shape of a tensor."""
        ends = dict.fromkeys(each for one in self.blocks for each in (one.exit, one.end))
        return [each for each in ends if each != name and self.sizes[each] == self.sizes[name]]

    def unit(self, name: str) -> Unit | None:
        """The unit that a node is of; None for a node that the graph does not have."""
        return self._unit_of.get(name)

    def part_of(self, conv: str) -> str:
        """What a convolution is in its network: 'expand', 'depthwise', 'project', 'squeeze', 'head', or ''.

        The pool of a squeeze is a part of that, too.
        """
        return self._part_of.get(conv, "")

    def block_of(self, name: str) -> int:
        """In which block a node is, from 1 on; 0 before the first and behind the last."""
        return self._block_of.get(name, 0)

    def pools_all(self, name: str) -> bool:
        """Whether a node of the graph is a pool that takes in a whole map."""
        node = self.graph.by_name.get(name)
        return node is not None and self.is_global(node)

    def is_global(self, node: Node) -> bool:
        """Whether a node is a pool that takes in a whole map."""
        return bool(node.inputs) and is_global(node, self.sizes[node.inputs[0]])

    @cached_property
    def _units(self) -> dict[str, Unit]:
        """Units by the tensor that they make."""
        return {unit.output: unit for unit in self.graph.units()}

    @cached_property
    def _unit_of(self) -> dict[str, Unit]:
        """Units by each of their nodes."""
        return {node.name: unit for unit in self._units.values() for node in unit.nodes}

    @cached_property
    def _part_of(self) -> dict[str, str]:
        found = {node.name: "head" for node in self.dense}
        for squeeze in self.squeezes:
            found |= dict.fromkeys((squeeze.pool.name, squeeze.reduce.name, squeeze.expand.name), "squeeze")
        for block in self.blocks:
            found |= {block.depthwise.name: "depthwise", self._units[block.exit].conv.name: "project"}
            found |= {block.expand.name: "expand"} if block.expand is not None else {}
        return found

    @cached_property
    def _block_of(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for index, block in enumerate(self.blocks, 1):
            found |= {node.name: index for node in self.graph.leading_to(block.end, starts={SOURCE, block.entry}).nodes}
        return found

    def _back(self, name: str) -> Iterator[Node]:
        """The chain that makes a tensor, back to a pool, or to where several tensors meet."""
        while name != SOURCE and len(self.graph[name].inputs) == 1:
            yield self.graph[name]
            if self.graph[name].op == "avg_pool2d":
                return
            (name,) = self.graph[name].inputs

    def _join(self, add: Node) -> FineJoin | None:
        """A sum of two convolutions with what they stand between."""
        terms = [self.graph.by_name.get(name) for name in add.inputs]
        both = [node for node in terms if node is not None and node.op == "pointwise_conv2d"]
        last = self.graph.only_reader(add.name)
        sources = {node.name: self.graph.by_name.get(node.inputs[0]) for node in both}
        firsts = [node for node in both if (made := sources[node.name]) is not None and made.op == "resize_bilinear"]
        if len(both) != 2 or len(firsts) != 1 or last is None or last.op != "resize_bilinear":
            return None
        (high,) = firsts
        (low,) = (node for node in both if node is not high)
        return FineJoin(low, high, add, self.graph[high.inputs[0]], last)

    def _squeeze(self, scale: Node) -> Squeeze | None:
        """Back from the gate to the global pool, over two convolutions."""
        convolutions: list[Node] = []
        name = scale.inputs[1]
        while name != SOURCE and len(self.graph[name].inputs) == 1:
            node = self.graph[name]
            if self.is_global(node):
                return Squeeze(node, convolutions[1], convolutions[0], scale) if len(convolutions) == 2 else None
            convolutions += [node] if node.op in CONVOLUTIONS else []
            name = node.inputs[0]
        return None

    def _block(self, unit: Unit) -> BlockNodes | None:
        """The block around a depthwise convolution, if a pointwise one follows it."""
        behind = list(self._path(unit.conv))
        if not behind or behind[-1].op != "pointwise_conv2d":
            return None
        last = next(each for each in self._units.values() if each.conv.name == behind[-1].name)
        before = self._units.get(unit.conv.inputs[0])
        expand = None
        if before is not None and before.conv.op == "pointwise_conv2d" and before.act and not last.act:
            expand = before.conv
        entry, readers = (expand or unit.conv).inputs[0], self.graph.readers()[last.output]
        return BlockNodes(
            entry=entry,
            exit=last.output,
            expand=expand,
            depthwise=unit.conv,
            act=next((node.op for node in behind if node.op in ACTIVATIONS), ""),
            squeeze=next((each for each in self.squeezes if each.scale in behind), None),
            linear=last.act is None,
            add=next((reader for reader in readers if reader.op == "add" and entry in reader.inputs), None),
        )

    def _path(self, node: Node) -> Iterator[Node]:
        """The nodes behind one, up to the next convolution: along what is scaled, not along what makes the gate."""
        pools = {squeeze.pool.name for squeeze in self.squeezes}
        while True:
            readers = [reader for reader in self.graph.readers()[node.name] if reader.name not in pools]
            if len(readers) != 1 or (readers[0].op == "scale" and readers[0].inputs[0] != node.name):
                return
            node = readers[0]
            yield node
            if node.op != "scale" and OPS[node.op].kind not in ("norm", "activation", "gate", "arithmetic"):
                return
