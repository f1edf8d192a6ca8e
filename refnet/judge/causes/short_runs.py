"""Short formats that numbers go through inside several layers: where they are multiplied, or where they are stored.

Where a rounding falls hangs on the last digits of sums, so that a port which rounds the same numbers in the same way,
but sums in another order, is not met: a run of its kind leaves a part of the error. It is the right one if it leaves
far less than runs with the same roundings at random do, and if none of so many runs would leave as little by chance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.parts import Parts
from refnet.bugs.systematic import ALL, Scope
from refnet.graph import Graph
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.sketch import explained
from refnet.judge.causes.ways import Extent, Way, Ways
from refnet.judge.verdicts import Judgement, root_mean_square
from refnet.networks.rewrite import fold_batch_norm
from refnet.ops import ACTIVATIONS, CONVOLUTIONS, OPS
from refnet.readings import fast
from refnet.readings.orders import at_random, rounded, truncated
from refnet.readings.precision import FLOATS, Precision

__all__ = ["lone_short_runs", "short_runs"]

Array = npt.NDArray[Any]

# What may be left of an error, and of what roundings at random leave of it, or weights that are a little smaller: half
# of its square, so that more of it is explained than not.
_SHARE = math.sqrt(0.5)
_LONE = 0.3  # the same of one node's roundings, of which few fall elsewhere: of two nodes' each leaves more
_DRAWN = 6  # runs with roundings at random
_LESS = 1 - 2.0**-10  # times a weight: how far that moves a result is what counts, not how much smaller it is
_CHANCE = 1e-3  # that one of all runs leaves as little of an error that has nothing to do with it
# How far from what the first run moves, by the units of the formats, an error may be for a format to be looked at: a
# cut errs by twice as much, and to one side, which adds up from layer to layer. Only the time depends on it.
_NEAR = 8.0
_FACTORS, _STORES = ("tf32", "bfloat16"), ("float16", "bfloat16")


class _Rounding(NamedTuple):
    """What is rounded of a graph, to which format.

    Attributes
    ----------
    graph, params : as they are or folded
    cut : whether toward zero, not to the nearest
    scope : of which kind the nodes are; None for one node
    factors, stores : the nodes of which both factors are rounded, or what they make
    weights : what is rounded of the params of all nodes: '', 'alone' for weights alone, or 'all'
    """

    graph: Graph
    params: Mapping[str, Array]
    store: str
    cut: bool
    scope: Scope | None
    factors: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    weights: str = ""

    @property
    def parts(self) -> list[tuple[Mistake, Extent | None]]:
        """What a port has wrong that rounds so, and where."""
        form, facts = f"{self.store} truncated" if self.cut else self.store, {"store": self.store}
        bug, places = ("factors-tf32", self.factors) if self.factors else ("fp16-storage", self.stores)
        extent = None if self.scope is None else Extent(self.scope, places)
        made: list[tuple[Mistake, Extent | None]] = [(Mistake(bug, places[0], form, facts), extent)]
        if self.weights:
            held = tuple(node.name for node in self.graph.nodes if "w" in node.params or self.weights == "all")
            held = tuple(name for name in held if self.graph[name].params)
            whose = form if self.weights == "all" else f"{form} alone"
            made.append((Mistake("weights-fp16", held[0], whose, facts, form), Extent(ALL, held)))
        return made

    def is_in(self, precision: Precision) -> bool:
        """Whether a precision has these roundings."""
        held = precision.u_factor if self.factors else precision.u_store
        return not self.cut and held >= FLOATS[self.store].u

    def run(self, known: Mapping[str, Array], drawn: np.random.Generator | None = None) -> dict[str, Array]:
        """Every tensor that the graph makes so; with roundings at random, if that is asked for.

        Parameters
        ----------
        known : what the graph reads; and what it makes without roundings, which stays where none reaches it
        """
        nearest = partial(truncated if self.cut else rounded, store=self.store)
        move: Callable[[Array], Array] = nearest if drawn is None else partial(at_random, store=self.store, drawn=drawn)
        values, reached = dict(known), {*self.factors, *self.stores}
        for node in self.graph.nodes:
            if node.name in known and node.name not in reached and reached.isdisjoint(node.inputs):
                continue
            reached.add(node.name)
            read = [values[name] for name in node.inputs]
            slots = {slot: self.params[f"{node.name}.{slot}"] for slot in OPS[node.op].params if slot in node.params}
            short = node.name in self.factors
            held = {slot: move(y) if self._is_held(slot) or (short and slot == "w") else y for slot, y in slots.items()}
            own = [held.get(slot) for slot in OPS[node.op].params]
            y = getattr(fast, node.op)(*(map(move, read) if short else read), *own, **node.attrs)
            values[node.name] = move(y) if node.name in self.stores else y
        return values

    def _is_held(self, slot: str) -> bool:
        return self.weights == "all" or (self.weights == "alone" and slot == "w")


_Moved = Callable[..., Array]


def short_runs(ways: Ways, precision: Precision) -> Iterator[Cause]:
    """The short format that explains most of the error of several layers, if any explains enough of it.

    Parameters
    ----------
    precision : that the candidate declares, which is no cause
    """
    if _may_be_short(ways):
        moved = _moved(ways, _given(ways))
        yield from _best(ways, precision, moved, _sized_alike(_roundings(ways), moved, ways.before), _SHARE)


def lone_short_runs(ways: Ways, precision: Precision) -> Iterator[Cause]:
    """The same of the factors of one layer, or of one tensor as it is stored, behind which others follow."""
    if _may_be_short(ways):
        given = _given(ways)
        yield from _best(ways, precision, _moved(ways, given), _of_lone_nodes(ways, given), _LONE)


def _may_be_short(ways: Ways) -> bool:
    return ways.segment.view is None and bool(ways.before) and any(ways.segment.nodes(*CONVOLUTIONS))


def _given(ways: Ways) -> dict[str, Array]:
    """What a segment reads, of the images that are run, in float32."""
    segment, images = ways.segment, ways.runs.images
    given = {name: y[images] if len(y) == segment.batch else y for name, y in segment.given.items()}
    return {name: y.astype(np.float32) for name, y in given.items()}


def _moved(ways: Ways, known: Mapping[str, Array]) -> _Moved:
    """How far a rounding moves what the segment makes, from tensors that are known."""

    def moved(one: _Rounding, drawn: np.random.Generator | None = None) -> Array:
        ways.budget.check()
        with np.errstate(all="ignore"):
            y = one.run(known, drawn)[one.graph.nodes[-1].name]
            return np.asarray(ways.lens(y) - ways.honest, np.float64).ravel()

    return moved


def _best(
    ways: Ways, precision: Precision, moved: _Moved, tried: Iterable[tuple[_Rounding, Array]], share: float
) -> Iterator[Cause]:
    """The rounding that leaves least of an error, if that is far less than others leave."""
    error, sizes = (ways.target - ways.honest).ravel(), list[float]()

    def measured() -> Iterator[tuple[float, _Rounding, Array]]:
        for one, each in tried:
            sizes.append(root_mean_square(each))
            yield _left(error, each), one, each

    left, best, effect = min(measured(), key=lambda each: each[0])
    if left > share * ways.before or best.is_in(precision):
        return
    drawn = np.random.default_rng(0)
    others = [moved(best, drawn) for _ in range(_DRAWN)]
    as_large = sum(abs(size - ways.before) <= left for size in sizes)  # all others leave more
    by_chance = as_large * _met_by_chance(others, left / ways.before)
    nearest = min(_left(error, each) for each in (*others, *_smaller(best, moved, error)))
    if by_chance < _CHANCE and left < _SHARE * nearest:
        mistakes, extents = zip(*best.parts, strict=True)
        ways.looked.append(Way(mistakes[0], extents[0], left, effect, None))
        yield Cause(mistakes, Judgement("rounding", rms=left / ways.before, yardstick="spread"), extents)


def _left(error: Array, effect: Array) -> float:
    return root_mean_square(error - effect)


def _sized_alike(every: Iterable[_Rounding], moved: _Moved, size: float) -> Iterator[tuple[_Rounding, Array]]:
    """What the first moves, and each that may move a result as far as it is off, by the units of their formats."""
    first = 0.0
    for one in every:
        unit = first * FLOATS[one.store].u / FLOATS["tf32"].u
        if not first or unit < _NEAR * size < _NEAR**2 * unit:
            effect = moved(one)
            first = first or root_mean_square(effect)
            yield one, effect


def _met_by_chance(effects: Sequence[Array], share: float) -> float:
    """How likely an effect as large as an error leaves no more than a share of it, by those of roundings at random.

    They move a result in as many directions as there are numbers, or in fewer: the fewer, the more alike they are. In
    each but the error's own a small share is met the less often, the farther effects reach there.
    """
    cosines = [explained(one, other) for one, other in itertools.combinations(effects, 2)]
    by_number = float(share ** (1 / max(float(np.mean(cosines)), 1 / effects[0].size) - 1))
    directions = np.array([each / (np.linalg.norm(each) or 1.0) for each in effects])
    if not np.isfinite(directions).all():
        return by_number
    reaches = np.linalg.svd(directions, compute_uv=False)[1:] / math.sqrt(len(effects))
    return min(by_number, float(np.divide(share, reaches, where=reaches > share, out=np.ones_like(reaches)).prod()))


def _smaller(one: _Rounding, moved: _Moved, error: Array) -> Iterator[Array]:
    """Of what is cut off, which makes all numbers smaller, what weights do that are smaller by the best factor."""
    if one.cut:
        params = {name: y * np.float32(_LESS) if name.endswith(".w") else y for name, y in one.params.items()}
        effect = moved(one._replace(params=params, factors=(), stores=(), weights=""))
        yield effect * (float(effect @ error) / (float(effect @ effect) or 1.0))


def _graphs(ways: Ways) -> list[tuple[Graph, Mapping[str, Array]]]:
    """The segment's graph with its params in float32, and folded, where there is batch norm."""
    graph, params = ways.segment.graph, {name: y.astype(np.float32) for name, y in ways.segment.params.items()}
    folded, weights = fold_batch_norm(graph, params)
    return [(graph, params), *([(folded, {**params, **weights})] if len(folded) < len(graph) else [])]


def _of_lone_nodes(ways: Ways, given: Mapping[str, Array]) -> Iterator[tuple[_Rounding, Array]]:
    """Roundings at each node, the last one first, and how far each moves what the segment makes."""
    for graph, own in _graphs(ways):
        plain = _Rounding(graph, own, "", cut=False, scope=None)
        moved = _moved(ways, plain.run(given))
        for node in reversed(graph.nodes):
            here = (node.name,)
            if node.op in CONVOLUTIONS:
                yield from _sized_alike(_in_formats(plain._replace(factors=here), _FACTORS), moved, ways.before)
            if graph is ways.segment.graph and node.name != graph.output:
                yield from _sized_alike(_in_formats(plain._replace(stores=here), _STORES), moved, ways.before)


def _in_formats(one: _Rounding, formats: Iterable[str]) -> Iterator[_Rounding]:
    """The same rounding to each format, to the nearest and toward zero."""
    return (one._replace(store=store, cut=cut) for store, cut in itertools.product(formats, (False, True)))


def _roundings(ways: Ways) -> Iterator[_Rounding]:
    """Those that are looked at; first factors in tf32."""
    segment, graphs = ways.segment, _graphs(ways)
    parts = segment.parts
    for graph, own in graphs:
        convolutions = [node.name for node in graph.nodes if node.op in CONVOLUTIONS]
        wide = [name for name in convolutions if graph[name].op != "depthwise_conv2d"]
        linear = {node.name for node in parts.dense if segment.sizes[node.inputs[0]][1:] == (1, 1)}
        scopes = {
            ALL: convolutions,
            Scope("wide"): wide,
            Scope("maps"): [name for name in wide if name not in linear],
            Scope("layers", "pointwise_conv2d"): [name for name in wide if graph[name].op == "pointwise_conv2d"],
        }
        several = dict[tuple[str, ...], Scope]()
        for scope, nodes in scopes.items():
            several.setdefault(tuple(nodes), scope)
        several.pop((), None)
        for store, cut, (nodes, scope) in itertools.product(_FACTORS, (False, True), several.items()):
            yield _Rounding(graph, own, store, cut, scope, factors=nodes)
    for graph, own in graphs:
        last = max(index for index, node in enumerate(graph.nodes) if node.op in CONVOLUTIONS)
        before = graph.nodes[:last]
        places = {
            Scope("activations"): [node.name for node in before if node.op in ACTIVATIONS],
            Scope("units"): [node.name for node in before if _ends_unit(parts, graph, node.name)],
            ALL: [node.name for node in before if graph is segment.graph],
        }
        for store, cut, (scope, nodes) in itertools.product(_STORES, (False, True), places.items()):
            for held in ("", "alone", "all")[: 1 if scope.kind == "activations" else None] if nodes else ():
                yield _Rounding(graph, own, store, cut, scope, stores=tuple(nodes), weights=held)


def _ends_unit(parts: Parts, graph: Graph, name: str) -> bool:
    """Whether other units read a node, also where its batch norm is folded."""
    unit = parts.unit(name)
    return unit is None or name == [node.name for node in unit.nodes if node.name in graph][-1]
