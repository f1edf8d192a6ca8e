"""Other weights of the same file: a checkpoint may hold a running average, or an earlier state, beside those taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from refnet.errors import FormatError, RequestError
from refnet.files.checkpoint import Checkpoint, identify
from refnet.files.containers import pth
from refnet.judge.causes.budget import SearchBudget
from refnet.verification.sides import Sides, pair
from refnet.verification.values import match_arrays

__all__ = ["OtherEntry", "entry_of"]


class OtherEntry(NamedTuple):
    """An entry of a checkpoint that was passed over, whose arrays are those of the other file.

    Attributes
    ----------
    path : of the checkpoint
    entry : its name
    other : the file that holds the same
    """

    path: str
    entry: str
    other: str


def entry_of(sides: Sides) -> OtherEntry | None:
    """The entry of either file that was passed over and holds what the other file holds, folded or not."""
    for file, other in ((sides.copy, sides.original), (sides.original, sides.copy)):
        for name in _passed_over(file):
            with suppress(FormatError, RequestError):
                contents = pth.read(file.path, name)
                found = identify(file.path, like=other, contents=contents)
                if _same(found, other):
                    return OtherEntry(file.path, name, other.path)
    return None


def _passed_over(file: Checkpoint) -> Iterator[str]:
    if file.kind == "pth":
        yield from (name for note in file.notes if note.kind == "beside" for name in note.names)


def _same(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether no array of two files is another, but for what is meant; it is not asked what happened to one that is."""
    values = match_arrays(pair(one, other), budget=SearchBudget(0.0))
    return not any(value.fault for value in values)
