"""A graph that a file tells -> the known network that it is, is almost, or begins as; else a network of its own.

The known network that it differs least from is it: each convolution that is another one counts, and each habit, such as
another eps, counts once, at however many nodes. What ends early is held against as much of a known network as it has.
A file may be several: folded, timm's two V3 with other eps are one where their paddings agree.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from typing import Literal, NamedTuple

from refnet.alignment.diff import differences
from refnet.alignment.differences import Difference, Standing, structural
from refnet.alignment.naming import NamedGraph, named_after
from refnet.errors import FormatError, RequestError
from refnet.files.identify.nearest import beginnings, likely, of_kernels, rounded_otherwise
from refnet.files.schemes import entries
from refnet.graph import SOURCE, Graph
from refnet.networks.build import build, find
from refnet.networks.dialects import MODELS
from refnet.networks.plan import WidthRule
from refnet.networks.rewrite import norms
from refnet.ops import CONVOLUTIONS, WINDOWED

__all__ = ["Recognised", "recognise", "up_to"]

_MOST_NODES = 1000  # five times the deepest known network
_POOL, _FLAT = "head.pool", "head.flatten"
# What "almost" means: more of the convolutions of either side are the other's than are not. Networks of other families
# have up to four fifths in common, so a lesser share would tell nobody anything.
_HALF = 0.5
# What it counts to have another end: an activation and a batch norm, which a head of one's own may have between its
# layers, are two habits; so a whole network with such a head comes before the beginning of one.
_OWN_END = 2


class Recognised(NamedTuple):
    """What a graph is.

    Attributes
    ----------
    standing : how it stands to the known networks
    models : the networks that it is, or almost is, or begins as; none of an own one
    named : the graph under the first one's names, an own one under its own
    differences : from that one, at the width, size and classes of the graph's recipe; of a beginning, as far as it goes
    divisor : by which rule its channels are rounded, where its vendor does it otherwise
    """

    standing: Standing
    models: tuple[str, ...]
    named: NamedGraph
    differences: tuple[Difference, ...]
    divisor: WidthRule | None = None


class _Candidate(NamedTuple):
    known: Graph
    named: NamedGraph
    differences: tuple[Difference, ...]
    unlike: int  # convolutions that are others, and habits
    sized: Graph  # the known network, or its beginning, for the file's images
    until: str = ""  # of a beginning
    beyond: tuple[str, ...] = ()

    @property
    def vendor(self) -> str:
        return find(self.known.recipe.model).dialect.vendor

    @property
    def share(self) -> float:
        """How many of the convolutions of the larger side are the other's."""
        return _share(self.sized, self.named.graph) if self.unlike else 1.0

    def standing(self) -> Standing:
        recipe = self.known.recipe
        whole: Literal["almost", "known"] = "almost" if self.differences else "known"
        kind: Literal["beginning", "almost", "known"] = "beginning" if self.until else whole
        return Standing(kind, recipe.model, recipe.width, self.share, self.until, self.beyond)


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
        if the network or width that is given has too little in common with the graph.
    """
    found = _nearest(graph, keys, model, width)
    best = found[0] if found else None
    if best is None or (not best.until and best.share < _HALF):
        if model is not None or width is not None:
            share = f": only {best.share:.0%} of the convolutions are the same" if best is not None else ""
            raise FormatError(f"is no {model or f'known network of width {width:g}'}{share}")
        for name in of_kernels(graph):  # of which most layers have other channels
            if (rounded := rounded_otherwise(graph, name)) is not None:
                return recognise(graph, keys, name, rounded[0])._replace(divisor=rounded[1])
        return _own(graph)
    if width is None and not best.until and any(each.key == "channels" for each in best.differences):
        names = dict.fromkeys(one.known.recipe.model for one in found)
        rounded = next(filter(None, (rounded_otherwise(graph, name) for name in names)), None)
        if rounded is not None:
            return recognise(graph, keys, model, rounded[0])._replace(divisor=rounded[1])
    models: list[_Candidate] = []
    for candidate in found:
        if MODELS[candidate.known.recipe.model].variant and models:
            continue
        alike = (candidate.differences, candidate.until) == (best.differences, best.until)
        distinct = all((candidate.vendor, candidate.known.nodes) != (one.vendor, one.known.nodes) for one in models)
        if alike and distinct:
            models.append(candidate)
    return Recognised(
        best.standing(),
        tuple(one.known.recipe.model for one in models),
        _with_classes(best.named, graph),
        best.differences,
    )


def up_to(known: Graph, until: str) -> Graph:
    """The beginning of a network, with a node as its last; the last flatten is that of the features."""
    if until == _FLAT:
        return Graph(known.recipe, (*up_to(known, _POOL).nodes, replace(known[_FLAT], inputs=(_POOL,))))
    names = [node.name for node in known.nodes]
    return Graph(known.recipe, known.nodes[: names.index(until) + 1])


def _own(graph: Graph) -> Recognised:
    folded = not any(node.op == "batch_norm" for node in graph.nodes)
    return Recognised(
        Standing("own", share=0.0), (), NamedGraph(graph, {node.name: node.name for node in graph.nodes}, folded), ()
    )


def _nearest(graph: Graph, keys: Collection[str], model: str | None, width: float | None) -> list[_Candidate]:
    """Known networks, or their beginnings, the nearest first; none of a graph that none can be near to."""
    convolutions = [node for node in graph.nodes if node.op in CONVOLUTIONS]
    if not convolutions or len(graph.nodes) > _MOST_NODES:
        return []
    classes = int(convolutions[-1].params["w"][0])
    found: list[_Candidate] = []
    for name, at in likely(graph, model, width, lambda: min((one.unlike for one in found), default=math.inf)):
        found.append(_candidate(graph, name, at, classes))
    if max(one.share for one in found) < 1:
        found += [_beginning(graph, name, at, count) for name, at, count in beginnings(graph, model, width)]
    place = {name: i for i, name in enumerate(MODELS)}

    def rank(candidate: _Candidate) -> tuple[int | bool, ...]:
        """Among equals a whole and plain network comes first, then a name that carries its width."""
        recipe = candidate.known.recipe
        alike = _resemblance(candidate.known, keys)
        order = (-alike, MODELS[recipe.model].variant, recipe.width != 1.0, place[recipe.model])
        return candidate.unlike, bool(candidate.until), len(candidate.differences), *order

    return sorted(found, key=rank)


def _candidate(graph: Graph, name: str, width: float, classes: int) -> _Candidate:
    """A graph as a known network."""
    known, sized = _built(name, width, classes), _sized(name, width, classes, graph.recipe.size)
    named = named_after(sized, graph)
    found = structural(differences(sized, named.graph))
    return _Candidate(known, named, found, _unlike(found), sized)


def _beginning(graph: Graph, name: str, width: float, count: int) -> _Candidate:
    """A graph as a known network whose first convolutions it has."""
    whole, sized = _built(name, width, 1), _sized(name, width, 1, graph.recipe.size)
    names = [node.name for node in sized.nodes]
    convolutions = [node.name for node in sized.nodes if node.op in CONVOLUTIONS]
    # All that is before the next convolution, as far as the file has it; its last batch norm may be folded.
    before = names[names.index(convolutions[count]) - 1]
    alone = count == sum(node.op in CONVOLUTIONS for node in graph.nodes)
    known = up_to(sized, _FLAT if before == _POOL and alone and _FLAT in sized else before)
    named = named_after(known, graph)
    last = norms(known).get(convolutions[count - 1])
    until = [node.name for node in known.nodes if node.name in named.graph or node is last][-1]
    known = up_to(known, until)
    taken = {node.name for node in known.nodes}
    end = max(i for i, node in enumerate(named.graph.nodes) if node.name in taken) + 1
    named = named.keeping({node.name for node in named.graph.nodes[end:]}, taken)
    beyond = tuple(node.name for node in named.graph.nodes[end:])
    found = structural(differences(known, named.graph))
    found = tuple(one for one in found if one.key != "extra" or one.node not in beyond)
    own = sum(named.graph[name].op in CONVOLUTIONS for name in beyond)
    unlike = _unlike(found) + (own + _OWN_END if own else 0)
    return _Candidate(whole, named, found, unlike, known, until, beyond)


def _unlike(found: Collection[Difference]) -> int:
    """Convolutions that are others, and habits."""
    convolutions, habits = 0, list[tuple[object, ...]]()
    for node, key, was, now, _ in found:
        if key in ("channels", "filter") or (key in ("missing", "extra") and (was or now)["op"] in CONVOLUTIONS):
            convolutions += node != SOURCE
        elif (key, was, now) not in habits:
            habits.append((key, was, now))
    return convolutions + len(habits)


def _share(known: Graph, named: Graph) -> float:
    """How many convolutions two graphs have in common, of those of the larger; of other channels, half of one."""
    total = max(sum(node.op in CONVOLUTIONS for node in each.nodes) for each in (known, named))
    same = 0.0
    for node in named.nodes:
        twin = known.by_name.get(node.name)
        if node.op not in CONVOLUTIONS or twin is None or twin.op != node.op:
            continue
        w, other = node.params["w"], twin.params["w"]
        if node.op not in WINDOWED or w[-2:] == other[-2:]:
            same += 1.0 if w[0] == other[0] else 0.5
    return same / total


def _sized(model: str, width: float, classes: int, size: tuple[int, int]) -> Graph:
    try:
        return _built(model, width, classes, size)
    except RequestError:  # images that are too small for it
        return _built(model, width, classes)


@lru_cache(maxsize=256)
def _built(model: str, width: float, classes: int, size: tuple[int, int] | None = None) -> Graph:
    return build(model, width=width, classes=classes, size=size)


def _resemblance(known: Graph, keys: Collection[str]) -> int:
    """How many of a file's names are the vendor's."""
    return len({entry.key for entry in entries(known).values()} & set(keys))


def _with_classes(named: NamedGraph, file: Graph) -> NamedGraph:
    """Without its own last layer a network returns as many numbers as the file says."""
    if "head.logits" in named.graph:
        return named
    recipe = replace(named.graph.recipe, classes=file.recipe.classes)
    return named._replace(graph=replace(named.graph, recipe=recipe))
