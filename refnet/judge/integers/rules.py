"""The rules by which a port may make a node's integers: those that make them, or come near."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.integers.catalogue import INPUT_BUGS, INTEGER_BUGS, OF_ARRAYS, OF_FLOATS, other_kernels
from refnet.bugs.integers.node import IntegerNode
from refnet.errors import RefnetError
from refnet.readings.integer.quantisation import QuantisedTensor

__all__ = ["KERNELS", "IntegerCause", "agrees", "causes_of", "causes_of_input"]

Array = npt.NDArray[Any]

KERNELS = "kernels:"  # before the name of other kernels, whose arithmetic is a rule
_NEAR = 10  # a rule that leaves less than one in so many of the differences is told, though it does not fit


class IntegerCause(NamedTuple):
    """A rule that makes a port's integers of its own inputs.

    Attributes
    ----------
    rule : a bug of `bugs.integers`, or 'kernels:' and the name of other kernels
    left : how many elements it leaves different; 0 where it fits
    changes : how many elements it changes on these inputs
    on_noise : how many elements of an input of noise it makes otherwise than the first that fits; None for that one
    at : where among nodes that are not dumped: 'everywhere', at all of an operation, or at one node; '' at the node
        itself
    """

    rule: str
    left: int
    changes: int
    on_noise: int | None = None
    at: str = ""


def agrees(rule: str, node: IntegerNode) -> bool:
    """Whether a rule makes of a node what the reference does."""
    if rule in INPUT_BUGS:
        return True
    try:
        kernels = rule.removeprefix(KERNELS)
        y = node.under(kernels) if kernels != rule else INTEGER_BUGS[rule](node)
    except (RefnetError, ValueError):
        return True
    return y is None or np.array_equal(y, node.reference)


def _tried(node: IntegerNode, names: Iterable[str] = ()) -> dict[str, Array]:
    """What each rule makes of a node, where that is something else than the reference; all of arithmetic, or some."""
    made: dict[str, Array] = {}
    arithmetic = (name for name in INTEGER_BUGS if name not in OF_ARRAYS)
    for name in names or (arithmetic if node.of_integers else OF_FLOATS):
        try:
            y = INTEGER_BUGS[name](node)
        except (RefnetError, ValueError):
            continue
        if y is not None and y.shape == node.reference.shape and not np.array_equal(y, node.reference):
            made[name] = y
    return made if names else made | {KERNELS + name: y for name, y in other_kernels(node).items()}


def causes_of(node: IntegerNode, mine: Array) -> list[IntegerCause]:
    """The rules that make a port's integers; where none does, those that come near."""
    different = int((mine != node.reference).sum())
    tried = [_cause(rule, y, node, mine) for rule, y in _tried(node).items()]
    if node.of_integers and all(cause.left for cause in tried):
        tried += [_cause(rule, y, node, mine) for rule, y in _tried(node, OF_ARRAYS).items()]
    found = _closest(tried, different)
    return found if len(found) < 2 or found[0].left else _told_apart(node, found)


def causes_of_input(node: IntegerNode, given: Iterable[tuple[str, Any]], mine: Array) -> list[IntegerCause]:
    """What a port was given that does not say it, by what the first layer makes of that.

    Parameters
    ----------
    given : by rule, what it may have been
    mine : the port's integers of the layer
    """
    made: dict[str, IntegerCause] = {}
    for rule, other in given:
        y = replace(node, inputs=(other,)).under(node.kernels)
        cause = _cause(rule, y, node, mine)
        if cause.changes and (rule not in made or cause.left < made[rule].left):
            made[rule] = cause
    return _closest(made.values(), int((mine != node.reference).sum()))


def _cause(rule: str, y: Array, node: IntegerNode, mine: Array) -> IntegerCause:
    """A rule that makes integers of a node, beside the port's."""
    return IntegerCause(rule, int((y != mine).sum()), int((y != node.reference).sum()))


def _closest(tried: Iterable[IntegerCause], different: int) -> list[IntegerCause]:
    """Those that make a port's integers; where none does, the two that leave least, if that is little."""
    near = sorted(tried, key=lambda cause: cause.left)
    fits = [cause for cause in near if not cause.left]
    return fits or [cause for cause in near[:2] if cause.left * _NEAR <= different]


def _told_apart(node: IntegerNode, fits: list[IntegerCause]) -> list[IntegerCause]:
    """In how many elements the rules that fit differ from the first of them on an input of noise."""
    rng = np.random.default_rng(0)
    if not node.of_integers:
        return fits
    noise = tuple(
        QuantisedTensor(
            rng.integers(x.quantisation.low, x.quantisation.high + 1, x.values.shape).astype(x.values.dtype),
            x.quantisation,
        )
        for x in node.inputs
    )
    noisy = replace(node, inputs=noise, port=None)
    made = _tried(noisy, [cause.rule for cause in fits if cause.rule in OF_ARRAYS])
    first = made.get(fits[0].rule, noisy.reference)
    others = [
        cause._replace(on_noise=int((made.get(cause.rule, noisy.reference) != first).sum())) for cause in fits[1:]
    ]
    return [fits[0], *others]
