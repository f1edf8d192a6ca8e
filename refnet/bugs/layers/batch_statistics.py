"""Bugs of batch norm that takes its statistics, or some of them, from what it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import Expected
from refnet.bugs.language.changes import Change, Deferred, rounded_off, stood_for
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.norms import moments
from refnet.graph import Node
from refnet.readings.carried import channel
from refnet.readings.precision import FLOATS

Array = npt.NDArray[Any]

_ROUNDINGS = 6  # of a batch norm


def bn_batch_half(segment: Segment) -> Iterator[Change]:
    """one statistic of the batch.

    The mean is that of what is normalised and the variance is the stored one, or the reverse.
    """
    readers = {node.inputs[0]: node for node in segment.nodes("batch_norm")}
    made = cache(lambda: dict(moments(segment, readers)))
    shown = segment.candidate is not None and len(readers) == 1  # few nodes, whose numbers say more than a run
    for source, node in readers.items():
        for slot in ("mean", "var"):
            name = f"{node.name}.{slot}"
            if shown:
                ((_, x),) = segment.values({source})
                yield Change(node.name, slot, **_stood_for(segment, node, x, slot, made()[name]), lone=True)
            else:
                params = Deferred([name], partial(_alone, made, name))
                yield Change(node.name, slot, params=params, on_batch={name: 1.0}, fed=True)


def bn_image_stats(segment: Segment) -> Iterator[Change]:
    """statistics of each image by itself."""
    for node in segment.nodes("batch_norm"):
        if not segment.asks(node):
            continue
        gamma, beta = (segment.param(node, slot).astype(np.float64)[:, None, None] for slot in ("gamma", "beta"))
        for _, x in segment.values({node.inputs[0]}):
            if x.ndim != 4:
                continue
            mean, var = x.mean(axis=(2, 3), keepdims=True), x.var(axis=(2, 3), keepdims=True)
            factor = gamma / np.sqrt(var + node.attrs["eps"])
            size = np.abs(factor) * (np.abs(x) + np.abs(mean)) + np.abs(beta)
            terms = _ROUNDINGS + 2 * x.shape[2] * x.shape[3]  # and of the sums of both statistics
            yield Change(node.name, **_scaled_by_image(node, factor, beta - factor * mean, terms, size), fed=True)


def _alone(made: Callable[[], Mapping[str, Array]], name: str) -> Mapping[str, Array]:
    return {name: made()[name]}


def _stood_for(segment: Segment, node: Node, x: Array, slot: str, found: Array) -> dict[str, Any]:
    """What a batch norm makes with one statistic of its input, and how far sums in float32 move that statistic.

    Sums of n numbers one after another are mostly off by root(n) roundings.
    """
    held = {each: segment.param(node, each).astype(np.float64) for each in ("gamma", "beta", "mean", "var")}
    held[slot] = found
    axes = (0, *range(2, x.ndim))
    off = 2 * math.sqrt(x.size / x.shape[1]) * FLOATS["float32"].u
    square = np.mean(np.square(x), axis=axes)
    with np.errstate(all="ignore"):
        root = np.sqrt(np.maximum(held["var"], 0) + node.attrs["eps"])
        s = channel(held["gamma"] / root)
        centred = x - channel(held["mean"])
        moved = off * np.sqrt(square) if slot == "mean" else off * square / (2 * root**2)
        slack = np.abs(s) * (channel(moved) if slot == "mean" else np.abs(centred) * channel(moved))
    y = s * centred + channel(held["beta"])
    size = np.abs(s * x) + np.abs(s * channel(held["mean"])) + np.abs(channel(held["beta"]))
    return stood_for(node, y, _ROUNDINGS, size, slack)


def _scaled_by_image(node: Node, factor: Array, shift: Array, terms: int, size: Array) -> dict[str, Any]:
    """In a node's place: its input times a number, plus one, of each image and channel; what moves it passes through.

    Parameters
    ----------
    factor, shift : (N, C, 1, 1)
    terms, size : how many roundings of what size may move the sum, as `stood_for` has them
    """
    scaled, by, plus = (f"{node.name}.{part}" for part in ("scaled", "factor", "shift"))
    nodes = (Node(scaled, "scale", (node.inputs[0], by)), Node(node.name, "add", (scaled, plus)))
    return {
        "nodes": {node.name: nodes},
        "given": {by: factor, plus: Expected(np.broadcast_to(shift, size.shape), rounded_off(terms, size))},
    }
