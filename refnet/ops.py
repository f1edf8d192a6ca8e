"""The operations that a network is made of: one table of what each reads, carries and is.

Each reading has one function for each, spelled as here. What the operations compute is for `readings.loops` to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = [
    "ACTIVATIONS",
    "ATTRIBUTES",
    "BY_ELEMENT",
    "CONVOLUTIONS",
    "GATES",
    "OPS",
    "OPTIONAL",
    "POOLS",
    "RESIZES",
    "WINDOWED",
    "Op",
]


class Op(NamedTuple):
    """What a node of this operation carries, and what it is.

    Attributes
    ----------
    inputs : how many tensors it reads; where `many`, the fewest
    params, attrs : which parameters and attributes it takes
    kind : 'convolution', 'norm', 'activation', 'gate' (an activation between 0 and 1), 'pool', 'join' (of tensors),
        'arithmetic' (elementwise), 'layout' (the same numbers elsewhere), 'classifier'
    """

    inputs: int
    params: tuple[str, ...] = ()
    attrs: tuple[str, ...] = ()
    kind: str = "arithmetic"
    many: bool = False


_FILTER = ("stride", "pad", "dilation")
_POOL = ("kernel", "stride", "pad")

OPS: Mapping[str, Op] = {
    "conv2d": Op(1, ("w", "b"), _FILTER, "convolution"),
    "depthwise_conv2d": Op(1, ("w", "b"), _FILTER, "convolution"),
    "grouped_conv2d": Op(1, ("w", "b"), (*_FILTER, "groups"), "convolution"),
    "pointwise_conv2d": Op(1, ("w", "b"), kind="convolution"),
    "pad": Op(1, (), ("pad", "mode", "value"), "layout"),
    "batch_norm": Op(1, ("gamma", "beta", "mean", "var"), ("eps",), "norm"),
    "affine": Op(1, (), ("slope", "offset")),
    "relu": Op(1, kind="activation"),
    "relu6": Op(1, kind="activation"),
    "leaky_relu": Op(1, (), ("slope",), "activation"),
    "prelu": Op(1, ("alpha",), kind="activation"),
    "thresholded_relu": Op(1, (), ("threshold",), "activation"),
    "clip": Op(1, (), ("low", "high"), "activation"),
    "tanh": Op(1, kind="activation"),
    "hard_sigmoid": Op(1, (), ("slope", "offset"), "gate"),
    "hard_swish": Op(1, kind="activation"),
    "sigmoid": Op(1, kind="gate"),
    "swish": Op(1, kind="activation"),
    "avg_pool2d": Op(1, (), _POOL, "pool"),
    "max_pool2d": Op(1, (), _POOL, "pool"),
    "scale": Op(2, kind="join"),
    "add": Op(2, kind="join"),
    "concat": Op(2, kind="join", many=True),
    "flatten": Op(1, kind="layout"),
    "resize_bilinear": Op(1, (), ("size", "align_corners"), "layout"),
    "resize_legacy": Op(1, (), ("size",), "layout"),
    "resize_nearest": Op(1, (), ("size", "align_corners", "half_pixel"), "layout"),
    "softmax": Op(1, kind="classifier"),
}

OPTIONAL = ("b",)  # the only parameter that an operation may go without


def _of_kind(*kinds: str) -> tuple[str, ...]:
    return tuple(name for name, op in OPS.items() if op.kind in kinds)


CONVOLUTIONS = _of_kind("convolution")
ACTIVATIONS = _of_kind("activation")
GATES = _of_kind("gate")
POOLS = _of_kind("pool")
RESIZES = ("resize_bilinear", "resize_legacy", "resize_nearest")
# Of which an element is made of those at its own place alone; params are of its channel, but that prelu's may not be.
BY_ELEMENT = (
    *_of_kind("norm", "gate"),
    *(name for name in ACTIVATIONS if not OPS[name].params),
    "affine",
    "add",
    "scale",
)
WINDOWED = tuple(name for name in CONVOLUTIONS if "stride" in OPS[name].attrs)  # convolutions with a kernel


def _is_pair(value: Any) -> bool:
    """Two whole numbers from 1 on."""
    return isinstance(value, tuple) and len(value) == 2 and all(type(n) is int and n > 0 for n in value)


def _is_pads(value: Any) -> bool:
    """Two pairs of whole numbers from 0 on."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value)
        and all(type(n) is int and n >= 0 for pair in value for n in pair)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


ATTRIBUTES: Mapping[str, Callable[[Any], bool]] = {
    "stride": _is_pair,
    "dilation": _is_pair,
    "kernel": _is_pair,
    "size": _is_pair,
    "pad": _is_pads,
    "eps": _is_number,
    "slope": _is_number,
    "offset": _is_number,
    "value": _is_number,
    "threshold": _is_number,
    "low": _is_number,
    "high": _is_number,
    "groups": lambda value: type(value) is int and value > 0,
    "mode": lambda value: value in ("constant", "edge", "reflect", "symmetric", "wrap"),
    "align_corners": lambda value: isinstance(value, bool),
    "half_pixel": lambda value: isinstance(value, bool),
}
