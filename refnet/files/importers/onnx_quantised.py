"""ONNX files of integers: what a QuantizeLinear after, and DequantizeLinears before, an operation come to.

onnxruntime's quantiser writes operations on integers (QOperator: `QLinearConv`, `QGemm`, ...) or operations on floats
between DequantizeLinear and QuantizeLinear (QDQ), which onnxruntime's optimiser makes operations on integers of. Here
the second become the first. `real_operations` says both in floats, with the clamps that the ranges of integers imply.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Contents, IntegerScale, Operation, Structure
from refnet.files.importers.onnx_constants import CONSTANTS, VIEWS
from refnet.files.importers.operations import made_of
from refnet.readings.precision import FLOATS

__all__ = [
    "DYNAMIC_CONV",
    "DYNAMIC_MATMUL",
    "HARD_SIGMOID",
    "along_axis",
    "cut_at_six",
    "integer_operations",
    "is_quantised_onnx",
    "quantised_constant",
    "real_operations",
]

Arrays = Mapping[str, npt.NDArray[Any]]

_MS = "com.microsoft."
HARD_SIGMOID = (
    "QLinearHardSigmoid"  # no operation of ONNX: HardSigmoid of integers that are made real and integers again
)
# Nor these: a DynamicQuantizeLinear, the sums of integers that read it, and what makes them real and adds the bias.
# They read a tensor of floats, weights, their scale and zero point, and the bias or ''.
DYNAMIC_CONV, DYNAMIC_MATMUL = "DynamicConv", "DynamicMatMul"
_DYNAMIC = {"ConvInteger": DYNAMIC_CONV, "MatMulInteger": DYNAMIC_MATMUL}
# The operation on floats -> that on integers, and how many of its inputs are tensors or weights.
_FUSED = {
    "Conv": ("QLinearConv", 2),
    "Gemm": (f"{_MS}QGemm", 2),
    "MatMul": ("QLinearMatMul", 2),
    "Add": (f"{_MS}QLinearAdd", 2),
    "Mul": (f"{_MS}QLinearMul", 2),
    "GlobalAveragePool": (f"{_MS}QLinearGlobalAveragePool", 1),
    "Sigmoid": (f"{_MS}QLinearSigmoid", 1),
    "HardSigmoid": (HARD_SIGMOID, 1),
}
_REAL = {fused: (op, count) for op, (fused, count) in _FUSED.items()} | {f"{_MS}QLinearAveragePool": ("AveragePool", 1)}
_CASTS = ("Cast", "CastLike")
_QUANTISE, _DEQUANTISE = ("QuantizeLinear", f"{_MS}QuantizeLinear"), ("DequantizeLinear", f"{_MS}DequantizeLinear")
_OF_INTEGERS = frozenset((*_REAL, *_DYNAMIC, *_QUANTISE, *_DEQUANTISE))
_WITH_BIAS = ("Conv", "Gemm")
_BELOW_SIX = "below_six"  # of a Relu that a range implies: whether the range ends before 6, so that it may be a relu6
# What hard sigmoids and hard swishes, written out, add, multiply by and clip to.
_NUMBERS = (0.0, 1 / 6, 0.2, 0.5, 1.0, 3.0, 6.0)
_ROUNDED = 4 * FLOATS["float32"].u  # relative: the constant, its scale, their quotient and product, in float32


def is_quantised_onnx(structure: Structure) -> bool:
    """Whether a file's convolutions or linear layers are of integers, or of floats that were integers before."""
    found = {op.op for op in structure.operations}
    return bool(found & {"QLinearConv", "QLinearMatMul", f"{_MS}QGemm", *_DYNAMIC}) or (
        bool(found & {*_QUANTISE}) and bool(found & {*_DEQUANTISE})
    )


def integer_operations(structure: Structure, arrays: Arrays) -> Structure:
    """QDQ groups as operations on integers; what cannot be one stays."""
    groups = _Groups(structure, arrays)
    made = {}
    for op in structure.operations:
        fused = groups.dynamic(op) if op.op in _DYNAMIC else groups.fused(op)
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
        if op.op not in _FUSED:
            return None
        name, count = _FUSED[op.op]
        before = [self.made.get(each) for each in op.inputs if each]
        last = self._last(op)
        if last is None or any(each is None or each.op not in _DEQUANTISE for each in before):
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
        return Operation(_DYNAMIC[op.op], inputs, last.outputs, op.attrs, op.name)

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
        if reader is None or reader.op not in _QUANTISE or len(reader.inputs) < 3:
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
        low, high = _range(scale, zero)
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
        if before is None or before.op not in _DEQUANTISE or any(part is None or part.size != 1 for part in parts):
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


def _range(scale: Any, zero: Any) -> tuple[float, float]:
    limits, step, z = np.iinfo(zero.dtype), float(scale.item()), int(zero.item())
    return step * (int(limits.min) - z), step * (int(limits.max) - z)


def real_operations(contents: Contents) -> Contents:
    """A file of integers in floats: constants are what their integers stand for, nothing is rounded.

    So is one whose weights alone are integers; a file without any stays what it is. The structure has the scales of
    these constants, and `stored` the types of their integers.
    """
    assert contents.structure is not None
    if not any(op.op in _OF_INTEGERS for op in contents.structure.operations):
        return contents
    structure = integer_operations(contents.structure, contents.arrays)
    work = _RealOperations(contents.structure, contents.arrays)
    operations = [made for op in structure.operations for made in work.said(op)]
    return contents._replace(
        arrays=work.arrays,
        structure=structure._replace(operations=tuple(operations), scales={**structure.scales, **work.scales}),
        stored={**contents.stored, **work.stored},
    )


def cut_at_six(contents: Contents) -> Contents | None:
    """Operations on real numbers with a relu6 wherever a range leaves open whether it is one; None if none does."""
    assert contents.structure is not None
    operations = tuple(
        op._replace(op="Clip", attrs={"min": 0.0, "max": 6.0}) if op.attrs.get(_BELOW_SIX) else op
        for op in contents.structure.operations
    )
    changed = operations != contents.structure.operations
    return contents._replace(structure=contents.structure._replace(operations=operations)) if changed else None


class _RealOperations:
    """Operations on integers said in floats, one by one."""

    def __init__(self, structure: Structure, arrays: Arrays) -> None:
        self.arrays = dict(arrays)
        whole = {*VIEWS, *_QUANTISE} - {*_CASTS}
        self.constant = {op.outputs[0]: op for op in structure.operations if op.op in whole}
        self.made = {op.outputs[0]: op for op in structure.operations}
        moves = [op for op in structure.operations if op.op in _DEQUANTISE]
        self.own = {op.inputs[0]: op for op in moves if all(name in arrays for name in op.inputs)}
        self.from_zero: set[str] = set()
        self.scales: dict[str, IntegerScale] = {}
        self.stored: dict[str, str] = {}
        self.budget = made_of(arrays)

    def said(self, op: Operation) -> list[Operation]:
        """What an operation comes to."""
        if op.op in (*_QUANTISE, *_DEQUANTISE):
            return self._moved(op)
        if op.op in (DYNAMIC_CONV, DYNAMIC_MATMUL):
            return self._dynamic(op)
        if op.op not in _REAL:
            return [op]
        name, count = _REAL[op.op]
        tensors = [op.inputs[3 * place : 3 * place + 3] for place in range(count)]
        bias, scale = self._ends(op, name, 3 * count)
        inputs = [self._const(each[0], each[1], each[2], op.attrs, name) for each in tensors]
        if bias:
            inputs.append(self._bias(bias, tensors))
        act = self._clamp(name, scale, [each[0] for each in tensors], op.outputs[0])
        if act is None:
            return [Operation(name, tuple(inputs), op.outputs, op.attrs, op.name)]
        inner = f"{op.outputs[0]}.linear"
        return [Operation(name, tuple(inputs), (inner,), op.attrs, op.name), act._replace(inputs=(inner, *act.inputs))]

    def _dynamic(self, op: Operation) -> list[Operation]:
        x, w, scale, zero, bias = op.inputs
        name = "Conv" if op.op == DYNAMIC_CONV else "MatMul"
        real = self._const(w, scale, zero, op.attrs, name)
        if name == "Conv":
            if bias:
                self.arrays[f"{bias}.flat"] = self.arrays[bias].reshape(-1)
            return [Operation(name, (x, real, *([f"{bias}.flat"] if bias else [])), op.outputs, op.attrs, op.name)]
        if not bias:
            return [Operation(name, (x, real), op.outputs, {}, op.name)]
        inner = f"{op.outputs[0]}.product"
        return [Operation(name, (x, real), (inner,), {}, op.name), Operation("Add", (inner, bias), op.outputs, {}, "")]

    def _moved(self, op: Operation) -> list[Operation]:
        if op.op in _DEQUANTISE and self._is_constant(op.inputs[0]):
            self._put(op.outputs[0], op.inputs[0], self._own_scale(op))
            return []
        maker = self.made.get(op.inputs[0])
        if op.op in _QUANTISE and maker is not None and maker.op in (*_WITH_BIAS, "MatMul"):
            act = self._clamp(maker.op, op.inputs[1:3], [], op.outputs[0])
            if act is not None:
                return [act._replace(inputs=(op.inputs[0], *act.inputs))]
        return [Operation("Identity", op.inputs[:1], op.outputs, {}, op.name)]

    def _ends(self, op: Operation, name: str, at: int) -> tuple[str, tuple[str, ...]]:
        rest = op.inputs[at:]
        if name == "Gemm":
            return rest[0] if rest else "", rest[1:3]
        return (rest[2] if len(rest) > 2 else "") if name in _WITH_BIAS else "", rest[:2]

    def _const(self, tensor: str, scale: str, zero: str, attrs: Mapping[str, Any], name: str) -> str:
        """A tensor, or the name of a constant in floats."""
        if not self._is_constant(tensor):
            return tensor
        columns = name == "MatMul" or (name == "Gemm" and not attrs.get("transB", 0))
        real = f"{tensor}.real"
        if real not in self.arrays:
            self._put(real, tensor, self._scale(scale, zero, 1 if columns else 0))
        return real

    def _scale(self, scale: str, zero: str, axis: int) -> IntegerScale:
        s = self._array(scale).astype(np.float32)
        return IntegerScale(s, self._array(zero).astype(np.float32) if zero else np.float32(0) * s, axis)

    def _own_scale(self, dequantise: Operation) -> IntegerScale:
        zero = dequantise.inputs[2] if len(dequantise.inputs) > 2 else ""
        return self._scale(dequantise.inputs[1], zero, int(dequantise.attrs.get("axis", 1)))

    def _is_constant(self, name: str) -> bool:
        """Whether a tensor is a constant; one that is a view of another, or its integers, is then among the arrays."""
        chain = []
        while name not in self.arrays:
            op = self.constant.get(name)
            if op is None or not all(each in self.arrays for each in op.inputs[1:]):
                return False
            chain.append(op)
            name = op.inputs[0]
        for op in reversed(chain):
            made = quantised_constant if op.op in _QUANTISE else CONSTANTS[op.op]
            self.arrays[op.outputs[0]] = made(op.attrs, *(self.arrays[each] for each in op.inputs))
        return True

    def _array(self, name: str) -> npt.NDArray[Any]:
        if not self._is_constant(name):
            raise FormatError(f"the scale or zero point {shown(name)} is no constant: only constant ones are read")
        return self.arrays[name]

    def _put(self, real: str, tensor: str, scale: IntegerScale) -> None:
        """What a tensor's integers stand for, with how they do."""
        array, (s, z, axis) = self.arrays[tensor], scale
        along = along_axis(array.shape, s.shape, axis)
        s, z = s.reshape(along), z.reshape(along)
        self.budget -= array.size * s.itemsize
        if self.budget < 0:
            raise FormatError("makes real numbers of the same integers again and again")
        self.arrays[real] = (array.astype(np.float32) - z) * s
        if array.ndim < 2 and array.size == s.size == 1:  # a number that is said in integers
            number = meant(float(self.arrays[real].item()), float(s.item()))
            self.arrays[real] = np.full(array.shape, number, np.float32)
        self.scales[real], self.stored[real] = scale, str(array.dtype)

    def _bias(self, bias: str, tensors: list[tuple[str, ...]]) -> str:
        """A bias as floats: in the steps that the file gives it, else in those of input times weight."""
        own = self.own.get(bias)
        scale = self._own_scale(own)._replace(axis=0) if own is not None and len(own.inputs) > 1 else None
        if scale is None or scale.scales.size not in (1, self.arrays[bias].size) or scale.zero_points.any():
            scales = [self._array(each[1]).astype(np.float32) for each in tensors]
            step = (scales[0] * scales[1]).reshape(-1)
            scale = IntegerScale(step, np.zeros_like(step), 0)
        self._put(f"{bias}.real", bias, scale)
        return f"{bias}.real"

    def _clamp(self, name: str, scale: tuple[str, ...], inputs: list[str], output: str) -> Operation | None:
        """The activation that the range of an output implies; None where nothing is cut."""
        if len(scale) < 2 or not all(map(self._is_constant, scale[:2])):
            return None
        step, zero = self.arrays[scale[0]], self.arrays[scale[1]]
        if step.size != 1 or int(zero.item()) != np.iinfo(zero.dtype).min:
            return None
        cannot = all(each in self.from_zero for each in inputs)
        self.from_zero.add(output)
        if name not in ("Conv", "Gemm", "MatMul", "Add") or (name == "Add" and cannot):
            return None
        _, high = _range(step, zero)
        if abs(high - 6) > float(step.item()) / 2:
            return Operation("Relu", (), (output,), {_BELOW_SIX: high < 6})
        for bound, value in (("zero", 0), ("six", 6)):
            self.arrays[f"{output}.{bound}"] = np.array(value, np.float32)
        return Operation("Clip", (f"{output}.zero", f"{output}.six"), (output,))
