"""Tensors of another size: the bugs that make them so; an input of another size; a dump that is cut short."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import BUGS, REPLAYED
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment
from refnet.errors import GraphError, RequestError
from refnet.graph import SOURCE, Graph
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.feature import Feature
from refnet.judge.measures.yardstick import fits, judge_segment
from refnet.networks.resize import following, resize
from refnet.ops import WINDOWED
from refnet.readings.bounds import Precision
from refnet.readings.shapes import follow_shapes, shape_after, shapes

__all__ = ["agree", "as_map", "as_written", "misshapen", "of_all", "of_sizes", "other_channels", "with_sizes"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

_ALIKE = 0.9  # of the maps that must have the sizes that another input gives
_OF_SIZES = (*REPLAYED, BUGS["stride-pooled"])
_OF_SUMS = (BUGS["shortcut-missing"],)  # what leaves a sum without its terms of another size
_BY_SIZE = ("pool-fixed", "resize-size")  # bugs that a candidate's size tells the number of
_STRIDE = 4  # the most points of the input for one of the first map


def with_sizes(graph: Graph, known: Mapping[str, Shape], sums: Mapping[str, Shape]) -> Parts | None:
    """A network in which some tensors have other sizes than it makes; None where that leaves nothing to go on with.

    Parameters
    ----------
    known : those of the candidate's, without the batch axis
    sums : those of its sums, which are taken where the terms of one do not agree any more
    """
    for own in (known, {**sums, **known}):
        try:
            parts = Parts(following(graph, own), own)
        except GraphError:
            continue
        return parts if all(min(shape) > 0 for shape in parts.sizes.values()) else None
    return None


def agree(parts: Parts, name: str) -> bool:
    """Whether the tensors that a node reads are such that it makes one of its size."""
    if name not in parts.known:
        return True
    node = parts.graph[name]
    try:
        return shape_after(node, *(parts.sizes[each] for each in node.inputs)) == parts.sizes[name]
    except GraphError:
        return False


def as_written(segment: Segment, whole: Graph) -> Segment | None:
    """The segment of a port whose paddings are the pack's numbers, which do not follow the sizes of its maps.

    Pools that take in a whole map still do. None where nothing comes of it.
    """
    made, nodes = {name: y.shape[1:] for name, y in segment.given.items()}, []
    for node in segment.graph.nodes:
        if node.op in WINDOWED:
            own = whole[node.name]
        elif segment.parts.is_global(node):
            own = replace(node, attrs={**node.attrs, "kernel": made[node.inputs[0]][1:]})
        else:
            own = node
        try:
            follow_shapes([own], made)
        except GraphError:  # maps that are not summed
            return None
        nodes.append(own)
    return replace(segment, graph=replace(segment.graph, nodes=tuple(nodes)))


def as_map(segment: Segment, precision: Precision) -> Array:
    """The candidate; numbers without a shape as a map, if the segment makes that, or would make it by some bug.

    A map whose size a mistake has changed is stored as no fewer numbers than it has: such a dump is not cut short.
    """
    y = segment.candidate
    assert y is not None
    if y.ndim != 1 or len(segment.sizes[segment.end]) != 3:
        return y
    ways = [(segment, (segment.batch, *segment.sizes[segment.end]))]
    if math.prod(ways[0][1]) != y.size:
        honest = replace(segment, candidate=None)
        changes = (change for bug in REPLAYED for change in bug.changes(honest))
        sized = ((each, each.shape) for each in changes if each.shape is not None and len(each.shape) == 4)
        ways = [(honest.changed(each), shape) for each, shape in sized if math.prod(shape) == y.size]
    for changed, (N, C, H, W) in ways:
        for made in (y.reshape(N, C, H, W), np.ascontiguousarray(y.reshape(N, H, W, C).transpose(0, 3, 1, 2))):
            if judge_segment(replace(changed, candidate=made), precision).holds:
                return made
    return y


def misshapen(segment: Segment, precision: Precision) -> list[Cause]:
    """Every cause of another shape than the reference's; one that can be replayed must give the values too."""
    assert segment.candidate is not None
    honest, found = replace(segment, candidate=None), []
    apart = not agree(segment.parts, segment.end)  # then nothing can be run that reads all of them
    for bug in _OF_SUMS if apart else _OF_SIZES:
        for change in bug.changes(segment if bug.id in _BY_SIZE else honest):
            if apart or change.shape == segment.candidate.shape:
                changed = replace(honest.changed(change), candidate=segment.candidate)
                judgement = judge_segment(changed, precision)
                if judgement.holds or (judgement.verdict == "shape" and not apart):
                    found.append(Cause((change.of(bug.id),), judgement))
    return found


def of_all(misshapen: Mapping[str, list[Cause]]) -> dict[str, list[Cause]]:
    """The same, of each tensor first what explains most tensors: on maps of some sizes several pads are alike."""
    count = Counter(what for causes in misshapen.values() for what in {_what(cause) for cause in causes})
    return {name: sorted(causes, key=lambda cause: -count[_what(cause)]) for name, causes in misshapen.items()}


def _what(cause: Cause) -> tuple[str, str]:
    """What a port does, without what it should do."""
    (mistake,) = cause.mistakes
    return mistake.bug, f"{mistake.facts.get('found', mistake.form)}"


def of_sizes(
    graph: Graph,
    tensors: Mapping[str, Array],
    misshapen: Sequence[tuple[Segment, Precision]],
    causes: Mapping[str, Sequence[Cause]],
) -> dict[str, tuple[Feature, ...]]:
    """What can be seen of tensors of another size that no bug explains, by their names.

    Parameters
    ----------
    tensors : the candidate's
    misshapen : the segments of those that have another size, in order
    causes : what explains them
    """
    left = [each for each in misshapen if not causes.get(each[0].end)]
    found = {s.end: parts for s, p in left if (parts := _part_of_dump(s, p) or other_channels(s, p))}
    x = tensors.get(SOURCE)
    fed = x is not None and x.shape[1:] != graph.input_shape
    first = SOURCE if fed else misshapen[0][0].end if misshapen else ""
    if first not in found and (fed or left[:1] == list(misshapen[:1])):
        size = _input_size(graph, tensors)
        if size is not None:
            found[first] = (Feature("input-size", {"found": size, "known": graph.recipe.size}),)
    for segment, _ in left:
        before = next(
            (
                name
                for name in reversed([*segment.given])
                if name in tensors and _has_other_size(graph, name, tensors[name])
            ),
            "",
        )
        if segment.end not in found and before:
            found[segment.end] = (Feature("size-follows", {"before": before}),)
    return found


def _has_other_size(graph: Graph, name: str, y: Array) -> bool:
    """Whether a tensor is not of the size that the network makes of the pack's input."""
    own = {SOURCE: graph.input_shape, **shapes(graph)}
    return name in own and y.shape[1:] != own[name]


def _input_size(graph: Graph, tensors: Mapping[str, Array]) -> tuple[int, int] | None:
    """The size of the input with which the network makes maps of a candidate's sizes; None for the pack's, or none."""
    maps = {name: y.shape[2:] for name, y in tensors.items() if y.ndim == 4 and name in graph and y.shape[2:] != (1, 1)}
    own = shapes(graph)
    if not maps or all(own[name][1:] == side for name, side in maps.items()):
        return None
    x = tensors.get(SOURCE)
    for size in [x.shape[2:]] if x is not None and x.ndim == 4 else _sizes(graph, maps, own):
        try:
            made = shapes(resize(graph, (int(size[0]), int(size[1]))))
        except (GraphError, RequestError):
            continue
        alike = sum(made[name][1:] == side for name, side in maps.items())
        if alike >= _ALIKE * len(maps) and size != graph.recipe.size:
            return int(size[0]), int(size[1])
    return None


def _sizes(
    graph: Graph, maps: Mapping[str, tuple[int, ...]], own: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[int, int]]:
    """The sizes of images that may give the first map its size; those first that vendors take, multiples of 32."""
    name = next(iter(maps))
    ways = []
    for side, map_side, whole in zip(maps[name], own[name][1:], graph.recipe.size, strict=True):
        step = max(1, min(_STRIDE, round(whole / map_side)))
        near = [whole, *range(max(1, (side - 2) * step), (side + 2) * step + 1)]
        ways.append(sorted(dict.fromkeys(near), key=lambda n: (-math.gcd(n, 32), abs(n - side * step))))
    yield from product(*ways)


def _part_of_dump(segment: Segment, precision: Precision) -> tuple[Feature, ...]:
    """Whether a dump without a shape holds fewer numbers than the tensor, or more, and whether these are right."""
    y = segment.candidate
    if y is None or y.ndim != 1 or y.size == (made := segment.result).size:
        return ()
    held = min(y.size, made.size)
    for order in ((0, 1, 2, 3), (0, 2, 3, 1)) if made.ndim == 4 else (tuple(range(made.ndim)),):
        whole = made.transpose(order).ravel().copy()
        whole[:held] = y[:held]
        back = whole.reshape([made.shape[axis] for axis in order]).transpose(np.argsort(order))
        if fits(replace(segment, candidate=np.ascontiguousarray(back).astype(y.dtype)), precision):
            return (Feature("length", {"held": y.size, "of": made.size, "right": True}),)
    return (Feature("length", {"held": y.size, "of": made.size, "right": False}),)


def other_channels(segment: Segment, precision: Precision) -> tuple[Feature, ...]:
    """Whether a tensor has channels, or classes, more or fewer than the node at one end, and the others are right.

    Of probabilities, which all classes share, those that are left add up to one in their turn.
    """
    y, shape = segment.candidate, (segment.batch, *segment.sizes[segment.end])
    if y is None or y.ndim != len(shape) or (len(y), *y.shape[2:]) != (shape[0], *shape[2:]):
        return ()
    held, known = y.shape[1], shape[1]
    if held == known or not agree(segment.parts, segment.end):  # then nothing can be run that reads all of them
        return ()
    shared = segment.graph.nodes[-1].op == "softmax"
    for where, first in (("before", abs(held - known)), ("behind", 0)):
        own = slice(first, first + min(held, known))
        if held > known:
            whole = y[:, own] / y[:, own].sum(axis=1, keepdims=True) if shared else y[:, own]
        else:
            whole = segment.result.copy()
            whole[:, own] = y * whole[:, own].sum(axis=1, keepdims=True) if shared else y
        if fits(replace(segment, candidate=np.ascontiguousarray(whole, y.dtype)), precision):
            kind = "more-channels" if held > known else "fewer-channels"
            return (Feature(kind, {"found": held, "known": known, "where": where}),)
    return ()
