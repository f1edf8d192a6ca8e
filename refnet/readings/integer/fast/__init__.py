"""Integer kernels over whole arrays: the same tables as in `loops`, the same integers, and no line in common.

Every module is a table of rules, one function an operation, spelled as the operation is. `KERNELS` names them all, with
the variants that versions, processors and builds make of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any

from refnet.readings.integer.fast import (
    fbgemm,
    onednn,
    onnxruntime,
    onnxruntime_dynamic,
    qnnpack,
    tflite,
    tflite_hybrid,
    tflite_micro,
    tflite_optimised,
    xnnpack,
)
from refnet.readings.integer.fixedpoint import mbqm_single

__all__ = ["KERNELS"]


def _but(base: Any, **rules: Any) -> SimpleNamespace:
    """A table of rules with some of them replaced."""
    return SimpleNamespace(**{name: getattr(base, name) for name in base.__all__} | rules)


def _of_eight_bits(delegate: Any, builtins: Any) -> SimpleNamespace:
    """A table whose rules are a delegate's where an operation makes 8 bits, and those of others where it does not."""

    def either(name: str) -> Any:
        narrow, wide = getattr(delegate, name), getattr(builtins, name)

        @wraps(narrow)
        def rule(x: Any, *others: Any, **options: Any) -> Any:
            made = options.get("to") or x.quantisation
            return (wide if made.dtype.itemsize > 1 else narrow)(x, *others, **options)

        return narrow if narrow is wide else rule

    return SimpleNamespace(**{name: either(name) for name in delegate.__all__})


def _all(base: Any, names: tuple[str, ...], **options: Any) -> dict[str, Any]:
    """Some rules with an option set."""
    return {name: partial(getattr(base, name), **options) for name in names}


_DENSE = ("conv2d", "pointwise_conv2d", "fully_connected")
_REQUANTISED = (*_DENSE, "depthwise_conv2d", "add", "scale")

KERNELS: Mapping[str, Any] = {
    "tflite": tflite,
    "tflite_2_19": _but(tflite, fully_connected=tflite.fully_connected_2_19),
    "tflite_2_12": _but(tflite, fully_connected=tflite.fully_connected_2_19, mean=tflite.mean_2_12),
    "tflite_optimised": tflite_optimised,
    "tflite_hybrid": tflite_hybrid,
    "tflite_micro": tflite_micro,
    "cmsis_nn": tflite_micro,
    "cmsis_nn_single": _but(tflite_micro, **_all(tflite_micro, _REQUANTISED, rounding=mbqm_single)),
    "xnnpack": _of_eight_bits(xnnpack, tflite_optimised),
    "onnxruntime": onnxruntime,
    "onnxruntime_avx2": _but(onnxruntime, **_all(onnxruntime, _DENSE, pairs=True)),
    "onnxruntime_dynamic": onnxruntime_dynamic,
    "fbgemm": fbgemm,
    "fbgemm_avx2": _but(fbgemm, **_all(fbgemm, _DENSE, pairs=True)),
    "x86_vnni": _but(fbgemm, **_all(onednn, ("conv2d", "depthwise_conv2d", "pointwise_conv2d"))),
    "qnnpack": qnnpack,
}
