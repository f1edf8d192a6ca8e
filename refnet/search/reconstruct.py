"""Layers of a smaller network, solved for so that they make of its maps what a larger network's made of its own.

Fine-tuning in closed form: front to back, each pointwise convolution that still has all of its channels is moved, by
least squares with a small ridge, towards the larger network's outputs on the same images; batch norm is measured anew
on the way. A layer that has lost channels keeps what was cut out for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Graph, walk
from refnet.readings import fast
from refnet.search.head import MeasuringRules, ridge_step
from refnet.threads import blas_threads

__all__ = ["layer_targets", "reconstructed"]

Array = npt.NDArray[Any]
Params = Mapping[str, Array]

_POINTS = 8000  # for a layer of at most some hundred channels


def layer_targets(graph: Graph, params: Params, x: Array) -> dict[str, Array]:
    """What each pointwise convolution of a network makes of some images: (N, K, H, W), by its name."""
    with blas_threads(1):
        return {node.name: y for node, y in walk(graph, fast, params, {SOURCE: x}) if node.op == "pointwise_conv2d"}


def reconstructed(graph: Graph, params: Params, targets: Mapping[str, Array], x: Array) -> dict[str, Array]:
    """The params of a network with batch norm measured on some images and its layers moved towards those of another.

    Parameters
    ----------
    graph, params : the smaller network
    targets : of the larger one on the same images, from `layer_targets`
    x : the images

    Notes
    -----
    With f what a layer reads and r = t - w f what it lacks of the target, both centred, w' is
    w + r^T f (f^T f + s v N I)^-1, s and v as for `head.ridge`: a layer that lacks nothing stays as it is. A bias takes
    the means. Of large maps some points are taken, evenly.

    Examples
    --------
    >>> from refnet.network import load
    >>> from refnet.search.head import split_scans
    >>> net, x = load(), split_scans().judged.x[:50]
    >>> params = reconstructed(net.graph, net.params, layer_targets(net.graph, net.params, x), x)
    >>> params["block2.expand.w"].shape
    (24, 8)
    """
    found, rules = dict(params), MeasuringRules()
    behind = dict(zip((SOURCE, *(node.name for node in graph.nodes)), graph.nodes, strict=False))
    with np.errstate(all="ignore"), blas_threads(1):  # what is not finite is refused where accuracy is asked for
        for node, y in walk(graph, rules, found, {SOURCE: x}):
            if node.op == "batch_norm":
                found[f"{node.name}.mean"], found[f"{node.name}.var"] = rules.measured
            following = behind.get(node.name)
            if following is None or following.inputs != (node.name,) or following.op != "pointwise_conv2d":
                continue
            target = targets.get(following.name)
            if target is not None and target.shape[1] == following.params["w"][0] and target.shape[2:] == y.shape[2:]:
                _move(following.name, found, y, target)
    return found


def _move(name: str, params: dict[str, Array], x: Array, target: Array) -> None:
    """Move one layer's weights, in `params` themselves."""
    w = params[f"{name}.w"].astype(np.float64)
    f, t = (np.moveaxis(array, 1, -1).reshape(-1, array.shape[1]) for array in (x, target))
    some = slice(None, None, max(1, len(f) // _POINTS))
    f, t = f[some].astype(np.float64), t[some].astype(np.float64)
    f_mean, t_mean = f.mean(axis=0), t.mean(axis=0)
    f -= f_mean
    t -= t_mean
    w += ridge_step(f, t - f @ w.T)
    params[f"{name}.w"] = w.astype(x.dtype)
    if f"{name}.b" in params:
        params[f"{name}.b"] = (t_mean - w @ f_mean).astype(x.dtype)
