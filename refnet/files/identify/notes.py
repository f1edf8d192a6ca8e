"""What was settled while a file was read: values, for `report` to put into words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from refnet.networks.plan import WidthRule

__all__ = ["Note", "rounding_note", "rounding_of", "structure_notes"]


class Note(NamedTuple):
    """Something that a file holds and the network does not, or that was found and not said.

    Attributes
    ----------
    kind : 'wrapper' (the entries of the checkpoint that the network was found in), 'beside' (its other entries,
        passed over), 'counters' (what profilers and batch norms count with, dropped), 'training' (what optimizers
        and observers keep, dropped), 'words' (how the file calls the arrays of a layer), 'prefix' (what stands
        before the vendor's names), 'outside' (arrays outside the prefix that was asked for, dropped), 'headless'
        (the network ends before its head), 'head' (a head of its own, by its layers), 'reshaped' (arrays whose
        shape is the vendor's but for axes of length one), 'divisor' (the width, and to whose multiples its channels
        are rounded: 0 where they are cut off; and by which rule, where not to the nearest), 'order' (arrays that were
        told by their order and shapes), 'axes' (filters of which nothing tells the order of axes), 'blocks' (the known
        network that strides, pads and activations are from, where arrays alone have other blocks), 'alike' (by what
        another file's are most like), 'unfolded' (the eps that batch norms are taken with, where the file does not say
        it), 'end' (the operations behind the last that is one of refnet's, left out)
    names : of the file
    total : how many there are, where `names` are only the first
    """

    kind: str
    names: tuple[str, ...]
    total: int = 0


def rounding_note(width: float, by: WidthRule) -> Note:
    """By which rule a network's channels are rounded, where its vendor does it otherwise."""
    if by == WidthRule.to(0):
        return Note("divisor", (f"{width:g}", "0"))
    return Note("divisor", (f"{width:g}", f"{by.divisor}", *([] if by.rule == "nearest" else [by.rule])))


def rounding_of(note: Note) -> WidthRule:
    """The rule that such a note tells."""
    _, divisor, *rule = note.names
    return WidthRule(int(divisor), *rule) if rule else WidthRule.to(int(divisor))


def structure_notes(width: float | None, divisor: WidthRule | None, left_out: tuple[str, ...]) -> Iterator[Note]:
    """Of a file that tells its structure: by what its channels are rounded, and operations behind its network."""
    if divisor is not None:
        yield rounding_note(width or 1.0, divisor)
    if left_out:
        yield Note("end", left_out[:4], len(left_out))
