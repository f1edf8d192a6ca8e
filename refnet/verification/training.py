"""What training leaves in weights, and its absence: statistics never written, heads and networks never trained.

One file alone shows it. A batch norm whose statistics are all 0 and 1 beside trained gammas was never run in training
mode, or its statistics were lost; ones that are nearly so were written in a few steps; weights that are spread exactly
as an initialiser spreads them were never trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import UnitArrays
from refnet.files.checkpoint import Checkpoint
from refnet.graph import SOURCE
from refnet.readings.precision import FLOATS
from refnet.readings.shapes import shapes
from refnet.verification.findings import HealthFinding
from refnet.verification.patterns import scope_of

__all__ = ["never_loaded", "untrained"]

Array = npt.NDArray[Any]

_FEWEST = 500  # weights that a distribution is told from
_AS_DRAWN = 1.63  # of the Kolmogorov-Smirnov statistic times the root of the count: 1 in 100 drawn sets is above
_PLACES = (-1.5, -0.75, -0.25, 0.25, 0.75, 1.5)  # in deviations, or of the edge, where most distributions differ
_ALIKE = 0.9  # of the norms of a network, or of several layers' weights, that must be as they begin
_SEVERAL = 2  # norms that are as they begin, and whose gammas are not: one alone may have been put in
_MOMENTA = (0.9, 0.99, 0.997, 0.999)  # of running statistics: PyTorch's, Keras', slim's, and TensorFlow's
_FEW = 20  # steps of training that write statistics in part
# Of the mean variance of a batch: trained networks have a channel that varies less, MobileNets one of 200; and how many
# times that mean they have one that varies more, which numbers drawn evenly have not.
_ABOVE, _SPREAD = 0.02, 4
_SHARE = 0.003  # of all channels that vary so little; of numbers drawn with any spread fewer lie so near to the least
_NAMED = 4  # layers of several, where nothing else says which they are
_EQUAL = 3  # channels that are the same
_NEAR = 0.05  # relative: how near a spread must be to an initialiser's
_BEGIN, _VARIED = 64, 8  # the first numbers of an array, and how many of them differ where they are no constants
_VALUES = 16  # whole numbers that weights have where they are integers of some bits
_WIDE = 1e3  # times 1 / root(fan in), above or below which no training ends


def untrained(file: Checkpoint, units: Sequence[UnitArrays]) -> Iterator[HealthFinding]:
    """What says that a file, or a part of it, was never trained; its units tell which of them gives the classes."""
    norms = [
        unit
        for unit in units
        if {"gamma", "beta", "mean", "var"} <= unit.tensors.keys() and unit.names["var"] in file.keys
    ]
    still = [unit for unit in norms if not unit["mean"].any() and (unit["var"] == 1).all()]
    large = [unit for unit in units if "w" in unit and unit["w"].size >= _FEWEST]
    if norms and len(still) >= _ALIKE * len(norms):
        plain = [unit for unit in still if (unit["gamma"] == 1).all() and not unit["beta"].any()]
        if len(plain) == len(still) and _half_drawn(large):
            yield _found(file, plain[0], "mean", "untrained", False, len(plain))
        elif not all((unit["gamma"] == 1).all() for unit in still):  # else they may have been folded, and left as ones
            yield _unwritten(file, still, norms, "mean")
    else:
        yield from _part(file, units)
        part = [unit for unit in still if not (unit["gamma"] == 1).all()]
        if len(part) >= _SEVERAL:
            yield _unwritten(file, part, norms, "mean")
        for slot, half in _half_written(norms).items():
            if len(half) >= _SEVERAL:
                yield replace(_unwritten(file, half, norms, slot), form=slot)
        heads = [unit for unit in large if unit.classifies and _initialiser(unit)]
        if heads and not _half_drawn(large):
            yield from (_found(file, unit, "w", "untrained-head", False, 1) for unit in heads)
        yield from _affine(file, norms, still)
        if (floor := _after_steps(file, norms)) is not None:
            found = _found(file, norms[0], "var", "untrained-norms", not _half_drawn(large), len(norms), floor[0])
            yield replace(found, form="steps", steps=floor[1])
    yield from _scales(file, units)
    yield from _equal(file, units)
    yield from _whole(file, units)
    yield from _repeated(file, units, fails=not _half_drawn(large))


def never_loaded(wrong: Sequence[str], first: Mapping[str, UnitArrays], second: Mapping[str, UnitArrays]) -> list[str]:
    """Those of some units whose arrays the copy has as initialisers leave them, and the original has not.

    Weights may be spread alike in both where what is behind them is as it begins in the copy alone. One at least has so
    many weights that they show it. Where all but a few are so, chance made the few look otherwise.
    """
    held = [name for name in wrong if all("w" in units[name] for units in (first, second))]
    plain = {name for name in held if _is_plain(second[name]) and not _is_plain(first[name])}
    drawn = [n for n in held if _initialiser(second[n]) and (n in plain or not _initialiser(first[n]))]
    if not any(second[name]["w"].size >= _FEWEST for name in drawn):
        return []
    return held if len(drawn) >= _ALIKE * len(held) else drawn


def _part(file: Checkpoint, units: Sequence[UnitArrays]) -> Iterator[HealthFinding]:
    """Layers that are as initialisers leave them, beside others that were trained: they were never loaded.

    Layers on single points (gates, heads) tell nothing: training may leave their biases at zero.
    """
    maps = {SOURCE: file.graph.input_shape, **shapes(file.graph)}
    wide = [unit for unit in units if "w" in unit and math.prod(maps[unit.unit.conv.inputs[0]][1:]) > 1]
    plain = [unit for unit in wide if _is_plain(unit)]
    drawn = [unit for unit in plain if unit["w"].size < _FEWEST or _initialiser(unit)]
    begun = plain if len(drawn) >= _ALIKE * len(plain) else drawn  # chance made the few look otherwise
    if len(begun) < _SEVERAL or not any(unit["w"].size >= _FEWEST for unit in begun):
        return
    if len(begun) >= _ALIKE * len(wide):
        yield _found(file, begun[0], "w", "untrained", False, len(begun))
    else:
        found = _found(file, begun[0], "w", "untrained-part", True, len(begun), float(len(begun)))
        yield replace(found, other=begun[-1].name)


def _is_plain(unit: UnitArrays) -> bool:
    """Whether what is behind a convolution's weights is as it begins: its batch norm, or a bias of zeros."""
    if unit.norm is not None:
        begin = {"gamma": 1, "beta": 0, "mean": 0, "var": 1}
        return begin.keys() <= unit.tensors.keys() and all((unit[slot] == at).all() for slot, at in begin.items())
    return "b" in unit and not unit.classifies and not unit["b"].any()


def _half_written(norms: Sequence[UnitArrays]) -> dict[str, list[UnitArrays]]:
    """Batch norms of which one statistic alone is as it begins, by that one.

    Where eps is 0, the norm was worked out: what divides is in gamma, or what is taken away in beta.
    """
    found: dict[str, list[UnitArrays]] = {"mean": [], "var": []}
    for unit in norms:
        unmoved, ones = not unit["mean"].any(), bool((unit["var"] == 1).all())
        if unmoved != ones and unit.eps and len(unit["var"]) >= _EQUAL:
            found["mean" if unmoved else "var"].append(unit)
    return found


def _after_steps(file: Checkpoint, norms: Sequence[UnitArrays]) -> tuple[float, int] | None:
    """The floor of all variances, and after how many steps from 1 they are so; None where they are not.

    A step takes a variance to momentum times itself and the rest of the batch's. So after k steps none is below
    momentum^k, and a channel that hardly varies lies just above, as trained networks have some; others vary much more.
    """
    if len(norms) < _SEVERAL or not all(unit.eps for unit in norms):
        return None
    variances = np.concatenate([unit["var"].ravel() for unit in norms])
    least = float(variances.min())
    u = max(FLOATS.get(file.stored.get(unit.names["var"], ""), FLOATS["float32"]).u for unit in norms)
    for steps in range(1, _FEW + 1):
        for momentum in _MOMENTA:
            floor = momentum**steps
            seen = (variances - floor) / (1 - floor)  # of the batches, on the mean
            size = float(seen.mean())
            low, high = floor * (1 - (steps + 1) * u), floor * (1 + u) + _ABOVE * size * (1 - floor)
            still = np.count_nonzero(seen <= _ABOVE * size)
            if low <= least <= high and float(seen.max()) >= _SPREAD * size and still >= max(2, _SHARE * seen.size):
                return floor, steps
    return None


def _unwritten(file: Checkpoint, some: Sequence[UnitArrays], norms: Sequence[UnitArrays], slot: str) -> HealthFinding:
    """Some of the batch norms of a file, whose statistics are as they begin."""
    found = _found(file, some[0], slot, "untrained-norms", True, len(some), len(norms))
    names, every = ([unit.names[slot].rpartition(".")[0] for unit in units] for units in (some, norms))
    return replace(found, scope=scope_of(file.graph, names, every), other=", ".join(names[1:_NAMED]))


def _affine(file: Checkpoint, norms: Sequence[UnitArrays], still: Sequence[UnitArrays]) -> Iterator[HealthFinding]:
    """Batch norms whose gammas and betas are as they begin beside trained statistics: all of them, or several."""
    plain = [unit for unit in norms if (unit["gamma"] == 1).all() and not unit["beta"].any() and unit not in still]
    if len(plain) >= _SEVERAL:
        yield _found(file, plain[0], "gamma", "untrained-affine", False, len(plain), len(norms))


def _equal(file: Checkpoint, units: Sequence[UnitArrays]) -> Iterator[HealthFinding]:
    """Output channels with one and the same filter, not zero: training leaves no three of them in floats."""
    for unit in units:
        if "w" not in unit or np.dtype(file.stored.get(unit.names["w"], "float32")).kind != "f":
            continue
        rows = unit["w"].reshape(len(unit["w"]), -1)
        keys = rows[:, 0] + np.pi * rows[:, -1]  # equal filters have equal keys: only those are looked at
        first, counts = np.unique(keys, return_index=True, return_counts=True)[1:]
        for index, count in zip(first, counts, strict=True):
            if count < _EQUAL or not rows[index].any() or len(np.unique(rows[index])) <= 2:
                continue
            alike = np.flatnonzero((rows == rows[index]).all(axis=1))
            if len(alike) >= _EQUAL:
                found = _found(file, unit, "w", "equal-channels", False, len(alike), float(alike[-1]))
                yield replace(found, first=(int(alike[0]),))


def _whole(file: Checkpoint, units: Sequence[UnitArrays]) -> Iterator[HealthFinding]:
    """Weights that are whole numbers, as integers are that no scale was multiplied to; a file of such alone may be."""
    weights = [unit for unit in units if "w" in unit and unit["w"].any()]
    whole = [unit for unit in weights if _is_whole(unit["w"])]
    for unit in whole:
        most = float(np.abs(unit["w"]).max())
        yield _found(file, unit, "w", "whole-numbers", len(whole) < len(weights), unit["w"].size, most)


def _repeated(file: Checkpoint, units: Sequence[UnitArrays], *, fails: bool) -> Iterator[HealthFinding]:
    """Arrays that hold the numbers of an earlier layer, bit for bit: no training makes them, a converter does.

    Initialisers do, which draw the same where they are seeded alike: then nothing fails.
    """
    seen: dict[Any, tuple[str, Array]] = {}
    for unit in units:
        for slot in unit.tensors:
            name, x = unit.names[slot], unit[slot]
            begin = x.ravel()[:_BEGIN]
            if name not in file.keys or len(np.unique(begin)) < _VARIED:
                continue
            other, y = seen.setdefault((unit.op if slot == "w" else "", slot, x.shape, begin.tobytes()), (name, x))
            if other != name and np.array_equal(x, y):
                yield replace(_found(file, unit, slot, "repeated", fails, x.size), other=other)


def _is_whole(w: Array) -> bool:
    """Whether all numbers are whole, and of many sizes: a kernel of ones, or of -1, 0 and 1, is meant."""
    first = w.flat[: 4 * _VALUES]
    return bool((first == np.rint(first)).all() and (w == np.rint(w)).all() and len(np.unique(w)) >= _VALUES)


def _half_drawn(large: Sequence[UnitArrays]) -> bool:
    """Whether half of some weights are spread as an initialiser spreads them; no more of them are looked at."""
    drawn = (unit for unit in large if _initialiser(unit))
    return sum(1 for _ in islice(drawn, -(-len(large) // 2))) >= len(large) / 2


def _found(
    file: Checkpoint, unit: UnitArrays, slot: str, kind: str, fails: bool, count: int, value: float = 0.0
) -> HealthFinding:
    name = unit.names[slot]
    return HealthFinding(file.path, name, file.keys.get(name, ""), kind, fails, count, (), value=value)


def _scales(file: Checkpoint, units: Sequence[UnitArrays]) -> Iterator[HealthFinding]:
    """Weights so large or small as a whole that no training left them; where batch norm follows, no scale matters."""
    for unit in units:
        if "w" in unit and unit.norm is None and np.isfinite(unit["w"]).all():
            size = float(np.sqrt(np.mean(unit["w"] ** 2) * unit["w"][0].size))
            if size and not 1 / _WIDE < size < _WIDE:
                yield _found(file, unit, "w", "scale", False, unit["w"].size, size)


def _initialiser(unit: UnitArrays) -> bool:
    """Whether weights are spread as an initialiser of the frameworks spreads them."""
    w = unit["w"].ravel()
    if not np.isfinite(w).all():
        return False
    fans = list(_fans(unit))
    edge, spread = float(np.abs(w).max()), float(w.std())
    normals = {0.01, 0.02, *(math.sqrt(gain / fan) for fan in {n for pair in fans for n in pair} for gain in (1, 2))}
    edges = {math.sqrt(gain / inputs) for inputs, _ in fans for gain in (1, 3, 6)}
    edges |= {math.sqrt(6 / (inputs + outputs)) for inputs, outputs in fans}
    centred = abs(float(w.mean())) < 4 * spread / math.sqrt(w.size)
    if not centred:
        return False
    if any(abs(spread / each - 1) < _NEAR for each in normals) and _is_spread(w / spread, _normal):
        return True  # else perhaps uniform: He's and LeCun's two draws have the same spread
    return any(abs(edge / each - 1) < _NEAR for each in edges) and _is_spread(w / edge, _uniform)


def _fans(unit: UnitArrays) -> Iterator[tuple[int, int]]:
    """What a weight has before it and behind it, as frameworks count; of depthwise filters they count in three ways."""
    w = unit["w"]
    inputs, area = w[0].size, math.prod(w.shape[2:] if w.ndim == 4 else w.shape[1:] if w.ndim == 3 else ())
    yield inputs, area if unit.op == "depthwise_conv2d" else len(w) * area
    if unit.op == "depthwise_conv2d":
        yield inputs, len(w) * area  # PyTorch
        yield len(w) * area, area  # Keras


def _is_spread(values: Array, distribution: Callable[[Array], Array]) -> bool:
    """Whether values are spread as a distribution, by Kolmogorov and Smirnov; one of a few places may say no at once.

    Their statistic is the largest distance between the two, times root n; so it is nowhere farther.
    """
    n = len(values)
    shares = np.array([np.count_nonzero(values <= place) for place in _PLACES]) / n
    if math.sqrt(n) * float(np.abs(shares - distribution(np.array(_PLACES))).max()) >= _AS_DRAWN:
        return False
    before = np.arange(n) / n - distribution(np.sort(values))  # and 1 / n more at each value itself
    return math.sqrt(n) * max(float(before.max()) + 1 / n, -float(before.min())) < _AS_DRAWN


def _normal(x: Array) -> Array:
    """The normal distribution, between the places of a table.

    They lie h = 1/1024 apart, so a line between two of them is off by h^2/8 times the largest second derivative, 0.242:
    by less than 3e-8, which times the root of a billion weights is 1e-3, and `_AS_DRAWN` does not see.
    """
    places, sums = _normal_table()
    return np.interp(x, places, sums)


@cache
def _normal_table() -> tuple[Array, Array]:
    places = np.arange(-9 * 1024, 9 * 1024 + 1) / 1024
    return places, np.array([math.erfc(-place / math.sqrt(2)) / 2 for place in places.tolist()])


def _uniform(x: Array) -> Array:
    made: Array = ((x + 1) / 2).clip(0, 1)
    return made
