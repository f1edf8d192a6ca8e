"""Bugs of a network's last numbers: another function in the softmax's place, another order of classes, another size.

Tried where nothing else fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import SHORT, Change, stood_for, without
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.ends import gives_classes, makes_scores
from refnet.graph import Node
from refnet.readings.precision import FLOATS

__all__ = ["CLASSES", "answer_function", "answer_scaled", "classes_shown", "inputs_left_out"]

Array = npt.NDArray[Any]

CLASSES = 5  # that an order is told from
# Of an error, what the same numbers in another order leave of it once both are sorted. Tuned, on the table in
# tests/bugs/test_tables.py: the power of ten between right numbers in another order and wrong ones in any.
_ALIKE = 1e-3
_NEAR = 1e-2  # of an error, what a factor may leave: a batch norm that does next to nothing leaves some 4 of 100
_ROUNDINGS = 16


def _above(z: Array) -> Array:
    made: Array = z - z.max(axis=1, keepdims=True)
    return made


def _log(z: Array) -> Array:
    above = _above(z)
    made: Array = above - np.log(np.exp(above).sum(axis=1, keepdims=True))
    return made


def _soft(z: Array, base: float = math.e) -> Array:
    e = base ** _above(z)
    made: Array = e / e.sum(axis=1, keepdims=True)
    return made


def _soft_with_one(z: Array) -> Array:
    e, one = np.exp(_above(z)), np.exp(-z.max(axis=1, keepdims=True))
    made: Array = e / (e.sum(axis=1, keepdims=True) + one)
    return made


_FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "log": _log,
    "log 2": lambda z: _log(z) / math.log(2),
    "log 10": lambda z: _log(z) / math.log(10),
    "base 2": lambda z: _soft(z, 2.0),
    "twice": lambda z: _soft(_soft(z)),
    "negative": lambda z: _soft(-z),
    "with one": _soft_with_one,
    "percent": lambda z: 100 * _soft(z),
    "bytes": lambda z: 255 * _soft(z),
    "exp": np.exp,
    "exp above": lambda z: np.exp(_above(z)),
    "above": _above,
    "length": lambda z: z / np.maximum(np.sqrt((z * z).sum(axis=1, keepdims=True)), 1e-12),
    "length over images": lambda z: z / np.maximum(np.sqrt((z * z).sum(axis=0, keepdims=True)), 1e-12),
    "sizes": lambda z: z / np.abs(z).sum(axis=1, keepdims=True),
    "standard": lambda z: (z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True),
    "centred": lambda z: z - z.mean(axis=1, keepdims=True),
    "sum": lambda z: z / z.sum(axis=1, keepdims=True),
    "largest": lambda z: z / np.abs(z).max(axis=1, keepdims=True),
    "abs": np.abs,
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
}
_SORTED: Mapping[str, Callable[[Array], Array]] = {  # what the network answers, as lists of the likeliest classes are
    "falling": lambda y: -np.sort(-y, axis=1),
    "rising": lambda y: np.sort(y, axis=1),
}


def _answers(segment: Segment) -> bool:
    """Whether a segment ends in what the network answers: classes, of an image or its points, or an embedding."""
    node = segment.graph.nodes[-1]
    if (
        node.op in ("softmax", "flatten", "avg_pool2d")
        or node.name == segment.parts.classifier
        or makes_scores(segment)
    ):
        return True
    shape = segment.sizes.get(node.name, ())
    return node.name in segment.whole.outputs and (len(shape) == 1 or shape[1:] == (1, 1))


def answer_function(segment: Segment) -> Iterator[Change]:
    """another function at the end.

    A sigmoid or the logarithm of a softmax in its place; percentages; an embedding of length one; answers by size.
    """
    node = segment.graph.nodes[-1]
    if not _answers(segment):
        return
    for form, function in {**_FUNCTIONS, **_SORTED}.items():
        if form in ("log", "centred", "above") and segment.centred:  # the logits, up to a number for each image
            continue
        replaced = node.op == "softmax" and form in _FUNCTIONS
        nodes = without(node) if replaced else {}
        if len(segment.graph) > SHORT:
            yield Change(node.name, form, nodes=nodes, view=function, lone=True)
            continue
        source = node.inputs[0] if replaced else ""
        z = dict(segment.values({source}))[source] if source else segment.result
        with np.errstate(over="ignore"):
            y = function(z)
        yield Change(node.name, form, **stood_for(node, y, _ROUNDINGS, np.abs(y) + np.abs(z) * np.abs(y)), lone=True)


def answer_scaled(segment: Segment) -> Iterator[Change]:
    """a factor before the end.

    A temperature of the softmax, or features that are scaled, by what the port's numbers show.
    """
    node = segment.graph.nodes[-1]
    for form, factor in _factors(segment).items():
        attrs = {"slope": factor, "offset": 0.0}
        if node.op == "softmax":
            scaled = Node(f"{node.name}.scaled", "affine", node.inputs, {}, attrs)
            nodes = (scaled, replace(node, inputs=(scaled.name,)))
        else:
            plain = replace(node, name=f"{node.name}.plain")
            nodes = (plain, Node(node.name, "affine", (plain.name,), {}, attrs))
        yield Change(node.name, form, {"factor": factor}, nodes={node.name: nodes}, lone=True)


def _factors(segment: Segment) -> dict[str, float]:
    """The factor that the port's numbers show, or what divides them, in one to three figures: by how it is written.

    None where it does not explain them.
    """
    node, t = segment.graph.nodes[-1], segment.candidate
    if t is None or not _answers(segment) or t.ndim not in (2, 4):
        return {}
    if node.op != "softmax" and len(segment.graph) <= SHORT:  # there a factor is seen in the error
        return {}
    z = dict(segment.values({node.inputs[0]}))[node.inputs[0]] if node.op == "softmax" else segment.result
    y = _logits_of(segment, t)
    if z.shape != y.shape or not np.isfinite(y).all():
        return {}
    if node.op == "softmax":
        z, y = (each - each.mean(axis=1, keepdims=True) for each in (z, y))
    square = float((z * z).sum())
    factor = float((z * y).sum()) / square if square else 1.0
    if not factor or not np.linalg.norm(y - factor * z) < _NEAR * np.linalg.norm(y - z):
        return {}
    figures = [(f"{factor:.{count}g}", f"{1 / factor:.{count}g}") for count in (1, 2, 3)]
    factors = {written: float(written) for written, _ in figures}
    inverse = {f"1/{written}": 1 / float(written) for _, written in figures}
    return factors | {form: each for form, each in inverse.items() if each not in factors.values()}


def classes_shown(segment: Segment) -> Iterator[Change]:
    """classes in the order that the port's numbers show."""
    node, t = segment.graph.nodes[-1], segment.candidate
    if not (gives_classes(segment) or makes_scores(segment)) or t is None or t.shape != segment.result.shape:
        return
    mine, own = (y.astype(np.float64).reshape(*y.shape[:2], -1).mean(axis=2) for y in (t, segment.result))
    classes = t.shape[1]
    apart = np.linalg.norm(np.sort(mine, axis=1) - np.sort(own, axis=1))
    if classes < CLASSES or not apart < _ALIKE * np.linalg.norm(mine - own):
        return
    order = np.empty(classes, int)
    order[np.argsort(mine[0], kind="stable")] = np.argsort(own[0], kind="stable")
    moved = np.flatnonzero(order != np.arange(classes))
    if len(moved):
        facts = {"one": int(moved[0]), "other": int(order[moved[0]])}
        yield Change(node.name, "", facts, view=partial(np.take, indices=order, axis=1), lone=True)


def inputs_left_out(segment: Segment) -> Iterator[Change]:
    """inputs of the last layer that are left out.

    The first or the last of them, as many as the port's numbers show: a loop over them begins too late or ends too
    soon, or what makes them does.
    """
    t, classifier = segment.candidate, segment.graph.by_name.get(segment.parts.classifier)
    if t is None or classifier is None or not gives_classes(segment) or t.shape != segment.result.shape:
        return
    w = segment.param(classifier, "w").astype(np.float64)
    own = dict(segment.values({*classifier.inputs, classifier.name}))
    x, z = (own[name].reshape(segment.batch, -1) for name in (*classifier.inputs, classifier.name))
    rest = _logits_of(segment, t).reshape(z.shape) - z
    if w.ndim != 2 or x.shape[1] != w.shape[1] or not np.isfinite(rest).all():
        return
    for form, order in (("last", np.arange(len(w.T))[::-1]), ("first", np.arange(len(w.T)))):
        gone = np.zeros_like(rest)
        left = [_apart_from(segment, rest)]
        for k in order:
            gone = gone + x[:, k, None] * w[:, k]
            left.append(_apart_from(segment, rest + gone))
        count = int(np.argmin(left))
        if 0 < count < len(order) and left[count] < _NEAR * left[0]:
            kept = w.copy()
            kept[:, order[:count]] = 0
            facts = {"which": form, "count": count, "of": len(order)}
            yield Change(classifier.name, form, facts, params={f"{classifier.name}.w": kept}, lone=True)


def _logits_of(segment: Segment, t: Array) -> Array:
    """What a port has as logits: of probabilities their logarithms, which are known up to a number for each image."""
    y = t.astype(np.float64)
    return np.log(np.maximum(y, FLOATS["float32"].normal)) if segment.graph.nodes[-1].op == "softmax" else y


def _apart_from(segment: Segment, rest: Array) -> float:
    """How large an error of logits is, as far as they are known."""
    if segment.centred or segment.graph.nodes[-1].op == "softmax":
        rest = rest - rest.mean(axis=1, keepdims=True)
    return float(np.linalg.norm(rest))
