"""Right rules on wrong arrays: weights, biases and scales as loaders may have them, zero points and limits one off.

Tried where no rule of arithmetic fits. Order decides which of several that fit is named first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refnet.bugs.integers.node import Array, IntegerNode
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = [
    "bias_added_twice",
    "bias_half",
    "bias_in_steps_of_first_filter",
    "bias_of_16_bits",
    "bias_of_filter_before",
    "bias_of_filter_behind",
    "highest_integer_unused",
    "input_zero_point_one_higher",
    "input_zero_point_one_lower",
    "output_zero_point_one_higher",
    "output_zero_point_one_lower",
    "scale_of_mean_filter",
    "scales_of_filter_before",
    "scales_of_filter_behind",
    "six_one_lower",
    "six_without_scale",
    "weight_zero_point_of_128",
    "weight_zero_point_one_higher",
    "weight_zero_point_one_lower",
    "weights_around_128",
    "weights_of_filter_before",
    "weights_of_filter_behind",
    "weights_read_channels_last",
    "weights_read_from_too_early",
    "weights_read_from_too_late",
    "weights_read_transposed",
    "weights_written_channels_last",
    "weights_written_transposed",
]

_PLACES = (1, 2, 3, 4, 8, 16)  # bytes: of a length, and of what headers are made of


# ------------------------------------------------------------------------------------------------------------ weights


def _with_weights(node: IntegerNode, values: Array) -> Array:
    w = QuantisedTensor(np.ascontiguousarray(values.reshape(node.w.values.shape)), node.w.quantisation)
    return node.finished(node.rescaling(node.totals(w=w)))


def _is_matrix(node: IntegerNode) -> bool:
    return node.sums and node.w.values.ndim == 2


def _has_kernel(node: IntegerNode) -> bool:
    return node.sums and node.w.values.ndim > 2


def weights_written_transposed(node: IntegerNode) -> Array | None:
    """Weights that lie with their inputs first are read with their outputs first."""
    return _with_weights(node, node.w.values.T.copy()) if _is_matrix(node) else None


def weights_read_transposed(node: IntegerNode) -> Array | None:
    """Weights that lie with their outputs first are read with their inputs first."""
    return _with_weights(node, node.w.values.reshape(node.w.values.shape[::-1]).T) if _is_matrix(node) else None


def weights_written_channels_last(node: IntegerNode) -> Array | None:
    """Kernels that lie with their channels last are read with their channels first."""
    return _with_weights(node, np.moveaxis(node.w.values, -3, -1).copy()) if _has_kernel(node) else None


def weights_read_channels_last(node: IntegerNode) -> Array | None:
    """Kernels that lie with their channels first are read with their channels last."""
    if not _has_kernel(node):
        return None
    *filters, C, R, S = node.w.values.shape
    return _with_weights(node, np.moveaxis(node.w.values.reshape(*filters, R, S, C), -1, -3))


def weights_of_filter_before(node: IntegerNode) -> Array | None:
    """Each filter has the weights of the one before it."""
    return _with_weights(node, np.roll(node.w.values, 1, axis=0)) if node.sums else None


def weights_of_filter_behind(node: IntegerNode) -> Array | None:
    """Each filter has the weights of the one behind it."""
    return _with_weights(node, np.roll(node.w.values, -1, axis=0)) if node.sums else None


def weights_read_from_too_early(node: IntegerNode) -> Array | None:
    """Weights are read from a few bytes too early on."""
    return _nearest(node, 1)


def weights_read_from_too_late(node: IntegerNode) -> Array | None:
    """Weights are read from a few bytes too late on."""
    return _nearest(node, -1)


def _nearest(node: IntegerNode, way: int) -> Array | None:
    """By so many bytes as the port's integers are nearest to; what lies beyond an end may be anything."""
    if not node.sums:
        return None
    last = np.moveaxis(node.w.values, -3, -1) if _has_kernel(node) else node.w.values  # as it lies in a file
    best: Array | None = None
    for by in _PLACES if node.port is not None else _PLACES[:1]:
        moved = np.roll(last.ravel(), way * by).reshape(last.shape)
        y = _with_weights(node, np.moveaxis(moved, -1, -3) if _has_kernel(node) else moved)
        if node.port is None or best is None or (y != node.port).sum() < (best != node.port).sum():
            best = y
    return best


def weights_around_128(node: IntegerNode) -> Array | None:
    """Signed bytes of weights are taken for unsigned ones whose zero point is 128."""
    if not node.sums or node.w.values.dtype != np.int8:
        return None
    return _with_weights(node, (node.w.values.view(np.uint8) ^ 0x80).view(np.int8))


def _with_weight_zero(node: IntegerNode, zero: Array) -> Array | None:
    q = node.w.quantisation if node.sums else None
    if q is None or not q.zero_point.any() or np.array_equal(zero, q.zero_point):
        return None
    w = QuantisedTensor(node.w.values, Quantisation(q.scale, zero, q.axis, q.dtype))
    return node.finished(node.rescaling(node.totals(w=w)))


def weight_zero_point_of_128(node: IntegerNode) -> Array | None:
    """The zero point of the weights is taken to be 128."""
    return _with_weight_zero(node, np.full_like(node.w.quantisation.zero_point, 128)) if node.sums else None


def weight_zero_point_one_higher(node: IntegerNode) -> Array | None:
    """The zero point of the weights is one too high."""
    return _with_weight_zero(node, node.w.quantisation.zero_point + 1) if node.sums else None


def weight_zero_point_one_lower(node: IntegerNode) -> Array | None:
    """The zero point of the weights is one too low."""
    return _with_weight_zero(node, node.w.quantisation.zero_point - 1) if node.sums else None


# ------------------------------------------------------------------------------------------------------------- scales


def _with_scales(node: IntegerNode, ratios: Array) -> Array | None:
    return node.finished(replace(node.rescaling, ratios=ratios)(node.totals()))


def _ratios(node: IntegerNode) -> Array | None:
    return node.rescaling.ratios if node.sums and len(node.rescaling.ratios) > 1 else None


def scale_of_mean_filter(node: IntegerNode) -> Array | None:
    """All filters are rescaled by the mean of their scales."""
    return None if (own := _ratios(node)) is None else _with_scales(node, np.full_like(own, own.mean()))


def scales_of_filter_before(node: IntegerNode) -> Array | None:
    """Each filter is rescaled by the scale of the one before it."""
    return None if (own := _ratios(node)) is None else _with_scales(node, np.roll(own, 1))


def scales_of_filter_behind(node: IntegerNode) -> Array | None:
    """Each filter is rescaled by the scale of the one behind it."""
    return None if (own := _ratios(node)) is None else _with_scales(node, np.roll(own, -1))


# ------------------------------------------------------------------------------------------------------------- biases


def _bias(node: IntegerNode) -> Array | None:
    b = node.params.get("b") if node.sums else None
    return b.astype(np.int64) if b is not None and b.dtype.kind in "iu" and b.any() else None


def _with_bias(node: IntegerNode, b: Array) -> Array:
    return node.finished(node.rescaling(node.totals(biased=False) + b.reshape(-1, 1, 1)))


def bias_of_filter_before(node: IntegerNode) -> Array | None:
    """Each filter has the bias of the one before it."""
    return None if (b := _bias(node)) is None else _with_bias(node, np.roll(b, 1))


def bias_of_filter_behind(node: IntegerNode) -> Array | None:
    """Each filter has the bias of the one behind it."""
    return None if (b := _bias(node)) is None else _with_bias(node, np.roll(b, -1))


def bias_of_16_bits(node: IntegerNode) -> Array | None:
    """Biases are read as 16 bits, and wrap around."""
    return None if (b := _bias(node)) is None else _with_bias(node, b.astype(np.int16).astype(np.int64))


def bias_added_twice(node: IntegerNode) -> Array | None:
    """The bias is added twice."""
    return None if (b := _bias(node)) is None else _with_bias(node, 2 * b)


def bias_half(node: IntegerNode) -> Array | None:
    """The bias is half as large."""
    return None if (b := _bias(node)) is None else _with_bias(node, b >> 1)


def bias_in_steps_of_first_filter(node: IntegerNode) -> Array | None:
    """Biases are in the steps of the first filter."""
    b, own = _bias(node), _ratios(node)
    return None if b is None or own is None else _with_bias(node, np.rint(b * (own / own[0])).astype(np.int64))


# ---------------------------------------------------------------------------------------------- zero points and limits


def input_zero_point_one_higher(node: IntegerNode) -> Array | None:
    """The zero point of the input is one too high."""
    return node.of_input_zero(node.x.quantisation.single()[1] + 1) if node.sums else None


def input_zero_point_one_lower(node: IntegerNode) -> Array | None:
    """The zero point of the input is one too low."""
    return node.of_input_zero(node.x.quantisation.single()[1] - 1) if node.sums else None


def _with_output_zero(node: IntegerNode, more: int) -> Array | None:
    return node.finished(node.rescaling(node.totals()), zero=node.to.single()[1] + more) if node.sums else None


def output_zero_point_one_higher(node: IntegerNode) -> Array | None:
    """The zero point of the output is one too high."""
    return _with_output_zero(node, 1)


def output_zero_point_one_lower(node: IntegerNode) -> Array | None:
    """The zero point of the output is one too low."""
    return _with_output_zero(node, -1)


def _with_most(node: IntegerNode, most: int) -> Array | None:
    return node.finished(node.rescaling(node.totals()), limits=(node.limits[0], min(most, node.to.high)))


def six_without_scale(node: IntegerNode) -> Array | None:
    """ReLU6 cuts at the integer 6."""
    return _with_most(node, 6) if node.act == "relu6" and node.sums else None


def six_one_lower(node: IntegerNode) -> Array | None:
    """ReLU6 cuts one integer too low, as where the quotient is not rounded to the nearest."""
    return _with_most(node, node.limits[1] - 1) if node.act == "relu6" and node.sums else None


def highest_integer_unused(node: IntegerNode) -> Array | None:
    """The output is clipped at one less than the highest integer: 126 in int8."""
    return _with_most(node, node.to.high - 1) if node.sums and node.limits[1] == node.to.high else None
