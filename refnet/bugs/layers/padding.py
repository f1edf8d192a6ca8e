"""Bugs of padding."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from refnet.bugs.language.changes import SHORT, Change, with_attrs
from refnet.bugs.language.segments import Grid, Segment
from refnet.graph import SOURCE, Node, is_global
from refnet.networks.plan import padding
from refnet.ops import POOLS, WINDOWED

Pad = tuple[tuple[int, int], tuple[int, int]]

_BYTES = {"integer 0": -128, "lowest integer": 0}  # the lowest integer of bytes in which the filling is stored as 0


def pad_same(segment: Segment) -> Iterator[Change]:
    """TF SAME for symmetric padding, or the reverse.

    Source: https://github.com/taehoonlee/tensornets/issues/25
    """
    for node in sliding(segment):
        yield from repadded(segment, node, padded(segment, node, "same"), "same")
        yield from repadded(segment, node, padded(segment, node, "symmetric"), "symmetric")


def pad_lower(segment: Segment) -> Iterator[Change]:
    """SAME_LOWER for SAME_UPPER.

    The odd point comes before instead of after.

    Source: https://github.com/microsoft/onnxruntime/issues/9370
    """
    for node in sliding(segment):
        rows, columns = padded(segment, node, "same")
        lower = ((rows[1], rows[0]), (columns[1], columns[0]))
        if lower != (rows, columns):
            yield from repadded(segment, node, lower, "")


def pad_split(segment: Segment) -> Iterator[Change]:
    """the padding split otherwise between the sides.

    Rows or columns alone, or each by itself: as many points in all, more of them before or after. Where kernels are of
    several sizes, all of them before or after is another number of points in each, and looked for in all at once.
    """
    nodes = [*sliding(segment)]
    several = len({_window(node)[0][-2:] for node in nodes}) > 1
    for node in nodes:
        own, rule = node.attrs["pad"], padded(segment, node, "same")
        others = {_before(rule), _before(padded(segment, node, "symmetric")), (rule[0][1], rule[1][1])}
        if all(step > 1 and pair[0] for step, pair in zip(node.attrs["stride"], own, strict=True)):
            others.add((own[0][0] - 1, own[1][0] - 1))  # a phase
        for found in sorted(_splits(own), key=lambda pad: sum(map(_moved, pad, own))):
            begin = _before(found)
            form = " ".join(f"{here - there:+d}" for here, there in zip(begin, _before(own), strict=True))
            for change in repadded(segment, node, found, form):  # a form of kernels of all sizes
                yield replace(change, joint=begin in others)
        for form, found in _on_one_side(own).items() if several else ():
            for change in repadded(segment, node, found, form):
                yield replace(change, many=True)


def _on_one_side(own: Pad) -> dict[str, Pad]:
    """Every point before or behind, along an axis or both."""
    (top, left), (rows, columns) = own, [((sum(each), 0), (0, sum(each))) for each in own]
    ways: dict[str, Pad] = {}
    for side, (down, across) in zip(("before", "behind"), zip(rows, columns, strict=True), strict=True):
        ways |= {side: (down, across), f"rows {side}": (down, left), f"columns {side}": (top, across)}
    return ways


def _before(pad: Pad) -> tuple[int, int]:
    """Where sampling begins, which is all that the pads of a map of one size decide."""
    return pad[0][0], pad[1][0]


def _moved(one: tuple[int, int], other: tuple[int, int]) -> int:
    return abs(one[0] - other[0])


def _splits(own: Pad) -> Iterator[Pad]:
    """Every pad of the same sum along each axis."""
    rows, columns = map(sum, own)
    for top, left in itertools.product(range(rows + 1), range(columns + 1)):
        yield (top, rows - top), (left, columns - left)


def pad_value(segment: Segment) -> Iterator[Change]:
    """padding filled with something other than zero.

    What mirrors the edge too is edge padding where one point is added: it is tried where some layer adds more.

    Source: https://github.com/apache/tvm/issues/4807
    """
    mirrors = ("symmetric",) if any(_is_wide(node.attrs["pad"]) for node in windowed(segment)) else ()
    for node in windowed(segment):
        own, same = node.attrs["pad"], padded(segment, node, "same")
        for rule, pad in (("", own), (" same", same)):
            if not any(map(any, pad)) or (
                rule and (pad == own or windows(segment, node, pad) != windows(segment, node, own))
            ):
                continue
            stored = _stored(segment.grids.get(node.inputs[0]), segment.grids.get(segment.end))
            constants = {"-1": -1.0, "1": 1.0} if node.inputs[0] not in segment.grids else stored
            fillings = [(form, "constant", value) for form, value in constants.items()] + [("edge", "edge", 0.0)]
            room = min(side - max(sides) for side, sides in zip(segment.sizes[node.inputs[0]][1:], pad, strict=True))
            fillings += [(mode, mode, 0.0) for mode in ("reflect", "wrap", *mirrors) if room >= (mode == "reflect")]
            for form, mode, value in fillings:
                if not rule or mode != "constant":
                    yield _filled(node, f"{form}{rule}", pad, mode, value)
        for change in _filled_along(node, segment.sizes[node.inputs[0]][1:]):
            yield replace(change, many=len(segment.graph) > SHORT)
        if node.inputs[0] == SOURCE and node.op == "conv2d" and segment.whole.recipe.preprocessing is not None:
            yield _black_border(segment, node)


def _is_wide(pad: Pad) -> bool:
    return max(map(max, pad)) > 1


def _stored(grid: Grid | None, result: Grid | None) -> dict[str, float]:
    """By form, what stands for zero where a port fills a map of integers with another one than its zero point."""
    if grid is None:
        return {}
    found = {form: grid.low - lowest * grid.step for form, lowest in _BYTES.items()}
    if result is not None:
        found["zero point of result"] = (grid.low / grid.step - result.low / result.step) * grid.step
    distinct: dict[int, tuple[str, float]] = {}
    for form, value in found.items():
        distinct.setdefault(round(value / grid.step), (form, value))
    return dict(each for steps, each in distinct.items() if steps)


def _filled(node: Node, form: str, pad: Pad, mode: str, value: float) -> Change:
    """A border of its own before a convolution that pads nothing."""
    return Change(node.name, form, {"found": pad}, nodes={node.name: bordered(node, pad, mode, value)})


def _filled_along(node: Node, sides: tuple[int, ...]) -> Iterator[Change]:
    """A border of its own along one axis: the columns of a panorama go round."""
    rows, columns = node.attrs["pad"]
    axes = {"rows": (rows, (0, 0)), "columns": ((0, 0), columns)}
    for (form, pad), rest, side in zip(axes.items(), reversed(axes.values()), sides, strict=True):
        modes = ("edge", "reflect", "wrap", *(("symmetric",) if _is_wide(pad) else ()))
        for mode in modes if any(map(any, pad)) and any(map(any, rest)) else ():
            if mode == "edge" or side - max(map(max, pad)) >= (mode == "reflect"):
                border, conv = bordered(node, pad, mode, 0.0)
                own = replace(conv, attrs={**conv.attrs, "pad": rest})
                yield Change(node.name, f"{mode} {form}", {"found": pad}, nodes={node.name: (border, own)})


def bordered(node: Node, pad: Pad, mode: str, value: float) -> tuple[Node, Node]:
    """What stands in a convolution's or pool's place: a border, and the same, which pads nothing."""
    border = Node(f"{node.name}.border", "pad", node.inputs, {}, {"pad": pad, "mode": mode, "value": value})
    return border, replace(node, inputs=(border.name,), attrs={**node.attrs, "pad": ((0, 0), (0, 0))})


def _black_border(segment: Segment, node: Node) -> Change:
    """A border of black pixels, which are not zero once mean and standard deviation are applied.

    conv(x with border v) = conv(x - v with border 0) + the sum of w v: a shift of the input and one of the bias.
    """
    pre = segment.whole.recipe.preprocessing
    assert pre is not None
    black = -np.array(pre.mean) / np.array(pre.std)
    w = segment.param(node, "w").astype(np.float64)
    bias = segment.param(node, "b") if "b" in node.params else 0.0
    biased = replace(node, params={**node.params, "b": (len(w),)})
    return Change(
        node.name,
        "black",
        nodes={node.name: (biased,)},
        params={f"{node.name}.b": bias + (w * black[:, None, None]).sum(axis=(1, 2, 3))},
        given={SOURCE: segment.given[SOURCE] - black[:, None, None]},
    )


def windowed(segment: Segment) -> Iterator[Node]:
    """The convolutions with kernels that read a map of known size (not what another bug has put before them)."""
    return (node for node in segment.nodes(*WINDOWED) if node.inputs[0] in segment.sizes)


def sliding(segment: Segment) -> Iterator[Node]:
    """These and the pools whose windows are smaller than their map."""
    nodes = (node for node in segment.nodes(*WINDOWED, *POOLS) if node.inputs[0] in segment.sizes)
    return (node for node in nodes if node.op in WINDOWED or not is_global(node, segment.sizes[node.inputs[0]]))


def windows(segment: Segment, node: Node, pad: Pad) -> tuple[int, ...]:
    """How large the output of a convolution or pool would be with these pads."""
    axes = zip(segment.sizes[node.inputs[0]][1:], pad, *_window(node), strict=True)
    return tuple((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, p, k, s, d in axes)


def _window(node: Node) -> tuple[tuple[int, ...], ...]:
    """Kernel, stride and dilation of a convolution or pool."""
    kernel = node.attrs["kernel"] if node.op in POOLS else node.params["w"][-2:]
    return kernel, node.attrs["stride"], node.attrs.get("dilation", (1, 1))


def padded(segment: Segment, node: Node, rule: str) -> Pad:
    """The pads that a convention gives this convolution or pool."""
    axes = zip(segment.sizes[node.inputs[0]][1:], *_window(node), strict=True)
    rows, columns = (padding(rule, *each) for each in axes)
    return rows, columns


def repadded(segment: Segment, node: Node, pad: Pad, form: str) -> Iterable[Change]:
    """The same convolution or pool with other pads, if it samples elsewhere and the output keeps its size."""
    own = node.attrs["pad"]
    elsewhere = any(other[0] != mine[0] for other, mine in zip(pad, own, strict=True))  # pads after only add room
    if elsewhere and windows(segment, node, pad) == windows(segment, node, own):
        yield Change(node.name, form, {"found": pad, "known": own}, nodes=with_attrs(node, pad=pad))
