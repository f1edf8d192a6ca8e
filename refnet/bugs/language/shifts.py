"""In which order numbers stand, and by how many places they are from where they should be, as they lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["as_text", "flat_shift"]

Array = npt.NDArray[Any]

_FARTHEST = 64  # places: headers of files have up to 256 bytes
_SHARE = 4  # of an array, which it is not shifted farther than
_LOOKED = 32  # numbers that a shift is told from
_CLOSER = 0.5  # of how far the numbers are apart where they are, within which those of a shift lie


def as_text(count: int) -> Iterator[tuple[str, Array, Array]]:
    """Places in the order of their numbers' digits (0, 1, 10, 11, ...), from 0 and from 1; and what undoes each."""
    for form, first in (("text", 0), ("text from 1", 1)):
        order = np.array(sorted(range(count), key=lambda place: str(place + first)), int)
        yield form, order, np.argsort(order)


def flat_shift(copy: Array, wanted: Array, known: Array | None = None) -> int:
    """The shift with which `copy[i]` is nearest to `wanted[i + shift]`, both flat; 0 where none is near.

    Parameters
    ----------
    known : the places of `copy` that say something; None for all
    """
    reach = min(_FARTHEST, copy.size // _SHARE)
    known = np.arange(copy.size) if known is None else known
    known = known[(known >= reach) & (known < copy.size - reach)]
    if not reach or not known.size:
        return 0
    places = np.unique(known[np.linspace(0, known.size - 1, _LOOKED).astype(int)])
    shifts = np.arange(-reach, reach + 1)
    apart = np.abs(copy[places, None] - wanted[places[:, None] + shifts]).mean(axis=0)
    best = int(apart.argmin())
    return int(shifts[best]) if apart[best] < _CLOSER * apart[reach] else 0
