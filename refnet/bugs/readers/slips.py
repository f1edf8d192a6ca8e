"""Slips of a first program: what a reader of an exercise writes, and few ports live with.

They are of the catalogue as all others are, but are replayed on ports only where nothing else fits. Some make values
that no nodes make; then the values stand in the place of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change, identity, stood_for, with_attrs, with_op, without
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.padding import windowed, windows
from refnet.graph import SOURCE, Node
from refnet.ops import ACTIVATIONS, CONVOLUTIONS, GATES

Array = npt.NDArray[Any]

_ACTS = ("relu", "relu6", "hard_swish")


def pad_sides(segment: Segment) -> Iterator[Change]:
    """pads taken for other sides."""
    for node in windowed(segment):
        (top, bottom), (left, right) = own = node.attrs["pad"]
        ways = {
            "axes": ((left, right), (top, bottom)),
            "before": ((top, top), (left, left)),
            "after": ((bottom, bottom), (right, right)),
            "reversed": ((bottom, top), (right, left)),
            "rows": ((top, bottom), (top, bottom)),
            "columns": ((left, right), (left, right)),
            "one": ((top, top), (top, top)),
            "only before": ((top, 0), (left, 0)),
            "only after": ((0, bottom), (0, right)),
        }
        for form, pad in ways.items():
            if pad != own:
                yield Change(node.name, form, {"found": pad, "known": own}, nodes=with_attrs(node, pad=pad))


def pad_late(segment: Segment) -> Iterator[Change]:
    """windows that begin at the image, not at its border.

    There are as many as with the padding, so that all of it lies behind the image.
    """
    for node in windowed(segment):
        pad = tuple((0, sum(side)) for side in node.attrs["pad"])
        if pad != node.attrs["pad"]:
            yield Change(node.name, nodes=with_attrs(node, pad=pad))


def window_wraps(segment: Segment) -> Iterator[Change]:
    """points before the image taken from its other end.

    A negative index counts from the end.
    """
    for node in windowed(segment):
        (top, bottom), (left, right) = node.attrs["pad"]
        if top or left:
            attrs = {"pad": ((top, 0), (left, 0)), "mode": "wrap", "value": 0.0}
            border = Node(f"{node.name}.border", "pad", node.inputs, {}, attrs)
            rest = {**node.attrs, "pad": ((0, bottom), (0, right))}
            yield Change(node.name, nodes={node.name: (border, replace(node, inputs=(border.name,), attrs=rest))})


def stride_sides(segment: Segment) -> Iterator[Change]:
    """strides taken for other sides."""
    for node in windowed(segment):
        own = down, right = node.attrs["stride"]
        ways = {"axes": (right, down), "height": (down, down), "width": (right, right)}
        for form, stride in ways.items():
            if stride != own:
                yield Change(node.name, form, {"found": stride, "known": own}, nodes=with_attrs(node, stride=stride))


def window_count(segment: Segment) -> Iterator[Change]:
    """windows fewer than there are, or not made."""
    if len(segment.sizes.get(segment.end, ())) == 3 and any(windowed(segment)):
        cuts = {"both": (1, 1), "rows": (1, 0), "columns": (0, 1)}
        for form, (rows, columns) in cuts.items():
            yield Change(segment.end, f"{form} fewer", view=partial(_fewer, rows=rows, columns=columns))
            yield Change(segment.end, f"{form} empty", view=partial(_empty, rows=rows, columns=columns))
        node = next(windowed(segment))
        inner = windows(segment, node, ((0, 0), (0, 0)))
        if min(inner) > 0 and inner != windows(segment, node, node.attrs["pad"]):
            yield Change(node.name, "unpadded", view=lambda y: y[..., : inner[0], : inner[1]])


def _fewer(y: Array, rows: int, columns: int) -> Array:
    return y[..., : y.shape[-2] - rows, : y.shape[-1] - columns]


def _empty(y: Array, rows: int, columns: int) -> Array:
    y = y.copy()
    y[..., y.shape[-2] - rows :, :] = 0
    y[..., y.shape[-1] - columns :] = 0
    return y


def bias_each(segment: Segment) -> Iterator[Change]:
    """a bias added more than once.

    For every point of the window, for those inside the image, or for every channel.
    """
    for node in segment.nodes(*CONVOLUTIONS):
        if "b" not in node.params:
            continue
        w, b = segment.param(node, "w").astype(np.float64), segment.param(node, "b").astype(np.float64)
        rest = w.shape[1:]
        times = {"terms": int(np.prod(rest)), "kernel": int(np.prod(rest[-2:])), "channels": rest[0]}
        for form, count in times.items():
            if count > 1:
                yield Change(node.name, form, {"count": count}, params={f"{node.name}.b": b * count})
        if node.op == "pointwise_conv2d":
            continue
        each = np.broadcast_to(b.reshape(-1, *(1,) * len(rest)), w.shape)
        for form, own in (("inside", each), ("inside points", each / (rest[0] if len(rest) == 3 else 1))):
            yield Change(node.name, form, nodes=_counted(node), params={f"{node.name}.counts.w": own})


def _counted(node: Node) -> dict[str, tuple[Node, ...]]:
    """A convolution without its bias, plus one of ones: a sum over the points inside the image."""
    w = {"w": node.params["w"]}
    bare = replace(node, name=f"{node.name}.bare", params=w)
    ones = Node(f"{node.name}.ones", "affine", node.inputs, {}, {"slope": 0.0, "offset": 1.0})
    counts = replace(node, name=f"{node.name}.counts", inputs=(ones.name,), params=w)
    return {node.name: (bare, ones, counts, Node(node.name, "add", (bare.name, counts.name)))}


def bias_negated(segment: Segment) -> Iterator[Change]:
    """a bias subtracted."""
    for node in segment.nodes(*CONVOLUTIONS):
        if "b" in node.params:
            yield Change(node.name, params={f"{node.name}.b": -segment.param(node, "b")})


def channels_skipped(segment: Segment) -> Iterator[Change]:
    """one input channel in place of all."""
    for node in segment.nodes("conv2d", "pointwise_conv2d"):
        w = segment.param(node, "w")
        for form, kept in (("first", 0), ("last", w.shape[1] - 1)):
            if w.shape[1] > 1:
                mask = (np.arange(w.shape[1]) == kept).reshape(1, -1, *(1,) * (w.ndim - 2))
                yield Change(node.name, form, params={f"{node.name}.w": w * mask})


def channels_summed(segment: Segment) -> Iterator[Change]:
    """channels summed up by a convolution that is depthwise."""
    for node in segment.nodes("depthwise_conv2d"):
        w = segment.param(node, "w").astype(np.float64)
        C = len(w)
        dense = replace(node, op="conv2d", params={**node.params, "w": (C, C, *w.shape[1:])})
        for form, axis in (("each", 0), ("input", 1)):
            full = np.repeat(np.expand_dims(w, axis), C, axis=axis)
            if C > 1:
                yield Change(node.name, form, nodes={node.name: (dense,)}, params={f"{node.name}.w": full})


def kernel_alone(segment: Segment) -> Iterator[Change]:
    """the first kernel for every channel."""
    for node in segment.nodes(*CONVOLUTIONS):
        w = segment.param(node, "w")
        if len(w) > 1:
            yield Change(node.name, params={f"{node.name}.w": np.repeat(w[:1], len(w), axis=0)})


def weights_unused(segment: Segment) -> Iterator[Change]:
    """weights left out: everything is summed as it is."""
    for node in segment.nodes(*CONVOLUTIONS):
        yield Change(node.name, params={f"{node.name}.w": np.ones(node.params["w"])})


def layer_missing(segment: Segment) -> Iterator[Change]:
    """a layer left out."""
    if len(segment.graph) > 1:
        for node in segment.nodes(*CONVOLUTIONS):
            yield Change(node.name, nodes=without(node))


def sum_averaged(segment: Segment) -> Iterator[Change]:
    """a mean in place of a sum."""
    for node in segment.nodes(*CONVOLUTIONS):
        w = segment.param(node, "w").astype(np.float64)
        counts = {"terms": int(np.prod(w.shape[1:])), "kernel": int(np.prod(w.shape[-2:])), "channels": w.shape[1]}
        for form, count in counts.items():
            if count > 1 and (form == "terms" or w.ndim == 4):
                yield Change(node.name, form, {"count": count}, params={f"{node.name}.w": w / count})


def weights_reversed(segment: Segment) -> Iterator[Change]:
    """weights in reverse order.

    Outputs, or the inputs of each; or one that is turned the wrong way: its sign, its point.
    """
    for node in segment.nodes(*CONVOLUTIONS):
        w = segment.param(node, "w")
        ways = {"outputs": w[::-1], "sizes": np.abs(w), "signs": -w}
        if w.ndim != 3:
            ways["inputs"] = w[:, ::-1]
        if w.ndim > 2:
            last = np.zeros(w.shape[-2:])
            last[-1, -1] = 1
            ways |= {"rows": w[..., ::-1, :], "columns": w[..., ::-1], "last point": w * last}
            ways |= {"transposed": w.swapaxes(-1, -2)} if w.shape[-1] == w.shape[-2] else {}
        for form, other in ways.items():
            yield Change(node.name, form, params={f"{node.name}.w": np.ascontiguousarray(other)})


def bias_spread(segment: Segment) -> Iterator[Change]:
    """one number in place of each channel's bias."""
    for node in segment.nodes(*CONVOLUTIONS):
        if "b" in node.params:
            b = segment.param(node, "b").astype(np.float64)
            for form, one in {"sum": b.sum(), "mean": b.mean(), "first": b[0], "last": b[-1]}.items():
                yield Change(node.name, form, params={f"{node.name}.b": np.full(b.shape, one)})
            yield Change(node.name, "reversed", params={f"{node.name}.b": b[::-1]})


def act_limits(segment: Segment) -> Iterator[Change]:
    """an activation with other ends, or a slope below zero."""
    for node in segment.nodes("relu", "relu6"):
        for high in (1.0, 3.0):
            yield Change(node.name, f"{high:g}", {"high": high}, nodes=with_op(node, "clip", low=0.0, high=high))
        for slope in (0.01, 0.1, 0.2):
            yield Change(
                node.name, f"leaky {slope:g}", {"below": slope}, nodes=with_op(node, "leaky_relu", slope=slope)
            )
        yield Change(node.name, "tanh", nodes=with_op(node, "tanh"))
        yield Change(node.name, "sigmoid", nodes=with_op(node, "sigmoid"))


def sum_kept(segment: Segment) -> Iterator[Change]:
    """a sum that goes on from one place to the next, since it is not set to zero."""
    node = segment.graph.nodes[-1]
    if node.op in CONVOLUTIONS and "b" in node.params:
        b = segment.param(node, "b").astype(np.float64)[:, None, None]
        yield Change(node.name, "bias apart", view=lambda y: np.cumsum(y - b).reshape(y.shape) + b)
    if node.op in CONVOLUTIONS:
        yield Change(node.name, "all", view=lambda y: np.cumsum(y).reshape(y.shape))


def sum_overwritten(segment: Segment) -> Iterator[Change]:
    """the last product in place of the sum: = where += should be.

    Over a window, that of its last point inside the image.
    """
    for node in segment.nodes(*CONVOLUTIONS):
        source, w = node.inputs[0], segment.param(node, "w").astype(np.float64)
        for _, x in segment.values({source}):
            made = _last_of(node, x, w)
            if made is None:
                continue
            b = segment.param(node, "b").astype(np.float64)[:, None, None] if "b" in node.params else 0.0
            for form, bias in {"all": 0.0, **({"bias apart": b} if "b" in node.params else {})}.items():
                yield Change(node.name, form, **stood_for(node, made + bias, 2, np.abs(made) + np.abs(bias)), fed=True)


def _last_of(node: Node, x: Array, w: Array) -> Array | None:
    """The last product of each sum, over the channels last of all where there are several."""
    if node.op == "pointwise_conv2d":
        made: Array = np.einsum("nhv,k->nkhv", x[:, -1], w[:, -1])
        return made
    if node.op not in ("conv2d", "depthwise_conv2d"):
        return None
    R, S = w.shape[-2:]
    (top, bottom), (left, right) = node.attrs["pad"]
    down, along = node.attrs["stride"]
    H, W = x.shape[2:]
    P, Q = (H + top + bottom - R) // down + 1, (W + left + right - S) // along + 1
    y = np.zeros((len(x), len(w), P, Q))
    for p, q, r, s in np.ndindex(P, Q, R, S):
        h, v = p * down - top + r, q * along - left + s
        if 0 <= h < H and 0 <= v < W:
            y[:, :, p, q] = x[:, :, h, v] * w[:, r, s] if w.ndim == 3 else x[:, -1:, h, v] * w[:, -1, r, s]
    return y


def act_extra(segment: Segment) -> Iterator[Change]:
    """an activation where there is none."""
    for node in segment.graph.nodes:
        readers = segment.graph.readers()[node.name]
        behind = {reader.op for reader in readers}
        if node.op in (*ACTIVATIONS, *GATES) or behind & {*ACTIVATIONS, *GATES, "batch_norm"}:
            continue
        for act in _ACTS:
            plain = replace(node, name=f"{node.name}.plain")
            nodes = {node.name: (plain, Node(node.name, act, (plain.name,)))}
            yield Change(node.name, act, {"act": act}, nodes=nodes)


def act_early(segment: Segment) -> Iterator[Change]:
    """the activation before batch norm."""
    for unit in segment.graph.units():
        if unit.norm is not None and unit.act is not None:
            first = replace(unit.act, name=unit.norm.name, inputs=unit.norm.inputs)
            moved = {f"{unit.act.name}.{slot}": segment.param(unit.norm, slot) for slot in unit.norm.params}
            last = replace(unit.norm, name=unit.act.name, inputs=(unit.norm.name,))
            yield Change(unit.act.name, nodes={unit.norm.name: (first,), unit.act.name: (last,)}, params=moved)


def pool_other(segment: Segment) -> Iterator[Change]:
    """another summary than the mean of the map."""
    for node in segment.nodes("avg_pool2d"):
        count = node.attrs["kernel"][0] * node.attrs["kernel"][1]
        yield Change(node.name, "largest", nodes=with_op(node, "max_pool2d", **node.attrs))
        mean = replace(node, name=f"{node.name}.mean")
        total = Node(node.name, "affine", (mean.name,), {}, {"slope": float(count), "offset": 0.0})
        yield Change(node.name, "sum", nodes={node.name: (mean, total)})
        for _, x in segment.values({node.inputs[0]}):
            for form, axes in (("batch", (0, 2, 3)), ("channels", (1, 2, 3))):
                y = np.broadcast_to(x.mean(axis=axes, keepdims=True), (*x.shape[:2], 1, 1))
                size = np.broadcast_to(np.abs(x).mean(axis=axes, keepdims=True), y.shape)
                yield Change(node.name, form, **stood_for(node, y, x.size, size), fed=True)


def scale_other(segment: Segment) -> Iterator[Change]:
    """a gate that is not multiplied by."""
    for node in segment.nodes("scale"):
        x, gate = node.inputs
        ones = Node(f"{node.name}.ones", "affine", (x,), {}, {"slope": 0.0, "offset": 1.0})
        wide = Node(f"{node.name}.wide", "scale", (ones.name, gate))
        yield Change(node.name, "added", nodes={node.name: (ones, wide, Node(node.name, "add", (x, wide.name)))})
        yield Change(node.name, "alone", nodes={node.name: (ones, replace(wide, name=node.name))})
        scaled = replace(node, name=f"{node.name}.scaled")
        yield Change(node.name, "besides", nodes={node.name: (scaled, Node(node.name, "add", (x, scaled.name)))})
        yield Change(node.name, "bare", nodes={node.name: (identity(node.name, gate, 4),)})


def shortcut_twice(segment: Segment) -> Iterator[Change]:
    """the shortcut added twice, halved, or with the wrong sign."""
    for node in segment.nodes("add"):
        entry, own = node.inputs
        negative = Node(f"{node.name}.negative", "affine", (own,), {}, {"slope": -1.0, "offset": 0.0})
        less = replace(node, inputs=(entry, negative.name))
        yield Change(node.name, "less", nodes={node.name: (negative, less)})
        total = replace(node, name=f"{node.name}.total")
        half = Node(node.name, "affine", (total.name,), {}, {"slope": 0.5, "offset": 0.0})
        yield Change(node.name, "half", nodes={node.name: (total, half)})
        once = replace(node, name=f"{node.name}.once")
        yield Change(node.name, "twice", nodes={node.name: (once, replace(node, inputs=(entry, once.name)))})


def result_axes(segment: Segment) -> Iterator[Change]:
    """a result with its axes in another order."""
    if len(segment.sizes.get(segment.end, ())) == 3:
        for order in list(permutations("NCHW"))[1:]:
            form = "".join(order)
            view: Callable[[Array], Array] = partial(np.transpose, axes=["NCHW".index(axis) for axis in order])
            yield Change(segment.end, form, {"found": form}, view=view)


def batch_first(segment: Segment) -> Iterator[Change]:
    """one image in place of all."""
    if SOURCE in segment.given and segment.batch > 1:
        x = segment.given[SOURCE]
        for form, image in (("first", x[:1]), ("last", x[-1:])):
            yield Change(SOURCE, form, given={SOURCE: np.repeat(image, len(x), axis=0)})
