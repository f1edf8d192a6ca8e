"""Tensors under names that say nothing of the network's: told by the order of all, or by numbers that count blocks.

`block3`, `t07_block6`, `stage_12_out` may count from any number on. The blocks' channels and sizes tell from which:
where more than one number fits, nothing is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import partial

from refnet.graph import Graph
from refnet.network import Network
from refnet.pack.matching.layers_right import layers_right
from refnet.pack.matching.layouts import axis_orders
from refnet.pack.matching.likeness import Tables
from refnet.pack.matching.modules import block_ends, stem_end
from refnet.pack.matching.roles import by_roles
from refnet.pack.matching.sequence import by_order, has_channels, parts_of_orders

__all__ = ["by_numbers", "in_order"]

Shape = tuple[int, ...]

_COUNTED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)
_FEWEST, _KINDS = 3, 2  # tensors, and counts of channels, without which numbers prove nothing
_PARTS = 8  # of dumps that may be held against each other: where more fit, shapes tell nothing
_LEFT = 0.1  # of a candidate's tensors that may be left over, or be another's in its order


def in_order(
    tables: Tables, network: Network, pairs: Mapping[str, tuple[str, str]], beside: Collection[str] = ()
) -> dict[str, tuple[str, str]]:
    """Tensors by node as their order tells them, if the others agree or it explains more; else nothing.

    Where few are left over all others must agree, and none of them is moved numbers of another one: such a tensor would
    be told by its content. Where contents tell otherwise, more layers must be right in order.

    Parameters
    ----------
    pairs : by node, the candidate's name of its tensor and how it was found
    beside : tensors that are known to be no node's
    """
    graph = network.graph
    found = {source: shape for source, shape in tables.found.items() if source not in beside}
    own = {node: source for node, (source, _) in pairs.items()}
    rest = [source for source in found if source not in own.values()]
    guessed = {source for source, how in pairs.values() if how == "content"}
    ordered = _ordered(tables, network, found) if rest or guessed else {}
    if rest:
        alike = sum(ordered.get(node) == source for node, source in own.items())
        many = len(rest) > _LEFT * len(found)
        moved = {name for node in graph.nodes if node.op == "flatten" for name in (node.name, *node.inputs)}
        agrees = alike >= (1 - _LEFT) * len(own) if many else alike == len(own) and not moved & (ordered.keys() - own)
        if ordered and agrees:
            return {node: (source, "order") for node, source in ordered.items()}
    if guessed and (better := _more_explained(tables, network, pairs, ordered)):
        return better
    open_ = [source for source in tables.found if source in {*rest, *guessed}]
    told: dict[str, str] = {}
    if rest:
        told = by_roles(graph, found, tables.shapes, open_) or by_numbers(graph, found, tables.shapes, open_)
    free = {node: source for source, node in told.items() if own.get(node, "") in ("", *guessed)}
    alike = sum(own.get(node) == source for node, source in free.items())
    if len(free) == alike or alike < (1 - _LEFT) * sum(source in guessed for source in free.values()):
        return {}
    kept = {node: pair for node, pair in pairs.items() if pair[0] not in free.values()}
    made = kept | {node: (source, "order") for node, source in free.items()}
    otherwise = any(own.get(node, source) != source for node, source in free.items())
    if otherwise and _explains_less(tables, network, {node: source for node, (source, _) in made.items()}, own):
        return {}
    return made


def _ordered(tables: Tables, network: Network, found: Mapping[str, Shape]) -> dict[str, str]:
    """The candidate's name of each node's tensor by the order of all; of parts of dumps that with most layers right."""
    if told := by_order(network.graph, found, tables.shapes):
        return told
    parts = parts_of_orders(network.graph, found, tables.shapes)
    if len(parts) < 2:
        return parts[0] if parts else {}
    return max(parts, key=partial(layers_right, tables, network)) if len(parts) <= _PARTS else {}


def _more_explained(
    tables: Tables, network: Network, pairs: Mapping[str, tuple[str, str]], ordered: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """Tensors by node in their order, where contents tell some otherwise, and fewer layers are right with that."""
    told = {node: source for node, (source, how) in pairs.items() if how != "content"}
    own = {node: source for node, (source, _) in pairs.items()}
    if not ordered or ordered == own or any(ordered.get(node) != source for node, source in told.items()):
        return {}
    if not _explains_less(tables, network, own, ordered):
        return {}
    return {node: pairs[node] if own.get(node) == source else (source, "order") for node, source in ordered.items()}


def _explains_less(tables: Tables, network: Network, some: Mapping[str, str], others: Mapping[str, str]) -> bool:
    """Whether fewer layers are right with some tensors by node than with others."""
    return layers_right(tables, network, some) < layers_right(tables, network, others)


def by_numbers(
    graph: Graph, found: Mapping[str, Shape], shapes: Mapping[str, Shape], sources: Iterable[str]
) -> dict[str, str]:
    """{a candidate's name: the node}, of names that count blocks; the stem before and the head behind them, too.

    Parameters
    ----------
    found : the candidate's shapes
    shapes : of every node and of 'input', in order of execution
    sources : names of tensors that are no node's by name
    """
    rows: dict[tuple[str, str], dict[int, str]] = {}
    twice: set[tuple[str, str]] = set()
    for source in sources:
        if (counted := _COUNTED.fullmatch(source)) is not None:
            before, number, behind = counted.groups()
            row = re.sub(r"\d+", "#", before), behind
            if int(number) in rows.setdefault(row, {}):
                twice.add(row)
            rows[row][int(number)] = source
    units, ends = graph.units(), block_ends(graph)
    if not ends:
        return {}
    last = next((unit.output for unit in reversed(units) if unit.norm is not None), ends[-1])
    nodes = [stem_end(graph), *ends, *([last] if last not in ends else [])]
    made: dict[str, str] = {}
    for row, names in rows.items():
        if row not in twice and len(names) >= _FEWEST:
            made |= _row(names, nodes, found, shapes)
    return made


def _row(
    names: Mapping[int, str], nodes: list[str], found: Mapping[str, Shape], shapes: Mapping[str, Shape]
) -> dict[str, str]:
    """The nodes of one row of numbered names, if there is one number alone for the first from which all fit."""
    exact: list[dict[str, str]] = []
    alike: list[dict[str, str]] = []
    for first in range(max(names) - len(nodes) + 1, min(names) + 1):
        pairs = {names[number]: nodes[number - first] for number in names}
        if len({shapes[node][1] for node in pairs.values()}) < _KINDS:
            continue
        if all(axis_orders(found[source], shapes[node]) for source, node in pairs.items()):
            exact.append(pairs)
        for last in (False, True):
            if all(has_channels(found[source], shapes[node], last) for source, node in pairs.items()):
                alike.append(pairs)
                break
    fitting = exact or alike  # a port that is wrong may have maps of other sizes
    return fitting[0] if len(fitting) == 1 else {}
