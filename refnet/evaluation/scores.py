"""How often is a network right? Top 1, top k, class by class, and what it takes for what.

Counts outputs as they come, in any order: integers, so the order leaves no trace. Of two equal outputs the one of the
lower class ranks first, as in `refnet run`. An image without an output counts as failed, neither right nor wrong.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["ClassScore", "Confusion", "Scores", "predicted", "ranks"]

Array = npt.NDArray[Any]


class ClassScore(NamedTuple):
    """Of the images of one class: how many were judged, how many of them right at once, how many among the first k."""

    label: int
    images: int
    top1: int
    topk: int


class Confusion(NamedTuple):
    """So many images of a class were taken for another."""

    label: int
    predicted: int
    images: int


def ranks(outputs: Array, labels: Array) -> Array:
    """The place of the right class in each row, 0 being the first.

    rank[n] = number of classes k with outputs[n, k] > outputs[n, label[n]], or equal to it and k < label[n]

    Parameters
    ----------
    outputs : (images, classes), finite
    labels : (images,) of integers

    Examples
    --------
    >>> ranks(np.array([[0.0, 2.0, 1.0], [5.0, 5.0, 5.0]]), np.array([2, 1])).tolist()
    [1, 1]
    """
    own = np.take_along_axis(outputs, labels[:, None], axis=1)  # (images, 1)
    before = np.arange(outputs.shape[1]) < labels[:, None]
    return np.asarray(((outputs > own) | ((outputs == own) & before)).sum(axis=1))


def predicted(outputs: Array) -> npt.NDArray[np.int64]:
    """The class that ranks first in each row of (images, classes); -1 where the row holds NaN."""
    failed = np.isnan(outputs).any(axis=1)
    return np.where(failed, -1, np.argmax(outputs, axis=1)).astype(np.int64)


class Scores:
    """Counts that grow batch by batch.

    Parameters
    ----------
    classes : how many the network tells apart
    k : of top k: 5, or `classes` where that is fewer

    Attributes
    ----------
    images, failed : images seen, and those of them without an output
    nearby : how often the label plus one, and minus one, was what the network said
    """

    def __init__(self, classes: int, k: int = 5) -> None:
        self.k = min(k, classes)
        self.images = self.failed = 0
        self.nearby = {1: 0, -1: 0}
        self._seen, self._top1, self._topk = (np.zeros(classes, np.int64) for _ in range(3))
        self._confused: Counter[tuple[int, int]] = Counter()  # sparse: classes squared is a million

    def add(self, outputs: Array, labels: Array) -> None:
        """Count a batch: (images, classes) and (images,)."""
        said = predicted(outputs)
        good = said >= 0
        self.images += len(labels)
        self.failed += int((~good).sum())
        outputs, labels, said = outputs[good], labels[good], said[good]
        rank = ranks(outputs, labels)
        for counts, chosen in ((self._seen, rank >= 0), (self._top1, rank == 0), (self._topk, rank < self.k)):
            np.add.at(counts, labels[chosen], 1)
        for step in self.nearby:
            self.nearby[step] += int((said == labels + step).sum())
        self._confused.update(zip(labels[rank > 0].tolist(), said[rank > 0].tolist(), strict=True))

    @property
    def judged(self) -> int:
        """Images with an output."""
        return self.images - self.failed

    @property
    def top1(self) -> int:
        """Images whose class ranks first."""
        return int(self._top1.sum())

    @property
    def topk(self) -> int:
        """Images whose class is among the first k."""
        return int(self._topk.sum())

    def by_class(self) -> list[ClassScore]:
        """The classes that were seen, in their order."""
        return [
            ClassScore(label, int(self._seen[label]), int(self._top1[label]), int(self._topk[label]))
            for label in np.flatnonzero(self._seen).tolist()
        ]

    def confusions(self, most: int | None = None) -> list[Confusion]:
        """What was most often taken for what, the most frequent first."""
        ordered = sorted(self._confused.items(), key=lambda item: (-item[1], item[0]))
        return [Confusion(*pair, count) for pair, count in ordered[:most]]

    def shift(self) -> int:
        """What, added to every label, would make most of them right that now are wrong: 1, -1, or 0 for none."""
        step = max(self.nearby, key=lambda step: self.nearby[step])
        count = self.nearby[step]
        return step if 2 * count > self.judged and count > 2 * self.top1 else 0
