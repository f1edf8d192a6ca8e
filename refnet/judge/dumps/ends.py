"""Candidates of which only the end is there: logits, probabilities, an embedding.

Such a tensor is a node's by its shape and its role, however wrong the port is. Probabilities beside a network that ends
in logits are what a softmax makes of them: the network is judged with one behind it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import Graph, Node
from refnet.ops import RESIZES
from refnet.pack.matching.layouts import AxisOrder, axis_orders, plain_orders
from refnet.pack.matching.match import Assignment, MatchedTensor
from refnet.pack.printed import in_levels
from refnet.readings.shapes import shapes as sizes

__all__ = ["LOGARITHMS", "PROBABILITIES", "is_distribution", "labels_alone", "logits_of", "with_ends", "with_softmax"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

LOGARITHMS = "log"  # how logarithms of probabilities are laid out
PROBABILITIES = "output"  # as the vendors' own softmax is called
_PROBABLE = re.compile(r"prob|softmax")
_OTHERWISE = re.compile(r"log|before|input|pre_?(prob|softmax)")  # what such a name has that is not of probabilities
_FEW = 4  # tensors that a candidate has which dumps its ends alone
_ABOVE = 1e-3  # the same of their logarithms, which are no whole steps: zero at most, and one in all
_SUM = 0.02  # how far probabilities may be from a sum of one, as those of tables and quick exponentials are


def is_distribution(y: Array) -> bool:
    """Whether each image's numbers are probabilities: none negative, one in all.

    Of an image whose exponentials have an infinite sum all are zero, but for those that are infinite: these are NaN.
    """
    rows = np.asarray(y, np.float64).reshape(len(y), -1)
    finite = np.isfinite(rows)
    infinite = finite.any(axis=1) & (np.where(finite, rows, 0) == 0).all(axis=1)
    if infinite.all():
        return not finite.all()
    rows = rows[~infinite]
    with np.errstate(all="ignore"):
        off = np.abs(rows.sum(axis=1) - 1)
    levels = in_levels(rows)  # of which each is off by half a one
    slack = _SUM if levels is None else max(_SUM, rows.shape[1] * levels.step / 2)
    return bool(rows.shape[1] > 1 and (rows >= 0).all() and (off <= slack).all())


def are_distributions(y: Array, full: Shape) -> bool:
    """Whether a map of classes, in a node's shape or channels last, has the probabilities of each point."""
    if y.dtype.kind != "f" or len(full) != 4:
        return False
    orders = plain_orders(y.shape, full)
    points = (np.moveaxis(order.nchw(np.asarray(y), full), 1, -1).reshape(-1, full[1]) for order in orders)
    return any(map(is_distribution, points))


def is_log_distribution(y: Array) -> bool:
    """Whether each image's numbers are logarithms of probabilities: none above zero, and one in all behind exp."""
    rows = np.asarray(y, np.float64).reshape(len(y), -1)
    if rows.shape[1] < 2 or not np.isfinite(rows).all() or rows.max() > _ABOVE:
        return False
    return bool((np.abs(np.exp(rows).sum(axis=1) - 1) <= _ABOVE).all())


def says_logits(name: str) -> bool:
    """Whether a candidate's own name says that a tensor holds logits: then probabilities under it are a mistake."""
    return "logit" in name.lower()


def says_probabilities(name: str) -> bool:
    """Whether a candidate's own name says that a tensor holds probabilities: then anything else in it is a mistake."""
    plain = name.lower()
    return bool(_PROBABLE.search(plain)) and not _OTHERWISE.search(plain)


def may_be_scores(y: Array) -> bool:
    """Whether numbers beside logits are made of them as probabilities are, if wrongly: within 0 and 1, or no numbers.

    Beside logits a sigmoid is one, or a quotient of exponentials that are infinite.
    """
    with np.errstate(invalid="ignore"):
        return not np.isfinite(y).all() or bool(((y >= 0) & (y <= 1)).all())


def with_softmax(graph: Graph, candidate: Mapping[str, Array], shapes: Mapping[str, Shape], batch: int) -> Graph:
    """The graph with a softmax behind its logits, where it has none and the candidate has probabilities.

    Parameters
    ----------
    candidate, shapes : by its own names, its tensors and their shapes
    """
    last = graph.nodes[-1]
    classes = graph.recipe.classes
    if graph.output != last.name or PROBABILITIES in graph:
        return graph
    soft = replace(graph, nodes=(*graph.nodes, Node(PROBABILITIES, "softmax", (last.name,))))
    if last.op in RESIZES:
        full = (batch, *sizes(graph)[last.name])
        unknown = [name for name in shapes if name not in graph and not says_logits(name)]
        return soft if any(are_distributions(candidate[name], full) for name in unknown) else graph
    if last.op != "flatten":
        return graph
    of_these = {name for name, shape in shapes.items() if plain_orders(shape, (batch, classes))}
    for name, shape in shapes.items():
        of_others = len(shapes) == 1 and len(shape) == 2 and shape[0] == batch  # perhaps of more classes, or fewer
        if name not in graph and not says_logits(name) and (name in of_these or of_others):
            y = np.asarray(candidate[name])
            rows = y.reshape(batch, -1)
            logs = len(shapes) > 1 and is_log_distribution(rows)  # those alone are looked at as logits
            wrong = name in of_these and (says_probabilities(name) or (len(of_these) > 1 and may_be_scores(y)))
            if y.dtype.kind == "f" and (is_distribution(rows) or logs or wrong):
                return soft
    return graph


def with_ends(
    graph: Graph,
    matching: Assignment,
    candidate: Mapping[str, Array],
    found: Mapping[str, Shape],
    shapes: Mapping[str, Shape],
    golden: Callable[[str], Array],
    *,
    added: bool = False,
) -> Assignment:
    """The same with what is left of a few tensors taken for the last nodes that have such shapes; of many, for answers.

    Parameters
    ----------
    found : the candidate's shapes
    shapes : those of the nodes, in order of execution
    golden : gives a node's golden tensor
    added : whether the softmax at the end is none of the pack's

    Logarithms of probabilities beside other tensors are made probabilities. Alone they are logits less a number for
    each image, in whose place they get what gives them the golden logits' mean.
    """
    matching = _softened(matching, shapes, added=added)
    if len(found) > _FEW or not matching.unmatched:
        return _recentred(_with_answers(graph, matching, candidate, found, shapes), shapes, golden)
    tensors, left, logits = dict(matching.tensors), [], logits_of(graph)
    place = {node.name: unit.output for unit in graph.units() for node in unit.nodes}
    same = _flattened(graph)
    for source in matching.unmatched:
        free = [node for node in reversed(list(shapes)) if not {node, same.get(node)} & tensors.keys()]
        fits = [node for node in free if axis_orders(found[source], shapes[node])]
        if any(math.prod(shapes[node][2:]) > 1 for node in fits) and len({place.get(node, node) for node in fits}) > 1:
            # Of several layers' maps the last one is no likelier than others, but for what it alone can be.
            soft = PROBABILITIES in fits and are_distributions(candidate[source], shapes[PROBABILITIES])
            fits = [PROBABILITIES] if soft else []
        beside = bool(logits & {*tensors})
        if not says_probabilities(source) and _is_copy(np.asarray(candidate[source]), tensors.values()):
            fits = []
        node = next((node for node in fits if _plays(node, source, candidate[source], shapes[node], beside)), None)
        if node is None:
            left.append(source)
        else:
            layout = axis_orders(found[source], shapes[node])[0]
            tensors[node] = _taken(candidate, source, layout, node, shapes[node])
    if not tensors and len(left) == 1 and (node := _with_other_classes(graph, found[left[0]], shapes)):
        tensors[node] = MatchedTensor(partial(_raw, candidate, source := left.pop()), source, "unknown", "shape")
    made = matching._replace(tensors={node: tensors[node] for node in shapes if node in tensors}, unmatched=left)
    return _recentred(made, shapes, golden)


def _is_copy(y: Array, tensors: Iterable[MatchedTensor]) -> bool:
    """Whether numbers are those of a tensor that is known, in its shape or flattened: a dropout's, a reshape's."""
    others = (np.asarray(each.array) for each in tensors)
    return any(y.size == other.size and np.array_equal(y.ravel(), other.ravel(), equal_nan=True) for other in others)


def labels_alone(
    graph: Graph, candidate: Mapping[str, Array], golden: Callable[[str], Array]
) -> tuple[str, str, float] | None:
    """The first tensor that holds the number of a class for each point or image, and no more than these.

    Returns
    -------
    its name, of what each number is the class, 'point' or 'image', and how many per cent are the golden tensor's
    """
    answer = golden(graph.output)
    if answer.ndim < 2 or answer.shape[1] < 2:
        return None
    wanted = np.argmax(answer, axis=1)
    for name, held in candidate.items():
        y = np.asarray(held)
        if y.dtype.kind not in "iuf" or np.squeeze(y).shape != np.squeeze(wanted).shape:
            continue
        if np.array_equal(y, np.rint(y)) and y.min() >= 0 and y.max() <= answer.shape[1]:
            share = 100 * float(np.mean(y.reshape(wanted.shape) == wanted))
            return name, "point" if wanted.size > len(wanted) else "image", share
    return None


def _with_answers(
    graph: Graph,
    matching: Assignment,
    candidate: Mapping[str, Array],
    found: Mapping[str, Shape],
    shapes: Mapping[str, Shape],
) -> Assignment:
    """The same with what alone can be a network's answer that is missing: numbers for each image, in its shape."""
    tensors, left = dict(matching.tensors), list(matching.unmatched)
    same, beside = _flattened(graph), bool(logits_of(graph) & {*tensors})
    for answer in graph.outputs:
        if len(shapes[answer]) != 2 or {answer, same.get(answer)} & tensors.keys():
            continue
        fits = [source for source in left if plain_orders(found[source], shapes[answer])]
        fits = [each for each in fits if _plays(answer, each, candidate[each], shapes[answer], beside)]
        sure = [each for each in fits if answer == PROBABILITIES and _are_probabilities(each, candidate[each])]
        fits = sure if len(sure) == 1 else fits
        rivals = [node for node in shapes if not {node, same.get(node)} & {*tensors, answer, same.get(answer)}]
        if len(fits) != 1 or (not sure and any(axis_orders(found[fits[0]], shapes[node]) for node in rivals)):
            continue
        source, (layout, *_) = fits[0], plain_orders(found[fits[0]], shapes[answer])
        tensors[answer] = _taken(candidate, source, layout, answer, shapes[answer])
        left.remove(source)
    return matching._replace(tensors={node: tensors[node] for node in shapes if node in tensors}, unmatched=left)


def _flattened(graph: Graph) -> dict[str, str]:
    """Nodes that hold the same numbers: what is flattened, and what it is flattened from."""
    flat = {node.name: node.inputs[0] for node in graph.nodes if node.op == "flatten"}
    return {before: name for name, before in flat.items()} | flat


def _with_other_classes(graph: Graph, found: Shape, shapes: Mapping[str, Shape]) -> str:
    """The node of the answer, if a tensor of no node's shape holds numbers for each image, as of other classes."""
    node = PROBABILITIES if PROBABILITIES in shapes else graph.output
    return node if len(found) == len(shapes[node]) == 2 and found[0] == shapes[node][0] else ""


def _raw(candidate: Mapping[str, Array], source: str) -> Array:
    return np.asarray(candidate[source])


def _recentred(matching: Assignment, shapes: Mapping[str, Shape], golden: Callable[[str], Array]) -> Assignment:
    node = next(iter(matching.tensors)) if len(matching.tensors) == 1 else ""
    each = matching.tensors.get(node)
    if each is None or each.how == "name" or says_logits(each.source):
        return matching
    if len(shapes[node]) != 2 or node == PROBABILITIES or node not in list(shapes)[-2:]:
        return matching
    y = each.array
    if y.shape != shapes[node] or not is_log_distribution(y) or is_log_distribution(wanted := golden(node)):
        return matching
    moved = wanted.mean(axis=1, keepdims=True, dtype=np.float64) - y.mean(axis=1, keepdims=True, dtype=np.float64)

    def load() -> Array:
        z: Array = each.load() + moved
        return z.astype(y.dtype)

    return matching._replace(tensors={node: replace(each, load=load, layout=LOGARITHMS)})


def _softened(matching: Assignment, shapes: Mapping[str, Shape], *, added: bool) -> Assignment:
    """The same with probabilities that have the logits' name in a vendor's scheme, of one layer with its softmax.

    Of their logarithms the probabilities, where neither the pack, a name nor a map says that they are these.
    """
    if PROBABILITIES not in shapes:
        return matching
    if (last := matching.tensors.get(PROBABILITIES)) is not None:
        told = last.how in ("map", "name") or says_probabilities(last.source)
        if told or not added or not is_log_distribution(last.array):
            return matching
        undone = replace(last, load=_undone(last.load))
        return matching._replace(tensors={**matching.tensors, PROBABILITIES: undone})
    full, tensors = shapes[PROBABILITIES], dict(matching.tensors)
    for node, each in matching.tensors.items():
        own = each.how in ("vendor", "content") or (each.how == "name" and node != PROBABILITIES)
        y = each.array if math.prod(shapes[node]) == math.prod(full) and own else None
        if y is None or y.size != math.prod(full):
            continue
        load = _reshaping(each, full)
        if is_distribution(y.reshape(full)) and each.how != "name":
            tensors[PROBABILITIES] = replace(tensors.pop(node), load=load)
        elif is_log_distribution(y.reshape(full)):
            tensors[PROBABILITIES] = replace(tensors.pop(node), load=_undone(load))
    return matching._replace(tensors={node: tensors[node] for node in shapes if node in tensors})


def _reshaping(tensor: MatchedTensor, shape: Shape) -> Callable[[], Array]:
    return lambda: tensor.array.reshape(shape)


def _undone(load: Callable[[], Array]) -> Callable[[], Array]:
    """Probabilities of their logarithms, in float64: in float32 most of them would be zero."""
    return lambda: np.exp(load().astype(np.float64))


def logits_of(graph: Graph) -> set[str]:
    """The nodes that hold what the softmax at the end is made of; none where there is no softmax."""
    if PROBABILITIES not in graph:
        return set()
    (last,) = graph[PROBABILITIES].inputs
    return {last, *(graph[last].inputs if last in graph and graph[last].op == "flatten" else ())}


def _plays(node: str, source: str, y: Array, full: Shape, beside: bool) -> bool:
    """Whether a tensor can be a node's by what its numbers are, or its name: only probabilities are a softmax's.

    Parameters
    ----------
    full : the node's shape
    beside : whether the logits are there
    """
    if (
        node != PROBABILITIES
        or are_distributions(y, full)
        or is_distribution(y)
        or is_log_distribution(y)
        or says_probabilities(source)
    ):
        return True
    return beside and may_be_scores(y)


def _are_probabilities(source: str, y: Array) -> bool:
    """Whether a tensor's name says that it holds probabilities, or its numbers, unless it is called logits."""
    if y.dtype.kind != "f" or says_logits(source):
        return says_probabilities(source)
    return says_probabilities(source) or is_distribution(y) or is_log_distribution(y)


def _taken(candidate: Mapping[str, Array], source: str, layout: AxisOrder, node: str, shape: Shape) -> MatchedTensor:
    """A tensor as a node's, by its shape: of logarithms, unless its name says otherwise, the probabilities."""
    own = node != PROBABILITIES or says_probabilities(source) or is_distribution(candidate[source])

    def load() -> Array:
        return layout.nchw(np.asarray(candidate[source]), shape)

    logs = not own and is_log_distribution(candidate[source])
    return MatchedTensor(_undone(load) if logs else load, source, layout.label, "shape")
