"""Names and shapes of arrays -> the networks that they are the weights of, strict both ways.

Nothing may be missing, nothing left over, every shape must be right. Names and shapes do not tell everything: where
several networks have all of them in common and compute differently, all are found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import numpy.typing as npt

from refnet.alignment.diff import differences
from refnet.alignment.differences import Difference, structural
from refnet.errors import RequestError
from refnet.files.schemes import Entry, entries, schemes_of, unused
from refnet.graph import Graph, Recipe
from refnet.networks.build import build, find
from refnet.networks.dialects import MODELS
from refnet.networks.plan import Plan, WidthRule, plan, planned_ends, rounding_to
from refnet.networks.rewrite import fold_graph
from refnet.report.differences import matters

__all__ = [
    "PUBLISHED",
    "ROUNDING",
    "ROUNDINGS",
    "WIDTHS",
    "NamedLayout",
    "apart",
    "changes",
    "fitting_layouts",
    "instead",
    "known_graph",
    "known_names",
    "likest_scheme",
    "misfits",
    "most_usual",
    "nearest_layout",
    "objection",
    "otherwise_rounded",
    "plain_layouts",
    "reshaped",
]

Arrays = Mapping[str, npt.NDArray[Any]]
_Found = TypeVar("_Found")

PUBLISHED = (1.0, 0.1, 0.25, 0.35, 0.5, 0.75, 1.25, 1.3, 1.4)
WIDTHS = (*PUBLISHED, *(percent / 100 for percent in range(5, 201)))

_HEAD = ("head.hidden.", "head.logits.")
_OF_CLASSES = ("head.logits.b", "head.low.b")  # a number for each class
_OF_NORMS = (".gamma", ".beta", ".mean", ".var")
ROUNDING = 8  # no vendor rounds a number of channels further
# Of ports that round otherwise than their vendor: to another number, or without the rule of 10 %, up, or down.
ROUNDINGS = (
    *map(WidthRule.to, (1, 0, 4, 16, 2, 32)),
    *(WidthRule(divisor, rule) for divisor in (ROUNDING, 4, 16) for rule in ("plain", "up", "down")),
)


class _Form(NamedTuple):
    scheme: str
    folded: bool
    divisor: WidthRule | None = None


class NamedLayout(NamedTuple):
    """A network as a file would hold it.

    Attributes
    ----------
    scheme : whose names, a key of `schemes.SCHEMES`
    folded : whether batch norm has been worked into the convolutions
    entries : key -> (refnet's name, entry)
    unused : key -> shape of weights that may also be there
    changed : whether `graph` is not quite the known network's: another head, other settings
    divisor : by which rule its widths are rounded; None where as the vendor does it
    unsure : filters of which nothing tells in which order their axes stand
    """

    graph: Graph
    scheme: str
    folded: bool
    entries: dict[str, tuple[str, Entry]]
    unused: dict[str, tuple[int, ...]]
    changed: bool = False
    divisor: WidthRule | None = None
    unsure: tuple[str, ...] = ()


def fitting_layouts(
    arrays: Arrays,
    model: str | None,
    width: float | None,
    change: Callable[[NamedLayout], NamedLayout | None] | None = None,
    *,
    variants: bool = False,
) -> list[NamedLayout]:
    """Every network that fits the arrays exactly; one of each kind that computes alike.

    Parameters
    ----------
    change : makes the network that is meant of a known one, or None where it cannot be; by default they are the same
    variants : also those networks that a file of arrays alone is not taken for where a plain one fits
    """
    layouts = _candidates(arrays, model, width)
    changed = layouts if change is None else (made for one in layouts if (made := change(one)) is not None)
    fitting = [layout for layout in changed if _difference(arrays, layout) is None]
    fitting = [layout for layout in fitting if not reshaped(arrays, layout)] or fitting
    if model is None and not variants:
        fitting = plain_layouts(fitting)
    # A vendor who publishes a name for this width means that: mnasnet0_5, not mnasnet1_0 at 0.5.
    named = {_vendor(layout) for layout in fitting if layout.graph.recipe.width == 1.0}
    fitting = [layout for layout in fitting if layout.graph.recipe.width == 1.0 or _vendor(layout) not in named]
    kinds: list[NamedLayout] = []
    for layout in fitting:
        if all(_differences(other, layout) for other in kinds):
            kinds.append(layout)
    return kinds


def otherwise_rounded(arrays: Arrays, model: str | None, width: float | None) -> list[NamedLayout]:
    """A network that fits the arrays with widths rounded otherwise than its vendor does, at best of a usual width."""
    fitting = _otherwise_rounded(arrays, model, width)
    found = most_usual((layout.graph.recipe.width, layout) for layout in fitting)
    return [] if found is None else [found]


def most_usual(found: Iterable[tuple[float, _Found]]) -> _Found | None:
    """The first of what was found at a published width; else the first of all. No more is asked for than that takes."""
    first = None
    for width, each in found:
        if width in PUBLISHED:
            return each
        first = each if first is None else first
    return first


def _otherwise_rounded(arrays: Arrays, model: str | None, width: float | None) -> Iterator[NamedLayout]:
    for name in [model] if model is not None else MODELS:
        for scheme in schemes_of(name):
            if not _resembles(arrays, name, scheme):
                continue
            folded = _is_folded(arrays, name, scheme)
            if not _has_names(arrays, _layout(name, 1.0, 1000, _Form(scheme, folded))):  # no width changes a name
                continue
            for divisor in ROUNDINGS:
                for layout in _at_widths(arrays, name, width, _Form(scheme, folded, divisor)):
                    if _difference(arrays, layout) is None:
                        yield layout


def plain_layouts(layouts: list[NamedLayout]) -> list[NamedLayout]:
    """Without variants, unless there is nothing else: a file of arrays cannot tell, and the plain network wins."""
    return [layout for layout in layouts if not _is_variant(layout)] or layouts


def apart(layouts: Sequence[NamedLayout]) -> tuple[str, ...]:
    """In what networks differ that share every name and shape: ('pad', 'eps')."""
    return matters(one for other in layouts[1:] for one in _differences(layouts[0], other))


def _differences(one: NamedLayout, other: NamedLayout) -> tuple[Difference, ...]:
    """What only folding or the size of the image makes different is none."""
    if one.changed or other.changed:
        return structural(differences(one.graph if one.changed else known_graph(one), other.graph))
    known, found = ((made.model, made.width, made.classes) for made in (one.graph.recipe, other.graph.recipe))
    return _of_known(known, found, other.folded)


@lru_cache(maxsize=4096)
def _of_known(one: tuple[str, float, int], other: tuple[str, float, int], folded: bool) -> tuple[Difference, ...]:
    """In what two known networks differ, each told by its model, width and classes; the second may be folded."""
    graph = _built(*other)
    return structural(differences(_built(*one), fold_graph(graph) if folded else graph))


def changes(layout: NamedLayout) -> tuple[Difference, ...]:
    """In what a changed network is not the known one."""
    return structural(differences(known_graph(layout), layout.graph)) if layout.changed else ()


def known_graph(layout: NamedLayout) -> Graph:
    """The known network, with batch norms, that a layout is of or nearly is."""
    recipe = layout.graph.recipe
    return _built(recipe.model, recipe.width, recipe.classes)


def instead(arrays: Arrays, model: str | None, width: float | None) -> str:
    """What the arrays are, where they are not what the caller said."""
    if model is None and width is None:
        return ""
    found = fitting_layouts(arrays, None, None)
    recipes = [layout.graph.recipe for layout in found]
    said = " or ".join(f"{recipe.model} x{recipe.width:g}" for recipe in recipes)
    return f"holds {said}, not {model or f'width {width:g}'}: " if found else ""


def objection(arrays: Arrays, model: str | None, width: float | None, own: Callable[[str], str] = str) -> str:
    """Why no network fits, told of the one that comes nearest; '' where no name is known.

    Parameters
    ----------
    own : from a vendor's name to the file's
    """
    names = [model] if model is not None else list(MODELS)
    at = 1.0 if width is None else width
    forms = [(name, _Form(scheme, folded)) for name in names for scheme in schemes_of(name) for folded in (False, True)]
    shared = [each for each in forms if not _layout(each[0], 1.0, 1000, each[1]).entries.keys().isdisjoint(arrays)]
    layouts = [_layout(name, at, _classes(arrays, name, at, form), form) for name, form in shared]
    best = max([*layouts, *_candidates(arrays, model, width)], key=partial(_agreement, arrays), default=None)
    fitting = 0 if best is None else _agreement(arrays, best)
    if best is None or not fitting:
        return ""
    recipe = best.graph.recipe
    fit = f"{fitting} of {len(best.entries)} names fit"
    found = list(misfits(arrays, best, own))
    missing = {ours for key, (ours, _) in best.entries.items() if key not in arrays}
    if {name for name, _ in found} == missing and all(name.startswith(_HEAD) for name in missing):
        return f"{fit} {recipe.model} x{recipe.width:g}; it has no head: {found[0][1]}"
    return f"{found[0][1]} (compared at width {recipe.width:g}, {recipe.classes} classes; {fit})"


def nearest_layout(arrays: Arrays, models: Sequence[str], like: Recipe) -> NamedLayout | None:
    """The network that another file tells, as far as these arrays are its weights; None if most of them are not.

    Parameters
    ----------
    models : its names
    like : its width and classes
    """
    layouts = [
        _layout(name, like.width if name == models[0] else 1.0, like.classes, _Form(scheme, folded))
        for name in models
        for scheme in schemes_of(name)
        for folded in (False, True)
    ]
    best = max(layouts, key=partial(_agreement, arrays))
    return best if 2 * _agreement(arrays, best) > max(len(arrays), len(best.entries)) else None


def likest_scheme(arrays: Arrays, name: str) -> tuple[int, str]:
    """Whose names of a network a file has most of: how many, and the scheme."""
    held = ((_layout(name, 1.0, 1000, _Form(scheme, False)).entries, scheme) for scheme in schemes_of(name))
    return max((len(entries.keys() & arrays.keys()), scheme) for entries, scheme in held)


def _agreement(arrays: Arrays, layout: NamedLayout) -> int:
    """How many arrays have a name and shape of a network."""
    return sum(key in arrays and entry.holds(arrays[key]) for key, (_, entry) in layout.entries.items())


def _is_variant(layout: NamedLayout) -> bool:
    return MODELS[layout.graph.recipe.model].variant


def _vendor(layout: NamedLayout) -> str:
    return MODELS[layout.graph.recipe.model].dialect.vendor


def _candidates(arrays: Arrays, model: str | None, width: float | None) -> Iterator[NamedLayout]:
    """Networks whose names resemble the file's, at every width that could give its shapes.

    A model that fits at a width it is published at keeps the search from going on to odd ones.
    """
    for name in [model] if model is not None else MODELS:
        for scheme in schemes_of(name):
            if model is None and not _resembles(arrays, name, scheme):
                continue
            # What has a batch norm's arrays is not folded, and what has none of them is.
            folded = _is_folded(arrays, name, scheme)
            yield from _at_widths(arrays, name, width, _Form(scheme, folded))


def _is_folded(arrays: Arrays, name: str, scheme: str) -> bool:
    layout = _layout(name, 1.0, 1000, _Form(scheme, False))
    return not any(key in arrays for key, (ours, _) in layout.entries.items() if ours.endswith(_OF_NORMS))


def _resembles(arrays: Arrays, name: str, scheme: str) -> bool:
    """Whether half of a file's names are a network's: folded or not, those of convolutions are."""
    layout = _layout(name, 1.0, 1000, _Form(scheme, False))
    known = layout.entries.keys() | layout.unused if layout.unused else layout.entries.keys()
    return len(known & arrays.keys()) >= len(arrays) / 2


def _has_names(arrays: Arrays, layout: NamedLayout) -> bool:
    """Whether a file has every name of a network, and no other."""
    return layout.entries.keys() <= arrays.keys() <= layout.entries.keys() | layout.unused.keys()


def _at_widths(arrays: Arrays, name: str, width: float | None, form: _Form) -> Iterator[NamedLayout]:
    for candidate in _plausible_widths(arrays, name, form) if width is None else (width,):
        layout = _layout(name, candidate, _classes(arrays, name, candidate, form), form)
        yield layout
        if _difference(arrays, layout) is None:
            return


def _plausible_widths(arrays: Arrays, name: str, form: _Form) -> tuple[float, ...]:
    """Widths at which both ends of the network have as many channels as in the file, before a whole graph is built."""
    layout, model = _layout(name, 1.0, 1000, form), find(name)
    ends = ("stem.conv.w", f"block{len(model.table.rows)}.project.w")
    keys = {ours: key for key, (ours, _) in layout.entries.items() if ours in ends}
    found = tuple(_channels(arrays, keys[end], layout.entries[keys[end]][1]) for end in ends)
    full = layout.graph[ends[1].removesuffix(".w")].params["w"][0]
    return _widths_of_ends(name, form.divisor, full, found)


@lru_cache(maxsize=4096)
def _widths_of_ends(name: str, by: WidthRule | None, full: int, found: tuple[int, ...]) -> tuple[float, ...]:
    """The same of channels that were found; `full` is how many the last block makes at width 1."""
    model, tried = find(name), dict[Plan, float]()
    model = model if by is None else rounding_to(model, by)
    # A name that carries a width (mnasnet_050) means that width, unless the caller asks for another.
    for width in WIDTHS if model.width == 1.0 else (1.0,):
        if abs(width * full - found[1]) <= max(ROUNDING, by.divisor if by else 0):
            if planned_ends(model, width) != found:
                continue
            with suppress(RequestError):  # a layer without channels
                tried.setdefault(plan(model, width), width)
    return tuple(tried.values())


def _channels(arrays: Arrays, key: str, entry: Entry) -> int:
    """Channels that a convolution of the file makes; 0 if there is no such convolution."""
    axis, shape = entry.axes[0], tuple(arrays[key].shape) if key in arrays else ()
    if len(shape) == len(entry.axes):
        return int(shape[axis])
    longer = [at for at, length in enumerate(entry.shape) if length > 1]  # (K, C) for (K, C, 1, 1)
    return int(shape[longer.index(axis)]) if axis in longer and len(shape) == len(longer) else 0


def _classes(arrays: Arrays, name: str, width: float, form: _Form) -> int:
    layout = _layout(name, 1.0, 1000, form)
    key = next(key for key, (ours, _) in layout.entries.items() if ours in _OF_CLASSES)
    return arrays[key].size if key in arrays and arrays[key].size else find(name).dialect.classes


@lru_cache(maxsize=512)
def _built(name: str, width: float, classes: int, divisor: WidthRule | None = None) -> Graph:
    return build(name, width=width, classes=classes, divisor=divisor)


@lru_cache(maxsize=512)
def _layout(name: str, width: float, classes: int, form: _Form) -> NamedLayout:
    graph = _built(name, width, classes, form.divisor)
    graph = fold_graph(graph) if form.folded else graph
    alone = classes == 1 and graph.nodes[-1].op == "softmax"  # of one number it is always 1: nobody's network
    graph = replace(graph, nodes=graph.nodes[:-1]) if alone else graph
    keyed = {entry.key: (ours, entry) for ours, entry in entries(graph, form.scheme).items()}
    changed = alone or form.divisor is not None
    return NamedLayout(graph, form.scheme, form.folded, keyed, unused(graph, form.scheme), changed, form.divisor)


def known_names() -> Iterator[tuple[str, ...]]:
    """The names in a file of every network, in each of its schemes, from the first convolution on."""
    for name in MODELS:
        for scheme in schemes_of(name):
            yield tuple(_layout(name, 1.0, 1000, _Form(scheme, False)).entries)


def _difference(arrays: Arrays, layout: NamedLayout) -> str | None:
    """What first keeps the arrays from being this network, or None."""
    return next((words for _, words in misfits(arrays, layout)), None)


def reshaped(arrays: Arrays, layout: NamedLayout) -> list[str]:
    """The arrays that have the vendor's shape but for axes of length one, by the vendor's names."""
    held = ((key, entry) for key, (_, entry) in layout.entries.items() if key in arrays)
    return [key for key, entry in held if arrays[key].shape != entry.shape and entry.holds(arrays[key])]


def misfits(arrays: Arrays, layout: NamedLayout, own: Callable[[str], str] = str) -> Iterator[tuple[str, str]]:
    """All that keeps the arrays from being this network: refnet's name, or of what is left over the file's; in words.

    Parameters
    ----------
    own : from a vendor's name to the file's
    """
    name = layout.graph.recipe.model
    for key, (ours, entry) in layout.entries.items():
        if key not in arrays:
            yield ours, f"{own(key)!r} is missing, which {name} needs"
        elif not entry.holds(arrays[key]):
            yield ours, f"{own(key)!r} has shape {arrays[key].shape}, in {name} it has {entry.shape}"
    for key, array in arrays.items():
        if key in layout.unused and array.shape != layout.unused[key]:
            yield own(key), f"{own(key)!r} has shape {array.shape}, in {name} it has {layout.unused[key]}"
        if key not in layout.entries and key not in layout.unused:
            yield own(key), f"{own(key)!r} is left over: {name} has no such weight"
