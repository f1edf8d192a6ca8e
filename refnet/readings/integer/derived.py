"""What a runtime derives from scales before it runs: multipliers, shifts, factors and clips; and sums before rescaling.

A port needs these numbers as much as the integers themselves: a multiplier that is off by one in its last bit is a
wrong kernel. Names are those of the kernels' own parameters. Shifts are those of `fixedpoint.multiplier`: e > 0 shifts
to the left, as TensorFlow Lite's `output_shift` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fast import sums
from refnet.readings.integer.fast.tflite_ranges import activation_range
from refnet.readings.integer.fixedpoint import multiplier
from refnet.readings.integer.quantisation import Array, Quantisation, QuantisedTensor

__all__ = ["SUMMED", "constants", "exact_sums"]

# Operations that add up products, whose sums are integers of 32 bits.
SUMMED = ("conv2d", "depthwise_conv2d", "pointwise_conv2d", "fully_connected")
_TFLITE = ("tflite", "tflite_2_19", "tflite_2_12", "tflite_optimised", "tflite_micro", "cmsis_nn", "cmsis_nn_single")
_LINEAR_IN_DOUBLE = ("tflite",)  # whose FULLY_CONNECTED has a factor instead of a multiplier


def constants(
    op: str,
    attrs: Mapping[str, Any],
    inputs: Sequence[Quantisation | None],
    w: QuantisedTensor | None,
    to: Quantisation | None,
    kernels: str,
) -> dict[str, Array]:
    """What the kernels of an operation are prepared with; nothing where they need no more than scales.

    Parameters
    ----------
    op, attrs : of the node
    inputs : what the integers of its inputs stand for; of a second input that is constant, too
    w : its weights, where it has some
    to : what the integers that it makes stand for
    kernels : a name in `KERNELS`

    Returns
    -------
    found : `multiplier` and `shift`, int32, of each filter or one; `input1_multiplier` and so on of a sum; `factor`,
        where kernels rescale in floating point; `activation_min`, `activation_max`, int32
    """
    if to is None or not inputs or any(q is None for q in inputs):
        return {}
    known = [q for q in inputs if q is not None]
    found: dict[str, Array] = {}
    if op in SUMMED and w is not None:
        found = _rescaling(op, known[0], w, to, kernels)
    elif kernels in _TFLITE:
        found = _OTHERS.get(op, _nothing)(attrs, known, to, kernels)
    if "act" in attrs and kernels in (*_TFLITE, "xnnpack"):
        low, high = activation_range(to, attrs["act"])
        found |= {"activation_min": np.array(low, np.int32), "activation_max": np.array(high, np.int32)}
    return found


def _nothing(attrs: Any, inputs: Any, to: Any, kernels: str) -> dict[str, Array]:
    return {}


def _pair(ratio: Any, prefix: str = "") -> dict[str, Array]:
    m, e = multiplier(ratio)
    return {f"{prefix}multiplier": np.asarray(m, np.int32), f"{prefix}shift": np.asarray(e, np.int32)}


def _rescaling(op: str, x: Quantisation, w: QuantisedTensor, to: Quantisation, kernels: str) -> dict[str, Array]:
    """Of a convolution or linear layer."""
    s_x, s_y = x.single()[0], to.single()[0]
    s_w = w.quantisation.scale.reshape(-1)
    if kernels not in _TFLITE:
        step = s_w * s_x
        return {"factor": (step / s_y).astype(np.float32)}
    wide = s_w.astype(np.float64) * np.float64(s_x) / np.float64(s_y)
    if op == "fully_connected" and kernels in _LINEAR_IN_DOUBLE:
        return {"factor": wide}
    linear = op == "fully_connected" and w.quantisation.axis is None
    short = x.dtype == np.uint8 or linear  # the product of the scales is one of float32
    return _pair((s_w * s_x).astype(np.float64) / np.float64(s_y) if short else wide)


def _sum(attrs: Any, inputs: list[Quantisation], to: Quantisation, kernels: str) -> dict[str, Array]:
    scales = [float(q.single()[0]) for q in inputs]
    up = 20 if to.dtype.itemsize == 1 else 15
    twice = 2 * max(scales)
    found: dict[str, Array] = {"left_shift": np.array(up, np.int32)}
    for place, scale in enumerate(scales, 1):
        found |= _pair(scale / twice, f"input{place}_")
    return found | _pair(twice / (2.0**up * float(to.single()[0])), "output_")


def _product(attrs: Any, inputs: list[Quantisation], to: Quantisation, kernels: str) -> dict[str, Array]:
    (s_1, s_2), s_y = (q.single()[0] for q in inputs), to.single()[0]
    wide = "micro" in kernels or "cmsis" in kernels
    return _pair(float(s_1) * float(s_2) / float(s_y) if wide else float(s_1 * s_2 / s_y))


def _rescaled(attrs: Any, inputs: list[Quantisation], to: Quantisation, kernels: str) -> dict[str, Array]:
    return _pair(float(inputs[0].single()[0]) / float(to.single()[0]))


def _activated(attrs: Any, inputs: list[Quantisation], to: Quantisation, kernels: str) -> dict[str, Array]:
    return _pair(float(inputs[0].single()[0] / to.single()[0]))


def _hard_swish(attrs: Any, inputs: list[Quantisation], to: Quantisation, kernels: str) -> dict[str, Array]:
    high = np.float32(1 / 128) * inputs[0].single()[0]
    found = {}
    for prefix, ratio in (("output_", high / to.single()[0]), ("reluish_", high / np.float32(3 / 32768))):
        m, e = multiplier(float(ratio))
        found[f"{prefix}multiplier"] = np.asarray(min((m + 2**15) >> 16, 2**15 - 1), np.int16)
        found[f"{prefix}shift"] = np.asarray(e, np.int32)
    return found


_OTHERS: Mapping[str, Any] = {
    "add": _sum,
    "hard_swish": _hard_swish,
    "mean": _rescaled,
    "relu": _activated,
    "relu6": _activated,
    "requantize": _rescaled,
    "scale": _product,
    "sub": _sum,
}


def exact_sums(
    op: str, attrs: Mapping[str, Any], x: QuantisedTensor, w: QuantisedTensor, b: Any, kernels: str
) -> Array:
    """The sums of a convolution or linear layer before they are rescaled, bias included where it is of integers.

    Returns
    -------
    sums : (N, K, P, Q) int32; int64 of int16 activations

    Raises
    ------
    RequestError
        for another operation.
    """
    if op not in SUMMED:
        raise RequestError(f"{op} adds up no products")
    if kernels in (*_TFLITE, "xnnpack"):
        kept = w.quantisation.axis is None if op == "fully_connected" else x.values.dtype == np.uint8
        w = w if kept else w.symmetric()
    whole = b if b is None or b.dtype.kind in "iu" else None
    pairs = kernels.endswith("_avx2") and x.values.dtype == np.uint8 and w.values.dtype == np.int8
    name = "pointwise_conv2d" if op == "fully_connected" else op
    options = {key: attrs[key] for key in ("stride", "pad", "dilation") if key in attrs}
    if op == "depthwise_conv2d" and kernels == "onnxruntime_avx2":
        pairs = False
    total = getattr(sums, name)(x, w, whole, pairs=pairs, **options)
    return np.ascontiguousarray(total.astype(np.int64 if x.values.dtype == np.int16 else np.int32))
