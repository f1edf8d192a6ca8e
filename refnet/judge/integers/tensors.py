"""Which node of a network of integers each of a port's tensors is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.graph import SOURCE, Graph, Node
from refnet.pack.integers import IntegerPack
from refnet.pack.matching.layouts import axis_orders
from refnet.pack.matching.match import match_tensors
from refnet.pack.matching.names import by_equal_names
from refnet.pack.matching.sequence import orders_of
from refnet.readings.integer.quantisation import QuantisedTensor
from refnet.readings.quantised import run_node

__all__ = [
    "GoldenIntegers",
    "HeldIntegers",
    "before_softmax",
    "integers_followed",
    "integers_in_order",
    "match_integers",
]

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
HeldIntegers = dict[str, tuple[str, Array]]

_APART = 0.1  # of a tensor's elements that may be more than a step from what a node makes
_LEFT = 0.1  # of a candidate's tensors that may be left over before it is asked what nodes make of them


class GoldenIntegers:
    """The tensors of a pack; those that it does not store are computed, once.

    Attributes
    ----------
    pack : of integers
    real : whether a candidate's floats are the real numbers that its integers stand for
    tensors : by node
    """

    def __init__(self, pack: IntegerPack, candidate: Tensors) -> None:
        self.pack = pack
        self.tensors = {SOURCE: pack.tensor(SOURCE), **pack.net.trace(pack.tensor(SOURCE))}
        floats = [y for y in map(np.asarray, candidate.values()) if y.dtype.kind == "f"]
        self.real = 2 * len(floats) > len(candidate) and not all(np.array_equal(y, np.rint(y)) for y in floats)

    def tensor(self, name: str) -> Array:
        """One tensor as floats, by which it is recognised."""
        q = self.pack.net.quantised.get(name) if self.real else None
        y = self.tensors[name].astype(np.float32)
        return y if q is None else (y - q.zero_point.astype(np.float32)) * q.scale

    def as_stored(self, name: str, array: Array) -> Array:
        """A candidate's array as the integers of a tensor, if it holds such in a longer type or as real numbers.

        A real number went through three roundings of float32 at most, of a product and a sum: it is that far from a
        whole number of steps. What is beyond the type's range stays in a longer one; all else stays as it was found.
        """
        q = self.pack.net.quantised.get(name)
        if q is None or array.dtype == q.dtype or array.dtype.kind not in "fiu":
            return array
        scale, zero = q.single() if self.real and array.dtype.kind == "f" else (1.0, 0)
        steps = array.astype(np.float64) / float(scale)
        whole = np.rint(steps)
        most = 3 * np.finfo(np.float32).eps * (q.high - q.low + np.abs(steps)) * (scale != 1)
        if not (np.abs(steps - whole) <= most).all():
            return array
        integers = whole.astype(np.int64) + zero
        return integers.astype(q.dtype) if ((q.low <= integers) & (integers <= q.high)).all() else integers


def match_integers(
    tensors: Tensors, golden: GoldenIntegers, names: Mapping[str, str]
) -> tuple[HeldIntegers, list[str]]:
    """By node the candidate's name and its array as (N, C, H, W); the names that are no node's."""
    keys = {entry["key"]: node for node, entry in golden.pack.manifest["tensors"].items() if entry.get("key")}
    if golden.real:  # as onnxruntime's quantiser calls the real numbers of integers
        keys = {key.replace("_QuantizeLinear_Output", "_DequantizeLinear_Output"): keys[key] for key in keys} | keys
    # A name may be one node's and the file's of another node's tensor: a candidate has mostly the ones or the others.
    named = {name: keys[key] for name, key in by_equal_names({*tensors}, {*keys})}
    ours = sum(name in golden.tensors for name in tensors) >= len(named)
    theirs = {name: node for name, node in named.items() if not (ours and name in golden.tensors)}
    told = {name: node for name, node in theirs.items() if node not in names.values()} | dict(names)
    shapes = {name: y.shape for name, y in golden.tensors.items()}
    matching = match_tensors(_Floats(tensors), shapes, golden.tensor, names=told)
    found, unmatched = {}, list(matching.unmatched)
    for node, each in matching.tensors.items():
        whole = each.array
        dtype = np.asarray(tensors[each.source]).dtype
        if dtype.kind in "iu" and golden.tensors[node].dtype.kind == "f" and each.source not in {node, *theirs}:
            unmatched.append(each.source)  # a copy of the integers that the node reads is like what it makes of them
            continue
        array = whole.astype(dtype) if dtype.kind in "iu" else whole
        found[node] = (each.source, golden.as_stored(node, array))
    if (end := _end_of(tensors, golden, found, unmatched)) is not None:
        node, source = end
        found[node] = (source, golden.as_stored(node, np.asarray(tensors[source]).reshape(golden.tensors[node].shape)))
        unmatched.remove(source)
    return found, unmatched


def _end_of(
    tensors: Tensors, golden: GoldenIntegers, found: HeldIntegers, unmatched: list[str]
) -> tuple[str, str] | None:
    """What a lone tensor of the network's last size is, and its name: probabilities add up to 1, and logits do not."""
    graph = golden.pack.net.graph
    softmax = graph[graph.output]
    if softmax.op != "softmax" or softmax.name in found:
        return None
    full = golden.tensors[softmax.name].shape
    fits = [name for name in unmatched if any(order for order in axis_orders(np.shape(tensors[name]), full))]
    before = next((name for name in _behind_layers(graph, softmax) if name in found), None)
    if len(fits) != 1 or before is not None:
        return None
    q = golden.pack.net.quantised.get(softmax.name)
    y = golden.as_stored(softmax.name, np.asarray(tensors[fits[0]])).astype(np.float64)
    step = 1.0 if q is None else float(q.single()[0])
    total = ((y - (0 if q is None else q.single()[1])) * step).reshape(full[0], -1).sum(axis=1)
    adds_up = bool((np.abs(total - 1) <= step * full[-1] / 2 + _APART).all())
    return (softmax.name if adds_up else softmax.inputs[0]), fits[0]


def before_softmax(golden: GoldenIntegers, found: HeldIntegers) -> HeldIntegers | None:
    """The same where a lone end is taken for logits, not probabilities; None where that cannot be.

    Two classes' logits may be each other's opposite: their integers add up as probabilities do.
    """
    graph = golden.pack.net.graph
    softmax = graph[graph.output]
    if softmax.op != "softmax" or softmax.name not in found or found.keys() & set(_behind_layers(graph, softmax)):
        return None
    before = softmax.inputs[0]
    source, array = found[softmax.name]
    own = golden.tensors[before]
    if (array.size, array.dtype) != (own.size, own.dtype):
        return None
    return {
        **{node: each for node, each in found.items() if node != softmax.name},
        before: (source, array.reshape(own.shape)),
    }


def _behind_layers(graph: Graph, node: Node) -> Iterator[str]:
    """What a node reads, and what that is a reshaping of."""
    while not node.params and node.inputs[0] in graph:
        node = graph[node.inputs[0]]
        yield node.name


class _Floats(Mapping[str, Array]):
    """Tensors as floats, which hold integers of up to 24 bits exactly."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.shapes = {name: np.shape(tensors[name]) for name in tensors}

    def __getitem__(self, name: str) -> Array:
        return np.asarray(self.tensors[name]).astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def integers_in_order(
    tensors: Tensors,
    golden: GoldenIntegers,
    found: HeldIntegers,
    unmatched: list[str],
    right: Callable[[HeldIntegers], int],
) -> tuple[HeldIntegers, list[str]]:
    """The same by the order of the tensors or by what nodes make of them, if that makes no fewer of them right."""
    shapes = {name: y.shape for name, y in golden.tensors.items()}
    sides = {name: np.shape(tensors[name]) for name in tensors}
    ways = [(found, unmatched)]
    if len(unmatched) > _LEFT * len(tensors):
        ways.append(integers_followed(tensors, golden))
    for told in orders_of(golden.pack.net.graph, sides, shapes):
        if any(node not in found or found[node][0] != source for node, source in told.items()):
            ways.append(match_integers(tensors, golden, {source: node for node, source in told.items()}))
    return max(ways, key=lambda way: (right(way[0]), -len(way[1]))) if len(ways) > 1 else ways[0]


def integers_followed(tensors: Tensors, golden: GoldenIntegers) -> tuple[HeldIntegers, list[str]]:
    """By what each node makes of the candidate's own tensors: the free one that is nearly that is the node's.

    Where none is, that one is of which the next node makes another free one. Names say nothing here.
    """
    following = _Following(tensors, golden)
    for node in golden.pack.net.graph.nodes:
        following.node(node)
    return following.found, [name for name in tensors if name in following.free]


class _Following:
    def __init__(self, tensors: Tensors, golden: GoldenIntegers) -> None:
        self.net, self.golden = golden.pack.net, golden
        self.free = {name: np.asarray(tensors[name]) for name in tensors}
        self.found: HeldIntegers = {}
        self.readers = self.net.graph.readers()
        x = golden.tensors[SOURCE]
        own = self._taken(SOURCE, self._like(SOURCE, x))
        self.values = {SOURCE: self._tensor(SOURCE, x if own is None else own)}

    def node(self, node: Node) -> None:
        """Find a node's tensor, if it is there, and go on with it."""
        y = self._made(node, self.values)
        source = self._like(node.name, y)
        if source is None and np.ptp(y):
            others = [each for each in self.readers[node.name] if {*each.inputs} <= {node.name, *self.values}]
            source = next((name for name in [*self.free] if self._leads_on(name, node.name, others)), None)
        array = self._taken(node.name, source)
        self.values[node.name] = self._tensor(node.name, y if array is None else array)

    def _made(self, node: Node, values: Mapping[str, Any]) -> Array:
        inputs = [values[name] for name in node.inputs]
        try:
            y = run_node(node, inputs, self.net.params, self.net.quantised.get(node.name), self.net.kernels)
        except RequestError:  # kernels abort on such integers
            return self.golden.tensors[node.name]
        return y.values if isinstance(y, QuantisedTensor) else np.asarray(y)

    def _leads_on(self, source: str, node: str, readers: list[Node]) -> bool:
        """Whether what reads a node makes another free tensor of this one."""
        for array in self._as_of(source, node):
            values = {**self.values, node: self._tensor(node, array)}
            if any(self._like(each.name, self._made(each, values), source) for each in readers):
                return True
        return False

    def _like(self, node: str, y: Array, but: str = "") -> str | None:
        """The free tensor that is nearly this one; equal ones in order."""
        near = {name: self._apart(name, node, y) for name in self.free if name != but}
        best = min(near, key=lambda name: near[name], default="")
        return best if best and near[best] <= _APART and np.ptp(y) else None

    def _apart(self, source: str, node: str, y: Array) -> float:
        """Which part of the elements are more than a step away."""
        ways = [np.mean(np.abs(each.astype(np.float64) - y) > 1) for each in self._as_of(source, node)]
        return float(min(ways, default=1.0))

    def _as_of(self, source: str, node: str) -> Iterator[Array]:
        """A tensor in a node's shape, if it has that or a layout of it, and its type."""
        full, own = self.golden.tensors[node].shape, self.free[source]
        orders = axis_orders(own.shape, full)
        array = self.golden.as_stored(node, own) if orders else own
        for order in orders if array.dtype == self.golden.tensors[node].dtype else ():
            yield np.ascontiguousarray(order.nchw(array, full))

    def _taken(self, node: str, source: str | None) -> Array | None:
        """Take a free tensor as a node's."""
        if source is None:
            return None
        y = self.golden.tensors[node] if node == SOURCE else self._made(self.net.graph[node], self.values)
        array = min(self._as_of(source, node), key=lambda each: float(np.mean(each != y)))
        del self.free[source]
        self.found[node] = source, array
        return array

    def _tensor(self, name: str, array: Array) -> Any:
        q = self.net.quantised.get(name)
        return array if q is None else QuantisedTensor(np.ascontiguousarray(array), q)
