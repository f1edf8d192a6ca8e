"""Wrong rules of curved functions of integers: hard swish, logistic, softmax; and of real numbers made integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refnet.bugs.integers.node import Array, IntegerNode
from refnet.errors import RefnetError
from refnet.readings.integer.fixedpoint import multiplier, rdp, sat16, srdhm16
from refnet.readings.integer.quantisation import QuantisedTensor

__all__ = ["curve_in_fixed_point", "hard_swish_rounded", "hard_swish_wraps"]


def _wrap16(x: Array) -> Array:
    return ((x + 2**15) & 0xFFFF) - 2**15


def _hard_swish(node: IntegerNode, *, rounded: bool, limit: Callable[[Array], Array]) -> Array | None:
    """TensorFlow Lite's hard swish, its last product rounded or not, its shifts limited in one way or another."""
    if node.node.op != "hard_swish" or node.x.values.itemsize != 1:
        return None
    (s_x, z_x), (s_y, z_y) = node.x.quantisation.single(), node.to.single()
    fine = s_x / np.float32(128)
    (m_y, e_y), (m, e) = (multiplier(float(ratio)) for ratio in (fine / s_y, fine / np.float32(3 / 32768)))
    m_y, m = (min((each + 2**15) >> 16, 2**15 - 1) for each in (m_y, m))
    up = (node.x.values.astype(np.int64) - z_x) * 128
    gate = srdhm16(limit(up << (e - 1)) if e > 0 else up, m)
    gate = limit(gate * 2) if e > 0 else rdp(gate, -e)
    gate = (gate + 2**15) >> 1
    scaled = srdhm16(up, m_y)
    product = gate * scaled
    y = srdhm16(gate, scaled) if rounded else np.sign(product) * (np.abs(product) >> 15)
    return np.asarray(np.clip(rdp(y, -e_y) + z_y, node.to.low, node.to.high).astype(node.to.dtype))


def hard_swish_rounded(node: IntegerNode) -> Array | None:
    """The last product of hard swish is rounded, not cut off toward zero."""
    return _hard_swish(node, rounded=True, limit=sat16)


def hard_swish_wraps(node: IntegerNode) -> Array | None:
    """The shifts of hard swish wrap around instead of saturating."""
    return _hard_swish(node, rounded=False, limit=_wrap16)


def curve_in_fixed_point(node: IntegerNode) -> Array | None:
    """The logistic function is computed in fixed point, not looked up in a table of float32.

    Source: tflite-micro.
    """
    if node.node.op != "sigmoid" or not isinstance(node.x, QuantisedTensor):
        return None
    try:
        return node.under("tflite_micro")
    except RefnetError:
        return None
