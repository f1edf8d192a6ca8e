"""The arrays of a network layer by layer: a convolution with the batch norm that follows it, and the fold of both.

An exporter folds in float32, in one of several orders; `Expected` is the fold in float64 with how far an honest one
may lie from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph, Node
from refnet.networks.rewrite import norms

__all__ = ["Expected", "Layer", "expected", "layers", "scaled"]

Array = npt.NDArray[Any]

_U = 2.0**-24  # an exporter's arithmetic is float32, or wider
_TINY = 2.0**-126  # subnormal results may be flushed to zero
_WEIGHT, _BIAS = 7, 9  # roundings on the longest path, see `Layer.folded`


class Expected(NamedTuple):
    """What a tensor should be, in float64, and how far an honest one may lie from it, element by element."""

    value: Array
    slack: Array

    @classmethod
    def exactly(cls, value: Array) -> Expected:
        """No rounding is expected."""
        return cls(value, np.zeros(value.shape))

    def map(self, move: Any) -> Expected:
        """The same with its elements laid out in another way."""
        return Expected(move(self.value), move(self.slack))


@dataclass(frozen=True)
class Layer:
    """A convolution and the batch norm behind it, or either alone.

    Attributes
    ----------
    name : of the convolution, or of a batch norm that follows none
    op : of that node
    arrays : by slot in float64: 'w', 'b' of the convolution; 'gamma', 'beta', 'mean', 'var' of the batch norm; those
        that a file lacks are not there
    names : by slot, the params' names, of those too
    eps : of the batch norm
    """

    name: str
    op: str
    arrays: Mapping[str, Array]
    names: Mapping[str, str]
    eps: float = 0.0

    @property
    def norm(self) -> bool:
        """Whether a batch norm can be worked into a convolution here."""
        return "w" in self.names and "gamma" in self.names

    def having(self, **arrays: Array) -> Layer:
        """The same with some arrays replaced."""
        return replace(self, arrays={**self.arrays, **arrays})

    @property
    def factor(self) -> Array:
        """What each output channel is multiplied by: gamma / sqrt(var + eps), (K,)."""
        with np.errstate(all="ignore"):
            factor: Array = self.arrays["gamma"] / np.sqrt(self.arrays["var"] + self.eps)
        return factor

    @property
    def bias(self) -> Array:
        """The convolution's own bias, zeros where it has none."""
        b = self.arrays.get("b")
        return np.zeros(len(self.arrays["w"])) if b is None else b

    def folded(self) -> dict[str, Expected]:
        """w' = s w and b' = s (b - mean) + beta, with s = gamma / sqrt(var + eps).

        Every order of working this out in float32 leaves each term multiplied by at most K factors 1 + d, abs(d) <= u,
        and so within gamma_K = K u / (1 - K u) times the sum of absolute terms (Higham, Accuracy and Stability of
        Numerical Algorithms, sec. 3.1). eps as a float32 and var + eps round once each, half as much after the root;
        the root, its reciprocal and the product with gamma once each: 4. A reciprocal root from a table and one Newton
        step, as in Eigen, may be 2 ulp = 4 u off where root and reciprocal are 2: 6. Times w: K = 7. The bias: b - mean
        and the product, or two products: 7, then two sums: K = 9, of terms abs(s b), abs(s mean) and abs(beta).
        """
        s, w, zero = self.factor, self.arrays["w"], np.zeros(len(self.arrays["w"]))
        mean, beta = self.arrays.get("mean", zero), self.arrays.get("beta", zero)
        with np.errstate(all="ignore"):
            weight = w * s.reshape(-1, *(1,) * (w.ndim - 1))
            bias = s * (self.bias - mean) + beta
            terms = np.abs(s * self.bias) + np.abs(s * mean) + np.abs(beta)
        return {
            "w": scaled(weight),
            "b": Expected(bias, _gamma(_BIAS) * terms + 3 * _TINY),
        }


def scaled(weight: Array) -> Expected:
    """Weights times their factors, with what an honest fold may be off, see `Layer.folded`."""
    return Expected(weight, _gamma(_WEIGHT) * np.abs(weight) + _TINY)


def _gamma(K: int) -> float:
    return K * _U / (1 - K * _U)


def layers(graph: Graph, params: Mapping[str, Array]) -> dict[str, Layer]:
    """Every layer that has arrays, by name, in order.

    A batch norm belongs to a convolution that it reads and nothing else reads, see `rewrite.norms`.
    """
    before = {norm.name: convolution for convolution, norm in norms(graph).items()}
    found: dict[str, Layer] = {}
    for node in graph.nodes:
        if not node.params:
            continue
        if node.name in before:
            own = found[before[node.name]]
            arrays, names = _of(node, params)
            found[own.name] = replace(
                own, arrays={**own.arrays, **arrays}, names={**own.names, **names}, eps=node.attrs["eps"]
            )
        else:
            found[node.name] = Layer(node.name, node.op, *_of(node, params), node.attrs.get("eps", 0.0))
    return found


def _of(node: Node, params: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, str]]:
    names = {slot: f"{node.name}.{slot}" for slot in node.params}
    return {slot: np.asarray(params[name], np.float64) for slot, name in names.items() if name in params}, names


def expected(layer: Layer, folded: bool) -> dict[str, Expected]:
    """What a copy of a layer should hold: its arrays as they are, or the fold of them."""
    if folded:
        return layer.folded()
    return {slot: Expected.exactly(array) for slot, array in layer.arrays.items()}
