"""A graph while it is being translated: vendors' tensors on one side, refnet's nodes on the other.

A vendor's tensor is a constant (`Const`) or something that a node makes (`Map`). A map remembers the order of the
vendor's axes, so that transposing is renaming and NHWC ends here; a vector that a vendor reached by pooling and
flattening is still a map of one point, and becomes flat only where it must: before a softmax, and at the end.

What all vendors have in common is here, in refnet's words. What refnet's operations cannot say is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.joins import joined
from refnet.files.importers.tensor_names import clean_name, first_name, free_name
from refnet.files.importers.vendor_axes import (
    Const,
    Map,
    Value,
    axes_of_shape,
    channels_first,
    channels_second,
    decimal,
    sizes_of,
)
from refnet.graph import SOURCE, Graph, Node, Recipe, check, is_global
from refnet.networks.plan import padding
from refnet.readings.precision import FLOATS
from refnet.readings.shapes import shape_after

__all__ = ["VECTORS", "Const", "GraphBuilder", "Map", "Value", "decimal"]

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pad = tuple[Pair, Pair]

_NONE: Pad = ((0, 0), (0, 0))
VECTORS = ("NC", "NF", "NL")
_LARGEST = 1 << 28  # numbers in a map; images of 1000 x 1000 make maps of 16 million
_FLOATS = (np.float16, np.float32, np.float64)


class GraphBuilder:
    """Nodes and their arrays, appended in the order of the file.

    Parameters
    ----------
    source : the vendor's name of the input
    shape : (C, H, W) of the input
    axes : of the input, 'NCHW' or 'NHWC'
    batch : how many images the vendor's shapes speak of
    budget : bytes that may be made of the file's arrays: many operations may read one, and each makes its own
    """

    def __init__(self, source: str, shape: tuple[int, int, int], axes: str, *, batch: int, budget: int) -> None:
        self.shape, self.batch, self.budget = shape, batch, budget
        self.nodes: list[Node] = []
        self.params: dict[str, Array] = {}
        self.keys: dict[str, str] = {}
        self.stored: dict[str, str] = {}
        self.taken = {SOURCE}
        self.input = Map(SOURCE, shape, axes)
        self.source = source

    # ------------------------------------------------------------------------------------------------------- nodes

    def add(self, name: str, op: str, *inputs: Map, params: Mapping[str, Const] | None = None, **attrs: Any) -> Map:
        """Append a node named after the vendor's tensor that it makes."""
        held = dict(params or {})
        arrays = {slot: _float(const.array) for slot, const in held.items()}
        shapes = {slot: array.shape for slot, array in arrays.items()}
        node = Node(self._fit(name), op, tuple(x.node for x in inputs), shapes, attrs)
        return self._append(node, shape_after(node, *(x.shape for x in inputs)), inputs[0].axes, held, arrays)

    def product(self, name: str, x: Map, y: Map) -> Map:
        """Two maps of one shape multiplied: a part of an activation written out, of which `canonicalise` makes one."""
        return self._append(Node(self._fit(name), "scale", (x.node, y.node)), x.shape, x.axes, {}, {})

    def _append(
        self, node: Node, shape: tuple[int, ...], axes: str, held: Mapping[str, Const], arrays: Mapping[str, Array]
    ) -> Map:
        if not 1 <= min(shape) <= math.prod(shape) <= _LARGEST:
            raise FormatError(f"makes a map of the shape {shape}")
        for array in arrays.values():
            self.spend(array)
        self.nodes.append(node)
        for slot, const in held.items():
            self.params[f"{node.name}.{slot}"] = arrays[slot]
            if const.key:
                self.keys[f"{node.name}.{slot}"] = const.key
                self.stored[f"{node.name}.{slot}"] = const.stored
        return Map(node.name, shape, axes)

    def spend(self, array: Array) -> None:
        """Count an array that was made of the file's."""
        self.budget -= array.nbytes
        if self.budget < 0:
            raise FormatError("reads the same arrays again and again: it would need more memory than the file is worth")

    def inner(self, name: str) -> str:
        """A name for what an operation makes before the activation that is fused with it."""
        return f"{first_name(name)}.linear"

    def _fit(self, name: str) -> str:
        """A name that no other node has, fit to be a file's: of several in one, the first."""
        return free_name(name, self.taken)

    def finish(self, outputs: dict[str, Map]) -> ImportedGraph:
        """The graph that returns some tensors, by the vendor's names; what does not lead to them is left out."""
        return ImportedGraph.of(check(self.ended(outputs)), self.params, self.keys, self.stored)

    def ended(self, outputs: dict[str, Map]) -> Graph:
        """The nodes that lead to some tensors, by the vendor's names, as a graph that returns these."""
        named = {x: name for name, x in reversed(outputs.items())}  # of several names of one tensor the first
        ends = [
            self.flat(x, named[x]) if x.axes in VECTORS and len(x.shape) == 3 else x
            for x in dict.fromkeys(outputs.values())
        ]
        if any(end.node == SOURCE for end in ends):
            raise FormatError("returns its input: no network")
        recipe = Recipe("", 1.0, (self.shape[1], self.shape[2]), ends[0].shape[0], self.shape[0])
        return Graph(recipe, tuple(self.nodes)).leading_to(*dict.fromkeys(end.node for end in ends))

    # -------------------------------------------------------------------------------------------------- convolutions

    def convolution(
        self, name: str, x: Map, w: Const, b: Const | None, *, stride: Pair, pad: Pad, dilation: Pair, group: int
    ) -> Map:
        """A convolution with weights (K, C / group, R, S); one filter for each channel is a depthwise one."""
        w = Const(_rank(w.array, 4, "weights"), w.key, w.stored)
        K, C, R, S = w.array.shape
        channels = x.side("C")
        _positive(*stride, *dilation, R, S)
        b = None if b is None or b.is_synthetic else self._vector(b, K)
        biases = {} if b is None else {"b": b}
        if group == 1 and channels == C:
            if (R, S) == stride == (1, 1) and pad == _NONE:
                return self.add(name, "pointwise_conv2d", x, params={"w": w.reshaped((K, C)), **biases})
            op = "conv2d"
        elif group == channels == K and C == 1:
            op, w = "depthwise_conv2d", w.reshaped((K, R, S))
        elif group > 1 and channels == group * C and K % group == 0:
            grouped: dict[str, Any] = {"stride": stride, "pad": pad, "dilation": dilation, "groups": group}
            return self.add(name, "grouped_conv2d", x, params={"w": w, **biases}, **grouped)
        else:
            raise FormatError(f"{group} groups of {channels} channels to {K}, with filters of {C}")
        return self.add(name, op, x, params={"w": w, **biases}, stride=stride, pad=pad, dilation=dilation)

    def linear(self, name: str, x: Map, w: Const, b: Const | None) -> Map:
        """A linear layer with weights (K, C), over the last of the vendor's axes.

        Over channels it is a pointwise convolution. Over a whole map, flattened in either order, it is a convolution
        whose kernel is the map.
        """
        K, C = _rank(w.array, 2, "weights").shape
        biases = {} if b is None or b.is_synthetic else {"b": self._vector(b, K)}
        if sizes_of(x, x.axes[-1:], self.batch) != (C,) or len(x.shape) != 3 or x.axes[-1] not in "CFL":
            raise FormatError(f"a linear layer of {C} inputs on a map of {x.shape}, whose axes are {x.axes}")
        if x.axes[-1] == "C":
            return self.add(name, "pointwise_conv2d", x, params={"w": w, **biases})
        rows, sides = w.array.reshape(K, -1), x.shape
        filters = rows.reshape(K, *sides) if x.axes == "NF" else channels_second(rows, sides)
        params = {"w": w._replace(array=filters), **biases}
        whole: dict[str, Any] = {"stride": (1, 1), "pad": _NONE, "dilation": (1, 1)}
        return self.add(name, "conv2d", x, params=params, **whole)._replace(axes="NC")

    def norm(self, name: str, x: Map, params: Mapping[str, Const], eps: float) -> Map:
        """A batch norm: gamma, beta, mean, var."""
        if not 0 <= eps < math.inf:
            raise FormatError(f"an eps of {eps}")
        C = x.side("C")
        return self.add(name, "batch_norm", x, params={k: self._vector(v, C) for k, v in params.items()}, eps=eps)

    # ----------------------------------------------------------------------------------------- arithmetic, activations

    def arithmetic(self, name: str, op: str, x: Value, y: Value) -> Map:
        """x op y of two tensors, at least one of them a map: 'add', 'sub', 'mul', 'div'."""
        if isinstance(x, Map) and isinstance(y, Map):
            return joined(self, name, op, x, y)
        if isinstance(y, Map):
            if op == "div":
                raise FormatError("a constant that is divided by a tensor")
            if op == "sub":  # c - y = -y + c
                op, y = "add", self.affine(self.inner(name), y, -1.0, 0.0)
            x, y = y, x
        if not isinstance(x, Map) or isinstance(y, Map):
            raise FormatError("of constants only")
        if y.array.size == 1 and (x.side("C") > 1 or not y.array.ndim):
            return self._by_number(name, op, x, y.array)
        match op:
            case "sub":
                return self._by_channel(name, "beta", x, y._replace(array=-y.array))
            case "div":
                return self._by_channel(name, "gamma", x, Const(1 / y.array))
            case "mul" if y.array.size > x.side("C") and (x.node, "relu") in ((n.name, n.op) for n in self.nodes):
                return self._by_point(name, x, y)
        return self._by_channel(name, {"add": "beta", "mul": "gamma"}[op], x, y)

    def _by_number(self, name: str, op: str, x: Map, y: Array) -> Map:
        number = float(y.item()) if y.dtype == np.float64 else decimal(y.item())
        match op:
            case "add":
                return self.affine(name, x, 1.0, number)
            case "sub":
                return self.affine(name, x, 1.0, -number)
            case "div" if number:
                return self.affine(name, x, 1 / number, 0.0)
            case "mul":
                return self.affine(name, x, number, 0.0)
        raise FormatError("divides by zero")

    def affine(self, name: str, x: Map, slope: float, offset: float) -> Map:
        """slope x + offset; nothing where that is x."""
        if not (math.isfinite(slope) and math.isfinite(offset)):
            raise FormatError("a factor or an addend that is not finite")
        return x if (slope, offset) == (1.0, 0.0) else self.add(name, "affine", x, slope=slope, offset=offset)

    def _by_channel(self, name: str, slot: str, x: Map, y: Const) -> Map:
        """A factor or addend for each channel, as a part of a batch norm; `canonicalise` joins them."""
        ones, zeros = (Const(np.full(x.side("C"), value, np.float32)) for value in (1, 0))
        sides = dict(zip(reversed(x.axes), reversed(y.array.shape), strict=False))
        if y.array.ndim > len(x.axes) or any(size != 1 for letter, size in sides.items() if letter != "C"):
            raise FormatError(f"a constant of shape {y.array.shape} for the axes {x.axes}: only one number a channel")
        parts = {"gamma": ones, "beta": zeros, "mean": zeros, "var": ones, slot: y}
        return self.norm(name, x, parts, 0.0)

    def _by_point(self, name: str, x: Map, y: Const) -> Map:
        """A factor for each point of what is never negative: -x has it as its slope, where x is a part of a PReLU."""
        negative = self.affine(f"{self.inner(name)}.negative", x, -1.0, 0.0)
        return self.affine(name, self.prelu(self.inner(name), negative, y), -1.0, 0.0)

    def clip(self, name: str, x: Map, low: float, high: float) -> Map:
        """Between two numbers, of which either may be infinite."""
        most = FLOATS["float32"].largest
        if low <= -most and high >= most:
            return x
        if low == 0 and high >= most:
            return self.add(name, "relu", x)
        if (low, high) == (0, 6):
            return self.add(name, "relu6", x)
        if (low, high) == (0, 1):
            return self.add(name, "hard_sigmoid", x, slope=1.0, offset=0.0)
        if not low <= high:
            raise FormatError(f"clips to between {low:g} and {high:g}")
        return self.add(name, "clip", x, low=max(low, -most), high=min(high, most))

    def leaky_relu(self, name: str, x: Map, slope: float) -> Map:
        """x, or slope x where x is negative."""
        if not math.isfinite(slope):
            raise FormatError("a slope that is not finite")
        return self.add(name, "leaky_relu", x, slope=slope) if slope else self.add(name, "relu", x)

    def thresholded(self, name: str, x: Map, threshold: float) -> Map:
        """x, or 0 where it is not above a threshold."""
        if not math.isfinite(threshold):
            raise FormatError("a threshold that is not finite")
        return self.add(name, "thresholded_relu", x, threshold=threshold) if threshold else self.add(name, "relu", x)

    def prelu(self, name: str, x: Map, alpha: Const) -> Map:
        """x, or alpha x where x is negative: a slope for all, for each channel, or for each point."""
        if alpha.array.size == 1 and x.side("C") > 1:
            return self.leaky_relu(name, x, float(alpha.array.item()))
        slopes = channels_first(x, alpha.array)
        if slopes.size and (slopes == slopes[:, :1, :1]).all():  # the same at every point
            slopes = np.broadcast_to(slopes[:, :1, :1], (x.side("C"), 1, 1))
        if slopes.size == x.side("C") == len(slopes):
            slopes = slopes.ravel()
        else:
            self.spend(np.broadcast_to(slopes, x.shape))
            slopes = np.broadcast_to(slopes, x.shape)
        return self.add(name, "prelu", x, params={"alpha": alpha._replace(array=slopes)})

    def concat(self, name: str, xs: Sequence[Value], place: int) -> Map:
        """Maps joined at one of the vendor's axes, which must be the channels."""
        maps = [x for x in xs if isinstance(x, Map)]
        if len(maps) < len(xs) or not maps:
            raise FormatError("joins constants")
        if len({x.axes for x in maps}) > 1 or maps[0].axes[place] != "C":
            raise FormatError(f"joins at axis {place} of {', '.join(x.axes for x in maps)}: only channels are joined")
        if len({len(x.shape) for x in maps}) > 1:  # some are flat already
            maps = [self.flat(x) if len(x.shape) == 3 else x for x in maps]
        return maps[0] if len(maps) == 1 else self.add(name, "concat", *maps)

    def softmax(self, name: str, x: Map) -> Map:
        """Over the channels; of a vector it is flat."""
        if x.axes in VECTORS and len(x.shape) == 3:
            x = self.flat(x)
        return self.add(name, "softmax", x)

    # ------------------------------------------------------------------------------------------------- pools, shapes

    def pool(self, name: str, op: str, x: Map, *, kernel: Pair, stride: Pair, pad: Pad, counted: bool = False) -> Map:
        """'avg_pool2d' or 'max_pool2d'; padding counts for neither, unless zeros are said to be counted."""
        _positive(*kernel, *stride)
        if any(sum(ends) and max(ends) >= side for ends, side in zip(pad, kernel, strict=True)):
            raise FormatError(f"a window of {kernel} with the padding {pad}: some would lie outside")
        if counted and pad != _NONE:
            x, pad = self.pad(f"{name}.border", x, dict(zip("HW", pad, strict=True)), "constant", 0.0), _NONE
        attrs: dict[str, Any] = {"kernel": kernel, "stride": stride, "pad": pad}
        if is_global(Node(name, op, (x.node,), attrs=attrs), x.shape):
            attrs["stride"] = (1, 1)
        return self.add(name, op, x, **attrs)

    def mean(self, name: str, x: Map, letters: str, *, keep: bool, op: str = "avg_pool2d") -> Map:
        """The mean over height, width or both; or the largest, `op` being 'max_pool2d'."""
        axes = x.axes
        if letters == "S":
            letters, x = "HW", x._replace(axes=axes.replace("S", "HW"))
        if not letters or not set(letters) <= {"H", "W"} or len(x.shape) != 3:
            raise FormatError(f"the mean over {', '.join(letters)}: only that over H and W")
        kernel = (x.shape[1] if "H" in letters else 1, x.shape[2] if "W" in letters else 1)
        made = self.pool(name, op, x, kernel=kernel, stride=(1, 1), pad=_NONE)
        return made._replace(axes=axes if keep else "".join(each for each in x.axes if each not in letters))

    def pad(self, name: str, x: Map, pads: Mapping[str, Pair], mode: str, value: float) -> Map:
        """Points around the map, by axis."""
        if any(pads.get(letter, (0, 0)) != (0, 0) for letter in "NC") or min(map(min, pads.values())) < 0:
            raise FormatError(f"pads by {dict(pads)}: only the height and width, and by no less than nothing")
        pad = (pads.get("H", (0, 0)), pads.get("W", (0, 0)))
        if max(map(max, pad)) > 4 * max(x.shape):
            raise FormatError(f"pads a map of {x.shape[1:]} points by {pad}")
        return x if pad == _NONE else self.add(name, "pad", x, pad=pad, mode=mode, value=value)

    def resize(self, name: str, x: Map, size: Pair, *, mode: str = "linear", corners: bool, centres: bool) -> Map:
        """'linear' or 'nearest', with corners or centres of pixels aligned, or neither, as TensorFlow 1 has it."""
        _positive(*size)
        if corners and centres:
            raise FormatError("aligns both corners and centres of pixels")
        if mode == "nearest":
            return self.add(name, "resize_nearest", x, size=size, align_corners=corners, half_pixel=centres)
        if corners or centres:
            return self.add(name, "resize_bilinear", x, size=size, align_corners=corners)
        return self.add(name, "resize_legacy", x, size=size)

    def flat(self, x: Map, name: str = "") -> Map:
        """(N, C, H, W) -> (N, C H W), under the vendor's name if nothing else has it."""
        if x.axes in ("NHWC", "NL") and x.points > 1 and x.side("C") > 1:
            raise FormatError("flattens a map whose channels lie last: refnet's lie first")
        free = name and clean_name(name) not in self.taken
        return self.add(name if free else f"{x.node}.flatten", "flatten", x)._replace(axes="NC")

    def reshape(self, x: Map, shape: Sequence[int]) -> Map:
        """The same numbers under another shape; where that is a vector, the map stays as it is until it is needed."""
        return x._replace(axes=axes_of_shape(x, shape, self.batch))

    def transpose(self, x: Map, order: Sequence[int]) -> Map:
        """Another order of the vendor's axes."""
        if sorted(order) != list(range(len(x.axes))):
            raise FormatError(f"transposes {x.axes} by {tuple(order)}")
        axes = "".join(x.axes[place] for place in order)
        if axes not in ("NCHW", "NHWC", "NC"):
            raise FormatError(f"transposes {x.axes} to {axes}: only NCHW and NHWC are read")
        return x._replace(axes=axes)

    def vendor_shape(self, x: Map) -> tuple[int, ...]:
        """The shape that the vendor's tensor has."""
        return sizes_of(x, x.axes, self.batch)

    def same(self, x: Map, kernel: Pair, stride: Pair, dilation: Pair, *, lower: bool = False) -> Pad:
        """TensorFlow's padding 'same' in numbers; `lower` puts an odd point before."""
        _positive(*kernel, *stride, *dilation)
        (a, b), (c, d) = (
            padding("same", side, k, s, e) for side, k, s, e in zip(x.shape[1:], kernel, stride, dilation, strict=True)
        )
        return ((b, a), (d, c)) if lower else ((a, b), (c, d))

    def _vector(self, const: Const, size: int) -> Const:
        if const.array.size != size:
            raise FormatError(f"{shown(const.key)} has {const.array.size} numbers for {size} channels")
        return const.reshaped((size,))


def _rank(array: Array, rank: int, what: str) -> Array:
    if array.ndim != rank or not array.size:
        raise FormatError(f"{what} of shape {array.shape}")
    return array


def _positive(*numbers: int) -> None:
    if min(numbers) < 1:
        raise FormatError(f"a size, stride or dilation of {min(numbers)}")


def _float(array: Array) -> Array:
    """In the precision that refnet computes in."""
    if array.dtype not in _FLOATS:
        raise FormatError(f"weights of {array.dtype}: only floating-point numbers, or integers with a scale")
    return np.ascontiguousarray(array, np.float64 if array.dtype == np.float64 else np.float32)
