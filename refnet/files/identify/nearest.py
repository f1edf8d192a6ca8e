"""A quick look at a graph: which known networks, at which width, can have the fewest differences from it?

Only the sequence of convolutions counts here, which table and width tell without a graph being built. A convolution
without a counterpart, another kernel and another number of channels is a difference each, whatever else there is: so no
network has fewer than are counted here, and one of which more are counted than another has need not be looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from heapq import heapify, heappop, heappush

import numpy as np
import numpy.typing as npt

from refnet.alignment.align import cheapest
from refnet.errors import RequestError
from refnet.files.identify.names import ROUNDING, ROUNDINGS, WIDTHS, most_usual
from refnet.graph import Graph
from refnet.networks.build import find
from refnet.networks.dialects import MODELS
from refnet.networks.plan import Plan, WidthRule, plan, rounding_to
from refnet.ops import CONVOLUTIONS, WINDOWED

__all__ = [
    "ConvolutionRow",
    "beginnings",
    "convolution_rows",
    "likely",
    "nearest_networks",
    "of_kernels",
    "rounded_otherwise",
]

# Convolutions that a beginning must have. Tuned: six are the first two or three blocks, where detectors cut first. They
# tell V1, V2 and V3 from one another but for V1 at its narrowest; MnasNet, whose blocks are V2's and V3's, is told by
# eleven.
_FEWEST = 6

Array = npt.NDArray[np.int64]
ConvolutionRow = tuple[str, tuple[int, ...], int]  # of a convolution: operation, kernel, channels that it makes


def likely(
    graph: Graph, model: str | None, width: float | None, most: Callable[[], float]
) -> Iterator[tuple[str, float]]:
    """Known networks, each at its best width, those first that can have the fewest differences.

    Parameters
    ----------
    model, width : as far as they are given
    most : how many differences are still of interest, once those before have been looked at

    Returns
    -------
    names and widths
    """
    rows = tuple(_rows_of(graph))
    classes = rows[-1][2]
    names = [name for name in MODELS if _meant(name, graph)] if model is None else [model]
    # How many convolutions with a kernel there are, and of which kernels, no width changes. A width is sought only
    # where it can matter: first one without any difference, then, if one is of interest, that with the fewest.
    windowed = _windowed(rows)
    heap: list[tuple[int, int, bool, float | None]] = [
        (_least(_windowed(convolution_rows(name, 1.0)), windowed), place, False, width)
        for place, name in enumerate(names)
    ]
    heapify(heap)
    while heap and heap[0][0] <= most():
        least, place, counted, at = heappop(heap)
        if counted and at is not None:
            yield names[place], at
            continue
        if at is None:
            at = _best_width(names[place], rows) if counted else _exact_width(names[place], rows)
        if at is None:
            heappush(heap, (max(least, 1), place, True, None))
        else:
            heappush(heap, (_least(_of_classes(convolution_rows(names[place], at), classes), rows), place, True, at))


def beginnings(graph: Graph, model: str | None, width: float | None) -> list[tuple[str, float, int]]:
    """Known networks that begin with the most of a graph's convolutions, if these are half of it.

    Parameters
    ----------
    model, width : as far as they are given

    Returns
    -------
    names, widths, and how many convolutions they share with the graph from the first on
    """
    rows = _rows_of(graph)
    found: list[tuple[str, float, int]] = []
    for name in [name for name in MODELS if _meant(name, graph)] if model is None else [model]:
        at, shared = max(
            ((at, _common(convolution_rows(name, at), rows)) for at in _widths(name, width)), key=lambda one: one[1]
        )
        found.append((name, at, shared))
    most = max(shared for *_, shared in found)
    if most < _FEWEST or 2 * most < len(rows):
        return []
    return [one for one in found if one[2] == most]


def of_kernels(graph: Graph) -> Iterator[str]:
    """Known networks with a graph's convolutions but for their channels."""
    own = [row[:2] for row in _rows_of(graph)]
    return (name for name in MODELS if _meant(name, graph) and [row[:2] for row in convolution_rows(name, 1.0)] == own)


def rounded_otherwise(graph: Graph, model: str) -> tuple[float, WidthRule] | None:
    """The width of a known network, and a rule that its vendor does not round by, with a graph's channels.

    None where no width has these channels; a usual width goes first.
    """
    return most_usual((found[0], found) for found in _rounded_otherwise(graph, model))


def _rounded_otherwise(graph: Graph, model: str) -> Iterator[tuple[float, WidthRule]]:
    rows, own = tuple(_rows_of(graph)), find(model)
    full, behind = plan(own, 1.0).blocks[-1].out, len(_head(plan(own, 1.0)))
    if len(rows) <= behind:
        return
    for divisor in ROUNDINGS:
        for width in (
            at for at in _widths(model, None) if abs(at * full - rows[-1 - behind][2]) <= max(ROUNDING, divisor.divisor)
        ):
            with suppress(RequestError):  # a layer without channels
                known = _rows_planned(plan(rounding_to(own, divisor), width))
                if _of_classes(known, rows[-1][2]) == rows:
                    yield width, divisor


def nearest_networks(
    rows: tuple[ConvolutionRow, ...], model: str | None, width: float | None, most: float
) -> list[tuple[int, str, float]]:
    """Known networks, each at its best width, that differ the least from convolutions: how much, name and width.

    Parameters
    ----------
    model, width : as far as they are given
    most : more differences than these are too many
    """
    names = [name for name in MODELS if MODELS[name].dialect.vendor != "refnet"] if model is None else [model]
    found = [(name, _best_width(name, rows) if width is None else width) for name in names]
    least = [(_least(_of_classes(convolution_rows(name, at), rows[-1][2]), rows), name, at) for name, at in found]
    return sorted((each for each in least if each[0] <= most), key=lambda each: (each[0], MODELS[each[1]].variant))


def _common(known: Sequence[ConvolutionRow], rows: Sequence[ConvolutionRow]) -> int:
    """How many convolutions two networks have in common from the first on, the layer of classes apart."""
    pairs = zip(known[:-1], rows, strict=False)
    return next((i for i, (mine, theirs) in enumerate(pairs) if mine != theirs), min(len(known) - 1, len(rows)))


def _rows_of(graph: Graph) -> list[ConvolutionRow]:
    return [
        (node.op, node.params["w"][-2:] if node.op in WINDOWED else (), node.params["w"][0])
        for node in graph.nodes
        if node.op in CONVOLUTIONS
    ]


def _widths(name: str, width: float | None) -> tuple[float, ...]:
    """A name that carries its width (mnasnet_050) means that one, unless the caller asks for another."""
    return (width,) if width is not None else WIDTHS if find(name).width == 1.0 else (1.0,)


def _meant(name: str, graph: Graph) -> bool:
    """The network that ships with refnet is V3-Small, and is only meant at its own size."""
    model = MODELS[name]
    return model.dialect.vendor != "refnet" or model.size == graph.recipe.size


def _exact_width(name: str, rows: Sequence[ConvolutionRow]) -> float | None:
    """The width with all of a file's convolutions but the layer of classes; None if there is none."""
    known = convolution_rows(name, 1.0)
    if len(known) != len(rows):
        return None
    widths = plan(find(name), 1.0)
    full, behind = widths.blocks[-1].out, len(_head(widths))
    found = rows[-1 - behind][2]  # what the last block makes
    near = (each for each in _widths(name, None) if abs(each * full - found) <= ROUNDING)
    return next((each for each in near if _of_classes(convolution_rows(name, each), rows[-1][2]) == tuple(rows)), None)


def _of_classes(rows: Sequence[ConvolutionRow], classes: int) -> tuple[ConvolutionRow, ...]:
    """The convolutions of a known network with so many classes."""
    return tuple((op, kernel, channels or classes) for op, kernel, channels in rows)


def _best_width(name: str, rows: Sequence[ConvolutionRow]) -> float:
    """The width with the fewest convolutions of either side that have no equal on the other, in whatever order."""
    places, lengths = _places(name)
    left = lengths.copy()
    for row, count in Counter(rows).items():
        if row in places:
            at, known = places[row].T
            left[at] -= 2 * np.minimum(count, known)
    return _widths(name, None)[left.argmin()]


def _windowed(rows: Sequence[ConvolutionRow]) -> tuple[ConvolutionRow, ...]:
    """The convolutions with a kernel, their channels left open."""
    return tuple((op, kernel, 0) for op, kernel, _ in rows if op in WINDOWED)


@lru_cache(maxsize=1024)
def _least(known: tuple[ConvolutionRow, ...], file: tuple[ConvolutionRow, ...]) -> int:
    """How many differences two sequences of convolutions have at least."""
    if known == file:
        return 0
    if not known or not file:
        return max(len(known), len(file))
    numbers: dict[object, int] = {}
    mine, theirs = (
        np.array([[numbers.setdefault(part, len(numbers)) for part in row] for row in rows]) for rows in (known, file)
    )
    op, kernel, channels = (mine[:, None, part] != theirs[None, :, part] for part in range(3))
    costs = np.where(op, 3, 1 * kernel + channels)  # of two operations: more than that both have no counterpart
    return cheapest(costs, np.ones(len(mine), np.int64), np.ones(len(theirs), np.int64))[0]


@cache
def _places(name: str) -> tuple[dict[ConvolutionRow, Array], Array]:
    """By convolution, at which places of its widths a known network has it, and how often; and how many it has there.

    A file has few of them: so each width need not be asked about each.
    """
    every = [convolution_rows(name, width) for width in _widths(name, None)]
    places: dict[ConvolutionRow, list[tuple[int, int]]] = {}
    for place, rows in enumerate(every):
        for row, count in Counter(rows).items():
            places.setdefault(row, []).append((place, count))
    return {row: np.array(found) for row, found in places.items()}, np.array([len(rows) for rows in every])


@lru_cache(maxsize=16384)
def convolution_rows(name: str, width: float) -> tuple[ConvolutionRow, ...]:
    """The convolutions of a known network in order; those that make as many channels as there are classes, here 0."""
    return _rows_planned(plan(find(name), width))


def _rows_planned(widths: Plan) -> tuple[ConvolutionRow, ...]:
    rows: list[ConvolutionRow] = [("conv2d", (3, 3), widths.stem)]
    pointwise: list[int]
    for block in widths.blocks:
        pointwise = [block.expanded] if block.expand else []
        rows += [("pointwise_conv2d", (), channels) for channels in pointwise]
        rows.append(("depthwise_conv2d", (block.kernel, block.kernel), block.expanded))
        pointwise = [block.squeeze, block.expanded, block.out] if block.squeeze else [block.out]
        rows += [("pointwise_conv2d", (), channels) for channels in pointwise]
    return (*rows, *(("pointwise_conv2d", (), channels) for channels in _head(widths)))


def _head(widths: Plan) -> list[int]:
    """The channels of the pointwise convolutions behind the last block, 0 for the classes."""
    if widths.decoder:
        return [widths.last, widths.decoder, widths.decoder, 0, 0]
    return [*filter(None, (widths.last, widths.hidden)), 0]
