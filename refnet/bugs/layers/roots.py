"""The root in batch norm: estimated as small processors do it, or with eps as what it is no less than."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Change

Array = npt.NDArray[Any]

_MAGIC = 0x5F3759DF  # what half of a float's bits are taken away from
_FLOORS = (1e-3, 1e-5)  # as vendors' eps are
_STEPS = 3  # of Newton's, counted from none: more leave nothing that is seen
_FRACTION, _ONE = 23, 127  # bits of a float32's fraction; the exponent of 1


def bn_root_estimated(unit: UnitArrays) -> Iterator[Change]:
    """an estimate of 1 over the root of variance and eps.

    By the bits of a float (the fast inverse square root), or by the table of 8 bits that Arm's processors have
    (`vrsqrte`), and Newton's steps behind either.

    Source: Lomont, Fast inverse square root, 2003; Arm Architecture Reference Manual, RecipSqrtEstimate
    """
    if unit.norm is None or not ((square := unit["var"] + unit.eps) > 0).all():
        return
    x = square.astype(np.float32)
    for name, y in (("bits", _of_bits(x)), ("arm", _of_table(x))):
        for steps in range(_STEPS):
            factor = y.astype(np.float64) * np.sqrt(square)
            gamma = {unit.names["gamma"]: unit["gamma"] * factor}
            yield Change(unit.norm.name, f"{name} {steps}", {"steps": steps}, params=gamma)
            y = y * (np.float32(1.5) - np.float32(0.5) * x * y * y)


def bn_eps_floor(unit: UnitArrays) -> Iterator[Change]:
    """eps as a floor.

    max(var, eps) is in the root instead of var + eps; or max(sqrt(var), eps) divides.
    """
    if unit.norm is None or not (unit["var"] >= 0).all():
        return
    own, root = np.sqrt(unit["var"] + unit.eps), np.sqrt(unit["var"])
    for eps in dict.fromkeys((unit.eps, *_FLOORS)):
        for form, least in (("variance", np.sqrt(eps)), ("deviation", eps)):
            if (root < least).any():  # otherwise it is an eps of 0
                gamma = {unit.names["gamma"]: unit["gamma"] * own / np.maximum(root, least)}
                yield Change(unit.norm.name, f"{form} {eps:g}", {"eps": eps, "floor": form}, params=gamma)


def _of_bits(x: Array) -> Array:
    """The float whose bits are a constant less half of a number's."""
    y: Array = (_MAGIC - (x.view(np.int32) >> 1)).astype(np.int32).view(np.float32)
    return y


def _of_table(x: Array) -> Array:
    """What Arm's table has, of which eight bits of a number between a quarter and one choose the entry."""
    bits = x.view(np.int32).astype(np.int64)
    exponent, leading = bits >> _FRACTION, 256 + ((bits >> (_FRACTION - 8)) & 255)
    odd = exponent % 2 == 1  # then the number is below a half, and its last bit is dropped
    halves = np.where(odd, 2 * (leading >> 1) + 1, 4 * (leading >> 1) + 2)  # the middle of those that share an entry
    root = np.floor(np.sqrt(2.0**28 / halves)).astype(np.int64)
    root -= halves * root**2 >= 2**28  # the largest whose square is below
    entry = (root + 1) >> 1  # 256 to 511, for 1 to 2
    scale = (3 * _ONE - 1 - exponent) // 2 - _ONE
    y: Array = np.ldexp(entry / 256, scale).astype(np.float32)
    return y
