"""What features a network has, judged without gradients: batch norm is measured anew, its last layer solved for.

The proxy of accuracy that a search takes when no framework is there: training, cut down to what has a closed form. It
is for networks that give each image a class and end in one linear layer. It is deterministic: the same arrays give the
same bits on one machine, on however many cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.files.digits import digits
from refnet.graph import SOURCE, Graph, Node, walk
from refnet.ops import OPS
from refnet.readings import fast
from refnet.readings.shapes import shapes
from refnet.threads import blas_threads

__all__ = [
    "STRENGTH",
    "LabelledScans",
    "MeasuringRules",
    "ScanSplit",
    "classifying_layer",
    "head_features",
    "measured_norms",
    "proportion_right",
    "refitted",
    "ridge",
    "ridge_step",
    "split_scans",
]

Array = npt.NDArray[Any]
Params = Mapping[str, Array]

STRENGTH = 1e-3  # of the ridge, in units of the features' mean variance; docs/13-netadapt.md has the table
_BATCH = 256  # images at once where no statistics go across them


class LabelledScans(NamedTuple):
    """Images as a network takes them, (N, C, H, W) float32, and the class of each."""

    x: Array
    labels: Array


class ScanSplit(NamedTuple):
    """The shipped digits in three parts, none of which shares a scan with another.

    Attributes
    ----------
    fitted : 899 of the scans that the shipped network was trained on: what batch norm and the last layer are fitted to
    judged : the other 299 of those: what choices are made by
    held_out : 599 scans that neither training nor any choice saw: what is reported
    """

    fitted: LabelledScans
    judged: LabelledScans
    held_out: LabelledScans


@cache
def split_scans() -> ScanSplit:
    """The shipped digits: every fourth scan of the training set is judged by, the others are fitted to.

    Examples
    --------
    >>> [len(part.labels) for part in split_scans()]
    [899, 299, 599]
    """
    data = digits()
    x, labels = data.inputs(), data.labels.astype(np.int64)
    training, held_out = np.flatnonzero(~data.held_out), np.flatnonzero(data.held_out)
    judged = np.zeros(len(training), bool)
    judged[3::4] = True
    parts = (training[~judged], training[judged], held_out)
    return ScanSplit(*(LabelledScans(x[part], labels[part]) for part in parts))


def classifying_layer(graph: Graph) -> Node:
    """The linear layer that a network's classes come from; behind it are only nodes that keep their order.

    Raises
    ------
    RequestError
        if the network does not end so.

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> classifying_layer(build("keras/MobileNetV2")).name
    'head.logits'
    """
    node = graph[graph.output]
    while OPS[node.op].kind in ("layout", "classifier") and node.inputs[0] != SOURCE:
        node = graph[node.inputs[0]]
    shape = shapes(graph)[node.name]
    if len(graph.outputs) > 1 or node.op != "pointwise_conv2d" or shape[1:] != (1,) * len(shape[1:]):
        raise RequestError(f"{node.name}: the network does not end in a linear layer that could be solved for")
    return node


def measured_norms(graph: Graph, params: Params, x: Array) -> dict[str, Array]:
    """The params with the mean and variance of every batch norm measured on some images, each behind those before it.

    Parameters
    ----------
    x : (N, C, H, W); all of them are in memory at once

    Notes
    -----
    As training's last step does: what a layer makes of these images has mean beta and variance gamma^2 in each channel
    (but for eps). The variance is that of the images themselves, divided by their number.

    Examples
    --------
    >>> from refnet import build, random_params
    >>> graph = build("refnet/digits")
    >>> params = measured_norms(graph, random_params(graph), split_scans().fitted.x[:100])
    >>> float(params["stem.bn.var"].min()) > 0
    True
    """
    found = dict(params)
    with blas_threads(1):
        _fitting_walk(graph, found, x, until=None)
    return found


def head_features(graph: Graph, params: Params, x: Array) -> Array:
    """What the last linear layer reads of some images: (N, features), in the params' dtype.

    Examples
    --------
    >>> from refnet import load
    >>> net = load()
    >>> head_features(net.graph, net.params, split_scans().judged.x[:2]).shape
    (2, 360)
    """
    source = classifying_layer(graph).inputs[0]
    part = graph.leading_to(source)
    with blas_threads(1):
        rows = [_last_of(part, params, x[start : start + _BATCH]) for start in range(0, len(x), _BATCH)]
    return np.concatenate(rows).reshape(len(x), -1)


def ridge(
    features: Array, labels: Array, classes: int, strength: float = STRENGTH, *, bias: bool = True
) -> tuple[Array, Array]:
    """The linear layer that comes nearest to 1 for an image's class and 0 for others, in least squares.

    With the features f and the targets t centred, w = t^T f (f^T f + s v N I)^-1, v the mean variance of the features;
    b takes the means back in.

    Parameters
    ----------
    features : (N, F)
    labels : (N,) classes from 0 on
    strength : s, which keeps weights small
    bias : whether the layer has one; without, nothing is centred

    Returns
    -------
    w, b : (classes, F) and (classes,) float64

    Raises
    ------
    RequestError
        if the features are not finite.

    Examples
    --------
    >>> w, b = ridge(np.array([[0.0], [1.0]]), np.array([0, 1]), 2, strength=0.0)
    >>> w.round(6).tolist(), b.round(6).tolist()
    ([[-1.0], [1.0]], [1.0, 0.0])
    """
    f, t = features.astype(np.float64), np.eye(classes)[labels]
    if not np.isfinite(f).all():
        raise RequestError("what the last layer reads is not finite: no linear layer can be solved for")
    f_mean, t_mean = f.mean(axis=0) * bias, t.mean(axis=0) * bias
    f -= f_mean
    w = ridge_step(f, t - t_mean, strength)
    return w, t_mean - w @ f_mean


def ridge_step(f: Array, t: Array, strength: float = STRENGTH) -> Array:
    """t^T f (f^T f + s v N I)^-1 of features and targets that are centred: (targets, features) float64, see `ridge`.

    Examples
    --------
    >>> ridge_step(np.array([[-1.0], [1.0]]), np.array([[-3.0], [3.0]]), 0.0)
    array([[3.]])
    """
    from scipy.linalg import solve

    with blas_threads(1):
        square = f.T @ f
        spread = np.trace(square) / len(square)
        if not spread > 0:  # the images are all alike to the network
            return np.zeros((t.shape[1], len(square)))
        square[np.diag_indices(len(square))] += strength * spread
        made: Array = solve(square, f.T @ t, assume_a="pos").T
    return made


def refitted(
    graph: Graph, params: Params, x: Array, labels: Array, *, norms: bool = True, strength: float = STRENGTH
) -> dict[str, Array]:
    """The params with the last linear layer solved for some labelled images, batch norm measured on them before.

    Parameters
    ----------
    x, labels : (N, C, H, W) and (N,), such as `split_scans().fitted`
    norms : whether batch norm is measured anew; else its statistics stay
    strength : see `ridge`

    Raises
    ------
    RequestError
        if the network does not end in a linear layer, or its features are not finite.

    Examples
    --------
    >>> from refnet import build, random_params
    >>> graph, scans = build("refnet/digits"), split_scans()
    >>> params = refitted(graph, random_params(graph), *scans.fitted)
    >>> proportion_right(graph, params, *scans.judged) > 0.3  # of features at random; 0.1 is chance
    True
    """
    head = classifying_layer(graph)
    found = dict(params)
    with blas_threads(1):
        until = head.inputs[0]
        features = _fitting_walk(graph, found, x, until) if norms else head_features(graph, params, x)
        classes, bias = head.params["w"][0], "b" in head.params
        w, b = ridge(features.reshape(len(x), -1), labels, classes, strength, bias=bias)
    dtype = params[f"{head.name}.w"].dtype
    found[f"{head.name}.w"] = w.astype(dtype)
    if bias:
        found[f"{head.name}.b"] = b.astype(dtype)
    return found


def proportion_right(graph: Graph, params: Params, x: Array, labels: Array) -> float:
    """How many of some images get their own class, from 0 to 1; of several classes with the same value the first is it.

    Examples
    --------
    >>> from refnet import load
    >>> net = load()
    >>> proportion_right(net.graph, net.params, *split_scans().held_out)  # 593 of 599
    0.989983305509182
    """
    right = 0
    with blas_threads(1):
        for start in range(0, len(x), _BATCH):
            y = _last_of(graph, params, x[start : start + _BATCH])
            right += int(np.sum(y.argmax(axis=1) == labels[start : start + _BATCH]))
    return right / len(x)


def _last_of(graph: Graph, params: Params, x: Array) -> Array:
    for node, y in walk(graph, fast, params, {SOURCE: x.astype(_dtype(params), copy=False)}):  # noqa: B007
        pass
    made: Array = y
    return made


def _fitting_walk(graph: Graph, params: dict[str, Array], x: Array, until: str | None) -> Array:
    """Measure each batch norm before it is run, in `params` themselves; the tensor at which the walk ends."""
    graph = graph if until is None else graph.leading_to(until)
    dtype, rules = _dtype(params), MeasuringRules()
    with np.errstate(all="ignore"):  # what is not finite is refused where it matters
        for node, y in walk(graph, rules, dict(params), {SOURCE: x.astype(dtype, copy=False)}):  # noqa: B007
            if node.op == "batch_norm":
                params[f"{node.name}.mean"], params[f"{node.name}.var"] = rules.measured
    made: Array = y
    return made


class MeasuringRules:
    """`readings.fast`, but that a batch norm's mean and variance are those of what it is given."""

    measured: tuple[Array, Array]

    def __getattr__(self, op: str) -> Any:
        return getattr(fast, op)

    def batch_norm(self, x: Array, gamma: Array, beta: Array, _mean: Array, _var: Array, *, eps: float) -> Array:
        """As `fast.batch_norm`, with what is measured."""
        axes = (0, *range(2, x.ndim))
        mean, var = x.mean(axis=axes, dtype=np.float64), x.var(axis=axes, dtype=np.float64)
        self.measured = mean.astype(x.dtype), var.astype(x.dtype)
        return fast.batch_norm(x, gamma, beta, *self.measured, eps=eps)


def _dtype(params: Params) -> np.dtype[Any]:
    return next(iter(params.values())).dtype
