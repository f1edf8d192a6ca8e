"""Channels that are held in another order, scaled, negated or moved, and that later layers take back, in words."""

from __future__ import annotations

from collections.abc import Sequence

from refnet.bugs.language.changes import Mistake
from refnet.bugs.memory.channel_maps import ChannelsHeld
from refnet.judge.dumps.otherwise import HeldOtherwise
from refnet.report.mistakes.bugs import of_file
from refnet.verification.rearranged import Rearrangement

__all__ = ["otherwise_words", "rearrangement_words"]

_NAMED = 4  # nodes in one line


def rearrangement_words(found: Rearrangement) -> str:
    """What some layers of a file make otherwise, and which take it back."""
    if found.made == found.undone:
        return f"the weights of {found.made[0]} are scaled, which its own batch norm takes back"
    made, undone = (_names(names) for names in (found.made, found.undone))
    return f"of {made} {_changed(found.how)}, which {undone} take{'s' if len(found.undone) == 1 else ''} back"


def otherwise_words(found: HeldOtherwise) -> str:
    """Which tensors of a port stand for the reference's by other numbers, and which."""
    nodes = found.nodes[0] if len(found.nodes) == 1 else f"{found.nodes[0]} to {found.nodes[-1]}"
    back = "which what follows takes back: the port computes the same, and is judged so."
    return f"In {nodes} {_changed(found.how)}, {back}"


def _changed(how: ChannelsHeld) -> str:
    words = []
    if how.form:
        order = Mistake("channel-permute", "", how.form, {"side": "output", **how.facts})
        words.append(of_file(order))
    if how.factors != (1.0, 1.0):
        least, most = (f"{factor:.4g}" for factor in how.factors)
        words.append(f"channels are scaled, by {least}{'' if least == most else f' to {most}'}")
    if how.negated:
        words.append(f"{how.negated} of {how.channels} channels have the opposite sign")
    if how.moved:
        words.append(f"{how.moved} of {how.channels} channels have something added")
    return " and ".join(words)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
