"""Convolutions of a port that does not fold batch norm, beside a network that is folded.

What such a convolution makes is what the folded one does, times a number and one more in each channel: those of the
batch norm, which the folded network has no longer. Where the batch norm's own tensor is not there, both numbers are
fitted, and the tensor with them is taken for the folded convolution's.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.pack.matching.claims import Claims, Known
from refnet.pack.matching.likeness import CLEAR, Tables, is_affine, slopes

__all__ = ["ChannelLine", "Unfolded"]

Array = npt.NDArray[Any]

_POINTS = 4  # of a channel, from which its line is told
_FIRST = 4  # channels that are looked at before all are
_APART = 0.05  # from one, the factors of most channels of a batch norm
_LEAST = 3  # layers, the first ones that are there: of fewer, one that is only wrong may look so


class ChannelLine(NamedTuple):
    """What is done to each channel of a tensor, (C,): it is taken so many times, and so much is added."""

    factor: Array
    offset: Array

    @classmethod
    def fitted(cls, z: Array, y: Array) -> ChannelLine:
        """What brings z nearest to y."""
        mine, theirs = (each.astype(np.float64).mean(axis=(0, 2, 3)) for each in (z, y))
        factor = np.nan_to_num(slopes(y, z)[0])  # of a channel that is constant nothing can be told
        return cls(factor, theirs - factor * mine)

    @property
    def scales(self) -> bool:
        """Whether most channels are another number of times what they were: a bias alone scales none."""
        return float(np.median(np.abs(self.factor - 1))) > _APART

    def of(self, z: Array) -> Array:
        """A tensor with it, in its own format."""
        along = (1, -1, 1, 1)
        made = z.astype(np.float64) * self.factor.reshape(along) + self.offset.reshape(along)
        return made.astype(z.dtype if z.dtype.kind == "f" else np.float32)


class Unfolded:
    """Finds them on a walk, layer by layer, with what the network makes of what the candidate has before each.

    Parameters
    ----------
    convs : convolutions into which batch norm was folded
    limit : the relative distance within which a tensor is what a layer makes

    Attributes
    ----------
    lines : by convolution, what makes of its tensor that of the folded one
    beside : {a tensor: the convolution that makes it}, of those that are not judged: the folded one has a tensor of its
        own, or is behind one that is wrong
    """

    def __init__(self, tables: Tables, claims: Claims, convs: tuple[str, ...], limit: float) -> None:
        self.tables, self.claims, self.convs, self.limit = tables, claims, {*convs}, limit
        self.lines: dict[str, ChannelLine] = {}
        self.beside: dict[str, str] = {}
        self.asked = self.seen = 0  # layers that are there under their names; how many of all begin so
        self.plain = self.broken = False  # whether one was folded; whether the last one was wrong

    def named(self, name: str, each: Known, made: Array, behind: Callable[[Array], float]) -> Known | None:
        """The tensor of a convolution that is known by its name: itself, another one, or none.

        Parameters
        ----------
        behind : how far what follows is from what is made of a tensor; 0 where nothing of it is there
        """
        few = made[:, 0].size < _POINTS
        self.asked += not few
        own = self._distance(each.source, name, made)
        if own <= self.limit:
            self.plain = self.plain or not few
            return each
        z = self.tables.array(each.source, name, each.layout)
        near = {other: self._distance(other, name, made) for other in self.claims.free if self.tables.fits(other, name)}
        other = min(near, key=near.__getitem__, default=None)
        if other is not None and CLEAR * near[other] <= own:
            y = self.tables.like(other, name, self.tables.sample(name, made))
            if self._is_before(z, self.tables.array(other, name, y.layout)):
                self.beside[each.source] = name
                self.claims.free.remove(other)
                return Known(other, y.layout)
        line = ChannelLine.fitted(z, made)
        if self._is_before(z, made) and line.scales and behind(line.of(z)) <= behind(z):
            self.seen, self.broken = self.seen + 1, False
        elif not self._begun:
            self.plain = self.plain or not few
            return each
        elif few or self.broken:
            self.beside[each.source] = name
            return None
        else:
            self.broken = True
        self.lines[name] = line
        return each

    def unnamed(self, name: str, y: Array, *, lacking: bool) -> Known | None:
        """What a convolution makes before its batch norm, under any name, if it lacks a tensor; else it is set aside.

        Parameters
        ----------
        y : the folded one's tensor: the candidate's, or what is made of what that has before it
        """
        for source in [each for each in self.claims.free if self.tables.fits(each, name)]:
            layout = self.tables.like(source, name, self.tables.sample(name, y)).layout
            z = self.tables.array(source, name, layout)
            if not self._is_before(z, y) or not (line := ChannelLine.fitted(z, y)).scales:
                continue
            self.claims.free.remove(source)
            if lacking:
                self.seen, self.lines[name] = self.seen + 1, line
                return Known(source, layout)
            self.beside[source] = name
        return None

    def told(self, having: Set[str]) -> tuple[dict[str, ChannelLine], dict[str, str]]:
        """Lines, and what is beside, as far as so many layers are before their batch norm that the port folds none.

        Parameters
        ----------
        having : nodes that have a tensor
        """
        if self._begun or (0 < self.seen == self.asked and not self.plain):  # all of a few, too
            return self.lines, self.beside
        return {}, {source: name for source, name in self.beside.items() if name in having - self.lines.keys()}

    @property
    def _begun(self) -> bool:
        return self.seen >= _LEAST and not self.plain

    def _distance(self, source: str, name: str, y: Array) -> float:
        return self.tables.like(source, name, self.tables.sample(name, y)).distance

    def _is_before(self, z: Array, y: Array) -> bool:
        """Whether each channel of what a folded convolution makes is a line of a tensor's."""
        if y[:, 0].size < _POINTS or not np.isfinite(z).all():
            return False
        if y.shape[1] > _FIRST and not is_affine(z[:, :_FIRST], y[:, :_FIRST], self.limit):
            return False
        return is_affine(z, y, self.limit)
