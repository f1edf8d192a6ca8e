"""A network of floats -> one of integers, after TensorFlow Lite's 8-bit specification, calibrated on images.

Weights are int8, symmetric, one scale a filter: scale = max |w| / 127. Activations are int8, one scale and zero point a
tensor, from the range that calibration found, with 0 in it; biases are int32 in steps of input times weight. Softmax
and the logistic function have the scale 1/256 and the zero point -128. ReLU and ReLU6 are fused with the convolution
before them; what only moves numbers, and local pools, keep the scale of what they read.

Source: TensorFlow Lite 8-bit quantization specification; Jacob et al., arXiv 1712.05877.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.graph import SOURCE, Graph, Node, is_global
from refnet.network import Network
from refnet.network.quantised import AnyNetwork, QuantisedNetwork, in_floats
from refnet.readings.integer.fixedpoint import round_away
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
from refnet.readings.precision import BYTE_STEPS
from refnet.readings.quantised import DEFAULT_KERNELS, rules_of
from refnet.readings.shapes import shapes

__all__ = ["RANGES", "Ranges", "calibrated", "quantise", "signal_to_noise"]

Array = npt.NDArray[Any]

_SAMPLE = 1 << 16  # numbers of each tensor and batch that percentiles and errors are taken of
_LARGEST = float(np.finfo(np.float32).max)
_FUSED = ("relu", "relu6")
_KEEP = ("flatten", "max_pool2d", "pad", "resize_bilinear")  # whose integers are those that they read
_UNIT = Quantisation(1 / 256, -128, None, "int8")  # of what lies between 0 and 1


class Ranges(NamedTuple):
    """The least and the largest number of each tensor, by node and 'input'."""

    low: dict[str, float]
    high: dict[str, float]

    def quantisation(self, name: str) -> Quantisation:
        """Of a tensor: 255 steps over its range, 0 being one of them."""
        low, high = min(self.low[name], 0.0), max(self.high[name], 0.0)
        if not np.isfinite(self.low[name] + self.high[name]) or high - low > _LARGEST:
            raise RequestError(f"{name}: its numbers leave float32: calibrate on images as the network takes them")
        if high - low < 1e-30:  # nothing but zeros
            return Quantisation(1.0, 0, None, "int8")
        scale = np.float32((high - low) / BYTE_STEPS)
        zero = int(np.clip(round_away(np.float64(-128 - low / float(scale))), -128, 127))
        return Quantisation(scale, zero, None, "int8")


def _all(y: Array) -> tuple[float, float]:
    return float(y.min()), float(y.max())


def _percentile(y: Array) -> tuple[float, float]:
    low, high = np.percentile(y, (0.01, 99.99))
    return float(low), float(high)


def _least_error(y: Array) -> tuple[float, float]:
    """The range, a part of the whole one, whose integers are nearest to the numbers in the mean square."""
    low, high = min(float(y.min()), 0.0), max(float(y.max()), 0.0)
    best = (np.inf, low, high)
    for part in np.linspace(0.3, 1.0, 36):
        step = max((high - low) * part / BYTE_STEPS, 1e-30)
        cut = np.clip(np.rint(y / step), np.floor(low * part / step), np.ceil(high * part / step)) * step
        best = min(best, (float(np.mean((cut - y) ** 2)), low * part, high * part))
    return best[1], best[2]


RANGES: Mapping[str, Callable[[Array], tuple[float, float]]] = {
    "minmax": _all,
    "percentile": _percentile,
    "mse": _least_error,
}


def calibrated(net: Network, batches: Iterable[Array], ranges: str = "minmax") -> Ranges:
    """What range each tensor has on some images.

    Parameters
    ----------
    net : folded, as it is quantised
    batches : arrays (N, C, H, W) as the network takes them
    ranges : 'minmax', the whole range; 'percentile', without 0.01 % at each end; 'mse', the range with the least mean
        square error. The last two are of a sample of each tensor

    Raises
    ------
    RequestError
        if there are no images, or the way is none of these.
    """
    if ranges not in RANGES:
        raise RequestError(f"ranges {ranges!r}: take one of {', '.join(RANGES)}")
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    kept: dict[str, list[Array]] = {}
    for x in batches:
        for name, y in ((SOURCE, x), *((node.name, y) for node, y in net.steps(x))):
            low[name] = min(low.get(name, np.inf), float(y.min()))
            high[name] = max(high.get(name, -np.inf), float(y.max()))
            if ranges != "minmax":
                flat = y.reshape(-1)
                kept.setdefault(name, []).append(flat[:: max(1, flat.size // _SAMPLE)].copy())
    if not low:
        raise RequestError("no images to calibrate on")
    for name, parts in kept.items():
        low[name], high[name] = RANGES[ranges](np.concatenate(parts))
    return Ranges(low, high)


def quantise(
    net: AnyNetwork, batches: Iterable[Array], *, ranges: str = "minmax", by_filter: bool = True
) -> QuantisedNetwork:
    """A network of integers that approximates one of floats.

    Parameters
    ----------
    net : with batch norm or folded
    batches, ranges : images, and how ranges are found, see `calibrated`
    by_filter : one scale for each filter of a convolution; otherwise one for all

    Raises
    ------
    RequestError
        for a batch norm that no convolution is before, weights that are no finite numbers, and what `calibrated`
        refuses.

    Examples
    --------
    >>> from refnet.files.digits import digits
    >>> from refnet.network import load
    >>> net, x = load(), digits().inputs()[:96]
    >>> integers = quantise(net, [x[:64]])
    >>> x = x[64:]
    >>> int((integers(x).argmax(1) == net(x).argmax(1)).sum())
    32
    """
    folded = in_floats(net).astype(np.float32).fold()
    return _Quantiser(folded, calibrated(folded, batches, ranges), by_filter).network()


class _Quantiser:
    """Goes through the units of a folded graph, and appends nodes of integers."""

    def __init__(self, net: Network, ranges: Ranges, by_filter: bool) -> None:
        self.net, self.ranges, self.by_filter = net, ranges, by_filter
        self.nodes: list[Node] = []
        self.params: dict[str, Any] = {}
        self.quantised = {SOURCE: ranges.quantisation(SOURCE)}
        self.real: dict[str, Array] = {}
        self.shapes = shapes(net.graph)

    def network(self) -> QuantisedNetwork:
        """The network, and its twin: the folded graph with the weights that the integers stand for."""
        for unit in self.net.graph.units(keep=self.net.graph.outputs):
            fused = unit.act if unit.act is not None and unit.act.op in _FUSED else None
            for node in unit.nodes:
                if node is not fused:
                    self._append(node, fused if node is unit.conv else None)
        graph = Graph(self.net.graph.recipe, tuple(self.nodes), self.net.graph.returns)
        twin = (self.net.graph, {**self.net.params, **self.real})
        return QuantisedNetwork(graph, self.params, self.quantised, DEFAULT_KERNELS, twin)

    def _append(self, node: Node, act: Node | None) -> None:
        if f"{node.name}.w" in self.net.params:
            self._convolution(node, act)
        elif node.op in _KEEP or (node.op == "avg_pool2d" and not self._is_mean(node)):
            attrs = (
                {**node.attrs, "half_pixel": not node.attrs["align_corners"]}
                if "align_corners" in node.attrs
                else node.attrs
            )
            self._put(node.name, node.op, node.inputs, self.quantised[node.inputs[0]], **attrs)
        elif node.op in _WRITTEN:
            _WRITTEN[node.op](self, node)
        else:
            raise RequestError(f"{node.name}: {node.op} has no integers: a batch norm must stand behind a convolution")

    def _is_mean(self, node: Node) -> bool:
        return is_global(node, self.shapes[node.inputs[0]])

    def _put(
        self,
        name: str,
        op: str,
        inputs: tuple[str, ...],
        to: Quantisation,
        params: Mapping[str, Any] | None = None,
        **attrs: Any,
    ) -> None:
        held = dict(params or {})
        shapes_ = {slot: getattr(value, "values", value).shape for slot, value in held.items()}
        self.nodes.append(Node(name, op, inputs, shapes_, attrs))
        self.params |= {f"{name}.{slot}": value for slot, value in held.items()}
        self.quantised[name] = to

    def _convolution(self, node: Node, act: Node | None) -> None:
        name = node.name if act is None else act.name
        w = self.weights(f"{node.name}.w")
        s_x, s_w = float(self.quantised[node.inputs[0]].scale), w.quantisation.scale.astype(np.float64)
        params: dict[str, Any] = {"w": w}
        if "b" in node.params:
            b = np.clip(round_away(self.net.params[f"{node.name}.b"] / (s_x * s_w)), -(2**31), 2**31 - 1).astype(
                np.int32
            )
            params["b"] = b
            self.real[f"{node.name}.b"] = (b * (s_x * s_w)).astype(np.float32)
        attrs = {**node.attrs, "act": "" if act is None else act.op}
        self._put(name, node.op, node.inputs, self.ranges.quantisation(name), params, **attrs)

    def weights(self, name: str) -> QuantisedTensor:
        """Weights in 127 steps to either side; their real numbers go to the twin."""
        w = self.net.params[name]
        most = np.abs(w).reshape(len(w), -1).max(axis=1) if self.by_filter else np.abs(w).max().reshape(1)
        if not np.isfinite(most).all():
            raise RequestError(f"{name}: holds NaN or infinity")
        scale = np.where(most > 0, most / np.float32(127), np.float32(1)).astype(np.float32)
        scale = np.maximum(scale, np.finfo(np.float32).tiny)
        along = scale.reshape(-1, *(1,) * (w.ndim - 1))
        values = np.clip(round_away(w / along), -127, 127).astype(np.int8)
        self.real[name] = values.astype(np.float32) * along
        zeros = np.zeros(len(scale), np.int64)
        q = Quantisation(scale, zeros, 0, "int8") if self.by_filter else Quantisation(scale[0], 0, None, "int8")
        return QuantisedTensor(values, q)

    # --------------------------------------------------------------------- operations that kernels have by other names

    def _same(self, node: Node) -> None:
        self._put(node.name, node.op, node.inputs, self.ranges.quantisation(node.name))

    def _joined(self, node: Node) -> None:
        self._put(node.name, node.op, node.inputs, self.ranges.quantisation(node.name), act="")

    def _mean(self, node: Node) -> None:
        self._put(node.name, "mean", node.inputs, self.ranges.quantisation(node.name), axes=(2, 3))

    def _sigmoid(self, node: Node) -> None:
        self._put(node.name, "sigmoid", node.inputs, _UNIT)

    def _softmax(self, node: Node) -> None:
        self._put(node.name, "softmax", node.inputs, _UNIT, beta=1.0)

    def _swish(self, node: Node) -> None:
        """x times a logistic function of x."""
        gate = f"{node.name}.gate"
        self._put(gate, "sigmoid", node.inputs, _UNIT)
        self._put(node.name, "scale", (*node.inputs, gate), self.ranges.quantisation(node.name), act="")

    def _hard_sigmoid(self, node: Node) -> None:
        """relu6(6 slope x + 6 offset) / 6, as converters write it: a product, a sum that is clipped, a product."""
        slope, offset = node.attrs["slope"] * 6, node.attrs["offset"] * 6
        source = node.inputs
        if abs(slope - 1) > 1e-6:
            low, high = (slope * each[source[0]] for each in (self.ranges.low, self.ranges.high))
            scaled = Ranges({"": min(low, high)}, {"": max(low, high)}).quantisation("")
            self._put(f"{node.name}.slope", "scale", source, scaled, {"y": _constant(slope)}, act="")
            source = (f"{node.name}.slope",)
        six = Ranges({"": 0.0}, {"": 6.0}).quantisation("")
        self._put(f"{node.name}.sum", "add", source, six, {"y": _constant(offset)}, act="relu6")
        unit = Ranges({"": 0.0}, {"": 1.0}).quantisation("")
        self._put(node.name, "scale", (f"{node.name}.sum",), unit, {"y": _constant(1 / 6)}, act="")

    def _affine(self, node: Node) -> None:
        slope, offset = node.attrs["slope"], node.attrs["offset"]
        ends = [slope * each[node.inputs[0]] for each in (self.ranges.low, self.ranges.high)]
        to = Ranges({"": min(ends)}, {"": max(ends)}).quantisation("")
        if offset:
            self._put(f"{node.name}.product", "scale", node.inputs, to, {"y": _constant(slope)}, act="")
            final = self.ranges.quantisation(node.name)
            self._put(node.name, "add", (f"{node.name}.product",), final, {"y": _constant(offset)}, act="")
        else:
            self._put(node.name, "scale", node.inputs, to, {"y": _constant(slope)}, act="")


def _constant(value: float) -> QuantisedTensor:
    """A number as one integer: the end of the range from 0 to it."""
    q = Ranges({"": min(value, 0.0)}, {"": max(value, 0.0)}).quantisation("")
    return QuantisedTensor(np.full((1, 1, 1, 1), 127 if value > 0 else -128, np.int8), q)


_WRITTEN: Mapping[str, Callable[[_Quantiser, Node], None]] = {
    "add": _Quantiser._joined,
    "affine": _Quantiser._affine,
    "avg_pool2d": _Quantiser._mean,
    "hard_sigmoid": _Quantiser._hard_sigmoid,
    "hard_swish": _Quantiser._same,
    "relu": _Quantiser._same,
    "relu6": _Quantiser._same,
    "scale": _Quantiser._joined,
    "sigmoid": _Quantiser._sigmoid,
    "softmax": _Quantiser._softmax,
    "swish": _Quantiser._swish,
}


def signal_to_noise(integers: QuantisedNetwork, real: Network, x: Array) -> dict[str, float]:
    """How far integers are from real numbers, node by node, each network run from the same images.

    Returns
    -------
    ratios : in decibels, 10 log10(sum y^2 / sum (y - integers)^2), of the nodes that both have; infinite where equal
    """
    made = {node.name: y for node, y in integers.steps(x)}
    found = {}
    for node, y in real.steps(x.astype(real.dtype)):
        mine = made.get(node.name)
        if mine is None:
            continue
        back = rules_of(DEFAULT_KERNELS).dequantize(mine) if isinstance(mine, QuantisedTensor) else mine
        if back.shape == y.shape:
            noise, signal = (float(np.square(each, dtype=np.float64).sum()) for each in (back - y, y))
            with np.errstate(divide="ignore"):
                found[node.name] = float(10 * np.log10(np.float64(signal) / noise)) if noise else np.inf
    return found
