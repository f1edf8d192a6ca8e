"""Wrong steps of a rescaling, one by one: its two roundings, its shift and multiplier, its zero points and limits.

Order decides which of several rules that fit is named first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refnet.bugs.integers.node import Array, IntegerNode, Rescaling, Rounding
from refnet.readings.integer.fixedpoint import rdp, srdhm, wrap32
from refnet.readings.integer.quantisation import QuantisedTensor

__all__ = [
    "clipped_before_zero_point",
    "first_rounding_down",
    "input_zero_point_added",
    "input_zero_point_of_output",
    "kernel_transposed",
    "kernel_turned",
    "lowest_integer_unused",
    "multiplier_of_a_power_of_two",
    "output_zero_point_taken_off",
    "second_rounding_down",
    "second_rounding_toward_zero",
    "shift_one_too_few",
    "shift_one_too_many",
    "sums_wrap_at_16_bits",
    "weights_as_unsigned",
    "zero_point_before_rescaling",
]


def _in_two(node: IntegerNode, first: Rounding, second: Rounding) -> Array | None:
    """Sums that are multiplied, first, and shifted, second."""

    def rounding(x: Array, m: Array, e: Array) -> Array:
        left, right = e * (e > 0), -e * (e < 0)
        return np.asarray(second(first(wrap32(x << left), m, 31), right, None))

    if not node.sums or node.rescaling.rounding is None:
        return None
    return node.finished(Rescaling(node.rescaling.ratios, rounding)(node.totals()))


def _high(x: Array, m: Array, _: int) -> Array:
    return np.asarray(srdhm(x, m))


def second_rounding_down(node: IntegerNode) -> Array | None:
    """Of two roundings the second is none: the product is shifted to the right, which rounds down."""
    return _in_two(node, _high, lambda x, n, _: x >> n)


def second_rounding_toward_zero(node: IntegerNode) -> Array | None:
    """Of two roundings the second cuts off toward zero, as a division of C does."""
    return _in_two(node, _high, lambda x, n, _: np.sign(x) * (np.abs(x) >> n))


def first_rounding_down(node: IntegerNode) -> Array | None:
    """Of two roundings the first is none: the upper half of the product is taken as it is."""
    return _in_two(node, lambda x, m, n: (x * m) >> n, lambda x, n, _: rdp(x, n))


def _by_factor(node: IntegerNode, factor: float) -> Array | None:
    if not node.sums:
        return None
    return node.finished(replace(node.rescaling, ratios=node.rescaling.ratios * factor)(node.totals()))


def shift_one_too_few(node: IntegerNode) -> Array | None:
    """Sums are shifted by one bit too few, and come out twice as large."""
    return _by_factor(node, 2.0)


def shift_one_too_many(node: IntegerNode) -> Array | None:
    """Sums are shifted by one bit too many, and come out half as large."""
    return _by_factor(node, 0.5)


def multiplier_of_a_power_of_two(node: IntegerNode) -> Array | None:
    """Sums are only shifted: the multiplier is rounded to a power of two."""
    if not node.sums:
        return None
    near = np.exp2(np.rint(np.log2(node.rescaling.ratios)))
    return node.finished(replace(node.rescaling, ratios=near)(node.totals()))


def input_zero_point_added(node: IntegerNode) -> Array | None:
    """The zero point of the input is added, not taken off."""
    return node.of_input_zero(-node.x.quantisation.single()[1]) if node.sums else None


def input_zero_point_of_output(node: IntegerNode) -> Array | None:
    """The zero point of the output is taken off the input."""
    zero = node.to.single()[1]
    return node.of_input_zero(zero) if node.sums and zero else None  # none taken off is a rule of its own


def output_zero_point_taken_off(node: IntegerNode) -> Array | None:
    """The zero point of the output is taken off, not added."""
    zero = node.to.single()[1]
    return node.finished(node.rescaling(node.totals()), zero=-zero) if node.sums and zero else None


def zero_point_before_rescaling(node: IntegerNode) -> Array | None:
    """The zero point of the output is added to the sums before they are rescaled."""
    zero = node.to.single()[1]
    return node.finished(node.rescaling(node.totals() + zero), zero=0) if node.sums and zero else None


def clipped_before_zero_point(node: IntegerNode) -> Array | None:
    """Rescaled sums are clipped to the type's range before the zero point is added, and again after it."""
    if not node.sums or not node.to.single()[1]:
        return None
    return node.finished(np.clip(node.rescaling(node.totals()), node.to.low, node.to.high))


def lowest_integer_unused(node: IntegerNode) -> Array | None:
    """The output is clipped at one more than the lowest integer: -127 in int8."""
    if not node.sums:
        return None
    low, high = node.limits
    return node.finished(node.rescaling(node.totals()), limits=(max(low, node.to.low + 1), high))


def sums_wrap_at_16_bits(node: IntegerNode) -> Array | None:
    """Sums are held in 16 bits and wrap around."""
    return node.finished(node.rescaling(((node.totals() + 2**15) & 0xFFFF) - 2**15)) if node.sums else None


def weights_as_unsigned(node: IntegerNode) -> Array | None:
    """Bytes of weights are read as unsigned, so that those below zero are 256 too large."""
    if not node.sums or node.w.values.dtype != np.int8:
        return None
    below = QuantisedTensor((node.w.values < 0).astype(np.int8), node.w.quantisation)
    return node.finished(node.rescaling(node.totals() + 256 * node.totals(w=below.symmetric(), biased=False)))


def kernel_turned(node: IntegerNode) -> Array | None:
    """The kernel is turned by 180 degrees."""
    if not node.sums or node.w.values.ndim < 3:
        return None
    return _with_kernel(node, node.w.values[..., ::-1, ::-1])


def kernel_transposed(node: IntegerNode) -> Array | None:
    """Height and width of the kernel are exchanged."""
    if not node.sums or node.w.values.ndim < 3 or node.w.values.shape[-1] != node.w.values.shape[-2]:
        return None
    return _with_kernel(node, node.w.values.swapaxes(-1, -2))


def _with_kernel(node: IntegerNode, values: Array) -> Array:
    w = QuantisedTensor(np.ascontiguousarray(values), node.w.quantisation)
    return node.finished(node.rescaling(node.totals(w=w)))
