"""Bugs of padding, stride, dilation, kernels and the order of channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.segments import Segment, Variation, run
from refnet.graph import SOURCE, Node
from refnet.networks.dialects import MODELS
from refnet.networks.plan import padding
from refnet.ops import CONVOLUTIONS

Array = npt.NDArray[Any]
Pad = tuple[tuple[int, int], tuple[int, int]]

_NOTHING = 1e-9  # of the square error of the worst channel: what rounding leaves in the others
_SPATIAL = ("conv2d", "depthwise_conv2d")


def _spatial(segment: Segment) -> Iterator[Node]:
    """The convolutions with kernels that read a map of known size (not what another bug has put before them)."""
    return (node for node in segment.nodes(*_SPATIAL) if node.inputs[0] in segment.sizes)


def _padded(segment: Segment, node: Node, rule: str) -> Pad:
    """The pads that a convention gives this convolution."""
    sides = segment.sizes[node.inputs[0]][1:]
    kernel, stride, dilation = node.params["w"][-2:], node.attrs["stride"], node.attrs["dilation"]
    rows, columns = (padding(rule, *each) for each in zip(sides, kernel, stride, dilation, strict=True))
    return rows, columns


def _outputs(segment: Segment, node: Node, pad: Pad) -> tuple[int, ...]:
    """How large the output would be with these pads."""
    sides = segment.sizes[node.inputs[0]][1:]
    return tuple(
        (n + sum(p) - (k - 1) * d - 1) // s + 1
        for n, p, k, s, d in zip(
            sides, pad, node.params["w"][-2:], node.attrs["stride"], node.attrs["dilation"], strict=True
        )
    )


def _repadded(segment: Segment, node: Node, pad: Pad, what: str) -> Iterator[Variation]:
    """The same convolution with other pads, if it samples elsewhere and the output keeps its size."""
    own = node.attrs["pad"]
    elsewhere = any(other[0] != mine[0] for other, mine in zip(pad, own, strict=True))  # pads after only add room
    if elsewhere and _outputs(segment, node, pad) == _outputs(segment, node, own):
        detail = f"the padding is {what} {_short(pad)} instead of {_short(own)}"
        yield Variation(node.name, detail, segment.with_attrs(node, pad=pad))


def _short(pad: Pad) -> str:
    return str(pad[0]) if pad[0] == pad[1] else str(pad)


def pad_same(segment: Segment) -> Iterator[Variation]:
    """TensorFlow's SAME for symmetric padding, and the reverse."""
    for node in _spatial(segment):
        yield from _repadded(segment, node, _padded(segment, node, "same"), "TF SAME")
        yield from _repadded(segment, node, _padded(segment, node, "symmetric"), "symmetric")


def pad_lower(segment: Segment) -> Iterator[Variation]:
    """SAME_LOWER: the odd point before instead of after."""
    for node in _spatial(segment):
        rows, columns = _padded(segment, node, "same")
        lower = ((rows[1], rows[0]), (columns[1], columns[0]))
        if lower != (rows, columns):
            yield from _repadded(segment, node, lower, "SAME_LOWER")


def pad_value(segment: Segment) -> Iterator[Variation]:
    """A border of something other than zeros."""
    for node in _spatial(segment):
        pad = node.attrs["pad"]
        if not any(map(any, pad)):
            continue
        fillings: list[tuple[str, float]] = [("edge", 0.0), ("constant", -1.0), ("constant", 1.0)]
        if all(side > max(sides) for side, sides in zip(segment.sizes[node.inputs[0]][1:], pad, strict=True)):
            fillings.append(("reflect", 0.0))
        for mode, value in fillings:
            border = Node(f"{node.name}.border", "pad", node.inputs, {}, {"pad": pad, "mode": mode, "value": value})
            bare = replace(node, inputs=(border.name,), attrs={**node.attrs, "pad": ((0, 0), (0, 0))})
            what = f"filled with {value:g}" if mode == "constant" else f"of mode {mode}"
            yield Variation(
                node.name, f"the padding is {what} instead of zeros", segment.with_nodes(node, border, bare)
            )
        if node.inputs[0] == SOURCE and node.op == "conv2d" and segment.whole.recipe.model in MODELS:
            yield _black_border(segment, node)


def _black_border(segment: Segment, node: Node) -> Variation:
    """A border of black pixels, which are not zero once mean and standard deviation are applied.

    conv(x with border v) = conv(x - v with border 0) + the sum of w v: a shift of the input and one of the bias.
    """
    pre = MODELS[segment.whole.recipe.model].dialect.preprocessing
    black = -np.array(pre.mean) / np.array(pre.std)
    w = segment.param(node, "w").astype(np.float64)
    bias = segment.param(node, "b") if "b" in node.params else 0.0
    moved = replace(segment, given={**segment.given, SOURCE: segment.given[SOURCE] - black[:, None, None]})
    moved = moved.with_params(node, b=bias + (w * black[:, None, None]).sum(axis=(1, 2, 3)))
    biased = replace(node, params={**node.params, "b": (len(w),)})
    return Variation(node.name, "the padding is black, -mean/std, instead of zeros", moved.with_nodes(node, biased))


def kernel_flip(segment: Segment) -> Iterator[Variation]:
    """True convolution: the kernel turned by 180 degrees."""
    for node in segment.nodes(*_SPATIAL):
        w = segment.param(node, "w")[..., ::-1, ::-1]
        yield Variation(node.name, "the kernel is turned by 180 degrees", segment.with_params(node, w=w))


def kernel_transpose(segment: Segment) -> Iterator[Variation]:
    """Height and width of the kernel exchanged."""
    for node in segment.nodes(*_SPATIAL):
        w = segment.param(node, "w")
        if w.shape[-1] == w.shape[-2]:
            moved = segment.with_params(node, w=w.swapaxes(-1, -2))
            yield Variation(node.name, "height and width of the kernel are exchanged", moved)


def depthwise_axes(segment: Segment) -> Iterator[Variation]:
    """Depthwise weights read in another axis order than they lie in."""
    for node in segment.nodes("depthwise_conv2d"):
        w = segment.param(node, "w")
        C, R, S = w.shape
        for words, other in (
            ("(R, S, C) weights are read as (C, R, S)", w.transpose(1, 2, 0).reshape(w.shape)),
            ("(C, R, S) weights are read as (R, S, C)", w.reshape(R, S, C).transpose(2, 0, 1)),
        ):
            yield Variation(node.name, words, segment.with_params(node, w=other))


def weights_transpose(segment: Segment) -> Iterator[Variation]:
    """Weights of a dense or pointwise convolution read with inputs and outputs exchanged."""
    for node in segment.nodes("conv2d", "pointwise_conv2d"):
        w = segment.param(node, "w")
        K, C = w.shape[:2]
        if node.op == "conv2d":
            read = segment.with_params(node, w=w.transpose(2, 3, 1, 0).reshape(w.shape))
            yield Variation(node.name, "HWIO weights are read as OIHW", read)
        elif K > 1 and C > 1:
            words = f"({C}, {K}) weights are read as ({K}, {C})"
            yield Variation(node.name, words, segment.with_params(node, w=w.T.reshape(K, C)))
            if K != C:
                other = w.reshape(C, K).T
                yield Variation(
                    node.name, f"({K}, {C}) weights are read as ({C}, {K})", segment.with_params(node, w=other)
                )


def channel_permute(segment: Segment) -> Iterator[Variation]:
    """Two channels, or the halves of all channels, exchanged."""
    for node in segment.nodes(*CONVOLUTIONS):
        K = node.params["w"][0]
        if K < 2:
            continue
        orders: dict[str, Array] = {
            f"channels {i} and {j} are exchanged": _exchanged(K, i, j) for i, j in _suspects(segment, K)
        }
        if K % 2 == 0:
            orders["the halves of the channels are exchanged"] = np.roll(np.arange(K), K // 2)
        for words, order in orders.items():
            arrays = {slot: segment.param(node, slot)[order] for slot in node.params}
            yield Variation(node.name, words, segment.with_params(node, **arrays))


def _suspects(segment: Segment, K: int) -> list[tuple[int, int]]:
    """Which two channels: the two that are furthest off; without a candidate, the first two.

    Where only one is off, the other is one that shows nothing: its inputs are zero throughout.
    """
    if segment.candidate is None or K == 2:
        return [(0, 1)]
    y = run(segment)
    if y.shape != segment.candidate.shape or y.ndim < 2 or y.shape[1] != K:
        return []
    error = np.square(segment.candidate - y).reshape(*y.shape[:2], -1).sum(axis=(0, 2))
    first, second = (int(k) for k in np.argsort(-error, kind="stable")[:2])
    if error[second] > _NOTHING * error[first]:
        return [(min(first, second), max(first, second))]
    silent = [k for k in range(K) if k != first and np.ptp(y[:, k]) == 0]
    return [(min(first, k), max(first, k)) for k in silent[:8]]


def _exchanged(K: int, i: int, j: int) -> Array:
    order = np.arange(K)
    order[[i, j]] = j, i
    return order


def channels_last(segment: Segment) -> Iterator[Variation]:
    """The right numbers in NHWC order under an NCHW shape."""
    shape = segment.sizes.get(segment.end, ())
    if len(shape) == 3 and shape[1] * shape[2] > 1 and shape[0] > 1:
        moved = segment.with_view(lambda y: np.ascontiguousarray(y.transpose(0, 2, 3, 1)).reshape(y.shape))
        yield Variation(segment.end, "the tensor is right but lies in NHWC order under an NCHW shape", moved)


def stride_place(segment: Segment) -> Iterator[Variation]:
    """The stride taken one layer too early: every other pixel dropped before the depthwise convolution."""
    for node in segment.nodes("depthwise_conv2d"):
        stride, pad = node.attrs["stride"], node.attrs["pad"]
        if stride == (1, 1) or node.inputs[0] not in segment.sizes:
            continue
        early = Node(
            f"{node.name}.early",
            "avg_pool2d",
            node.inputs,
            {},
            {"kernel": (1, 1), "stride": stride, "pad": ((0, 0), (0, 0))},
        )
        reach = tuple(k // 2 for k in node.params["w"][-2:])
        around = ((reach[0], reach[0]), (reach[1], reach[1]))
        dense = replace(node, inputs=(early.name,), attrs={**node.attrs, "stride": (1, 1), "pad": around})
        sides = segment.sizes[node.inputs[0]][1:]
        kept = tuple(-(-n // s) for n, s in zip(sides, stride, strict=True))
        if kept == _outputs(segment, node, pad):
            words = f"the stride {stride} is taken before this layer, not in it"
            yield Variation(node.name, words, segment.with_nodes(node, early, dense))


def stride_phase(segment: Segment) -> Iterator[Variation]:
    """Sampling from the second pixel on."""
    for node in _spatial(segment):
        if node.attrs["stride"] == (1, 1):
            continue
        (top, bottom), (left, right) = node.attrs["pad"]
        if top and left:
            later = ((top - 1, bottom + 1), (left - 1, right + 1))
            if _outputs(segment, node, later) == _outputs(segment, node, node.attrs["pad"]):
                words = "sampling starts one pixel later"
                yield Variation(node.name, words, segment.with_attrs(node, pad=later))


def dilation(segment: Segment) -> Iterator[Variation]:
    """Dilation dropped where there is one, 2 where there is none."""
    for node in segment.nodes("depthwise_conv2d"):
        if node.attrs["stride"] != (1, 1) or node.params["w"][-1] == 1:
            continue
        now = node.attrs["dilation"][0]
        other = 1 if now > 1 else 2
        rows, columns = ((before * other // now, after * other // now) for before, after in node.attrs["pad"])
        changed = segment.with_attrs(node, dilation=(other, other), pad=(rows, columns))
        yield Variation(node.name, f"the dilation is {other} instead of {now}", changed)
