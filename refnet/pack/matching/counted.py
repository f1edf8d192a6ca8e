"""Names that count what is of one kind: `Conv2d_22`, `relu_15`, `ReLU-44` of all operations, `layers.4.dw` of blocks.

The k-th name of a row is of the k-th node of a kind, or of the k-th block's layer, if there are as many and all have
its channels. Contents say of which a row is; sizes may be others, as they are behind a stride that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from refnet.graph import Graph
from refnet.network import Network
from refnet.ops import ACTIVATIONS, CONVOLUTIONS, GATES
from refnet.pack.matching.layers_right import layers_right
from refnet.pack.matching.likeness import Tables
from refnet.pack.matching.roles import numbered_rows
from refnet.pack.matching.sequence import has_channels

__all__ = ["as_counted"]

_NUMBERED = re.compile(r"(.*?)[^A-Za-z0-9]?(\d*)", re.DOTALL)
_FEWEST, _BLOCKS = 10, 3  # names, without which a count of all, or of blocks, proves nothing


def as_counted(
    tables: Tables, network: Network, pairs: Mapping[str, tuple[str, str]], beside: Collection[str] = ()
) -> dict[str, tuple[str, str]]:
    """Tensors by node where names count kinds, if contents tell some otherwise and more layers are right so; else {}.

    Parameters
    ----------
    pairs : by node, the candidate's name of its tensor and how it was found
    beside : tensors that are known to be no node's
    """
    guessed = {source: node for node, (source, how) in pairs.items() if how == "content"}
    known = {source for source, _ in pairs.values()} - guessed.keys() | {*beside}
    open_ = [source for source in tables.found if source not in known]
    kinds = [*_kinds(network.graph), *_in_blocks([*network.graph.by_name])]
    told: dict[str, str] = {}
    for row in (*_in_all(open_), *_in_blocks(open_)):
        told |= dict(zip(_likest(row, kinds, tables, guessed), row, strict=False))
    own = {node: source for node, (source, _) in pairs.items()}
    others = {node: source for node, source in told.items() if own.get(node) != source}
    twice = len({*told.values()}) < len(told)
    if not others or twice or any(node in pairs and pairs[node][1] != "content" for node in others):
        return {}
    kept = {node: pair for node, pair in pairs.items() if pair[0] not in told.values()}
    made = kept | {node: (source, "order") for node, source in told.items()}
    right = layers_right(tables, network, {node: source for node, (source, _) in made.items()})
    return made if right > layers_right(tables, network, own) else {}


def _in_all(names: Sequence[str]) -> list[list[str]]:
    """Names that are the same but for a number at their end, each row by that number; the first may have none."""
    rows: dict[str, dict[int, str]] = {}
    for name in names:
        word, number = _NUMBERED.fullmatch(name).groups()  # type: ignore[union-attr]
        rows.setdefault(word, {})[int(number or -1)] = name
    return [[row[number] for number in sorted(row)] for row in rows.values() if len(row) >= _FEWEST]


def _in_blocks(names: Sequence[str]) -> list[list[str]]:
    """Names that are the same but for the number of a block, each row by that number."""
    return [[row[number] for number in sorted(row)] for row in numbered_rows(names).values() if len(row) >= _BLOCKS]


def _likest(
    row: Sequence[str], kinds: Sequence[Sequence[str]], tables: Tables, guessed: Mapping[str, str]
) -> Sequence[str]:
    """The nodes of the kind of which most of a row are by their contents, of those that it has the channels of."""
    alike = [sum(guessed.get(source) == node for source, node in zip(row, nodes, strict=False)) for nodes in kinds]
    fitting = [place for place, nodes in enumerate(kinds) if alike[place] and _have_channels(tables, row, nodes)]
    return kinds[max(fitting, key=alike.__getitem__)] if fitting else ()


def _kinds(graph: Graph) -> Iterator[list[str]]:
    """The nodes of each kind: of an operation, activations with gates or without, convolutions less heads."""
    for op in dict.fromkeys(node.op for node in graph.nodes):
        yield [node.name for node in graph.nodes if node.op == op]
    for kind in (ACTIVATIONS, (*ACTIVATIONS, *GATES)):
        yield [node.name for node in graph.nodes if node.op in kind]
    convs = [node.name for node in graph.nodes if node.op in CONVOLUTIONS]
    yield from (convs, convs[:-1], convs[:-2])


def _have_channels(tables: Tables, row: Sequence[str], nodes: Sequence[str]) -> bool:
    """Whether there are as many names as nodes, and each has its node's channels."""
    if len(row) != len(nodes):
        return False
    pairs = [(tables.found[source], tables.shapes[node]) for source, node in zip(row, nodes, strict=True)]
    return any(all(has_channels(found, full, last) for found, full in pairs) for last in (False, True))
