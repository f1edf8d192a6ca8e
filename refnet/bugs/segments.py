"""A segment: a run of nodes between tensors that a candidate has, with the candidate's own inputs to it.

Everything that a bug could be is written as another segment: other attributes, params, nodes or inputs, another way
of laying out the result, another precision. So a bug can be replayed, injected, and put on top of another bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph, Node, interpret
from refnet.readings import fast
from refnet.readings.bounds import Bound, Precision, bound
from refnet.readings.orders import ORDERS

__all__ = ["Segment", "Variation", "cut", "identity", "limit", "ported", "run"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Segment:
    """Nodes to run, and what to run them on.

    Attributes
    ----------
    graph : the nodes; the last makes the tensor that is judged
    params : of those nodes, and of any others
    given : the segment's inputs, by name, as the candidate has them
    whole : the network that it is part of
    sizes : shape of every tensor of that network, without the batch axis
    available : every tensor that the candidate has, for bugs that read one from elsewhere
    candidate : the candidate's tensor, for bugs whose place only the result shows (which channels are swapped); None
        where a bug is to be injected
    view : how the port lays out the result, or None
    precision : what the port computes in, where a bug is about that; None leaves the declared one
    """

    graph: Graph
    params: Mapping[str, Array]
    given: Mapping[str, Array]
    whole: Graph
    sizes: Mapping[str, tuple[int, ...]]
    available: Mapping[str, Array] = field(default_factory=dict)
    candidate: Array | None = None
    view: Callable[[Array], Array] | None = None
    precision: Precision | None = None

    @property
    def end(self) -> str:
        """The name of the tensor that is judged."""
        return self.graph.nodes[-1].name

    @property
    def batch(self) -> int:
        """How many images."""
        return len(next(iter(self.given.values())))

    def nodes(self, *ops: str) -> Iterator[Node]:
        """The nodes of some operations, in order."""
        return (node for node in self.graph.nodes if node.op in ops)

    def value(self, name: str) -> Array:
        """A tensor inside the segment or given to it, in float64."""
        if name in self.given:
            return self.given[name].astype(np.float64)
        part = self.graph.leading_to(name, starts=set(self.given))
        return run(replace(self, graph=part, view=None))

    def with_nodes(self, old: Node, *new: Node) -> Segment:
        """The same with one node replaced by others, the last of which keeps its name; its params go along."""
        nodes = [made for node in self.graph.nodes for made in (new if node.name == old.name else (node,))]
        moved = {f"{node.name}.{slot}": self.params[f"{old.name}.{slot}"] for node in new for slot in node.params}
        graph = replace(self.graph, nodes=tuple(nodes))
        return replace(self, graph=graph, params={**self.params, **moved})

    def with_attrs(self, node: Node, **attrs: Any) -> Segment:
        """The same with some attributes of one node replaced."""
        return self.with_nodes(node, replace(node, attrs={**node.attrs, **attrs}))

    def with_op(self, node: Node, op: str, **attrs: Any) -> Segment:
        """The same with another operation in a node's place."""
        return self.with_nodes(node, replace(node, op=op, attrs=attrs))

    def with_params(self, node: Node, **arrays: Array) -> Segment:
        """The same with some params of one node replaced; shapes stay."""
        return replace(self, params={**self.params, **{f"{node.name}.{slot}": a for slot, a in arrays.items()}})

    def without(self, node: Node, source: int = 0) -> Segment:
        """The same with a node that hands on one of its inputs."""
        axes = 2 if node.op == "softmax" else 4
        return self.with_nodes(node, identity(node.name, node.inputs[source], axes))

    def with_view(self, view: Callable[[Array], Array]) -> Segment:
        """The same with its result laid out in another way."""
        before = self.view
        return replace(self, view=view if before is None else lambda y: view(before(y)))

    def param(self, node: Node, slot: str) -> Array:
        """One parameter of a node."""
        return self.params[f"{node.name}.{slot}"]


class Variation(NamedTuple):
    """Another way of running a segment: at which node, told in words, and the segment that does so.

    `shape` is that of the result, batch included, where the bug changes it: no input is needed to show such a bug.
    Where even its params would have other shapes, nothing can be replayed, and the segment is the honest one.
    """

    node: str
    detail: str
    segment: Segment
    shape: tuple[int, ...] | None = None


def cut(
    graph: Graph,
    params: Mapping[str, Array],
    end: str,
    tensors: Mapping[str, Array],
    sizes: Mapping[str, tuple[int, ...]],
    *,
    judged: bool = True,
) -> Segment:
    """The segment that makes one tensor from the others that are there.

    Parameters
    ----------
    tensors : all that the candidate has, and the input
    sizes : see `Segment`
    judged : False where there is no tensor of the candidate's to explain (a bug is to be injected)
    """
    part = graph.leading_to(end, starts=set(tensors))
    made = {node.name for node in part.nodes}
    given = {name: tensors[name] for node in part.nodes for name in node.inputs if name not in made}
    return Segment(part, params, given, graph, sizes, tensors, tensors[end] if judged else None)


def run(segment: Segment, dtype: npt.DTypeLike = np.float64, rules: Any = fast) -> Array:
    """What the segment makes, in one precision throughout."""
    params = {name: np.asarray(segment.params[name], dtype) for name in segment.graph.params()}
    given = {name: np.asarray(array, dtype) for name, array in segment.given.items()}
    y: Array = interpret(segment.graph, rules, params, given)
    return y if segment.view is None else segment.view(y)


def limit(segment: Segment, precision: Precision, *, rounded: bool = False, dtype: npt.DTypeLike = np.float64) -> Bound:
    """The segment's exact result and how far rounding alone may move it, laid out as the port does.

    `rounded` takes the segment's inputs for rounded copies of what the port went on with; `dtype` as in `bound`.
    """
    own = segment.precision or precision
    made = bound(segment.graph, segment.params, segment.given, own, rounded=rounded, dtype=dtype)
    if segment.view is None:
        return made
    return Bound(segment.view(made.y), segment.view(made.worst), segment.view(made.expected), made.rms)


def ported(segment: Segment) -> Array:
    """What a port in float32 makes of it; where the bug is one of sums in float16, with such sums."""
    if segment.precision is None:
        return run(segment, np.float32)
    with np.errstate(over="ignore"):
        return run(replace(segment, precision=None), np.float16, ORDERS["sequential"]).astype(np.float32)


def identity(name: str, source: str, axes: int) -> Node:
    """A node that hands on a tensor of so many axes as it is."""
    if axes == 4:
        return Node(name, "pad", (source,), {}, {"pad": ((0, 0), (0, 0)), "mode": "constant", "value": 0.0})
    return Node(name, "flatten", (source,))


def reads_input(segment: Segment) -> bool:
    """Whether the network's own input is one of the segment's."""
    return SOURCE in segment.given
