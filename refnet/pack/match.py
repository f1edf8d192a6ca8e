"""Which node of the graph each of a candidate's tensors is: by an explicit map, by name, then by content.

Each matched tensor is brought into NCHW. Nothing is judged here and nothing is mended: a map is taken with its height
and width swapped only where its shape allows nothing else, for where both fit, the swap may be the bug.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.pack.layouts import UNKNOWN, AxisOrder, axis_orders

__all__ = ["Assignment", "MatchedTensor", "match_tensors", "shapes_of"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

CLOSE = 0.5  # the relative rms distance below which a tensor may be a node's by content
CLEAR = 4.0  # how many times farther every other choice must be
_POINTS = 4096  # elements that are looked at before whole tensors are


@dataclass(frozen=True)
class MatchedTensor:
    """A candidate's tensor that is a node's.

    Attributes
    ----------
    load : makes `array`
    source : the candidate's name for it
    layout : its axes as found: 'nchw', 'nhwc', 'chw', 'c', ...; 'flat nchw' where the file states no axes; 'unknown'
        where the shape is not the node's
    how : 'map', 'name' or 'content'
    """

    load: Callable[[], Array] = field(repr=False)
    source: str
    layout: str
    how: str

    @property
    def array(self) -> Array:
        """The tensor in the node's shape, or as found where the layout is unknown; a file is read at each use."""
        return self.load()


class Assignment(NamedTuple):
    """The tensors by node, in order of execution; and the candidate's names that match nothing."""

    tensors: dict[str, MatchedTensor]
    unmatched: list[str]


class _Sides(NamedTuple):
    """The two sides, each tensor looked at through the same few thousand elements."""

    candidate: Mapping[str, Array]
    shapes: Mapping[str, Shape]
    golden: Callable[[str], Array]
    found: Mapping[str, Shape]
    samples: Callable[[str], Array]

    def near(self, source: str, nodes: Iterable[str], *, whole: bool = False) -> dict[str, _Choice]:
        """The best way to read one tensor as each of some nodes; the elements that are looked at may be all."""
        array = np.asarray(self.candidate[source])
        best = {}
        for node in nodes:
            full = self.shapes[node]
            layouts = axis_orders(self.found[source], full)
            target = self.golden(node).astype(np.float64).ravel() if whole else self.samples(node)
            views = [(layout, layout.nchw(array, full)) for layout in layouts]
            errors = [_distance(view.ravel() if whole else view[_points(full)], target) for _, view in views]
            first = min(range(len(views)), key=errors.__getitem__)
            other = min((error for index, error in enumerate(errors) if index != first), default=math.inf)
            best[node] = _Choice(errors[first], layouts[first], other, whole)
        return best


class _Choice(NamedTuple):
    """A tensor read as one node's: its relative rms distance in its best layout, and in the other one.

    `whole` says whether all elements were looked at.
    """

    distance: float
    layout: AxisOrder
    other: float
    whole: bool

    @property
    def clear(self) -> bool:
        """Whether the values settle the layout."""
        return self.distance < CLOSE and self.other >= CLEAR * self.distance and self.other > self.distance


def match_tensors(
    candidate: Mapping[str, Array],
    shapes: Mapping[str, Shape],
    golden: Callable[[str], Array],
    *,
    names: Mapping[str, str] | None = None,
) -> Assignment:
    """Find out which node each tensor is.

    First the explicit map; then equal names, exactly or with '/', '_', ':' for '.' and in any case where that is
    unambiguous; then, for the rest, shapes and values: a tensor is the node whose golden tensor is nearest in relative
    rms distance, if that is below 0.5 and every other node of that shape is at least 4 times farther. Of nodes with
    equal values, the earlier is taken first. Each node is matched at most once.

    A shape fits in the orders NCHW and NHWC, or else in NCWH and NWHC, with axes of length 1 left out or put in; a
    one-dimensional tensor of the right length fits in the first two. Where both fit, values decide; in doubt the
    layout that most of the candidate's other tensors have; else NCHW.

    Parameters
    ----------
    candidate : by the candidate's own names; from `candidate.read_candidate`, or arrays
    shapes : of every node and of 'input', (N, C, H, W) or (N, classes), in order of execution
    golden : gives a node's golden tensor, in that shape
    names : {the candidate's name: the node's}

    Raises
    ------
    RequestError
        if `names` names no tensor or no node, with the nearest names, or a node twice; if a tensor of the candidate
        holds no numbers.

    Examples
    --------
    >>> x = np.arange(24.0).reshape(1, 2, 3, 4)
    >>> found = match_tensors({"Conv_1": x.transpose(0, 2, 3, 1)}, {"stem.conv": x.shape}, {"stem.conv": x}.__getitem__)
    >>> found.tensors["stem.conv"].layout, found.tensors["stem.conv"].how
    ('nhwc', 'content')
    """

    @cache
    def samples(node: str) -> Array:
        values: Array = golden(node)[_points(tuple(shapes[node]))].astype(np.float64)
        return values

    shapes = {node: tuple(shape) for node, shape in shapes.items()}
    sides = _Sides(candidate, shapes, golden, shapes_of(candidate), samples)
    pairs = {node: (source, "map") for source, node in _mapped(candidate, shapes, names or {})}
    sources = {source for source, _ in pairs.values()}
    pairs |= {node: (name, "name") for name, node in _named(set(candidate) - sources, shapes.keys() - pairs.keys())}
    layouts = _layouts_of(sides, {node: source for node, (source, _) in pairs.items()})
    sources = {source for source, _ in pairs.values()}
    rest = [source for source in candidate if source not in sources]
    for node, (source, layout) in _by_content(sides, rest, [node for node in shapes if node not in pairs]).items():
        pairs[node], layouts[node] = (source, "content"), layout
    tensors = {node: _matched(sides, node, *pairs[node], layouts[node]) for node in shapes if node in pairs}
    sources = {source for source, _ in pairs.values()}
    return Assignment(tensors, [source for source in candidate if source not in sources])


def _matched(sides: _Sides, node: str, source: str, how: str, layout: AxisOrder) -> MatchedTensor:
    return MatchedTensor(
        lambda: layout.nchw(np.asarray(sides.candidate[source]), sides.shapes[node]), source, layout.label, how
    )


def shapes_of(candidate: Mapping[str, Array]) -> dict[str, Shape]:
    """The candidate's shapes, without reading files."""
    known: dict[str, Shape] | None = getattr(candidate, "shapes", None)
    if known is not None:
        return known
    arrays = {name: np.asarray(array) for name, array in candidate.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
            raise RequestError(f"{name!r} holds {array.dtype}; take float16, float32, float64 or integers")
    return {name: array.shape for name, array in arrays.items()}


def _mapped(
    candidate: Mapping[str, Array], shapes: Mapping[str, Shape], names: Mapping[str, str]
) -> Iterable[tuple[str, str]]:
    for name, known, what in [(n, candidate, "tensor of the candidate") for n in names] + [
        (n, shapes, "node") for n in names.values()
    ]:
        if not isinstance(name, str) or name not in known:
            near = ", ".join(difflib.get_close_matches(str(name), known, n=3)) or ", ".join(itertools.islice(known, 3))
            raise RequestError(f"the map names {name!r}, which is no {what}; nearest: {near}")
    if twice := [node for node, count in Counter(names.values()).items() if count > 1]:
        raise RequestError(f"the map gives {twice[0]!r} to more than one tensor: keep one")
    return names.items()


def _named(sources: set[str], nodes: set[str]) -> list[tuple[str, str]]:
    """Pairs of equal names: exactly, then but for separators and case."""
    exact = sources & nodes
    pairs = [(name, name) for name in exact]

    def alike(names: set[str]) -> dict[str, str]:
        plain = {name: name.translate(str.maketrans("/_:", "...")).casefold() for name in names - exact}
        count = Counter(plain.values())
        return {form: name for name, form in plain.items() if count[form] == 1}

    mine, theirs = alike(sources), alike(nodes)
    return pairs + [(mine[form], theirs[form]) for form in mine.keys() & theirs.keys()]


def _layouts_of(sides: _Sides, pairs: Mapping[str, str]) -> dict[str, AxisOrder]:
    """How the tensors are laid out whose nodes are known."""
    settled, open_ = {}, {}
    for node, source in pairs.items():
        ways = axis_orders(sides.found[source], sides.shapes[node])
        if len(ways) > 1:
            choice = sides.near(source, [node])[node]
            ways = (choice.layout,) if choice.clear else ways
        if len(ways) > 1:
            open_[node] = ways
        else:
            settled[node] = ways[0] if ways else UNKNOWN
    votes = Counter(
        layout.order.endswith("c")
        for node, layout in settled.items()
        if layout.order and sides.shapes[node][1] > 1 and math.prod(sides.shapes[node][2:]) > 1
    )
    last = votes[True] > votes[False]
    return settled | {node: ways[last] for node, ways in open_.items()}


def _by_content(sides: _Sides, sources: Iterable[str], free: Iterable[str]) -> dict[str, tuple[str, AxisOrder]]:
    """The nodes of tensors whose names say nothing: round by round, for what is taken makes other choices clear."""
    near = {
        source: sides.near(source, [n for n in sides.shapes if axis_orders(sides.found[source], sides.shapes[n])])
        for source in sources
    }
    left = set(free)
    chosen: dict[str, tuple[str, AxisOrder]] = {}
    while True:
        offers = [(source, node) for source in near for node in _clear(sides, source, near[source], left)]
        for source, node in sorted(offers, key=lambda offer: near[offer[0]][offer[1]].distance):
            if node in left:
                chosen[node] = source, near.pop(source)[node].layout
                left.remove(node)
        if not offers:
            return chosen


def _clear(sides: _Sides, source: str, choices: dict[str, _Choice], left: set[str]) -> list[str]:
    """The node that a tensor is clearly nearest to, if there is one. Rivals that look close are looked at whole."""
    nodes = [node for node in choices if node in left]
    if not nodes:
        return []
    place = {node: index for index, node in enumerate(sides.shapes)}
    while True:
        first = min(nodes, key=lambda n: (choices[n].distance, sides.found[source] != sides.shapes[n], place[n]))
        least = choices[first].distance
        if least >= CLOSE:
            return []
        rivals = [node for node in nodes if choices[node].distance <= CLEAR * least and node != first]
        partly = [node for node in (first, *rivals) if rivals and not choices[node].whole]
        if not partly:
            break
        choices |= sides.near(source, partly, whole=True)
    unlike = [node for node in rivals if choices[node].distance > least]  # equal distances: equal golden tensors
    taken = [node for node in choices if node not in left and choices[node].distance < least]
    return [] if unlike or taken else [first]


@lru_cache(128)
def _points(full: Shape) -> tuple[Array, ...]:
    """Indices of a few thousand elements of a tensor: all of them, or some drawn with a fixed seed."""
    size = math.prod(full)
    flat = np.arange(size) if size <= _POINTS else np.random.default_rng(0).integers(size, size=_POINTS)
    return np.unravel_index(flat, full)


def _distance(values: Array, target: Array) -> float:
    """rms(values - target) / rms(target) over the finite values; infinite if there are none."""
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        values, target = values[finite], target[finite]
    if not values.size:
        return math.inf
    with np.errstate(over="ignore"):
        error, size = float(np.square(values - target).sum()), float(np.square(target).sum())
    if not math.isfinite(error) or not size:
        return math.inf if error else 0.0
    return math.sqrt(error / size)
