"""Tensors under names of a port's own that count blocks and say which of a block's layers they are of: `ir3_dw`.

No word is known. That a row of names, one for each block, is of one layer, its channels tell: where blocks lack the
layer, the row has a gap; what follows it in a block is no larger; and the dump may be in the order of execution.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from refnet.graph import Graph
from refnet.pack.matching.sequence import has_channels

__all__ = ["by_roles", "numbered_rows"]

Shape = tuple[int, ...]
Row = Mapping[int, str]  # by number, the name

_NUMBER = re.compile(r"\d+")
_FEWEST, _MOST = 3, 6  # names of the longest row; rows of which every order is tried

_SMALL = 4  # points of the smallest maps, of which a wrong port may have one


def by_roles(
    graph: Graph, found: Mapping[str, Shape], shapes: Mapping[str, Shape], sources: Iterable[str]
) -> dict[str, str]:
    """{a candidate's name: the node}, if rows of numbered names are layers of the blocks in one way alone.

    What the first and the last convolution make is there with them, where nothing else has their channels.

    Parameters
    ----------
    found : the candidate's shapes
    shapes : of every node and of 'input', in order of execution
    sources : names of tensors that are no node's by name
    """
    sources = list(sources)
    rows = numbered_rows(sources)
    if len(rows) < 2 or max(map(len, rows.values())) < _FEWEST:
        return {}
    for fused, last in itertools.product((True, False), (False, True)):
        if told := _in_one_way(_in_order(rows, sources), _roles(graph, fused=fused), found, shapes, last):
            return told | _ends(graph, told, sources, found, shapes, last)
    return {}


def numbered_rows(sources: Sequence[str]) -> dict[str, dict[int, str]]:
    """Names by what follows a number, and by that number: the one that counts most of them."""
    groups: dict[tuple[int, str], dict[str, dict[int, str]]] = {}
    for source in sources:
        for place, number in enumerate(_NUMBER.finditer(source)):
            before, word = _NUMBER.sub("#", source[: number.start()]), source[number.end() :]
            if word:
                groups.setdefault((place, before), {}).setdefault(word, {}).setdefault(int(number[0]), source)
    return max(groups.values(), key=_in_rows, default={})


def _in_rows(rows: Mapping[str, Row]) -> int:
    return sum(len(row) for row in rows.values() if len(row) >= _FEWEST)


def _in_order(rows: Mapping[str, Row], sources: Sequence[str]) -> list[Row]:
    """Rows as they come in the blocks, of which the first may lack the first row."""
    place = {source: index for index, source in enumerate(sources)}
    before: dict[str, set[str]] = {word: set() for word in rows}
    for one, other in itertools.permutations(rows, 2):
        if any(place[rows[one][number]] < place[rows[other][number]] for number in rows[one].keys() & rows[other]):
            before[other].add(one)
    return [rows[word] for word in sorted(rows, key=lambda word: len(before[word]))]


def _roles(graph: Graph, *, fused: bool) -> list[Row]:
    """The layers of the blocks, in order."""
    names = graph.fused() if fused else tuple(graph.by_name)
    return _in_order(numbered_rows(names), names)


def _in_one_way(
    rows: Sequence[Row], roles: Sequence[Row], found: Mapping[str, Shape], shapes: Mapping[str, Shape], last: bool
) -> dict[str, str]:
    """The nodes of all rows, in the order in which they come; or, of few, in any that leaves one way alone."""
    others = itertools.permutations(rows) if len(rows) <= _MOST else iter(())
    for orders in (iter([rows]), others):
        if told := [way for order in orders for way in _ways(order, roles, found, shapes, last)]:
            return told[0] if len(told) == 1 else {}
    return {}


def _ways(
    rows: Sequence[Row], roles: Sequence[Row], found: Mapping[str, Shape], shapes: Mapping[str, Shape], last: bool
) -> Iterator[dict[str, str]]:
    """Each way to take rows for layers in this order, with a name for every block that has the layer."""
    blocks = {index for role in roles for index in role}
    if not blocks or not _shrinks(rows, found, last):
        return
    numbers = {number for row in rows for number in row}
    for first in range(max(numbers) - max(blocks), min(numbers) - min(blocks) + 1):
        fits = [
            [place for place, role in enumerate(roles) if _is_of(row, role, first, found, shapes, last)] for row in rows
        ]
        for places in _rising(fits):
            ways = zip(rows, places, strict=True)
            yield {name: roles[place][number - first] for row, place in ways for number, name in row.items()}


def _is_of(
    row: Row, role: Row, first: int, found: Mapping[str, Shape], shapes: Mapping[str, Shape], last: bool
) -> bool:
    """Whether a row of names may be of a layer, where the first block has a number."""
    if {number - first for number in row} != {*role}:
        return False
    pairs = [(found[name], shapes[role[number - first]]) for number, name in row.items()]
    return all(has_channels(shape, full, last) and _alike(shape, full, last) for shape, full in pairs)


def _alike(shape: Shape, full: Shape, last: bool) -> bool:
    """Whether a tensor is a map where a node makes one, and else one number for each channel."""
    own, area = math.prod(full[2:]), _area(shape, last)
    return area == 1 if own == 1 else area > 1 or own <= _SMALL


def _rising(fits: Sequence[Sequence[int]], above: int = -1) -> Iterator[tuple[int, ...]]:
    """One of each list, each larger than the one before it."""
    if not fits:
        yield ()
        return
    for place in fits[0]:
        if place > above:
            yield from ((place, *rest) for rest in _rising(fits[1:], place))


def _shrinks(rows: Sequence[Row], found: Mapping[str, Shape], last: bool) -> bool:
    """Whether in each block no map is larger than one in a row before it."""
    for number in {number for row in rows for number in row}:
        areas = [_area(found[row[number]], last) for row in rows if number in row]
        maps = [area for area in areas if area > 1]
        if any(one < other for one, other in itertools.pairwise(maps)):
            return False
    return True


def _area(shape: Shape, last: bool) -> int:
    return math.prod(shape[-3:-1] if last else shape[-2:]) if len(shape) > 2 else 1


def _ends(
    graph: Graph,
    told: Mapping[str, str],
    sources: Sequence[str],
    found: Mapping[str, Shape],
    shapes: Mapping[str, Shape],
    last: bool,
) -> dict[str, str]:
    """What the first and the last convolution with a batch norm make, as the only maps that have their channels.

    All that such a convolution has behind it is told by its order, where the blocks are in order.
    """
    place = {name: index for index, name in enumerate(shapes)}
    order = [place[told[source]] for source in sources if source in told]
    normed = [unit for unit in graph.units() if unit.norm is not None]
    ends: dict[str, str] = {}
    for unit in (normed[0], normed[-1]) if normed else ():
        maps = [name for name in sources if name not in told and _area(found[name], last) > 1]
        own = [name for name in maps if has_channels(found[name], shapes[unit.output], last)]
        nodes = [node.name for node in unit.nodes] if order == sorted(order) else []
        ends |= dict(zip(own, nodes if len(own) == len(nodes) else [unit.output] * (len(own) == 1), strict=False))
    return ends
