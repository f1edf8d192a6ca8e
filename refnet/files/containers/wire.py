"""How much is described in a protobuf message: counted before a parser makes objects of it.

The wire format: a message is fields, each a varint tag (number * 8 + kind) and then a varint (0), 8 bytes (1), a length
and as many bytes (2) or 4 bytes (5). A field of two bytes may become an object of a hundred, so a file of some
megabytes could fill gigabytes when it is parsed. Only fields that hold other messages are entered, as `_MESSAGES` says.
"""

from __future__ import annotations

from collections.abc import Mapping

from refnet.errors import FormatError

__all__ = ["count_fields", "varint"]

_MOST = 2_000_000  # fields; a network has some ten thousand
_SMALL = 1 << 20  # bytes that may be anything

# Of each ONNX message, the fields that hold messages, by number.
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 8: "opset", 14: "entry", 20: "training", 25: "function"},
    "graph": {
        1: "node",
        5: "tensor",
        11: "value",
        12: "value",
        13: "value",
        14: "annotation",
        15: "sparse",
        16: "entry",
    },
    "function": {7: "node", 9: "opset", 11: "attribute", 12: "value", 14: "entry"},
    "training": {1: "graph", 2: "graph", 3: "entry", 4: "entry"},
    "node": {5: "attribute", 9: "entry"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        14: "type",
        15: "type",
        22: "sparse",
        23: "sparse",
    },
    "tensor": {3: "segment", 13: "entry", 16: "entry"},
    "sparse": {1: "tensor", 2: "tensor"},
    "value": {2: "type", 4: "entry"},
    "type": {1: "shaped", 8: "shaped", 4: "inner", 9: "inner", 5: "map"},
    "inner": {1: "type"},
    "map": {2: "type"},
    "shaped": {2: "shape"},
    "shape": {1: "entry"},
    "annotation": {2: "entry"},
}
# Packed numbers, of which one byte may become eight or more: they count by their bytes.
_PACKED = {"attribute": (7, 8), "tensor": (1, 7, 11)}
_SHORT = ("tensor", 5)  # int32_data, which whole networks of float16 may lie in: a byte may become nine
_MOST_SHORT = 32 << 20  # bytes of them


def count_fields(data: bytes) -> None:
    """Refuse an ONNX model that describes more than any network has.

    Raises
    ------
    FormatError : more than two million fields, or the bytes are no protobuf message
    """
    if len(data) <= _SMALL:
        return
    view = memoryview(data)
    stack = [("model", 0, len(view))]
    count = short = 0
    while stack:
        message, at, end = stack.pop()
        inner, packed = _MESSAGES.get(message, {}), _PACKED.get(message, ())
        while at < end:
            tag, at = _number(view, at, end)
            number, kind = tag >> 3, tag & 7
            count += 1
            if kind == 2:
                length, at = _number(view, at, end)
                if number in inner:
                    stack.append((inner[number], at, min(at + length, end)))
                elif number in packed:
                    count += length
                elif (message, number) == _SHORT:
                    short += length
                at += length
            elif kind == 0:
                _, at = _number(view, at, end)
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                raise FormatError("no ONNX model, or a damaged one: its bytes cannot be parsed")
            if count > _MOST:
                raise FormatError(f"describes more than {_MOST} things: no network does")
            if short > _MOST_SHORT:
                raise FormatError(f"has more than {_MOST_SHORT} bytes of typed integers: save its weights as raw bytes")
        if at > end:
            raise FormatError("no ONNX model, or a damaged one: its bytes end too early")


def _number(view: memoryview, at: int, end: int) -> tuple[int, int]:
    try:
        return varint(view, at, end)
    except FormatError as error:
        raise FormatError(f"no ONNX model, or a damaged one: {error}") from None


def varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first; and where the next field begins.

    Raises
    ------
    FormatError : it has no end before `end`, or more than ten bytes
    """
    value = shift = 0
    while at < end and shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise FormatError("its bytes end too early")
