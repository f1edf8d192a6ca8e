"""Bugs of batch norm and of folding it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.segments import Segment, Variation
from refnet.graph import Node

Array = npt.NDArray[Any]

_EPS = (1e-3, 1e-5, 0.0)


def _norms(segment: Segment) -> Iterator[tuple[Node, dict[str, Array]]]:
    """Every batch norm with its arrays in float64."""
    for node in segment.nodes("batch_norm"):
        yield node, {slot: segment.param(node, slot).astype(np.float64) for slot in node.params}


def eps(segment: Segment) -> Iterator[Variation]:
    """Another eps."""
    for node in segment.nodes("batch_norm"):
        for other in _EPS:
            if other != node.attrs["eps"]:
                words = f"eps is {other:g} instead of {node.attrs['eps']:g}"
                yield Variation(node.name, words, segment.with_attrs(node, eps=other))


def batch_stats(segment: Segment) -> Iterator[Variation]:
    """Mean and variance of this batch: training mode."""
    for node in segment.nodes("batch_norm"):
        x = segment.value(node.inputs[0])
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        words = "mean and variance are those of the batch (training mode)"
        yield Variation(node.name, words, segment.with_params(node, mean=mean, var=var))


def fix_gamma(segment: Segment) -> Iterator[Variation]:
    """Gamma taken as 1."""
    for node, p in _norms(segment):
        yield Variation(node.name, "gamma is taken as 1", segment.with_params(node, gamma=np.ones_like(p["gamma"])))


def missing(segment: Segment) -> Iterator[Variation]:
    """No batch norm."""
    for node in segment.nodes("batch_norm"):
        yield Variation(node.name, "there is no batch norm", segment.without(node))


def var_std(segment: Segment) -> Iterator[Variation]:
    """The root left out: the variance taken as the standard deviation."""
    for node, p in _norms(segment):
        s = np.sqrt(p["var"] + node.attrs["eps"])
        for words, gamma in (
            ("the variance plus eps divides instead of its root", p["gamma"] / s),
            ("the variance divides instead of its root", p["gamma"] * s / np.maximum(p["var"], 1e-30)),
        ):
            yield Variation(node.name, words, segment.with_params(node, gamma=gamma))


def fold_axis(segment: Segment) -> Iterator[Variation]:
    """A depthwise kernel scaled along the wrong axis when batch norm was folded into it."""
    for node, p in _norms(segment):
        conv = _before(segment, node, "depthwise_conv2d")
        if conv is not None:
            w = segment.param(conv, "w").astype(np.float64)
            s = p["gamma"] / np.sqrt(p["var"] + node.attrs["eps"])
            wrong = np.resize(s, w.size).reshape(w.shape)  # cycles through the channels inside each kernel
            other = w * wrong / np.where(s == 0, 1, s)[:, None, None]
            words = "batch norm is folded along the wrong axis of the depthwise kernel"
            yield Variation(node.name, words, segment.with_params(conv, w=other))


def fold_bias(segment: Segment) -> Iterator[Variation]:
    """A fold that forgets the mean, or scales it by gamma alone."""
    for node, p in _norms(segment):
        root = np.sqrt(p["var"] + node.attrs["eps"])
        forgotten = segment.with_params(node, mean=np.zeros_like(p["mean"]))
        yield Variation(node.name, "the mean is forgotten (the folded bias is beta alone)", forgotten)
        scaled = segment.with_params(node, mean=p["mean"] * root)
        yield Variation(node.name, "the folded bias is beta - gamma * mean, without the root", scaled)
        conv = _before(segment, node, "conv2d", "depthwise_conv2d", "pointwise_conv2d")
        if conv is not None and "b" in conv.params:
            lost = segment.with_params(conv, b=np.zeros(conv.params["b"]))
            yield Variation(node.name, "the fold forgets the convolution's own bias", lost)


def swapped(segment: Segment) -> Iterator[Variation]:
    """Arrays exchanged on import."""
    for node, p in _norms(segment):
        exchanged = segment.with_params(node, mean=p["beta"], beta=p["mean"])
        yield Variation(node.name, "mean and beta are exchanged", exchanged)
        if (p["gamma"] > 0).all():
            exchanged = segment.with_params(node, gamma=p["var"], var=p["gamma"])
            yield Variation(node.name, "gamma and variance are exchanged", exchanged)


def _before(segment: Segment, node: Node, *ops: str) -> Node | None:
    """The convolution inside the segment that a batch norm follows."""
    return next((conv for conv in segment.nodes(*ops) if conv.name == node.inputs[0]), None)
