"""Why a candidate is wrong: all of its wrong segments, step by step, within one budget; and what they have in common.

Every segment takes its first step before any takes its second, the short ones first, so that where time ends the
likeliest mistakes have been looked at everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from refnet.bugs.catalogue import BUGS
from refnet.bugs.changes import PART, Mistake
from refnet.bugs.parts import Parts
from refnet.bugs.regions import AXES
from refnet.bugs.segments import Segment
from refnet.bugs.systematic import ALL, Scope, changes_by_place, runs_of, scopes
from refnet.judge.budget import OverBudgetError, SearchBudget
from refnet.judge.cause import Cause, rank
from refnet.judge.diagnose import Diagnosis
from refnet.judge.varying import kind_of, varying
from refnet.judge.yardstick import fits
from refnet.readings.bounds import Precision

__all__ = ["Evidence", "Pattern", "agreed", "evidence", "explain", "patterns"]

_Own = tuple[Segment, Precision]
_AT_A_TIME = (4, 8, 16, 32, 2, 64)  # lines that programs work through at once, the likeliest first


class Evidence(NamedTuple):
    """How sure the causes of a long segment are.

    Attributes
    ----------
    looked : how many ways were run
    left, rest : the share of the error that the best cause leaves, and the least that a way which does not fit leaves
    dump : the tensor whose dump would tell most: it halves what is left; '' where none would
    """

    looked: int
    left: float
    rest: float
    dump: str


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


def explain(diagnoses: Sequence[Diagnosis], budget: SearchBudget) -> None:
    """Look for the causes of each wrong segment until all is looked at, time ends, or the user interrupts.

    What explains two of them is tried in those behind them first, at all places.
    """

    def shared() -> list[str]:
        counts = Counter(bug for one in diagnoses for bug in {bug for cause in one.found[:1] for bug in cause.ids})
        return [bug for bug, count in counts.items() if count > 1]

    def told() -> list[Mistake]:
        return [mistake for one in diagnoses for cause in one.found[:1] for mistake in cause.mistakes]

    open_ = [(each, each.steps(shared, told)) for each in sorted(diagnoses, key=lambda each: each.long)]
    try:
        while open_:
            open_ = [(each, steps) for each, steps in open_ if next(steps, steps) is not steps]
    except OverBudgetError:
        pass
    except KeyboardInterrupt:
        budget.ended = "interrupted"


def agreed(found: Mapping[str, list[Cause]], beside: Callable[[str], Iterable[_Own]]) -> dict[str, list[Cause]]:
    """Of causes that one tensor cannot tell apart, those first that the others agree with.

    First come those by which no tensor that is right would be wrong, then those that explain most of the wrong ones.

    Parameters
    ----------
    beside : by the name of a wrong tensor, the segments of right ones that have nodes in common with its own
    """
    votes = Counter(kind for causes in found.values() for kind in {_kind(cause) for cause in causes})

    def place(name: str, cause: Cause) -> tuple[bool, int, bool, int, int, float]:
        coarse, many, some, rms = rank(cause)
        return coarse, many, _is_denied(cause, beside(name)), -votes[_kind(cause)], some, rms

    tied = {name: causes for name, causes in found.items() if len(causes) > 1}
    return {**found, **{name: sorted(causes, key=partial(place, name)) for name, causes in tied.items()}}


def _is_denied(cause: Cause, beside: Iterable[_Own]) -> bool:
    """Whether a tensor that is right would be wrong if the cause was true: they share the node where it is."""
    if len(cause.mistakes) > 1 or any(extent is not None for _, extent in cause.parts):
        return False
    (mistake,) = cause.mistakes
    return any(
        not fits(segment.changed(change), precision)
        for segment, precision in beside
        for change in BUGS[mistake.bug].changes(segment)
        if (change.form, change.node) == (mistake.form, mistake.node) and change.shape is None
    )


def _kind(cause: Cause) -> tuple[tuple[str, str], ...]:
    return tuple(kind_of(mistake) for mistake in cause.mistakes)


def evidence(one: Diagnosis, causes: Sequence[Cause]) -> Evidence | None:
    """How sure the causes of a segment are, and what to dump; None of a short one, whose bound says it."""
    if not one.long or one.ways is None:
        return None
    fit = {mistake.what for cause in causes for mistake in cause.mistakes}
    looked, before = one.ways.looked, one.ways.before or 1.0
    left = min((way.residual for way in looked if way.mistake.what in fit), default=before)
    rest = min((way.residual for way in looked if way.mistake.what not in fit), default=before)
    return Evidence(len(looked), min(left / before, 1.0), min(rest / before, 1.0), _dump(one, causes))


def _dump(one: Diagnosis, causes: Sequence[Cause]) -> str:
    """The tensor inside a segment before and behind which there are most nearly as many of the ways that are left.

    Left are the causes that fit, or where none does all ways. A cause at many places shows from the first of them on.
    """
    assert one.ways is not None
    graph, parts = one.segment.graph, one.segment.parts
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    firsts = [min((order.get(node, 0) for node in cause.nodes), default=0) for cause in causes]
    counts = Counter(firsts) if causes else Counter({order.get(name, 0): n for name, n in one.ways.counts.items()})
    total, passed, best = sum(counts.values()), 0, (float("inf"), "")
    between = {block.exit if block.add is None else block.add.name for block in parts.blocks}
    for index, node in enumerate(graph.nodes[:-1]):
        passed += counts[index]
        unit = parts.unit(node.name)
        if passed and (unit is None or unit.output == node.name):
            uneven = abs(2 * passed - total) / total + (0.0 if node.name in between else 0.01)
            best = min(best, (uneven, node.name), key=lambda each: each[0])
    return best[1]


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
        if bug == "store-rounding":
            first = next(iter(by_node.values()))
            by_node = {name: first for name, manners in stored.items() if form in manners} | by_node
            every = tuple(name for name in judged if name in stored)
            made.append(
                Pattern(first, ALL, tuple(by_node), max(len(every), len(by_node)), tuple(tensors.get((bug, form), ())))
            )
        elif len(by_node) > 1:
            forms = changes_by_place(BUGS[bug], whole)
            # A form that was solved for is none of the network's own: it could be wherever another form is.
            known = {*(forms.get(form) or (node for places in forms.values() for node in places))}
            known = {*judged} if known <= {whole.end} else known
            every = tuple(node.name for node in whole.graph.nodes if node.name in known or node.name in by_node)
            first, multiple = varying(by_node, whole.parts), multiple_of(by_node, every, whole)
            if multiple:
                first = first._replace(form=f"beyond {multiple.axis}", facts={"multiple": multiple.number})
            elif any(PART in each.facts for each in by_node.values()):
                part, multiple = part_of_all(by_node, every, whole)
                facts = {key: fact for key, fact in first.facts.items() if key != PART}
                first = first._replace(facts=facts | ({PART: part} if part else {}))
            scope, of = _scope(whole.parts, every, by_node, multiple.nodes if multiple else every)
            made.append(Pattern(first, scope, tuple(by_node), of, tuple(tensors.get((bug, form), ()))))
    return tuple(sorted(made, key=lambda each: -len(each.nodes)))


class Multiple(NamedTuple):
    """A number of lines at a time by which a port works, the axis, and the places where lines are left over."""

    number: int
    axis: str
    nodes: tuple[str, ...]


def multiple_of(found: Mapping[str, Mistake], every: Iterable[str], whole: Segment) -> Multiple | None:
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
            return Multiple(number, axis, left)
    return None


def part_of_all(
    found: Mapping[str, Mistake], every: Iterable[str], whole: Segment
) -> tuple[tuple[str, tuple[tuple[str, int], ...]] | None, Multiple | None]:
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
            return ("channel-multiple", (("multiple", number),)), Multiple(number, "channels", tuple(left))
    parts = {each.facts.get(PART) for each in found.values()}
    if len(parts) == 1:
        return parts.pop(), None
    return _one_bound(found, begins, sizes)


def _one_bound(
    found: Mapping[str, Mistake], begins: Mapping[str, int | None], sizes: Mapping[str, int]
) -> tuple[tuple[str, tuple[tuple[str, int], ...]] | None, Multiple | None]:
    """The channel from which on a mistake is at all places, or up to which: buffers of so many, loops that end early.

    Of a place that begins later the first ones may be right by chance; and of few a whole tensor may fit as well.
    """
    ends = {name: _end(each) for name, each in found.items()}
    parted = [-1 if begin is None else begin for name, begin in begins.items() if PART in found[name].facts]
    first = min(parted, default=-1)
    beyond = tuple(name for name, size in sizes.items() if size > first)
    if first > 0 and 4 * parted.count(first) >= 3 * len(found) and found.keys() <= {*beyond}:
        return ("channels-from", (("first", first),)), Multiple(first, "channels", beyond)
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
