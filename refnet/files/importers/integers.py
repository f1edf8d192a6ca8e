"""A graph of integers while it is being translated: the operations that a runtime runs, none joined and none left out.

The graph of a quantised file is not brought into the form of refnet's own networks: each tensor that the file stores is
rounded, so each stays a node. Operations are spelled as the rules of `readings.integer` are. Where only axes move, no
node is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import IntegerScale, Structure
from refnet.files.importers.builder import GraphBuilder, Map
from refnet.files.importers.operations import Source
from refnet.graph import SOURCE, Graph, Node
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

__all__ = ["ImportedIntegers", "IntegerBuilder"]

Array = npt.NDArray[Any]

_LARGEST = 1 << 28  # numbers in a map
_TYPES = ("int8", "uint8", "int16")


class ImportedIntegers(NamedTuple):
    """A quantised file as a network.

    Attributes
    ----------
    graph : nodes named after the file's tensors; their operations are rules of `readings.integer`
    params : by 'node.slot': weights as `QuantisedTensor`, biases as integers, floats where the file computes in floats
    quantised : by node, and 'input': what the integers of its tensor stand for; tensors of floats have none
    keys : by node, the file's own name of the tensor
    """

    graph: Graph
    params: dict[str, Any]
    quantised: dict[str, Quantisation]
    keys: dict[str, str]

    def renamed(self, names: Mapping[str, str]) -> ImportedIntegers:
        """The same under other names of nodes."""
        graph = self.graph.renamed(names)
        pairs = list(zip(self.graph.nodes, graph.nodes, strict=True))
        return ImportedIntegers(
            graph,
            {f"{new.name}.{slot}": self.params[f"{old.name}.{slot}"] for old, new in pairs for slot in old.params},
            {names.get(name, name): q for name, q in self.quantised.items()},
            {names.get(name, name): key for name, key in self.keys.items()},
        )


class IntegerBuilder(GraphBuilder):
    """As `GraphBuilder`, of nodes of integers.

    Parameters
    ----------
    source : see `GraphBuilder`
    structure : says of every tensor of the file what its integers stand for
    """

    def __init__(self, source: Source, structure: Structure) -> None:
        super().__init__(*source[:3], batch=source.batch, budget=source.budget)
        self.structure = structure
        self.held: dict[str, Any] = {}
        self.quantised: dict[str, Quantisation] = {}
        self.names: dict[str, str] = {SOURCE: source.name}
        self.blocks: dict[str, int] = {}
        q = self.quantisation(source.name)
        if q is not None:
            self.quantised[SOURCE] = q

    def quantisation(self, tensor: str) -> Quantisation | None:
        """What the integers of a tensor stand for; None where it holds floats."""
        scale, dtype = self.structure.scales.get(tensor), self.structure.dtypes.get(tensor, "")
        if dtype not in _TYPES:
            return None
        if scale is None:
            raise FormatError(f"{shown(tensor)} holds {dtype} without a scale")
        if len(scale.scales) != 1:
            raise FormatError(f"{shown(tensor)} has {len(scale.scales)} scales: activations have one")
        return made(tensor, scale.scales[0], scale.zero_points[0], None, dtype)

    def weights(self, key: str, array: Array, filters: int) -> QuantisedTensor:
        """Weights with the filters first, (K, C, R, S), (K, R, S) or (K, C), with their scales.

        Parameters
        ----------
        filters : which axis of the file's array the filters are
        """
        scale = self.structure.scales.get(key)
        if scale is None:
            raise FormatError(f"{shown(key)} holds {array.dtype} without a scale")
        return weighed(key, array, scale, filters)

    def put(
        self,
        tensor: str,
        op: str,
        *inputs: Map,
        shape: tuple[int, ...],
        params: Mapping[str, Any] | None = None,
        to: Quantisation | None = None,
        blocks: int = 0,
        **attrs: Any,
    ) -> Map:
        """Append a node that makes a tensor of the file.

        Parameters
        ----------
        shape : of what it makes, without the batch axis
        to : what its integers stand for, where that is not for the file's tensor of this name to say
        blocks : into how many maps each image is cut behind it; as before, where that is 0
        """
        held = {slot: value for slot, value in (params or {}).items() if value is not None}
        shapes = {slot: values_of(value).shape for slot, value in held.items()}
        for value in held.values():
            self.spend(values_of(value))
        cut = {self.blocks.get(x.node, 1) for x in inputs}
        if len(cut) > 1:
            raise FormatError(f"joins maps that are cut into {' and '.join(map(str, sorted(cut)))} blocks")
        blocks = blocks or cut.pop()
        if not 1 <= min(shape) <= math.prod(shape) * blocks <= _LARGEST:
            raise FormatError(f"makes a map of the shape {shape}, {blocks} for each image")
        node = Node(self._fit(tensor), op, tuple(x.node for x in inputs), shapes, attrs)
        self.nodes.append(node)
        self.held |= {f"{node.name}.{slot}": value for slot, value in held.items()}
        q = to or self.quantisation(tensor)
        if q is not None:
            self.quantised[node.name] = q
        self.names[node.name] = tensor
        self.blocks[node.name] = blocks
        return Map(node.name, shape, inputs[0].axes)

    def flat(self, x: Map, name: str = "") -> Map:
        """As `GraphBuilder.flat`; the integers stay what they are."""
        y = super().flat(x, name)
        if x.node in self.quantised:
            self.quantised[y.node] = self.quantised[x.node]
        self.blocks[y.node] = self.blocks.get(x.node, 1)
        self.names[y.node] = name or self.names[x.node]
        return y

    def finished(self, outputs: dict[str, Map]) -> ImportedIntegers:
        """The graph that returns some tensors; what does not lead to them is left out."""
        if any(self.blocks.get(x.node, 1) > 1 for x in outputs.values()):
            raise FormatError("returns a map that is cut into blocks")
        graph = self.ended(outputs)
        return ImportedIntegers(
            graph,
            {name: self.held[name] for name in graph.params()},
            {name: q for name, q in self.quantised.items() if name in graph or name == SOURCE},
            {name: key for name, key in self.names.items() if name in graph or name == SOURCE},
        )


def made(tensor: str, scale: Any, zero_point: Any, axis: int | None, dtype: str) -> Quantisation:
    """A quantisation; what is wrong with one is said of the tensor."""
    try:
        return Quantisation(scale, zero_point, axis, dtype)
    except RequestError as error:
        raise FormatError(f"{shown(tensor)} has {error}") from None


def weighed(key: str, array: Array, scale: IntegerScale, filters: int) -> QuantisedTensor:
    """Weights whose first axis is the filters, which have the scales."""
    if len(scale.scales) == 1:
        return QuantisedTensor(array, made(key, scale.scales[0], scale.zero_points[0], None, str(array.dtype)))
    if scale.axis != filters or len(scale.scales) != len(array):
        found = f"{len(scale.scales)} scales along axis {scale.axis}"
        raise FormatError(f"{shown(key)} has {found}, and its {len(array)} filters are axis {filters}")
    return QuantisedTensor(array, made(key, scale.scales, scale.zero_points, 0, str(array.dtype)))


def values_of(value: Any) -> Array:
    """The integers of a param, or the param itself."""
    return value.values if isinstance(value, QuantisedTensor) else np.asarray(value)
