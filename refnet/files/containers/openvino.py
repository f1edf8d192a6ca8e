"""OpenVINO's networks: an .xml file of layers and edges, and the .bin file beside it with the numbers.

The text is parsed by expat, and refused if it has a document type or entities, which can be bombs and lead to other
files. What is read of it: layers with their `data` and ports, and edges; the rest is passed over. Constants must lie in
the .bin file of the same name, within what it is worth. Layers with bodies of their own (loops, conditions) and formats
before version 10 are refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple
from xml.parsers import expat

import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import opened, shown
from refnet.files.containers.beside import Beside
from refnet.files.containers.structure import Contents, Operation, Structure
from refnet.files.containers.tensorflow_values import array_of, checked_size

__all__ = ["read"]

Array = npt.NDArray[Any]

_LARGEST = 64 << 20  # bytes of the text
_MOST = 400_000  # elements; a network has some five thousand
_DEEPEST = 40
_LONGEST = 1 << 16  # letters of a number
_VERSIONS = ("10", "11")
_DTYPES = {
    "f32": "<f4", "f64": "<f8", "f16": "<f2", "bf16": "bfloat16", "i64": "<i8", "i32": "<i4", "i16": "<i2", "i8": "|i1",
    "u64": "<u8", "u32": "<u4", "u16": "<u2", "u8": "|u1", "boolean": "|b1",
}  # fmt: skip


class _XmlLayer(NamedTuple):
    """A layer: its name and type, the attributes of its data, its ports and their places."""

    name: str
    kind: str
    data: Mapping[str, str]
    inputs: dict[str, int]
    outputs: dict[str, int]


def read(path: str | os.PathLike[str]) -> Contents:
    """Read the constants of a network, and its layers.

    Parameters
    ----------
    path : of the .xml file; the .bin file is looked for beside it

    Raises
    ------
    FormatError
        if it is no such network, is damaged, or holds what this module refuses. One line: the file, what is wrong.
    """
    where = Path(path)
    with opened(where) as file:
        data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST or data.count(b"<") > _MOST:
            raise FormatError(f"describes more than {_MOST} things: no network does")
        text = _Text()
        text.parse(data)
        return _contents(text, Beside(where.parent), f"{where.stem}.bin")


class _Text:
    """What the elements of the text say, gathered as they come."""

    def __init__(self) -> None:
        self.version = ""
        self.layers: dict[str, _XmlLayer] = {}
        self.edges: dict[tuple[str, str], tuple[str, str]] = {}
        self._stack: list[str] = []
        self._layer: _XmlLayer | None = None

    def parse(self, data: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise FormatError(f"no XML, or damaged ({' '.join(str(error).split())[:100]})") from None

    def _start(self, tag: str, attrs: dict[str, str]) -> None:
        self._stack.append(tag)
        if len(self._stack) > _DEEPEST:
            raise FormatError(f"has elements more than {_DEEPEST} deep: refused")
        match self._stack:
            case ["net"]:
                self.version = attrs.get("version", "")
            case ["net", "layers", "layer"]:
                self._begin(attrs)
            case ["net", "layers", "layer", "data"] if self._layer is not None:
                self._layer = self._layer._replace(data=attrs)
            case ["net", "layers", "layer", "body"]:
                raise FormatError("has a layer with a network of its own: loops and conditions are not read")
            case ["net", "layers", "layer", ("input" | "output") as side, "port"] if self._layer is not None:
                ports = self._layer.inputs if side == "input" else self._layer.outputs
                port = attrs.get("id", "")
                if port in ports:
                    raise FormatError(f"layer {shown(self._layer.name)} has port {shown(port)} twice: damaged")
                ports[port] = len(ports)
            case ["net", "edges", "edge"]:
                target = attrs.get("to-layer", ""), attrs.get("to-port", "")
                if target in self.edges:
                    raise FormatError(f"two edges lead to port {shown(target[1])} of one layer: damaged")
                self.edges[target] = attrs.get("from-layer", ""), attrs.get("from-port", "")
            case [first] if first != "net":
                raise FormatError(f"XML of {shown(first)}: only networks of OpenVINO are read")

    def _begin(self, attrs: dict[str, str]) -> None:
        number, name = attrs.get("id", ""), attrs.get("name", "")
        if not name or number in self.layers:
            raise FormatError(f"layer {shown(number)} is there twice, or has no name: damaged")
        self._layer = _XmlLayer(name, attrs.get("type", ""), {}, {}, {})
        self.layers[number] = self._layer

    def _end(self, tag: str) -> None:
        if self._stack == ["net", "layers", "layer"] and self._layer is not None:
            self.layers[next(reversed(self.layers))] = self._layer
            self._layer = None
        self._stack.pop()


def _refuse(*declared: Any) -> None:
    raise FormatError("has a document type or entities: refused, networks of OpenVINO have none")


def _contents(text: _Text, files: Beside, numbers: str) -> Contents:
    if text.version not in _VERSIONS:
        raise FormatError(f"a network of format {shown(text.version)}: only {' and '.join(_VERSIONS)} are read")
    if len({layer.name for layer in text.layers.values()}) < len(text.layers):
        raise FormatError("two of its layers have one name: refused, one would hide the other")
    arrays: dict[str, Array] = {}
    inputs: dict[str, tuple[int | None, ...]] = {}
    outputs: list[str] = []
    operations: list[Operation] = []
    for number in _order(text):
        layer = text.layers[number]
        read_by = tuple(_tensor(text, number, port) for port in layer.inputs)
        if layer.kind == "Const":
            arrays[layer.name] = _constant(layer, files, numbers)
        elif layer.kind == "Parameter":
            inputs[layer.name] = tuple(side if side >= 0 else None for side in _numbers(layer, "shape"))
        elif layer.kind == "Result":
            outputs += read_by
        else:
            made = [layer.name, *(f"{layer.name}:{place}" for place in range(1, len(layer.outputs)))]
            operations.append(Operation(layer.kind, read_by, tuple(made), dict(layer.data), layer.name))
    structure = Structure(f"OpenVINO IR {text.version}", tuple(operations), inputs, tuple(outputs))
    return Contents("openvino", arrays, structure)


def _order(text: _Text) -> list[str]:
    """The layers, each after those that it reads."""
    before: dict[str, set[str]] = {number: set() for number in text.layers}
    for (target, _), (origin, _) in text.edges.items():
        if target not in before or origin not in before:
            raise FormatError("an edge of it leads to a layer that is not there: damaged")
        before[target].add(origin)
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError:
        raise FormatError("has a layer that reads its own output: refused") from None


def _tensor(text: _Text, number: str, port: str) -> str:
    """The tensor that a port of a layer reads."""
    if (number, port) not in text.edges:
        raise FormatError(f"layer {shown(text.layers[number].name)} has a port that no edge leads to: damaged")
    origin, out = text.edges[number, port]
    layer = text.layers[origin]
    if out not in layer.outputs:
        raise FormatError(f"layer {shown(layer.name)} has no port {shown(out)}: damaged")
    place = layer.outputs[out]
    return f"{layer.name}:{place}" if place else layer.name


def _constant(layer: _XmlLayer, files: Beside, numbers: str) -> Array:
    dtype = _DTYPES.get(layer.data.get("element_type", ""))
    if dtype is None:
        raise FormatError(f"{shown(layer.name)} is of type {shown(layer.data.get('element_type'))}: not read")
    shape = _numbers(layer, "shape")
    size = checked_size(shape, dtype, layer.name)
    offset, length = _number(layer, "offset"), _number(layer, "size")
    if length != size:
        raise FormatError(f"{shown(layer.name)} has {length} bytes, its shape and type say {size}: damaged")
    return array_of(files.read(numbers, offset, size, layer.name), dtype, shape, layer.name)


def _numbers(layer: _XmlLayer, key: str) -> tuple[int, ...]:
    """Whole numbers with commas between them; '?' and ranges are -1."""
    text = layer.data.get(key, "")
    if len(text) > _LONGEST:
        raise FormatError(f"the {key} of {shown(layer.name)} is not one: damaged")
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word == "?" or ".." in word:
            found.append(-1)
        elif len(word) < 20 and word.isascii() and word.removeprefix("-").isdigit():
            found.append(int(word))
        else:
            raise FormatError(f"the {key} of {shown(layer.name)} is {shown(word)}: damaged")
    return tuple(found)


def _number(layer: _XmlLayer, key: str) -> int:
    found = _numbers(layer, key)
    if len(found) != 1:
        raise FormatError(f"{shown(layer.name)} does not say its {key}: damaged")
    return found[0]
