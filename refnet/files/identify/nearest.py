"""A quick look at a graph: which known networks, at which width, is it worth being aligned with?

Only the sequence of convolutions counts here. Their kinds and kernels choose the tables, which do not depend on the
width; then their channels choose the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import NamedTuple

from refnet.files.identify.names import WIDTHS
from refnet.graph import Graph
from refnet.networks.build import find
from refnet.networks.dialects import MODELS
from refnet.networks.plan import Plan, plan
from refnet.ops import CONVOLUTIONS

__all__ = ["Likely", "likely"]

_SLACK = 0.06  # of likeness between the best table and one that is still looked at
_MORE_CHANNELS = 4  # convolutions of another width, beyond those of the best, that other habits may outweigh


class _Chain(NamedTuple):
    """The convolutions of a network in order: kind with kernel, channels of the output."""

    kinds: tuple[str, ...]
    channels: tuple[int, ...]


class Likely(NamedTuple):
    """A known network that a graph may be, and how many convolutions have other channels or no counterpart."""

    model: str
    width: float
    apart: int


def likely(graph: Graph, model: str | None, width: float | None) -> list[Likely]:
    """Known networks that a graph resembles, the nearest first, each at its best width.

    Parameters
    ----------
    model, width : as far as they are given
    """
    chain = _chain_of(graph)
    names = [name for name in MODELS if _meant(name, graph)] if model is None else [model]
    alike = {name: _likeness(chain.kinds, _chain(name, 1.0).kinds) for name in names}
    best = max(alike.values())
    found = [_at_best_width(chain, name, width) for name in names if alike[name] >= best - _SLACK]
    nearest = min(one.apart for one in found)
    # A name that carries its width comes before one that needs to be told.
    return sorted(
        (one for one in found if one.apart <= nearest + _MORE_CHANNELS), key=lambda one: (one.apart, one.width != 1.0)
    )


def _meant(name: str, graph: Graph) -> bool:
    """The network that ships with refnet is V3-Small, and is only meant at its own size."""
    model = MODELS[name]
    return model.dialect.vendor != "refnet" or model.size == graph.recipe.size


def _at_best_width(chain: _Chain, name: str, width: float | None) -> Likely:
    own = find(name).width == 1.0  # mnasnet_050 means that width, unless the caller asks for another
    widths = (width,) if width is not None else WIDTHS if own else (1.0,)
    found = [Likely(name, at, _apart(chain, _chain(name, at))) for at in widths]
    return min(found, key=lambda one: one.apart)


def _apart(chain: _Chain, known: _Chain) -> int:
    """How many convolutions have no counterpart, or one with other channels."""
    pairs = _pairs(chain.kinds, known.kinds)
    alone = max(len(chain.kinds), len(known.kinds)) - len(pairs)
    last = len(known.kinds) - 1  # has as many channels as there are classes
    return alone + sum(chain.channels[i] != known.channels[j] for i, j in pairs if j != last)


@lru_cache(maxsize=4096)
def _likeness(kinds: tuple[str, ...], others: tuple[str, ...]) -> float:
    return SequenceMatcher(None, kinds, others, autojunk=False).ratio()


@lru_cache(maxsize=4096)
def _pairs(kinds: tuple[str, ...], others: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Places of like convolutions in two chains."""
    matcher = SequenceMatcher(None, kinds, others, autojunk=False)
    return tuple((i + k, j + k) for i, j, size in matcher.get_matching_blocks() for k in range(size))


def _chain_of(graph: Graph) -> _Chain:
    nodes = [node for node in graph.nodes if node.op in CONVOLUTIONS]
    kinds = [_kind(node.op, node.params["w"]) for node in nodes]
    return _Chain(tuple(kinds), tuple(node.params["w"][0] for node in nodes))


def _kind(op: str, w: Sequence[int]) -> str:
    return op if op == "pointwise_conv2d" else f"{op} {w[-2]}x{w[-1]}"


@lru_cache(maxsize=16384)
def _chain(name: str, width: float) -> _Chain:
    """The convolutions of a known network; the last has 0 channels."""
    widths = plan(find(name), width)
    rows = [("conv2d 3x3", widths.stem), *_of_blocks(widths)]
    rows += [("pointwise_conv2d", channels) for channels in (widths.last, widths.hidden) if channels]
    rows.append(("pointwise_conv2d", 0))
    kinds, channels = zip(*rows, strict=True)
    return _Chain(kinds, channels)


def _of_blocks(widths: Plan) -> list[tuple[str, int]]:
    rows: list[tuple[str, int]] = []
    for block in widths.blocks:
        if block.expand:
            rows.append(("pointwise_conv2d", block.expanded))
        rows.append((f"depthwise_conv2d {block.kernel}x{block.kernel}", block.expanded))
        if block.squeeze:
            rows += [("pointwise_conv2d", block.squeeze), ("pointwise_conv2d", block.expanded)]
        rows.append(("pointwise_conv2d", block.out))
    return rows
