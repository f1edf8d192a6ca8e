"""To how few digits a dump holds its numbers, where nobody says it: told from the numbers themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.readings.precision import BYTE_STEPS, FLOATS, Printed

__all__ = ["FORMS", "in_levels", "written_as"]

Array = npt.NDArray[Any]

_SAMPLE = 4096  # numbers of a tensor
_GLANCE = 64  # numbers of all tensors, which refute most forms
_TELLING = 1 / 4  # of a format's numbers that are decimals by accident: where more are, one tells little
_BITS = 64  # how often accident must be halved for decimals to be none
FORMS = (*(Printed("decimals", count) for count in range(1, 8)), *(Printed("digits", count) for count in range(3, 9)))
_LEVELS = (Printed("levels", BYTE_STEPS + 1), Printed("levels", BYTE_STEPS))


def written_as(arrays: Iterable[Array]) -> Printed | None:
    """How many decimals a port printed its numbers with; None where all are there.

    Of a number of float32 six decimals say nothing if it is large: those count that are finer than float32 would round.
    Each of them that is another is a decimal by accident as often as float32 has numbers so near to one. Few binary
    digits that are as coarse as the decimals, such as those of halves, are no decimals. Of several forms that is taken
    which is the least by accident.
    """
    floats = [np.asarray(y) for y in arrays if y.dtype in (np.float32, np.float64)]
    some = [y.ravel()[:: max(1, y.size // _SAMPLE)].astype(np.float64) for y in floats]
    x = np.concatenate([np.zeros(1), *(y[np.isfinite(y)] for y in some)])
    with np.errstate(over="ignore"):
        own = FLOATS["float32" if np.array_equal(x.astype(np.float32), x) else "float64"].u
    few = x[:: max(1, len(x) // _GLANCE)]
    forms = [form for form in FORMS if (not form.u or 2 * own < _TELLING * form.u) and _are(few, form, own)]
    if not forms:
        return None
    x = np.unique(np.abs(x))[1:]
    told = {form: _told(x, form, own) for form in forms}
    return max(
        (form for form in forms if told[form] >= _BITS and _are(x, form, own)), key=told.__getitem__, default=None
    )


def _told(x: Array, form: Printed, own: float) -> float:
    """How often accident must have been halved; 0 of numbers that a coarser step of powers of two has too."""
    unit = form.unit(x)
    binary = np.exp2(np.floor(np.log2(unit)) + 1)
    if np.array_equal(np.rint(x / binary) * binary, x):
        return 0.0
    chance = 4 * own * x / unit
    return -float(np.log2(chance[chance < _TELLING]).sum())


def in_levels(y: Array) -> Printed | None:
    """Of how many levels probabilities are, as bytes hold them; None of others."""
    x = y.astype(np.float64)
    if y.dtype.kind != "f" or not ((x > 0) & (x < 1)).any() or x.min() < 0 or x.max() > 1:
        return None
    own = FLOATS["float32"].u  # made of integers in float32, whatever it is stored in
    return next((form for form in _LEVELS if _are(np.where(x < 1, x, 0), form, own)), None)


def _are(x: Array, form: Printed, own: float) -> bool:
    return bool(np.all(np.abs(x - form.rounded(x)) <= 2 * own * np.abs(x)))
