"""ncnn's networks: a .param file, one line of text a layer, and the .bin file beside it with the numbers.

A line is: type, name, how many tensors the layer reads and makes, these, and its parameters as number=value. The .bin
file has no names: the numbers of each layer follow those of the one before, so that every type of layer must be known
here to find them, and the file must end where they do. Weights may be float32, float16, or bytes with a table of 256
values, which become float32; int8, weights that other layers make, and the binary form of .param are refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import opened, shown
from refnet.files.containers.beside import Beside
from refnet.files.containers.structure import Contents, Operation, Structure
from refnet.files.containers.tensorflow_values import checked_size

__all__ = ["MAGIC", "read"]

Array = npt.NDArray[Any]
Number = int | float
Params = Mapping[int, Number | tuple[Number, ...]]

MAGIC = b"7767517\n"
_LARGEST = 8 << 20  # bytes of the text
_MOST_LAYERS = 20_000
_MOST_WORDS = 2_000  # of a line
_MOST_NUMBERS = 2 << 30  # bytes of the .bin file
_ARRAYS = -23300  # a parameter of several numbers has the number -23300 less its own
_HALF, _BYTES, _PLAIN = 0x01306B47, 0x000D4B38, 0x0002C056  # before weights: what they are
# Types of layers that have no numbers in the .bin file.
_BARE = (
    "BinaryOp", "Clip", "Concat", "Crop", "Dropout", "ELU", "Eltwise", "ExpandDims", "Flatten", "GELU", "HardSigmoid",
    "HardSwish", "Input", "Interp", "Mish", "Noop", "Padding", "Permute", "Pooling", "ReLU", "Reduction", "Reshape",
    "Sigmoid", "Slice", "Softmax", "Split", "Squeeze", "Swish", "TanH", "UnaryOp",
)  # fmt: skip


def read(path: str | os.PathLike[str]) -> Contents:
    """Read the numbers of a network, and its layers.

    Parameters
    ----------
    path : of the .param file; the .bin file is looked for beside it

    Returns
    -------
    contents : arrays by '<layer>.<weight>'; the size of the input is open where the file does not tell it

    Raises
    ------
    FormatError
        if it is no such network, is damaged, or holds what this module refuses. One line: the file, what is wrong.
    """
    where = Path(path)
    with opened(where) as file:
        data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST or not data.startswith(MAGIC):
            raise FormatError("no network of ncnn's in words: it does not begin with 7767517, or is too long")
        layers = _layers(data)
        body = Beside(where.parent).whole(f"{where.stem}.bin", "the weights", _MOST_NUMBERS)
        return _contents(layers, _Numbers(body))


def _layers(data: bytes) -> list[Operation]:
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise FormatError("its text is no UTF-8: damaged") from None
    counts = lines[1].split() if len(lines) > 1 else []
    rows = [line for line in lines[2:] if line.strip()]
    if len(counts) != 2 or not counts[0].isdecimal() or counts[0] != str(len(rows)) or len(rows) > _MOST_LAYERS:
        raise FormatError(f"has {len(rows)} layers, and does not say so: damaged")
    made: set[str] = set()
    layers = []
    for row in rows:
        layer = _layer(row)
        if missing := [name for name in layer.inputs if name not in made]:
            raise FormatError(f"layer {shown(layer.name)} reads {shown(missing[0])}, which nothing before it makes")
        for name in layer.outputs:
            if name in made:
                raise FormatError(f"two layers make {shown(name)}: damaged")
            made.add(name)
        layers.append(layer)
    if len({layer.name for layer in layers}) < len(layers):
        raise FormatError("two of its layers have one name: refused, one would hide the other")
    return layers


def _layer(row: str) -> Operation:
    words = row.split()
    if not 4 <= len(words) <= _MOST_WORDS or not (_is_count(words[2]) and _is_count(words[3])):
        raise FormatError(f"the line {shown(row)} is no layer: damaged")
    kind, name, reads, makes = words[0], words[1], int(words[2]), int(words[3])
    if len(words) < 4 + reads + makes:
        raise FormatError(f"the line {shown(row)} ends early: damaged")
    inputs, outputs = tuple(words[4 : 4 + reads]), tuple(words[4 + reads : 4 + reads + makes])
    params: dict[int, Number | tuple[Number, ...]] = {}
    for word in words[4 + reads + makes :]:
        number, value = _parameter(word, row)
        if number in params:
            raise FormatError(f"layer {shown(name)} has parameter {number} twice: damaged")
        params[number] = value
    return Operation(kind, inputs, outputs, {str(number): value for number, value in params.items()}, name)


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 5


def _parameter(word: str, row: str) -> tuple[int, Number | tuple[Number, ...]]:
    key, _, text = word.partition("=")
    if len(key) > 8 or not key.removeprefix("-").isdecimal() or not key.isascii():
        raise FormatError(f"the line {shown(row)} has the parameter {shown(word)}: damaged")
    number = int(key)
    if number > _ARRAYS:
        return number, _value(text, row)
    values = [_value(part, row) for part in text.split(",")]
    if not values or values[0] != len(values) - 1:
        raise FormatError(f"the line {shown(row)} has a list that is not as long as it says: damaged")
    return _ARRAYS - number, tuple(values[1:])


def _value(text: str, row: str) -> Number:
    whole = text.removeprefix("-")
    if whole.isascii() and whole.isdecimal() and len(whole) < 11:
        return int(text)
    try:
        number = float(text) if len(text) < 40 else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise FormatError(f"the line {shown(row)} has the value {shown(text)}: damaged")
    return number


def _contents(layers: list[Operation], numbers: _Numbers) -> Contents:
    arrays: dict[str, Array] = {}
    for layer in layers:
        for slot, shape, flagged in _weights(layer):
            name = f"{layer.name}.{slot}"
            arrays[name] = numbers.flagged(shape, name) if flagged else numbers.plain(shape, name)
    numbers.finish()
    read_by = {name: layer for layer in reversed(layers) for name in layer.inputs}  # the first that reads it
    inputs = {layer.outputs[0]: _shape(layer, read_by) for layer in layers if layer.op == "Input" and layer.outputs}
    outputs = tuple(name for layer in layers for name in layer.outputs if name not in read_by)
    operations = tuple(layer for layer in layers if layer.op != "Input")
    return Contents("ncnn", arrays, Structure("ncnn", operations, inputs, outputs))


def _shape(layer: Operation, read_by: Mapping[str, Operation]) -> tuple[int | None, ...]:
    """Of an input: as far as it is told, and its channels by the convolution that reads it."""
    width, height, channels = (layer.attrs.get(key, 0) for key in ("0", "1", "2"))
    first = read_by.get(layer.outputs[0])
    if first is not None and first.op == "Convolution":
        channels = _weights(first)[0][1][1]
    return (None, *(side if isinstance(side, int) and side > 0 else None for side in (channels, height, width)))


def _weights(layer: Operation) -> list[tuple[str, tuple[int, ...], bool]]:
    """Name, shape and kind of every array of a layer, in their order; the kind is whether words before say it."""

    def whole(key: int, default: int = 0) -> int:
        value = layer.attrs.get(str(key), default)
        if not isinstance(value, int) or not 0 <= value < 2**31:
            raise FormatError(f"layer {shown(layer.name)} has {shown(value)} for parameter {key}: damaged")
        return value

    match layer.op:
        case "Convolution" | "ConvolutionDepthWise" | "InnerProduct":
            of_maps = layer.op != "InnerProduct"
            if whole(8) or whole(19):
                raise FormatError(
                    f"layer {shown(layer.name)} has weights of int8, or such as other layers make: not read"
                )
            filters, width = whole(0), whole(1) if of_maps else 1
            height = whole(11, width) if of_maps else 1
            size, bias = (whole(6), whole(5)) if of_maps else (whole(2), whole(1))
            points = filters * width * height
            if not points or size % points or not size:
                raise FormatError(f"layer {shown(layer.name)} has {size} weights for {filters} filters: damaged")
            shape = (filters, size // points, height, width) if of_maps else (filters, size // filters)
            return [("weight", shape, True), *([("bias", (filters,), False)] if bias else [])]
        case "BatchNorm":
            return [(slot, (whole(0),), False) for slot in ("slope", "mean", "var", "bias")]
        case "Scale":
            return [(slot, (whole(0),), False) for slot in ("scale", "bias")[: 1 + bool(whole(1))]]
        case "PReLU":
            return [("slope", (whole(0),), False)]
        case "MemoryData":
            sides = [side for side in (whole(2), whole(1), whole(0)) if side]
            return [("data", tuple(sides), False)]
        case kind if kind in _BARE:
            return []
    raise FormatError(f"layer {shown(layer.name)} is of type {shown(layer.op)}, whose weights are not known: not read")


class _Numbers:
    """The .bin file, read from its beginning to its end."""

    def __init__(self, body: bytes) -> None:
        self.body, self.at = memoryview(body), 0

    def _take(self, size: int, name: str) -> memoryview:
        if self.at + size > len(self.body):
            raise FormatError(
                f"the weights end before {shown(name)} does: the .bin file is another network's, or damaged"
            )
        self.at += size
        return self.body[self.at - size : self.at]

    def plain(self, shape: tuple[int, ...], name: str) -> Array:
        """float32."""
        body = self._take(checked_size(shape, "<f4", name), name)
        return np.array(np.frombuffer(body, "<f4").reshape(shape), np.float32)

    def flagged(self, shape: tuple[int, ...], name: str) -> Array:
        """What four bytes before say: float32, float16, or bytes with a table."""
        flag = int.from_bytes(self._take(4, name), "little")
        if flag in (0, _PLAIN):
            return self.plain(shape, name)
        count = checked_size(shape, "|u1", name)
        if flag == _HALF:
            return np.array(np.frombuffer(self._padded(2 * count, name), "<f2").reshape(shape), np.float16)
        if flag == _BYTES:
            raise FormatError(f"{shown(name)} holds int8: only floating-point weights are read")
        table = np.frombuffer(self._take(1024, name), "<f4")
        places = np.frombuffer(self._padded(count, name), np.uint8)
        return np.array(table[places].reshape(shape), np.float32)

    def _padded(self, size: int, name: str) -> memoryview:
        """Bytes, filled up to a multiple of four."""
        return self._take(-(-size // 4) * 4, name)[:size]

    def finish(self) -> None:
        """Refuse numbers that no layer has."""
        if self.at != len(self.body):
            raise FormatError(
                f"its layers have {self.at} bytes of weights, the .bin file {len(self.body)}: not of one net"
            )
