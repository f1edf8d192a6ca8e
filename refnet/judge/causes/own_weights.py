"""Whether a layer's own weights explain its tensor, read or scaled otherwise: each way is run, with the best biases.

What a loader makes of right weights is no other file: bytes taken for another format's, or integers under scales that
are not their channels'.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.files.stored_weights import READINGS
from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.segments import Segment
from refnet.judge.causes.feature import Feature
from refnet.judge.causes.linear_layers import (
    FREE,
    LinearLayer,
    activated,
    fittable,
    layer_of,
    nearest_lines,
    varying_channels,
)
from refnet.judge.verdicts import root_mean_square
from refnet.ops import CONVOLUTIONS

__all__ = ["OwnWeights", "own_weights"]

Array = npt.NDArray[Any]

_MOST = 127  # steps that the largest weight of a channel has in 8 bits
_ONE_SCALE = 1 / _MOST  # what rounding to integers leaves of it


class OwnWeights(NamedTuple):
    """What a layer makes with its own weights taken otherwise.

    Attributes
    ----------
    y : (N, channels, P, Q)
    channels : that could be looked at
    slope : how many times larger it is than what the layer makes, and so its rounding
    size : the rms of what the weights add to one number, of the channel in the middle
    feature : how they are taken
    """

    y: Array
    channels: Array
    slope: float
    size: float
    feature: Feature


def own_weights(segment: Segment, shifts: Iterable[int] = ()) -> Iterator[OwnWeights]:
    """With other biases; a factor for each channel, with or without those; the weights' bytes read as other numbers'.

    Parameters
    ----------
    shifts : or, in place of all these, by how many places the weights may stand too early
    """
    nodes = fittable(segment)
    if not nodes or nodes[0].op not in CONVOLUTIONS:
        return
    layer = layer_of(nodes, np.asarray(segment.candidate, np.float64))
    if layer is not None and (layer.kept.sum(axis=0) > FREE).any():
        with np.errstate(all="ignore"):
            taken = _Taken(segment, layer)
            yield from itertools.chain.from_iterable(map(taken.shifted, shifts)) if shifts else taken.ways()


class _Taken:
    """One layer, on its own inputs."""

    def __init__(self, segment: Segment, layer: LinearLayer) -> None:
        self.segment, self.layer, self.name = segment, layer, f"{layer.conv.name}.w"
        self.w = np.asarray(segment.params[self.name], np.float64)
        self.channels = np.flatnonzero(layer.kept.sum(axis=0) > FREE)
        self.kept, self.wanted = layer.kept[:, self.channels], layer.z[:, self.channels]
        self.at, self.own = self._made(np.zeros_like(self.w))[:1], self._made(self.w)

    def ways(self) -> Iterator[OwnWeights]:
        yield self._with_biases(self.own, Feature("biases", {}))
        yield from self._scaled(self.own)
        yield from self._renormed()
        steps = np.abs(self.w).max(axis=tuple(range(1, self.w.ndim)), keepdims=True) / _MOST
        yield from self._scaled(self._made(np.rint(self.w / np.where(steps > 0, steps, 1)) * steps), integers=True)
        norm = self.segment.units[0].norm
        column = (-1, *(1,) * (self.w.ndim - 1))
        for factor in (None,) if norm is None else (None, self.segment.units[0].factor.reshape(column)):
            for form, read in READINGS.items():
                w = read(self.w) if factor is None else read(self.w * factor) / factor
                if np.isfinite(w).all():
                    mistake = Mistake("bytes-misread", self.layer.conv.name, form, {})
                    yield self._with_biases(self._made(w), Feature("own-weights", {"mistake": mistake}))

    def shifted(self, by: int) -> Iterator[OwnWeights]:
        """With each weight as the one that lies so many places on; of the channels that have all of theirs."""
        form, facts = "early" if by > 0 else "late", {"by": abs(by)}
        mistake = Mistake("weights-shifted", self.layer.conv.name, form, facts)
        flat = np.roll(self.w.ravel(), -by)
        flat[slice(-by, None) if by > 0 else slice(-by)] = np.nan
        w = flat.reshape(self.w.shape)
        whole = np.flatnonzero(np.isfinite(w[self.channels]).reshape(len(self.channels), -1).all(axis=1))
        if len(whole):
            feature = Feature("own-weights", {"mistake": mistake})
            yield self._with_biases(self._made(np.nan_to_num(w)), feature, whole)

    def _made(self, w: Array) -> Array:
        """(N P Q, channels): what the layer makes with some weights, before the activation."""
        unit = self.segment.units[0]
        linear = self.layer.conv.name if unit.norm is None else unit.norm.name
        ((_, y),) = replace(self.segment, params={**self.segment.params, self.name: w}).values({linear})
        return y.transpose(0, 2, 3, 1).reshape(self.layer.z.shape)[:, self.channels]

    def _with_biases(self, z: Array, feature: Feature, of: Array | slice = slice(None)) -> OwnWeights:
        return self._way(z + np.mean(self.wanted - z, axis=0, where=self.kept), feature, of)

    def _scaled(self, own: Array, *, integers: bool = False) -> Iterator[OwnWeights]:
        """A factor for each channel, of integers one scale; nothing is known of a channel that is silent."""
        centred = np.where(self.kept, own - self.at, 0)
        square = np.square(centred).sum(axis=0)
        factor = ((self.wanted - self.at) * centred).sum(axis=0) / np.where(square > 0, square, 1)
        factor = np.where(square > 0, factor, 1)
        node, facts = self.layer.conv.name, {"least": float(factor.min()), "most": float(factor.max())}
        mistake = Mistake("channels-scaled", node, "all", facts)
        if self._is_of_one_scale(factor[square > 0], self.channels[square > 0]):
            mistake = Mistake("scales-moved", node, "one", {})
        if mistake.form == "one" or not integers:
            yield self._way(self.at + factor * (own - self.at), Feature("own-weights", {"mistake": mistake}))

    def _renormed(self) -> Iterator[OwnWeights]:
        """A positive factor and an offset for each channel, as other numbers of batch norm leave; told of several.

        In its place may stand the bias that it was folded into.
        """
        if self.segment.units[0].norm is None and "b" not in self.layer.conv.params:
            return
        lines = nearest_lines(self.own, self.wanted, self.kept, (0,))
        factor = lines.slope[0]
        told = (self.kept.sum(axis=0) > FREE + 1) & varying_channels(self.wanted, self.kept, (0,)) & (factor != 0)
        if told.sum() > FREE and (factor[told] > 0).all():
            facts = {"least": float(factor[told].min()), "most": float(factor[told].max())}
            yield self._way(lines.of(self.own), Feature("norms", facts), np.flatnonzero(told))

    def _is_of_one_scale(self, factor: Array, channels: Array) -> bool:
        """Whether the largest weight of each channel becomes the same: as many steps of one scale."""
        rows = self.w.reshape(len(self.w), -1)
        norm = self.segment.units[0].norm
        for own in (rows,) if norm is None else (rows, rows * self.segment.units[0].factor[:, None]):
            largest = np.abs(own).max(axis=1)[channels] * np.abs(factor)
            if len(largest) > FREE and np.ptp(largest) <= _ONE_SCALE * largest.max():
                return True
        return False

    def _way(self, z: Array, feature: Feature, of: Array | slice = slice(None)) -> OwnWeights:
        target, channels = np.asarray(self.segment.candidate, np.float64), self.channels[of]
        y, seen = (
            each[:, of].reshape(len(target), *target.shape[2:], -1).transpose(0, 3, 1, 2) for each in (z, self.kept)
        )
        y = np.where(seen, activated(self.segment, self.layer.act, y), target[:, channels])
        size, own = (root_mean_square((each - self.at)[:, of]) for each in (z, self.own))
        median = float(np.median(np.square((z - self.at)[:, of]).mean(axis=0)) ** 0.5)
        return OwnWeights(y, channels, max(size / own, 1.0) if own else 1.0, median, feature)
