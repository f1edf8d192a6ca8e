"""Wrong ends of every operation of integers: real numbers that are cut off, rounded up or down, cast, or moved.

A port may compute a node in fixed point, in float32 or in float64: these are other programs of one rule, and the port's
own is taken. Where two floats disagree about an integer, either is the rule's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from refnet.bugs.integers.node import Array, IntegerNode, Rounding, toward_zero
from refnet.readings.integer.fast import sums
from refnet.readings.integer.fixedpoint import round_away
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
from refnet.readings.precision import FLOATS

__all__ = [
    "cast_with_zero_point",
    "mean_divided_first",
    "quantised_and_wrapped",
    "quantised_without_zero_point",
    "quantised_zero_point_first",
    "quantised_zero_point_taken_off",
    "rounded_once",
    "rounding_down",
    "rounding_truncated",
    "rounding_up",
]

# Four roundings: of two scales, their ratio, and a product as large as the range.
_FINE = 4 * FLOATS["float32"].u

Cut = Callable[[Array], Array]


def rounding_truncated(node: IntegerNode) -> Array | None:
    """Rescaled numbers lose what is behind the point instead of being rounded."""
    return _cut(node, np.trunc, toward_zero)


def rounding_down(node: IntegerNode) -> Array | None:
    """Rescaled numbers are rounded down, as by a shift to the right, not to the nearest."""
    return _cut(node, np.floor, lambda x, m, e: (x * m) >> (31 - e))


def rounding_up(node: IntegerNode) -> Array | None:
    """Rescaled numbers are rounded up, not to the nearest."""
    return _cut(node, np.ceil, lambda x, m, e: -((-x * m) >> (31 - e)))


def cast_with_zero_point(node: IntegerNode) -> Array | None:
    """Rescaled numbers are cast to integers with the zero point added, which cuts off toward the integer 0."""
    zero = node.to.single()[1]
    return _cut(node, lambda steps: np.trunc(steps + zero) - zero, None) if zero else None


def rounded_once(node: IntegerNode) -> Array | None:
    """What is no layer's sum is computed in real numbers and rounded once."""
    return None if node.sums or not node.of_integers else _cut(node, round_away, None)


def mean_divided_first(node: IntegerNode) -> Array | None:
    """MEAN divides its sum by the count in whole numbers, and rescales what that leaves."""
    if node.node.op != "mean":
        return None
    axes, zero = tuple(node.node.attrs["axes"]), node.x.quantisation.single()[1]
    count = int(np.prod([node.x.values.shape[axis] for axis in axes]))
    raw = node.x.values.sum(axis=axes, dtype=np.int64).reshape(node.reference.shape)
    total, ratio = raw - zero * count, float(node.x.quantisation.single()[0]) / float(node.to.single()[0])
    means = [total // count, *(part(total / count) for part in (np.trunc, round_away))]
    means += [part(raw / count) - zero for part in (np.trunc, round_away)]
    return _likest(node, (node.finished(round_away(mean * ratio)) for mean in means))


def quantised_without_zero_point(node: IntegerNode) -> Array | None:
    """Real numbers are made integers without the zero point being added."""
    return _quantised(node, lambda q: node.finished(q, zero=0)) if node.to.single()[1] else None


def quantised_zero_point_taken_off(node: IntegerNode) -> Array | None:
    """Real numbers are made integers with the zero point taken off, not added."""
    zero = node.to.single()[1]
    return _quantised(node, lambda q: node.finished(q, zero=-zero)) if zero else None


def quantised_zero_point_first(node: IntegerNode) -> Array | None:
    """The zero point is added to real numbers before they are divided by the scale."""
    scale, zero = (float(each) for each in node.to.single())
    return _quantised(node, lambda q: node.finished(q, zero=0), zero / scale) if zero and scale != 1 else None


def quantised_and_wrapped(node: IntegerNode) -> Array | None:
    """Integers of real numbers that leave their range wrap around instead of saturating."""
    dtype, zero = node.to.dtype, node.to.single()[1]
    return _quantised(node, lambda q: np.asarray((q + zero).astype(np.int64).astype(dtype)))


def _quantised(node: IntegerNode, finish: Callable[[Array], Array], moved: float = 0.0) -> Array | None:
    """What a node that reads real numbers makes of them in steps, moved by some, whichever way halves are rounded."""
    if node.node.op != "quantize" or node.of_integers:
        return None
    steps = _steps(node)
    assert steps is not None
    return _likest(node, (_either(node, cut, steps + moved, finish) for cut in (np.rint, round_away)))


def _cut(node: IntegerNode, cut: Cut, rounding: Rounding | None) -> Array | None:
    """A node with every product in fixed point rounded in a way, or with its real numbers rounded so once."""
    made: list[Array | None] = []
    if rounding is not None and node.of_integers:
        made.append(node.rounded(rounding))
    if (steps := _steps(node)) is not None:
        made.append(_either(node, cut, steps, node.finished))
    return _likest(node, (each for each in made if each is not None))


def _either(node: IntegerNode, cut: Cut, steps: Array, finish: Callable[[Array], Array]) -> Array:
    """Real numbers cut to steps and made integers; a port's own where floats disagree about them."""
    apart = _FINE * (np.abs(steps) + node.to.high - node.to.low)
    exact, *near = (finish(cut(each)) for each in (steps, steps - apart, steps + apart))
    return exact if node.port is None else np.where((near[0] == node.port) | (near[1] == node.port), node.port, exact)


def _likest(node: IntegerNode, programs: Iterable[Array]) -> Array | None:
    """Of programs of one rule the one that makes most of a port's integers; the first, where there is no port."""
    made = [*programs]
    if not made or node.port is None:
        return made[0] if made else None
    return min(made, key=lambda y: int((y != node.port).sum()))


def _steps(node: IntegerNode) -> Array | None:
    """What a node makes in steps of its output, as real numbers; None where that is not known."""
    if node.sums:
        return np.asarray(node.totals() * node.rescaling.ratios.reshape(-1, *(1,) * (node.reference.ndim - 2)))
    scale = float(node.to.single()[0])
    if node.node.op == "quantize" and not node.of_integers:
        return np.asarray(node.inputs[0], np.float64) / scale
    formula = _FORMULAS.get(node.node.op)
    if formula is None or not node.of_integers:
        return None
    sides = [*node.inputs, *(param for param in node.params.values() if isinstance(param, QuantisedTensor))]
    return np.asarray(formula(node, *(each.reals for each in sides)) / scale).reshape(node.reference.shape)


def _softmax(node: IntegerNode, x: Array) -> Array:
    power = np.exp(float(node.node.attrs.get("beta", 1.0)) * (x - x.max(axis=1, keepdims=True)))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def _mean_of_windows(node: IntegerNode, _: Array) -> Array:
    """Of the points inside of the image."""
    attrs, raw = node.node.attrs, Quantisation(1.0, 0, None, node.x.quantisation.dtype)
    ones = np.ones((1, 1, *node.x.values.shape[2:]), node.x.values.dtype)
    bordered = [sums.bordered(QuantisedTensor(each, raw), attrs["pad"]) for each in (node.x.values, ones)]
    windows = [sums.windows(each, attrs["kernel"], attrs["stride"]) for each in bordered]
    total, count = (each.sum(axis=(3, 4), dtype=np.int64).transpose(0, 3, 1, 2) for each in windows)
    scale, zero = node.x.quantisation.single()
    return np.asarray((total / count - zero) * float(scale))


_FORMULAS: dict[str, Callable[..., Any]] = {
    "add": lambda _, x, y: x + y,
    "sub": lambda _, x, y: x - y,
    "scale": lambda _, x, y: x * y,
    "requantize": lambda _, x: x,
    "mean": lambda node, x: x.mean(axis=tuple(node.node.attrs["axes"])),
    "avg_pool2d": _mean_of_windows,
    "hard_swish": lambda _, x: x * np.clip(x + 3, 0, 6) / 6,
    "sigmoid": lambda _, x: 1 / (1 + np.exp(-x)),
    "softmax": _softmax,
}
