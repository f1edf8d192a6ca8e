"""Is a network of integers the quantisation of a network of floats, and a good one? Scales, biases, ranges, clamps.

Both run from the same photographs, brought into the range of the integers' input. A finding holds numbers; those that
`fails` say that the integers are not those of the network, or that they lose what a photograph shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Node, Unit
from refnet.network import Network
from refnet.network.quantised import QuantisedNetwork
from refnet.network.quantising import signal_to_noise
from refnet.readings.integer.derived import SUMMED
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = ["QuantisationFinding", "QuantisationReport", "examine_quantisation"]

Array = npt.NDArray[Any]

_HALF = 0.5 + 1e-3  # steps by which an honest weight is off: half a one, and the rounding of float32
_CUT = 0.01  # of a photograph's activations that a range may cut without being told
_MUCH = 0.1  # that it may cut without failing
_HONEST = 0.03  # that honest files cut of some tensors
_CHANCE = 1e-3  # that such a file cuts as many numbers of a small tensor by chance
_WIDE = 0.25  # of a range that a photograph should use
_SATURATED = 0.25  # of the logits that may lie at the ends of their range
_LOGITS = 10  # fewer say nothing: two classes are often sure
_COARSE = 8  # steps below which the largest weight of a filter says little
_BIAS = 50  # steps from which on a bias tells its scale to one in a hundred, by half a step
_TOLD = 1 / _BIAS  # relative: by how much two such scales may differ
_FULL = 126  # steps of the largest weight of a filter that has a scale of its own: 127, or one less
_SAME = 0.9  # of the biases of a layer that must have one other scale
_PRODUCT = 2.0**-20  # relative: the scale of a bias, a product in float32, and the bias over it: sixteen roundings
_WORSE = 6.0  # decibels that a node may lose against what it reads: one bit


class QuantisationFinding(NamedTuple):
    """One thing that is not as it should be.

    Attributes
    ----------
    kind : 'weights', 'scale', 'bias', 'bias-scale', 'zero-points', 'clamp-lost', 'range-cut', 'range-wide',
        'input-range', 'logits-saturated', 'coarse-filters' or 'noise'
    node : whose
    amount : a share of the tensor; of a bias's scale how many times too large; of noise the decibels that are lost
    affected : how many weights, filters or elements; of how many, `of`
    fails : whether the file is not to be used like this
    """

    kind: str
    node: str
    amount: float = 0.0
    affected: int = 0
    of: int = 0
    fails: bool = True


class QuantisationReport(NamedTuple):
    """What was found: findings in order of the nodes, and decibels of signal to noise by node."""

    findings: tuple[QuantisationFinding, ...]
    ratios: dict[str, float]

    @property
    def holds(self) -> bool:
        """Whether no finding fails the network."""
        return not any(finding.fails for finding in self.findings)


def examine_quantisation(net: QuantisedNetwork, real: Network, x: Array, *, own: bool = False) -> QuantisationReport:
    """Hold integers against the network that they should be of.

    Parameters
    ----------
    net : of integers
    real : the network of floats, folded or not, under the same names
    x : (N, C, H, W) photographs, prepared as the network's vendor does
    own : whether weights are not compared: `real` is the integers' own twin, or has weights of 8 bits itself
    """
    folded = real.astype(np.float32).fold()
    units = {unit.output: unit for unit in folded.graph.units()}
    units |= {unit.conv.name: unit for unit in folded.graph.units() if unit.conv.name not in units}
    fed, found = _fed(net, x.astype(np.float32))
    trace = folded.trace(fed)
    for node in net.graph.nodes:
        unit = units.get(node.name)
        w = net.params.get(f"{node.name}.w")
        if unit is not None and node.op in SUMMED and isinstance(w, QuantisedTensor):
            found += [] if own else list(_weights(net, node, unit, folded, w))
            found += list(_filters(node, w)) + list(_clamp(net, node, unit))
        q, y = net.quantised.get(node.name), trace.get(node.name)
        if q is not None and y is not None:
            found += list(_range(node, q, y))
    ratios = signal_to_noise(net, folded, fed)
    found += list(_saturated(net, fed)) + list(_noisy(net, ratios))
    return QuantisationReport(tuple(found), ratios)


def _fed(net: QuantisedNetwork, x: Array) -> tuple[Array, list[QuantisationFinding]]:
    """Photographs in the range of the input's integers, and how much of them it would have cut."""
    first = next((node.name for node in net.graph.nodes if node.op == "quantize" and SOURCE in node.inputs), SOURCE)
    q = net.quantised.get(first)
    if q is None:
        return x, []
    low, high = _ends(q)
    outside = float(np.mean((x < low - float(q.scale)) | (x > high + float(q.scale))))
    found = [QuantisationFinding("input-range", SOURCE, outside, fails=False)] if outside > _CUT else []
    if not found:
        return x, []
    span = float(x.max() - x.min()) or 1.0
    return ((x - x.min()) / span * (high - low) + low).astype(np.float32), found


def _ends(q: Quantisation) -> tuple[float, float]:
    scale, zero = q.single()
    return float(scale) * (q.low - zero), float(scale) * (q.high - zero)


def _weights(
    net: QuantisedNetwork, node: Node, unit: Unit, real: Network, w: QuantisedTensor
) -> Iterator[QuantisationFinding]:
    """Weights and bias against those that they should stand for."""
    wanted = real.params[f"{unit.conv.name}.w"]
    if wanted.shape != w.values.shape:
        yield QuantisationFinding("weights", node.name, 1.0, w.values.size, w.values.size)
        return
    scale, zeros = w.quantisation.channels(len(w.values))
    along = (-1, *(1,) * (wanted.ndim - 1))
    steps = wanted.astype(np.float64) / scale.astype(np.float64).reshape(along)
    off = np.abs(w.values.astype(np.float64) - zeros.reshape(along) - steps)
    apart = int((off > _HALF).sum())
    if apart:
        yield QuantisationFinding("weights", node.name, float(off.max()), apart, w.values.size)
    if w.values.dtype == np.int8 and zeros.any():
        yield QuantisationFinding("zero-points", node.name, affected=int((zeros != 0).sum()), of=len(zeros))
    most = np.abs(wanted).reshape(len(wanted), -1).max(axis=1)
    most = most if w.quantisation.scale.size > 1 else np.full_like(most, most.max())
    other = (np.abs(most / 127 / scale - 1) > 1 / _FULL) & (most > 0)
    if w.values.dtype == np.int8 and other.any() and not apart:
        yield QuantisationFinding("scale", node.name, affected=int(other.sum()), of=len(other), fails=False)
    b, bias = net.params.get(f"{node.name}.b"), real.params.get(f"{unit.conv.name}.b")
    x = net.quantised.get(node.inputs[0])
    if b is not None and bias is not None and x is not None and b.dtype.kind in "iu" and not apart:
        to = net.quantised[node.name]
        yield from _bias(node, b, bias.astype(np.float64), float(x.single()[0]) * scale.astype(np.float64), to)


def _bias(node: Node, b: Array, bias: Array, step: Array, to: Quantisation) -> Iterator[QuantisationFinding]:
    """A bias in steps of input times weight; what is less than half a step of the output is no matter."""
    off = np.abs(b - bias / step)
    apart = (off > _HALF + np.abs(bias) / step * _PRODUCT) & (off * step > float(to.single()[0]) / 2)
    if not apart.any():
        return
    telling = (np.abs(b) > _BIAS) & (np.abs(bias / step) > _BIAS)
    ratios = b[telling] * step[telling] / bias[telling] if telling.any() else np.ones(1)
    ratio = float(np.median(ratios))
    same = float(np.mean(np.abs(ratios / ratio - 1) < _TOLD)) if ratio else 0.0
    if abs(ratio - 1) > _TOLD and same > _SAME:
        yield QuantisationFinding("bias-scale", node.name, ratio, int(apart.sum()), len(b))
    else:
        yield QuantisationFinding("bias", node.name, float(off.max()), int(apart.sum()), len(b))


def _filters(node: Node, w: QuantisedTensor) -> Iterator[QuantisationFinding]:
    """One scale for filters of very different size: the small ones have but a few steps."""
    if w.quantisation.scale.size > 1 or len(w.values) == 1:
        return
    zeros = w.quantisation.channels(len(w.values))[1].reshape(-1, *(1,) * (w.values.ndim - 1))
    most = np.abs(w.values.astype(np.int64) - zeros).reshape(len(w.values), -1).max(axis=1)
    coarse = int((most < _COARSE).sum())
    if coarse:
        yield QuantisationFinding("coarse-filters", node.name, affected=coarse, of=len(most), fails=False)


def _clamp(net: QuantisedNetwork, node: Node, unit: Unit) -> Iterator[QuantisationFinding]:
    """An activation of the network that neither the kernel nor the range of its integers has."""
    act = unit.act
    q = net.quantised.get(node.name)
    if act is None or act.op not in ("relu", "relu6") or q is None or unit.output != node.name:
        return
    low, high = _ends(q)
    fused = node.attrs.get("act", "")
    cuts_low = fused in ("relu", "relu6") or low >= -float(q.scale)
    cuts_high = act.op == "relu" or fused == "relu6" or high <= 6 + float(q.scale)
    if not (cuts_low and cuts_high):
        yield QuantisationFinding("clamp-lost", node.name)


def _range(node: Node, q: Quantisation, y: Array) -> Iterator[QuantisationFinding]:
    """How much of a tensor its range cuts, or leaves unused."""
    low, high = _ends(q)
    step = float(q.scale)
    many = int(np.sum((y < low - step) | (y > high + step)))
    cut = many / y.size
    if cut > _CUT and y.size >= _LOGITS:
        fails = cut > _MUCH and _by_chance(many, y.size) < _CHANCE
        yield QuantisationFinding("range-cut", node.name, cut, many, y.size, fails=fails)
    used = (float(y.max()) - float(y.min())) / (high - low)
    if 0 < used < _WIDE and node.op not in ("sigmoid", "softmax", "flatten"):
        yield QuantisationFinding("range-wide", node.name, used, fails=False)


def _by_chance(many: int, of: int) -> float:
    """How likely it is that an honest file cuts as many of some numbers, or more."""
    from scipy.special import bdtrc

    return float(bdtrc(many - 1, of, _HONEST))


def _saturated(net: QuantisedNetwork, x: Array) -> Iterator[QuantisationFinding]:
    """Logits that lie at the ends of their range."""
    last = [node for node in net.graph.nodes if node.op in SUMMED][-1:]
    for node in last:
        y, q = net.trace(x)[node.name], net.quantised.get(node.name)
        if q is None:
            continue
        share = float(np.mean((y == q.low) | (y == q.high)))
        if share > _SATURATED and y.size >= _LOGITS:
            yield QuantisationFinding("logits-saturated", node.name, share, int(share * y.size), y.size)


def _noisy(net: QuantisedNetwork, ratios: dict[str, float]) -> Iterator[QuantisationFinding]:
    """Nodes that lose more than a bit of what they read."""
    for node in net.graph.nodes:
        before = [ratios[name] for name in node.inputs if np.isfinite(ratios.get(name, np.inf)) and name in ratios]
        if node.name in ratios and before and min(before) - ratios[node.name] > _WORSE:
            yield QuantisationFinding("noise", node.name, min(before) - ratios[node.name], fails=False)
