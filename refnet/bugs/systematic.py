"""The same mistake at many places: everywhere, in every layer of a kind, from one layer on.

What was written once in a port is wrong wherever it is used: a class of layers, a rule of padding, an eps. Kinds of
layers are chosen by operation, stride, kernel and part, never by name.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.catalogue import Bug
from refnet.bugs.language.changes import Change
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment, run
from refnet.ops import ACTIVATIONS, GATES, WINDOWED

__all__ = ["ALL", "Scope", "by_place", "changed_at", "changes_by_place", "everywhere", "runs_of", "scopes"]


class Scope(NamedTuple):
    """At which of its places a mistake is made.

    Attributes
    ----------
    kind : 'all'; 'convolutions', without what follows them; 'layers' with the operation of the convolution; 'normed'
        with that of convolutions of which some have no batch norm, and are not meant; 'strided' with whether it has a
        stride; 'strided layers', which have one, with the operation; 'kernel' with its side; 'part' with 'expand',
        'depthwise', 'project', 'squeeze' or 'head'; 'act' with an activation, 'before' with the one that follows;
        'from' and 'until' with a node
    value : which
    """

    kind: str
    value: Any = None


ALL = Scope("all")


def changes_by_place(bug: Bug, segment: Segment, *, joint: bool = True) -> dict[str, dict[str, Change]]:
    """By form of a bug, its changes by node, in order; see `by_place`.

    Parameters
    ----------
    joint : whether those are among them that are made only beside others
    """
    return by_place(bug.changes(segment, joint=joint))


def by_place(changes: Iterable[Change]) -> dict[str, dict[str, Change]]:
    """By form, changes by node, in order; not those that show as a shape, change precision, or are at one place."""
    found: dict[str, dict[str, Change]] = {}
    for change in changes:
        if change.shape is None and change.precision is None and not change.lone:
            found.setdefault(change.form, {}).setdefault(change.node, change)
    return found


def scopes(parts: Parts, nodes: Sequence[str]) -> dict[Scope, tuple[str, ...]]:
    """All of some places, and those of each kind of which there are two or more; no two scopes are of the same places.

    Parameters
    ----------
    nodes : the places, in order
    """
    kinds: dict[Scope, list[str]] = {}
    for name in nodes:
        for scope in _kinds(parts, name):
            kinds.setdefault(scope, []).append(name)
    return _distinct({ALL: tuple(nodes), **{scope: tuple(of) for scope, of in kinds.items()}})


def runs_of(parts: Parts, nodes: Sequence[str]) -> dict[Scope, tuple[str, ...]]:
    """The places from the first one in a block on, and those before it; all of them are not among these."""
    found: dict[Scope, tuple[str, ...]] = {}
    for first, later in itertools.pairwise(nodes):
        if parts.block_of(first) != parts.block_of(later):
            place = nodes.index(later)
            found[Scope("from", later)] = tuple(nodes[place:])
            found[Scope("until", first)] = tuple(nodes[:place])
    return _distinct(found)


def _distinct(found: Mapping[Scope, tuple[str, ...]]) -> dict[Scope, tuple[str, ...]]:
    """The first scope of each set of two or more places."""
    seen: dict[tuple[str, ...], Scope] = {}
    for scope, nodes in found.items():
        if len(nodes) > 1:
            seen.setdefault(nodes, scope)
    return {scope: nodes for nodes, scope in seen.items()}


def _kinds(parts: Parts, name: str) -> Iterator[Scope]:
    """The kinds of layers that a place is of."""
    unit = parts.unit(name)
    if unit is None:
        return
    node = parts.graph[name]
    if node.op in (*ACTIVATIONS, *GATES):
        yield Scope("act", node.op)
    conv = unit.conv
    if conv.params:
        yield Scope("layers", conv.op)
    if part := parts.part_of(conv.name):
        yield Scope("part", part)
    if conv.op in WINDOWED:
        yield Scope("strided", strided := conv.attrs["stride"] != (1, 1))
        if strided and node is conv:
            yield Scope("strided layers", conv.op)
            yield Scope("strided kernel", conv.params["w"][-1])
        yield Scope("kernel", conv.params["w"][-1])
    if node is conv and conv.params:
        yield Scope("convolutions")
    if unit.act is not None and node.op not in (*ACTIVATIONS, *GATES):
        yield Scope("before", unit.act.op)


def everywhere(bug: Bug, segment: Segment) -> Iterator[tuple[tuple[Change, ...], Segment]]:
    """The same mistake at every place where it can be: for each form of a bug its changes, and the segment with all."""
    for form, found in changes_by_place(bug, segment).items():
        yield changed_at(bug, segment, form, found)


def changed_at(
    bug: Bug, segment: Segment, form: str, found: Mapping[str, Change], dtype: npt.DTypeLike = np.float64
) -> tuple[tuple[Change, ...], Segment]:
    """A mistake made at several places.

    Changes that touch nothing in common are made at once. Others are made one after another, each on what those before
    it left, as a port makes them.

    Parameters
    ----------
    found : by node, the change at each place, in order
    dtype : what that run is made in from whose tensors params follow: a port's own, where it is to be a port's
    """
    changes = tuple(found.values())
    if all(change.joint for change in changes):  # another bug
        return (), segment
    if (at_once := _joined(changes)) is not None:
        return changes, segment.changed(at_once)
    if all(map(_is_of_its_node, changes)):
        fed = _fed_on(bug, segment, form, found, dtype)
        if len(fed) == len(changes) and (at_once := _merged(fed)) is not None:
            return fed, segment.changed(at_once)
    changed, done = segment, list[Change]()
    for node in found:
        there = bug.changes(changed.asked([node]), joint=True)
        here = (each for each in there if (each.form, each.node) == (form, node))
        if (change := next(here, None)) is not None:
            changed, done = changed.changed(change), [*done, change]
    return tuple(done), changed


def _is_of_its_node(change: Change) -> bool:
    """Whether a change follows from what flows through the network, and touches nothing but its node."""
    touched = {*change.nodes, *(name.rpartition(".")[0] for name in change.params)}
    return change.fed and change.view is None and touched == {change.node}


def _fed_on(
    bug: Bug, segment: Segment, form: str, found: Mapping[str, Change], dtype: npt.DTypeLike
) -> tuple[Change, ...]:
    """Changes that follow from what their nodes are given, as far as these alone tell them.

    One run makes each before its node is run.
    """
    params: dict[str, Any] = {name: np.asarray(segment.params[name], dtype) for name in segment.graph.params()}
    values = {name: np.asarray(y, dtype) for name, y in segment.given.items()}
    inside = replace(segment, params=params, span=(-math.inf, math.inf))
    last = {name: node.name for node in segment.graph.nodes for name in node.inputs}
    done: list[Change] = []
    for node in segment.graph.nodes:
        given = {name: values[name] for name in node.inputs}
        alone = replace(inside, graph=replace(segment.graph, nodes=(node,)), given=given)
        if node.name in found:
            made = (each for each in bug.changes(alone, joint=True) if (each.form, each.node) == (form, node.name))
            if (change := next(made, None)) is None:
                break
            done.append(change)
            alone = alone.changed(change)
        if len(done) == len(found):  # nothing asks for what lies behind
            break
        try:
            values[node.name] = run(alone, dtype)
        except (ValueError, IndexError):  # so changed, maps may have sizes that nothing runs on
            break
        for name in given:
            if last[name] == node.name:
                del values[name]
    return tuple(done)


def _joined(changes: Sequence[Change]) -> Change | None:
    """Several changes as one, if they touch nothing in common and follow from no values or sizes."""
    if len(changes) == 1:
        return changes[0]
    return None if any(change.fed or change.view for change in changes) else _merged(changes)


def _merged(changes: Sequence[Change]) -> Change | None:
    """Several changes as one, if they touch nothing in common."""
    joined: dict[str, dict[str, Any]] = {"nodes": {}, "params": {}, "on_batch": {}, "given": {}}
    for what, made in joined.items():
        for change in changes:
            more = getattr(change, what)
            if made.keys() & more.keys():
                return None
            made |= more
    nodes, params, on_batch, given = joined.values()
    return replace(changes[0], nodes=nodes, params=params, on_batch=on_batch, given=given)
