"""Names that count what is of one kind, in order of execution: `Conv2d_22`, `relu_15`; or `ReLU-44`, which count all.

The k-th name of a row is of the k-th node of a kind, if there are as many and all have its channels. Contents say of
which kind a row is; sizes may be others, as they are behind a stride that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from refnet.graph import Graph
from refnet.network import Network
from refnet.ops import ACTIVATIONS, CONVOLUTIONS, GATES
from refnet.pack.matching.layers_right import layers_right
from refnet.pack.matching.likeness import Tables
from refnet.pack.matching.sequence import has_channels

__all__ = ["as_counted"]

_NUMBERED = re.compile(r"(.*?)[^A-Za-z0-9]?(\d*)")
_FEWEST = 10  # names, without which a count proves nothing


def as_counted(
    tables: Tables, network: Network, pairs: Mapping[str, tuple[str, str]], beside: Collection[str] = ()
) -> dict[str, tuple[str, str]]:
    """Tensors by node where names count kinds, if contents tell some otherwise and fewer layers are right so; else {}.

    Parameters
    ----------
    pairs : by node, the candidate's name of its tensor and how it was found
    beside : tensors that are known to be no node's
    """
    guessed = {source: node for node, (source, how) in pairs.items() if how == "content"}
    open_ = {*guessed} | ({*tables.found} - {source for source, _ in pairs.values()} - {*beside})
    told: dict[str, str] = {}
    for row in _rows(open_):
        told |= dict(zip(_nodes_of(row, network.graph, tables, guessed), row, strict=False))
    own = {node: source for node, (source, _) in pairs.items()}
    others = {node: source for node, source in told.items() if own.get(node) != source}
    if not others or any(node in pairs and pairs[node][1] != "content" for node in others):
        return {}
    kept = {node: pair for node, pair in pairs.items() if pair[0] not in told.values()}
    made = kept | {node: (source, "order") for node, source in told.items()}
    right = layers_right(tables, network, {node: source for node, (source, _) in made.items()})
    return made if right > layers_right(tables, network, own) else {}


def _rows(names: Collection[str]) -> list[list[str]]:
    """Names that are the same but for a number at their end, each row by that number; the first may have none."""
    rows: dict[str, dict[int, str]] = {}
    for name in names:
        word, number = _NUMBERED.fullmatch(name).groups()  # type: ignore[union-attr]
        rows.setdefault(word, {})[int(number or -1)] = name
    return [[row[number] for number in sorted(row)] for row in rows.values() if len(row) >= _FEWEST]


def _nodes_of(row: list[str], graph: Graph, tables: Tables, guessed: Mapping[str, str]) -> list[str]:
    """The nodes of the kind of which most names are by their contents, where a row has as many and their channels."""
    best: list[str] = []
    least = 0
    for nodes in _kinds(graph):
        alike = sum(guessed.get(source) == node for source, node in zip(row, nodes, strict=False))
        if len(nodes) == len(row) and alike > least and _have_channels(tables, row, nodes):
            best, least = nodes, alike
    return best


def _kinds(graph: Graph) -> Iterator[list[str]]:
    """The nodes of each kind: of an operation, activations with gates or without, convolutions less heads."""
    for op in dict.fromkeys(node.op for node in graph.nodes):
        yield [node.name for node in graph.nodes if node.op == op]
    for kind in (ACTIVATIONS, (*ACTIVATIONS, *GATES)):
        yield [node.name for node in graph.nodes if node.op in kind]
    convs = [node.name for node in graph.nodes if node.op in CONVOLUTIONS]
    yield from (convs, convs[:-1], convs[:-2])


def _have_channels(tables: Tables, row: list[str], nodes: list[str]) -> bool:
    pairs = [(tables.found[source], tables.shapes[node]) for source, node in zip(row, nodes, strict=True)]
    return any(all(has_channels(found, full, last) for found, full in pairs) for last in (False, True))
