"""Which node of the graph each of a candidate's tensors is: by an explicit map, by name, then by content.

Each matched tensor is brought into NCHW. Nothing is judged here and nothing is mended: a map is taken with its height
and width swapped only where its shape allows nothing else, for where both fit, the swap may be the bug.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.graph import Graph
from refnet.network import Network
from refnet.pack.matching.claims import Known
from refnet.pack.matching.counted import as_counted
from refnet.pack.matching.extras import Extra
from refnet.pack.matching.layouts import UNKNOWN, UNKNOWN_LAST, AxisOrder, axis_orders
from refnet.pack.matching.likeness import CLEAR, CLOSE, Likeness, Tables
from refnet.pack.matching.names import by_equal_names, by_map, without_node
from refnet.pack.matching.numbered import in_order
from refnet.pack.matching.shifted import shift_of
from refnet.pack.matching.siblings import as_siblings_are
from refnet.pack.matching.twins import before_biases, biased, folded_twins, unbiased
from refnet.pack.matching.unfolded import ChannelLine
from refnet.pack.matching.vendors import by_modules, by_other_names
from refnet.pack.matching.walks import WalkedTwice, all_walks

__all__ = ["Assignment", "MatchedTensor", "match_tensors", "shapes_of"]

_GUESSED = ("vendor", "content", "order")  # how a tensor found its node that may be a sum before its bias

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class MatchedTensor:
    """A candidate's tensor that is a node's.

    Attributes
    ----------
    load : makes `array`
    source : the candidate's name for it
    layout : its axes as found: 'nchw', 'nhwc', 'chw', 'c', ...; 'flat nchw' where the file states no axes; 'unknown'
        where the shape is not the node's
    how : 'map', 'name', 'structure', 'vendor', 'content' or 'order'
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
    """Which tensor is which node's.

    Attributes
    ----------
    tensors : by node, in order of execution
    unmatched : the candidate's names that match nothing
    extras : those that add nothing; what is before batch norm, and others once they have been told apart
    shift : how the candidate's names are one off, see `Shift`; '' where they are not
    twins : nodes under whose names the candidate has what lies behind them once more, as where batch norm is folded
    unfolded : by convolution whose tensor is before a batch norm that the network has no longer, the line on which it
        is taken for that of the folded one, see `Unfolded`
    fused : nodes under whose names the candidate has what batch norm or the activation behind makes of them
    """

    tensors: dict[str, MatchedTensor]
    unmatched: list[str]
    extras: tuple[Extra, ...] = ()
    shift: str = ""
    twins: tuple[str, ...] = ()
    unfolded: Mapping[str, ChannelLine] = MappingProxyType({})
    fused: tuple[str, ...] = ()


def match_tensors(
    candidate: Mapping[str, Array],
    shapes: Mapping[str, Shape],
    golden: Callable[[str], Array],
    *,
    names: Mapping[str, str] | None = None,
    network: Network | None = None,
    structure: Callable[[], Mapping[str, str]] | None = None,
) -> Assignment:
    """Find out which node each tensor is.

    First the explicit map; then equal names, exactly or with '/', '_', ':' for '.' and in any case where that is
    unambiguous; then what the file that makes them says of its structure; then the names that vendors give their
    layers, and the modules that hold layers; then what the network makes of the candidate's own tensors (`walk`);
    then, for the rest, shapes and values: a tensor is the node whose golden tensor is nearest in relative rms distance,
    if that is below 0.5 and every other node of that shape is at least 4 times farther. Of nodes with equal values, the
    earlier is taken first. Each node is matched at most once. If that leaves tensors over, and the order of all, or
    numbers that count blocks in their names, tell with the channels which they are (`in_order`), that is taken.

    A shape fits in the orders NCHW and NHWC, or else in NCWH and NWHC, with axes of length 1 left out or put in; a
    one-dimensional tensor of the right length fits in the first two. Where both fit, values decide; in doubt the
    layout that most of the candidate's other tensors have; else NCHW.

    Parameters
    ----------
    candidate : by the candidate's own names; from `candidate.read_candidate`, or arrays
    shapes : of every node and of 'input', (N, C, H, W) or (N, classes), in order of execution
    golden : gives a node's golden tensor, in that shape
    names : {the candidate's name: the node's}
    network : whose tensors they are; without it nothing is run, and no vendor's name is known
    structure : {the candidate's name: the node's} as the structure of a model's file tells it; asked for once, if names
        leave tensors over

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
    shapes = {node: tuple(shape) for node, shape in shapes.items()}
    tables = Tables(candidate, shapes_of(candidate), shapes, golden)
    pairs = {node: (source, "map") for source, node in by_map(candidate, shapes, names or {})}
    sources = {source for source, _ in pairs.values()}
    pairs |= {
        node: (name, "name") for name, node in by_equal_names(set(candidate) - sources, shapes.keys() - pairs.keys())
    }
    if structure is not None and (rest := without_node(candidate, pairs)):
        pairs = dict(_by_structure(tables, rest, structure())) | pairs
    shift = ""
    if network is not None:
        by_other_names(network.graph, tables, pairs)
        shift = _shifted(tables, network.graph, pairs)
    named = {*pairs}
    layouts = _layouts_of(tables, {node: source for node, (source, _) in pairs.items()})
    way = WalkedTwice() if network is None else all_walks(tables, network, pairs, layouts)
    rest = [source for source in without_node(candidate, pairs) if source not in way.beside]
    same = set() if network is None else _same_numbers(network.graph, pairs)
    free = [node for node in shapes if node not in pairs and node not in way.vouched and node not in same]
    for node, (source, layout) in _by_content(tables, rest, free).items():
        pairs[node], layouts[node] = (source, "content"), layout
    for tell in (as_counted, in_order) if not shift else ():
        if network is not None and (told := tell(tables, network, pairs, way.beside)):
            pairs = told
            layouts = _layouts_of(tables, {node: source for node, (source, _) in pairs.items()})
    if network is not None:
        for node, place in as_siblings_are(tables, network, pairs, named).items():
            pairs[place], layouts[place] = pairs.pop(node), layouts.pop(node)
        _named_late(tables, network.graph, pairs, layouts, shapes.keys() - pairs.keys() - way.vouched - same)
        products = _with_biases(tables, network, pairs, layouts, way.lines)
    tensors = {node: _matched(tables, node, *pairs[node], layouts[node]) for node in shapes if node in pairs}
    lines = {node: line for node, (source, line) in way.lines.items() if pairs.get(node, ("",))[0] == source}
    tensors |= {
        node: replace(tensors[node], load=partial(_on_line, tensors[node], line)) for node, line in lines.items()
    }
    if network is None:
        return Assignment(tensors, without_node(candidate, pairs))
    sums = unbiased(network.graph, tensors, _guessed(pairs))
    tensors = _flattened(tables, network.graph, {node: each for node, each in tensors.items() if node not in sums})
    twins = folded_twins(network.graph, tensors)
    tensors = {node: each for node, each in tensors.items() if node not in twins}
    rest = without_node(candidate, {node: pair for node, pair in pairs.items() if node not in (*twins, *sums)})
    beside = tuple(
        Extra(source, kind, found[source])
        for kind, found in (("before-norm", way.beside), ("before-bias", products))
        for source in rest
        if source in found
    )
    known = {each.source for each in beside}
    rest = [source for source in rest if source not in known]
    return Assignment(tensors, rest, beside, shift, twins, lines, way.moved)


def _shifted(tables: Tables, graph: Graph, pairs: dict[str, tuple[str, str]]) -> str:
    """Put tensors whose names are one off where they belong; how they are off, or ''."""
    named = {node: source for node, (source, how) in pairs.items() if how != "map"}

    def like(node: str, place: str) -> float:
        return min(tables.near(named[node], [place])[place].distance, 1.0)

    shift = shift_of(graph, tables.shapes, {node: tables.found[source] for node, source in named.items()}, like)
    if shift is None:
        return ""
    moved = {place: pairs[node] for node, place in reversed([*shift.places.items()])}  # of copies the first is kept
    kept = {
        node: pair
        for node, pair in pairs.items()
        if node not in named or (node not in shift.places and axis_orders(tables.found[pair[0]], tables.shapes[node]))
    }
    pairs.clear()
    pairs.update({**kept, **moved})
    return shift.kind


def _named_late(
    tables: Tables,
    graph: Graph,
    pairs: dict[str, tuple[str, str]],
    layouts: dict[str, AxisOrder],
    lacking: Collection[str],
) -> None:
    """Give nodes that still lack a tensor what is called as they are: of another size, or like nothing."""
    called = dict(by_modules(graph, tables, without_node(tables.candidate, pairs), lacking))
    pairs |= {node: (source, "vendor") for node, source in called.items()}
    layouts |= _layouts_of(tables, called)


def _guessed(pairs: Mapping[str, tuple[str, str]]) -> set[str]:
    """The nodes that may have been given a sum before its bias."""
    return {node for node, (_, how) in pairs.items() if how in _GUESSED}


def _with_biases(
    tables: Tables,
    network: Network,
    pairs: dict[str, tuple[str, str]],
    layouts: dict[str, AxisOrder],
    without: Collection[str],
) -> dict[str, str]:
    """Give layers that have a sum before its bias the tensor with the bias; none where what flattens them has it.

    Returns
    -------
    of such sums the nodes that make them
    """
    known = {node: Known(source, layouts[node]) for node, (source, _) in pairs.items()}
    others, guessed = {each.source for each in known.values()}, _guessed(pairs) - {*without}
    products: dict[str, str] = {}
    for node, each in biased(tables, network, known, guessed):
        product, how = pairs.pop(node)
        products[product] = node
        if each.source not in others:
            pairs[node], layouts[node] = (each.source, how), each.layout
    for node in before_biases(tables, network, known, guessed & pairs.keys()):
        products[pairs.pop(node)[0]] = node
    return products


def _by_structure(
    tables: Tables, rest: Collection[str], nodes: Mapping[str, str]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """What the structure of a model's file says of the tensors that are left, where their shapes agree."""
    for source, node in nodes.items():
        if source in rest and axis_orders(tables.found[source], tables.shapes.get(node, ())):
            yield node, (source, "structure")


def _flattened(tables: Tables, graph: Graph, tensors: dict[str, MatchedTensor]) -> dict[str, MatchedTensor]:
    """The same with what is flattened where only what it is flattened from is there: the same numbers."""
    made = dict(tensors)
    for node in graph.nodes:
        before = tensors.get(node.inputs[0])
        if node.op == "flatten" and node.name not in tensors and before is not None and before.layout != "unknown":
            made[node.name] = replace(before, load=partial(_reshaped, before, tables.shapes[node.name]))
    return {name: made[name] for name in tables.shapes if name in made}


def _same_numbers(graph: Graph, pairs: Mapping[str, object]) -> set[str]:
    """What is flattened of a node whose tensor is known, and what a known tensor is flattened from."""
    flat = [(node.name, node.inputs[0]) for node in graph.nodes if node.op == "flatten"]
    return {name for name, before in flat if before in pairs} | {before for name, before in flat if name in pairs}


def _on_line(tensor: MatchedTensor, line: ChannelLine) -> Array:
    return line.of(tensor.array)


def _reshaped(tensor: MatchedTensor, shape: Shape) -> Array:
    return tensor.array.reshape(shape)


def _matched(tables: Tables, node: str, source: str, how: str, layout: AxisOrder) -> MatchedTensor:
    return MatchedTensor(
        lambda: layout.nchw(np.asarray(tables.candidate[source]), tables.shapes[node]), source, layout.label, how
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


def _layouts_of(tables: Tables, pairs: Mapping[str, str]) -> dict[str, AxisOrder]:
    """How the tensors are laid out whose nodes are known."""
    settled, open_ = {}, {}
    for node, source in pairs.items():
        ways = axis_orders(tables.found[source], tables.shapes[node])
        if len(ways) > 1:
            choice = tables.near(source, [node])[node]
            ways = (choice.layout,) if choice.clear else ways
        if len(ways) > 1:
            open_[node] = ways
        else:
            settled[node] = ways[0] if ways else UNKNOWN
    votes = Counter(
        layout.order.endswith("c")
        for node, layout in settled.items()
        if layout.order and tables.shapes[node][1] > 1 and math.prod(tables.shapes[node][2:]) > 1
    )
    if not votes:  # no map has its node's shape: its channels tell, or its size
        shapes = [(tables.found[source], tables.shapes[node]) for node, source in pairs.items()]
        votes.update(last for shape, full in shapes for last in _only_place_of_channels(shape, full))
    last = votes[True] > votes[False]
    unlike = {
        node: UNKNOWN_LAST
        for node, layout in settled.items()
        if not layout.order and last and _ends_in_channels(tables.found[pairs[node]], tables.shapes[node])
    }
    return settled | unlike | {node: ways[last] for node, ways in open_.items()}


def _only_place_of_channels(found: Shape, shape: Shape) -> list[bool]:
    """Whether the channels of a map are last, if they, or else its size, say that they are first or last, not both."""
    if len(found) != 4 or len(shape) != 4 or found[0] != shape[0]:
        return []
    first, last = (found[1] == shape[1], found[2:] == shape[2:]), (found[3] == shape[1], found[1:3] == shape[2:])
    return next(([is_last] for is_first, is_last in zip(first, last, strict=True) if is_first != is_last), [])


def _ends_in_channels(found: Shape, shape: Shape) -> bool:
    """Whether a tensor of another shape has a node's batch and channels, or batch and size, the channels last."""
    own = (shape[1] == found[3], shape[2:] == found[1:3]) if len(found) == len(shape) == 4 else ()
    return any(own) and found[0] == shape[0]


def _by_content(tables: Tables, sources: Iterable[str], free: Iterable[str]) -> dict[str, tuple[str, AxisOrder]]:
    """The nodes of tensors whose names say nothing: round by round, for what is taken makes other choices clear."""
    near = {
        source: tables.near(source, [n for n in tables.shapes if _may_be(tables.found[source], tables.shapes[n])])
        for source in sources
    }
    left = set(free)
    chosen: dict[str, tuple[str, AxisOrder]] = {}
    while True:
        offers = [(source, node) for source in near for node in _clear(tables, source, near[source], left)]
        for source, node in sorted(offers, key=lambda offer: near[offer[0]][offer[1]].distance):
            if node in left:
                chosen[node] = source, near.pop(source)[node].layout
                left.remove(node)
        if not offers:
            return chosen


def _may_be(found: Shape, shape: Shape) -> bool:
    """Whether a shape fits without a last block of channels that is filled up, which any number of them may fill."""
    return any(not order.block or shape[1] % order.block == 0 for order in axis_orders(found, shape))


def _clear(tables: Tables, source: str, choices: dict[str, Likeness], left: set[str]) -> list[str]:
    """The node that a tensor is clearly nearest to, if there is one. Rivals that look close are looked at whole."""
    nodes = [node for node in choices if node in left]
    if not nodes:
        return []
    place = {node: index for index, node in enumerate(tables.shapes)}
    while True:
        first = min(nodes, key=lambda n: (choices[n].distance, tables.found[source] != tables.shapes[n], place[n]))
        least = choices[first].distance
        if least >= CLOSE:
            return []
        rivals = [node for node in nodes if choices[node].distance <= CLEAR * least and node != first]
        partly = [node for node in (first, *rivals) if rivals and not choices[node].whole]
        if not partly:
            break
        choices |= tables.near(source, partly, whole=True)
    unlike = [node for node in rivals if choices[node].distance > least]  # equal distances: equal golden tensors
    taken = [node for node in choices if node not in left and choices[node].distance < least]
    return [] if unlike or taken else [first]
