"""Copies that compute the same by other numbers: channels in another order, scaled, negated or moved, and taken back.

A tensor of the copy may hold y'[k] = factor[k] * y[order[k]] + offset[k] in place of y, as long as every layer that
reads it undoes that: an order passes through all that works by channel, a positive factor through a ReLU, any factor
and an offset through what is linear. Told from the arrays, unit by unit, with batch norm worked in on both sides; and
from the factors of global means, as of sums whose factor a converter worked into the weights behind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.alignment.diff import factors_of_pools
from refnet.alignment.differences import Difference
from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.memory.channel_maps import ChannelsHeld, held_as
from refnet.graph import SOURCE, Graph, Node
from refnet.ops import ACTIVATIONS, CONVOLUTIONS, GATES, RESIZES
from refnet.readings.precision import FLOATS
from refnet.readings.shapes import shapes
from refnet.verification.held_tensors import (
    SAME,
    Held,
    Stream,
    UnfitError,
    is_held_alike,
    is_ordered_alike,
    is_pure,
    one_stream,
)
from refnet.verification.left_behind import count_changed, left_behind
from refnet.verification.orders import orders_tried
from refnet.verification.roundings import roundings
from refnet.verification.sides import Sides

__all__ = ["Rearranged", "Rearrangement", "factors_left", "rearranged"]

Array = npt.NDArray[Any]
Units = Mapping[str, tuple[UnitArrays, UnitArrays]]

_ROUNDED = 8 * FLOATS["float32"].u  # relative: of a factor, an estimate of it, a product with it and a quotient by it
_LOOKED = 8  # units of which one at least must fit: else all weights are others
_STARTS = 64  # of the walk: each lets go of rearrangements that nothing takes back
_FITTED = ("conv2d", "pointwise_conv2d", "depthwise_conv2d")
_LINEAR = (*CONVOLUTIONS, *RESIZES, "avg_pool2d", "add", "scale", "flatten")
_POSITIVE = ("relu", "leaky_relu", "max_pool2d")  # through which positive factors pass


class Rearrangement(NamedTuple):
    """What some layers of the copy make otherwise, and others take back.

    Attributes
    ----------
    made, undone : the convolutions, and pools with a factor; the same convolution where its batch norm takes back what
        its weights do
    how : the channels of what is made are held
    """

    made: tuple[str, ...]
    undone: tuple[str, ...]
    how: ChannelsHeld = ChannelsHeld()


class Rearranged(NamedTuple):
    """What was found.

    Attributes
    ----------
    found : all of it
    units : those whose arrays are right so
    nodes : those whose tensors are not the original's
    left : the copy's 'node.slot' of arrays that were left in the original's order, while all others of their channels
        are in another one
    factors : by pool, the factor behind it that is taken back
    """

    found: tuple[Rearrangement, ...]
    units: frozenset[str]
    nodes: frozenset[str]
    left: frozenset[str] = frozenset()
    factors: Mapping[str, float] = {}


def rearranged(sides: Sides, steps: Mapping[str, Array], wrong: Collection[str]) -> Rearranged | None:
    """What the copy makes otherwise and takes back; None where it does nothing of the kind.

    Parameters
    ----------
    steps : by the copy's 'node.slot', quantisation steps of what it stores as integers
    wrong : the units whose arrays are not those that they should be
    """
    units = {name: (unit, sides.second[name]) for name, unit in sides.first.items() if name in sides.second}
    if sides.first.keys() != sides.second.keys() or not all(map(_is_alike, units.values())):
        return None
    refused, factors = set[str](), dict(_factors(sides, units))
    for _ in range(_STARTS):
        walk = _Passage(sides.original.graph, units, steps, factors, refused)
        try:
            walk.run()
        except UnfitError as error:
            refused |= error.made
        else:
            return walk.result(wrong)
    return None


def factors_left(structure: Iterable[Difference], found: Rearranged) -> Iterator[Difference]:
    """Differences of structure, and of the factors of means what is not taken back."""
    for each in structure:
        rest = each.found / found.factors[each.node] if each.key == "factor" and each.node in found.factors else None
        if rest is None or abs(rest - 1) > SAME:
            yield each if rest is None else each._replace(found=rest)


def _factors(sides: Sides, units: Units) -> Iterator[tuple[str, float]]:
    """By the means with a factor behind them, what the weights that read them take back of it, as far as they do."""
    readers = sides.original.graph.readers()
    for name in factors_of_pools(sides.copy.graph, sides.original.graph):
        pool = sides.copy.graph[name].inputs[0]
        names = [node.name for node in readers.get(pool, ())]
        if len(names) == 1 and names[0] in units and "w" in units[names[0]][0]:
            w, held = (unit["w"].astype(np.float64).ravel() for unit in units[names[0]])
            if product := float(w @ held):
                yield pool, float(w @ w) / product


def _is_alike(pair: tuple[UnitArrays, UnitArrays]) -> bool:
    """Whether two units are of one kind and size, and whole."""
    one, two = pair
    whole = all({"gamma", "var"} <= unit.tensors.keys() for unit in pair if unit.norm is not None)
    return whole and one.op == two.op and ("w" in one) == ("w" in two) and _shape(one) == _shape(two)


def _shape(unit: UnitArrays) -> tuple[int, ...]:
    return unit["w"].shape if "w" in unit else ()


class _Passage:
    """One pass through the graph: how each tensor is held, and which units take back what others make."""

    def __init__(
        self,
        graph: Graph,
        units: Units,
        steps: Mapping[str, Array],
        factors: Mapping[str, float],
        refused: Collection[str],
    ) -> None:
        self.graph, self.units, self.steps, self.factors, self.refused = graph, units, steps, factors, refused
        self.sizes = {SOURCE: graph.input_shape, **shapes(graph)}
        self.held = {SOURCE: Held.plain(graph.input_shape[0])}
        self.streams: list[Stream] = []
        self.fit: set[str] = set()
        self.makers: dict[str, str] = {}  # by the nodes of a unit but its activation, the unit
        self.seen = 0

    def run(self) -> None:
        """Go through all nodes; raises `UnfitError`."""
        for node in self.graph.nodes:
            given = [self.held[name] for name in node.inputs]
            if node.name in self.units:
                self._through_unit(node, given[0])
                self.seen += 1
                if self.seen == _LOOKED and not self.fit:
                    return
            elif node.name not in self.held:
                held = self._through(node, given)
                scaled = abs(self.factors.get(node.name, 1.0) - 1) > SAME and node.name not in self.refused
                self.held[node.name] = self._scaled(node, held) if scaled else held
        for name in self.graph.outputs:
            if not self.held[name].is_plain:
                raise UnfitError(self.held[name].stream)
        # What fewer arrays have than have not is no order that the others should be in.
        if few := [stream for stream in self._whole if stream.left and len(stream.left) >= stream.moved]:
            raise UnfitError(*few)

    @property
    def _whole(self) -> list[Stream]:
        return [stream for stream in self.streams if stream.joined is None]

    def result(self, wrong: Collection[str]) -> Rearranged | None:
        """What was found."""
        streams = self._whole
        passed = {name for stream in streams for name in (*stream.made, *stream.undone)}
        passed |= {name for name in self.fit if not self.held[name].is_plain}
        alone = [name for name in self.units if name in self.fit & set(wrong) - passed]
        found = (*map(_described, streams), *(Rearrangement((name,), (name,)) for name in alone))
        moved = {name for name, held in self.held.items() if not held.is_plain}
        inner = {name for name in self.fit & set(wrong) if self.units[name][0].foldable}
        if not found:
            return None
        left = frozenset().union(*(stream.left for stream in streams))
        factors = {name: factor for name, factor in self.factors.items() if name in moved}
        return Rearranged(found, frozenset(self.fit), frozenset(moved | inner), left, factors)

    def _through_unit(self, node: Node, given: Held) -> None:
        """A convolution with its batch norm, or either alone."""
        one, two = self.units[node.name]
        if node.op in _FITTED and "w" in one:
            held = self._fitted(node, one, two, given) or self._partly(node, one, two, given)
        else:
            same = given.is_plain and all(np.array_equal(two[slot], one[slot]) for slot in one.tensors if slot in two)
            held = Held.plain(self.sizes[node.name][0]) if same else None
        if held is None and not given.is_plain:
            raise UnfitError(given.stream)
        if held is not None:
            self.fit.add(node.name)
            for stream in {each.stream.first for each in (given, held) if each.stream is not None}:
                stream.moved += count_changed(one, two)
        own = held or Held.plain(self.sizes[node.name][0])
        nodes = [each.name for each in one.unit.nodes if each is not one.unit.act]
        self.held |= dict.fromkeys(nodes, own)
        self.makers |= dict.fromkeys(nodes, node.name)

    def _fitted(self, node: Node, one: UnitArrays, two: UnitArrays, given: Held) -> Held | None:
        """How the copy holds what a unit makes, given how it holds what the unit reads; None where nothing fits."""
        base, copy, by_channel = _undone(node, one.folded(), given), two.folded(), node.op == "depthwise_conv2d"
        if base is None:
            return None
        manner = "none" if node.name in self.refused else self._manner(one)
        for order, factor in orders_tried(base, copy, manner, by_channel):
            if (np.abs(factor - 1) <= SAME).all():
                factor = np.ones(len(factor))  # so small a factor is no rearrangement, which something would take back
            found = self._found(base, copy, two, order, factor, manner)
            if found is not None:
                held = Held(given.order[order] if by_channel else order, factor, *found)
                return self._in_stream(node, given, held, by_channel)
        return None

    def _partly(self, node: Node, one: UnitArrays, two: UnitArrays, given: Held) -> Held | None:
        """How the copy holds what a unit makes that has some arrays in another order, and others as they were.

        Of a unit that has all as they were what is read must be taken back behind it; weights that do not take back
        what they read must be behind a unit whose arrays show that it is meant.
        """
        by_channel = node.op == "depthwise_conv2d"
        if not is_pure(given) or node.name in self.refused:
            return None
        left = left_behind(one, two, given.order, by_channel)
        if left is None:
            return None
        names = {two.names[slot] for slot in left.slots if slot in two.names}
        if by_channel and given.is_plain and not left.slots:
            made = self._only_maker(node)
            names = {*self.units[made][1].names.values()} if made else set()
        elif not by_channel and left.slots == ("w",) and not self._is_meant(given):
            return None
        if not names:
            return None
        held = self._in_stream(node, given, replace(Held.plain(len(left.order)), order=left.order), by_channel)
        for stream in {each.stream.first for each in (given, held) if each.stream is not None}:
            stream.left |= names
        return held

    def _only_maker(self, node: Node) -> str:
        """The unit that makes what a node reads, for it alone; '' where there is none."""
        while node.inputs[0] in self.graph and self.graph.only_reader(node.inputs[0]) is node:
            node = self.graph[node.inputs[0]]
            if node.name in self.makers:
                return self.makers[node.name]
        return ""

    def _is_meant(self, given: Held) -> bool:
        """Whether a depthwise unit works in the order in which a tensor is held."""
        stream = given.stream.first if given.stream is not None else None
        left = stream.left if stream is not None else set()
        fit = (self.units[name][1] for name in self.fit if self.units[name][0].op == "depthwise_conv2d")
        own = (unit for unit in fit if not {*unit.names.values()} <= left)
        return any((held := self.held[unit.name]).stream is not None and held.stream.first is stream for unit in own)

    def _in_stream(self, node: Node, given: Held, held: Held, by_channel: bool) -> Held:
        """The same, in the stream that it begins or goes on; that of what was read may end here."""
        stream = given.stream.first if given.stream is not None else None
        if stream is not None and (held.is_plain or not by_channel):
            stream.undone.append(node.name)
        if held.is_plain:
            return held
        if stream is None or not by_channel:
            stream = Stream()
            self.streams.append(stream)
        if not by_channel or given.is_plain or (np.abs(held.factor - given.factor) > SAME * np.abs(given.factor)).any():
            stream.made[node.name] = held
        return replace(held, stream=stream)

    def _scaled(self, node: Node, held: Held) -> Held:
        """How the copy holds what a pool makes that has a factor behind it."""
        stream = held.stream.first if held.stream is not None else Stream()
        if stream not in self.streams:
            self.streams.append(stream)
        factor = self.factors[node.name]
        scaled = replace(held, factor=factor * held.factor, offset=factor * held.offset, stream=stream)
        stream.made[node.name] = scaled
        return scaled

    def _manner(self, unit: UnitArrays) -> str:
        """What passes through all that reads a unit: 'any' factor and offset, 'positive' factors, an 'order' alone."""
        readers = {node.op for node in self.graph.readers()[(unit.unit.norm or unit.unit.conv).name]}
        if readers <= set(_LINEAR):
            return "any"
        return "positive" if readers <= {*_LINEAR, *_POSITIVE} else "order"

    def _found(
        self, base: UnitArrays, copy: UnitArrays, two: UnitArrays, order: Array, factor: Array, manner: str
    ) -> tuple[Array, Array] | None:
        """What is added to each channel, and how far its factor may be off; None where the arrays are others.

        Rounding that moves the weights r of a channel by e moves its factor by less than sum abs(e r) / sum r^2.
        """
        weights, bias = (_taken(base.tensors[slot], order, factor) for slot in ("w", "b"))
        rows = np.abs(weights.value).reshape(len(order), -1)
        square = (rows**2).sum(axis=1)
        for wide in self._rounded(copy.tensors["w"], weights, two, "w"):
            moved = (rows * wide.slack.reshape(rows.shape)).sum(axis=1) / np.where(square > 0, square, 1.0)
            loose = np.where(factor == 1, 0.0, moved)
            if _agree(copy.tensors["w"], wide, loose):
                ways = self._rounded(copy.tensors["b"], bias, two, "b")
                if any(_agree(copy.tensors["b"], way, loose) for way in ways):
                    return np.zeros(len(order)), loose
                return (copy["b"] - bias.value, loose) if manner == "any" else None
        return None

    def _rounded(self, copy: Expected, made: Expected, unit: UnitArrays, slot: str) -> Iterator[Expected]:
        """What an array of the copy should be, with what each format leaves that it may have been rounded to."""
        wide = Expected(made.value, made.slack + copy.slack)
        yield wide
        if not unit.foldable:
            stored = self.steps.get(unit.names.get(slot, ""))
            yield from (way.widen(wide) for way in roundings(copy.value, stored))

    def _through(self, node: Node, given: list[Held]) -> Held:
        """How the copy holds what a node without arrays makes; `UnfitError` where nothing like that passes."""
        count = self.sizes[node.name][0]
        if all(held.is_plain for held in given):
            return Held.plain(count)
        first, *others = given
        match node.op:
            case "add" if all(is_held_alike(first, other) for other in others):
                offset = np.sum([held.offset for held in given], axis=0)
                return replace(first, offset=offset, stream=one_stream(given))
            case "scale" if is_pure(others[0]) and not first.offset.any() and is_ordered_alike(first, others[0]):
                return replace(first, stream=one_stream(given))
            case "flatten" if len(first.order) == count:
                return first
            case "avg_pool2d" if not first.offset.any() or not np.any(node.attrs["pad"]):
                return first
            case op if op in RESIZES:
                return first
            case op if op in _POSITIVE and not node.params and (first.factor > 0).all() and not first.offset.any():
                return first
            case op if op in (*ACTIVATIONS, *GATES) and not node.params and is_pure(first):
                return first
        raise UnfitError(*(held.stream for held in given))


def _agree(copy: Expected, made: Expected, loose: Array) -> bool:
    """Whether an array is what it should be, where the factors of its channels may be off a little."""
    more = np.abs(made.value) * loose.reshape(-1, *(1,) * (made.value.ndim - 1))
    return bool((np.abs(copy.value - made.value) <= made.slack + more).all())


def _undone(node: Node, unit: UnitArrays, given: Held) -> UnitArrays | None:
    """The right arrays of a convolution that reads a tensor as the copy holds it; None where no arrays would do."""
    w, b = unit.tensors["w"], unit.tensors["b"]
    if given.is_plain:
        return unit
    if given.offset.any() and np.any(node.attrs.get("pad", 0)):
        return None  # beside the offset lie zeros
    if node.op == "depthwise_conv2d":
        w, b = _taken(w, given.order, np.ones(len(given.order))), _taken(b, given.order, np.ones(len(given.order)))
        along = given.factor.reshape(-1, 1, 1)
        more = w.value.sum(axis=(1, 2)) / given.factor * given.offset
    else:
        w = w.map(lambda y: np.take(y, given.order, axis=1))
        along = given.factor.reshape(1, -1, *(1,) * (w.value.ndim - 2))
        more = (w.value / along).reshape(len(w.value), len(given.order), -1).sum(axis=2) @ given.offset
    value = w.value / along
    loose = _ROUNDED + given.loose.reshape(along.shape)
    terms = np.abs(value).reshape(len(value), -1).sum(axis=1) * np.abs(given.offset).max()
    made = {
        "w": Expected(value, w.slack / np.abs(along) + loose * np.abs(value)),
        "b": Expected(b.value - more, b.slack + (value[0].size * _ROUNDED + given.loose.max()) * terms),
    }
    return UnitArrays(unit.unit, made)


def _taken(array: Expected, order: Array, factor: Array) -> Expected:
    """Channels in an order, each multiplied."""
    along = factor.reshape(-1, *(1,) * (array.value.ndim - 1))
    value = array.value[order] * along
    return Expected(value, array.slack[order] * np.abs(along) + np.where(along != 1, _ROUNDED, 0.0) * np.abs(value))


def _described(stream: Stream) -> Rearrangement:
    """What a stream is, by what its units make."""
    return Rearrangement(tuple(stream.made), tuple(stream.undone), held_as([*stream.made.values()]))
