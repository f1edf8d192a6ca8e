"""Bugs of what goes into a network, and of what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.arrays import Expected, UnitArrays
from refnet.bugs.changes import Change, without
from refnet.bugs.segments import Segment
from refnet.graph import SOURCE, Node
from refnet.networks.preprocessing import Preprocessing

Array = npt.NDArray[Any]

_BLACK_TO_WHITE = np.array([0.0, 255.0]).reshape(1, 2)


def input_range(segment: Segment) -> Iterator[Change]:
    """pixels in another range.

    In [0, 1], [-1, 1] or [0, 255].

    Source: https://github.com/tensorflow/tensorflow/issues/46105
    """
    yield from _treated(segment, "0..1", lambda pixels, own: pixels / 255)
    yield from _treated(segment, "-1..1", lambda pixels, own: pixels / 127.5 - 1)
    yield from _treated(segment, "0..255", lambda pixels, own: pixels)


def input_meanstd(segment: Segment) -> Iterator[Change]:
    """mean and standard deviation left out or applied twice."""
    yield from _treated(segment, "out", lambda pixels, own: pixels / own.scale)
    yield from _treated(segment, "twice", lambda pixels, own: _normalised(_normalised(pixels / own.scale, own), own))


def _treated(segment: Segment, form: str, other: Callable[[Array, Preprocessing], Array]) -> Iterator[Change]:
    """The input as another treatment of the same pixels would have it, where that is another at all."""
    own = segment.whole.recipe.preprocessing
    if SOURCE not in segment.given or own is None:
        return
    if np.allclose(other(_BLACK_TO_WHITE, own), _normalised(_BLACK_TO_WHITE / own.scale, own), rtol=1e-12, atol=1e-12):
        return
    x = segment.given[SOURCE].astype(np.float64)
    pixels = (x * _column(own.std) + _column(own.mean)) * own.scale
    yield from _fed(segment, form, other(pixels, own))


def _normalised(x: Array, pre: Preprocessing) -> Array:
    normalised: Array = (x - _column(pre.mean)) / _column(pre.std)
    return normalised


def _column(figures: tuple[float, ...]) -> Array:
    """A number a channel: (C, 1, 1)."""
    return np.array(figures).reshape(-1, 1, 1)


def _fed(segment: Segment, form: str, x: Array) -> Iterator[Change]:
    """The segment on another input; where it is the same one, this input hides the bug."""
    if x.shape == segment.given[SOURCE].shape:
        yield Change(SOURCE, form, given={SOURCE: x})


def input_bgr(segment: Segment) -> Iterator[Change]:
    """colours in reverse order.

    Source: https://github.com/endernewton/tf-faster-rcnn/issues/310
    """
    if SOURCE in segment.given:
        yield from _fed(segment, "", segment.given[SOURCE][:, ::-1])


def input_resize(segment: Segment) -> Iterator[Change]:
    """the image resampled otherwise.

    Half a pixel, or a whole one, away.

    Source: https://github.com/pytorch/vision/issues/6506
    """
    if SOURCE in segment.given:
        x = segment.given[SOURCE].astype(np.float64)
        down = np.concatenate([x[:, :, 1:], x[:, :, -1:]], axis=2)
        right, moved = (np.concatenate([y[:, :, :, 1:], y[:, :, :, -1:]], axis=3) for y in (x, down))
        yield from _fed(segment, "half", (x + down + right + moved) / 4)
        yield from _fed(segment, "one", moved)


def input_hw(segment: Segment) -> Iterator[Change]:
    """height and width exchanged."""
    if SOURCE in segment.given:
        x = segment.given[SOURCE]
        N, C, H, W = x.shape
        yield from _fed(segment, "", x.reshape(N, C, W, H).transpose(0, 1, 3, 2))


def classes_shift(part: Segment | UnitArrays) -> Iterator[Change]:
    """classes off by one.

    Class k is where class k + 1 or k - 1 should be, or a background class comes first.

    Source: https://github.com/rockchip-linux/rknn-toolkit2/issues/241
    """
    if isinstance(part, UnitArrays):
        yield from _moved_classes(part)
        return
    node = part.graph.nodes[-1]
    if node.op in ("flatten", "softmax") or node.name == part.parts.classifier:
        for form, step in (("later", 1), ("earlier", -1)):
            yield Change(node.name, form, view=partial(np.roll, shift=step, axis=1))
        yield Change(node.name, "background", view=_with_background)


def _with_background(y: Array) -> Array:
    return np.concatenate([np.zeros_like(y[:, :1]), y[:, :-1]], axis=1)


def _moved_classes(unit: UnitArrays) -> Iterator[Change]:
    """Rolled, or with a class more or fewer at one end, as the arrays of a file show."""
    slot = unit.slot
    if not unit.classifies or slot not in ("w", "b"):
        return
    wanted, copy = unit.tensors[slot], unit.seen[slot]
    if copy.shape[1:] != wanted.value.shape[1:]:
        return

    def change(form: str, made: Expected, **facts: int) -> Change:
        return Change(unit.name, form, facts, params={unit.names[slot]: made}, rare=True)

    for by in (1, -1):
        rolled = wanted.map(partial(np.roll, shift=-by, axis=0))
        yield change("earlier" if by > 0 else "later", rolled, known=max(by, 0), found=max(-by, 0))
    more = len(copy) - len(wanted.value)
    for by in (1, -1) if more == 0 else ():  # shifted, with something else in the free place
        made = wanted.map(partial(np.roll, shift=-by, axis=0))
        end = -1 if by > 0 else 0
        made.value[end] = copy[end]
        yield change("shifted", made)
    for where, rest in (("first", slice(1, None)), ("last", slice(None, -1))) if abs(more) == 1 else ():
        if more == 1:
            made = Expected(copy.copy(), np.zeros(copy.shape))
            made.value[rest], made.slack[rest] = wanted
            yield change(f"more {where}", made)
        else:
            yield change(f"fewer {where}", wanted.map(partial(_part, rest=rest)))


def _part(y: Array, rest: slice) -> Array:
    return y[rest]


def softmax_twice(segment: Segment) -> Iterator[Change]:
    """softmax once too often, or not at all."""
    node = segment.graph.nodes[-1]
    if node.op == "softmax":
        once = replace(node, name=f"{node.name}.once")
        yield Change(node.name, "twice", nodes={node.name: (once, replace(node, inputs=(once.name,)))})
        yield Change(node.name, "out", nodes=without(node))
    elif node.op == "flatten":
        logits = replace(node, name=f"{node.name}.logits")
        yield Change(node.name, "extra", nodes={node.name: (logits, Node(node.name, "softmax", (logits.name,)))})
