"""The exercises of functions: the hard sigmoid and the hard swish, batch norm and its fold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import unit_arrays
from refnet.graph import SOURCE, Node
from refnet.study.cases import Case, Draw, computed, reading_input
from refnet.study.subjects import Folded

__all__ = ["of_batch_norm", "of_fold", "of_hard_sigmoid", "of_hard_swish"]

Array = npt.NDArray[Any]

_VECTORS = ("gamma", "beta", "mean", "var")


def of_hard_sigmoid(draw: Draw) -> Case:
    """The gate of V3; its numbers lie on both sides of where it bends."""
    return _curve(draw, Node("gate", "hard_sigmoid", (SOURCE,), {}, {"slope": 1 / 6, "offset": 0.5}))


def of_hard_swish(draw: Draw) -> Case:
    """The activation of V3."""
    return _curve(draw, Node("act", "hard_swish", (SOURCE,)))


def _curve(draw: Draw, node: Node) -> Case:
    """A function of each number, of an array of any shape; to the catalogue it is one number for each channel."""
    shape = (draw.number(1, 2), draw.number(1, 3), draw.number(2, 4, 3), draw.number(2, 5, 3))[draw.number(0, 2) :]
    x = draw.array(*shape, scale=3.0 if draw.small else 2.5)
    ends = [-3.0, 3.0, 0.0, -1.0, 1.0, 7.0, -7.0, 2.0]
    flat = x.ravel()
    flat[: len(ends)] = ends[: flat.size]
    x = flat.reshape(shape)
    scaled = Node("scaled", "scale", (SOURCE, node.name))  # a gate is what something is scaled by
    nodes = (node, scaled) if node.op == "hard_sigmoid" else (node,)
    graph = reading_input(x.size, (1, 1), *nodes)
    subject = computed(graph, {}, x.reshape(1, x.size, 1, 1), end=node.name, shape=shape)
    return Case({"x": x}, {}, subject)


def of_batch_norm(draw: Draw) -> Case:
    """Stored statistics; every third map is as wide as it has channels, so that nothing is refused by its shape."""
    C, N = draw.number(2, 4, 3), draw.number(1, 3, 2)
    size = (draw.number(2, 4, 2), C if draw.yes(0.4) else draw.number(2, 5, 3))
    eps, x, vectors = draw.eps(), draw.array(N, C, *size, scale=2.0), _vectors(draw, C)
    node = Node("bn", "batch_norm", (SOURCE,), dict.fromkeys(_VECTORS, (C,)), {"eps": eps})
    params = {f"bn.{slot}": array for slot, array in vectors.items()}
    return Case({"x": x, **vectors}, {"eps": eps}, computed(reading_input(C, size, node), params, x))


def of_fold(draw: Draw) -> Case:
    """Batch norm worked into a full convolution with a bias; float32, which is what bounds of folds are for."""
    draw.dtype = np.dtype(np.float32)
    K = draw.number(1, 4, 3)
    C = K if draw.yes(0.4) else draw.number(1, 4, 3)
    side = K if draw.yes(0.3) else draw.number(1, 3, 2)
    w, b, vectors, eps = draw.array(K, C, side, side), draw.array(K), _vectors(draw, K), draw.eps()
    conv = Node(
        "conv",
        "conv2d",
        (SOURCE,),
        {"w": w.shape, "b": b.shape},
        {"stride": (1, 1), "pad": ((0, 0), (0, 0)), "dilation": (1, 1)},
    )
    norm = Node("bn", "batch_norm", ("conv",), dict.fromkeys(_VECTORS, (K,)), {"eps": eps})
    params = {"conv.w": w, "conv.b": b, **{f"bn.{slot}": array for slot, array in vectors.items()}}
    (unit,) = unit_arrays(reading_input(C, (8, 8), conv, norm), params)
    return Case({"w": w, "b": b, **vectors}, {"eps": eps}, Folded(unit))


def _vectors(draw: Draw, C: int) -> dict[str, Array]:
    gamma = draw.array(C)
    gamma[gamma == 0] = 2  # a channel without a scale hides all else
    return {"gamma": gamma, "beta": draw.array(C), "mean": draw.array(C), "var": draw.positive(C)}
