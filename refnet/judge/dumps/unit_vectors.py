"""Vectors that were divided by their length: embeddings, of which similarities are computed.

Where a candidate goes on behind such a vector, it was made beside the network, and says nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, interpret
from refnet.network import Network
from refnet.pack.matching.extras import Extra
from refnet.pack.matching.match import Assignment
from refnet.readings import fast
from refnet.readings.precision import FLOATS

__all__ = ["without_unit_vectors"]

Array = npt.NDArray[Any]

_NEAR = 1 / 16  # of a tensor: more than any format rounds it, and less than the length of what it reads moves it
_TOLD = ("map", "name", "structure")  # how a tensor found its node that is said to be it


def without_unit_vectors(
    network: Network, matching: Assignment, shapes: Mapping[str, tuple[int, ...]], golden: Callable[[str], Array]
) -> Assignment:
    """The same, in which vectors of length 1 are beside the nodes whose own are not, if the port does not go on there.

    A later node has a tensor then, and that is none of what the network makes of the vector.

    Parameters
    ----------
    shapes : of every node, in order of execution
    golden : gives a node's golden tensor
    """
    beside = {
        node: each.source
        for node, each in matching.tensors.items()
        if each.how not in _TOLD and math.prod(shapes[node][2:]) == 1 and each.array.size == math.prod(shapes[node])
        if _of_length_one(each.array) and not _of_length_one(golden(node))
        if _leads_elsewhere(network, node, matching, shapes)
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


def _leads_elsewhere(network: Network, node: str, matching: Assignment, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether there is a tensor behind a node's, and it is another than what the network makes of that."""
    order, graph = list(shapes), network.graph
    twins = [each.name for each in graph.nodes if each.op == "flatten" and each.inputs[0] == node]  # the same numbers
    behind = (name for name in order[order.index(node) + 1 :] if name in matching.tensors and name not in twins)
    if (later := next(behind, None)) is None:
        return False
    part = graph.leading_to(later, starts={node})
    there = matching.tensors[later].array
    if there.size != math.prod(shapes[later]) or any(SOURCE in each.inputs for each in part.nodes):
        return False
    vector = matching.tensors[node].array.reshape(shapes[node]).astype(np.float64)
    made = interpret(part, fast, network.params, {node: vector})
    return bool(np.linalg.norm(made - there.reshape(shapes[later])) > _NEAR * np.linalg.norm(there))
