"""Arrays that fit no known network -> a network with other blocks, by the shapes of its filters in their order.

Filters tell which blocks there are, each one's kernel, widths and squeeze-and-excite. What no shape tells (strides,
pads, activations, eps) is the nearest known network's: that of the block beside each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.alignment.align import cheapest
from refnet.files.identify.names import NamedLayout, changes, likest_scheme
from refnet.files.identify.nearest import ConvolutionRow, nearest_networks
from refnet.files.identify.order import SCHEME, by_role, keys_in_order, placed
from refnet.graph import Graph
from refnet.networks.build import build_planned, find
from refnet.networks.plan import Plan, PlannedBlock, plan
from refnet.networks.rewrite import fold_graph

__all__ = ["with_own_blocks"]

Arrays = Mapping[str, npt.NDArray[Any]]

_SHARE = 0.25  # of the convolutions: more that are others are another network
_NEAR = 4  # networks whose blocks are held against the file's
_GONE = 5  # what a block costs that has no counterpart: as much as one of which all is another


class _ToldBlock(NamedTuple):
    kernel: int
    expanded: int
    out: int
    expand: bool
    squeeze: int


class _Told(NamedTuple):
    """What the shapes of filters tell: channels of the stem, blocks, and channels of each layer of the head."""

    stem: int
    blocks: tuple[_ToldBlock, ...]
    head: tuple[int, ...]


def with_own_blocks(arrays: Arrays, model: str | None, width: float | None) -> NamedLayout | None:
    """The network that arrays are the weights of, if only its layers are others than those of a known one.

    None where an array has no place in it, or it has too little in common with any known network.

    Parameters
    ----------
    arrays : in the order that fits first, see `keys_in_order`
    model, width : of the known network, as far as they are given
    """
    return next(_layouts(arrays, model, width), None)


def _layouts(arrays: Arrays, model: str | None, width: float | None) -> Iterator[NamedLayout]:
    """All that `with_own_blocks` may return, what has most in common with a known network first."""
    for keys in keys_in_order(arrays):
        filters, vectors = by_role(arrays, keys)
        rows = _rows([arrays[key].shape for key in filters])
        if not rows:
            continue
        near = nearest_networks(rows, model, width, _SHARE * len(rows))
        ranked = sorted(near, key=lambda each: (each[0], -likest_scheme(arrays, each[1])[0]))
        for _, name, at in ranked[:_NEAR]:
            for told in _told(rows):
                graph = _graph(name, at, told)
                found = None if graph is None else _fitting(arrays, graph, filters, vectors)
                if found is not None:
                    yield found


def _fitting(
    arrays: Arrays, graph: Graph, filters: Sequence[str], vectors: Mapping[str, Sequence[str]]
) -> NamedLayout | None:
    """A network with arrays as its weights; None where they are not its own, or it is the known network itself."""
    folded = not vectors["mean"]
    alike, scheme = likest_scheme(arrays, graph.recipe.model)
    for layout in placed(arrays, fold_graph(graph) if folded else graph, folded, filters, vectors)[:1]:
        found = layout._replace(scheme=scheme if 2 * alike > len(arrays) else SCHEME, changed=True, unsure=())
        return found if changes(found) else None
    return None


def _rows(shapes: Sequence[tuple[int, ...]]) -> tuple[ConvolutionRow, ...]:
    """The convolutions that filters are of, each reading what the one before makes; nothing where they are none."""
    rows: list[ConvolutionRow] = []
    before = 0
    for shape in shapes:
        axes = [length for length in shape if length > 1]
        match len(axes):
            case 4 if not rows:
                before, kernel = (axes[-1], axes[:2]) if axes[0] == axes[1] else (axes[0], axes[2:3] * 2)
                rows.append(("conv2d", (kernel[0], kernel[1]), before))
            case 3 if before in (axes[0], axes[-1]):
                kernel = axes[1:] if axes[0] == before else axes[:-1]
                rows.append(("depthwise_conv2d", (kernel[0], kernel[1]), before))
            case 2 if before in axes:
                before = axes[1] if axes[0] == before else axes[0]
                rows.append(("pointwise_conv2d", (), before))
            case _:
                return ()
    return tuple(rows)


def _told(rows: Sequence[ConvolutionRow]) -> Iterator[_Told]:
    """The blocks of convolutions; of the last one it may be open whether it has squeeze-and-excite."""
    places = [place for place, (op, *_) in enumerate(rows) if op == "depthwise_conv2d"]
    if not places or places[0] > 2:
        return
    behind = [rows[start + 1 : end] for start, end in zip(places, [*places[1:], len(rows)], strict=True)]
    channels = [[count for *_, count in each] for each in behind]
    if any(not 0 < len(each) < 5 for each in channels[:-1]):
        return
    for last in (0, 2):
        gates = [2 * (len(each) > 2) for each in channels[:-1]] + [last]
        if len(channels[-1]) < last + 2:
            continue
        blocks: list[_ToldBlock] = []
        expand = places[0] == 2
        for place, counts, gate in zip(places, channels, gates, strict=True):
            _, kernel, expanded = rows[place]
            blocks.append(_ToldBlock(kernel[0], expanded, counts[gate], expand, counts[0] if gate else 0))
            expand = len(counts) == gate + 2
        yield _Told(rows[0][2], tuple(blocks), tuple(channels[-1][last + 1 :]))


def _graph(name: str, width: float, told: _Told) -> Graph | None:
    """A network with the blocks that a file tells, and all else as a known one has it; None if its head is another.

    Its blocks are called after those of the known network that stand for them, or before them: 'block4_2'.
    """
    known = plan(find(name), width)
    if (head := _head(known, told.head[:-1])) is None:
        return None
    costs = np.array([[_apart(mine, theirs) for theirs in told.blocks] for mine in known.blocks])
    gone = np.array([_GONE + (block.stride > 1) for block in known.blocks])  # who takes a block away keeps the stride
    _, pairs = cheapest(costs, gone, np.full(len(told.blocks), _GONE))
    blocks: list[PlannedBlock] = []
    called: list[str] = []
    inputs, before, more = told.stem, 0, 1
    for mine, theirs in pairs:
        before, more = (before, more + 1) if mine is None else (mine + 1, 1)
        if theirs is None:
            continue
        own = told.blocks[theirs]
        like = _beside(known.blocks, own) if mine is None else known.blocks[mine]
        blocks.append(_changed(like, own, inputs, any(block.shortcut for block in known.blocks)))
        called.append(f"block{before}" if more == 1 else f"block{before}_{more}")
        inputs = own.out
    widths = replace(known, stem=told.stem, blocks=tuple(blocks), last=head[0], hidden=head[1])
    made = build_planned(name, width, told.head[-1], widths)
    places = {f"block{place}": name for place, name in enumerate(called, 1)}
    parts = {node.name: node.name.partition(".") for node in made.nodes}
    return made.renamed({name: places.get(part, part) + dot + rest for name, (part, dot, rest) in parts.items()})


def _head(known: Plan, layers: Sequence[int]) -> tuple[int, int] | None:
    """The channels of the last convolution and of the hidden layer, 0 of one that is not there; None of more layers."""
    match bool(known.hidden), len(layers):
        case (True, 2):
            return layers[0], layers[1]
        case (True, 1):
            return (0, layers[0]) if layers[0] == known.hidden else (layers[0], 0)
        case (False, 0 | 1):
            return (layers[0] if layers else 0), 0
    return None


def _apart(known: PlannedBlock, told: _ToldBlock) -> int:
    """In how much two blocks differ."""
    same = (known.kernel == told.kernel, known.expand == told.expand, bool(known.squeeze) == bool(told.squeeze))
    return same.count(False) + (known.expanded != told.expanded) + (known.out != told.out)


def _beside(known: Sequence[PlannedBlock], told: _ToldBlock) -> PlannedBlock:
    """What a block that the known network lacks has from its likest one; it keeps the size of maps."""
    return replace(min(known, key=lambda block: (_apart(block, told), block.stride)), stride=1)


def _changed(like: PlannedBlock, told: _ToldBlock, inputs: int, bottleneck: bool) -> PlannedBlock:
    """A block with the widths that are told, and a shortcut where blocks have one."""
    kept = (like.inputs == like.out) == (inputs == told.out)
    return replace(
        like,
        kernel=told.kernel,
        inputs=inputs,
        expanded=told.expanded,
        out=told.out,
        expand=told.expand,
        squeeze=told.squeeze,
        shortcut=like.shortcut if kept else bottleneck and like.stride == 1 and inputs == told.out,
    )
