"""Bugs of what comes out of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change, without
from refnet.bugs.language.segments import Segment
from refnet.bugs.language.shifts import as_text, flat_shift
from refnet.graph import Node
from refnet.ops import RESIZES

Array = npt.NDArray[Any]


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


def classes_order(segment: Segment) -> Iterator[Change]:
    """classes in another order.

    In that of their numbers as text ('0', '1', '10', '100', ...), as folders of that name are listed, or backwards.

    Source: https://github.com/CSAILVision/places365/issues/22
    """
    if not gives_classes(segment):
        return
    count = segment.sizes[segment.end][0]
    orders = {"reversed": np.arange(count)[::-1]}
    for form, text, back in as_text(count):
        orders |= {form: text, f"back from {form}": back}
    for form, order in orders.items():
        if not np.array_equal(order, np.arange(count)):
            yield Change(segment.end, form, view=partial(np.take, indices=order, axis=1))


def gives_classes(segment: Segment) -> bool:
    """Whether a segment ends in one number for each class."""
    node = segment.graph.nodes[-1]
    shape = segment.sizes.get(node.name, ())
    is_end = node.op in ("flatten", "softmax") or node.name == segment.parts.classifier
    return is_end and shape[1:] in ((), (1, 1)) and shape != ()


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
    for by in (1, -1) if more == 0 and not _is_read_so(unit) else ():  # shifted, with something else in the free place
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


def _is_read_so(unit: UnitArrays) -> bool:
    """Whether the weights are shifted in memory by less than a class, so that the bias behind them is by a number."""
    copy, wanted = unit.seen.get("w"), unit["w"]
    return copy is not None and copy.shape == wanted.shape and flat_shift(copy.ravel(), wanted.ravel()) != 0


def _part(y: Array, rest: slice) -> Array:
    return y[rest]


_OVER_IMAGES = {"batch": 0, "all": None}  # which axis a softmax takes for that of the classes


def softmax_twice(segment: Segment) -> Iterator[Change]:
    """softmax once too often, not at all, or over the images of a batch."""
    node = segment.graph.nodes[-1]
    if node.op == "softmax":
        once = replace(node, name=f"{node.name}.once")
        yield Change(node.name, "twice", nodes={node.name: (once, replace(node, inputs=(once.name,)))})
        yield Change(node.name, "out", nodes=without(node))
        if segment.batch > 1:
            for form, axis in _OVER_IMAGES.items():
                yield Change(node.name, form, nodes=without(node), view=partial(_softmax, axis=axis))
    elif node.op == "flatten" or makes_scores(segment):
        logits = replace(node, name=f"{node.name}.logits")
        yield Change(node.name, "extra", nodes={node.name: (logits, Node(node.name, "softmax", (logits.name,)))})
        if node.op in RESIZES:
            soft = Node(f"{node.name}.soft", "softmax", node.inputs)
            yield Change(node.name, "before", nodes={node.name: (soft, replace(node, inputs=(soft.name,)))})
        if segment.batch > 1:
            for form, axis in _OVER_IMAGES.items():
                yield Change(node.name, form, view=partial(_softmax, axis=axis))


def mask_turned(segment: Segment) -> Iterator[Change]:
    """a mask mirrored, or with its axes exchanged under its own shape."""
    for form, move in _TURNS.items() if makes_scores(segment) else ():
        yield Change(segment.end, form, view=move)


_TURNS: Mapping[str, Callable[[Array], Array]] = {
    "columns": lambda y: y[..., ::-1],
    "rows": lambda y: y[..., ::-1, :],
    "both": lambda y: y[..., ::-1, ::-1],
    "exchanged": lambda y: np.ascontiguousarray(y.swapaxes(2, 3)).reshape(y.shape),
}


def makes_scores(segment: Segment) -> bool:
    """Whether a segment ends in what a network answers for each point of a map, as masks are made of."""
    shape = segment.sizes.get(segment.end, ())
    is_map = len(shape) == 3 and shape[1:] != (1, 1)
    return segment.end in segment.whole.outputs and is_map and 1 < shape[0] == segment.whole.recipe.classes


def _softmax(z: Array, axis: int | None) -> Array:
    p = np.exp(z - z.max(axis=axis, keepdims=True))
    made: Array = p / p.sum(axis=axis, keepdims=True)
    return made
