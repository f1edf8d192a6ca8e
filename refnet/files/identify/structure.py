"""A graph that a file tells -> the known network that it is, or is almost.

The known network that it differs least from is it: each convolution that is another one counts, and each habit, such as
another eps, counts once, at however many nodes. A file may be several: folded, timm's two V3 with other eps are one
where their paddings agree.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from refnet.alignment.diff import differences
from refnet.alignment.differences import Difference, structural
from refnet.alignment.naming import NamedGraph, named_after
from refnet.errors import FormatError, RequestError
from refnet.files.identify.nearest import likely
from refnet.files.schemes import entries
from refnet.graph import SOURCE, Graph
from refnet.networks.build import build, find
from refnet.networks.dialects import MODELS
from refnet.ops import CONVOLUTIONS

__all__ = ["Recognised", "recognise"]

_MOST_NODES = 1000  # five times the deepest known network


class Recognised(NamedTuple):
    """What a graph is.

    Attributes
    ----------
    models : the networks that it is, or is nearest to
    named : the graph under the first one's names
    differences : from that one, at the width, size and classes of the graph's recipe
    """

    models: tuple[str, ...]
    named: NamedGraph
    differences: tuple[Difference, ...]


class _Candidate(NamedTuple):
    known: Graph
    named: NamedGraph
    differences: tuple[Difference, ...]
    unlike: int  # convolutions that are others, and habits

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
    found: list[_Candidate] = []
    for name, at in likely(graph, model, width, lambda: min((one.unlike for one in found), default=math.inf)):
        found.append(_candidate(graph, name, at, classes))
    place = {name: i for i, name in enumerate(MODELS)}

    def rank(candidate: _Candidate) -> tuple[int | bool, ...]:
        """Among equals a plain network comes first, and a name that carries its width before one that is told it."""
        recipe = candidate.known.recipe
        alike = _resemblance(candidate.known, keys)
        variant = MODELS[recipe.model].variant
        return candidate.unlike, len(candidate.differences), -alike, variant, recipe.width != 1.0, place[recipe.model]

    found.sort(key=rank)
    best = found[0]
    if 2 * best.named.found < 1:  # most of it is missing
        raise FormatError(
            f"no network that refnet knows: the nearest is {best.known.recipe.model}, and only {best.named.found:.0%} "
            "of its convolutions have a counterpart"
        )
    models: list[_Candidate] = []
    for candidate in found:
        if MODELS[candidate.known.recipe.model].variant and models:
            continue
        alike = candidate.differences == best.differences
        told_apart = all((candidate.vendor, candidate.known.nodes) != (one.vendor, one.known.nodes) for one in models)
        if alike and told_apart:
            models.append(candidate)
    named = _with_classes(best.named)
    return Recognised(tuple(one.known.recipe.model for one in models), named, best.differences)


def _candidate(graph: Graph, name: str, width: float, classes: int) -> _Candidate:
    known = _built(name, width, classes)
    try:
        sized = _built(name, width, classes, graph.recipe.size)
    except RequestError:  # images that are too small for it
        sized = known
    named = named_after(sized, graph)
    found = structural(differences(sized, named.graph))
    convolutions, habits = 0, list[tuple[object, ...]]()
    for node, key, was, now, _ in found:
        if key in ("channels", "filter") or (key in ("missing", "extra") and (was or now)["op"] in CONVOLUTIONS):
            convolutions += node != SOURCE
        elif (key, was, now) not in habits:
            habits.append((key, was, now))
    return _Candidate(known, named, found, convolutions + len(habits))


@lru_cache(maxsize=256)
def _built(model: str, width: float, classes: int, size: tuple[int, int] | None = None) -> Graph:
    return build(model, width=width, classes=classes, size=size)


def _resemblance(known: Graph, keys: Collection[str]) -> int:
    """How many of a file's names are the vendor's."""
    return len({entry.key for entry in entries(known).values()} & set(keys))


def _with_classes(named: NamedGraph) -> NamedGraph:
    """Without a last layer a network has no classes of its own, and its recipe its vendor's."""
    if "head.logits" in named.graph:
        return named
    recipe = replace(named.graph.recipe, classes=find(named.graph.recipe.model).dialect.classes)
    return named._replace(graph=replace(named.graph, recipe=recipe))
