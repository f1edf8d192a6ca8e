"""A labelled set of images: what they are called, where they are, which class each belongs to.

Holds names and labels of the whole set, but no pixels: images are paths, or rows of an array that may be mapped from
a file. Where a set comes from is for `folders` and `arrays` to say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.files.digits import digits

__all__ = ["Dataset", "fingerprint", "scans"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels, in a fixed order.

    Attributes
    ----------
    what : where they are from, in a few words
    names : one for each image
    labels : (images,) int64, the class of each
    images : a path for each; or an array, (images, C, H, W) of floats that are ready for a network, or
        (images, H, W, 3) uint8 pixels that its preprocessing has yet to see
    listing : SHA-256 of names, labels, and of what tells that a file has changed: its size and time of modification
    classes : class -> what the set itself calls it, where it does
    notes : lines for the user: what was left out, what looks odd
    """

    what: str
    names: Sequence[str]
    labels: npt.NDArray[np.int64]
    images: Sequence[Path] | Array
    listing: str
    classes: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def part(self, start: int, stop: int) -> Dataset:
        """Images start..stop-1 as a set of their own, small enough to be sent away."""
        images = self.images[start:stop]
        return replace(
            self,
            names=self.names[start:stop],
            labels=self.labels[start:stop],
            images=np.array(images) if isinstance(images, np.ndarray) else images,  # no longer mapped
            classes={},
            notes=(),
        )


def fingerprint(lines: Iterable[Sequence[object]], *arrays: Array) -> str:
    """SHA-256 of what makes a listing: lines of words and numbers, then arrays."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update("\0".join(map(str, line)).encode("utf-8", "surrogateescape") + b"\n")
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def scans() -> Dataset:
    """The 599 digits that ship with refnet and that its training never saw.

    Examples
    --------
    >>> len(scans())
    599
    """
    held_out = np.flatnonzero(digits().held_out)
    images, labels = digits().inputs()[held_out], digits().labels[held_out].astype(np.int64)
    return Dataset(
        what="the digits that ship with refnet, held out of its training",
        names=[f"scan {index}" for index in held_out],
        labels=labels,
        images=images,
        listing=fingerprint([("digits that ship",)], images, labels),
    )
