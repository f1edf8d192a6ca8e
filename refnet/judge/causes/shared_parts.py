"""In which part of its tensors a mistake is at all of its places: one rule that gives each place its own part.

Behind the last whole multiple of a number of lines, in the last share of an axis, or from one channel on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from refnet.bugs.language.changes import PART, Mistake, TensorPart
from refnet.bugs.language.regions import AT_A_TIME, AXES
from refnet.bugs.language.segments import Segment

__all__ = ["Multiple", "are_most", "multiple_of", "part_of_all"]

_RUNS = {"channel-run": 0, "row-run": 1, "column-run": 2}  # by kind of part, the axis of a map
_SHARES = ((1, 3), (2, 3), (1, 4), (3, 4))  # of the channels, after which a mistake may begin, besides half of them


class Multiple(NamedTuple):
    """A number of lines at a time by which a port works, the axis, and the places where lines are left over."""

    number: int
    axis: str
    nodes: tuple[str, ...]


def multiple_of(
    found: Mapping[str, Mistake], every: Iterable[str], whole: Segment, likely: Iterable[int] = ()
) -> Multiple | None:
    """The number whose multiples alone are written: it leaves as many lines at each place, and none at all others.

    Parameters
    ----------
    found : by place, which last lines are never written there
    every : all places, in order
    likely : numbers that are looked at first
    """
    axes = {axis for axis in AXES for each in found.values() if each.form.startswith(f"{axis} last")}
    lines = [(each.facts["of"], each.facts["count"]) for each in found.values() if "count" in each.facts]
    if len(axes) != 1 or len(lines) < len(found):
        return None
    (axis,) = axes
    ops = {whole.graph[name].op for name in found}
    shapes = {name: (whole.batch, *whole.sizes[name]) for name in every if whole.graph[name].op in ops}
    sizes = {name: shape[AXES.index(axis)] for name, shape in shapes.items() if len(shape) > AXES.index(axis)}
    for number in (*likely, *AT_A_TIME):
        left = tuple(name for name, size in sizes.items() if size > number and size % number)
        if all(of % number == count for of, count in lines) and are_most(len(found), len(left)):
            return Multiple(number, axis, left)
    return None


def part_of_all(
    found: Mapping[str, Mistake], every: Iterable[str], whole: Segment
) -> tuple[TensorPart | None, Multiple | None]:
    """In which part of its tensors a mistake is at all places: what is said of it, and the number that leaves it over.

    The channels beyond the last whole multiple of a number are the rest of a vectorised loop. Where fewer channels than
    that number are there, all are left over; and some that are left over may be right by chance, as are positive ones
    that lack a ReLU, but at most places the first of them is wrong.

    Parameters
    ----------
    found : by place, the mistake, with its part where it is not in all of the tensor
    every : all places, in order
    """
    nodes = whole.graph.by_name
    ops = {nodes[name].op for name in found if name in nodes}
    sizes = {name: whole.sizes[name][0] for name in (*every, *found) if name in nodes and nodes[name].op in ops}
    begins = {name: _begin(each) for name, each in found.items()}
    for number in AT_A_TIME:
        left = {name: size - size % number for name, size in sizes.items() if size % number}
        within = found.keys() <= left.keys() and all(
            begin is not None and begin >= left[name] for name, begin in begins.items()
        )
        exact = sum(begins[name] == left[name] for name in begins if name in left)
        some = any(left[name] for name in begins if name in left)
        if within and some and 2 * exact > len(found) and are_most(len(found), len(left)):
            return ("channel-multiple", (("multiple", number),)), Multiple(number, "channels", tuple(left))
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
        if later and are_most(sum(told[name] == first[name] for name in told), len(told)):
            return part
    return None


def _share(shapes: Mapping[str, tuple[int, ...]], axis: int, held: int, of: int) -> tuple[TensorPart, dict[str, int]]:
    """What is said of all behind a share of an axis, and where that begins, by place."""
    part: TensorPart = "share", (("held", of - held), ("of", of), ("axis", AXES[1 + axis]))
    return part, {name: shape[axis] * held // of for name, shape in shapes.items()}


def _one_bound(
    found: Mapping[str, Mistake], begins: Mapping[str, int | None], sizes: Mapping[str, int]
) -> tuple[TensorPart | None, Multiple | None]:
    """The channel from which on a mistake is at all places, or up to which: buffers of so many, loops that end early.

    Of a place that begins later the first ones may be right by chance; and of few a whole tensor may fit as well.
    """
    ends = {name: _end(each) for name, each in found.items()}
    parted = [-1 if begin is None else begin for name, begin in begins.items() if PART in found[name].facts]
    first = min(parted, default=-1)
    beyond = tuple(name for name, size in sizes.items() if size > first)
    if first > 0 and are_most(parted.count(first), len(found)) and found.keys() <= {*beyond}:
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


def are_most(some: int, every: int) -> bool:
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
