"""A graph that a file tells -> the known network that it is, or is almost.

Among the networks that are worth a look (`nearest`) the one with the fewest differences is it. A file may be several:
folded, timm's two V3 with other eps are one where their paddings agree.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from refnet.errors import FormatError
from refnet.files.identify.comparison import Comparison, compare
from refnet.files.identify.nearest import Likely, likely
from refnet.files.schemes import entries
from refnet.graph import Graph
from refnet.networks.build import build, find
from refnet.ops import CONVOLUTIONS

__all__ = ["Recognised", "recognise"]

_MOST_NODES = 1000  # five times the deepest known network: what comes after takes time with the square of it
_ENOUGH = 0.6  # of a known network's convolutions must have a counterpart: less is another kind of network


class Recognised(NamedTuple):
    """Which networks a graph is, the first of them with what makes it another."""

    models: tuple[str, ...]
    comparison: Comparison


class _Candidate(NamedTuple):
    known: Graph
    comparison: Comparison

    @property
    def vendor(self) -> str:
        return find(self.known.recipe.model).dialect.vendor


def recognise(graph: Graph, keys: Collection[str], model: str | None, width: float | None) -> Recognised:
    """Find the known network that a graph is nearest to.

    Parameters
    ----------
    graph : with any names, folded or not
    keys : the file's names of its arrays; where several networks are equally near, names that a vendor gives decide
    model, width : as far as they are given

    Raises
    ------
    FormatError
        if the graph is no MobileNet at all: names the nearest.
    """
    if len(graph.nodes) > _MOST_NODES:
        raise FormatError(
            f"no network that refnet knows: it has {len(graph.nodes):,} nodes, and none has {_MOST_NODES:,}"
        )
    if len(graph.outputs) > 1:
        raise FormatError(f"no network that refnet knows: it returns {len(graph.outputs)} tensors")
    convolutions = [node for node in graph.nodes if node.op in CONVOLUTIONS]
    if not convolutions:
        raise FormatError("holds no convolution, so it is no network that refnet knows")
    classes = int(convolutions[-1].params["w"][0])
    found = [_compared(one, classes, graph) for one in likely(graph, model, width)]
    found.sort(key=lambda candidate: (len(candidate.comparison.differences), -_resemblance(candidate.known, keys)))
    best = found[0]
    recipe = best.known.recipe
    if best.comparison.found < _ENOUGH:
        raise FormatError(
            f"no network that refnet knows: the nearest is {recipe.model}, and only {best.comparison.found:.0%} of its "
            "convolutions have a counterpart"
        )
    models: list[_Candidate] = []
    for candidate in found:
        alike = candidate.comparison.differences == best.comparison.differences
        told_apart = all((candidate.vendor, candidate.known.nodes) != (one.vendor, one.known.nodes) for one in models)
        if alike and told_apart:
            models.append(candidate)
    return Recognised(tuple(one.known.recipe.model for one in models), _with_classes(best.comparison))


def _compared(one: Likely, classes: int, graph: Graph) -> _Candidate:
    known = _built(one.model, one.width, classes)
    return _Candidate(known, compare(known, graph))


@lru_cache(maxsize=256)
def _built(model: str, width: float, classes: int) -> Graph:
    return build(model, width=width, classes=classes)


def _resemblance(known: Graph, keys: Collection[str]) -> int:
    """How many of a file's names are the vendor's."""
    return len({entry.key for entry in entries(known).values()} & set(keys))


def _with_classes(comparison: Comparison) -> Comparison:
    """Without a last layer a network has no classes of its own, and its recipe its vendor's."""
    if all(node.name != "head.logits" for node in comparison.graph.nodes):
        recipe = comparison.graph.recipe
        recipe = replace(recipe, classes=find(recipe.model).dialect.classes)
        return comparison._replace(graph=replace(comparison.graph, recipe=recipe))
    return comparison
