"""Bugs of the arrays of a convolution that few ports have: a part of a kernel, a bias twice, weights that are moved.

Tried where nothing else fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.segments import Segment
from refnet.bugs.numbers.precision import grid_steps, in_steps
from refnet.judge.verdicts import root_mean_square
from refnet.ops import CONVOLUTIONS, WINDOWED
from refnet.readings import fast
from refnet.readings.precision import BYTE_STEPS

Array = npt.NDArray[Any]

_SMALL = 3  # points of the kernel that a loop is written for
_CHANNELS = 3  # whose biases are one number times what they should be by no chance
_OTHERWISE = (0.0, 1.0, 2.0, -1.0)  # times a bias that other bugs name: it is left out, as it is, twice, taken away
_SURE = 8.0  # standard errors of a number: it lies beyond them by chance never
_ANY = (-math.inf, math.inf)
_HANDED_ON = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0), "hard_swish": (3.0, math.inf)}  # what is handed on as read
_FEW_BITS = (4, 8, 2, 3, 5, 6, 7)  # of weights on a grid of their own, the likeliest first


def kernel_cut(unit: UnitArrays) -> Iterator[Change]:
    """a part of a kernel.

    A loop for kernels of 3 x 3 that runs over larger ones: of the weights the middle counts, or a corner. Or a loop
    that begins one line late, or ends one early.
    """
    if "w" not in unit or unit.op not in WINDOWED:
        return
    w = unit["w"]
    for axis, kind in ((-2, "row"), (-1, "column")):
        points = w.shape[axis]
        for which, line in (("first", 0), ("last", points - 1)) if points >= _SMALL else ():
            lacking = w.copy()
            np.moveaxis(lacking, axis, 0)[line] = 0
            yield _with(unit, f"{which} {kind}", "w", lacking, points=points, used=points - 1)
    side = w.shape[-1]
    if w.shape[-2] != side or side <= _SMALL:
        return
    border = (side - _SMALL) // 2
    parts = {"middle": slice(border, border + _SMALL), "corner": slice(0, _SMALL)}
    for form, part in parts.items():
        kept = np.zeros_like(w)
        kept[..., part, part] = w[..., part, part]
        yield _with(unit, form, "w", kept, points=side, used=_SMALL)
    first = np.zeros_like(w)  # read one after another from the memory of the larger kernel
    rows = w.reshape(*w.shape[:-2], -1)[..., : _SMALL * _SMALL].reshape(*w.shape[:-2], _SMALL, _SMALL)
    first[..., border : border + _SMALL, border : border + _SMALL] = rows
    yield _with(unit, "first", "w", first, points=side, used=_SMALL)


def bias_twice(unit: UnitArrays) -> Iterator[Change]:
    """a bias that is added twice.

    In the sum, and again behind it; or it is taken away.
    """
    if "b" in unit and unit["b"].any():
        yield _with(unit, "twice", "b", 2 * unit["b"])
        yield _with(unit, "taken", "b", -unit["b"])


def weights_zero_point(segment: Segment) -> Iterator[Change]:
    """one number added to all weights of a layer.

    Weights of 8 bits whose zero point is taken for another, such as 128: the number is solved for.

    Source: Jacob et al. 2018, section 2.3
    """
    for unit in segment.units:
        offset = _offset(segment, unit) if "w" in unit and unit.op in CONVOLUTIONS else None
        if offset:
            w = unit["w"].astype(np.float64) + offset
            yield Change(unit.name, f"{offset:.7g}", {"addend": offset}, kind="moved", params={unit.names["w"]: w})


def weights_one_scale(segment: Segment) -> Iterator[Change]:
    """one scale for all channels of a layer, though each has its own.

    Integers whose largest of each channel is the same: their sums are rescaled, bias and all, with the scale of the
    first channel or of any; or the weights alone are. The scale is solved for.

    Source: Krishnamoorthi 2018, section 2.1
    """
    for unit in segment.units:
        if "w" in unit and unit.op in CONVOLUTIONS:
            rows = np.abs(unit["w"]).reshape(len(unit["w"]), -1).max(axis=1)
            ways = {"sum": rows, "weights": rows}
            if unit.foldable:
                folded = rows * np.abs(unit.factor)
                ways = {"sum": folded, "weights": folded, "unfolded": rows}
            elif not unit.bias.any():  # weights are all that there is
                del ways["sum"]
            for which, largest in ways.items():
                if largest.all() and np.isfinite(largest).all() and np.ptp(largest):
                    yield from _of_one_scale(segment, unit, which, largest)


def _of_one_scale(segment: Segment, unit: UnitArrays, which: str, largest: Array) -> Iterator[Change]:
    """A layer whose channels have all one scale, as sums or as weights: that of the first, or what is solved for.

    Parameters
    ----------
    largest : of the numbers that each channel's integers stand for
    """
    solved = _one_scale(segment, unit, which, largest)
    if solved is not None:
        scale, off = solved
        first = abs(scale - largest[0]) <= off
        factors = (largest[0] if first else scale) / largest
        made = {"w": unit["w"] * _along(factors, unit["w"])}
        if which == "sum" and unit.foldable:
            made = {"gamma": unit["gamma"] * factors, "beta": unit["beta"] * factors}
        elif which == "sum" and "b" in unit:
            made["b"] = unit["b"] * factors
        params = {unit.names[slot]: array for slot, array in made.items()}
        yield Change(unit.name, f"{which} {'first' if first else 'one'}", params=params)


def bias_scale(segment: Segment) -> Iterator[Change]:
    """a folded bias under another scale.

    Its integers are counted in steps of the weights times steps of what is read: all are so many times too large where
    one of these is left out, or each channel's by its own where all take the steps of one filter. The number is solved
    for.

    Source: Jacob et al. 2018, section 2.4
    """
    for unit in segment.units if segment.candidate is not None else ():
        if "w" not in unit or unit.op not in CONVOLUTIONS or (seen := _handed_on(segment, unit)) is None:
            continue
        bias = _whole_bias(unit, normed=seen.normed)
        largest = np.abs(unit["w"]).reshape(len(bias), -1).max(axis=1) * (np.abs(unit.factor) if seen.normed else 1.0)
        if not (
            np.count_nonzero(bias) >= _CHANNELS
            and np.isfinite(bias).all()
            and largest.all()
            and np.isfinite(largest).all()
        ):
            continue
        for form, along in (("all", np.ones(len(bias))), ("each", 1 / largest)):
            column = (bias * along)[:, None, None]
            solved = _solved(seen, seen.own - bias[:, None, None], column)
            named = _OTHERWISE if form == "all" else _OTHERWISE[:1]
            if solved is None or any(abs(solved[0] - times) <= solved[1] for times in named):
                continue
            moved = bias * (along * solved[0] - 1)
            slot = "beta" if seen.normed else "b"
            if slot in unit:
                params = {unit.names[slot]: unit[slot] + moved}
                yield Change(unit.name, form, {"times": solved[0]}, kind=form, params=params, lone=True)


def _whole_bias(unit: UnitArrays, *, normed: bool) -> Array:
    """What a layer adds to the products of each channel, its batch norm's part too where that is there."""
    if not normed:
        return unit.bias
    made: Array = unit.bias * unit.factor + unit["beta"] - unit["mean"] * unit.factor
    return made


def weights_few_bits(unit: UnitArrays) -> Iterator[Change]:
    """weights quantised to few bits.

    In steps of one size for the tensor or for each channel, the same on both sides of zero; for the tensor also after
    batch norm is worked in, or between its least and its largest weight.
    """
    if "w" not in unit:
        return
    low, high = float(unit["w"].min()), float(unit["w"].max())
    for bits in _FEW_BITS:
        levels = 2 ** (bits - 1) - 1
        for per in ("tensor", "channel") if bits < 8 else ():
            yield _rounded(unit, f"{bits} {per}", partial(_around_zero, per=per, levels=levels), bits=bits, per=per)
        if unit.foldable and unit.factor.all():
            made = partial(_unfolded, factor=_along(unit.factor, unit["w"]), levels=levels)
            yield _rounded(unit, f"{bits} folded", made, bits=bits, per="tensor, after the fold")
        step = (high - low) / (2**bits - 1)
        if step:
            ends = f"tensor, from {low:.4g} to {high:.4g}"
            yield _rounded(unit, f"{bits} ends", partial(_between, low=low, step=step), bits=bits, per=ends)


def _offset(segment: Segment, unit: UnitArrays) -> float | None:
    """What is added to all weights, by least squares; None where it explains little.

    A layer with c added to its weights makes c times the sum of a window more, times the factor of batch norm. That is
    seen where the activation hands on what it reads. Where there is no port, c is what 128 in place of the zero point
    makes of weights between their least and their largest.
    """
    conv = unit.unit.conv
    if segment.candidate is None:
        low, high = float(unit["w"].min()), float(unit["w"].max())
        step = (high - low) / BYTE_STEPS
        return (round(-low / step) - 128) * step if step else None
    seen = _handed_on(segment, unit)
    if seen is None:
        return None
    ((_, x),) = segment.values({conv.inputs[0]})
    ones = np.ones_like(unit["w"] if conv.op == "depthwise_conv2d" else unit["w"][:1])  # one sum for all channels
    sums = getattr(fast, conv.op)(x, ones, None, **conv.attrs)
    moved = sums * (unit.factor[:, None, None] if seen.normed else 1.0)
    solved = _solved(seen, seen.own, moved)
    return None if solved is None else solved[0]


def _one_scale(segment: Segment, unit: UnitArrays, which: str, largest: Array) -> tuple[float, float] | None:
    """The largest number of all channels, by least squares, and how far it may be off; None where it explains little.

    Where there is no port, it is the first channel's.
    """
    if segment.candidate is None:
        return float(largest[0]), 0.0
    seen = _handed_on(segment, unit)
    if seen is None or (unit.foldable and not seen.normed):
        return None
    bias = _whole_bias(unit, normed=seen.normed)
    fixed = np.zeros(len(bias)) if which == "sum" else bias
    column = fixed[:, None, None]
    return _solved(seen, column, (seen.own - column) / largest[:, None, None])


class _HandedOn(NamedTuple):
    """What a layer makes before its activation, and what a port has of it where that hands on what it reads."""

    own: Array
    port: Array
    where: Array
    normed: bool


def _handed_on(segment: Segment, unit: UnitArrays) -> _HandedOn | None:
    """The same of a layer at a segment's end, perhaps laid out flat; None of another one."""
    t, conv, act = segment.candidate, unit.unit.conv, unit.unit.act
    end = next((node.name for node in reversed(segment.graph.nodes) if node.op != "flatten"), segment.end)
    through = _HANDED_ON.get(act.op) if act is not None and act.name == end else _ANY
    if t is None or through is None or end not in [node.name for node in unit.unit.nodes]:
        return None
    linear = conv.name if unit.norm is None or end == conv.name else unit.norm.name
    ((_, own),) = segment.values({linear})
    if t.shape != segment.result.shape or t.size != own.size:
        return None
    t = t.reshape(own.shape)
    low, high = max(through[0], segment.span[0]), min(through[1], segment.span[1])
    return _HandedOn(own, t, (t > low) & (t < high), linear != conv.name)


def _solved(seen: _HandedOn, fixed: Array, moved: Array) -> tuple[float, float] | None:
    """How many times a tensor comes beside another one, and how far that may be off; None where it explains little."""
    error = (seen.port - seen.own)[seen.where]
    wanted, moved = (np.broadcast_to(each, seen.own.shape)[seen.where] for each in (seen.port - fixed, moved))
    square = float(moved @ moved)
    if not square:
        return None
    times = float(wanted @ moved) / square
    left = root_mean_square(wanted - times * moved)
    return (times, _SURE * left / math.sqrt(square)) if 2 * left < root_mean_square(error) else None


def _rounded(unit: UnitArrays, form: str, made: Callable[[Array], Array], **facts: Any) -> Change:
    name = unit.names["w"]
    return Change(unit.name, form, facts, params=Deferred([name], lambda: {name: made(unit["w"].astype(np.float64))}))


def _along(factor: Array, w: Array) -> Array:
    """A number for each output channel of weights."""
    return factor.reshape(-1, *(1,) * (w.ndim - 1))


def _around_zero(w: Array, per: str, levels: int) -> Array:
    return in_steps(w, grid_steps(w, per, levels))


def _unfolded(w: Array, factor: Array, levels: int) -> Array:
    """Weights that were rounded with batch norm worked in, without it again."""
    folded = w * factor
    made: Array = np.nan_to_num(_around_zero(folded, "tensor", levels) / folded * w)
    return made


def _between(w: Array, low: float, step: float) -> Array:
    """Weights rounded to steps from the least of them on."""
    made: Array = np.rint((w - low) / step) * step + low
    return made


def _with(unit: UnitArrays, form: str, slot: str, array: Array, **facts: Any) -> Change:
    return Change(unit.name, form, facts, params={unit.names[slot]: array})
