"""The exercises of filters: full, depthwise, pointwise and separable convolutions, and SAME padding."""

from __future__ import annotations

from typing import Any

from refnet.graph import SOURCE, Node
from refnet.networks.plan import padding
from refnet.study.cases import Case, Draw, computed, reading_input, segment_of
from refnet.study.subjects import Padded

__all__ = ["of_conv2d", "of_depthwise", "of_pointwise", "of_same_padding", "of_separable", "window_attrs"]


def window_attrs(draw: Draw) -> tuple[tuple[int, int], tuple[int, int], dict[str, Any]]:
    """(size, kernel, attributes): every side another one, and at least one place for the kernel."""
    kernel, stride = draw.pair(1, 3, 2), draw.pair(1, 3, 2)
    pad = draw.pads(2 if not draw.small else 1)
    size = (draw.number(4, 8, 4), draw.number(5, 9, 5))
    return size, kernel, {"stride": stride, "pad": pad, "dilation": (1, 1)}


def of_conv2d(draw: Draw) -> Case:
    """A full convolution."""
    size, kernel, attrs = window_attrs(draw)
    N, C, K = draw.number(1, 2, 1), draw.number(1, 4, 2), draw.number(1, 4, 2)
    x, w, b = draw.array(N, C, *size), draw.array(K, C, *kernel), draw.array(K)
    node = Node("conv", "conv2d", (SOURCE,), {"w": w.shape, "b": b.shape}, attrs)
    subject = computed(reading_input(C, size, node), {"conv.w": w, "conv.b": b}, x)
    return Case({"x": x, "w": w, "b": b}, {"stride": attrs["stride"], "pad": attrs["pad"]}, subject)


def of_depthwise(draw: Draw) -> Case:
    """A depthwise convolution."""
    size, kernel, attrs = window_attrs(draw)
    N, C = draw.number(1, 2, 1), draw.number(1, 5, 2)
    x, w, b = draw.array(N, C, *size), draw.array(C, *kernel), draw.array(C)
    node = Node("depthwise", "depthwise_conv2d", (SOURCE,), {"w": w.shape, "b": b.shape}, attrs)
    subject = computed(reading_input(C, size, node), {"depthwise.w": w, "depthwise.b": b}, x)
    return Case({"x": x, "w": w, "b": b}, {"stride": attrs["stride"], "pad": attrs["pad"]}, subject)


def of_pointwise(draw: Draw) -> Case:
    """A pointwise convolution; every third case has as many channels out as in, and a square map."""
    size = (draw.number(1, 5, 2), draw.number(1, 6, 3))
    size = (size[0], size[0]) if draw.yes(0.3) else size
    N, C = draw.number(1, 2, 1), draw.number(1, 5, 3)
    K = C if draw.yes(0.4) else draw.number(1, 5, 3)
    x, w, b = draw.array(N, C, *size), draw.array(K, C), draw.array(K)
    node = Node("pointwise", "pointwise_conv2d", (SOURCE,), {"w": w.shape, "b": b.shape})
    subject = computed(reading_input(C, size, node), {"pointwise.w": w, "pointwise.b": b}, x)
    return Case({"x": x, "w": w, "b": b}, {}, subject)


def of_separable(draw: Draw) -> Case:
    """A depthwise convolution, then a pointwise one."""
    size, kernel, attrs = window_attrs(draw)
    N, C = draw.number(1, 2, 1), draw.number(1, 4, 2)
    K = C if draw.yes(0.4) else draw.number(1, 4, 3)
    x, d, p = draw.array(N, C, *size), draw.array(C, *kernel), draw.array(K, C)
    nodes = (
        Node("depthwise", "depthwise_conv2d", (SOURCE,), {"w": d.shape}, attrs),
        Node("pointwise", "pointwise_conv2d", ("depthwise",), {"w": p.shape}),
    )
    subject = computed(reading_input(C, size, *nodes), {"depthwise.w": d, "pointwise.w": p}, x)
    given = {"x": x, "depthwise_w": d, "pointwise_w": p}
    return Case(given, {"stride": attrs["stride"], "pad": attrs["pad"]}, subject)


def of_same_padding(draw: Draw) -> Case:
    """TensorFlow's SAME along one axis, as two numbers."""
    given = {"size": draw.number(3, 12), "kernel": draw.number(1, 5), "stride": draw.number(1, 3)}
    given["dilation"] = draw.number(1, 3) if draw.yes(0.4) else 1
    pad = padding("same", *given.values())
    node = Node(
        "conv",
        "depthwise_conv2d",
        (SOURCE,),
        {"w": (1, given["kernel"], 1)},
        {"stride": (given["stride"], 1), "pad": (pad, (0, 0)), "dilation": (given["dilation"], 1)},
    )
    x = draw.array(1, 1, given["size"], 1)
    graph = reading_input(1, (given["size"], 1), node)
    return Case(given, {}, Padded(segment_of(graph, {"conv.w": draw.array(1, given["kernel"], 1)}, x)))
