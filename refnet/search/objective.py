"""What a search maximises: accuracy and latency as one number, as MnasNet weighs them."""

from __future__ import annotations

import math
from typing import NamedTuple

from refnet.errors import RequestError

__all__ = ["HARD", "LARGE", "SMALL", "Exponents", "reward_of", "worth"]


class Exponents(NamedTuple):
    """w where the target is met, and where it is missed.

    Attributes
    ----------
    met, missed : at most 0
    """

    met: float
    missed: float


LARGE = Exponents(-0.07, -0.07)  # soft: MnasNet's, and V3 Large's
SMALL = Exponents(-0.15, -0.15)  # soft: V3 Small's
HARD = Exponents(0.0, -1.0)  # under the target latency does not matter


def reward_of(accuracy: float, latency: float, target: float, exponents: Exponents = LARGE) -> float:
    """ACC(m) * (LAT(m) / TAR)^w.

    Parameters
    ----------
    accuracy : a share, 0 to 1
    latency, target : in one unit, above 0
    exponents : w on either side of the target; `LARGE`, `SMALL`, `HARD` or others

    Raises
    ------
    RequestError
        if one of them is no such number.

    Notes
    -----
    Tan et al., MnasNet, arXiv 1807.11626, equations 2 and 3 (the soft form has one w, the hard form 0 and -1); Howard
    et al., arXiv 1905.02244, sec. 4.1, for w = -0.15.

    Examples
    --------
    >>> round(reward_of(0.75, 80.0, 80.0), 3), round(reward_of(0.7875, 160.0, 80.0), 3)
    (0.75, 0.75)
    >>> reward_of(0.75, 40.0, 80.0, HARD), reward_of(0.75, 160.0, 80.0, HARD)
    (0.75, 0.375)
    """
    if not (math.isfinite(accuracy) and 0 <= accuracy <= 1):
        raise RequestError(f"the accuracy is {accuracy!r}: it is a share from 0 to 1")
    for what, ms in (("latency", latency), ("target", target)):
        if not (math.isfinite(ms) and ms > 0):
            raise RequestError(f"the {what} is {ms!r}: it is a number above 0")
    for w in exponents:
        if not (math.isfinite(w) and w <= 0):
            raise RequestError(f"the exponent is {w!r}: it is a number of at most 0")
    ratio = latency / target
    return float(accuracy * ratio ** (exponents.met if ratio <= 1 else exponents.missed))


def worth(ratio: float, w: float) -> float:
    """How much more accuracy, relative to what there is, `ratio` times the latency must bring to be worth as much.

    Examples
    --------
    >>> round(worth(2, -0.07), 3), round(worth(2, -0.15), 3)
    (0.05, 0.11)
    """
    return float(ratio**-w - 1)
