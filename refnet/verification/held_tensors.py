"""How a copy holds a tensor: its channels in another order, scaled or moved; and from where to where it does so."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.memory.channel_maps import ChannelMap

__all__ = ["SAME", "Held", "Stream", "UnfitError", "is_held_alike", "is_ordered_alike", "is_pure", "one_stream"]

Array = npt.NDArray[Any]

SAME = 1e-5  # relative: what is nearer to 1 is no factor


@dataclass(eq=False)
class Stream:
    """The tensors from where something is made otherwise to where that is taken back.

    Attributes
    ----------
    made : by unit, how what it makes is held
    undone : the units that take it back
    moved : how many arrays are others for it
    left : arrays that should be others for it, and are not
    joined : the one that this was joined with
    """

    made: dict[str, Held] = field(default_factory=dict)
    undone: list[str] = field(default_factory=list)
    moved: int = 0
    left: set[str] = field(default_factory=set)
    joined: Stream | None = None

    @property
    def first(self) -> Stream:
        """The one that this was joined with, if any."""
        return self if self.joined is None else self.joined.first


@dataclass(frozen=True, eq=False)
class Held(ChannelMap):
    """How the copy holds a tensor; factors may be `loose` off, relative."""

    loose: Array
    stream: Stream | None = None

    @classmethod
    def plain(cls, count: int) -> Held:
        """As the original holds it."""
        return cls(np.arange(count), np.ones(count), np.zeros(count), np.zeros(count))

    @property
    def scaled(self) -> bool:
        """Whether any channel is multiplied."""
        return bool((np.abs(self.factor - 1) > SAME).any())

    @property
    def is_plain(self) -> bool:
        """Whether it is as the original holds it."""
        return not (self.ordered or self.scaled or self.offset.any())


class UnfitError(Exception):
    """Something that is made otherwise is not taken back; of these streams."""

    def __init__(self, *streams: Stream | None) -> None:
        super().__init__()
        self.made = {name for stream in streams if stream is not None for name in stream.first.made}


def is_pure(held: Held) -> bool:
    """Whether nothing but the order is another one."""
    return not held.scaled and not held.offset.any()


def is_ordered_alike(one: Held, other: Held) -> bool:
    """Whether the channels of two are in one order."""
    return np.array_equal(one.order, other.order)


def is_held_alike(one: Held, other: Held) -> bool:
    """Whether they are, and are scaled alike."""
    return is_ordered_alike(one, other) and np.allclose(one.factor, other.factor, rtol=SAME, atol=0)


def one_stream(given: Collection[Held]) -> Stream | None:
    """One stream of all that are read."""
    streams = list(dict.fromkeys(held.stream.first for held in given if held.stream is not None))
    for stream in streams[1:]:
        streams[0].made |= stream.made
        streams[0].undone += stream.undone
        streams[0].moved += stream.moved
        streams[0].left |= stream.left
        stream.joined = streams[0]
    return streams[0] if streams else None
