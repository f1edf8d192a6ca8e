"""What a candidate has beside the tensors that are nodes': copies, pads, parts, reshapes; and what nothing tells.

None of it is a fault: it adds nothing to what is judged.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.pack.matching.layouts import axis_orders

__all__ = ["Extra", "extras"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

_WIDEST = 8  # points of a border that may be around a tensor, or be cut off from it


class Extra(NamedTuple):
    """A tensor that is no node's.

    Attributes
    ----------
    source : the candidate's name
    kind : 'copy', 'padded', 'part' (cut out, or every other point) or 'reshaped' of a node's; 'before-norm' and
        'before-bias', what a node makes before the batch norm that was folded into it, or before its bias; 'unit', a
        node's vector divided by its length; 'scaled', logits times one number, and 'scaled-softmax', the softmax of
        these; 'unknown'; 'unread' where it cannot be read
    node : whose, '' for none
    reason : why it cannot be read
    """

    source: str
    kind: str
    node: str = ""
    reason: str = ""


def extras(
    sources: Iterable[str],
    read: Mapping[str, Array],
    tensors: Mapping[str, Callable[[], Array]],
    shapes: Mapping[str, Shape],
) -> Iterator[Extra]:
    """What each of some tensors is.

    Parameters
    ----------
    sources : names of tensors that are no node's
    read : the candidate
    tensors : by node, gives the candidate's tensor of it, in the node's shape
    shapes : of nodes
    """
    sums: dict[str, float] = {}
    for source in sources:
        array = np.asarray(read[source])
        yield next(
            (Extra(source, kind, node) for kind, node in _kinds(array, tensors, shapes, sums)), Extra(source, "unknown")
        )


def _kinds(
    array: Array, tensors: Mapping[str, Callable[[], Array]], shapes: Mapping[str, Shape], sums: dict[str, float]
) -> Iterator[tuple[str, str]]:
    """What a tensor is of each node, where it is anything."""
    for node in tensors:
        full = shapes[node]
        size, own = math.prod(full), array.size
        if size == own:
            if node not in sums:
                sums[node] = float(np.asarray(tensors[node](), np.float64).sum())
            total = float(array.astype(np.float64).sum())
            if not math.isclose(total, sums[node], rel_tol=1e-6, abs_tol=1e-6 * size):
                continue
            theirs = tensors[node]()
            if any(_same(order.nchw(array, full), theirs) for order in axis_orders(array.shape, full)):
                yield "copy", node
            elif any(_same(array.ravel(), view.ravel()) for view in _orders(theirs)):
                yield "reshaped", node
        elif array.ndim == len(full) == 4:
            for view, moved in _both(array, full):
                if moved[:2] != full[:2]:
                    continue
                if all(0 <= n - m <= 2 * _WIDEST for n, m in zip(moved[2:], full[2:], strict=True)):
                    if _inside(view, tensors[node]()):
                        yield "padded", node
                elif own < size and _is_part(view, tensors[node]()):
                    yield "part", node


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))


def _orders(y: Array) -> Iterator[Array]:
    yield y
    if y.ndim == 4:
        yield y.transpose(0, 2, 3, 1)


def _both(array: Array, full: Shape) -> Iterator[tuple[Array, Shape]]:
    """An array as it is, and as one with channels last."""
    for view in (array, array.transpose(0, 3, 1, 2)):
        yield view, view.shape


def _inside(wide: Array, y: Array) -> bool:
    """Whether a tensor lies somewhere in a wider one."""
    P, Q = y.shape[2:]
    rows, columns = wide.shape[2] - P + 1, wide.shape[3] - Q + 1
    places = itertools.product(range(rows), range(columns))
    return any(_same(wide[:, :, top : top + P, left : left + Q], y) for top, left in places)


def _is_part(part: Array, y: Array) -> bool:
    """Whether it is a tensor without some of its border, or every other point of it."""
    if any(_same(y[:, :, top::2, left::2], part) for top in (0, 1) for left in (0, 1)):
        return True
    cut = [n - m for n, m in zip(y.shape[2:], part.shape[2:], strict=True)]
    return min(cut) >= 0 and max(cut) <= 2 * _WIDEST and _inside(y, part)
