"""What is wrong, or about to be, with the weights of one file by themselves.

Some findings fail a file: NaN, infinity, a negative variance. Others are only told: they are in many good networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.files.checkpoint import Checkpoint
from refnet.verification.layers import Layer, layers

__all__ = ["CHECKS", "Check", "Finding", "examine"]

Array = npt.NDArray[Any]

_HALF_MAX = 65504.0  # the largest number of float16
_NORMAL = {"float64": 2.0**-1022, "float16": 2.0**-14}  # the smallest normal numbers; float32's is 2^-126
_LOST = 2.0**24  # so many times larger, a number leaves nothing of another in a float32 sum
_CONSTANT = 4  # elements that a tensor must have to be called constant


@dataclass(frozen=True)
class Finding:
    """One thing about one tensor.

    Attributes
    ----------
    file : whose
    name : of the tensor, refnet's
    key : the file's own name of it
    kind : a key of `CHECKS`
    fails : whether the file cannot be used so
    count, first : of how many elements or channels, and the index of the first
    detail : in words
    """

    file: str
    name: str
    key: str
    kind: str
    fails: bool
    count: int
    first: tuple[int, ...]
    detail: str


class Check(NamedTuple):
    """What is looked for: whether it fails a file, in words, and which elements of an array are such."""

    fails: bool
    sentence: str
    of: Callable[[Array, str, str], Array | None]


def _nan(x: Array, slot: str, stored: str) -> Array:
    return np.isnan(x)


def _infinite(x: Array, slot: str, stored: str) -> Array:
    return np.isinf(x)


def _negative(x: Array, slot: str, stored: str) -> Array | None:
    return np.less(x, 0) if slot == "var" else None


def _zero_variance(x: Array, slot: str, stored: str) -> Array | None:
    return np.equal(x, 0) if slot == "var" else None


def _denormal(x: Array, slot: str, stored: str) -> Array:
    return np.not_equal(x, 0) & (np.abs(x) < _NORMAL.get(stored, 2.0**-126))


def _beyond_half(x: Array, slot: str, stored: str) -> Array:
    return np.isfinite(x) & (np.abs(x) > _HALF_MAX)


def _constant(x: Array, slot: str, stored: str) -> Array | None:
    """All elements the same, unless they are zero: a bias of zeros is ordinary, weights of zeros are dead channels."""
    if x.size < _CONSTANT or not np.isfinite(x.flat[0]) or (x.flat[0] == 0 and slot != "var"):
        return None
    return np.ones(1, bool) if (x == x.flat[0]).all() else None


def _absurd(x: Array, slot: str, stored: str) -> Array | None:
    """Few elements beside which all others are lost in a float32 sum: 2^24 times what nine in ten are below.

    Few, one in a thousand: weight decay leaves nearly all channels of some good layers next to nothing.
    """
    size = np.abs(x[np.isfinite(x)])
    if size.size < _CONSTANT:
        return None
    most = float(np.quantile(size, 0.9, method="lower"))
    large: Array = np.isfinite(x) & (np.abs(x) > _LOST * most)
    return large if most and large.sum() <= max(1, x.size // 1000) else None


CHECKS: Mapping[str, Check] = {
    "nan": Check(True, "not a number", _nan),
    "inf": Check(True, "infinite", _infinite),
    "negative-variance": Check(True, "a variance below zero", _negative),
    "zero-variance": Check(False, "a variance of zero: a channel that never varied in training", _zero_variance),
    "denormal": Check(False, "subnormal: slow on some processors, zero on others", _denormal),
    "float16-overflow": Check(False, "beyond 65504, the largest number of float16", _beyond_half),
    "constant": Check(False, "every element is the same", _constant),
    "absurd": Check(False, "2^24 times nine tenths of the others: a float32 sum loses them beside it", _absurd),
}


def examine(file: Checkpoint, trace: Mapping[str, Array] | None = None) -> list[Finding]:
    """Look at every array of a file, at its layers, and at the tensors that a probe input gave.

    Parameters
    ----------
    trace : {node: tensor} of a run, to look for overflow ahead and for channels that stay silent
    """
    found = [finding for name in file.params for finding in _of_array(file, name)]
    for layer in layers(file.graph, file.params).values():
        found += _dead(file, layer)
    return [*found, *(_of_run(file, trace) if trace is not None else [])]


def _of_array(file: Checkpoint, name: str) -> Iterator[Finding]:
    array, slot, stored = file.params[name], name.rpartition(".")[2], file.stored.get(name, "float32")
    for kind, check in CHECKS.items():
        with np.errstate(all="ignore"):
            mask = check.of(array, slot, stored)
        if mask is None or not mask.any():
            continue
        first, detail = tuple(int(i) for i in np.argwhere(mask)[0]), check.sentence
        count = array.size if kind == "constant" else int(mask.sum())
        if kind == "constant":
            first, detail = (), f"every element is {float(array.flat[0]):g}"
        yield Finding(file.path, name, file.keys.get(name, ""), kind, check.fails, count, first, detail)


def _dead(file: Checkpoint, layer: Layer) -> Iterator[Finding]:
    """Output channels that are the same for every input: filters of zeros, or gamma zero."""
    for slot, words in (("w", "every weight of the channel is zero"), ("gamma", "gamma is zero")):
        if slot not in layer.arrays:
            continue
        rows = layer.arrays[slot].reshape(len(layer.arrays[slot]), -1)
        dead = np.flatnonzero(~rows.any(axis=1))
        if len(dead):
            name, first = layer.names[slot], (int(dead[0]),)
            detail = f"{words}: it has the same value for every input"
            yield Finding(file.path, name, file.keys.get(name, ""), "dead-channel", False, len(dead), first, detail)
    yield from _stuck(file, layer)


def _stuck(file: Checkpoint, layer: Layer) -> Iterator[Finding]:
    """Channels that a ReLU behind batch norm would need more than 6 deviations to let anything through.

    Behind batch norm a channel has mean beta and deviation abs(gamma) on the training data.
    """
    if not {"gamma", "beta"} <= layer.arrays.keys():
        return
    norm = layer.names["gamma"].rpartition(".")[0]
    if not any(node.op in ("relu", "relu6") for node in file.graph.readers().get(norm, [])):
        return
    gamma, beta = layer.arrays["gamma"], layer.arrays["beta"]
    stuck = np.flatnonzero((beta < -6 * np.abs(gamma)) & (gamma != 0))
    if len(stuck):
        name, first = layer.names["beta"], (int(stuck[0]),)
        detail = "beta is more than 6 gamma below zero: the ReLU behind lets nothing through"
        yield Finding(file.path, name, file.keys.get(name, ""), "dead-channel", False, len(stuck), first, detail)


def _of_run(file: Checkpoint, trace: Mapping[str, Array]) -> Iterator[Finding]:
    """What a probe shows: values that are no numbers, values that float16 cannot hold."""
    seen = False
    for node in file.graph.nodes:
        y = trace.get(node.name)
        if y is None:
            continue
        bad = ~np.isfinite(y)
        if bad.any() and not seen:  # what comes after it is a consequence
            seen = True
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            words = "the tensor that it makes of the probe is not finite"
            yield Finding(file.path, node.name, "", "not-finite", True, int(bad.sum()), first, words)
        beyond = np.isfinite(y) & (np.abs(y) > _HALF_MAX)
        if beyond.any():
            first = tuple(int(i) for i in np.argwhere(beyond)[0])
            words = f"the probe drives it to {float(np.abs(y[beyond]).max()):.4g}, beyond float16's 65504"
            yield Finding(file.path, node.name, "", "float16-overflow", False, int(beyond.sum()), first, words)
