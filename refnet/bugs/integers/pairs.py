"""Wrong rules of sums and products of two tensors of integers.

Order decides which of several rules that fit is named first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refnet.bugs.integers.node import Array, IntegerNode, Rescaling
from refnet.readings.integer.fixedpoint import mbqm, round_away, wrap32
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = [
    "first_scale_of_both",
    "first_side_twice",
    "first_zero_point_left_out",
    "first_zero_point_of_both",
    "integers_added_as_they_are",
    "scales_of_a_sum_exchanged",
    "second_scale_of_both",
    "second_side_left_out",
    "second_side_twice",
    "second_zero_point_left_out",
    "second_zero_point_of_both",
    "sum_without_output_zero_point",
    "sum_without_shift",
    "sum_wraps",
    "zero_points_left_out",
]

_SUMS = ("add", "sub")
_OF_TWO = (*_SUMS, "scale")


def sum_without_shift(node: IntegerNode) -> Array | None:
    """The two sides of a sum are rescaled without being shifted to the left first."""
    if node.node.op not in _SUMS or len(node.inputs) != 2:
        return None
    sign = 1 if node.node.op == "add" else -1
    parts = []
    for each in node.inputs:
        s, z = each.quantisation.single()
        ratio = np.array([float(s) / float(node.to.single()[0])])
        parts.append(Rescaling(ratio, mbqm)(each.values.astype(np.int64) - z))
    return node.finished(wrap32(parts[0] + sign * parts[1]))


def zero_points_left_out(node: IntegerNode) -> Array | None:
    """The zero points of a sum or product are not taken off."""
    if node.node.op not in _OF_TWO or not any(each.quantisation.single()[1] for each in node.inputs):
        return None
    return replace(node, inputs=tuple(_raw(each) for each in node.inputs)).under(node.kernels)


def _raw(x: QuantisedTensor) -> QuantisedTensor:
    return QuantisedTensor(x.values, Quantisation(x.quantisation.scale, 0, None, x.quantisation.dtype))


def first_zero_point_left_out(node: IntegerNode) -> Array | None:
    """The zero point of the first side of a sum or product is not taken off."""
    return _one_raw(node, 0)


def second_zero_point_left_out(node: IntegerNode) -> Array | None:
    """The zero point of the second side of a sum or product is not taken off."""
    return _one_raw(node, 1)


def _one_raw(node: IntegerNode, place: int) -> Array | None:
    if node.node.op not in _OF_TWO or len(node.inputs) != 2 or not node.inputs[place].quantisation.single()[1]:
        return None
    inputs = list(node.inputs)
    inputs[place] = _raw(inputs[place])
    return replace(node, inputs=tuple(inputs)).under(node.kernels)


def sum_without_output_zero_point(node: IntegerNode) -> Array | None:
    """The zero point of the output of a sum or product is not added."""
    if node.node.op not in _OF_TWO or not node.to.single()[1]:
        return None
    return replace(node, to=Quantisation(node.to.scale, 0, None, node.to.dtype)).under(node.kernels)


def second_side_left_out(node: IntegerNode) -> Array | None:
    """The second side of a sum is not added."""
    if node.node.op not in _SUMS or len(node.inputs) != 2:
        return None
    first, second = node.inputs
    zeros = np.full_like(second.values, second.quantisation.single()[1])
    return replace(node, inputs=(first, QuantisedTensor(zeros, second.quantisation))).under(node.kernels)


def first_side_twice(node: IntegerNode) -> Array | None:
    """A sum adds its first side to itself."""
    return _of_one_side(node, 0)


def second_side_twice(node: IntegerNode) -> Array | None:
    """A sum adds its second side to itself."""
    return _of_one_side(node, 1)


def _of_one_side(node: IntegerNode, place: int) -> Array | None:
    if node.node.op != "add" or len(node.inputs) != 2:
        return None
    return replace(node, inputs=(node.inputs[place],) * 2).under(node.kernels)


def integers_added_as_they_are(node: IntegerNode) -> Array | None:
    """The integers of a sum are added without being rescaled, as if all three scales were one.

    The zero points are taken off and added as they should be.
    """
    if node.node.op not in _SUMS or len(node.inputs) != 2:
        return None
    first, second = (each.values.astype(np.int64) - each.quantisation.single()[1] for each in node.inputs)
    return node.finished(first + second if node.node.op == "add" else first - second)


def sum_wraps(node: IntegerNode) -> Array | None:
    """A sum that leaves the range of the output wraps around instead of saturating."""
    if node.node.op not in _SUMS or len(node.inputs) != 2 or node.act:
        return None
    sides = [
        (x.values.astype(np.float64) - x.quantisation.single()[1]) * x.quantisation.single()[0] for x in node.inputs
    ]
    total = sides[0] + sides[1] if node.node.op == "add" else sides[0] - sides[1]
    scale, zero = node.to.single()
    y = round_away(total / float(scale)).astype(np.int64) + zero
    inside = (y >= node.to.low) & (y <= node.to.high)
    return np.where(inside, node.reference, y.astype(node.to.dtype))


def scales_of_a_sum_exchanged(node: IntegerNode) -> Array | None:
    """Each side of a sum is taken to have the scale and the zero point of the other."""
    if node.node.op not in _SUMS or len(node.inputs) != 2:
        return None
    first, second = node.inputs
    turned = (QuantisedTensor(first.values, second.quantisation), QuantisedTensor(second.values, first.quantisation))
    return replace(node, inputs=turned).under(node.kernels)


def second_scale_of_both(node: IntegerNode) -> Array | None:
    """Both sides of a sum are taken to have the second one's scale."""
    return _borrowed(node, 0, scale=True) if node.node.op in _SUMS else None


def first_scale_of_both(node: IntegerNode) -> Array | None:
    """Both sides of a sum are taken to have the first one's scale."""
    return _borrowed(node, 1, scale=True) if node.node.op in _SUMS else None


def first_zero_point_of_both(node: IntegerNode) -> Array | None:
    """Both sides of a sum or product are taken to have the first one's zero point."""
    return _borrowed(node, 1, scale=False)


def second_zero_point_of_both(node: IntegerNode) -> Array | None:
    """Both sides of a sum or product are taken to have the second one's zero point."""
    return _borrowed(node, 0, scale=False)


def _borrowed(node: IntegerNode, place: int, *, scale: bool) -> Array | None:
    """What two sides make if one has the scale of the other, or its zero point."""
    if node.node.op not in _OF_TWO or len(node.inputs) != 2:
        return None
    inputs = list(node.inputs)
    mine, other = (inputs[each].quantisation for each in (place, 1 - place))
    of_scale, of_zero = (other, mine) if scale else (mine, other)
    q = Quantisation(of_scale.scale, of_zero.zero_point, None, mine.dtype)
    inputs[place] = QuantisedTensor(inputs[place].values, q)
    return replace(node, inputs=tuple(inputs)).under(node.kernels)
