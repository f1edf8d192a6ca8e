"""Bugs of stride, dilation, pooling, resizing, and of the order in which maps are laid out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import SHORT, Change, stood_for, with_attrs, with_op, without
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.padding import Pad, bordered, sliding, windows
from refnet.graph import Node, is_global
from refnet.ops import OPS, POOLS, RESIZES

Array = npt.NDArray[Any]

_NO_PAD = ((0, 0), (0, 0))
_CUBIC = (-0.75, -0.5)  # of PyTorch and OpenCV; of TensorFlow and Pillow
_LARGEST = 64  # factor of a resize
_PLACE = 4  # roundings of a place, and of the two weights that are made of it


def channels_last(segment: Segment) -> Iterator[Change]:
    """NHWC numbers under an NCHW shape.

    Source: https://github.com/PINTO0309/onnx2tf/issues/317
    """
    shape = segment.sizes.get(segment.end, ())
    if len(shape) == 3 and shape[1] * shape[2] > 1 and shape[0] > 1:
        yield Change(segment.end, view=lambda y: np.ascontiguousarray(y.transpose(0, 2, 3, 1)).reshape(y.shape))


def stride_place(segment: Segment) -> Iterator[Change]:
    """the stride in the wrong layer.

    One layer too early: every other pixel is dropped before the depthwise convolution.

    Source: https://github.com/shicai/MobileNet-Caffe/issues/67
    """
    for node in segment.nodes("depthwise_conv2d"):
        stride, pad = node.attrs["stride"], node.attrs["pad"]
        if stride == (1, 1) or node.inputs[0] not in segment.sizes:
            continue
        first = {"kernel": (1, 1), "stride": stride, "pad": _NO_PAD}
        early = Node(f"{node.name}.early", "avg_pool2d", node.inputs, {}, first)
        rows, columns = (k // 2 for k in node.params["w"][-2:])
        attrs = {**node.attrs, "stride": (1, 1), "pad": ((rows, rows), (columns, columns))}
        dense = replace(node, inputs=(early.name,), attrs=attrs)
        sides = segment.sizes[node.inputs[0]][1:]
        kept = tuple(-(-n // s) for n, s in zip(sides, stride, strict=True))
        if kept == windows(segment, node, pad):
            yield Change(node.name, facts={"stride": stride}, nodes={node.name: (early, dense)})


def stride_phase(segment: Segment) -> Iterator[Change]:
    """sampling starts at pixel 1, not 0."""
    for node in sliding(segment):
        if node.attrs["stride"] == (1, 1):
            continue
        (top, bottom), (left, right) = node.attrs["pad"]
        if top and left:
            later = ((top - 1, bottom + 1), (left - 1, right + 1))
            if windows(segment, node, later) == windows(segment, node, node.attrs["pad"]):
                yield Change(node.name, nodes=with_attrs(node, pad=later))


def dilation(segment: Segment) -> Iterator[Change]:
    """dilation dropped or added.

    The padding follows it, so that the map keeps its size; where it would not, `dilation_alone` is what is seen.

    Source: https://github.com/pytorch/vision/issues/7956
    """
    for node in segment.nodes("depthwise_conv2d"):
        if node.attrs["stride"] != (1, 1) or node.params["w"][-1] == 1:
            continue
        for form, facts, step in other_dilations(node):
            now, own = node.attrs["dilation"], node.attrs["pad"]
            pad = tuple(
                (before * to // of, after * to // of) for (before, after), to, of in zip(own, step, now, strict=True)
            )
            wider = [(points - 1) * (to - of) for points, to, of in zip(node.params["w"][-2:], step, now, strict=True)]
            if [sum(sides) for sides in pad] == [sum(sides) + by for sides, by in zip(own, wider, strict=True)]:
                yield Change(node.name, form, facts, nodes=with_attrs(node, dilation=step, pad=pad))


def other_dilations(node: Node) -> Iterator[tuple[str, dict[str, Any], tuple[int, int]]]:
    """A form and its facts with each: none, or one of 2 where there is none; along one axis alone, or twice as much."""
    now = node.attrs["dilation"]
    steps = [(2, 2)] if max(now) == 1 else [(1, 1), (now[0], 1), (1, now[1]), (2 * now[0], 2 * now[1])]
    for step in dict.fromkeys(steps):
        if step != now:
            even = step[0] == step[1] and now[0] == now[1]
            found, known = (step[0], now[0]) if even else (step, now)
            yield str(found), {"found": found, "known": known}, step


def pool_count(segment: Segment) -> Iterator[Change]:
    """a pool that takes in the zeros around its map, or that leaves them out.

    An average that counts its padding (count_include_pad), or a row more of it; a largest value that is none below 0.

    Source: https://github.com/onnx/onnx-tensorrt/issues/663
    """
    for node in segment.nodes(*POOLS):
        pad, zeros = node.attrs["pad"], segment.graph.by_name.get(node.inputs[0])
        if pad != _NO_PAD:
            yield Change(node.name, node.op, nodes={node.name: bordered(node, pad, "constant", 0.0)})
            continue
        if node.op != "avg_pool2d":
            continue
        if zeros is not None and zeros.op == "pad" and (zeros.attrs["mode"], zeros.attrs["value"]) == ("constant", 0.0):
            alone = replace(node, inputs=zeros.inputs, attrs={**node.attrs, "pad": zeros.attrs["pad"]})
            yield Change(node.name, "alone", nodes={node.name: (alone,)})
        kernel, around = node.attrs["kernel"], ((1, 1), (1, 1))
        border = Node(f"{node.name}.border", "pad", node.inputs, {}, {"pad": around, "mode": "constant", "value": 0.0})
        wide = replace(node, inputs=(border.name,), attrs={**node.attrs, "kernel": (kernel[0] + 2, kernel[1] + 2)})
        yield Change(node.name, nodes={node.name: (border, wide)})


def pool_ceil(segment: Segment) -> Iterator[Change]:
    """a number of windows rounded up, or down.

    A window that begins inside the map and ends outside it is kept where it is dropped, or the reverse.

    Source: https://github.com/onnx/onnx/issues/4958
    """
    for node in segment.nodes(*POOLS):
        if node.inputs[0] not in segment.sizes:
            continue
        sides, own = segment.sizes[node.inputs[0]][1:], node.attrs["pad"]
        axes = list(zip(sides, own, node.attrs["kernel"], node.attrs["stride"], strict=True))
        for form, rule in (("up", _kept), ("down", _dropped)):
            rows, columns = (rule(*axis) for axis in axes)
            pad = (rows, columns)
            counts = tuple(_count(n, after, k, s) for (n, _, k, s), after in zip(axes, pad, strict=True))
            resized = _resized(segment, node, pad, counts) if pad != own else None
            if resized is not None:
                nodes, shape = resized
                yield Change(node.name, form, {"windows": counts}, nodes=nodes, shape=shape)


def _count(n: int, pad: tuple[int, int], kernel: int, stride: int) -> int:
    """How many windows there are along an axis."""
    return (n + sum(pad) - kernel) // stride + 1


def _kept(n: int, pad: tuple[int, int], kernel: int, stride: int) -> tuple[int, int]:
    """The pad that lets in one more window, where that begins inside the map; as PyTorch's ceil_mode counts."""
    rest = (n + sum(pad) - kernel) % stride
    begins = _count(n, pad, kernel, stride) * stride
    return (pad[0], pad[1] + stride - rest) if rest and begins < n + pad[0] else pad


def _dropped(n: int, pad: tuple[int, int], kernel: int, stride: int) -> tuple[int, int]:
    """The pad without what is there for a last window only."""
    even = (pad[0], min(pad))
    return even if _count(n, even, kernel, stride) < _count(n, pad, kernel, stride) else pad


def _resized(
    segment: Segment, pool: Node, pad: Pad, counts: tuple[int, ...]
) -> tuple[dict[str, tuple[Node, ...]], tuple[int, ...] | None] | None:
    """The nodes with a pool that makes a map of another size, and the shape that the end then has, if another.

    None where a later node cannot go on with such a map. A later global pool pools all of it.
    """
    nodes, changed = with_attrs(pool, pad=pad), {pool.name}
    for node in segment.graph.nodes:
        if not changed & set(node.inputs):
            continue
        if node.op == "avg_pool2d" and is_global(node, segment.sizes[node.inputs[0]]):
            nodes |= with_attrs(node, kernel=counts)
        elif node.op in ("pointwise_conv2d", "batch_norm") or _elementwise(node):
            changed.add(node.name)
        elif node.op in RESIZES:  # what it makes has a size of its own
            continue
        else:
            return None
    channels = segment.sizes[segment.end][0]
    return nodes, (segment.batch, channels, *counts) if segment.end in changed else None


def _elementwise(node: Node) -> bool:
    """Whether each number of a node's result is made of one number of its input, by the same rule."""
    return (OPS[node.op].kind in ("activation", "gate") and not node.params) or node.op == "affine"


def resize_corners(segment: Segment) -> Iterator[Change]:
    """another way of resizing.

    Corners are aligned where they are not, or the reverse; or neither corners nor centres, as TensorFlow 1 has it; or
    nothing is mixed at all; or more is, by a cubic kernel; or the factor is another than that of the sizes; or zeros
    are mixed in at the border, as by a transposed convolution.

    Source: https://github.com/pytorch/pytorch/issues/10604
    """
    for node in filter(segment.asks, segment.nodes("resize_bilinear")):
        other = not node.attrs["align_corners"]
        nodes = with_attrs(node, align_corners=other)
        yield Change(node.name, str(other), {"found": other, "known": not other}, nodes=nodes)
        legacy = with_op(node, "resize_legacy", size=node.attrs["size"])
        yield Change(node.name, "asymmetric", nodes=legacy)
        for form, corners, centre in (
            ("nearest", False, False),
            ("nearest centre", False, True),
            ("nearest corners", True, False),
        ):
            attrs = {"size": node.attrs["size"], "align_corners": corners, "half_pixel": centre}
            yield Change(node.name, form, nodes=with_op(node, "resize_nearest", **attrs))
        if segment.candidate is not None:
            yield from _enlarged(segment, node)
            yield from _resampled(segment, node)


def _enlarged(segment: Segment, node: Node) -> Iterator[Change]:
    """A resize by a whole factor, of which what is over is cut off: by a kernel that takes its first point alone."""
    shape, size = segment.sizes.get(node.inputs[0], ()), node.attrs["size"]
    if len(shape) != 3:
        return
    ratio = max(outputs / side for side, outputs in zip(shape[1:], size, strict=True))
    power = 2 ** round(math.log2(ratio))
    for name, factor in {"factor": power, "factor above": math.ceil(ratio)}.items():
        wide = tuple(factor * side for side in shape[1:])
        over = tuple(made - outputs for made, outputs in zip(wide, size, strict=True))
        if min(over) < 0 or not max(over) or factor > _LARGEST or (name != "factor" and factor == power):
            continue
        w = np.zeros((shape[0], *(2 if rest else 1 for rest in over)))
        w[:, 0, 0] = 1
        spread = {"stride": (1, 1), "pad": _NO_PAD, "dilation": tuple(max(rest, 1) for rest in over)}
        for form, corners in ((name, False), (f"{name} corners", True)):
            whole = Node(f"{node.name}.whole", node.op, node.inputs, {}, {"size": wide, "align_corners": corners})
            cropped = Node(node.name, "depthwise_conv2d", (whole.name,), {"w": w.shape}, spread)
            params = {f"{node.name}.w": w}
            yield Change(node.name, form, {"times": factor}, nodes={node.name: (whole, cropped)}, params=params)


def _resampled(segment: Segment, node: Node) -> Iterator[Change]:
    """A resize by another kernel than the bilinear one."""
    sides, size = segment.sizes.get(node.inputs[0], ())[1:], node.attrs["size"]
    if len(sides) != 2 or max(sides) == 1:
        return
    own = [side / outputs for side, outputs in zip(sides, size, strict=True)]
    for a in _CUBIC:
        yield from _by_taps(segment, node, f"cubic {a:g}", {"a": a}, _taps(node, sides, own, partial(_cubic, a=a)))
    yield from _by_taps(segment, node, "border", {}, _taps(node, sides, own, beyond=False))


def _taps(
    node: Node,
    sides: Sequence[int],
    steps: Sequence[float],
    kernel: Callable[[Array], Array] | None = None,
    *,
    beyond: bool = True,
) -> list[Array]:
    """What of each row, and of each column, is in each of the result: by a kernel at centres of pixels so far apart.

    Parameters
    ----------
    kernel : None for the bilinear one
    beyond : whether the last rows and columns go on beyond the map; if not, zeros lie there
    """
    taps = []
    for side, outputs, step in zip(sides, node.attrs["size"], steps, strict=True):
        place = (np.arange(outputs) + 0.5) * step - 0.5
        place = np.clip(place, 0, side - 1) if kernel is None and beyond else place
        weights = np.zeros((outputs, side))
        for tap in range(-1, 3):
            at = np.floor(place).astype(int) + tap
            share = (kernel or _tent)(place - at) * (beyond | ((at >= 0) & (at < side)))
            np.add.at(weights, (np.arange(outputs), np.clip(at, 0, side - 1)), share)
        taps.append(weights)
    return taps


def _by_taps(segment: Segment, node: Node, form: str, facts: dict[str, Any], taps: Sequence[Array]) -> Iterator[Change]:
    """What such taps make of a map; behind many nodes at the end alone, where what they make of a run is seen."""
    if len(segment.graph) > SHORT:
        if node.name == segment.end:
            yield Change(node.name, form, facts, nodes=without(node), view=partial(_tapped, *taps), lone=True)
        return
    ((_, x),) = segment.values({node.inputs[0]})
    y, size = (_tapped(of(taps[0]), of(taps[1]), of(x.astype(np.float64))) for of in (np.asarray, np.abs))
    # A place is rounded in float32, and by as much of itself the weights of its neighbours.
    terms = _PLACE * max(node.attrs["size"])
    yield Change(node.name, form, facts, **stood_for(node, y, terms, size), lone=True)


def _tapped(rows: Array, columns: Array, x: Array) -> Array:
    made: Array = np.einsum("ph,nchw,qw->ncpq", rows, x, columns, optimize=True)
    return made


def _tent(x: Array) -> Array:
    made: Array = np.maximum(1 - np.abs(x), 0)
    return made


def _cubic(x: Array, a: float) -> Array:
    """Keys' cubic convolution kernel."""
    x = np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def flatten_order(segment: Segment) -> Iterator[Change]:
    """flattened channels last.

    What follows inside the segment must not care for the order.

    Source: https://github.com/keras-team/keras/issues/9696
    """
    for index, node in enumerate(segment.graph.nodes):
        shape = segment.sizes.get(node.inputs[0], ())
        if node.op != "flatten" or len(shape) != 3 or shape[0] == 1 or shape[1] * shape[2] == 1:
            continue
        if all(later.op == "softmax" or _elementwise(later) for later in segment.graph.nodes[index + 1 :]):
            yield Change(node.name, view=partial(_channels_last, shape=shape))


def _channels_last(y: Array, shape: tuple[int, int, int]) -> Array:
    return y.reshape(-1, *shape).transpose(0, 2, 3, 1).reshape(y.shape)
