"""Whether other weights explain a tensor: a least-squares fit of a layer's own weights to what it made of its inputs.

A port that was given another file computes what it should, with other numbers. A layer that some weights and biases
explain within rounding is right but for these.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.segments import Segment
from refnet.bugs.language.shifts import flat_shift
from refnet.graph import Node
from refnet.judge.causes.linear_layers import (
    FREE,
    UNDONE,
    LinearLayer,
    activated,
    before_sum,
    chain,
    fittable,
    is_small,
    layer_of,
    nearest_lines,
    varying_channels,
)
from refnet.ops import WINDOWED
from refnet.readings import fast
from refnet.readings.precision import FLOATS

__all__ = ["Refitted", "has_points", "refit"]

Array = npt.NDArray[Any]

_MOST = 1 << 24  # numbers of the windows that are laid out
_WORK = 5e8  # multiply-adds of fits channel by channel, and at most so many channels
_CHANNELS = 64
# Of filters that are told by their directions: so many weights at least, so near, and so many of all of them.
_TELLING, _SAME, _MOST_OF = 4, 1e-3, 0.9
_FINER = 16  # roundings to float16 leave rms errors of u / root 3 or u / root 12, by the place in a binade
_LEAST = FLOATS["float16"].normal  # below it a step of float16 grows no finer
_NEAR = 0.1  # of a step: so near to a number of a format lies a fifth of all numbers by chance


class Refitted(NamedTuple):
    """What a layer makes with the weights that fit best, and how much they are like its own.

    Attributes
    ----------
    y : (N, channels, P, Q)
    channels : of which a fit was made
    alike : the correlation of the weights as they act: with batch norm worked in, by the size of what they meet
    moved : by how many channels the filters are displaced, where each is another's; 0 where they are in no such order,
        None where they are not
    apart : how far they are from its own, relative
    store : the short format whose numbers the weights are, '' for none
    shift : how many numbers on those of its own lie that the weights are nearest to; 0 for none
    slopes : of a batch norm without a convolution, how many times as steep as it should be each channel that varies is
    """

    y: Array
    channels: Array
    alike: float
    moved: int | None = None
    apart: float = 1.0
    store: str = ""
    shift: int = 0
    slopes: Array | None = None

    @property
    def has_own(self) -> bool:
        """Whether the weights are the layer's own, so that only biases differ: nearer than any short format's are."""
        return self.apart < FLOATS["float16"].u / _FINER


def refit(segment: Segment) -> Refitted | None:
    """The best weights of a convolution, with what follows it, or of a batch norm without one; None of few points."""
    target, nodes = segment.candidate, fittable(segment)
    if target is None or not nodes:
        return None
    norm, *behind = nodes
    if norm.op == "batch_norm" and len(behind) <= 1 and all(node.op in UNDONE for node in behind):
        return _renormed(segment, norm, behind[0] if behind else None, target.astype(np.float64))
    layer = layer_of(nodes, target)
    if layer is None or is_small(layer):
        return None
    ((_, x),) = segment.values({layer.conv.inputs[0]})
    w = segment.param(layer.conv, "w").astype(np.float64)
    windows = _windows(x, layer.conv, w)  # (N P Q, C, R S)
    if windows is None or target.size != len(windows) * len(w):
        return None
    return _fitted(segment, layer, windows, w, target.shape)


def _fitted(segment: Segment, layer: LinearLayer, windows: Array, w: Array, shape: tuple[int, ...]) -> Refitted:
    """Weights and a bias of each channel by least squares, of some channels where each has points of its own."""
    terms, depthwise = w[0].size, layer.conv.op == "depthwise_conv2d"
    channels = np.flatnonzero(layer.kept.sum(axis=0) > terms + FREE)
    shared = layer.act is None and not depthwise
    if not shared:
        rows = min(len(windows), 4 * terms + _CHANNELS)
        most = int(np.clip(_WORK / (rows * terms**2), 4, _CHANNELS))
        channels = channels[:: -(-len(channels) // most)]
    found, z = np.empty((len(channels), terms)), np.empty((len(windows), len(channels)))
    whole = np.ones(len(channels), bool)  # whose filter is the only one that fits
    seen = np.zeros(z.shape, bool)  # what was fitted: elsewhere a fit says nothing
    for place, k in [(slice(None), channels)] if shared else enumerate(channels):
        A = windows[:, k] if depthwise else windows.reshape(len(windows), -1)
        A = np.concatenate([A, np.ones((len(A), 1))], axis=1)
        used = np.arange(len(A)) if shared else np.flatnonzero(layer.kept[:, k])
        used = used if shared else used[:: max(len(used) // (4 * terms + _CHANNELS), 1)]
        solved, _, rank, _ = np.linalg.lstsq(A[used], layer.z[used][:, k], rcond=None)
        whole[place] = rank == A.shape[1]
        z[:, place], found[place] = A @ solved, solved[:-1].T
        seen[used, place] = True
    y, seen = (each.reshape(shape[0], *shape[2:], -1).transpose(0, 3, 1, 2) for each in (z, seen))
    y = activated(segment, layer.act, y)
    y = np.where(seen, y, np.asarray(segment.candidate, np.float64)[:, channels])
    own, size = _acting(segment, w, windows, channels, depthwise)
    alike, apart = _cosine(own * size, found * size), _apart(own * size, found * size)
    moved = _moved(w.reshape(len(w), -1), found[whole], channels[whole])
    shift = _shift(segment, w, found, channels)
    return Refitted(y, channels, alike, moved, apart, _store(found[whole]), shift)


def has_points(segment: Segment) -> bool | None:
    """Whether a layer has the points that a fit of its weights takes; of fewer some weights explain anything.

    None of what is no such layer.
    """
    if segment.candidate is not None:
        segment, _ = before_sum(segment)
    nodes, target = chain(segment), segment.candidate
    layer = layer_of(nodes, target) if target is not None and target.ndim == 4 and nodes else None
    return None if layer is None else not is_small(layer)


def _renormed(segment: Segment, norm: Node, act: Node | None, wanted: Array) -> Refitted | None:
    """A slope and an offset for each channel, of the points whose activation can be undone."""
    x = segment.given[norm.inputs[0]].astype(np.float64)
    if x.shape != wanted.shape:
        return None
    axes = (0, 2, 3)
    z, kept = (wanted, np.ones(wanted.shape, bool)) if act is None else UNDONE[act.op](wanted, act)
    channels = np.flatnonzero(kept.sum(axis=axes) >= 2 + FREE)
    if not channels.size:
        return None
    x, z, kept = x[:, channels], z[:, channels], kept[:, channels]
    fitted = nearest_lines(x, z, kept, axes)
    y = activated(segment, act, fitted.of(x))
    unit, told = segment.units[0], varying_channels(z, kept, axes)
    lines = np.stack([unit.factor, unit["beta"] - unit["mean"] * unit.factor], axis=1)
    held = np.stack([fitted.slope.ravel(), fitted.of(np.zeros((1, 1, 1, 1))).ravel()], axis=1)
    moved = _lines_moved(lines, held, channels)
    own, found = unit.factor[channels][told], fitted.slope.ravel()[told]
    slopes = found[own != 0] / own[own != 0]
    alike, apart = (of(own[:, None], found[:, None]) for of in (_cosine, _apart))
    return Refitted(y, channels, alike, moved, apart, slopes=slopes)


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


def _acting(segment: Segment, w: Array, windows: Array, channels: Array, depthwise: bool) -> tuple[Array, Array]:
    """A layer's own weights, with batch norm worked in; and the size of what they multiply."""
    own = w.reshape(len(w), -1)[channels]
    if segment.units[0].norm is not None:
        own = own * segment.units[0].factor[channels, None]
    size = np.sqrt(np.mean(np.square(windows), axis=0))  # (C, R S)
    return own, size[channels] if depthwise else size.reshape(1, -1)


def _apart(own: Array, found: Array) -> float:
    """How far weights are from a layer's own, relative."""
    size = float(np.linalg.norm(own))
    return float(np.linalg.norm(found - own)) / size if size else 1.0


def _store(found: Array) -> str:
    """The shortest format whose numbers nearly all of some weights are, as near as fits leave them; not of zeros."""
    found = found[np.abs(found) > _SAME * np.abs(found).max(initial=0.0)]
    for store in ("bfloat16", "float16") if found.size >= _CHANNELS else ():
        step = np.exp2(np.floor(np.log2(np.maximum(np.abs(found), _LEAST)))) * 2 * FLOATS[store].u
        if np.mean(np.abs(found / step - np.rint(found / step)) < _NEAR) > _MOST_OF:
            return store
    return ""


def _moved(w: Array, found: Array, channels: Array) -> int | None:
    """By how many channels filters are displaced that are, up to a factor, the layer's own in another order."""
    own, mine = (_directions(each) for each in (w, found))
    if w.shape[1] < _TELLING or not len(channels):
        return None
    nearest = np.abs(mine @ own.T).argmax(axis=1)
    turned = np.sign((mine * own[nearest]).sum(axis=1, keepdims=True))
    same = np.linalg.norm(mine - turned * own[nearest], axis=1) < _SAME
    others = nearest != channels
    if np.mean(same) < _MOST_OF or np.mean(others) < 0.5:
        return None
    steps, counts = np.unique((channels - nearest)[others & same] % len(w), return_counts=True)
    step = int(steps[counts.argmax()])
    return (step if 2 * step <= len(w) else step - len(w)) if counts.max() > 0.5 * counts.sum() else 0


def _shift(segment: Segment, w: Array, found: Array, channels: Array) -> int:
    """How many numbers on those lie that the weights of some channels are nearest to; 0 for none.

    Channels last in memory, every filter is another one's then: `_moved` says so.
    """
    norm, copy, known = segment.units[0].norm, np.zeros(w.shape), np.zeros(w.shape, bool)
    factor = np.ones(len(w)) if norm is None else segment.units[0].factor
    with np.errstate(all="ignore"):
        copy[channels] = np.nan_to_num(found / factor[channels, None]).reshape(-1, *w.shape[1:])
    known[channels] = True
    return flat_shift(copy.ravel(), w.ravel(), np.flatnonzero(known))


def _lines_moved(lines: Array, held: Array, channels: Array) -> int | None:
    """0 where slopes and offsets of channels are a batch norm's own in another order; None where they are not."""
    apart = np.linalg.norm(held[:, None] - lines[None], axis=2)
    nearest = apart.argmin(axis=1)
    same = apart.min(axis=1) <= _SAME * np.linalg.norm(lines, axis=1)[nearest]
    told = np.mean(same) >= _MOST_OF and np.mean(nearest != channels) >= 0.5 and len(channels) >= _TELLING
    return 0 if told and len(np.unique(nearest)) >= _MOST_OF * len(channels) else None


def _directions(rows: Array) -> Array:
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(size > 0, size, 1))


def _cosine(own: Array, found: Array) -> float:
    product = float(np.sqrt((own**2).sum() * (found**2).sum()))
    return float((own * found).sum()) / product if product else 0.0
