"""Floats between the integers of a network, and how far rounding may move them.

Integers are equal or they are not; floats need not be. A runtime that runs a QDQ file as it stands computes every
layer in floats, in its own order, and rounds each to integers: where a real number lies halfway between two of them,
either is right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph, Node
from refnet.network.quantised import QuantisedNetwork
from refnet.ops import OPS
from refnet.readings.bounds import bound
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
from refnet.readings.precision import FLOATS, Precision

__all__ = ["RealLimits", "real_limits"]

Array = npt.NDArray[Any]

_UNIT = FLOATS["float32"].u
_STORES = ("quantize", "dequantize")


class RealLimits(NamedTuple):
    """The least and the largest that an honest port may have of each element of a tensor: integers, or floats."""

    low: Array
    high: Array

    def hold(self, y: Array) -> bool:
        """Whether a port's tensor lies between them."""
        return bool(((self.low <= y) & (y <= self.high)).all())


def real_limits(
    net: QuantisedNetwork, node: Node, values: Mapping[str, Any], made: Collection[str]
) -> RealLimits | None:
    """What a node may come to whose floats, or which as floats, are computed in any order; None where it has none.

    Parameters
    ----------
    net : a network of integers
    values : the tensors before the node, a port's own where it has them
    made : nodes of floats that the port does not have: they are computed from what it has
    """
    part = net.graph.leading_to(node.name, starts={name for name in values if name not in made})
    sides = {name: name for each in part.nodes for name in each.inputs}
    for each in part.nodes:
        sides[each.name] = sides[each.inputs[0]] if each.op in _STORES else each.name
    floats = [each for each in part.nodes if each.op not in _STORES]
    given = {name: values[name] for name in dict.fromkeys(sides.values()) if name in values and name not in made}
    if not _is_plain(floats) or (not floats and node.op == "quantize"):
        return None
    real = {name: _real(x) for name, x in given.items()}
    if not floats:
        (x,) = real.values()
        return _within(x, _moved(given[node.inputs[0]]), None)
    nodes = tuple(Node(n.name, n.op, tuple(sides[x] for x in n.inputs), n.params, n.attrs) for n in floats)
    graph = Graph(net.graph.recipe, nodes, (nodes[-1].name,))
    params = {f"{n.name}.{slot}": _param(net, n, slot, given.get(n.inputs[0])) for n in nodes for slot in n.params}
    slack = {name: _moved(given[name]) for name in given} | {name: 2 * _UNIT * np.abs(params[name]) for name in params}
    found = bound(graph, params, real, Precision.of("float32"), slack=slack)
    return _within(found.y, found.worst, net.quantised.get(node.name))


def _is_plain(nodes: Collection[Node]) -> bool:
    """Whether nodes are operations of floats, with nothing fused."""
    return all(node.op in OPS and {*node.attrs} <= {*OPS[node.op].attrs} for node in nodes)


def _real(x: Any) -> Array:
    """What integers stand for, or floats as they are."""
    return x.reals if isinstance(x, QuantisedTensor) else np.asarray(x, np.float64)


def _param(net: QuantisedNetwork, node: Node, slot: str, x: Any) -> Array:
    """Weights as reals; biases of integers are in steps of the input times the weights."""
    param, w = net.params[f"{node.name}.{slot}"], net.params.get(f"{node.name}.w")
    integers = slot == "b" and not isinstance(param, QuantisedTensor) and param.dtype.kind in "iu"
    if not integers or not isinstance(w, QuantisedTensor) or not isinstance(x, QuantisedTensor):
        return _real(param)
    return np.asarray(param * float(x.quantisation.single()[0]) * w.quantisation.scale.astype(np.float64))


def _moved(x: Any) -> Array:
    """How far the reals of integers may lie from what they are exactly: a product, or a product and a sum."""
    if not isinstance(x, QuantisedTensor):
        return np.zeros(np.shape(x))
    scale, zero = x.quantisation.single()
    return np.asarray(3 * _UNIT * float(scale) * (np.abs(x.values.astype(np.float64)) + abs(zero)))


def _within(y: Array, worst: Array, q: Quantisation | None) -> RealLimits:
    if q is None:
        return RealLimits(y - worst, y + worst)
    scale, zero = q.single()
    most = worst + 2 * _UNIT * np.abs(y)  # divided by a scale, or multiplied by one over it
    low, high = (np.rint(each / float(scale)) + zero for each in (y - most, y + most))
    return RealLimits(np.clip(low, q.low, q.high), np.clip(high, q.low, q.high))
