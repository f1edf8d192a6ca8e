"""A convolution with what follows it, and what it made of a port's map: as far as activations can be undone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.segments import Segment
from refnet.graph import Graph, Node, interpret
from refnet.ops import CONVOLUTIONS
from refnet.readings import fast

__all__ = [
    "FREE",
    "UNDONE",
    "ChannelLines",
    "LinearLayer",
    "activated",
    "before_sum",
    "chain",
    "fittable",
    "is_small",
    "layer_of",
    "nearest_lines",
    "varying_channels",
]

Array = npt.NDArray[Any]

FREE = 2  # points more than weights and a bias: what they fit within rounding is no accident
_STILL = 1e-3  # of a channel's size: one that varies by less is as it was but for what float16 may leave


class LinearLayer(NamedTuple):
    """A convolution and what follows it; and what it made, as far as what follows can be undone."""

    conv: Node
    act: Node | None
    z: Array  # before the activation, (N P Q, K)
    kept: npt.NDArray[np.bool_]  # where that can be told


def fittable(segment: Segment) -> tuple[Node, ...]:
    """The nodes whose arrays are fitted to the port's map; none where it has no such map."""
    target = segment.candidate
    if target is None or segment.view is not None or target.ndim != 4 or target.shape != segment.result.shape:
        return ()
    return chain(segment)


def chain(segment: Segment) -> tuple[Node, ...]:
    """From the first node with arrays on, if what lies before it has none: sums and gates that a port does not dump."""
    nodes = segment.graph.nodes
    first = next((index for index, node in enumerate(nodes) if node.params), len(nodes))
    return nodes[first:] if all(len(node.inputs) == 1 for node in nodes[first:]) else ()


def before_sum(segment: Segment) -> tuple[Segment, Array]:
    """A segment without the sum that ends it, and what was added: a tensor of the port's own, or zeros.

    Parameters
    ----------
    segment : with the candidate's tensor, from which the same is taken away
    """
    assert segment.candidate is not None
    *nodes, last = segment.graph.nodes
    branch = nodes[-1].name if nodes else ""
    others = [segment.given[name] for name in last.inputs if name in segment.given and name != branch]
    is_sum = last.op == "add" and branch in last.inputs and len(others) == 1
    if not is_sum or np.shape(others[0]) != segment.candidate.shape:
        return segment, np.broadcast_to(0.0, segment.candidate.shape)
    added = np.asarray(others[0], np.float64)
    graph = replace(segment.graph, nodes=tuple(nodes))
    return replace(segment, graph=graph, candidate=segment.candidate - added), added


def layer_of(nodes: tuple[Node, ...], target: Array) -> LinearLayer | None:
    """A convolution with a batch norm and an activation, or without; None where there is anything else."""
    conv, *rest = nodes
    act = rest.pop() if rest and rest[-1].op in UNDONE else None
    if conv.op not in CONVOLUTIONS or [node.op for node in rest] not in ([], ["batch_norm"]):
        return None
    t = target.astype(np.float64).transpose(0, 2, 3, 1).reshape(-1, target.shape[1])
    z, kept = (t, np.ones(t.shape, bool)) if act is None else UNDONE[act.op](t, act)
    return LinearLayer(conv, act, z, kept)


def is_small(layer: LinearLayer) -> bool:
    """Whether no channel has points enough for its weights."""
    return int(layer.kept.sum(axis=0).max(initial=0)) <= math.prod(layer.conv.params["w"][1:]) + FREE


class ChannelLines(NamedTuple):
    """By channel the line that is nearest to some points: its slope, and the means of both sides."""

    slope: Array
    at: Array
    mean: Array

    def of(self, x: Array) -> Array:
        """What lies on it."""
        y: Array = self.mean + self.slope * (x - self.at)
        return y


def nearest_lines(x: Array, z: Array, kept: npt.NDArray[np.bool_], axes: tuple[int, ...]) -> ChannelLines:
    """Those from x to z, along axes that are kept in their shape; of a slope of 0 where x is one number."""
    at, mean = (np.mean(each, axis=axes, keepdims=True, where=kept) for each in (x, z))
    centred = np.where(kept, x - at, 0)
    square = np.square(centred).sum(axis=axes, keepdims=True)
    with np.errstate(invalid="ignore"):
        rest = np.where(kept, z - mean, 0)
    slope = (rest * centred).sum(axis=axes, keepdims=True) / np.where(square > 0, square, 1)
    return ChannelLines(slope, at, mean)


def varying_channels(z: Array, kept: npt.NDArray[np.bool_], axes: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Which channels vary, so that a slope can be told of them."""
    with np.errstate(invalid="ignore"):
        size = np.sqrt(np.mean(np.square(z), axis=axes, where=kept))
        told: npt.NDArray[np.bool_] = np.std(z, axis=axes, where=kept) > _STILL * size
    return told


def _relu(t: Array, act: Node) -> tuple[Array, npt.NDArray[np.bool_]]:
    return t, t > 0


def _relu6(t: Array, act: Node) -> tuple[Array, npt.NDArray[np.bool_]]:
    return t, (t > 0) & (t < 6)


def _hard_swish(t: Array, act: Node) -> tuple[Array, npt.NDArray[np.bool_]]:
    """t = x (x + 3) / 6 of x between 0 and 3, and x itself above."""
    return np.where(t < 3, (np.sqrt(9 + 24 * np.maximum(t, 0)) - 3) / 2, t), t > 0


def _sigmoid(t: Array, act: Node) -> tuple[Array, npt.NDArray[np.bool_]]:
    kept = (t > 0) & (t < 1)
    inside = np.where(kept, t, 0.5)
    return np.log(inside / (1 - inside)), kept


def _hard_sigmoid(t: Array, act: Node) -> tuple[Array, npt.NDArray[np.bool_]]:
    return (t - act.attrs["offset"]) / act.attrs["slope"], (t > 0) & (t < 1)


UNDONE: Mapping[str, Callable[[Array, Node], tuple[Array, npt.NDArray[np.bool_]]]] = {
    "relu": _relu,
    "relu6": _relu6,
    "hard_swish": _hard_swish,
    "hard_sigmoid": _hard_sigmoid,
    "sigmoid": _sigmoid,
}


def activated(segment: Segment, act: Node | None, y: Array) -> Array:
    """What a layer's activation makes, if it has one."""
    if act is None:
        return y
    made: Array = interpret(Graph(segment.graph.recipe, (act,)), fast, {}, {act.inputs[0]: y})
    return made
