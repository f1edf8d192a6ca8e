"""What causes have in common: a mistake that many tensors show, of what kind its places are, and where it begins."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.changes import PART, Mistake, TensorPart
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.regions import AXES
from refnet.bugs.language.segments import Segment
from refnet.bugs.systematic import ALL, Scope, changes_by_place, runs_of, scopes
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.varying import kind_of, varying

__all__ = ["Pattern", "patterns"]

_RUNS = {"channel-run": 0, "row-run": 1, "column-run": 2}  # by kind of part, the axis of a map
_SHARES = ((1, 3), (2, 3), (1, 4), (3, 4))  # of the channels, after which a mistake may begin, besides half of them
_AT_A_TIME = (4, 8, 16, 32, 2, 64)  # lines that programs work through at once, the likeliest first


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
    found: Mapping[str, list[Cause]], whole: Segment, judged: Collection[str], stored: Mapping[str, tuple[str, ...]]
) -> tuple[Pattern, ...]:
    """The mistakes that are said of two or more places, or that one long segment shows at many.

    Parameters
    ----------
    found : by tensor, its causes, the likeliest first
    whole : the network as one segment, in which all places of a mistake are found
    judged : the tensors that were judged, which are the places of a mistake that the result alone shows
    stored : how each tensor of integers is rounded, right ones too, where that is not to the nearest
    """
    told: dict[tuple[str, str], dict[str, Mistake]] = {}
    tensors: dict[tuple[str, str], list[str]] = {}
    for causes in found.values():
        for mistake, extent in causes[0].parts if causes else ():
            nodes = (mistake.node,) if extent is None else extent.nodes
            told.setdefault(kind_of(mistake), {}).update(dict.fromkeys(nodes, mistake))
    alone = {kind for kind, by_node in told.items() if len(by_node) < 2 and kind[0] != "store-rounding"}
    for name, causes in found.items():
        kinds = dict.fromkeys(kind_of(mistake) for mistake in causes[0].mistakes) if causes else {}
        for kind in kinds if not kinds.keys() & alone else ():
            tensors.setdefault(kind, []).append(name)
    made = []
    for (bug, form), by_node in told.items():
        explained = tuple(tensors.get((bug, form), ()))
        if bug == "store-rounding":
            made.append(_of_stores(form, by_node, judged, stored, explained))
        elif len(by_node) > 1:
            made.append(_of_places(bug, form, by_node, whole, judged, explained))
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
) -> Pattern:
    """A mistake of two places or more: its number or its part at all of them, and of what kind they are."""
    forms = changes_by_place(BUGS[bug], whole)
    # A form that was solved for is none of the network's own: it could be wherever another form is.
    known = {*(forms.get(form) or (node for places in forms.values() for node in places))}
    if known <= {whole.end}:
        ops = {whole.graph[name].op for name in found.keys() - {*judged} if name in whole.graph}
        known = {*judged, *(node.name for node in whole.nodes(*ops))}  # inside what was judged, any of these could be
    every = tuple(node.name for node in whole.graph.nodes if node.name in known or node.name in found)
    first, multiple = varying(found, whole.parts), _multiple_of(found, every, whole)
    if multiple:
        first = first._replace(form=f"beyond {multiple.axis}", facts={"multiple": multiple.number})
    elif any(PART in each.facts for each in found.values()):
        part, multiple = _part_of_all(found, every, whole)
        facts = {key: fact for key, fact in first.facts.items() if key != PART}
        first = first._replace(facts=facts | ({PART: part} if part else {}))
    scope, of = _scope(whole.parts, every, found, multiple.nodes if multiple else every)
    return Pattern(first, scope, tuple(found), of, explained)


class _Multiple(NamedTuple):
    """A number of lines at a time by which a port works, the axis, and the places where lines are left over."""

    number: int
    axis: str
    nodes: tuple[str, ...]


def _multiple_of(found: Mapping[str, Mistake], every: Iterable[str], whole: Segment) -> _Multiple | None:
    """The number whose multiples alone are written: it leaves as many lines at each place, and none at all others.

    Parameters
    ----------
    found : by place, which last lines are never written there
    every : all places, in order
    """
    axes = {axis for axis in AXES for each in found.values() if each.form.startswith(f"{axis} last")}
    lines = [(each.facts["of"], each.facts["count"]) for each in found.values() if "count" in each.facts]
    if len(axes) != 1 or len(lines) < len(found):
        return None
    (axis,) = axes
    ops = {whole.graph[name].op for name in found}
    shapes = {name: (whole.batch, *whole.sizes[name]) for name in every if whole.graph[name].op in ops}
    sizes = {name: shape[AXES.index(axis)] for name, shape in shapes.items() if len(shape) > AXES.index(axis)}
    for number in _AT_A_TIME:
        left = tuple(name for name, size in sizes.items() if size > number and size % number)
        if all(of % number == count for of, count in lines) and _are_most(len(found), len(left)):
            return _Multiple(number, axis, left)
    return None


def _part_of_all(
    found: Mapping[str, Mistake], every: Iterable[str], whole: Segment
) -> tuple[TensorPart | None, _Multiple | None]:
    """In which part of its tensors a mistake is at all places: what is said of it, and the number that leaves it over.

    The channels beyond the last whole multiple of a number are the rest of a vectorised loop. Where fewer channels than
    that number are there, all are left over; and some that are left over may be right by chance, as are positive ones
    that lack a ReLU, but at no place may be all of the first ones.

    Parameters
    ----------
    found : by place, the mistake, with its part where it is not in all of the tensor
    every : all places, in order
    """
    nodes = whole.graph.by_name
    ops = {nodes[name].op for name in found if name in nodes}
    sizes = {name: whole.sizes[name][0] for name in (*every, *found) if name in nodes and nodes[name].op in ops}
    begins = {name: _begin(each) for name, each in found.items()}
    for number in _AT_A_TIME:
        left = {name: size - size % number for name, size in sizes.items() if size % number}
        within = found.keys() <= left.keys() and all(
            begin is not None and begin >= left[name] for name, begin in begins.items()
        )
        exact = sum(begins[name] == left[name] for name in begins if name in left)
        some = any(left[name] for name in begins if name in left)
        if within and some and _are_most(exact, len(found)) and _are_most(len(found), len(left)):
            return ("channel-multiple", (("multiple", number),)), _Multiple(number, "channels", tuple(left))
    parts = {each.facts.get(PART) for each in found.values()}
    if len(parts) == 1:
        return parts.pop(), None
    share = _one_share(found, whole)
    part, multiple = (share, None) if share else _one_bound(found, begins, sizes)
    if part is None and all(PART in each.facts for each in found.values()):
        part = "each", (("part", next(iter(found.values())).facts[PART]),)
    return part, multiple


def _one_share(found: Mapping[str, Mistake], whole: Segment) -> TensorPart | None:
    """The last share of its channels or rows that a mistake is in at all places: loops over half, or over squares.

    H H C numbers of an image, C maps of H x W, end in channel C H / W, or in row H H / W where channels lie last.
    """
    shapes = {name: whole.sizes[name] for name in found if len(whole.sizes.get(name, ())) == 3}
    runs = {each.facts.get(PART, ("",))[0] for each in found.values()}
    if len(runs) > 1 or not runs <= _RUNS.keys() or len(shapes) < len(found):
        return None
    axis = _RUNS[runs.pop()]
    told = {name: dict(each.facts[PART][1])["first"] for name, each in found.items()}
    flat = axis < 2 and all(H != W for _, H, W in shapes.values())
    squares = {name: shape[axis] * min(shape[1:]) // max(shape[1:]) for name, shape in shapes.items()}
    half, *others = (_share(shapes, axis, *share) for share in ((1, 2), *_SHARES))
    for part, first in (half, *((("square", ()), squares),) * flat, *others):
        later = all(told[name] >= first[name] > 0 for name in told)
        if later and _are_most(sum(told[name] == first[name] for name in told), len(told)):
            return part
    return None


def _share(shapes: Mapping[str, tuple[int, ...]], axis: int, held: int, of: int) -> tuple[TensorPart, dict[str, int]]:
    """What is said of all behind a share of an axis, and where that begins, by place."""
    part: TensorPart = "share", (("held", of - held), ("of", of), ("axis", AXES[1 + axis]))
    return part, {name: shape[axis] * held // of for name, shape in shapes.items()}


def _one_bound(
    found: Mapping[str, Mistake], begins: Mapping[str, int | None], sizes: Mapping[str, int]
) -> tuple[TensorPart | None, _Multiple | None]:
    """The channel from which on a mistake is at all places, or up to which: buffers of so many, loops that end early.

    Of a place that begins later the first ones may be right by chance; and of few a whole tensor may fit as well.
    """
    ends = {name: _end(each) for name, each in found.items()}
    parted = [-1 if begin is None else begin for name, begin in begins.items() if PART in found[name].facts]
    first = min(parted, default=-1)
    beyond = tuple(name for name, size in sizes.items() if size > first)
    if first > 0 and _are_most(parted.count(first), len(found)) and found.keys() <= {*beyond}:
        return ("channels-from", (("first", first),)), _Multiple(first, "channels", beyond)
    last = {-1 if end is None else end for end in ends.values()}
    if first == 0 and len(last) == 1 and min(last) > 0:
        return ("channels-until", (("count", 1 + min(last)),)), None
    return None, None


def _end(mistake: Mistake) -> int | None:
    """The last channel of a run that begins at the first; None of any other part."""
    kind, facts = mistake.facts.get(PART, ("", ()))
    held = dict(facts)
    return int(held["last"]) if kind == "channel-run" and held["first"] == 0 else None


def _are_most(some: int, every: int) -> bool:
    """Whether a mistake at some places is one of all: at three of four, since it may do nothing at the others."""
    return 4 * some >= 3 * every


def _begin(mistake: Mistake) -> int | None:
    """The first channel of the part that a mistake is in, 0 of a whole tensor; None where other than channels are."""
    kind, facts = mistake.facts.get(PART, ("channel-run", (("first", 0),)))
    match kind, dict(facts):
        case "channel-run", {"first": first}:
            return int(first)
        case "channels", {"channels": channels}:
            return int(min(channels))
    return None


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
        if nodes.keys() <= own and _are_most(len(nodes), len(own)):
            # Places that are right by chance are seldom all at one end.
            whole = (run for run in runs if run[1] == len(nodes) < len(own) - 1)
            return next(whole, (scope, len(own)))
    return next(iter(runs), (None, max(len(applies & {*every}), len(nodes))))


def _runs(
    parts: Parts, alike: tuple[str, ...], nodes: Mapping[str, Mistake], applies: Collection[str]
) -> Iterator[tuple[Scope | None, int]]:
    """Where it begins or ends somewhere, and how many places there are on that side."""
    outer = {alike[0], alike[-1]}
    for scope, of in runs_of(parts, alike).items():
        own = {*of} & {*applies}
        tight = {of[0], of[-1]} - outer <= nodes.keys()
        if tight and nodes.keys() <= own and _are_most(len(nodes), len(own)):
            yield scope, len(own)
