"""Vectors that were divided by their length: embeddings, of which similarities are computed.

Where a candidate goes on behind such a vector, it was made beside the network, and says nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph
from refnet.pack.matching.extras import Extra
from refnet.pack.matching.match import Assignment
from refnet.readings.precision import FLOATS

__all__ = ["without_unit_vectors"]

Array = npt.NDArray[Any]

_TOLD = ("map", "name", "structure")  # how a tensor found its node that is said to be it


def without_unit_vectors(
    graph: Graph, matching: Assignment, shapes: Mapping[str, tuple[int, ...]], golden: Callable[[str], Array]
) -> Assignment:
    """The same, in which vectors of length 1 are beside the nodes whose own are not, if a later node has a tensor.

    Parameters
    ----------
    shapes : of every node, in order of execution
    golden : gives a node's golden tensor
    """
    order = {name: place for place, name in enumerate(shapes)}
    last = max((order[node] for node in matching.tensors), default=-1)
    flat = {node.inputs[0]: order[node.name] for node in graph.nodes if node.op == "flatten"}  # of the same numbers
    beside = {
        node: each.source
        for node, each in matching.tensors.items()
        if each.how not in _TOLD and max(order[node], flat.get(node, -1)) < last
        if math.prod(shapes[node][2:]) == 1 and math.prod(each.array.shape[2:]) == 1
        if _of_length_one(each.array) and not _of_length_one(golden(node))
    }
    if not beside:
        return matching
    return matching._replace(
        tensors={node: each for node, each in matching.tensors.items() if node not in beside},
        extras=(*matching.extras, *(Extra(source, "unit", node) for node, source in beside.items())),
    )


def _of_length_one(vectors: Array) -> bool:
    """Whether each image's is, but for the rounding of its numbers and of the sum of their squares."""
    rows = vectors.reshape(len(vectors), -1)
    if rows.shape[1] < 2 or str(rows.dtype) not in FLOATS:
        return False
    room = FLOATS[str(rows.dtype)].u + rows.shape[1] * FLOATS["float32"].u
    return bool((np.abs(np.linalg.norm(rows.astype(np.float64), axis=1) - 1) <= room).all())
