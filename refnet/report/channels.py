"""Channels that are held in another order, scaled, negated or moved, and that later layers take back, in words."""

from __future__ import annotations

from collections.abc import Sequence

from refnet.bugs.language.changes import Mistake
from refnet.judge.dumps.otherwise import HeldOtherwise
from refnet.report.bugs import of_file
from refnet.verification.rearranged import Rearrangement

__all__ = ["otherwise_words", "rearrangement_words"]

_NAMED = 4  # nodes in one line


def rearrangement_words(found: Rearrangement) -> str:
    """What some layers of a file make otherwise, and which take it back."""
    if found.made == found.undone:
        return f"the weights of {found.made[0]} are scaled, which its own batch norm takes back"
    made, undone = (_names(names) for names in (found.made, found.undone))
    return f"of {made} {_changed(found)}, which {undone} take{'s' if len(found.undone) == 1 else ''} back"


def otherwise_words(found: HeldOtherwise) -> str:
    """Which tensors of a port stand for the reference's by other numbers, and which."""
    nodes = found.nodes[0] if len(found.nodes) == 1 else f"{found.nodes[0]} to {found.nodes[-1]}"
    return f"In {nodes} {_changed(found)}, which what follows takes back: the port computes the same, and is judged so."


def _changed(found: Rearrangement | HeldOtherwise) -> str:
    words = []
    if found.form:
        order = Mistake("channel-permute", "", found.form, {"side": "output", **found.facts})
        words.append(of_file(order))
    if found.factors != (1.0, 1.0):
        words.append("channels are scaled, by {:.4g} to {:.4g}".format(*found.factors))
    if found.negated:
        words.append(f"{found.negated} of {found.channels} channels have the opposite sign")
    if found.moved:
        words.append(f"{found.moved} of {found.channels} channels have something added")
    return " and ".join(words)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
