"""How numbers of a short format were rounded: to the nearest, cut off, at random; or whole steps of fixed point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.segments import Segment, limit
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.orders import rounded, truncated
from refnet.readings.precision import FLOATS, Precision

__all__ = ["ENDS", "fraction_bits", "is_cut_off", "is_rounded", "manner_of"]

Array = npt.NDArray[Any]

ENDS = (0.0, 1.0, 6.0)  # of activations and gates
_BITS = 15  # of a fraction
_CHANCE = 1e-6  # that short floats are whole steps of fixed point by accident: beyond that they are taken for floats
_SIGMAS = 4.0  # how far a count may lie from what chance makes it: farther, it does once in 15,000 times
_HALFWAY = (0 + 1 / 2) / 2  # of a unit, by which numbers are off in the middle, rounded or cut off: between both
_TOSSES = 20  # numbers that were not rounded to the nearest, all toward zero by chance once in a million times


def is_rounded(y: Array, store: str) -> bool:
    """Whether a tensor holds nothing finer than a format can; one such number, or those at ends, are no evidence."""
    if np.unique(y[~np.isin(y, ENDS)]).size < 2 or fraction_bits(y) is not None:
        return False
    return bool(np.array_equal(rounded(y, store), y))


def manner_of(segment: Segment, store: str) -> str | None:
    """How a tensor was rounded if not to the nearest: 'truncated', 'at random', or ''; None where nothing tells.

    Of a number that lies at a share f of its unit chance makes the upper neighbour in f of all cases, and so moves it
    by more than half a unit in min(f, 1 - f) of them. Two roundings to the nearest do the same.
    """
    off, likely = _units_off(segment, store, Precision.of("float32"))
    count = int((np.abs(off) > 0.5).sum())
    if not off.size:
        return None
    if not count or np.abs(off).max() >= 1:
        return ""
    if (off < 0).all():
        return "truncated"
    spread = _SIGMAS * float(np.sqrt((likely * (1 - likely)).sum()))
    return "at random" if spread < likely.sum() and abs(count - float(likely.sum())) <= spread else ""


def is_cut_off(segment: Segment, store: str, precision: Precision) -> bool:
    """Whether a tensor in a format that is declared was cut off, and none of its numbers rounded to the nearest.

    Its weights may be kept in that format, too, and may be folded before.

    Parameters
    ----------
    precision : as declared
    """
    exact = precision._replace(u_store=Precision.of("float32").u_store)
    off, _ = _units_off(segment, store, exact)
    if not off.size or np.median(off) > -_HALFWAY:
        return False
    return _are_cut_off(off) or any(_are_cut_off(_units_off(one, store, exact)[0]) for one in _held(segment, store))


def _are_cut_off(off: Array) -> bool:
    return bool((off < 0).all() and (off > -1).all()) and int((off < -0.5).sum()) >= _TOSSES


def _held(segment: Segment, store: str) -> Iterator[Segment]:
    """The segment with its params as ports hold them in a short format, batch norm folded or not."""
    ways = [(segment.graph, segment.params)]
    if any(True for _ in segment.nodes("batch_norm")):
        graph, folded = fold_batch_norm(segment.graph, segment.params)
        ways.append((graph, {**segment.params, **folded}))
    for graph, params in ways if segment.units else ():
        for move in (rounded, truncated):
            held = {name: move(np.asarray(params[name], np.float32), store) for name in graph.params()}
            yield replace(segment, graph=graph, params=held)


def _units_off(segment: Segment, store: str, precision: Precision) -> tuple[Array, Array]:
    """How many units numbers lie off, away from zero, and how likely chance moves each by more than half a unit.

    None of those that the arithmetic may have put on the other side of a number of the format, or of the middle between
    two; nor any of a tensor that is in no such format.
    """
    target = np.asarray(segment.candidate, np.float64)
    nothing = np.zeros(0), np.zeros(0)
    if not is_rounded(target, store):
        return nothing
    made = limit(segment, precision)
    if made.y.shape != target.shape:
        return nothing
    size, u = np.abs(made.y), FLOATS[store].u
    normal = size >= FLOATS[store].subnormal / (2 * u)
    unit = np.exp2(np.floor(np.log2(np.where(normal, size, 1)))) * 2 * u
    share = size / unit - np.floor(size / unit)
    likely = np.minimum(share, 1 - share)
    kept = normal & (np.minimum(likely, 0.5 - likely) * unit > made.expected)
    return ((target - made.y) * np.sign(made.y) / unit)[kept], likely[kept]


def fraction_bits(y: Array, *, sure: bool = True) -> int | None:
    """How many bits of fraction the numbers of a tensor in fixed point have; None for one of another kind.

    A short float has finer steps for smaller numbers, and only by chance are many of its numbers whole steps. Where
    that is not asked for, a few numbers may be of either kind.
    """
    if y.size < 2 or y.dtype.kind != "f" or not np.isfinite(y).all():
        return None
    wide = np.abs(y.astype(np.float64))
    scaled = wide * 2.0**_BITS
    if not np.array_equal(scaled, np.rint(scaled)) or not 0 < scaled.max() < 2.0**62:
        return None
    common = int(np.gcd.reduce(scaled.astype(np.int64), axis=None))
    bits = _BITS - (common & -common).bit_length() + 1
    if np.isin(wide, ENDS).all():
        return None
    told = not sure or _by_chance(np.setdiff1d(wide, ENDS), 2.0**-bits) < _CHANCE
    between = bool(((y > y.min()) & (y < y.max()) & (y != 0)).any())  # a function's ends are what they are
    return bits if bits >= 0 and between and told else None


def _by_chance(numbers: Array, step: float) -> float:
    """How likely it is that different numbers in a short float are whole steps: no float has finer ones than its own.

    Of a number whose own step is finer, that is the share of the one in the other.
    """
    chance = 0.0
    for store in ("float16", "bfloat16"):
        if np.array_equal(rounded(numbers, store), numbers):
            own = FLOATS[store].u * np.ldexp(1.0, np.frexp(numbers)[1])
            chance = max(chance, float(np.exp2(-np.log2(np.maximum(step / own, 1.0)).sum())))
    return chance
