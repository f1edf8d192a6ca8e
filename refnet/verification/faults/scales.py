"""Elements of another size: signs, factors, offsets, overflow, clipping, coarse rounding, a few that are off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.verification.cases import Case, Reading
from refnet.verification.layers import Expected

Array = npt.NDArray[Any]

_U = 2.0**-24
_FEW = 3  # elements that a factor must explain beyond those that it was taken from
_HALF_MAX, _HALF_MIN = 65504.0, 2.0**-14  # float16: the largest number, the smallest normal one


def _same(case: Case) -> bool:
    """Whether there is an element for each, all of them numbers."""
    return case.copy.shape == case.wanted.value.shape and bool(
        np.isfinite(case.copy).all() and np.isfinite(case.wanted.value).all()
    )


def sign(case: Case) -> Iterator[Reading]:
    """All, or all of some channels, with the opposite sign."""
    if not _same(case):
        return
    yield Reading("every sign is the opposite", case.wanted._replace(value=-case.wanted.value))
    rows, wanted = (each.reshape(len(each), -1) for each in (case.copy, case.wanted.value))
    flip = np.flatnonzero((rows * wanted).sum(axis=1) < 0)
    value = case.wanted.value.copy()
    value[flip] *= -1
    yield Reading(f"the signs of {_listed(flip)} are the opposite", case.wanted._replace(value=value))


def scaled(case: Case) -> Iterator[Reading]:
    """One factor throughout."""
    if not _same(case) or case.copy.size <= _FEW:
        return
    square = float((case.wanted.value**2).sum())
    if not square:
        return
    factor = float((case.copy * case.wanted.value).sum()) / square
    value = factor * case.wanted.value
    # The product rounds, and so do the factor itself and our estimate of it.
    slack = abs(factor) * case.wanted.slack + 3 * _U * np.abs(value)
    yield Reading(f"it is {_factor(factor)} times what it should be", Expected(value, slack))


def _factor(factor: float) -> str:
    """A factor as people write it: 255, 1/255, 1.0234."""
    for number, form in ((factor, "{:g}"), (1 / factor if factor else 0.0, "1/{:g}")):
        if abs(number) >= 1 and abs(number - round(2 * number) / 2) < 1e-5 * abs(number):
            return form.format(round(2 * number) / 2)
    return f"{factor:.6g}"


def by_channel(case: Case) -> Iterator[Reading]:
    """A factor for each output channel."""
    if not _same(case) or case.copy.ndim < 2 or case.copy[0].size <= _FEW:
        return
    rows, wanted = (each.reshape(len(each), -1) for each in (case.copy, case.wanted.value))
    square = (wanted**2).sum(axis=1)
    factor = (rows * wanted).sum(axis=1) / np.where(square > 0, square, 1.0)
    if not factor[square > 0].all():
        return  # channels of zeros are not scaled, they are gone
    value = (factor[:, None] * wanted).reshape(case.copy.shape)
    spread = np.abs(factor).reshape(-1, *(1,) * (case.copy.ndim - 1))
    made = Expected(value, spread * case.wanted.slack + 3 * _U * np.abs(value))
    scaled = np.flatnonzero(np.abs(factor - 1) > 1e-6)
    if len(scaled) <= max(3, len(factor) // 8):
        words = f"{_listed(scaled)} of {len(factor)} are scaled, by {', '.join(_factor(factor[k]) for k in scaled[:3])}"
    else:
        words = f"every channel is scaled, by {factor.min():.4g} to {factor.max():.4g}"
    yield Reading(words, made)


def offset(case: Case) -> Iterator[Reading]:
    """One number added throughout."""
    if not _same(case) or case.copy.size <= _FEW:
        return
    constant = float(np.median(case.copy - case.wanted.value))
    value = case.wanted.value + constant
    slack = case.wanted.slack + 3 * _U * (np.abs(value) + abs(constant))
    yield Reading(f"{constant:.6g} is added to every element", Expected(value, slack))


def overflow(case: Case) -> Iterator[Reading]:
    """What float16 cannot hold has become infinite, or the largest number that it can."""
    wanted = case.wanted.value
    if case.copy.shape != wanted.shape:
        return
    beyond = np.abs(wanted) > _HALF_MAX
    if beyond.any():
        count = f"{int(beyond.sum())} of {beyond.size} elements are"
        for words, most in (("infinite", np.inf), ("cut off at 65504", _HALF_MAX)):
            value = np.where(beyond, np.copysign(most, wanted), wanted)
            slack = np.where(beyond, 0.0, case.wanted.slack)
            yield Reading(f"beyond float16, {count} {words}", Expected(value, slack))


def clipped(case: Case) -> Iterator[Reading]:
    """Cut off at the smallest and largest value that is there."""
    if not _same(case):
        return
    low, high = float(case.copy.min()), float(case.copy.max())
    value = np.clip(case.wanted.value, low, high)
    cut = (case.wanted.value < low) | (case.wanted.value > high)
    if int(cut.sum()) >= 3:
        yield Reading(f"values are cut off at {low:.6g} and {high:.6g}", case.wanted._replace(value=value))


def flushed(case: Case) -> Iterator[Reading]:
    """Subnormal values of float16 taken as zero."""
    small = np.abs(case.wanted.value) < _HALF_MIN
    if case.copy.shape == small.shape and small.any():
        words = "values below float16's smallest normal number are zero"
        yield Reading(words, case.wanted._replace(value=np.where(small, 0.0, case.wanted.value)))


def coarse(case: Case) -> Iterator[Reading]:
    """The right values to fewer bits: every element, relative to itself."""
    if not _same(case):
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(case.copy - case.wanted.value)
        relative = np.where(error <= case.wanted.slack, 0.0, error / np.abs(case.wanted.value))
    most = float(relative.max(initial=0.0))
    for bits in range(22, 6, -1):
        if most <= 2.0**-bits:
            words = f"every element agrees to {bits} bits: rounded further, or folded in a shorter format"
            slack = case.wanted.slack + 2.0**-bits * np.abs(case.wanted.value)
            yield Reading(words, Expected(case.wanted.value, slack))
            return


def damaged(case: Case) -> Iterator[Reading]:
    """All but a few elements, or all but few channels, are right."""
    if case.copy.shape != case.wanted.value.shape:
        return
    with np.errstate(invalid="ignore"):
        off = ~((np.abs(case.copy - case.wanted.value) <= case.wanted.slack) | (case.copy == case.wanted.value))
    count, places = int(off.sum()), np.argwhere(off)
    if not count or count == off.size:
        return
    channels = np.unique(places[:, 0])
    few_elements = count <= max(1, off.size // 100)
    few_channels = off.ndim > 1 and len(channels) <= max(1, len(off) // 8)
    if not (few_elements or few_channels):
        return
    if few_channels and count > 1:
        empty = " and all zero" if not case.copy[channels].any() else ""
        words = f"only {_listed(channels)} of {len(off)} {'is' if len(channels) == 1 else 'are'} off{empty}"
    else:
        words = f"{count} of {off.size} elements are off, the first at {_index(places[0])}"
    if not np.isfinite(case.copy[off]).all():
        words += ", not finite"
    made = Expected(np.where(off, case.copy, case.wanted.value), case.wanted.slack)
    yield Reading(words, made)


def _listed(channels: Array) -> str:
    few = ", ".join(map(str, channels[:5]))
    return f"channel{'' if len(channels) == 1 else 's'} {few}{', ...' if len(channels) > 5 else ''}"


def _index(place: Array) -> str:
    return "[" + ", ".join(map(str, place)) + "]"
