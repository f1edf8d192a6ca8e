"""What the schemes share: where the blocks of a graph begin, and how frameworks lay out arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph, Node
from refnet.networks.dialects import MODELS

__all__ = ["Entry", "Shape", "blocks", "places", "stages", "tensorflow_entries", "torch_entries"]

Shape = tuple[int, ...]
Array = npt.NDArray[Any]

_TORCH_SLOTS = {
    "w": "weight",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class Entry(NamedTuple):
    """One array of a vendor's checkpoint.

    Attributes
    ----------
    key : the vendor's name
    shape : the vendor's shape
    axes : transpose with these, then reshape, to make it refnet's
    joined : whether neighbouring axes may be one: (K, 27) for (K, 3, 3, 3)
    """

    key: str
    shape: Shape
    axes: tuple[int, ...]
    joined: bool = False

    def ours(self, array: Array, shape: Shape) -> Array:
        """From the vendor's layout to refnet's; of an array that `holds`."""
        return np.ascontiguousarray(array.reshape(self.shape).transpose(self.axes)).reshape(shape)

    def holds(self, array: Array) -> bool:
        """Whether an array has the vendor's shape, but for axes of length one: (K, C) for (K, C, 1, 1)."""
        own, theirs = _bare(array.shape), _bare(self.shape)
        return own == theirs or (self.joined and _are_joined(theirs, own))

    def theirs(self, array: Array) -> Array:
        """From refnet's layout to the vendor's."""
        moved = tuple(self.shape[axis] for axis in self.axes)
        return np.ascontiguousarray(array.reshape(moved).transpose(np.argsort(self.axes)))


def _bare(shape: Shape) -> Shape:
    return tuple(length for length in shape if length != 1)


def _are_joined(axes: Shape, shape: Shape) -> bool:
    """Whether a shape is these axes with neighbours made one."""
    left = list(axes)
    for length in shape:
        made = 1
        while left and made < length:
            made *= left.pop(0)
        if made != length:
            return False
    return not left


def blocks(graph: Graph) -> list[tuple[str, ...]]:
    """The parts of each block that have weights, in order: ('expand', 'expand.bn', 'depthwise', ...)."""
    parts: dict[str, list[str]] = {}
    for node in graph.nodes:
        block, _, part = node.name.partition(".")
        if block.startswith("block") and node.params:
            parts.setdefault(block, []).append(part)
    return [tuple(found) for found in parts.values()]


def stages(graph: Graph) -> list[tuple[int, int]]:
    """(stage, index in the stage) of each block, as the paper draws them."""
    return [(s, j) for s, count in enumerate(MODELS[graph.recipe.model].table.stages) for j in range(count)]


def places(top: Mapping[str, str], per_block: list[dict[str, str]]) -> dict[str, str]:
    """Put the names of the layers outside blocks and those of each block together, by node."""
    inside = {f"block{i + 1}.{part}": name for i, parts in enumerate(per_block) for part, name in parts.items()}
    return {**top, **inside}


def torch_entries(graph: Graph, modules: Mapping[str, str], linear: Collection[str] = ()) -> dict[str, Entry]:
    """The state-dict entries of a PyTorch network.

    Parameters
    ----------
    modules : node name -> module path
    linear : nodes, or endings of their names, that are nn.Linear (2-D weights) and not 1x1 nn.Conv2d
    """
    found = {}
    for node in graph.nodes:
        for slot, shape in node.params.items():
            vendor_shape = _torch_shape(node, shape, linear) if slot == "w" else shape
            key = f"{modules[node.name]}.{_TORCH_SLOTS[slot]}"
            found[f"{node.name}.{slot}"] = Entry(key, vendor_shape, tuple(range(len(vendor_shape))))
    return found


def _torch_shape(node: Node, shape: Shape, linear: Collection[str]) -> Shape:
    match node.op:
        case "depthwise_conv2d":
            return (shape[0], 1, *shape[1:])
        case "pointwise_conv2d" if not node.name.endswith(tuple(linear)):
            return (*shape, 1, 1)
    return shape


def tensorflow_entries(graph: Graph, keys: Callable[[Node, str], str], dense: Collection[str] = ()) -> dict[str, Entry]:
    """The variables of a network in TensorFlow's layout: height, width, input, output.

    Parameters
    ----------
    keys : node and slot -> the variable's name
    dense : nodes that are Dense layers (2-D kernels, input first) and not 1x1 convolutions
    """
    found = {}
    for node in graph.nodes:
        for slot, shape in node.params.items():
            vendor_shape, axes = _tensorflow_layout(node, shape, dense) if slot == "w" else (shape, (0,))
            found[f"{node.name}.{slot}"] = Entry(keys(node, slot), vendor_shape, axes)
    return found


def _tensorflow_layout(node: Node, shape: Shape, dense: Collection[str]) -> tuple[Shape, tuple[int, ...]]:
    """TensorFlow's shape of a weight, and the axes that bring it to refnet's order."""
    match node.op:
        case "conv2d":
            K, C, R, S = shape
            return (R, S, C, K), (3, 2, 0, 1)
        case "depthwise_conv2d":
            C, R, S = shape
            return (R, S, C, 1), (2, 3, 0, 1)
    K, C = shape
    if node.name in dense:
        return (C, K), (1, 0)
    return (1, 1, C, K), (3, 2, 0, 1)
