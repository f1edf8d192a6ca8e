"""What was settled while a file was read, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from refnet.files.identify.notes import Note, rounding_of
from refnet.report.mistakes.narrower import rounded_words
from refnet.text import plain

__all__ = ["UNSURE", "note_document", "note_lines"]

# Notes after which the network may compute something else than the file: an end is left out; arrays or their axes told
# by their order; an eps that nobody has said.
UNSURE = ("order", "axes", "blocks", "alike", "unfolded", "end")


def note_lines(notes: Iterable[Note]) -> list[str]:
    """Each note as a line: "names stand behind 'model.'".

    Examples
    --------
    >>> note_lines([Note("prefix", ("model.", "")), Note("counters", ("total_ops", "total_params"), 402)])
    ["names stand behind 'model.'", '402 counters are left out: total_ops, total_params, ...']
    """
    return [_line(note) for note in notes]


def note_document(note: Note) -> dict[str, Any]:
    """A note as documents have it."""
    return {"kind": note.kind, "names": list(note.names), "total": note.total}


def _line(note: Note) -> str:
    names = ", ".join(plain(name)[:60] for name in note.names) + (", ..." if note.total > len(note.names) else "")
    match note.kind:
        case "wrapper":
            return f"the network is in the file's entry {names}"
        case "beside":
            return f"beside it are {names}, which are passed over"
        case "counters":
            return f"{note.total} counters are left out: {names}"
        case "training":
            return f"{note.total} arrays that only training needs are left out: {names}"
        case "words":
            return f"the arrays of layers are called {names}"
        case "outside":
            return f"{note.total} arrays outside the prefix are left out: {names}"
        case "order":
            return f"the names are nobody's: {note.total} arrays are told by their order and shapes: {names}"
        case "axes":
            taken = "PyTorch's is taken, else TensorFlow's"
            return f"the shapes do not tell the order of axes of {note.total} filters: {taken}: {names}"
        case "blocks":
            return f"no array tells strides, pads and activations: they are those of {note.names[0]}"
        case "alike":
            return f"the names are nobody's: {note.total} arrays are told by what they are most like: {names}"
        case "divisor":
            width, how = note.names[0], rounded_words(rounding_of(note))
            return f"the channels are those of width {width}, {how}, which its vendor does otherwise"
        case "unfolded":
            return f"its batch norms are taken with eps {names}, which the file does not say"
        case "reshaped":
            return f"{note.total} arrays have their vendor's shape but for axes of length one: {names}"
        case "head":
            return f"the head is the file's own: {names}"
        case "end":
            return f"the network ends before {names}: operations behind its last layer that refnet does not read"
        case "headless":
            return "the file has no head: the network ends before it"
    own, vendor = (repr(plain(name)[:60]) for name in note.names)
    if own == "''":
        return f"names lack {vendor} before them"
    return f"names stand behind {own}" if vendor == "''" else f"names have {own} for {vendor}"
