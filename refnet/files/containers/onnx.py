"""ONNX files: weights, inline or in files beside it, and how operations use them.

The `onnx` package parses the bytes. Every weight must have as many numbers as its shape says, and external data must
lie in regular files in the model's own folder or below it: no absolute path, no '..', no link that leads out.
Constants, and names that Identity gives to a weight, are weights like others. Refuses sparse weights, functions, and
operations with graphs of their own (If, Loop). bfloat16 becomes float32, which holds it exactly.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files.containers.archive import least_elements, opened, shown, widened
from refnet.files.containers.beside import Beside
from refnet.files.containers.structure import Contents, Operation, Structure
from refnet.files.containers.wire import count_fields

__all__ = ["read"]

Array = npt.NDArray[Any]

_OLDEST = 7  # of the operations' versions: before it, arrays were not broadcast as they are today
_MOST_AXES = 64  # NumPy's limit
_OWN_DOMAINS = ("", "ai.onnx")
# TensorProto.DataType -> dtype of the raw bytes, field of the numbers if they are typed.
_DTYPES = {
    1: ("<f4", "float_data"),
    11: ("<f8", "double_data"),
    10: ("<f2", "int32_data"),
    16: ("bfloat16", "int32_data"),
    2: ("|u1", "int32_data"),
    3: ("|i1", "int32_data"),
    4: ("<u2", "int32_data"),
    5: ("<i2", "int32_data"),
    6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"),
    9: ("|b1", "int32_data"),
    12: ("<u4", "uint64_data"),
    13: ("<u8", "uint64_data"),
}
_LABELS = ("names", "labels", "classes", "class_names")  # what metadata that name classes are called
_LONGEST_LABELS = 1 << 20
_TYPED = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def read(path: str | os.PathLike[str]) -> Contents:
    """Read every weight of a model, and its graph.

    Parameters
    ----------
    path : of the model; its external data is looked for beside it

    Returns
    -------
    contents : the inputs of the structure are those that are no weights

    Raises
    ------
    FormatError
        if the file is no such model, or holds what this module refuses. One line: the file, what is wrong.
    RequestError
        if the onnx package is missing.
    """
    try:
        import onnx
    except ImportError:
        raise RequestError(f"{path}: reading ONNX files needs onnx: pip install 'refnet[tools]'") from None
    with opened(path) as file:
        data = file.read()
        count_fields(data)
        model = onnx.ModelProto()
        try:
            model.ParseFromString(data)
        except Exception as error:  # protobuf has exceptions of its own, by implementation
            raise FormatError("no ONNX model, or a damaged one: its bytes cannot be parsed") from error
        del data
        _refuse_unless_plain(model)
        return _GraphReader(model, Path(path).resolve().parent).contents()


def _refuse_unless_plain(model: Any) -> None:
    if not model.graph.node:
        raise FormatError("no ONNX model: it has no operations")
    if model.functions:
        raise FormatError("defines functions of its own: export the model with them written out")
    if model.graph.sparse_initializer:
        raise FormatError("holds sparse weights: only dense ones are read")
    versions = [entry.version for entry in model.opset_import if entry.domain in _OWN_DOMAINS]
    if not versions or min(versions) < _OLDEST:
        which = f"version {min(versions)}" if versions else "no version"
        raise FormatError(f"asks for {which} of ONNX's operations: export it again with opset {_OLDEST} or later")


class _GraphReader:
    """Reads one graph."""

    def __init__(self, model: Any, folder: Path) -> None:
        self.model = model
        self.arrays: dict[str, Array] = {}
        self.files = Beside(folder)

    def contents(self) -> Contents:
        graph = self.model.graph
        for tensor in graph.initializer:
            self._keep(_text(tensor.name), self._array(tensor, tensor.name))
        operations = [op for op in map(self._operation, graph.node) if op is not None]
        structure = Structure(
            producer=f"{self.model.producer_name} {self.model.producer_version}".strip()[:200],
            operations=tuple(operations),
            inputs={_text(given.name): _open_shape(given) for given in graph.input if given.name not in self.arrays},
            outputs=tuple(_text(made.name) for made in graph.output),
        )
        labels = {
            f"{entry.key} in the file's metadata": entry.value[:_LONGEST_LABELS]
            for entry in self.model.metadata_props
            if entry.key.lower() in _LABELS
        }
        return Contents("onnx", self.arrays, structure, labels=labels)

    def _keep(self, name: str, array: Array) -> None:
        if not name or name in self.arrays:
            raise FormatError(f"weight {shown(name)} is there twice, or has no name: refused")
        self.arrays[name] = array

    def _operation(self, node: Any) -> Operation | None:
        """An operation, None where it is but a weight or another name of one."""
        inputs, outputs = tuple(map(_text, node.input)), tuple(map(_text, node.output))
        what = shown(node.name or next(iter(outputs), node.op_type))
        attrs = {_text(attribute.name): self._attribute(attribute, what) for attribute in node.attribute}
        if len(attrs) < len(node.attribute):
            raise FormatError(f"operation {what} has two attributes of one name: damaged")
        own = node.domain in _OWN_DOMAINS
        if own and node.op_type == "Constant" and len(outputs) == len(attrs) == 1:
            ((name, value),) = attrs.items()
            if name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
                self._keep(outputs[0], _constant(name, value))
                return None
        if own and node.op_type == "Identity" and len(inputs) == len(outputs) == 1:
            source = self.arrays.get(inputs[0])
            if source is not None:
                self._keep(outputs[0], source)
                return None
        op = _text(node.op_type) if own else f"{_text(node.domain)}.{_text(node.op_type)}"
        return Operation(op, inputs, outputs, attrs, _text(node.name))

    def _attribute(self, attribute: Any, what: str) -> Any:
        field = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}.get(attribute.type)
        if attribute.ref_attr_name or field is None:
            raise FormatError(f"operation {what}: attribute {shown(attribute.name)} is a graph, sparse or a reference")
        value = getattr(attribute, field)
        match field:
            case "t":
                return self._array(value, f"{attribute.name} of {what}")
            case "s":
                return value.decode("utf-8", "replace")
            case "strings":
                return tuple(text.decode("utf-8", "replace") for text in value)
            case "floats" | "ints":
                return tuple(value)
        return value

    def _array(self, tensor: Any, name: str) -> Array:
        if tensor.data_type not in _DTYPES:
            raise FormatError(f"{shown(name)} is of type {tensor.data_type}: only numbers are read")
        dtype, field = _DTYPES[tensor.data_type]
        shape = tuple(tensor.dims)
        if len(shape) > _MOST_AXES or min(shape, default=1) < 0 or least_elements(shape) >= 2**62:
            raise FormatError(f"{shown(name)} has an impossible shape: the file is damaged")
        if tensor.HasField("segment"):
            raise FormatError(f"{shown(name)} is stored in segments: only whole weights are read")
        itemsize = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
        size = math.prod(shape) * itemsize
        if tensor.data_location == 1:  # EXTERNAL
            entries = [(_text(entry.key), _text(entry.value)) for entry in tensor.external_data]
            body = _external(self.files, entries, size, name)
        else:
            body = _inline(tensor, dtype, field)
        if len(body) != size:
            raise FormatError(f"{shown(name)} has {len(body)} bytes, its shape and type say {size}: damaged")
        return _numbers(body, dtype, shape)


def _inline(tensor: Any, dtype: str, field: str) -> bytes:
    """The bytes of a weight that lies in the model, from whichever field holds them."""
    filled = [name for name in _TYPED if len(getattr(tensor, name))]
    if tensor.HasField("raw_data"):
        if filled:
            raise FormatError(f"{shown(tensor.name)} is stored twice, raw and typed: damaged")
        return bytes(tensor.raw_data)
    if not filled:
        return b""
    if filled != [field]:
        raise FormatError(f"{shown(tensor.name)} keeps its numbers in {filled[0]}, not in {field}: damaged")
    numbers = getattr(tensor, field)
    if field in ("float_data", "double_data"):
        return np.fromiter(numbers, np.dtype(dtype), len(numbers)).tobytes()
    # float16 and bfloat16 are typed as the integers that their bits are.
    bits = {"<f2": "<u2", "bfloat16": "<u2", "|b1": "|u1"}.get(dtype, dtype)
    limits = np.iinfo(bits)
    kinds = {"int32_data": np.int32, "int64_data": np.int64, "uint64_data": np.uint64}
    wide = np.fromiter(numbers, kinds[field], len(numbers))
    if wide.size and not limits.min <= int(wide.min()) <= int(wide.max()) <= limits.max:
        raise FormatError(f"{shown(tensor.name)} holds integers that its type does not: damaged")
    return wide.astype(bits).tobytes()


def _numbers(body: bytes, dtype: str, shape: tuple[int, ...]) -> Array:
    if dtype == "bfloat16":
        return widened(np.frombuffer(body, "<u2")).reshape(shape)
    if dtype == "|b1":  # whose bytes may be any, but a NumPy bool must be 0 or 1
        return np.array(np.frombuffer(body, np.uint8).reshape(shape) != 0)
    return np.array(np.frombuffer(body, dtype).reshape(shape), np.dtype(dtype).newbyteorder("="))


def _constant(name: str, value: Any) -> Array:
    """What a Constant holds: an array, or the numbers of an attribute, whose types ONNX fixes."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, np.float32 if name.startswith("value_float") else np.int64)


def _text(value: str | bytes) -> str:
    """A text of the file; protobuf gives it as bytes where it is no UTF-8."""
    if isinstance(value, bytes):
        raise FormatError(f"the name {shown(value)} is no UTF-8: damaged")
    return value


def _open_shape(given: Any) -> tuple[int | None, ...]:
    """A shape; lengths that are named, left open or given as -1 are None."""
    return tuple(side.dim_value if side.dim_value > 0 else None for side in given.type.tensor_type.shape.dim)


def _external(files: Beside, given: Sequence[tuple[str, str]], size: int, name: str) -> bytes:
    """The `size` bytes of a weight beside the model; `given` is what its entry in the model says."""
    entries = dict(given)
    if len(entries) < len(given) or not entries.keys() <= {"location", "offset", "length", "checksum"}:
        raise FormatError(f"{shown(name)} lies elsewhere, by keys that ONNX does not have, or twice: damaged")
    location = entries.get("location", "")
    offset, length = (_whole(entries, key, name) for key in ("offset", "length"))
    if length is not None and length != size:
        raise FormatError(f"{shown(name)} has {length} bytes in {shown(location)}, its shape says {size}: damaged")
    return files.read(location, offset or 0, size, name)


def _whole(entries: Mapping[str, str], key: str, name: str) -> int | None:
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise FormatError(f"{shown(name)} has the {key} {shown(text)}: the file is damaged")
    return int(text)
