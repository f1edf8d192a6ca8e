"""What explains integers through nodes that a port does not dump: rules at all, some or one of them; another input.

A network of integers runs in milliseconds, so that rules are replayed through all that lies between two tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.integers.catalogue import INTEGER_BUGS, kernels_beside
from refnet.bugs.integers.node import IntegerNode
from refnet.errors import RefnetError
from refnet.graph import SOURCE, Node
from refnet.judge.integers.rules import KERNELS, IntegerCause
from refnet.network.quantised import QuantisedNetwork
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
from refnet.readings.quantised import run_node

__all__ = ["ALL", "causes_through", "inputs_through"]

Array = npt.NDArray[Any]
Rule = Callable[[IntegerNode], Array | None]

ALL = "everywhere"
_DENSE = ("conv2d", "pointwise_conv2d")  # one operation in files
_WORK = 1e10  # multiply-adds of rules at one node each: some seconds
_CHANCE = 1e-2  # that any of the ways tried makes a port's integers though it is none of its


def causes_through(
    net: QuantisedNetwork, span: Sequence[Node], values: Mapping[str, Any], mine: Array
) -> list[IntegerCause]:
    """The rules that make the integers of the last of some nodes: those everywhere, else of a kind, else at one node.

    Parameters
    ----------
    span : nodes in order, of which the last has the port's integers
    values : of all nodes, as the port has them, or as they follow from what it has
    """
    replay, last = _Replay(net, span, values), span[-1].name
    reference = np.asarray(values[last].values if isinstance(values[last], QuantisedTensor) else values[last])
    q = net.quantised.get(last)
    if q is None or mine.shape != reference.shape:
        return []
    telling = _telling(mine, q)
    rules = {**INTEGER_BUGS, **{KERNELS + name: _under(name) for name in kernels_beside(net.kernels)}}
    ops = list(dict.fromkeys(node.op for node in span if node.params))
    kinds: list[tuple[str, Sequence[Node]]] = [(op, [node for node in span if node.op == op]) for op in ops]
    if {*_DENSE} <= {*ops}:
        kinds.append((" and ".join(_DENSE), [node for node in span if node.op in _DENSE]))
    scopes: list[list[tuple[str, Sequence[Node]]]] = [[(ALL, span)], kinds]
    if len(rules) * len(span) * replay.work <= _WORK:
        scopes.append([(node.name, [node]) for node in span[:-1]])
    for each in scopes:
        if len(rules) * len(each) > telling:
            break
        found = [
            IntegerCause(name, 0, int((y != reference).sum()), at=at)
            for name, rule in rules.items()
            for at, nodes in each
            if (y := replay.last(rule, nodes)) is not None and np.array_equal(y, mine)
        ]
        if found:
            return found
    return []


def inputs_through(
    net: QuantisedNetwork,
    span: Sequence[Node],
    values: Mapping[str, Any],
    given: Iterable[tuple[str, Any]],
    mine: Array,
) -> list[IntegerCause]:
    """What a port was given that does not say it, by the integers of the last of the nodes behind it.

    Parameters
    ----------
    span, values : as of `causes_through`; all from the network's input on
    given : by rule, what it may have been
    """
    replay, q, tried = _Replay(net, span, values), net.quantised.get(span[-1].name), [*given]
    if q is None or len(tried) > _telling(mine, q):
        return []
    reference = values[span[-1].name].values
    fits = {rule for rule, x in tried if (y := replay.fed(x)) is not None and np.array_equal(y, mine)}
    return [IntegerCause(rule, 0, int((mine != reference).sum())) for rule in sorted(fits)]


def _telling(mine: Array, q: Quantisation) -> float:
    """How many ways integers tell apart, of which each that is not cut off tells eight bits."""
    return float(256 ** min(int(((mine > q.low) & (mine < q.high)).sum()), 8)) * _CHANCE


def _under(kernels: str) -> Rule:
    return lambda node: node.under(kernels)


class _Replay:
    """Runs of some nodes with a rule at some of them."""

    def __init__(self, net: QuantisedNetwork, span: Sequence[Node], values: Mapping[str, Any]) -> None:
        self.net, self.span, self.values = net, span, values
        self.work = sum(self._products(node) for node in span if "w" in node.params)

    def _products(self, node: Node) -> int:
        w, y = self.net.params[f"{node.name}.w"], self.values[node.name]
        size = math.prod(np.shape(w.values if isinstance(w, QuantisedTensor) else w))
        points = math.prod(np.shape(y.values if isinstance(y, QuantisedTensor) else y)[2:])
        return size * points

    def last(self, rule: Rule, nodes: Sequence[Node]) -> Array | None:
        """What the last node makes; None where the rule changes nothing, or nothing can be run."""
        values, changed = dict(self.values), False
        where = {node.name for node in nodes}
        try:
            for node in self.span:
                q = self.net.quantised.get(node.name)
                inputs = [values[name] for name in node.inputs]
                y = self._by(rule, node, inputs, q) if node.name in where and q is not None else None
                if q is not None and y is not None and not np.array_equal(y, values[node.name].values):
                    values[node.name], changed = QuantisedTensor(y, q), True
                elif changed and any(values[name] is not self.values[name] for name in node.inputs):
                    values[node.name] = run_node(node, inputs, self.net.params, q, self.net.kernels)
        except (RefnetError, ValueError):
            return None
        made = values[self.span[-1].name]
        return np.asarray(made.values if isinstance(made, QuantisedTensor) else made) if changed else None

    def fed(self, x: Any) -> Array | None:
        """What the last node makes of another input; None where it cannot be run."""
        values = {**self.values, SOURCE: x}
        try:
            for node in self.span:
                inputs, q = [values[name] for name in node.inputs], self.net.quantised.get(node.name)
                values[node.name] = run_node(node, inputs, self.net.params, q, self.net.kernels)
        except (RefnetError, ValueError):
            return None
        return np.asarray(values[self.span[-1].name].values)

    def _by(self, rule: Rule, node: Node, inputs: list[Any], q: Quantisation) -> Array | None:
        held = {slot: self.net.params[f"{node.name}.{slot}"] for slot in node.params}
        work = IntegerNode(node, tuple(inputs), held, q, self.net.kernels)
        return rule(work) if work.of_integers else None
