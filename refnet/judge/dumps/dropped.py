"""What a port's linear layer read where dropout was left on, of a port that dumps what dropout makes by itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.parts import Parts
from refnet.bugs.layers.dropout import dropped_in
from refnet.graph import Graph
from refnet.pack.matching.layouts import AxisOrder, axis_orders
from refnet.pack.matching.match import Assignment, MatchedTensor
from refnet.readings.precision import FLOATS

__all__ = ["with_dropped"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

_ROUNDINGS = 4 * FLOATS["float32"].u  # relative: a share, one over it, a product


def with_dropped(
    graph: Graph, matching: Assignment, candidate: Mapping[str, Array], shapes: Mapping[str, Shape]
) -> Assignment:
    """The same with what dropout made of a linear layer's input in that input's place: so the layer is judged on it.

    Parameters
    ----------
    candidate : by its own names
    shapes : those of the nodes
    """
    if not matching.unmatched:
        return matching
    read = {node.inputs[0] for node in Parts(graph).dense}
    tensors, left = dict(matching.tensors), []
    for source in matching.unmatched:
        array, node = np.asarray(candidate[source]), ""
        for each in read & tensors.keys():
            order, *_ = (*axis_orders(array.shape, shapes[each]), None)
            if order is not None and _is_dropped(array, order, tensors[each], shapes[each]):
                node, load = each, partial(_ordered, candidate, source, order, shapes[each])
                tensors[node] = MatchedTensor(load, source, order.label, "content")
                break
        left += [] if node else [source]
    return matching._replace(tensors=tensors, unmatched=left)


def _ordered(candidate: Mapping[str, Array], source: str, order: AxisOrder, shape: Shape) -> Array:
    return order.nchw(np.asarray(candidate[source]), shape)


def _is_dropped(array: Array, order: AxisOrder, made: MatchedTensor, shape: Shape) -> bool:
    """Whether a tensor is what dropout makes of another one, to the last digits."""
    if array.dtype.kind != "f" or (own := made.array).shape != shape:
        return False
    t, own = order.nchw(array, shape).astype(np.float64), own.astype(np.float64)
    if (found := dropped_in(t, own)) is None:
        return False
    return bool(np.allclose(t, np.where(found.mask, 0.0, own / (1 - found.rate)), rtol=_ROUNDINGS, atol=0))
