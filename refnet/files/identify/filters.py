"""Which known network has the most of a file's filters in their order, and where the two part, by shapes alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy.typing as npt

from refnet.alignment.differences import Difference
from refnet.errors import RequestError
from refnet.files.identify.names import changes, objection
from refnet.files.identify.nearest import convolution_rows
from refnet.files.identify.own_blocks import with_own_blocks
from refnet.files.identify.vectors import is_filter, other_vector, parted_words
from refnet.networks.build import build, find
from refnet.networks.dialects import MODELS
from refnet.ops import CONVOLUTIONS
from refnet.report.differences import line

__all__ = ["refusal"]

Arrays = Mapping[str, npt.NDArray[Any]]
_Filter = tuple[tuple[int, ...], int]  # its kernel, () of one point, and how many there are, 0 of the classes

_FIRST = 5  # differences that are said
_SHARE = 0.7  # of the filters that must stand in order: fewer are another network altogether
_NEAR = 8  # networks that have most filters in common whatever their order, and whose order is looked at
_WIDTHS = (1.0, 0.75, 0.5, 0.25, 0.35, 1.4, 1.3)


def refusal(arrays: Arrays, model: str | None, width: float | None, own: Callable[[str], str]) -> str:
    """Why no network fits: told by names, or where none is known by the order and the shapes of the filters.

    Parameters
    ----------
    own : from a vendor's name to the file's
    """
    layout = with_own_blocks(arrays, model, width)
    # Where some blocks are all that differs, both halves of the sentence are about that network.
    of = (model, width) if layout is None else (layout.graph.recipe.model, layout.graph.recipe.width)
    said = objection(arrays, *of, own)
    if not said:
        first, near = own(next(iter(arrays))), _nearest(arrays, *of, own)
        said = f"no weight has a name and shape of {model or 'a network that refnet knows'}; the first is {first!r}"
        said = f"{said}; {near}" if near else said
    if layout is None:
        return said
    recipe, found = layout.graph.recipe, [each for each in changes(layout) if _is_of_layers(each)]
    more = f" and {len(found) - _FIRST} more" if len(found) > _FIRST else ""
    return f"{said}; nearest is {recipe.model} x{recipe.width:g}, but {'; '.join(map(line, found[:_FIRST]))}{more}"


def _is_of_layers(difference: Difference) -> bool:
    """Whether it is of a layer: activations and sums come and go with theirs."""
    there = difference.known or difference.found
    return difference.key not in ("missing", "extra") or there["op"] in CONVOLUTIONS


def _nearest(arrays: Arrays, model: str | None, width: float | None, own: Callable[[str], str]) -> str:
    """The network that comes nearest and the first filter in which it is another one; '' where none is near."""
    keys = [key for key, array in arrays.items() if is_filter(array)]
    held = [_filter(arrays[key].shape) for key in keys]
    alike = {each: _without_classes(held, each[2]) for each in _networks(model, width)}
    near = sorted(alike, key=lambda each: -(Counter(alike[each]) & Counter(each[2])).total())[:_NEAR]
    parted = {each: SequenceMatcher(None, each[2], alike[each], autojunk=False) for each in near}
    best = max(near, key=lambda each: parted[each].ratio(), default=None)
    if best is None or parted[best].ratio() < _SHARE:
        return ""
    name, at, rows = best
    fitting = sum(block.size for block in parted[best].get_matching_blocks())
    said = f"{fitting} of {len(rows)} filters are in order those of {name} x{at:g}"
    change = next((each for each in parted[best].get_opcodes() if each[0] != "equal"), None)
    if change is None:
        other = other_vector(arrays, build(name, width=at, classes=held[-1][1]), own)
    else:
        other = _said(change, best, [(own(key), arrays[key].shape) for key in keys])
    return f"{said}, but {other}" if other else said


def _without_classes(held: Sequence[_Filter], rows: Sequence[_Filter]) -> list[_Filter]:
    """The filters of a file, of which as many at the end give its classes as do in a network, if all give as many."""
    ends = next(place for place, (_, count) in enumerate((*reversed(rows), ((), 1))) if count)
    last = [*held[-ends:]] if len({count for _, count in held[-ends:]}) == 1 else [*held[-1:]]
    return [*held[: len(held) - len(last)], *[((), 0)] * len(last)]


def _networks(model: str | None, width: float | None) -> Iterator[tuple[str, float, tuple[_Filter, ...]]]:
    """Known networks with their filters, each width once."""
    seen = set()
    for name in [model] if model is not None else [each for each in MODELS if MODELS[each].dialect.vendor != "refnet"]:
        for at in [width] if width is not None else _WIDTHS if find(name).width == 1.0 else (1.0,):
            try:
                rows = tuple((kernel, count) for _, kernel, count in convolution_rows(name, at))
            except RequestError:  # a layer without channels
                continue
            if rows not in seen:
                seen.add(rows)
                yield name, at, rows


def _said(
    change: tuple[str, int, int, int, int],
    near: tuple[str, float, tuple[_Filter, ...]],
    own: Sequence[tuple[str, tuple[int, ...]]],
) -> str:
    """The first filter that is another one, or that either has more."""
    (what, first, _, here, _), (name, width, rows) = change, near
    nodes = [node.name for node in build(name, width=width).nodes if node.op in CONVOLUTIONS]
    known = f"{nodes[first]}, {_words(rows[first])}" if first < len(rows) else "the end"
    found = "{!r} {}".format(*own[here]) if here < len(own) else "the end"
    return parted_words(what, known, found)


def _words(row: _Filter) -> str:
    kernel, count = row
    return f"{count or 'all'} filters of {'x'.join(map(str, kernel or (1, 1)))}"


def _filter(shape: tuple[int, ...]) -> _Filter:
    kernel = shape[-2:] if len(shape) > 2 else ()
    return (() if set(kernel) <= {1} else kernel), shape[0]
