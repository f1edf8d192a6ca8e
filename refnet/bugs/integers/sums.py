"""Wrong rules of convolutions, linear layers and pools of integers.

Order decides which of several rules that fit is named first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refnet.bugs.integers.node import Array, IntegerNode, Rescaling, half_even
from refnet.readings.integer.fast import sums
from refnet.readings.integer.fixedpoint import mbqm, mbqm64, mbqm_half_up, mbqm_single, round_away, sat16
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = [
    "activation_left_out",
    "bias_in_steps_of_input",
    "bias_in_steps_of_output",
    "bias_left_out",
    "input_zero_point_left_out",
    "linear_by_multiplier",
    "mean_2_12",
    "multiplier_of_16_bits",
    "multiplier_of_double",
    "multiplier_of_float32",
    "output_wraps",
    "output_zero_point_left_out",
    "padding_of_lowest",
    "padding_of_output_zero_point",
    "padding_of_zero",
    "padding_on_the_other_side",
    "pairs_saturate",
    "pool_counts_padding",
    "relu_at_integer_zero",
    "rescaled_in_float32",
    "rounding_half_even",
    "scale_of_first_filter",
    "scale_of_largest_filter",
    "scale_of_last_filter",
    "second_rounding_up",
    "single_rounding",
    "six_in_steps_of_input",
    "six_left_out",
    "sums_of_16_bits",
    "weight_zero_point_left_out",
]  # fmt: skip


def single_rounding(node: IntegerNode) -> Array | None:
    """Sums are multiplied and shifted with one rounding, not two.

    Source: CMSIS_NN_USE_SINGLE_ROUNDING, TFLITE_SINGLE_ROUNDING.
    """
    return node.rounded(mbqm_single)


def second_rounding_up(node: IntegerNode) -> Array | None:
    """The second of two roundings sends ties up, not away from zero."""
    return node.rounded(mbqm_half_up)


def rounding_half_even(node: IntegerNode) -> Array | None:
    """Sums are rounded once, ties to even."""
    return node.rounded(half_even)


def rescaled_in_float32(node: IntegerNode) -> Array | None:
    """Sums are multiplied by a factor of float32 and rounded to even.

    Source: XNNPACK on x86, onnxruntime, PyTorch.
    """
    if not node.sums:
        return None
    s_x, s_y, s_w = node.x.quantisation.single()[0], node.to.single()[0], node.w.quantisation.scale.reshape(-1)
    return node.finished(Rescaling((s_w * s_x / s_y).astype(np.float64), None)(node.totals()))


def multiplier_of_float32(node: IntegerNode) -> Array | None:
    """The product of the scales is rounded to float32 before the multiplier is made of it."""
    if not node.sums:
        return None
    s_x, s_w = node.x.quantisation.single()[0], node.w.quantisation.scale.reshape(-1)
    return _with_ratios(node, (s_w * s_x).astype(np.float64) / np.float64(node.to.single()[0]))


def multiplier_of_double(node: IntegerNode) -> Array | None:
    """The product of the scales is one of float64, where these kernels round it to float32."""
    if not node.sums:
        return None
    s_x, s_w = np.float64(node.x.quantisation.single()[0]), node.w.quantisation.scale.reshape(-1).astype(np.float64)
    return _with_ratios(node, s_w * s_x / np.float64(node.to.single()[0]))


def multiplier_of_16_bits(node: IntegerNode) -> Array | None:
    """The multiplier has 15 bits, not 31."""
    return node.finished(Rescaling(node.rescaling.ratios, mbqm64)(node.totals())) if node.sums else None


def linear_by_multiplier(node: IntegerNode) -> Array | None:
    """FULLY_CONNECTED is rescaled by a multiplier and a shift, as until TensorFlow 2.19, not by a factor of float64."""
    if node.node.op != "fully_connected" or not node.sums:
        return None
    return node.finished(Rescaling(node.rescaling.ratios, mbqm)(node.totals()))


def _with_ratios(node: IntegerNode, ratios: Array) -> Array:
    return node.finished(replace(node.rescaling, ratios=np.asarray(ratios, np.float64))(node.totals()))


def mean_2_12(node: IntegerNode) -> Array | None:
    """MEAN is computed as until TensorFlow 2.12: divided without rounding, or in float32."""
    return node.under("tflite_2_12") if node.node.op == "mean" else None


def pool_counts_padding(node: IntegerNode) -> Array | None:
    """Points outside of the image count in the mean of a window, as the zero point."""
    whole = np.full(1, np.prod(node.node.attrs["kernel"])) if node.node.op == "avg_pool2d" else None
    if whole is None or not np.any(node.node.attrs["pad"]):
        return None
    x, zero = node.x, node.x.quantisation.single()[1]
    view = sums.windows(sums.bordered(x, node.node.attrs["pad"]), node.node.attrs["kernel"], node.node.attrs["stride"])
    total = view.sum(axis=(3, 4), dtype=np.int64).transpose(0, 3, 1, 2) - zero * whole
    return node.finished(round_away(total / whole).astype(np.int64), zero=zero)


def padding_of_zero(node: IntegerNode) -> Array | None:
    """The border of a padded map is the integer 0, not the zero point."""
    return _bordered(node, 0)


def padding_of_lowest(node: IntegerNode) -> Array | None:
    """The border of a padded map is the lowest integer, not the zero point."""
    lowest = node.x.quantisation.low if node.sums else 0
    return _bordered(node, lowest) if lowest else None


def padding_of_output_zero_point(node: IntegerNode) -> Array | None:
    """The border of a padded map is the zero point of the output, not that of the input."""
    if not node.sums or node.to.single()[1] in (0, node.x.quantisation.low):
        return None
    return _bordered(node, int(node.to.single()[1]))


def _bordered(node: IntegerNode, integer: int) -> Array | None:
    """A convolution of a map with another integer around it than its zero point."""
    if not node.sums or not np.any(node.node.attrs.get("pad", 0)) or node.x.quantisation.single()[1] == integer:
        return None
    raw = QuantisedTensor(node.x.values, Quantisation(1.0, integer, None, node.x.quantisation.dtype))
    bordered = np.ascontiguousarray(sums.bordered(raw, node.node.attrs["pad"]).transpose(0, 3, 1, 2))
    inner = node.changed(pad=((0, 0), (0, 0)))
    return node.finished(node.rescaling(inner.totals(QuantisedTensor(bordered, node.x.quantisation))))


def padding_on_the_other_side(node: IntegerNode) -> Array | None:
    """An odd point of padding lies before the map, not behind it."""
    pad = node.node.attrs.get("pad", ((0, 0), (0, 0)))
    if not node.sums or all(before == after for before, after in pad):
        return None
    return node.changed(pad=tuple((after, before) for before, after in pad)).under(node.kernels)


def input_zero_point_left_out(node: IntegerNode) -> Array | None:
    """The zero point of the input is not taken off."""
    if not node.sums or not node.x.quantisation.single()[1]:
        return None
    raw = Quantisation(node.x.quantisation.scale, 0, None, node.x.quantisation.dtype)
    return node.finished(node.rescaling(node.totals(QuantisedTensor(node.x.values, raw))))


def weight_zero_point_left_out(node: IntegerNode) -> Array | None:
    """The zero point of the weights is not taken off."""
    if not node.sums or not node.w.quantisation.zero_point.any():
        return None
    return node.finished(node.rescaling(node.totals(w=node.w.symmetric())))


def output_zero_point_left_out(node: IntegerNode) -> Array | None:
    """The zero point of the output is not added."""
    if not node.sums or not node.to.single()[1]:
        return None
    return node.finished(node.rescaling(node.totals()), zero=0)


def bias_left_out(node: IntegerNode) -> Array | None:
    """The bias is not added."""
    if not node.sums or not _whole_bias(node):
        return None
    return node.finished(node.rescaling(node.totals(biased=False)))


def bias_in_steps_of_output(node: IntegerNode) -> Array | None:
    """The bias is added to the rescaled sums, as if it were in steps of the output."""
    if not node.sums or not _whole_bias(node):
        return None
    b = node.params["b"].astype(np.int64).reshape(-1, 1, 1)
    return node.finished(node.rescaling(node.totals(biased=False)) + b)


def bias_in_steps_of_input(node: IntegerNode) -> Array | None:
    """The bias is rescaled as if it were in steps of the weights alone."""
    if not node.sums or not _whole_bias(node):
        return None
    s_x = float(node.x.quantisation.single()[0])
    b = np.asarray(round_away(node.params["b"] * s_x)).astype(np.int64).reshape(-1, 1, 1)
    return node.finished(node.rescaling(node.totals(biased=False) + b))


def _whole_bias(node: IntegerNode) -> bool:
    b = node.params.get("b")
    return b is not None and b.dtype.kind in "iu" and bool(b.any())


def scale_of_first_filter(node: IntegerNode) -> Array | None:
    """All filters are rescaled by the scale of the first."""
    ratios = node.rescaling.ratios if node.sums else np.zeros(1)
    return None if len(ratios) == 1 else _with_ratios(node, np.full_like(ratios, ratios[0]))


def scale_of_last_filter(node: IntegerNode) -> Array | None:
    """All filters are rescaled by the scale of the last."""
    ratios = node.rescaling.ratios if node.sums else np.zeros(1)
    return None if len(ratios) == 1 else _with_ratios(node, np.full_like(ratios, ratios[-1]))


def scale_of_largest_filter(node: IntegerNode) -> Array | None:
    """All filters are rescaled by the largest of their scales, as if there were one for the tensor."""
    ratios = node.rescaling.ratios if node.sums else np.zeros(1)
    return None if len(ratios) == 1 else _with_ratios(node, np.full_like(ratios, ratios.max()))


def activation_left_out(node: IntegerNode) -> Array | None:
    """The fused activation is not applied: only the range of the integers clips."""
    return node.changed(act="").under(node.kernels) if node.act else None


def six_in_steps_of_input(node: IntegerNode) -> Array | None:
    """ReLU6's six is in steps of the input, not of the output."""
    if node.act != "relu6" or not node.sums:
        return None
    six = int(round_away(np.float32(6) / node.x.quantisation.single()[0])) + node.to.single()[1]
    return node.finished(node.rescaling(node.totals()), limits=(node.limits[0], min(six, node.to.high)))


def six_left_out(node: IntegerNode) -> Array | None:
    """The activation is ReLU, not ReLU6."""
    return node.changed(act="relu").under(node.kernels) if node.act == "relu6" else None


def relu_at_integer_zero(node: IntegerNode) -> Array | None:
    """The activation cuts at the integer 0, not at the zero point."""
    if node.act not in ("relu", "relu6") or not node.sums:
        return None
    return node.finished(node.rescaling(node.totals()), limits=(max(0, node.to.low), node.limits[1]))


def pairs_saturate(node: IntegerNode) -> Array | None:
    """Products of uint8 and int8 are added in pairs that saturate at 16 bits.

    Source: vpmaddubsw; onnxruntime and PyTorch on x86 without VNNI.
    """
    if not node.sums or node.x.values.dtype != np.uint8 or node.w.values.dtype != np.int8 or "_avx2" in node.kernels:
        return None
    name = "pointwise_conv2d" if node.node.op == "fully_connected" else node.node.op
    options = {key: node.node.attrs[key] for key in ("stride", "pad", "dilation") if key in node.node.attrs}
    b = node.params.get("b")
    whole = b if b is not None and b.dtype.kind in "iu" else None
    total = getattr(sums, name)(node.x, node.w.symmetric(), whole, pairs=True, **options)
    return node.finished(node.rescaling(total.astype(np.int64)))


def sums_of_16_bits(node: IntegerNode) -> Array | None:
    """Sums are held in 16 bits and saturate."""
    return node.finished(node.rescaling(np.asarray(sat16(node.totals())))) if node.sums else None


def output_wraps(node: IntegerNode) -> Array | None:
    """What leaves the range of the output wraps around instead of saturating."""
    if not node.sums:
        return None
    y = node.rescaling(node.totals()) + node.to.single()[1]
    low, high = node.limits
    y = np.clip(y, low if low > node.to.low else y.min(), high if high < node.to.high else y.max())
    return np.asarray(y.astype(node.to.dtype))
