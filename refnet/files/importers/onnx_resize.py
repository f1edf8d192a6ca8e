"""ONNX's Resize and Upsample in refnet's operations, where these look at the same pixels.

ONNX has six ways to say where an output pixel lies and four to say which pixel is the nearest. Each is worked out here
for the sizes at hand, and compared with what refnet's operations do: if none lies where ONNX's does, it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.structure import Operation
from refnet.files.importers.builder import Const, GraphBuilder, Map
from refnet.readings import fast
from refnet.readings.precision import FLOATS

__all__ = ["onnx_resize", "onnx_upsample"]

_LARGEST = 1 << 14  # points along a side
_ALIGNMENTS = ((False, True), (True, False), (False, False))  # corners, centres
_NEAREST: Mapping[str, Callable[[float], int]] = {
    "round_prefer_floor": lambda place: math.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: math.floor(place + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


def onnx_resize(
    builder: GraphBuilder,
    op: Operation,
    x: Map,
    roi: Const | None = None,
    scales: Const | None = None,
    sizes: Const | None = None,
) -> Map:
    """Resize, in all its versions: to sizes, or by factors, of all axes or of some."""
    if op.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch" or op.attrs.get("antialias", 0):
        raise FormatError("keeping the aspect, or smoothed: only stretched")
    old = builder.vendor_shape(x)
    places = list(op.attrs.get("axes", range(len(old))))
    factors = [1.0] * len(old)
    if sizes is not None and sizes.array.size:
        for place, size in zip(places, sizes.array.tolist(), strict=True):
            factors[place] = size / old[place]
        target = [round(side * factor) for side, factor in zip(old, factors, strict=True)]
    elif scales is not None and scales.array.size:
        for place, factor in zip(places, scales.array.tolist(), strict=True):
            factors[place] = factor
        target = [int(side * factor) for side, factor in zip(old, factors, strict=True)]
    else:
        raise FormatError("to no size")
    how = op.attrs.get("coordinate_transformation_mode", "half_pixel")
    rule = op.attrs.get("nearest_mode", "round_prefer_floor")
    return _resized(builder, op, x, target, factors, (op.attrs.get("mode", "nearest"), how, rule))


def onnx_upsample(builder: GraphBuilder, op: Operation, x: Map, scales: Const | None = None) -> Map:
    """The operation before Resize: pixels lie at their corners."""
    factors: Sequence[float] = op.attrs["scales"] if scales is None else scales.array.ravel().tolist()
    target = [int(side * factor) for side, factor in zip(builder.vendor_shape(x), factors, strict=True)]
    return _resized(builder, op, x, target, factors, (op.attrs.get("mode", "nearest"), "asymmetric", "floor"))


def _resized(
    builder: GraphBuilder,
    op: Operation,
    x: Map,
    target: Sequence[int],
    factors: Sequence[float],
    words: tuple[str, ...],
) -> Map:
    """To sizes of all axes, by factors of each; `words` are ONNX's mode, transformation and nearest mode."""
    mode, how, rule = words
    mode = "linear" if mode == "bilinear" else mode
    new, by = dict(zip(x.axes, target, strict=True)), dict(zip(x.axes, factors, strict=True))
    if mode not in ("linear", "nearest") or not {"H", "W"} <= new.keys() or rule not in _NEAREST:
        raise FormatError(f"by {mode}, {how} and {rule}: only linear and nearest, of a map")
    if any(by[letter] != 1 for letter in x.axes if letter not in "HW"):
        raise FormatError("of more than height and width")
    if not 1 <= min(new["H"], new["W"]) <= max(new["H"], new["W"]) <= _LARGEST:
        raise FormatError(f"to {new['H']} x {new['W']} points")
    for corners, centres in _ALIGNMENTS:
        sides = ((x.side(letter), new[letter], by[letter]) for letter in "HW")
        if all(_alike(*side, words, mode, corners, centres) for side in sides):
            size = (new["H"], new["W"])
            return builder.resize(op.outputs[0], x, size, mode=mode, corners=corners, centres=centres)
    raise FormatError(f"{mode} by {how}: its pixels lie elsewhere than those of refnet's operations")


def _alike(
    side: int, outputs: int, factor: float, words: tuple[str, ...], mode: str, corners: bool, centres: bool
) -> bool:
    """Whether ONNX and refnet look at the same points along a side."""
    places = [_place(p, side, outputs, factor, words[1]) for p in range(outputs)]
    if mode == "nearest":
        wanted = [min(max(_NEAREST[words[2]](place), 0), side - 1) for place in places]
        points = np.arange(side, dtype=np.float64).reshape(1, 1, side, 1)
        found = fast.resize_nearest(points, size=(outputs, 1), align_corners=corners, half_pixel=centres)
        return wanted == found.astype(int).ravel().tolist()
    ours = "align_corners" if corners else "half_pixel" if centres else "asymmetric"
    slack = 4 * FLOATS["float32"].u * side  # what a factor in float32 may be off by, at the far end
    clipped = ((min(max(place, 0), side - 1) for place in each) for each in (
        places, [_place(p, side, outputs, outputs / side, ours) for p in range(outputs)]
    ))  # fmt: skip
    return all(abs(one - other) <= slack for one, other in zip(*clipped, strict=True))


def _place(p: int, side: int, outputs: int, factor: float, how: str) -> float:
    """Where along a side output p lies."""
    match how:
        case "half_pixel":
            return (p + 0.5) / factor - 0.5
        case "pytorch_half_pixel":
            return (p + 0.5) / factor - 0.5 if outputs > 1 else 0.0
        case "half_pixel_symmetric":
            return side / 2 * (1 - outputs / (side * factor)) + (p + 0.5) / factor - 0.5
        case "align_corners":
            return p * (side - 1) / (outputs - 1) if outputs > 1 else 0.0
        case "asymmetric":
            return p / factor
        case "tf_half_pixel_for_nn":
            return (p + 0.5) / factor
    raise FormatError(f"by {how}: its pixels lie elsewhere than those of refnet's operations")
