"""How large the sums of a segment can be at most: by channels alone, so that no node has to be run to know it.

A bound that says too much is no harm: then the segment is run. What it does not know it says nothing about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph, Node

__all__ = ["stays_within"]

Array = npt.NDArray[Any]
_Rule = Callable[[Node, list[Array], Mapping[str, Array]], tuple[Array, Array]]

_ROUNDED = 1 + 1e-6  # of float64, in the run and here


def stays_within(graph: Graph, params: Mapping[str, Array], given: Mapping[str, Array], largest: float) -> bool:
    """Whether it is sure that no sum in a run of some nodes is larger than a number, nor any result.

    Parameters
    ----------
    params : by 'node.slot'
    given : the tensors that the nodes start from
    """
    reach = {name: _largest(y) for name, y in given.items()}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            rule = _RULES.get(node.op)
            if rule is None:
                return False
            own = {slot: params[f"{node.name}.{slot}"].astype(np.float64) for slot in node.params}
            sums, reach[node.name] = rule(node, [reach[name] for name in node.inputs], own)
            if not sums.max(initial=0.0) * _ROUNDED <= largest:  # nor where that is no number
                return False
    return True


def _largest(y: Array) -> Array:
    """The largest magnitude of each channel, (C,)."""
    axes = (0, *range(2, y.ndim))
    largest: Array = np.maximum(y.max(axis=axes), -y.min(axis=axes)).astype(np.float64)
    return largest


def _summed(node: Node, x: list[Array], own: Mapping[str, Array]) -> tuple[Array, Array]:
    """The sum of absolute products, and the bias."""
    w = np.abs(own["w"])
    w = w.sum(axis=tuple(range(w.ndim - 2, w.ndim))) if w.ndim > 2 else w
    y = (w * x[0] if w.ndim == 1 else w @ x[0]) + np.abs(own.get("b", 0.0))
    return y, y


def _normed(node: Node, x: list[Array], own: Mapping[str, Array]) -> tuple[Array, Array]:
    factor = own["gamma"] / np.sqrt(own["var"] + node.attrs["eps"])
    y = np.abs(factor) * x[0] + np.abs(own["beta"] - own["mean"] * factor)
    return y, y


def _pooled(node: Node, x: list[Array], own: Mapping[str, Array]) -> tuple[Array, Array]:
    """The sum of a window, before it is divided."""
    height, width = node.attrs["kernel"]
    return x[0] * (height * width), x[0]


def _swished(node: Node, x: list[Array], own: Mapping[str, Array]) -> tuple[Array, Array]:
    """The product of x and clip(x + 3, 0, 6) before it is divided."""
    return 6 * x[0], x[0]


def _kept(node: Node, x: list[Array], own: Mapping[str, Array]) -> tuple[Array, Array]:
    return x[0], x[0]


def _cut(node: Node, x: list[Array], own: Mapping[str, Array]) -> tuple[Array, Array]:
    one = np.ones_like(x[0])
    return one, one


def _added(node: Node, x: list[Array], own: Mapping[str, Array]) -> tuple[Array, Array]:
    y = x[0] + x[1]
    return y, y


def _scaled(node: Node, x: list[Array], own: Mapping[str, Array]) -> tuple[Array, Array]:
    y = x[0] * x[1]
    return y, y


_RULES: Mapping[str, _Rule] = {
    "conv2d": _summed,
    "depthwise_conv2d": _summed,
    "pointwise_conv2d": _summed,
    "batch_norm": _normed,
    "relu": _kept,
    "relu6": _kept,
    "max_pool2d": _kept,
    "flatten": _kept,
    "hard_swish": _swished,
    "hard_sigmoid": _cut,
    "sigmoid": _cut,
    "avg_pool2d": _pooled,
    "add": _added,
    "scale": _scaled,
}
