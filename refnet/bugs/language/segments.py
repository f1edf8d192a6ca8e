"""A segment: a run of nodes between tensors that a candidate has, with the candidate's own inputs to it.

What a bug makes of a segment is another segment, so that it can be run, bounded and changed once more.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected, UnitArrays, unit_arrays
from refnet.bugs.language.changes import Change
from refnet.bugs.language.parts import Parts
from refnet.errors import GraphError
from refnet.graph import Graph, Node, interpret, walk
from refnet.readings import fast
from refnet.readings.bounds import Bound, Precision, bound
from refnet.readings.orders import ORDERS
from refnet.readings.shapes import follow_shapes

__all__ = ["Grid", "Segment", "cut", "limit", "limit_of", "ported", "run"]

Array = npt.NDArray[Any]
_View = Callable[[Array], Array]

_MANY = 8  # nodes, through which a bound still says something
_KEPT = 1 << 21  # numbers: tensors inside a segment that are kept for all bugs that ask


class Grid(NamedTuple):
    """The numbers that a tensor of integers stands for: what one more is worth, and the least of them."""

    step: float
    low: float


@dataclass(frozen=True, eq=False)
class Segment:
    """Nodes to run, and what to run them on.

    Attributes
    ----------
    graph : the nodes; the last makes the tensor that is judged
    params : of those nodes, and of any others
    given : the segment's inputs, by name, as the candidate has them
    parts : the network that it is part of, and the parts of that
    available : every tensor that the candidate has, for bugs that read one from elsewhere
    candidate : the candidate's tensor, for bugs whose place only the result shows (which channels are swapped); None
        where a bug is to be injected
    view : how the port lays out the result, or None
    precision : what the port computes in, where a bug is about that; None leaves the declared one
    slack : by name, how far an input that a bug makes, or a convolution's param, may lie from what a port makes of it
    span : the least and the largest number that the candidate's tensor can hold; what is beyond is cut off
    image : the pixels that the input was made of, (H, W, 3) uint8, where they are known
    grids : by name, of tensors of integers that a port has: the numbers that they can hold
    decoded : what else somebody may make of that picture's file, by how, like `image`
    centred : whether the candidate's tensor is known up to a number for each image: logarithms of probabilities
    places : the nodes where changes are asked for, so that others need not be found; none where all are
    on_batch : as in `Change`
    """

    graph: Graph
    params: Mapping[str, Array]
    given: Mapping[str, Array]
    parts: Parts
    available: Mapping[str, Array] = field(default_factory=dict)
    candidate: Array | None = None
    view: _View | None = None
    precision: Precision | None = None
    slack: Mapping[str, Array] = field(default_factory=dict)
    span: tuple[float, float] = (-math.inf, math.inf)
    image: Array | None = None
    grids: Mapping[str, Grid] = field(default_factory=dict)
    decoded: Mapping[str, Array] = field(default_factory=dict)
    centred: bool = False
    places: frozenset[str] = frozenset()
    on_batch: Mapping[str, float] = field(default_factory=dict)

    @property
    def end(self) -> str:
        """The name of the tensor that is judged."""
        return self.graph.nodes[-1].name

    @property
    def batch(self) -> int:
        """How many images."""
        return len(next(iter(self.given.values())))

    @property
    def whole(self) -> Graph:
        """The network that it is part of."""
        return self.parts.graph

    @cached_property
    def sizes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every tensor of that network, without the batch axis: as large as changes have made those here."""
        own = {name: np.shape(y)[1:] for name, y in self.given.items()}
        with contextlib.suppress(GraphError):  # two bugs at once may leave shapes that nothing runs on
            follow_shapes(self.graph.nodes, own)
        return self.parts.sizes | {name: shape for name, shape in own.items() if name in self.parts.sizes}

    @cached_property
    def followed(self) -> dict[tuple[str, tuple[int, ...]], Any]:
        """What follows where a tensor has another shape, by its name and that shape, as `layers.shaping` found it."""
        return {}

    def asked(self, names: Iterable[str]) -> Segment:
        """The segment where changes are asked for at some nodes; what is known of it is kept."""
        made = replace(self, places=frozenset(names))
        known = ("sizes", "followed", "units", "result", "_is_small", "_every")
        vars(made).update({each: value for each, value in vars(self).items() if each in known})
        return made

    def asks(self, node: Node) -> bool:
        """Whether changes are asked for at a node."""
        return not self.places or node.name in self.places

    def nodes(self, *ops: str) -> Iterator[Node]:
        """The nodes of some operations, in order."""
        return (node for node in self.graph.nodes if node.op in ops)

    @cached_property
    def units(self) -> tuple[UnitArrays, ...]:
        """The units that have arrays, in order; every bug looks at them."""
        return tuple(unit_arrays(self.graph, self.params, self.parts.classifier, self.slack))

    @cached_property
    def result(self) -> Array:
        """What the segment makes, in float64."""
        return run(self)

    @cached_property
    def first(self) -> Segment:
        """The segment of the first image alone; not of one whose view may be about all images."""

        def of_one(arrays: Mapping[str, Array]) -> dict[str, Array]:
            return {name: y[:1] if name in self.given and len(y) == self.batch else y for name, y in arrays.items()}

        candidate = None if self.candidate is None else self.candidate[:1]
        return replace(self, given=of_one(self.given), slack=of_one(self.slack), candidate=candidate)

    @cached_property
    def bounds(self) -> dict[tuple[Precision, bool, str], Bound]:
        """Bounds that were made of all of it, by precision, whether its inputs are rounded copies, and dtype."""
        return {}

    def values(self, names: Set[str]) -> Iterator[tuple[str, Array]]:
        """Some tensors given to the segment or inside it, in float64: each once, in order, and kept if small."""
        yield from ((name, np.asarray(y, np.float64)) for name, y in self.given.items() if name in names)
        wanted = (names & self.graph.by_name.keys()) - self.given.keys()
        if wanted and self._is_small:
            yield from ((node.name, self._every[node.name]) for node in self.graph.nodes if node.name in wanted)
        elif wanted:
            last = max(index for index, node in enumerate(self.graph.nodes) if node.name in wanted)
            made = self._walked(self.graph.nodes[: last + 1])
            yield from ((name, y) for name, y in made if name in wanted)

    def _walked(self, nodes: tuple[Node, ...]) -> Iterator[tuple[str, Array]]:
        """The tensors of the first nodes, in float64."""
        part = replace(self.graph, nodes=nodes)
        params = {name: np.asarray(self.params[name], np.float64) for name in part.params()}
        given = {name: np.asarray(array, np.float64) for name, array in self.given.items()}
        yield from ((node.name, y) for node, y in walk(part, fast, params, given))

    @cached_property
    def _is_small(self) -> bool:
        """Whether all that it makes may be kept."""
        made = sum(math.prod(self.sizes.get(node.name, ())) for node in self.graph.nodes)
        return self.batch * made <= _KEPT

    @cached_property
    def _every(self) -> Mapping[str, Array]:
        """Every tensor that it makes, in float64."""
        return dict(self._walked(self.graph.nodes))

    def param(self, node: Node, slot: str) -> Array:
        """One parameter of a node."""
        return self.params[f"{node.name}.{slot}"]

    def changed(self, change: Change) -> Segment:
        """The segment with a change made; params of a node go to new nodes in its place, unless they are changed too.

        So does how far they may be off. Of a change that also changes the shape of params nothing is made.
        """
        params, kept = dict[str, Array](), dict[str, Array]()
        for name, new in change.nodes.items():
            moved = {f"{node.name}.{slot}": f"{name}.{slot}" for node in new for slot in node.params}
            moved = {key: old for key, old in moved.items() if old in self.params and key not in self.params}
            params |= {key: self.params[old] for key, old in moved.items()}
            kept |= {key: self.slack[old] for key, old in moved.items() if old in self.slack}
        made = {**change.params, **change.given}  # which makes what is deferred once
        exact = {name: each.value if isinstance(each, Expected) else each for name, each in made.items()}
        loose = {name: each.slack for name, each in made.items() if isinstance(each, Expected)}
        # Of params a bound knows those of convolutions; what is moved without rounding has none.
        slack = {name: far for name, far in kept.items() if name not in made} | {
            name: far
            for name, far in loose.items()
            if name in change.given or (name.endswith((".w", ".b")) and far.any())
        }
        graph = self.graph
        if change.nodes:
            nodes = (other for node in graph.nodes for other in change.nodes.get(node.name, (node,)))
            graph = replace(graph, nodes=tuple(nodes))
        on_batch = {name: by for name, by in self.on_batch.items() if name not in change.params}
        own = {name: exact[name] for name in change.params}
        changed = replace(
            self,
            graph=graph,
            params={**self.params, **params, **own} if params or own else self.params,
            given={**self.given, **{name: exact[name] for name in change.given}},
            slack={**self.slack, **slack} if slack else self.slack,
            view=_then(self.view, change.view),
            precision=change.precision or self.precision,
            on_batch={**on_batch, **change.on_batch},
        )
        if not (change.nodes or change.given) and "sizes" in vars(self):
            vars(changed)["sizes"] = self.sizes
        return changed


def _then(first: _View | None, second: _View | None) -> _View | None:
    """One way of laying out a result after another."""
    if first is None or second is None:
        return first or second
    return lambda y: second(first(y))


def cut(
    parts: Parts, params: Mapping[str, Array], end: str, tensors: Mapping[str, Array], *, judged: bool = True
) -> Segment:
    """The segment that makes one tensor from the others that are there.

    Parameters
    ----------
    parts : the network and its parts
    tensors : all that the candidate has, and the input
    judged : False where there is no tensor of the candidate's to explain (a bug is to be injected)
    """
    part = parts.graph.leading_to(end, starts=set(tensors))
    made = {node.name for node in part.nodes}
    given = {name: tensors[name] for node in part.nodes for name in node.inputs if name not in made}
    return Segment(part, params, given, parts, tensors, tensors[end] if judged else None)


def from_elsewhere(segment: Segment, name: str) -> tuple[tuple[Node, ...], dict[str, Array]]:
    """What a segment needs to read a tensor that it does not make: nodes that make it again, and what is given.

    As the candidate has it, if it does; else made of what the candidate has before it.
    """
    if name in segment.available:
        return (), {name: segment.available[name]}
    made = cut(segment.parts, segment.params, name, segment.available, judged=False)
    return made.graph.nodes, dict(made.given)


def run(
    segment: Segment,
    dtype: npt.DTypeLike = np.float64,
    rules: Any = fast,
    moments: Callable[[Array], tuple[Array, Array]] | None = None,
) -> Array:
    """What the segment makes, in one precision throughout.

    Parameters
    ----------
    moments : makes mean and variance of what is given to batch norms that have the batch's; by default these are the
        params
    """
    params = {name: np.asarray(segment.params[name], dtype) for name in segment.graph.params()}
    given = {name: np.asarray(array, dtype) for name, array in segment.given.items()}
    y: Array
    if moments is None:
        y = interpret(segment.graph, rules, params, given)
    else:
        y = _on_batch(segment, rules, params, given, moments)
    y = y if segment.view is None else segment.view(y)
    return y if np.isinf(segment.span).all() else y.clip(*segment.span)


def _on_batch(
    segment: Segment,
    rules: Any,
    params: dict[str, Array],
    given: Mapping[str, Array],
    moments: Callable[[Array], tuple[Array, Array]],
) -> Array:
    """What a segment makes whose batch norms have statistics of what they are given: each is made where it is read."""
    made: Iterator[tuple[str, Array]]
    made = itertools.chain(given.items(), ((node.name, y) for node, y in walk(segment.graph, rules, params, given)))
    for name, y in made:
        for norm in (node.name for node in segment.nodes("batch_norm") if node.inputs[0] == name):
            slots = {f"{norm}.{slot}": index for index, slot in enumerate(("mean", "var"))}
            if wanted := {key: index for key, index in slots.items() if key in segment.on_batch}:
                found = moments(y)
                params |= {key: found[index] * y.dtype.type(segment.on_batch[key]) for key, index in wanted.items()}
    return y


def limit(segment: Segment, precision: Precision, *, rounded: bool = False, dtype: npt.DTypeLike = np.float64) -> Bound:
    """The segment's exact result and how far rounding alone may move it, laid out as the port does.

    `rounded` takes the segment's inputs for rounded copies of what the port went on with; `dtype` as in `bound`.
    """
    made = _bound(segment, segment.precision or precision, np.dtype(dtype), rounded=rounded)
    if segment.view is None:
        return made
    return Bound.given(segment.view(made.y), segment.view(made.worst), segment.view(made.expected), made.rms)


def _bound(segment: Segment, precision: Precision, dtype: np.dtype[Any], *, rounded: bool) -> Bound:
    """Its bound; through many nodes that takes as long as several runs, and the verdict's own serves causes too."""

    def made() -> Bound:
        own = segment
        return bound(own.graph, own.params, own.given, precision, rounded=rounded, slack=own.slack, dtype=dtype)

    if len(segment.graph) <= _MANY:
        return made()
    key, known = (precision, rounded, dtype.name), segment.bounds
    if key not in known:
        known[key] = made()
    return known[key]


def limit_of(segment: Segment, name: str, precision: Precision | None = None) -> Array:
    """How far rounding, in float32 by default, may have moved a tensor inside a segment: nowhere where it is given.

    Nor is it asked for behind many nodes, where a bound would say nothing.
    """
    nodes = () if name in segment.given else segment.graph.leading_to(name, starts=set(segment.given)).nodes
    if not 0 < len(nodes) <= _MANY:
        return np.broadcast_to(0.0, (segment.batch, *segment.sizes[name]))
    read = {name for node in nodes for name in node.inputs}
    given = {name: x for name, x in segment.given.items() if name in read}  # the others may be of any shape
    own = replace(segment, graph=Graph(segment.graph.recipe, nodes), given=given, candidate=None, view=None)
    return np.asarray(limit(own, precision or Precision.of("float32")).expected)


def ported(segment: Segment) -> Array:
    """What a port in float32 makes of it; where the bug is one of sums in float16, with such sums."""
    if segment.precision is None:
        return run(segment, np.float32)
    with np.errstate(over="ignore"):
        return run(replace(segment, precision=None), np.float16, ORDERS["sequential"]).astype(np.float32)
