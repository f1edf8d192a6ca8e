"""What many faults of a file have in common, so that one sentence says them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.parts import Parts
from refnet.bugs.systematic import Scope, runs_of, scopes
from refnet.graph import Graph
from refnet.verification.array_findings import ArrayFinding
from refnet.verification.renormalised import RENORMALISED, folded_layers

__all__ = ["FaultPattern", "Tails", "common", "scope_of"]

_MANY = 3  # faults that have something in common
_SLOTS = ("w", "b", "gamma", "beta", "mean", "var")
_STATISTICS = ("mean", "var")
_AT_A_TIME = (2, 4, 8, 16, 32, 64, 128)  # channels that programs work through at once


class Tails(NamedTuple):
    """The last channels of arrays, which are off: a program left out what is behind its last whole group of channels.

    Attributes
    ----------
    side : 'output' or 'input'
    group : channels at once, of which each array has as many whole groups as are right; 0 where no number fits
    each : how many channels are off in each array; 0 where they are not as many
    empty : whether they are all zero
    """

    side: str
    group: int
    each: int
    empty: bool


class FaultPattern(NamedTuple):
    """What all faults have in common.

    Attributes
    ----------
    kind : 'empty' (all are of arrays that hold zeros alone), 'statistics' (only running means and variances differ),
        'norms' (only arrays of batch norm), 'folded' (only what they made of the layers that they are folded into),
        'one' (all of one kind)
    arrays : how many are wrong
    layers : of how many nodes
    of : how many nodes have such arrays
    fault : the kind of all faults, '' where they have several
    scope : which nodes these are, where they are not all: of a kind, or from one on
    same : whether the same is to be said of each array
    slots : which arrays of those nodes differ: 'w', 'b', 'gamma', 'beta', 'mean', 'var'
    tails : of arrays of which the last channels alone are off, which these are
    """

    kind: str
    arrays: int
    layers: int
    of: int
    fault: str
    scope: Scope | None = None
    same: bool = False
    slots: tuple[str, ...] = ()
    tails: Tails | None = None


def common(graph: Graph, values: Sequence[ArrayFinding], other: Graph | None = None) -> FaultPattern | None:
    """The pattern of the faults, the particular ones first; None where they are few or have nothing in common.

    Parameters
    ----------
    graph, other : of the original and of the copy, whose convolutions have biases where batch norm was folded
    """
    every = (*graph.nodes, *(other.nodes if other is not None else ()))
    slots = {f"{node.name}.{slot}": (node.name, slot) for node in every for slot in node.params}
    faults = [value for value in values if value.fault]
    if len(faults) < _MANY or any(value.name not in slots for value in faults):
        return None
    nodes = {slots[value.name][0] for value in faults}
    kinds = {value.kind for value in faults}
    fault = next(iter(kinds)) if len(kinds) == 1 else ""
    norms = {node.name for node in graph.nodes if node.op == "batch_norm"}
    foldable = {unit.conv.name for unit in graph.units() if unit.norm is not None}
    found = {slots[value.name][1] for value in faults}
    said = {(value.mistake.bug, value.mistake.form, _figures(value.mistake.facts)) for value in faults if value.mistake}
    same = len(said) == 1 and bool(fault) and all(value.mistake and value.mistake.bug for value in faults)
    tails = _tails([value.mistake for value in faults])

    def pattern(kind: str, kept: set[str]) -> FaultPattern:
        scope = scope_of(graph, nodes, [name for name in graph.by_name if name in kept])
        if kept == foldable and scope is not None and scope.kind == "layers":
            layers = {node.name for node in graph.nodes if node.op == scope.value}
            scope = Scope("normed", scope.value) if layers - kept - {Parts(graph).classifier} else scope
        held = tuple(slot for slot in _SLOTS if slot in found)
        return FaultPattern(kind, len(faults), len(nodes), len(kept), fault, scope, same, held, tails)

    if not fault and all(value.empty for value in faults):
        return pattern("empty", {name for name, _ in slots.values()})
    if found <= set(_STATISTICS):
        return pattern("statistics", norms)
    if nodes <= norms:
        return pattern("norms", norms)
    if fault == RENORMALISED:
        return pattern("folded", {*folded_layers(graph, other or graph)})
    if fault and nodes <= foldable and all("folded" in value.needs for value in faults):
        return pattern("one", foldable)
    if fault or tails is not None:
        return pattern("one", {name for name, slot in slots.values() if slot in found})
    return None


def _tails(said: Sequence[Mistake | None]) -> Tails | None:
    """Which last channels alone are off, if that is so in each array."""
    mistakes = [each for each in said if each is not None and each.form == "run"]
    ends = [
        (each.facts["first_of"], each.facts["of"]) for each in mistakes if each.facts["last_of"] + 1 == each.facts["of"]
    ]
    sides = {each.facts["side"] for each in mistakes}
    if len(ends) < len(said) or len(sides) != 1:
        return None
    group = next((n for n in _AT_A_TIME if all(first == of // n * n for first, of in ends)), 0)
    counts = {of - first for first, of in ends}
    count = counts.pop() if len(counts) == 1 else 0
    empty = all(each.bug == "weights-pruned" or each.facts["empty"] for each in mistakes)
    return Tails(sides.pop(), group, count, empty) if group or count else None


def _figures(facts: Mapping[str, Any]) -> str:
    """The facts of a mistake but the array's own shape, numbers to five figures: each is solved for from its array."""
    said = {key: value for key, value in facts.items() if key != "shape"}
    return repr({key: f"{value:.5g}" if isinstance(value, float) else value for key, value in said.items()})


def scope_of(graph: Graph, nodes: Collection[str], kept: Sequence[str]) -> Scope | None:
    """Which of the nodes that have such arrays are meant: those of one kind, from one on or up to one."""
    if not set(nodes) < set(kept):
        return None
    parts, meant = Parts(graph), tuple(name for name in kept if name in nodes)
    found = [*scopes(parts, kept).items(), *runs_of(parts, kept).items()]
    # Without the classifier, which is a linear layer to those who speak of convolutions.
    bare = scopes(parts, [name for name in kept if name != parts.classifier])
    found += [(scope, each) for scope, each in bare.items() if scope.kind == "layers"]
    return next((scope for scope, each in found if each == meant), None) or _run(kept, meant)


def _run(kept: Sequence[str], meant: Sequence[str]) -> Scope | None:
    """From one node on, or up to one, wherever in a block that is."""
    if tuple(kept[-len(meant) :]) == meant:
        return Scope("from", meant[0])
    return Scope("until", meant[-1]) if tuple(kept[: len(meant)]) == meant else None
