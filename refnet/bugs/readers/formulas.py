"""Slips in a formula: hard functions with other constants or ends, batch norm and its fold with parts left as they are.

As `slips`, of readers alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.graph import Node

_Line = tuple[float, float, float, float]  # min(max(slope * x + offset, low), high)

_NONE = math.inf
# What is written for min(max(x / 6 + 1/2, 0), 1).
_GATES: Mapping[str, _Line] = {
    "no clip": (1 / 6, 0.5, -_NONE, _NONE),
    "no high": (1 / 6, 0.5, 0.0, _NONE),
    "no low": (1 / 6, 0.5, -_NONE, 1.0),
    "no sixth": (1.0, 3.0, 0.0, 6.0),
    "no three": (1 / 6, 0.0, 0.0, 1.0),
    "a line": (1.0, 0.0, -_NONE, _NONE),
    "one": (1.0, 0.5, 0.0, 1.0),
    "one, plain": (1.0, 0.0, 0.0, 1.0),
    "a third": (1 / 3, 1.0, 0.0, 2.0),
    "a third, cut": (1 / 3, 1.0, 0.0, 1.0),
    "a third, half": (1 / 3, 0.5, 0.0, 1.0),
    "half": (0.5, 0.5, 0.0, 1.0),
    "half, three": (0.5, 1.5, 0.0, 3.0),
    "quarter": (0.25, 0.5, 0.0, 1.0),
    "fifth": (0.2, 0.5, 0.0, 1.0),
    "low": (1 / 6, 0.5, -1.0, 1.0),
    "half high": (1 / 6, 0.5, 0.0, 0.5),
    "six": (1 / 6, 0.5, 0.0, 6.0),
    "sign": (-1 / 6, 0.5, 0.0, 1.0),
    "minus three": (1 / 6, -0.5, 0.0, 1.0),
    "constant": (1 / 6, 0.5, 1.0, 1.0),
    "relu6": (1.0, 0.0, 0.0, 6.0),
    "0.1667": (0.1667, 0.5, 0.0, 1.0),
    "0.1667 behind": (0.1667, 3 * 0.1667, 0.0, 6 * 0.1667),
    "0.16667": (0.16667, 0.5, 0.0, 1.0),
    "0.167": (0.167, 0.5, 0.0, 1.0),
    "0.167 behind": (0.167, 3 * 0.167, 0.0, 6 * 0.167),
    "0.17": (0.17, 0.5, 0.0, 1.0),
}


def gate_formula(segment: Segment) -> Iterator[Change]:
    """a hard sigmoid with other constants or ends."""
    for node in segment.nodes("hard_sigmoid"):
        for form, line in _GATES.items():
            yield Change(node.name, form, _facts(line), nodes={node.name: _lined(node, node.name, line)})


def swish_formula(segment: Segment) -> Iterator[Change]:
    """a hard swish with other constants or ends, without its x, or with its gate squared."""
    for node in segment.nodes("hard_swish"):
        own, right = f"{node.name}.gate", (1 / 6, 0.5, 0.0, 1.0)
        for form, line in _GATES.items():
            product = Node(node.name, "scale", (*node.inputs, own))
            yield Change(node.name, form, _facts(line), nodes={node.name: (*_lined(node, own, line), product)})
        yield Change(node.name, "no x", nodes={node.name: _lined(node, node.name, right)})
        first = Node(f"{node.name}.once", "scale", (*node.inputs, own))
        again = Node(node.name, "scale", (first.name, own))
        yield Change(node.name, "squared", nodes={node.name: (*_lined(node, own, right), first, again)})
        squared = Node(node.name, "scale", (*node.inputs, node.inputs[0]))
        yield Change(node.name, "x x", nodes={node.name: (squared,)})


def _lined(node: Node, name: str, line: _Line) -> tuple[Node, ...]:
    """The nodes of a line that is cut at two ends."""
    slope, offset, low, high = line
    sloped = Node(f"{name}.line", "affine", node.inputs, {}, {"slope": slope, "offset": offset})
    return sloped, replace(sloped, name=name, op="clip", inputs=(sloped.name,), attrs={"low": low, "high": high})


def _facts(line: _Line) -> dict[str, float]:
    return dict(zip(("gate_slope", "gate_offset", "low", "high"), line, strict=True))


def norm_parts(unit: UnitArrays) -> Iterator[Change]:
    """parts of batch norm left out of its formula, or in another place in it."""
    if unit.norm is None:
        return
    gamma, beta, mean, var = (unit[slot] for slot in ("gamma", "beta", "mean", "var"))
    root = np.sqrt(np.maximum(var + unit.eps, 0))
    with np.errstate(all="ignore"):
        s = gamma / root
        ways = {
            "mean unscaled": {"mean": mean / s},
            "gamma and var": {"gamma": var, "var": np.abs(gamma)},
            "gamma added": {"gamma": np.ones_like(gamma), "beta": beta + gamma},
            "gamma divides": {"gamma": 1 / gamma},
            "nothing": {"gamma": root, "beta": 0 * beta, "mean": 0 * mean},
        }
        if unit.foldable:
            w = unit["w"] / s.reshape(-1, *(1,) * (unit["w"].ndim - 1))
            ways |= {
                "weights as they were": {"w": w},
                "bias as it was": {"b": unit.bias / s, "mean": 0 * mean, "beta": 0 * beta},
                "weights divided": {"w": w / s.reshape(-1, *(1,) * (w.ndim - 1))},
            }
    for form, arrays in ways.items():
        known = {slot: array for slot, array in arrays.items() if slot in unit}
        if len(known) == len(arrays):
            names = {unit.names[slot]: array for slot, array in known.items()}
            yield Change(unit.norm.name, form, params=names)
