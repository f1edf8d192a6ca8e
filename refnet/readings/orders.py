"""`fast` with its sums taken in other orders: what an honest implementation may do differently.

Convolutions and pools are sums over a list of terms; an order is a way to split that list into parts, add up each
part and then add the parts from left to right. Everything else is `fast`'s own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.ops import CONVOLUTIONS, OPS
from refnet.readings import fast
from refnet.readings.precision import FLOATS

__all__ = [
    "MOMENTS",
    "ORDERS",
    "SPLITS",
    "at_random",
    "by_sign",
    "factor_rules",
    "half_away",
    "rounded",
    "rules",
    "short_rules",
    "truncated",
    "whole_steps",
]

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]

# A split of n terms: a slice is summed at once, a list of splits part by part.
Split = Any
Move = Callable[[Array], Array]  # what rounds products and sums
_LEAF = 8  # terms that the pairwise order still sums at once
_GLANCE = 4  # times as many numbers as there may be values are looked at first


def _sequential(n: int) -> Split:
    return [slice(i, i + 1) for i in range(n)]


def _backwards(n: int) -> Split:
    return [slice(i, i + 1) for i in reversed(range(n))]


def _pairwise(n: int, first: int = 0) -> Split:
    if n <= _LEAF:
        return slice(first, first + n)
    half = n // 2
    return [_pairwise(half, first), _pairwise(n - half, first + half)]


def _lanes(n: int) -> Split:
    return [slice(i, n, 4) for i in range(min(4, n))]


def _added(term: Callable[[slice], Array], split: Split, move: Move | None = None) -> Array:
    """Sum the parts of a split; `term` sums a slice of the list, into an array of its own.

    Where every number on the way is moved, a slice is summed term by term.
    """
    if isinstance(split, slice):
        if move is None:
            return term(split)
        if split.stop == split.start + 1:
            return move(term(split))
        split = [slice(i, i + 1) for i in range(split.start, split.stop, split.step or 1)]
    total = _added(term, split[0], move)
    for part in split[1:]:
        total += _added(term, part, move)
        total = total if move is None else move(total)
    return total


def _conv2d(
    order: Callable[[int], Split],
    move: Move | None,
    x: Array,
    w: Array,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
) -> Array:
    windows = _windows(x, w.shape[2:], stride, pad, dilation)  # (N, P, Q, R*S, C)
    rows = windows.reshape(*windows.shape[:3], -1)
    filters = w.transpose(2, 3, 1, 0).reshape(-1, len(w))
    return _biased(_added(lambda part: rows[..., part] @ filters[part], order(len(filters)), move), b)


def _depthwise_conv2d(
    order: Callable[[int], Split],
    move: Move | None,
    x: Array,
    w: Array,
    b: Array | None,
    *,
    stride: Pair,
    pad: Pad,
    dilation: Pair = (1, 1),
) -> Array:
    taps = _taps(x, w.shape[1:], stride, pad, dilation)  # R*S of (N, P, Q, C)
    filters = w.reshape(len(w), -1).T  # (R*S, C)
    product = np.empty(taps[0].shape, x.dtype)

    def term(part: slice) -> Array:
        first, *others = zip(taps[part], filters[part], strict=True)
        total = np.multiply(*first)
        for tap, each in others:
            total += np.multiply(tap, each, out=product)
        return total

    return _biased(_added(term, order(len(filters)), move), b)


def _pointwise_conv2d(order: Callable[[int], Split], move: Move | None, x: Array, w: Array, b: Array | None) -> Array:
    N, C, H, W = x.shape
    rows, split = x.transpose(0, 2, 3, 1).reshape(-1, C), order(C)
    terms = _single(split) if move is None else None
    y = _added(lambda part: rows[:, part] @ w[:, part].T, split, move) if terms is None else _one_by_one(rows, w, terms)
    return _biased(y.reshape(N, H, W, len(w)), b)


def _single(split: Split) -> list[int] | None:
    """The order of the terms, where each is a part of its own."""
    if isinstance(split, slice) or any(not isinstance(each, slice) or each.stop != each.start + 1 for each in split):
        return None
    return [each.start for each in split]


def _one_by_one(rows: Array, w: Array, terms: list[int]) -> Array:
    """As `_added` does, of single products: (M, C), (K, C) -> (M, K)."""
    if rows.dtype == np.float16:  # whose products einsum would not round
        total = np.zeros((len(rows), len(w)), rows.dtype)
        for term in terms:
            total += rows[:, term, None] * w[:, term]
        return total
    inner, outer = (w, rows) if len(w) > len(rows) else (rows, w)
    # einsum goes along the axis that lies closest in memory and adds the products of one term to all sums before it
    # comes to the next term; so that axis must have more than one number.
    across = np.ascontiguousarray(inner.T[terms] if len(inner) > 1 else np.repeat(inner.T[terms], 2, axis=1))
    y = np.einsum("oc,ci->oi", np.ascontiguousarray(outer[:, terms]), across)[:, : len(inner)]
    return y if inner is w else np.ascontiguousarray(y.T)


def _avg_pool2d(
    order: Callable[[int], Split], move: Move | None, x: Array, *, kernel: Pair, stride: Pair, pad: Pad
) -> Array:
    if np.any(pad):  # counts differ from window to window
        return fast.avg_pool2d(x, kernel=kernel, stride=stride, pad=pad)
    windows = _windows(x, kernel, stride, pad, (1, 1))
    count = kernel[0] * kernel[1]
    split = order(count)
    terms = _single(split) if move is None else None
    if terms is None:
        total = _added(lambda part: windows[..., part, :].sum(axis=-2), split, move)
    else:
        total = np.add.accumulate(windows[..., terms, :], axis=-2)[..., -1, :]
    return (total / x.dtype.type(count)).transpose(0, 3, 1, 2)


def _windows(x: Array, kernel: tuple[int, ...], stride: Pair, pad: Pad, dilation: Pair) -> Array:
    """(N, P, Q, R*S, C): the terms that each output is summed from."""
    padded = np.pad(x, ((0, 0), (0, 0), *pad))
    reach = tuple((side - 1) * step + 1 for side, step in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    view = view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    N, C, P, Q, R, S = view.shape
    return view.transpose(0, 2, 3, 4, 5, 1).reshape(N, P, Q, R * S, C)


def _taps(x: Array, kernel: tuple[int, ...], stride: Pair, pad: Pad, dilation: Pair) -> list[Array]:
    """For each point of a kernel, what it meets at each output: R*S views of (N, P, Q, C)."""
    (top, bottom), (left, right) = pad
    N, C, H, W = x.shape
    padded = np.zeros((N, top + H + bottom, left + W + right, C), x.dtype)
    padded[:, top : top + H, left : left + W] = x.transpose(0, 2, 3, 1)
    reach = [(side - 1) * step for side, step in zip(kernel, dilation, strict=True)]
    P, Q = (full - one for full, one in zip(padded.shape[1:3], reach, strict=True))
    return [
        padded[:, r : r + P : stride[0], s : s + Q : stride[1]]
        for r in range(0, reach[0] + 1, dilation[0])
        for s in range(0, reach[1] + 1, dilation[1])
    ]


def _biased(y: Array, b: Array | None) -> Array:
    return (y if b is None else y + b).transpose(0, 3, 1, 2)


def rules(order: Callable[[int], Split], move: Move | None = None) -> Any:
    """The rules of `fast` with convolutions and pools summed in an order; and each product and sum moved, if asked."""
    own: dict[str, Callable[..., Array]] = {
        "conv2d": _conv2d,
        "depthwise_conv2d": _depthwise_conv2d,
        "pointwise_conv2d": _pointwise_conv2d,
        "avg_pool2d": _avg_pool2d,
    }
    return SimpleNamespace(**{**vars(fast), **{op: partial(rule, order, move) for op, rule in own.items()}})


_LEFT_OUT = {"bfloat16": 16, "tf32": 13}  # of the bits of a float32, how many


def rounded(y: Array, store: str) -> Array:
    """Round to float16, bfloat16 or tf32's 11 significant bits, half to even, and back to the dtype of y."""
    if store == "float16":
        with np.errstate(over="ignore"):
            return y.astype(np.float16).astype(y.dtype)
    bits = y.astype(np.float32).view(np.uint32)
    bits = bits + _half_unit(store) - np.uint32(1) + ((bits >> np.uint32(_LEFT_OUT[store])) & np.uint32(1))
    return (bits & _kept(store)).view(np.float32).astype(y.dtype)


def _kept(store: str) -> np.uint32:
    """The bits of a float32 that a format has."""
    return np.uint32(2**32 - 2 ** _LEFT_OUT[store])


def _half_unit(store: str) -> np.uint32:
    return np.uint32(2 ** (_LEFT_OUT[store] - 1))


def truncated(y: Array, store: str) -> Array:
    """The number of float16, bfloat16 or tf32 next to y toward zero, in the dtype of y."""
    if store != "float16":
        return (y.astype(np.float32).view(np.uint32) & _kept(store)).view(np.float32).astype(y.dtype)
    with np.errstate(over="ignore"):
        near = y.astype(np.float16)
    over = np.abs(near.astype(y.dtype)) > np.abs(y)
    return (near.view(np.uint16) - over).view(np.float16).astype(y.dtype)  # one less in bits is next to it toward zero


def half_away(y: Array, store: str) -> Array:
    """Round to bfloat16 or tf32, half away from zero, and back to the dtype of y.

    As the conversion that processors have for tf32 does: PTX ISA, `cvt.rna.tf32.f32`.
    """
    bits = y.astype(np.float32).view(np.uint32) + _half_unit(store)
    return (bits & _kept(store)).view(np.float32).astype(y.dtype)


def at_random(y: Array, store: str, drawn: np.random.Generator) -> Array:
    """One of the two numbers of a format about each of y, drawn so that it is y on average; in the dtype of y."""
    _, exponent = np.frexp(y)
    unit = np.ldexp(y.dtype.type(FLOATS[store].u), exponent)
    return np.floor(y / unit + drawn.random(y.shape, y.dtype)) * unit


def short_rules(base: Any, store: str) -> Any:
    """Rules that round what every operation of `base` makes to float16 or bfloat16."""

    def storing(rule: Callable[..., Array]) -> Callable[..., Array]:
        return lambda *args, **attrs: rounded(rule(*args, **attrs), store)

    return _changed(base, storing, OPS)


def _changed(base: Any, change: Callable[[Callable[..., Array]], Callable[..., Array]], ops: Collection[str]) -> Any:
    """The rules of `base`, of which those of some operations are changed."""
    own = {op: getattr(base, op) for op in OPS}
    return SimpleNamespace(**{op: change(rule) if op in ops else rule for op, rule in own.items()})


def by_sign(base: Any) -> Any:
    """Rules of `base` that add up positive products by themselves, and negative ones, as some hardware does.

    In a short format each of both sums drifts in one direction, and what they leave when they meet is that of both.
    """

    def parted(rule: Callable[..., Array]) -> Callable[..., Array]:
        def added(x: Array, w: Array, b: Array | None, **attrs: Any) -> Array:
            (above, below), (up, down) = ((np.maximum(y, 0), np.minimum(y, 0)) for y in (x, w))
            positive = rule(above, up, None, **attrs) + rule(below, down, None, **attrs)
            negative = rule(above, down, None, **attrs) + rule(below, up, None, **attrs)
            y = positive + negative
            return y if b is None else y + b[:, None, None]

        return added

    return _changed(base, parted, CONVOLUTIONS)


def factor_rules(base: Any, store: str, ops: Collection[str]) -> Any:
    """Rules that round both factors of the products of some operations of `base`, as matrix units do.

    Parameters
    ----------
    store : 'tf32', 'bfloat16' or 'float16'
    ops : convolutions
    """

    def rounding(rule: Callable[..., Array]) -> Callable[..., Array]:
        return lambda x, w, *rest, **attrs: rule(rounded(x, store), rounded(w, store), *rest, **attrs)

    return _changed(base, rounding, ops)


SPLITS: Mapping[str, Callable[[int], Split]] = MappingProxyType(
    {"sequential": _sequential, "backwards": _backwards, "pairwise": _pairwise, "lanes": _lanes}
)
ORDERS: Mapping[str, Any] = MappingProxyType({"fast": fast, **{name: rules(split) for name, split in SPLITS.items()}})


def _moments(rows: bool, centred: bool, x: Array) -> tuple[Array, Array]:
    """Mean and variance of each channel of a batch: sums row by row or pairwise, of squares before or behind the mean.

    NumPy adds up a contiguous axis pairwise, any other one after another.
    """
    points = x.reshape(*x.shape[:2], -1).transpose(1, 0, 2).reshape(x.shape[1], -1)  # (C, N*H*W)
    points, axis = (np.ascontiguousarray(points.T), 0) if rows else (points, 1)
    mean = points.mean(axis=axis, keepdims=True)
    if centred:
        var = np.square(points - mean).mean(axis=axis)
    else:
        var = np.maximum(np.square(points).mean(axis=axis) - np.square(mean).ravel(), 0)
    return mean.ravel(), var


# How an honest implementation may make a batch's statistics, in the dtype of what it is given; the coarsest first.
MOMENTS: tuple[Callable[[Array], tuple[Array, Array]], ...] = tuple(
    partial(_moments, rows, centred) for rows in (True, False) for centred in (True, False)
)


def whole_steps(values: Array, most: int, *, apart: int = 1) -> tuple[int, float] | None:
    """How many steps lie between the least and the largest number, and how large they are; None of other numbers.

    All numbers lie whole steps apart, but for what float32 leaves of a step and of a product with it, and no two nearer
    than so many steps as are asked for.

    Parameters
    ----------
    values : finite
    most : steps, from which on there are too many
    apart : the most steps that the two nearest numbers may lie apart
    """
    some = values.flat[:: max(1, values.size // (_GLANCE * most))]
    if len(np.unique(some)) > most + 1:  # which is so of nearly all
        return None
    levels = np.unique(values.astype(np.float64))
    if not 2 < len(levels) <= most + 1:
        return None
    reach = float(levels[-1] - levels[0])
    least = float(np.diff(levels).min())
    for each in range(1, apart + 1):
        count = round(each * reach / least)
        if count > most:
            return None
        steps = (levels - levels[0]) * (count / reach)
        if np.all(np.abs(steps - np.rint(steps)) <= 8 * count * FLOATS["float32"].u):
            return count, reach / count
    return None
