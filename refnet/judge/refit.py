"""Whether other weights explain a tensor: a least-squares fit of a layer's own weights to what it made of its inputs.

A port that was given another file computes what it should, with other numbers. A layer that some weights and biases
explain within rounding is right but for these.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.segments import Segment
from refnet.graph import Node
from refnet.ops import CONVOLUTIONS, WINDOWED
from refnet.readings import fast

__all__ = ["Refitted", "refit", "too_few"]

Array = npt.NDArray[Any]

_ENOUGH = 2  # points for each weight that is solved for
_MOST = 1 << 24  # numbers of the windows that are laid out


class Refitted(NamedTuple):
    """What a layer makes with the weights that fit best, and how much they are like its own.

    `alike` is the correlation of the weights as they act: with batch norm worked in.
    """

    y: Array
    alike: float


def refit(segment: Segment) -> Refitted | None:
    """The best weights of a convolution, with the batch norm behind it, or of one alone; None where points are few."""
    target = segment.candidate
    nodes = _layer(segment)
    if not nodes:
        return None
    conv = nodes[0]
    if target is not None and [node.op for node in nodes] == ["batch_norm"] and target.ndim == 4:
        return _renormed(segment, conv, target.astype(np.float64))
    if target is None or segment.view is not None or conv.op not in CONVOLUTIONS or target.ndim != 4:
        return None
    if [node.op for node in nodes[1:]] not in ([], ["batch_norm"]):
        return None
    ((_, x),) = segment.values({conv.inputs[0]})
    w = segment.param(conv, "w").astype(np.float64)
    windows = _windows(x, conv, w)  # (N P Q, C, R S)
    depthwise = conv.op == "depthwise_conv2d"
    terms = w[0].size
    if windows is None or len(windows) < _ENOUGH * (terms + 1) or target.size != len(windows) * len(w):
        return None
    wanted = target.astype(np.float64).transpose(0, 2, 3, 1).reshape(len(windows), -1)
    made, found = np.empty_like(wanted), np.empty((len(w), terms))
    for k in range(len(w)) if depthwise else (slice(None),):
        rows = windows[:, k] if depthwise else windows.reshape(len(windows), -1)
        A = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        solved, *_ = np.linalg.lstsq(A, wanted[:, k], rcond=None)
        made[:, k], found[k] = A @ solved, solved[:-1].T
    N, K, P, Q = target.shape
    return Refitted(made.reshape(N, P, Q, K).transpose(0, 3, 1, 2), _alike(segment, conv, w, found))


def _layer(segment: Segment) -> tuple[Node, ...]:
    """From the first node with arrays on, if what lies before it has none: sums and gates that a port does not dump."""
    nodes = segment.graph.nodes
    first = next((index for index, node in enumerate(nodes) if node.params), len(nodes))
    return nodes[first:] if all(len(node.inputs) == 1 for node in nodes[first:]) else ()


def too_few(segment: Segment) -> bool:
    """Whether a layer has fewer points than a fit of its weights takes, so that some weights explain anything."""
    nodes, target = _layer(segment), segment.candidate
    if target is None or target.ndim != 4 or not nodes or nodes[0].op not in CONVOLUTIONS:
        return False
    conv = nodes[0]
    terms, points = math.prod(conv.params["w"][1:]), target.size // target.shape[1]
    return [node.op for node in nodes[1:]] in ([], ["batch_norm"]) and points < _ENOUGH * (terms + 1)


def _renormed(segment: Segment, norm: Node, wanted: Array) -> Refitted | None:
    """A slope and an offset for each channel."""
    x = segment.given[norm.inputs[0]].astype(np.float64)
    if x.shape != wanted.shape or wanted.size // wanted.shape[1] < 2 * _ENOUGH:
        return None
    axes = (0, 2, 3)
    centred = x - x.mean(axis=axes, keepdims=True)
    square = (centred**2).sum(axis=axes, keepdims=True)
    slope = (wanted * centred).sum(axis=axes, keepdims=True) / np.where(square > 0, square, 1)
    found, own = slope.ravel()[:, None], segment.units[0].factor
    return Refitted(slope * centred + wanted.mean(axis=axes, keepdims=True), _cosine(own[:, None], found))


def _windows(x: Array, conv: Node, w: Array) -> Array | None:
    """(N P Q, C, R S): what each output is summed from."""
    if conv.op not in WINDOWED:
        return x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1], 1)
    C, R, S = x.shape[1], *w.shape[-2:]
    if x.size * R * S > _MOST:
        return None
    taps = np.zeros((R * S * C, R, S))
    for index in range(R * S):
        taps[index * C : (index + 1) * C, index // S, index % S] = 1
    wide = fast.depthwise_conv2d(np.tile(x, (1, R * S, 1, 1)), taps, None, **conv.attrs)
    return wide.transpose(0, 2, 3, 1).reshape(-1, R * S, C).transpose(0, 2, 1)


def _alike(segment: Segment, conv: Node, w: Array, found: Array) -> float:
    own = w.reshape(len(w), -1)
    if segment.units[0].norm is not None:
        own = own * segment.units[0].factor[:, None]
    return _cosine(own, found)


def _cosine(own: Array, found: Array) -> float:
    product = float(np.sqrt((own**2).sum() * (found**2).sum()))
    return float((own * found).sum()) / product if product else 0.0
