"""A network in PyTorch, eager: a reading of the graph whose rules are torch.nn.functional.

Batch norm is left unfolded and activations overwrite what they read, as in the vendors' modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph, interpret

__all__ = ["runner"]

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]


def runner(
    graph: Graph, params: Mapping[str, Array], threads: int, *, channels_last: bool = False
) -> Callable[[Array], Callable[[], Array]]:
    """What takes a batch and returns what runs it."""
    import torch

    torch.set_num_threads(threads)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    rules = _rules(torch)
    arrays = {
        f"{node.name}.{slot}": _filters(torch, node.op, slot, params[f"{node.name}.{slot}"], memory)
        for node in graph.nodes
        for slot in node.params
    }

    def prepare(x: Array) -> Callable[[], Array]:
        given = torch.from_numpy(np.ascontiguousarray(x)).contiguous(memory_format=memory)

        def run() -> Array:
            with torch.inference_mode():
                y: Array = interpret(graph, rules, arrays, {SOURCE: given}).numpy()
            return y

        return run

    return prepare


def _filters(torch: Any, op: str, slot: str, array: Array, memory: Any) -> Any:
    """A parameter as torch takes it: filters (K, C, R, S)."""
    tensor = torch.from_numpy(np.array(array))
    if slot == "w" and op == "pointwise_conv2d":
        tensor = tensor[:, :, None, None]
    if slot == "w" and op == "depthwise_conv2d":
        tensor = tensor[:, None]
    return tensor.contiguous(memory_format=memory) if tensor.ndim == 4 else tensor


def _rules(torch: Any) -> Any:
    """One function per operation, in torch.nn.functional's words."""
    F = torch.nn.functional

    def padded(x: Any, pad: Pad, value: float = 0.0, mode: str = "constant") -> tuple[Any, Pair]:
        """What a convolution can pad by itself it pads; the rest is padded before."""
        (top, bottom), (left, right) = pad
        if top == bottom and left == right and mode == "constant" and value == 0:
            return x, (top, left)
        return F.pad(x, (left, right, top, bottom), mode, value), (0, 0)

    def conv2d(x: Any, w: Any, b: Any, *, stride: Pair, pad: Pad, dilation: Pair, groups: int = 1) -> Any:
        x, sides = padded(x, pad)
        return F.conv2d(x, w, b, stride, sides, dilation, groups)

    def pointwise_conv2d(x: Any, w: Any, b: Any) -> Any:
        if x.shape[2:] == (1, 1):  # the head's layers are nn.Linear
            return F.linear(x.flatten(1), w.flatten(1), b)[:, :, None, None]
        return F.conv2d(x, w, b)

    def avg_pool2d(x: Any, *, kernel: Pair, stride: Pair, pad: Pad) -> Any:
        if kernel == tuple(x.shape[2:]) and not any(map(any, pad)):
            return F.adaptive_avg_pool2d(x, 1)
        (top, bottom), (left, right) = pad
        sums = F.avg_pool2d(F.pad(x, (left, right, top, bottom)), kernel, stride)
        return sums / F.avg_pool2d(F.pad(torch.ones_like(x), (left, right, top, bottom)), kernel, stride)

    def max_pool2d(x: Any, *, kernel: Pair, stride: Pair, pad: Pad) -> Any:
        (top, bottom), (left, right) = pad
        return F.max_pool2d(F.pad(x, (left, right, top, bottom), value=float("-inf")), kernel, stride)

    def resize_legacy(x: Any, *, size: Pair) -> Any:
        """As aligned corners of a map and an output that are each one row and column larger."""
        wider = F.pad(x, (0, 1, 0, 1), "replicate")
        return F.interpolate(wider, (size[0] + 1, size[1] + 1), mode="bilinear", align_corners=True)[:, :, :-1, :-1]

    def resize_nearest(x: Any, *, size: Pair, align_corners: bool, half_pixel: bool) -> Any:
        if not align_corners:
            return F.interpolate(x, size, mode="nearest-exact" if half_pixel else "nearest")
        for axis, (side, outputs) in enumerate(zip(x.shape[2:], size, strict=True), 2):
            place = torch.arange(outputs) * ((side - 1) / max(outputs - 1, 1)) + 0.5
            x = x.index_select(axis, place.floor().long())
        return x

    return SimpleNamespace(
        conv2d=conv2d,
        depthwise_conv2d=lambda x, w, b, **attrs: conv2d(x, w, b, groups=len(w), **attrs),
        grouped_conv2d=conv2d,
        pointwise_conv2d=pointwise_conv2d,
        pad=lambda x, *, pad, mode, value: F.pad(
            x, (*pad[1], *pad[0]), {"edge": "replicate"}.get(mode, mode), value if mode == "constant" else None
        ),
        batch_norm=lambda x, gamma, beta, mean, var, *, eps: F.batch_norm(x, mean, var, gamma, beta, False, 0.0, eps),
        affine=lambda x, *, slope, offset: x * slope + offset,
        relu=lambda x: F.relu(x, inplace=True),
        relu6=lambda x: F.relu6(x, inplace=True),
        leaky_relu=lambda x, *, slope: F.leaky_relu(x, slope, inplace=True),
        prelu=lambda x, alpha: F.prelu(x, alpha) if alpha.ndim == 1 else torch.where(x >= 0, x, x * alpha),
        thresholded_relu=lambda x, *, threshold: F.threshold(x, threshold, 0.0),
        clip=lambda x, *, low, high: torch.clamp(x, low, high),
        tanh=torch.tanh,
        hard_sigmoid=lambda x, *, slope, offset: (
            F.hardsigmoid(x, inplace=True) if (slope, offset) == (1 / 6, 0.5) else torch.clamp(x * slope + offset, 0, 1)
        ),
        hard_swish=lambda x: F.hardswish(x, inplace=True),
        sigmoid=torch.sigmoid,
        swish=lambda x: F.silu(x, inplace=True),
        avg_pool2d=avg_pool2d,
        max_pool2d=max_pool2d,
        scale=torch.mul,
        add=torch.add,
        concat=lambda *xs: torch.cat(xs, 1),
        flatten=lambda x: x.flatten(1),
        resize_bilinear=lambda x, *, size, align_corners: F.interpolate(
            x, size, mode="bilinear", align_corners=align_corners
        ),
        resize_legacy=resize_legacy,
        resize_nearest=resize_nearest,
        softmax=lambda x: x.softmax(1),
    )
