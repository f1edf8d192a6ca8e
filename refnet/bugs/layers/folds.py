"""Bugs of what batch norm is folded into: arrays that are brought to a short format once it is.

A format rounds folded weights otherwise than weights before the fold. Where a port folds in float32, some may be
rounded to the other side: those that lie so near to a tie as the fold may be off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected, UnitArrays
from refnet.bugs.language.changes import Change, Deferred, stood_for, with_factor
from refnet.bugs.language.segments import Segment
from refnet.bugs.numbers.precision import each_moved, grid_steps, in_steps, shortened
from refnet.graph import Graph, interpret
from refnet.ops import CONVOLUTIONS
from refnet.pack.printed import FORMS
from refnet.readings import fast
from refnet.readings.orders import rounded, truncated

__all__ = ["FoldFormat", "in_fold", "is_alone"]

Array = npt.NDArray[Any]

_LEFT = (1e-3, 1e-5)  # eps of the frameworks
_PARTS = ("arrays", "weights", "biases")
_ASKED = 4  # channels that are asked first
_CLOSER = 0.5  # of their error, what a format must leave less than to be looked at whole
_STEP = 2.0**-20  # relative: how far a step of integers may be off, of a largest weight that a fold made


class FoldFormat(NamedTuple):
    """A format of folded arrays: its words in a form, what is said of it, how numbers are brought to it, and which."""

    words: str
    facts: Mapping[str, Any]
    move: Callable[[Array], Array]
    parts: tuple[str, ...] = _PARTS


def _by_tensor(w: Array) -> Array:
    return in_steps(w, grid_steps(w, "tensor", 127))


_STORES = ("float16", "bfloat16")
_FORMATS = (
    *(FoldFormat(f"{store} rounded", {"store": store}, partial(rounded, store=store)) for store in _STORES),
    *(FoldFormat(f"{store} truncated", {"store": store}, partial(truncated, store=store)) for store in _STORES),
    FoldFormat("int8 tensor", {"store": "int8"}, _by_tensor, ("weights",)),
    *(FoldFormat(f"{form.places} {form.kind}", form.facts, form.read, ("arrays",)) for form in FORMS),
)


def fold_rounded(segment: Segment) -> Iterator[Change]:
    """folded weights in a short format.

    Batch norm is worked in, then weights, biases or both are rounded to float16 or bfloat16 or cut off to them; or
    weights are quantised to 8 bits with one step for the tensor; or both are written as text with few digits.

    Source: https://github.com/Tencent/ncnn/wiki/quantized-int8-inference
    """
    for unit in segment.units:
        if unit.foldable:
            yield from in_fold(segment, unit, _FORMATS)
        else:
            yield from _bare(segment, unit)


def norm_left(segment: Segment) -> Iterator[Change]:
    """a batch norm that is run once more where it was folded.

    Emptied, with mean and beta 0, variance and gamma 1, it still divides by the root of 1 + eps.
    """
    norms = [unit.norm for unit in segment.units if unit.norm is not None]
    folded = [segment.graph[name] for name in segment.parts.folded if name in segment.graph]
    for node in (*norms, *folded):
        for eps in _LEFT:
            yield Change(node.name, f"{eps:g}", {"eps": eps}, nodes={node.name: with_factor(node, (1 + eps) ** -0.5)})


def is_alone(segment: Segment, unit: UnitArrays) -> bool:
    """Whether a port's segment is one layer on its own input, so that some channels may be asked first."""
    return segment.candidate is not None and len(segment.units) == 1 and unit.unit.conv.inputs[0] in segment.given


def in_fold(segment: Segment, unit: UnitArrays, formats: Iterable[FoldFormat]) -> Iterable[Change]:
    """A layer whose folded arrays, or some of them, are brought to each of several formats."""
    norm = unit.norm
    if norm is None or not {norm.name, unit.name} <= segment.graph.by_name.keys():
        return
    alone, names = is_alone(segment, unit), [f"{unit.name}.w", f"{norm.name}.beta"]
    for form in formats:
        for part in form.parts:
            facts, words = {"what": part, **form.facts}, f"{form.words} {part}"
            if not alone:
                yield Change(norm.name, words, facts, params=Deferred(names, partial(_params, unit, form, part)))
            elif _is_closer(segment, unit, form, part):
                yield Change(norm.name, words, facts, **_made(segment, unit, form, part))


def _bare(segment: Segment, unit: UnitArrays) -> Iterator[Change]:
    """Beside others, a layer without batch norm, whose arrays are brought to the same format as they are."""
    if unit.op not in CONVOLUTIONS or not any(each.foldable for each in segment.units):
        return
    for form in _FORMATS:
        for part in form.parts:
            slots = {"arrays": "wb", "weights": "w", "biases": "b"}[part]
            names = {slot: f"{unit.name}.{slot}" for slot in slots if slot in unit}
            make = partial(each_moved, unit, names, form.move)
            if names:
                facts = {"what": part, **form.facts}
                yield Change(unit.name, f"{form.words} {part}", facts, params=Deferred(names.values(), make))


def _short(unit: UnitArrays, form: FoldFormat, part: str) -> tuple[Expected, Expected]:
    """The folded weights and biases, those of a part in a short format; and how far a fold in float32 leaves them."""
    w, b = (unit.folded().tensors[slot] for slot in ("w", "b"))
    return (
        w if part == "biases" else _moved(w, form),
        b if part == "weights" else _moved(b, form),
    )


def _moved(array: Expected, form: FoldFormat) -> Expected:
    if form.move is not _by_tensor:
        return shortened(array, form.move)
    # What a fold moves the largest weight by moves the step, and what is near a tie by one.
    y, slack = array.value, array.slack
    made, step = form.move(y), float(np.abs(y).max()) / 127
    tie = np.abs(np.abs(y / step - np.rint(y / step)) - 0.5) * step <= slack + _STEP * np.abs(y)
    return Expected(made, _STEP * np.abs(made) + tie * step)


def _params(unit: UnitArrays, form: FoldFormat, part: str) -> Mapping[str, Array | Expected]:
    """Weights and a beta of which the fold makes those in a short format; a channel of factor 0 is left as it is."""
    assert unit.norm is not None
    (w, b), s = _short(unit, form, part), unit.factor
    column = s.reshape(-1, *(1,) * (unit["w"].ndim - 1))
    with np.errstate(all="ignore"):
        weights = np.where(column == 0, unit["w"], w.value / column)
        apart = np.where(column == 0, 0.0, w.slack / np.abs(column))
    beta = b.value - s * (unit.bias - unit["mean"])
    return {f"{unit.name}.w": Expected(weights, apart), f"{unit.norm.name}.beta": beta}


def _made(segment: Segment, unit: UnitArrays, form: FoldFormat, part: str) -> dict[str, Any]:
    """Nodes of a unit whose folded arrays are in a short format."""
    assert unit.norm is not None
    w, b = _short(unit, form, part)
    x = segment.given[unit.unit.conv.inputs[0]].astype(np.float64)
    run = partial(_run, unit)
    y = run(x, w.value, b.value)
    size, slack = run(np.abs(x), np.abs(w.value), np.abs(b.value)), run(np.abs(x), w.slack, b.slack)
    made = stood_for(unit.norm, y, w.value[0].size + 1, size, slack)
    return {**made, "nodes": {unit.name: (), **made["nodes"]}}


def _run(unit: UnitArrays, x: Array, w: Array, b: Array) -> Array:
    y: Array = getattr(fast, unit.op)(x, w, b, **unit.unit.conv.attrs)
    return y


def _is_closer(segment: Segment, unit: UnitArrays, form: FoldFormat, part: str) -> bool:
    """Whether some channels, those that are off most, come much closer to the port's."""
    t, conv = segment.candidate, unit.unit.conv
    assert t is not None
    assert unit.norm is not None
    nodes = segment.graph.nodes[[node.name for node in segment.graph.nodes].index(unit.norm.name) + 1 :]
    if t.shape != segment.result.shape or t.ndim != 4 or any(len(node.inputs) > 1 or node.params for node in nodes):
        return True
    error = t - segment.result
    picked = np.argsort(-np.einsum("nchw,nchw->c", error, error))[:_ASKED]
    x = segment.given[conv.inputs[0]].astype(np.float64)
    x = x[:, picked] if unit.op == "depthwise_conv2d" else x
    w, b = (each.value[picked] for each in _short(unit, form, part))
    y = _run(unit, x, w, b)
    if nodes:
        own = Graph(segment.graph.recipe, (replace(nodes[0], inputs=(unit.norm.name,)), *nodes[1:]))
        y = interpret(own, fast, {}, {unit.norm.name: y})
    left, before = np.linalg.norm(t[:, picked] - y), np.linalg.norm(error[:, picked])
    return bool(left < _CLOSER * before)
