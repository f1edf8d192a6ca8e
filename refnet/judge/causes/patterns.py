"""What causes have in common: a mistake that many tensors show, of what kind its places are, and where it begins."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.changes import PART, Mistake
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment
from refnet.bugs.systematic import ALL, Scope, changes_by_place, runs_of, scopes
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.shared_parts import are_most, multiple_of, part_of_all
from refnet.judge.causes.varying import kind_of, varying

__all__ = ["Pattern", "patterns"]


class Pattern(NamedTuple):
    """A mistake that several wrong tensors share.

    Attributes
    ----------
    mistake : at the first of its places
    scope : of what kind the places are; None where they are of no one kind
    nodes : where it is, in order
    of : how many places of that kind there are, or at all
    tensors : the tensors that it explains, alone or with other patterns
    """

    mistake: Mistake
    scope: Scope | None
    nodes: tuple[str, ...]
    of: int
    tensors: tuple[str, ...]


def patterns(
    found: Mapping[str, list[Cause]],
    whole: Segment,
    judged: Collection[str],
    stored: Mapping[str, tuple[str, ...]],
    alike: Mapping[str, Mistake] = MappingProxyType({}),
) -> tuple[Pattern, ...]:
    """The mistakes that are said of two or more places, or that one long segment shows at many.

    Parameters
    ----------
    found : by tensor, its causes, the likeliest first
    whole : the network as one segment, in which all places of a mistake are found
    judged : the tensors that were judged, which are the places of a mistake that the result alone shows
    stored : how each tensor of integers is rounded, right ones too, where that is not to the nearest
    alike : right tensors that are stored as wrong ones are, with the mistake that this is of these
    """
    told: dict[tuple[str, str], dict[str, Mistake]] = {}
    tensors: dict[tuple[str, str], list[str]] = {}
    for causes in found.values():
        for mistake, extent in causes[0].parts if causes else ():
            nodes = (mistake.node,) if extent is None else extent.nodes
            told.setdefault(kind_of(mistake), {}).update(dict.fromkeys(nodes, mistake))
    for kind in {kind_of(mistake) for mistake in alike.values()}:
        both = {**alike, **told[kind]}
        told[kind] = {name: both[name] for name in judged if name in both}
    alone = {kind for kind, by_node in told.items() if len(by_node) < 2 and kind[0] != "store-rounding"}
    for name, causes in found.items():
        kinds = dict.fromkeys(kind_of(mistake) for mistake in causes[0].mistakes) if causes else {}
        for kind in kinds if not kinds.keys() & alone else ():
            tensors.setdefault(kind, []).append(name)
    left = (each for (bug, _), by_node in told.items() if bug == "outputs-left" for each in by_node.values())
    numbers, made = [each.facts["multiple"] for each in left], list[Pattern]()
    for (bug, form), by_node in told.items():
        explained = tuple(tensors.get((bug, form), ()))
        if bug == "store-rounding":
            made.append(_of_stores(form, by_node, judged, stored, explained))
        elif len(by_node) > 1:
            made.append(_of_places(bug, form, by_node, whole, judged, explained, numbers))
    return tuple(sorted(made, key=lambda each: -len(each.nodes)))


def _of_stores(
    form: str,
    found: Mapping[str, Mistake],
    judged: Collection[str],
    stored: Mapping[str, tuple[str, ...]],
    explained: tuple[str, ...],
) -> Pattern:
    """How integers are rounded, said of right ones too."""
    first = next(iter(found.values()))
    by_node = {name: first for name, manners in stored.items() if form in manners} | {**found}
    every = [name for name in judged if name in stored]
    return Pattern(first, ALL, tuple(by_node), max(len(every), len(by_node)), explained)


def _of_places(
    bug: str,
    form: str,
    found: Mapping[str, Mistake],
    whole: Segment,
    judged: Collection[str],
    explained: tuple[str, ...],
    numbers: Sequence[int],
) -> Pattern:
    """A mistake of two places or more: its number or its part at all of them, and of what kind they are.

    Parameters
    ----------
    numbers : of channels, whose multiples alone other tensors are seen to have
    """
    forms = changes_by_place(BUGS[bug], whole, joint=False)
    # A form that was solved for is none of the network's own: it could be wherever another form is.
    known = {*(forms.get(form) or (node for places in forms.values() for node in places))}
    if known <= {whole.end}:
        ops = {whole.graph[name].op for name in found.keys() - {*judged} if name in whole.graph}
        known = {*judged, *(node.name for node in whole.nodes(*ops))}  # inside what was judged, any of these could be
    every = tuple(node.name for node in whole.graph.nodes if node.name in known or node.name in found)
    first, multiple = varying(found, whole.parts), multiple_of(found, every, whole, numbers)
    if multiple:
        first = first._replace(form=f"beyond {multiple.axis}", facts={"multiple": multiple.number})
    elif any(PART in each.facts for each in found.values()):
        part, multiple = part_of_all(found, every, whole)
        facts = {key: fact for key, fact in first.facts.items() if key != PART}
        first = first._replace(facts=facts | ({PART: part} if part else {}))
    scope, of = _scope(whole.parts, every, found, multiple.nodes if multiple else every)
    return Pattern(first, scope, tuple(found), of, explained)


def _scope(
    parts: Parts, every: tuple[str, ...], nodes: Mapping[str, Mistake], applies: Collection[str]
) -> tuple[Scope | None, int]:
    """The kind of places at most of which a mistake is, and nowhere else; and how many such there are.

    Of a mistake that nodes of several operations may have, those count that are of an operation with it. Where it is at
    no kind of places it may begin or end somewhere: then it is at all on that side.
    """
    ops = {parts.graph[name].op for name in nodes if name in parts.graph}
    applies = {*applies, *nodes}
    alike = tuple(name for name in every if name not in parts.graph or parts.graph[name].op in ops)
    runs = list(_runs(parts, alike, nodes, applies))
    for scope, of in sorted(scopes(parts, every).items(), key=lambda item: len(item[1])):
        own = {*of} & {*alike} & applies
        if nodes.keys() <= own and are_most(len(nodes), len(own)):
            # Places that are right by chance are seldom all at one end.
            whole = (run for run in runs if run[1] == len(nodes) < len(own) - 1)
            alone = scope == ALL and len(ops) == 1 and len(alike) < len(every)  # others could have it, and have not
            return next(whole, (Scope("layers", *ops) if alone else scope, len(own)))
    return next(iter(runs), (None, max(len(applies & {*every}), len(nodes))))


def _runs(
    parts: Parts, alike: tuple[str, ...], nodes: Mapping[str, Mistake], applies: Collection[str]
) -> Iterator[tuple[Scope | None, int]]:
    """Where it begins or ends somewhere, and how many places there are on that side."""
    outer = {alike[0], alike[-1]}
    for scope, of in runs_of(parts, alike).items():
        own = {*of} & {*applies}
        tight = {of[0], of[-1]} - outer <= nodes.keys()
        if tight and nodes.keys() <= own and are_most(len(nodes), len(own)):
            yield scope, len(own)
