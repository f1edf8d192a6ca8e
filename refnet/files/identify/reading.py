"""A file that has arrays alone, read as a network: under which prefix its names are known, and with which head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files.containers.structure import Submodule
from refnet.files.identify import names
from refnet.files.identify.heads import Part, Whole, with_head
from refnet.files.identify.names import NamedLayout
from refnet.files.identify.notes import Note, rounding_note
from refnet.files.identify.order import layouts_by_order
from refnet.files.identify.own_blocks import with_own_blocks
from refnet.files.identify.prefixes import NO_PREFIX, Prefix, prefixes
from refnet.files.identify.settings import with_settings
from refnet.files.identify.words import in_torch_words, other_way_round
from refnet.files.schemes import SCHEMES, is_pytorch

__all__ = ["Asked", "Reading", "read", "read_own"]

Arrays = Mapping[str, npt.NDArray[Any]]

_OF_KERAS = ("keras", "keras2", "keras-numbers")  # whose files of weights alone may have another head, or none


@dataclass(frozen=True)
class Asked:
    """What a caller says that a file of arrays is; None for what is to be found.

    Attributes
    ----------
    model, width : name and width multiplier
    head : its layers, see `heads.head_words`
    prefix : the network is what the file holds under names that begin so
    own_blocks : a network whose blocks are not quite a known one's will do
    """

    model: str | None = None
    width: float | None = None
    head: tuple[str, ...] | None = None
    prefix: str | None = None
    own_blocks: bool = False


class Reading(NamedTuple):
    """Arrays as the weights of networks.

    Attributes
    ----------
    layouts : every network that they fit; none if they fit none
    arrays : by the vendor's names
    own : the file's name of each
    prefix : under which they were found
    notes : what was settled on the way
    as_other : whether they are those of the network that another file tells
    """

    layouts: list[NamedLayout]
    arrays: dict[str, npt.NDArray[Any]]
    own: dict[str, str]
    prefix: Prefix
    notes: tuple[Note, ...] = ()
    as_other: bool = False

    def own_name(self, key: str) -> str:
        """The file's name of an array, by the vendor's; what it would be of one that the file lacks."""
        return self.own.get(key) or self.prefix.to_own(key)


def read(arrays: Arrays, asked: Asked, submodules: Mapping[str, Submodule]) -> Reading:
    """Find the networks that arrays are the weights of.

    Parameters
    ----------
    submodules : of a module saved whole, what each part is

    Raises
    ------
    FormatError
        if what stands between the layers of a head is in doubt.
    RequestError
        if nothing begins with the prefix that is asked for, or a network is there under several, or the head that is
        asked for is another than the file's.
    """
    if asked.prefix is None and asked.head is None:
        plain = _under(arrays, NO_PREFIX)
        if layouts := names.fitting_layouts(arrays, asked.model, asked.width, variants=bool(submodules)):
            return _with_settings(plain._replace(layouts=layouts), asked, submodules)
    inside, notes = _inside(arrays, asked.prefix)
    prefix = _prefix(inside, asked, submodules)
    reading = _under(inside, prefix)
    found = _found(reading, asked, submodules)
    if not found.layouts:
        found = _otherwise_rounded(reading, asked)
    if not found.layouts:
        found = _in_other_words(reading, asked)
    if not found.layouts:
        found = _by_order(_under(inside, NO_PREFIX), asked)
    if not found.layouts:
        found = reading
        _refuse_outside(inside, prefix, asked, submodules)
    return _with_settings(found._replace(notes=(*notes, *found.notes)), asked, submodules)


def read_own(reading: Reading, asked: Asked) -> Reading:
    """Arrays that fit no network, as one that has other blocks than a known one, if that will do and explains them."""
    misfit = any(True for layout in reading.layouts for _ in names.misfits(reading.arrays, layout))
    if not asked.own_blocks or asked.head is not None or (reading.layouts and not misfit):
        return reading
    layout = with_own_blocks(reading.arrays, asked.model, asked.width)
    if layout is None:
        return reading
    note = Note("blocks", (layout.graph.recipe.model,), len(layout.entries))
    return reading._replace(layouts=[layout], notes=(*reading.notes, note))


def _with_settings(reading: Reading, asked: Asked, submodules: Mapping[str, Submodule]) -> Reading:
    """The networks with what a module saved whole says of its layers; of several, those that it changes least."""
    if not submodules or not reading.layouts:
        return reading
    changed = [with_settings(layout, reading.own, submodules) for layout in reading.layouts]
    apart = [
        sum(one != other for one, other in zip(layout.graph.nodes, made.graph.nodes, strict=True))
        for layout, made in zip(reading.layouts, changed, strict=True)
    ]
    likeliest = [made for made, count in zip(changed, apart, strict=True) if count == min(apart)]
    return reading._replace(layouts=names.plain_layouts(likeliest) if asked.model is None else likeliest)


def _prefix(arrays: Arrays, asked: Asked, submodules: Mapping[str, Submodule]) -> Prefix:
    """Under which prefix the network is."""
    likely = prefixes(arrays, names.known_names())
    if len(likely) > 1:
        alone = [_found(_under(_within(arrays, one.own), one), asked, submodules) for one in likely]
        likely = [one.prefix for one in alone if one.layouts]
    if len(likely) > 1:
        places = " and ".join(repr(one.own) for one in likely[:4])
        raise RequestError(f"holds {len(likely)} networks, under {places}: say which with prefix=")
    return likely[0] if likely else NO_PREFIX


def _within(arrays: Arrays, beginning: str) -> dict[str, npt.NDArray[Any]]:
    return {key: array for key, array in arrays.items() if key.startswith(beginning)}


def _refuse_outside(arrays: Arrays, prefix: Prefix, asked: Asked, submodules: Mapping[str, Submodule]) -> None:
    """Say so where all that keeps the arrays from being a network lies outside its prefix."""
    inside = _within(arrays, prefix.own)
    if len(inside) == len(arrays):
        return
    if layouts := _found(_under(inside, prefix), asked, submodules).layouts:
        recipe, outside = layouts[0].graph.recipe, [key for key in arrays if key not in inside]
        more = f" and {len(outside) - 1} more" if len(outside) > 1 else ""
        raise FormatError(
            f"all names under {prefix.own!r} fit {recipe.model} x{recipe.width:g}; outside is {outside[0]!r}{more}: "
            f"leave that out with prefix={prefix.own}"
        )


def _inside(arrays: Arrays, prefix: str | None) -> tuple[dict[str, npt.NDArray[Any]], tuple[Note, ...]]:
    """The arrays under a prefix, if one is asked for, and a note of the rest."""
    if prefix is None:
        return dict(arrays), ()
    inside = _within(arrays, prefix)
    if not inside:
        raise RequestError(
            f"prefix {prefix!r}: no array has a name that begins so; the first is {next(iter(arrays))!r}"
        )
    outside = [key for key in arrays if key not in inside]
    return inside, (Note("outside", tuple(outside[:4]), len(outside)),) if outside else ()


def _under(arrays: Arrays, prefix: Prefix) -> Reading:
    """The arrays by the vendor's names, as far as theirs begin with the prefix."""
    own: dict[str, str] = {}
    for key in sorted(arrays, key=lambda key: not key.startswith(prefix.own)):
        name = prefix.to_vendor(key)
        own[f"/{key}" if name in own else name] = key  # a name outside the prefix that is taken inside
    place = {key: at for at, key in enumerate(arrays)}
    own = dict(sorted(own.items(), key=lambda one: place[one[1]]))
    note = () if prefix == NO_PREFIX else (Note("prefix", (prefix.own, prefix.vendor), len(own)),)
    return Reading([], {name: arrays[key] for name, key in own.items()}, own, prefix, note)


def _found(reading: Reading, asked: Asked, submodules: Mapping[str, Submodule]) -> Reading:
    """The networks that arrays fit, whole or else with another head."""
    if asked.head is None and (
        layouts := names.fitting_layouts(reading.arrays, asked.model, asked.width, variants=bool(submodules))
    ):
        return reading._replace(layouts=layouts)
    part = Part(reading.own, submodules, asked.head, features=bool(reading.prefix.vendor))
    change = partial(_with_own_head, reading.arrays, part)
    layouts = names.fitting_layouts(reading.arrays, asked.model, asked.width, change, variants=bool(submodules))
    return reading._replace(layouts=layouts, notes=(*reading.notes, *map(_head_note, layouts[:1])))


def _otherwise_rounded(reading: Reading, asked: Asked) -> Reading:
    """The network that arrays fit with other widths, and to what these are rounded."""
    layouts = names.otherwise_rounded(reading.arrays, asked.model, asked.width) if asked.head is None else []
    notes = [rounding_note(one.graph.recipe.width, one.divisor) for one in layouts if one.divisor]
    return reading._replace(layouts=layouts, notes=(*reading.notes, *notes))


def _in_other_words(reading: Reading, asked: Asked) -> Reading:
    """The networks whose layers have a vendor's names, and whose arrays are called as another framework calls them."""
    said = in_torch_words(reading.arrays)
    arrays = {key: reading.arrays[theirs] for key, theirs in said.items()}

    def turned(layout: NamedLayout) -> NamedLayout:
        return layout._replace(entries=other_way_round(layout.entries, layout.scheme))

    layouts: list[NamedLayout] = []
    if said and asked.head is None:
        # Who has the words of another framework has its order of axes too, where the shape does not say otherwise.
        layouts = names.fitting_layouts(arrays, asked.model, asked.width, turned)
        layouts = layouts or names.fitting_layouts(arrays, asked.model, asked.width)
    if not layouts:
        return reading._replace(layouts=[])
    own = {key: reading.own[theirs] for key, theirs in said.items()}
    words = dict.fromkeys(name.rpartition(".")[2] for name in said.values())
    notes = (*reading.notes, Note("words", tuple(words)[:6], len(words)))
    return Reading(layouts, arrays, own, reading.prefix, notes)


def _by_order(reading: Reading, asked: Asked) -> Reading:
    """The networks that arrays fit by their order and shapes, whatever they are called."""
    arrays = reading.arrays
    said = asked.model is not None or asked.width is not None
    if asked.head is not None or (said and names.fitting_layouts(arrays, None, None)):  # names of another network
        return reading
    if any({*known} == arrays.keys() for known in names.known_names()):  # each says what it is of
        return reading
    layouts = layouts_by_order(arrays, asked.model, asked.width)
    notes = [Note("order", tuple(arrays)[:4], len(arrays))] if layouts else []
    notes += [Note("axes", each.unsure[:4], len(each.unsure)) for each in layouts[:1] if each.unsure]
    return reading._replace(layouts=layouts, notes=(*reading.notes, *notes))


def _with_own_head(arrays: Arrays, part: Part, layout: NamedLayout) -> NamedLayout | None:
    if not (is_pytorch(layout.scheme) or layout.scheme in _OF_KERAS):
        return None
    paths = SCHEMES[layout.scheme].modules(layout.graph)
    head = with_head(Whole(layout.graph, layout.entries, paths, layout.unused), arrays, part)
    return None if head is None else layout._replace(graph=head.graph, entries=head.entries, changed=True)


def _head_note(layout: NamedLayout) -> Note:
    """The layers of the head, or that the network ends before it."""
    nodes = [node.name for node in layout.graph.nodes]
    start = nodes.index("head.pool") + 1 if "head.pool" in nodes else len(nodes)
    layers = tuple(node.op for node in layout.graph.nodes[start:] if node.op != "flatten")
    return Note("head", layers) if "head.logits" in nodes else Note("headless", layers)
