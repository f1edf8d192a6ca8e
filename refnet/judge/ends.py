"""Candidates of which only the end is there: logits, probabilities, an embedding.

Such a tensor is a node's by its shape and its role, however wrong the port is. Probabilities beside a network that ends
in logits are what a softmax makes of them: the network is judged with one behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph, Node
from refnet.pack.layouts import axis_orders
from refnet.pack.match import Assignment, MatchedTensor

__all__ = ["PROBABILITIES", "is_distribution", "with_ends", "with_softmax"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

PROBABILITIES = "output"  # as the vendors' own softmax is called
_FEW = 4  # tensors that a candidate has which dumps its ends alone
_SUM = 0.02  # how far probabilities may be from a sum of one: those in 8 bits have steps of 1/256


def is_distribution(y: Array) -> bool:
    """Whether each image's numbers are probabilities: none negative, one in all."""
    rows = np.asarray(y, np.float64).reshape(len(y), -1)
    with np.errstate(all="ignore"):
        return bool(rows.shape[1] > 1 and (rows >= 0).all() and (np.abs(rows.sum(axis=1) - 1) <= _SUM).all())


def with_softmax(graph: Graph, candidate: Mapping[str, Array], shapes: Mapping[str, Shape], batch: int) -> Graph:
    """The graph with a softmax behind its logits, where it has none and the candidate has probabilities.

    Parameters
    ----------
    candidate, shapes : by its own names, its tensors and their shapes
    """
    last = graph.nodes[-1]
    classes = graph.recipe.classes
    if last.op != "flatten" or graph.output != last.name or PROBABILITIES in graph:
        return graph
    for name, shape in shapes.items():
        if name not in graph and axis_orders(shape, (batch, classes)) and math.prod(shape) == batch * classes:
            y = np.asarray(candidate[name])
            if y.dtype.kind == "f" and is_distribution(y.reshape(batch, classes)):
                return replace(graph, nodes=(*graph.nodes, Node(PROBABILITIES, "softmax", (last.name,))))
    return graph


def with_ends(
    matching: Assignment, candidate: Mapping[str, Array], found: Mapping[str, Shape], shapes: Mapping[str, Shape]
) -> Assignment:
    """The same with what is left of a few tensors taken for the last nodes that have such shapes.

    Parameters
    ----------
    found : the candidate's shapes
    shapes : those of the nodes, in order of execution
    """
    matching = _softened(matching, candidate, shapes)
    if len(found) > _FEW or not matching.unmatched:
        return matching
    tensors, left = dict(matching.tensors), []
    for source in matching.unmatched:
        fits = (
            node for node in reversed(list(shapes)) if node not in tensors and axis_orders(found[source], shapes[node])
        )
        node = next((node for node in fits if _plays(node, candidate[source])), None)
        if node is None:
            left.append(source)
        else:
            layout = axis_orders(found[source], shapes[node])[0]
            load = _loading(candidate, source, layout.nchw, shapes[node])
            tensors[node] = MatchedTensor(load, source, layout.label, "shape")
    return matching._replace(tensors={node: tensors[node] for node in shapes if node in tensors}, unmatched=left)


def _softened(matching: Assignment, candidate: Mapping[str, Array], shapes: Mapping[str, Shape]) -> Assignment:
    """The same with probabilities that have the logits' name in a vendor's scheme, of one layer with its softmax."""
    if PROBABILITIES not in shapes or PROBABILITIES in matching.tensors:
        return matching
    full, tensors = shapes[PROBABILITIES], dict(matching.tensors)
    for node, each in matching.tensors.items():
        y = each.array if math.prod(shapes[node]) == math.prod(full) and each.how in ("vendor", "content") else None
        if y is not None and y.size == math.prod(full) and is_distribution(y.reshape(full)):
            del tensors[node]
            tensors[PROBABILITIES] = replace(each, load=_reshaping(each, full))
    return matching._replace(tensors={node: tensors[node] for node in shapes if node in tensors})


def _reshaping(tensor: MatchedTensor, shape: Shape) -> Callable[[], Array]:
    return lambda: tensor.array.reshape(shape)


def _plays(node: str, y: Array) -> bool:
    """Whether a tensor can be a node's by what its numbers are: only probabilities are those of a softmax."""
    return node != PROBABILITIES or is_distribution(y)


def _loading(
    candidate: Mapping[str, Array], source: str, nchw: Callable[[Array, Shape], Array], shape: Shape
) -> Callable[[], Array]:
    return lambda: nchw(np.asarray(candidate[source]), shape)
