"""Batch norms that TensorFlow's graphs write out: x s + (beta - mean s), s = gamma / sqrt(var + eps).

The constants of it are computed as they come; here is remembered of what, so that the sum at the end can be said as the
one operation that it is, with the file's own arrays and nothing rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.files.importers.builder import Const, GraphBuilder, Map, Value, decimal

__all__ = ["Norms"]

Array = npt.NDArray[Any]

_ADDS = ("Add", "AddV2", "BiasAdd")


class _Factor(NamedTuple):
    """gamma / sqrt(var + eps); gamma is None where it is 1."""

    gamma: Const | None
    var: Const
    eps: float


class _Made(NamedTuple):
    """A constant that was computed."""

    op: str
    inputs: tuple[Const, ...]
    array: Array  # kept, so that no other array gets its id


class _Product(NamedTuple):
    """A map times a factor: what the factor is, and its array."""

    x: Map
    factor: _Factor
    array: Array


class Norms:
    """What the constants of one graph were computed of, and which maps were multiplied by a factor."""

    def __init__(self) -> None:
        self._made: dict[int, _Made] = {}
        self._products: dict[str, _Product] = {}

    def computed(self, op: str, inputs: Sequence[Const], made: Array) -> None:
        """Remember what a constant was computed of."""
        self._made[id(made)] = _Made(op, tuple(inputs), made)

    def multiplied(self, x: Map, y: Const, made: Map) -> None:
        """Remember that a map was multiplied by a constant."""
        factor = self._factor(y)
        if factor is not None:
            self._products[made.node] = _Product(x, factor, y.array)

    def added(self, builder: GraphBuilder, name: str, op: str, x: Value, y: Value) -> Map | None:
        """The batch norm that a sum completes, None where it is but a sum."""
        x, y = (y, x) if isinstance(x, Const) else (x, y)
        product = self._products.get(x.node) if isinstance(x, Map) else None
        if op not in _ADDS or product is None or not isinstance(y, Const):
            return None
        found = self._offset(y, product.array)
        if found is None:
            return None
        beta, mean = found
        ones, zeros = (Const(np.full(mean.array.shape, value, np.float32)) for value in (1, 0))
        gamma, var, eps = product.factor
        params = {"gamma": gamma or ones, "beta": beta or zeros, "mean": mean, "var": var}
        return builder.norm(name, product.x, params, eps)

    def _factor(self, y: Const) -> _Factor | None:
        made = self._made.get(id(y.array))
        if made is None:
            return None
        if made.op == "Rsqrt":
            return self._root(made)
        if made.op == "Mul":
            for root, gamma in (made.inputs, made.inputs[::-1]):
                inner = self._made.get(id(root.array))
                factor = None if inner is None or inner.op != "Rsqrt" else self._root(inner)
                if factor is not None:
                    return factor._replace(gamma=gamma)
        return None

    def _root(self, made: _Made) -> _Factor | None:
        """1 / sqrt(var + eps)."""
        inner = self._made.get(id(made.inputs[0].array))
        if inner is None or inner.op not in _ADDS:
            return None
        for var, eps in (inner.inputs, inner.inputs[::-1]):
            if var.array.ndim and eps.array.size == 1:
                number = eps.array.item()
                return _Factor(None, var, number if eps.array.dtype == np.float64 else decimal(number))
        return None

    def _offset(self, y: Const, factor: Array) -> tuple[Const | None, Const] | None:
        """beta (None where it is 0) and mean of beta - mean factor, or of -mean factor."""
        made = self._made.get(id(y.array))
        if made is None or made.op not in ("Sub", "Neg"):
            return None
        beta, taken = made.inputs if made.op == "Sub" else (None, made.inputs[0])
        inner = self._made.get(id(taken.array))
        if inner is None or inner.op != "Mul":
            return None
        for mean, other in (inner.inputs, inner.inputs[::-1]):
            if other.array is factor:
                return beta, mean
        return None
