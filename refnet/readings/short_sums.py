"""Orders of sums that are kept in a short format throughout: each product and each sum is rounded to it.

NumPy computes in float16, slowly. It has no bfloat16: there each number on the way is rounded by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.readings import fast
from refnet.readings.orders import ORDERS, SPLITS, Split, by_sign, rounded, short_rules, taps_of, windows_of, with_bias

__all__ = ["SHORT_SUMS", "ShortSums"]

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]


def _short_sums(order: Callable[[int], Split]) -> Any:
    """The rules of `fast` with every product and every sum rounded to bfloat16, and what all other operations make."""
    move = partial(rounded, store="bfloat16")
    own: dict[str, Callable[..., Array]] = {
        "conv2d": _short_conv2d,
        "depthwise_conv2d": _short_depthwise_conv2d,
        "pointwise_conv2d": _short_pointwise_conv2d,
        "avg_pool2d": _short_avg_pool2d,
    }
    return short_rules(
        SimpleNamespace(**{**vars(fast), **{op: partial(rule, order, move) for op, rule in own.items()}}), "bfloat16"
    )


_Move = Callable[[Array], Array]


def _one_after_another(product: Callable[[int], Array], n: int, order: Callable[[int], Split], move: _Move) -> Array:
    """Sum n products in an order, each number on the way being moved."""

    def term(part: slice) -> Array:
        first, *rest = range(*part.indices(n))
        total = move(product(first))
        for i in rest:
            total = move(total + move(product(i)))
        return total

    def added(split: Split) -> Array:
        if isinstance(split, slice):
            return term(split)
        total = added(split[0])
        for part in split[1:]:
            total = move(total + added(part))
        return total

    return added(order(n))


def _short_conv2d(
    order: Callable[[int], Split], move: _Move, x: Array, w: Array, b: Array | None, *,
    stride: Pair, pad: Pad, dilation: Pair = (1, 1),
) -> Array:  # fmt: skip
    windows = windows_of(x, w.shape[2:], stride, pad, dilation)
    rows, filters = windows.reshape(*windows.shape[:3], -1), w.transpose(2, 3, 1, 0).reshape(-1, len(w))
    return with_bias(_one_after_another(lambda i: rows[..., i, None] * filters[i], len(filters), order, move), b)


def _short_depthwise_conv2d(
    order: Callable[[int], Split], move: _Move, x: Array, w: Array, b: Array | None, *,
    stride: Pair, pad: Pad, dilation: Pair = (1, 1),
) -> Array:  # fmt: skip
    taps, filters = taps_of(x, w.shape[1:], stride, pad, dilation), w.reshape(len(w), -1).T
    return with_bias(_one_after_another(lambda i: taps[i] * filters[i], len(filters), order, move), b)


def _short_pointwise_conv2d(order: Callable[[int], Split], move: _Move, x: Array, w: Array, b: Array | None) -> Array:
    rows = x.transpose(0, 2, 3, 1)
    return with_bias(_one_after_another(lambda i: rows[..., i, None] * w[:, i], w.shape[1], order, move), b)


def _short_avg_pool2d(
    order: Callable[[int], Split], move: _Move, x: Array, *, kernel: Pair, stride: Pair, pad: Pad
) -> Array:
    if np.any(pad):  # counts differ from window to window
        return fast.avg_pool2d(x, kernel=kernel, stride=stride, pad=pad)
    windows, count = windows_of(x, kernel, stride, pad, (1, 1)), kernel[0] * kernel[1]
    total = _one_after_another(lambda i: windows[..., i, :], count, order, move)
    return (total / x.dtype.type(count)).transpose(0, 3, 1, 2)


class ShortSums(NamedTuple):
    """The rules of some orders, the likeliest first, and the dtype that they compute in."""

    orders: tuple[Any, ...]
    dtype: npt.DTypeLike


_NAMES = ("sequential", "lanes", "backwards")
_FLOAT16, _BFLOAT16 = tuple(ORDERS[name] for name in _NAMES), tuple(_short_sums(SPLITS[name]) for name in _NAMES)
SHORT_SUMS: Mapping[str, ShortSums] = MappingProxyType(
    {
        "float16": ShortSums((*_FLOAT16, by_sign(_FLOAT16[0])), np.float16),
        "bfloat16": ShortSums((*_BFLOAT16, short_rules(by_sign(_BFLOAT16[0]), "bfloat16")), np.float32),
    }
)
