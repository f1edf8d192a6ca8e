"""TensorFlow Lite's operations of integers that move numbers and compute none: one function for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from refnet.errors import FormatError
from refnet.files.containers.structure import Operation
from refnet.files.importers.builder import Const, Map, Pair
from refnet.files.importers.integers import IntegerBuilder
from refnet.files.importers.tflite import LAYOUTS, of_channels_last

__all__ = ["MOVES", "image_pads"]


def image_pads(x: Map, pads: Const) -> tuple[dict[str, Any], tuple[int, ...]]:
    """What is put around a map, as options of the rule `pad`, and the shape that comes of it."""
    sides = {letter: (int(a), int(b)) for letter, (a, b) in zip(x.axes, pads.array, strict=True)}
    if sides.get("N", (0, 0)) != (0, 0) or min(map(min, sides.values())) < 0:
        raise FormatError(f"pads by {sides}: not along the batch, and by no less than nothing")
    rows, columns, channels = (sides.get(letter, (0, 0)) for letter in "HWC")
    options: dict[str, Any] = {"pad": (rows, columns)} | ({"channels": channels} if any(channels) else {})
    return options, (x.side("C") + sum(channels), x.side("H") + sum(rows), x.side("W") + sum(columns))


def _mirror_pad(builder: IntegerBuilder, op: Operation, x: Map, pads: Const) -> Map:
    options, shape = image_pads(x, pads)
    mode = {0: "reflect", 1: "symmetric"}[op.attrs["mode"]]
    most = [side - (mode == "reflect") for side in x.shape[1:]]
    if "channels" in options or any(max(ends) > n for ends, n in zip(options["pad"], most, strict=True)):
        raise FormatError(f"mirrors more than a map of {x.shape[1:]} has")
    return builder.put(op.outputs[0], "pad", x, shape=shape, **options, mode=mode)


def _space_to_batch(builder: IntegerBuilder, op: Operation, x: Map, block: Const, pads: Const) -> Map:
    height, width = _pair(block)
    (top, bottom), (left, right) = (map(int, ends) for ends in pads.array)
    C, H, W = of_channels_last(x).shape
    sides = (H + top + bottom, W + left + right)
    if min(height, width) < 1 or min(top, bottom, left, right) < 0 or sides[0] % height or sides[1] % width:
        raise FormatError(f"blocks of {height} x {width} points of a map of {sides}")
    cut = builder.blocks.get(x.node, 1) * height * width
    ways: dict[str, Any] = {"block": (height, width), "pad": ((top, bottom), (left, right)), "blocks": cut}
    return builder.put(op.outputs[0], "space_to_batch", x, shape=(C, sides[0] // height, sides[1] // width), **ways)


def _batch_to_space(builder: IntegerBuilder, op: Operation, x: Map, block: Const, crops: Const) -> Map:
    height, width = _pair(block)
    (top, bottom), (left, right) = (map(int, ends) for ends in crops.array)
    C, H, W = of_channels_last(x).shape
    cut, left_over = divmod(builder.blocks.get(x.node, 1), max(height * width, 1))
    if min(height, width) < 1 or min(top, bottom, left, right) < 0 or left_over or not cut:
        raise FormatError(f"puts blocks of {height} x {width} points together, which nothing has cut")
    shape = (C, H * height - top - bottom, W * width - left - right)
    ways: dict[str, Any] = {"block": (height, width), "crop": ((top, bottom), (left, right)), "blocks": cut}
    return builder.put(op.outputs[0], "batch_to_space", x, shape=shape, **ways)


def _pair(block: Const) -> Pair:
    height, width = (int(side) for side in block.array.ravel())
    return height, width


def _depth_to_space(builder: IntegerBuilder, op: Operation, x: Map) -> Map:
    block = int(op.attrs["block_size"])
    C, H, W = of_channels_last(x).shape
    if block < 1 or C % block**2:
        raise FormatError(f"blocks of {block} x {block} points of {C} channels")
    shape = (C // block**2, H * block, W * block)
    return builder.put(op.outputs[0], "depth_to_space", x, shape=shape, block=block)


def _tile(builder: IntegerBuilder, op: Operation, x: Map, times: Const) -> Map:
    each = dict(zip(x.axes, map(int, times.array.ravel()), strict=True))
    if each.get("N", 1) != 1 or min(each.values()) < 1:
        raise FormatError(f"repeats a tensor {each} times: not along the batch, and at least once")
    factors = tuple(each.get(letter, 1) for letter in "CHW")
    shape = tuple(x.side(letter) * n for letter, n in zip("CHW", factors, strict=True))
    return builder.put(op.outputs[0], "tile", x, shape=shape, times=factors)


def _resize_nearest(builder: IntegerBuilder, op: Operation, x: Map, size: Const) -> Map:
    height, width = _pair(size)
    ways = {"align_corners": op.attrs["align_corners"], "half_pixel": op.attrs["half_pixel_centers"]}
    shape = (of_channels_last(x).side("C"), height, width)
    return builder.put(op.outputs[0], "resize_nearest", x, shape=shape, size=(height, width), **ways)


def _arg_max(builder: IntegerBuilder, op: Operation, x: Map, axis: Const) -> Map:
    if x.axes[int(axis.array.item())] != "C" or len(x.shape) != 3:
        raise FormatError(f"over the axis {axis.array.item()} of {x.axes}: only over the channels")
    dtype = builder.structure.dtypes[op.outputs[0]]
    y = builder.put(op.outputs[0], "arg_max", x, shape=(1, *x.shape[1:]), dtype=dtype)
    return y._replace(axes=x.axes.replace("C", ""))


# ------------------------------------------------------------------------------------------------------------ parts


def _part(builder: IntegerBuilder, name: str, x: Map, ranges: Mapping[str, range]) -> Map:
    """Some of the channels, rows and columns of a map, by the vendor's axes."""
    if "N" in ranges and ranges["N"] != range(builder.batch):
        raise FormatError(f"takes {len(ranges['N'])} of {builder.batch} images")
    sides = [ranges.get(letter, range(x.side(letter))) for letter in "CHW"]
    if any(side.step < 1 or not len(side) for side in sides):
        raise FormatError(f"takes a part of {[len(side) for side in sides]} numbers, or backwards")
    ends = {"begin": [s.start for s in sides], "end": [s.stop for s in sides], "step": [s.step for s in sides]}
    held: dict[str, Any] = {key: tuple(value) for key, value in ends.items()}
    return builder.put(name, "strided_slice", x, shape=tuple(map(len, sides)), **held)


def _slice(builder: IntegerBuilder, op: Operation, x: Map, begin: Const, size: Const) -> Map:
    whole = builder.vendor_shape(x)
    firsts, counts = ([int(n) for n in const.array.ravel()] for const in (begin, size))
    ends = [n if count == -1 else first + count for n, first, count in zip(whole, firsts, counts, strict=True)]
    ranges = dict(zip(x.axes, map(range, firsts, ends), strict=True))
    return _part(builder, op.outputs[0], x, ranges)


def _strided_slice(
    builder: IntegerBuilder, op: Operation, x: Map | Const, begin: Const, end: Const, step: Const
) -> Any:
    if isinstance(x, Const):
        return LAYOUTS["STRIDED_SLICE"](builder, op, x, begin, end, step)
    if op.attrs["ellipsis_mask"] or op.attrs["new_axis_mask"] or op.attrs["shrink_axis_mask"]:
        raise FormatError("that adds or drops axes: only parts of a map are read")
    ranges = {}
    for place, (letter, side) in enumerate(zip(x.axes, builder.vendor_shape(x), strict=True)):
        first = None if op.attrs["begin_mask"] >> place & 1 else int(begin.array[place])
        last = None if op.attrs["end_mask"] >> place & 1 else int(end.array[place])
        ranges[letter] = range(*slice(first, last, int(step.array[place])).indices(side))
    return _part(builder, op.outputs[0], x, ranges)


def _parts(builder: IntegerBuilder, op: Operation, x: Map, axis: int, sizes: Sequence[int]) -> list[Map]:
    """A map cut along an axis, one node for each part."""
    letter = x.axes[axis]
    if letter == "N" or sum(sizes) != x.side(letter) or len(sizes) != len(op.outputs):
        raise FormatError(f"cuts {x.side(letter)} along {letter} into {list(sizes)}")
    ends = np.cumsum([0, *sizes]).tolist()
    ranges = [{letter: range(a, b)} for a, b in pairwise(ends)]
    return [_part(builder, name, x, each) for name, each in zip(op.outputs, ranges, strict=True)]


def _split(builder: IntegerBuilder, op: Operation, axis: Const, x: Map) -> list[Map]:
    place, count = int(axis.array.item()), len(op.outputs)
    return _parts(builder, op, x, place, [x.side(x.axes[place]) // count] * count)


def _split_v(builder: IntegerBuilder, op: Operation, x: Map, sizes: Const, axis: Const) -> list[Map]:
    place, known = int(axis.array.item()), [int(size) for size in sizes.array.ravel()]
    rest = x.side(x.axes[place]) - sum(size for size in known if size != -1)
    return _parts(builder, op, x, place, [rest if size == -1 else size for size in known])


MOVES: Mapping[str, Callable[..., Any]] = {
    "ARG_MAX": _arg_max,
    "BATCH_TO_SPACE_ND": _batch_to_space,
    "DEPTH_TO_SPACE": _depth_to_space,
    "MIRROR_PAD": _mirror_pad,
    "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
    "SLICE": _slice,
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "STRIDED_SLICE": _strided_slice,
    "TILE": _tile,
}
