"""Orders of sums that are kept in a short format throughout: each product and each sum is rounded to it.

NumPy computes in float16, slowly. It has no bfloat16: there each number on the way is rounded by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.readings.orders import ORDERS, SPLITS, by_sign, rounded, rules, short_rules

__all__ = ["SHORT_SUMS", "ShortSums"]


class ShortSums(NamedTuple):
    """The rules of some orders, the likeliest first, and the dtype that they compute in."""

    orders: tuple[Any, ...]
    dtype: npt.DTypeLike


def _in_bfloat16(name: str) -> Any:
    return short_rules(rules(SPLITS[name], partial(rounded, store="bfloat16")), "bfloat16")


_NAMES = ("sequential", "lanes", "backwards")
_FLOAT16, _BFLOAT16 = tuple(ORDERS[name] for name in _NAMES), tuple(map(_in_bfloat16, _NAMES))
SHORT_SUMS: Mapping[str, ShortSums] = MappingProxyType(
    {
        "float16": ShortSums((*_FLOAT16, by_sign(_FLOAT16[0])), np.float16),
        "bfloat16": ShortSums((*_BFLOAT16, short_rules(by_sign(_BFLOAT16[0]), "bfloat16")), np.float32),
    }
)
