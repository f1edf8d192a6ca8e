"""Tensors held by other numbers that later layers take back: channels in another order, scaled, negated or moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.memory.channel_orders import rule_of

__all__ = ["ChannelMap", "ChannelsHeld", "held_as"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """How a tensor holds the channels of another one: y'[k] = factor[k] * y[order[k]] + offset[k]."""

    order: Array
    factor: Array
    offset: Array

    @property
    def ordered(self) -> bool:
        """Whether the channels are in another order."""
        return not np.array_equal(self.order, np.arange(len(self.order)))


class ChannelsHeld(NamedTuple):
    """What the maps of some tensors are together.

    Attributes
    ----------
    form, facts : of the channels' order, '' where they keep it, see `channel_orders.rule_of`
    factors : the least and the largest size of a channel's factor, (1, 1) where there are none
    negated, moved : how many channels have the opposite sign, and how many something added
    channels : how many there are
    """

    form: str = ""
    facts: Mapping[str, Any] = {}
    factors: tuple[float, float] = (1.0, 1.0)
    negated: int = 0
    moved: int = 0
    channels: int = 0


def held_as(maps: Sequence[ChannelMap]) -> ChannelsHeld:
    """What maps are together, of tensors whose channels are in the same order."""
    first = maps[0]
    form, facts = rule_of(first.order) if first.ordered else ("", {})
    sizes = np.abs(np.concatenate([each.factor for each in maps if (each.factor != 1).any()] or [np.ones(1)]))
    return ChannelsHeld(
        form=form,
        facts=facts,
        factors=(float(sizes.min()), float(sizes.max())),
        negated=max(int((each.factor < 0).sum()) for each in maps),
        moved=max(int((each.offset != 0).sum()) for each in maps),
        channels=len(first.order),
    )
