"""Bugs of what goes into a network, what comes out of it, and the precision in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.segments import Segment, Variation, reads_input
from refnet.graph import SOURCE, Node
from refnet.networks.dialects import MODELS
from refnet.ops import CONVOLUTIONS
from refnet.readings.bounds import Precision
from refnet.readings.orders import rounded

Array = npt.NDArray[Any]

SHORT_STORE = "its values are rounded to float16"
INT8_WEIGHTS = "its weights are quantised to 8 bits per channel"


def _fed(segment: Segment, words: str, x: Array) -> Iterator[Variation]:
    """The segment on another input; where it is the same one, this input hides the bug."""
    if x.shape == segment.given[SOURCE].shape:
        yield Variation(SOURCE, words, replace(segment, given={**segment.given, SOURCE: x}))


class _Scaling(NamedTuple):
    """What a vendor does to pixels: x = (pixel / scale - mean) / std, per channel."""

    scale: float
    mean: Array
    std: Array

    def apply(self, pixels: Array) -> Array:
        """From 0..255."""
        x: Array = (pixels / self.scale - self.mean) / self.std
        return x

    def pixels(self, x: Array) -> Array:
        """Back to 0..255."""
        p: Array = (x * self.std + self.mean) * self.scale
        return p


_BLACK_TO_WHITE = np.array([0.0, 255.0]).reshape(1, 2)


def _scaling(segment: Segment) -> _Scaling | None:
    """The vendor's, or None where the segment does not read the network's input."""
    model = MODELS.get(segment.whole.recipe.model)
    if not reads_input(segment) or model is None:
        return None
    pre = model.dialect.preprocessing
    return _Scaling(pre.scale, *(np.array(figures).reshape(-1, 1, 1) for figures in (pre.mean, pre.std)))


def _scaled(segment: Segment, own: _Scaling, other: Callable[[Array], Array], words: str) -> Iterator[Variation]:
    """The input as another treatment of the same pixels would have it, where that is another at all."""
    if not np.allclose(other(_BLACK_TO_WHITE), own.apply(_BLACK_TO_WHITE), rtol=1e-12, atol=1e-12):
        yield from _fed(segment, words, other(own.pixels(segment.given[SOURCE].astype(np.float64))))


def input_range(segment: Segment) -> Iterator[Variation]:
    """Pixels in [0, 1], [-1, 1] or [0, 255]."""
    own = _scaling(segment)
    if own is not None:
        yield from _scaled(segment, own, lambda pixels: pixels / 255, "the pixels are in [0, 1]")
        yield from _scaled(segment, own, lambda pixels: pixels / 127.5 - 1, "the pixels are in [-1, 1]")
        yield from _scaled(segment, own, lambda pixels: pixels, "the pixels are in [0, 255]")


def input_meanstd(segment: Segment) -> Iterator[Variation]:
    """Mean and standard deviation left out, or applied twice."""
    own = _scaling(segment)
    if own is not None:
        bare = own._replace(mean=own.mean * 0, std=own.std * 0 + 1)
        yield from _scaled(segment, own, bare.apply, "mean and standard deviation are left out")
        twice = own._replace(scale=1.0)
        words = "mean and standard deviation are applied twice"
        yield from _scaled(segment, own, lambda pixels: twice.apply(own.apply(pixels)), words)


def input_bgr(segment: Segment) -> Iterator[Variation]:
    """Blue, green, red."""
    if reads_input(segment):
        yield from _fed(segment, "the colours are in the order blue, green, red", segment.given[SOURCE][:, ::-1])


def input_resize(segment: Segment) -> Iterator[Variation]:
    """Resampled half a pixel, or a whole one, away."""
    if reads_input(segment):
        x = segment.given[SOURCE].astype(np.float64)
        moved = np.concatenate([x[:, :, 1:], x[:, :, -1:]], axis=2)
        moved = np.concatenate([moved[:, :, :, 1:], moved[:, :, :, -1:]], axis=3)
        down = np.concatenate([x[:, :, 1:], x[:, :, -1:]], axis=2)
        right = np.concatenate([x[:, :, :, 1:], x[:, :, :, -1:]], axis=3)
        yield from _fed(segment, "the image is resampled half a pixel away", (x + down + right + moved) / 4)
        yield from _fed(segment, "the image is one pixel away", moved)


def input_hw(segment: Segment) -> Iterator[Variation]:
    """Height and width exchanged."""
    if reads_input(segment):
        x = segment.given[SOURCE]
        N, C, H, W = x.shape
        read = x.reshape(N, C, W, H).transpose(0, 1, 3, 2)
        yield from _fed(segment, "height and width of the image are exchanged", read)


def _classifies(segment: Segment) -> Node | None:
    """The last node, where it makes one number a class."""
    node = segment.graph.nodes[-1]
    return node if node.op in ("flatten", "softmax") or node.name == "head.logits" else None


def classes_shift(segment: Segment) -> Iterator[Variation]:
    """Classes counted from another one on: with or without a background class."""
    node = _classifies(segment)
    if node is not None:
        for step in (1, -1):
            words = f"class k is where class k {'+' if step < 0 else '-'} 1 should be"
            yield Variation(node.name, words, segment.with_view(partial(np.roll, shift=step, axis=1)))
        words = "a background class that is always zero comes first, and the last class is cut"
        yield Variation(node.name, words, segment.with_view(_with_background))


def _with_background(y: Array) -> Array:
    return np.concatenate([np.zeros_like(y[:, :1]), y[:, :-1]], axis=1)


def softmax_twice(segment: Segment) -> Iterator[Variation]:
    """Softmax on what are probabilities already, or where logits are expected; or none."""
    node = segment.graph.nodes[-1]
    if node.op == "softmax":
        once = replace(node, name=f"{node.name}.once")
        words = "softmax is applied twice"
        yield Variation(node.name, words, segment.with_nodes(node, once, replace(node, inputs=(once.name,))))
        yield Variation(node.name, "softmax is left out", segment.without(node))
    elif node.op == "flatten":
        logits = replace(node, name=f"{node.name}.logits")
        applied = Node(node.name, "softmax", (logits.name,))
        yield Variation(
            node.name, "softmax is applied where logits are expected", segment.with_nodes(node, logits, applied)
        )


def fp16_storage(segment: Segment) -> Iterator[Variation]:
    """Values rounded to float16 or bfloat16 where they are stored."""
    for store in ("float16", "bfloat16"):
        words = SHORT_STORE.replace("float16", store)
        if segment.candidate is None:
            yield Variation(segment.end, words, segment.with_view(partial(rounded, store=store)))
        elif _is_rounded(segment.candidate, store):
            yield Variation(segment.end, words, replace(segment, precision=Precision.of(store)))


def _is_rounded(y: Array, store: str) -> bool:
    """Whether a tensor holds nothing finer than a format can; one such number alone is no evidence."""
    return y.size > 1 and y.dtype != np.float16 and bool(np.array_equal(rounded(y, store), y))


def fp16_accumulate(segment: Segment) -> Iterator[Variation]:
    """Sums kept in float16."""
    if any(segment.nodes(*CONVOLUTIONS, "avg_pool2d")):
        half = replace(segment, precision=Precision.of("float32", "float16"))
        yield Variation(segment.end, "sums are kept in float16", half)


def weights_fp16(segment: Segment) -> Iterator[Variation]:
    """Weights, and only they, rounded to float16 or bfloat16."""
    for store in ("float16", "bfloat16"):
        for node in segment.graph.nodes:
            if node.params:
                arrays = {slot: rounded(segment.param(node, slot), store) for slot in node.params}
                words = f"its weights are rounded to {store}"
                yield Variation(node.name, words, segment.with_params(node, **arrays))


def weights_int8(segment: Segment) -> Iterator[Variation]:
    """Weights quantised to eight bits, symmetrically."""
    for node in segment.nodes(*CONVOLUTIONS):
        w = segment.param(node, "w").astype(np.float64)
        axes = tuple(range(1, w.ndim))
        for words, largest in (
            (INT8_WEIGHTS.replace("channel", "tensor"), np.abs(w).max()),
            (INT8_WEIGHTS, np.abs(w).max(axis=axes, keepdims=True)),
        ):
            step = np.where(largest > 0, largest, 1) / 127
            quantised = segment.with_params(node, w=np.rint(w / step) * step)
            yield Variation(node.name, words, quantised)
