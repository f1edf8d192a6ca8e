"""Blocks that are left out by chance: what each sum shows alone is one mistake, stochastic depth that was left on."""

from __future__ import annotations

from collections.abc import Mapping

from refnet.bugs.language.changes import Mistake
from refnet.judge.causes.cause import Cause

__all__ = ["chances_joined"]

_FEW = 3  # sums of which some lack their block, and others have more of it, by no chance but that


def chances_joined(causes: Mapping[str, list[Cause]]) -> dict[str, list[Cause]]:
    """The causes, those of sums without their block and of sums with more than it being one mistake.

    Parameters
    ----------
    causes : by tensor, the likeliest first
    """
    first = {name: found[0] for name, found in causes.items() if found and len(found[0].mistakes) == 1}
    alone = {name: each for name, each in first.items() if not any(each.extents)}
    more = {name: each for name, each in alone.items() if _has_more(each.mistakes[0])}
    gone = {name: each for name, each in alone.items() if _is_left_out(each.mistakes[0])}
    if not more or not gone or len(more) + len(gone) < _FEW:
        return dict(causes)
    said = {name: each.mistakes[0] for name, each in (more | gone).items()}
    made = {name: Mistake("join-weights", own.node, "chance", {}) for name, own in said.items()}
    return {**causes, **{name: [alone[name]._replace(mistakes=(mistake,))] for name, mistake in made.items()}}


def _has_more(mistake: Mistake) -> bool:
    """Whether a sum has more of the block's result than once, as what is kept is scaled."""
    return (mistake.bug, mistake.kind) == ("join-weights", "branch") and mistake.facts["branch"] > 1


def _is_left_out(mistake: Mistake) -> bool:
    return mistake.bug == "block-missing" or (mistake.bug, mistake.form) == ("join-weights", "images")
