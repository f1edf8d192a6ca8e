"""ONNX files of integers: what a QuantizeLinear after, and DequantizeLinears before, an operation come to.

onnxruntime's quantiser writes operations on integers (QOperator: `QLinearConv`, `QGemm`, ...) or operations on floats
between DequantizeLinear and QuantizeLinear (QDQ), which onnxruntime's optimiser makes operations on integers of. Here
the second become the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.structure import Operation, Structure
from refnet.readings.precision import FLOATS

__all__ = [
    "DEQUANTISE",
    "DYNAMIC",
    "DYNAMIC_CONV",
    "DYNAMIC_MATMUL",
    "FUSED",
    "HARD_SIGMOID",
    "MICROSOFT",
    "QUANTISE",
    "along_axis",
    "integer_operations",
    "is_quantised_onnx",
    "meant",
    "quantised_constant",
    "range_of",
]

Arrays = Mapping[str, npt.NDArray[Any]]

MICROSOFT = "com.microsoft."
HARD_SIGMOID = (
    "QLinearHardSigmoid"  # no operation of ONNX: HardSigmoid of integers that are made real and integers again
)
# Nor these: a DynamicQuantizeLinear, the sums of integers that read it, and what makes them real and adds the bias.
# They read a tensor of floats, weights, their scale and zero point, and the bias or ''.
DYNAMIC_CONV, DYNAMIC_MATMUL = "DynamicConv", "DynamicMatMul"
DYNAMIC = {"ConvInteger": DYNAMIC_CONV, "MatMulInteger": DYNAMIC_MATMUL}
# The operation on floats -> that on integers, and how many of its inputs are tensors or weights.
FUSED = {
    "Conv": ("QLinearConv", 2),
    "Gemm": (f"{MICROSOFT}QGemm", 2),
    "MatMul": ("QLinearMatMul", 2),
    "Add": (f"{MICROSOFT}QLinearAdd", 2),
    "Mul": (f"{MICROSOFT}QLinearMul", 2),
    "GlobalAveragePool": (f"{MICROSOFT}QLinearGlobalAveragePool", 1),
    "Sigmoid": (f"{MICROSOFT}QLinearSigmoid", 1),
    "HardSigmoid": (HARD_SIGMOID, 1),
}
QUANTISE, DEQUANTISE = (
    ("QuantizeLinear", f"{MICROSOFT}QuantizeLinear"),
    ("DequantizeLinear", f"{MICROSOFT}DequantizeLinear"),
)
# What hard sigmoids and hard swishes, written out, add, multiply by and clip to.
_NUMBERS = (0.0, 1 / 6, 0.2, 0.5, 1.0, 3.0, 6.0)
_ROUNDED = 4 * FLOATS["float32"].u  # relative: the constant, its scale, their quotient and product, in float32


def is_quantised_onnx(structure: Structure) -> bool:
    """Whether a file's convolutions or linear layers are of integers, or of floats that were integers before."""
    found = {op.op for op in structure.operations}
    return bool(found & {"QLinearConv", "QLinearMatMul", f"{MICROSOFT}QGemm", *DYNAMIC}) or (
        bool(found & {*QUANTISE}) and bool(found & {*DEQUANTISE})
    )


def integer_operations(structure: Structure, arrays: Arrays) -> Structure:
    """QDQ groups as operations on integers; what cannot be one stays."""
    groups = _Groups(structure, arrays)
    made = {}
    for op in structure.operations:
        fused = groups.dynamic(op) if op.op in DYNAMIC else groups.fused(op)
        if fused is not None:
            made[op.outputs[0]] = fused
    operations = [made.get(op.outputs[0], op) for op in structure.operations]
    gone = {op.outputs[0] for op in made.values()} - made.keys()
    kept = [op for op in operations if op in made.values() or op.outputs[0] not in gone]
    return structure._replace(operations=tuple(kept))


class _Groups:
    """What makes and what reads each tensor of a file."""

    def __init__(self, structure: Structure, arrays: Arrays) -> None:
        self.arrays, self.outputs = arrays, structure.outputs
        self.made = {name: op for op in structure.operations for name in op.outputs}
        self.readers: dict[str, list[Operation]] = {}
        for op in structure.operations:
            for name in dict.fromkeys(op.inputs):
                self.readers.setdefault(name, []).append(op)

    def fused(self, op: Operation) -> Operation | None:
        """An operation with the DequantizeLinears before and the QuantizeLinear behind it as one on integers."""
        if op.op not in FUSED:
            return None
        name, count = FUSED[op.op]
        before = [self.made.get(each) for each in op.inputs if each]
        last = self._last(op)
        if last is None or any(each is None or each.op not in DEQUANTISE for each in before):
            return None
        tensors = [each.inputs for each in before[:count] if each is not None]
        if any(len(inputs) < 3 for inputs in (*tensors, last.inputs)):
            return None  # a zero point that is left out is uint8's: quantisers write it
        inputs = [name for each in tensors for name in each[:3]]
        bias = [each.inputs[0] for each in before[count:] if each is not None]
        if any(self.arrays.get(name) is None for name in bias):
            return None
        scale = list(last.inputs[1:3])
        gemm = op.op == "Gemm"
        ends = (bias or [""]) + scale if gemm else scale + bias
        return Operation(name, (*inputs, *ends), last.outputs, op.attrs, op.name)

    def dynamic(self, op: Operation) -> Operation | None:
        """Sums of dynamically quantised integers with all that belongs to them as one operation on floats."""
        source = self.made.get(op.inputs[0])
        cast = self._only_reader(op)
        product = self._only_reader(cast) if cast is not None and cast.op == "Cast" else None
        if source is None or source.op != "DynamicQuantizeLinear" or product is None or product.op != "Mul":
            return None
        scales = [self.made.get(name) for name in product.inputs if name not in (cast.outputs if cast else ())]
        factors = scales[0].inputs if scales and scales[0] is not None and scales[0].op == "Mul" else ()
        constant = [name for name in factors if name in self.arrays]
        if len(constant) != 1 or source.outputs[1] not in factors:
            return None
        last, bias = product, ""
        adding = self._only_reader(product)
        if adding is not None and adding.op == "Add":
            found = self._constant(next((name for name in adding.inputs if name not in product.outputs), ""))
            last, bias = (adding, found) if found else (product, "")
        zero = op.inputs[3] if len(op.inputs) > 3 else ""
        inputs = (source.inputs[0], op.inputs[1], constant[0], zero, bias)
        return Operation(DYNAMIC[op.op], inputs, last.outputs, op.attrs, op.name)

    def _constant(self, name: str) -> str:
        """A constant, or the one that a Reshape gives other axes; '' of any other tensor."""
        if name in self.arrays:
            return name
        before = self.made.get(name)
        return self._constant(before.inputs[0]) if before is not None and before.op == "Reshape" else ""

    def _last(self, op: Operation) -> Operation | None:
        """The QuantizeLinear that an operation's output ends in, past an activation that its range implies."""
        reader = self._only_reader(op)
        act = None
        if reader is not None and reader.op in ("Relu", "Clip"):
            act, reader = reader, self._only_reader(reader)
        if reader is None or reader.op not in QUANTISE or len(reader.inputs) < 3:
            return None
        return reader if act is None or self._implied(act, reader) else None

    def _only_reader(self, op: Operation) -> Operation | None:
        readers = self.readers.get(op.outputs[0], [])
        return readers[0] if len(readers) == 1 and op.outputs[0] not in self.outputs else None

    def _implied(self, act: Operation, last: Operation) -> bool:
        """Whether integers cannot stand for what an activation cuts."""
        scale, zero = (self.arrays.get(name) for name in last.inputs[1:3])
        if scale is None or zero is None or scale.size != 1 or zero.dtype.kind not in "iu":
            return False
        low, high = range_of(scale, zero)
        bounds = [0.0, np.inf] if act.op == "Relu" else self._bounds(act)
        return bounds is not None and low >= bounds[0] and high <= bounds[1] + float(scale.item()) / 2

    def _bounds(self, clip: Operation) -> list[float] | None:
        """Between what a Clip clips; None where no constant says so."""
        given = [clip.attrs.get("min", -np.inf), clip.attrs.get("max", np.inf)]
        for place, name in enumerate(clip.inputs[1:3]):
            number = self._number(name) if name else given[place]
            if number is None:
                return None
            given[place] = number
        return [float(each) for each in given]

    def _number(self, name: str) -> float | None:
        """A constant number, or what the integer of one stands for; None of any other tensor."""
        array, before = self.arrays.get(name), self.made.get(name)
        if array is not None:
            return float(array.item()) if array.size == 1 else None
        parts = [self.arrays.get(each) for each in before.inputs if each] if before is not None else []
        if before is None or before.op not in DEQUANTISE or any(part is None or part.size != 1 for part in parts):
            return None
        q, step, *zero = (float(part.item()) for part in parts if part is not None)
        return meant((q - (zero[0] if zero else 0.0)) * step, step)


def quantised_constant(
    attrs: Mapping[str, Any], x: npt.NDArray[Any], scale: npt.NDArray[Any], zero: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """What QuantizeLinear makes of a constant, as files hold that quantise their weights as they are loaded."""
    along = along_axis(x.shape, scale.shape, int(attrs.get("axis", 1)))
    limits = np.iinfo(np.uint8 if zero is None else zero.dtype)
    point = 0 if zero is None else zero.astype(np.float64).reshape(along)
    steps = np.rint(x.astype(np.float32) / scale.astype(np.float32).reshape(along)) + point
    made: npt.NDArray[Any] = np.clip(np.nan_to_num(steps), limits.min, limits.max).astype(limits.dtype)
    return made


def along_axis(shape: tuple[int, ...], scales: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The shape in which scales, or zero points, are those of an array: one for all, or one for each index of an axis.

    Raises
    ------
    FormatError : there are others
    """
    if math.prod(scales) == 1:
        return (1,) * len(shape)
    if len(scales) != 1 or not -len(shape) <= axis < len(shape) or scales[0] != shape[axis]:
        raise FormatError(
            f"integers of shape {shape} have scales of shape {scales} along axis {axis}: only one scale, or one for "
            "each index of an axis, is read"
        )
    return tuple(scales[0] if place == axis % len(shape) else 1 for place in range(len(shape)))


def meant(number: float, step: float) -> float:
    """The constant of an activation that a number was before it was rounded to a step; the number, where it is none."""
    near = min(_NUMBERS, key=lambda each: abs(each - abs(number)))
    return math.copysign(near, number) if abs(near - abs(number)) <= step / 2 + _ROUNDED * near else number


def range_of(scale: Any, zero: Any) -> tuple[float, float]:
    """The least and the largest real number that integers under one scale stand for."""
    limits, step, z = np.iinfo(zero.dtype), float(scale.item()), int(zero.item())
    return step * (int(limits.min) - z), step * (int(limits.max) - z)
