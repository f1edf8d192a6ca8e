"""Why a segment is wrong: one mistake or two, where each is, and the judgement of the candidate against them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from refnet.bugs.language.changes import Mistake
from refnet.bugs.systematic import ALL
from refnet.judge.causes.ways import Extent
from refnet.judge.verdicts import Judgement

__all__ = ["Cause", "fits_any_error", "rank", "says_the_same"]

_BY_FACTS = ("pool-divisor", "join-weights", "act-curve")  # bugs whose facts say all
_SOLVED_FILLING = ("pad-value", "number")

_OF_ALL = ("zero-point", "all")  # what is said of all tensors, though one shows it
_ANY_SCALE = (("store-scale", "stored"), ("store-scale", "read"))  # times a number that is solved for


class Cause(NamedTuple):
    """A way of running a segment that gives the candidate's tensor.

    Attributes
    ----------
    mistakes : one, or two at once; of one that is made at several places, the first
    judgement : of the candidate against that way of running it
    extents : of each mistake, at which places it is; None for one. Nothing where each is at one place
    """

    mistakes: tuple[Mistake, ...]
    judgement: Judgement
    extents: tuple[Extent | None, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """The bugs."""
        return tuple(mistake.bug for mistake in self.mistakes)

    @property
    def parts(self) -> Iterator[tuple[Mistake, Extent | None]]:
        """Each mistake and where it is."""
        yield from zip(self.mistakes, self.extents or (None,) * len(self.mistakes), strict=True)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Where they are; two in one node are at one place."""
        places = (extent.nodes if extent is not None else (mistake.node,) for mistake, extent in self.parts)
        return tuple(dict.fromkeys(node for nodes in places for node in nodes))


def rank(cause: Cause) -> tuple[bool, int, int, float]:
    """Few mistakes before many; what is everywhere before what is at one place, and that before what is at some.

    A number that was solved for comes behind a rule: of an input's colours, or of a scale. What is said of all tensors
    comes behind what is said of one.
    """
    extents = [extent for extent in cause.extents if extent is not None]
    some = sum(0 if extent.scope == ALL else 2 for extent in extents)
    behind = (_OF_ALL, *_ANY_SCALE)
    some += sum(each.bug == "input-solved" or (each.bug, each.form) in behind for each in cause.mistakes)
    return fits_any_error(cause), len(cause.mistakes), some + len(cause.mistakes) - len(extents), cause.judgement.rms


def fits_any_error(cause: Cause) -> bool:
    """Whether it follows any function, or only widens the bound: of few points it explains errors of any kind."""
    pieces = any(mistake.facts.get("curve", ("",))[0] == "piecewise" for mistake in cause.mistakes)
    return pieces or "fp16-accumulate" in cause.ids


def says_the_same(one: Cause, other: Cause) -> bool:
    """Whether two causes say the same, by whichever form each was found."""
    (mine, *_), (theirs, *_) = one.mistakes, other.mistakes
    whats = [[(mistake.bug, dict(mistake.facts)) for mistake in each.mistakes] for each in (one, other)]
    if _SOLVED_FILLING == (mine.bug, mine.form) == (theirs.bug, theirs.form):  # in fewer figures and in more
        return one.nodes == other.nodes
    named = mine.bug in _BY_FACTS or mine.form == theirs.form
    return named and whats[0] == whats[1] and one.nodes == other.nodes
