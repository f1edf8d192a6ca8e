"""ONNX files of integers in floats: constants are what their integers stand for, and ranges imply clamps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Contents, IntegerScale, Operation, Structure
from refnet.files.importers.onnx_constants import CONSTANTS, VIEWS
from refnet.files.importers.onnx_quantised import (
    DEQUANTISE,
    DYNAMIC,
    DYNAMIC_CONV,
    DYNAMIC_MATMUL,
    FUSED,
    MICROSOFT,
    QUANTISE,
    along_axis,
    integer_operations,
    meant,
    quantised_constant,
    range_of,
)
from refnet.files.importers.operations import answer_tensors, made_of

__all__ = ["cut_at_six", "real_operations"]

Arrays = Mapping[str, npt.NDArray[Any]]

_REAL = {fused: (op, count) for op, (fused, count) in FUSED.items()} | {
    f"{MICROSOFT}QLinearAveragePool": ("AveragePool", 1)
}
_CASTS = ("Cast", "CastLike")
_OF_INTEGERS = frozenset((*_REAL, *DYNAMIC, *QUANTISE, *DEQUANTISE))
_WITH_BIAS = ("Conv", "Gemm")
# Between what gives an answer and the answer.
_MOVES = ("Flatten", "Reshape", "Squeeze", "Transpose", "Identity", "Dropout", "Softmax", *QUANTISE, *DEQUANTISE)
_PRODUCTS = tuple(name for op in ("Gemm", "MatMul") for name in (op, FUSED[op][0]))
_POOLS = ("GlobalAveragePool", FUSED["GlobalAveragePool"][0], "ReduceMean", "AveragePool")
_BELOW_SIX = "below_six"  # of a Relu that a range implies: whether the range ends before 6, so that it may be a relu6


def real_operations(contents: Contents) -> Contents:
    """A file of integers in floats: constants are what their integers stand for, nothing is rounded.

    So is one whose weights alone are integers; a file without any stays what it is. The structure has the scales of
    these constants, and `stored` the types of their integers.
    """
    assert contents.structure is not None
    if not any(op.op in _OF_INTEGERS for op in contents.structure.operations):
        return contents
    structure = integer_operations(contents.structure, contents.arrays)
    work = _RealOperations(contents.structure, contents.arrays, answer_tensors(structure, _PRODUCTS, _POOLS, _MOVES))
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

    def __init__(self, structure: Structure, arrays: Arrays, answers: Collection[str]) -> None:
        self.arrays, self.answers = dict(arrays), answers
        whole = {*VIEWS, *QUANTISE} - {*_CASTS}
        self.constant = {op.outputs[0]: op for op in structure.operations if op.op in whole}
        self.made = {op.outputs[0]: op for op in structure.operations}
        moves = [op for op in structure.operations if op.op in DEQUANTISE]
        self.own = {op.inputs[0]: op for op in moves if all(name in arrays for name in op.inputs)}
        self.from_zero: set[str] = set()
        self.scales: dict[str, IntegerScale] = {}
        self.stored: dict[str, str] = {}
        self.budget = made_of(arrays)

    def said(self, op: Operation) -> list[Operation]:
        """What an operation comes to."""
        if op.op in (*QUANTISE, *DEQUANTISE):
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
        if op.op in DEQUANTISE and self._is_constant(op.inputs[0]):
            self._put(op.outputs[0], op.inputs[0], self._own_scale(op))
            return []
        maker = self.made.get(op.inputs[0])
        if op.op in QUANTISE and maker is not None and maker.op in (*_WITH_BIAS, "MatMul"):
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
            made = quantised_constant if op.op in QUANTISE else CONSTANTS[op.op]
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
        """The activation that the range of an output implies; None where nothing is cut.

        Nor in an answer: where no class was ever below zero its range begins there all the same.
        """
        if output in self.answers or len(scale) < 2 or not all(map(self._is_constant, scale[:2])):
            return None
        step, zero = self.arrays[scale[0]], self.arrays[scale[1]]
        if step.size != 1 or int(zero.item()) != np.iinfo(zero.dtype).min:
            return None
        cannot = all(each in self.from_zero for each in inputs)
        self.from_zero.add(output)
        if name not in ("Conv", "Gemm", "MatMul", "Add") or (name == "Add" and cannot):
            return None
        _, high = range_of(step, zero)
        if abs(high - 6) > float(step.item()) / 2:
            return Operation("Relu", (), (output,), {_BELOW_SIX: high < 6})
        for bound, value in (("zero", 0), ("six", 6)):
            self.arrays[f"{output}.{bound}"] = np.array(value, np.float32)
        return Operation("Clip", (f"{output}.zero", f"{output}.six"), (output,))
