"""Dumps whose names are one off: each tensor holds what its layer reads, or what its neighbour in the list makes.

Hooks that run before a layer hand over its input; a loop over names and tensors may begin at another place in each.
Shapes tell: where layers change them, most tensors have those of another layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

from refnet.graph import SOURCE, Graph
from refnet.pack.matching.layouts import axis_orders

__all__ = ["Shift", "shift_of"]

Shape = tuple[int, ...]

_LEAST, _SHARE = 3, 0.1  # tensors of another layer's shape: so many, and of all at least
_MOST = 0.9  # of the tensors that must have the shape of the place where they would be


class Shift(NamedTuple):
    """Where the tensors belong.

    Attributes
    ----------
    kind : 'input' where each is what its layer reads, 'before' or 'after' where it is of the layer next to it in the
        list of those that are there
    places : by node that a tensor is called by, the node that it is of
    """

    kind: str
    places: Mapping[str, str]


def shift_of(
    graph: Graph,
    shapes: Mapping[str, Shape],
    found: Mapping[str, Shape],
    like: Callable[[str, str], float],
) -> Shift | None:
    """How the names of a dump are off; None where they are not.

    Parameters
    ----------
    shapes : of every node and of 'input', in order of execution
    found : by node, the shape of the tensor that has its name
    like : how far the tensor of a node's name is from what another node makes; asked where shapes do not tell
    """
    unlike = [node for node, shape in found.items() if not axis_orders(shape, shapes[node])]
    if len(unlike) < max(_LEAST, _SHARE * len(found)):
        return None
    fitting: list[tuple[int, Shift]] = []
    for kind, places in _kinds(graph, [node for node in shapes if node in found]).items():
        fits = {node: place for node, place in places.items() if axis_orders(found[node], shapes[place])}
        if len(fits) >= _MOST * len(places) and sum(node in fits for node in unlike) >= _MOST * len(unlike):
            fitting.append((len(fits), Shift(kind, fits)))
    most = [shift for count, shift in fitting if count == max(count for count, _ in fitting)]
    return min(most, key=lambda shift: sum(like(*each) for each in shift.places.items()), default=None)


def _kinds(graph: Graph, names: list[str]) -> dict[str, dict[str, str]]:
    """By kind of shift, where each tensor belongs."""
    order = names if names[:1] == [SOURCE] else [SOURCE, *names]
    return {
        "input": {name: graph[name].inputs[0] for name in names if name != SOURCE},
        "before": {later: name for name, later in itertools.pairwise(order)},
        "after": dict(itertools.pairwise(names)),
    }
