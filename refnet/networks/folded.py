"""Which convolutions of a folded network had a batch norm."""

from __future__ import annotations

from refnet.graph import Graph
from refnet.networks.build import build
from refnet.networks.dialects import MODELS
from refnet.networks.rewrite import norms
from refnet.ops import CONVOLUTIONS
from refnet.readings.shapes import shapes

__all__ = ["folded_convolutions"]


def folded_convolutions(graph: Graph) -> tuple[str, ...]:
    """Convolutions into which batch norm was folded, if it was: those that have one in the network as it is known.

    Of any other network those with a bias whose outputs are maps: gates and heads have biases of their own, and what
    they make is a point.
    """
    recipe = graph.recipe
    if any(node.op == "batch_norm" for node in graph.nodes):
        return ()
    own = [node.name for node in graph.nodes if node.op in CONVOLUTIONS and "b" in node.params]
    if recipe.model in MODELS:
        known = norms(build(recipe.model, width=recipe.width, size=recipe.size, classes=recipe.classes))
        return tuple(name for name in own if name in known)
    sizes = shapes(graph)
    return tuple(name for name in own if sizes[name][1:] != (1, 1))
