"""A segmentation network over images with masks: mean intersection over union, as torchvision's reference counts it.

Images are run one by one, each whole, its shorter side as the network has it; its mask is brought to that size by its
nearest pixels. A mask holds the number of a class for each pixel; 255 is none, and is not counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.evaluation.folders import SUFFIXES
from refnet.files.containers import npz
from refnet.files.containers.archive import small_text
from refnet.files.images import prepare_mask, read_image, read_mask
from refnet.graph import Graph
from refnet.inputs import at_size_of, at_whole, input_of
from refnet.network import Network
from refnet.readings.shapes import shapes

__all__ = ["ClassOverlap", "MaskEvaluation", "MaskScores", "MaskSet", "evaluate_masks", "gives_masks", "read_masks"]

Array = npt.NDArray[Any]

_IGNORED = 255
_LAYOUTS = (("images", "masks"), ("JPEGImages", "SegmentationClass"))  # the second is PASCAL VOC's
_LISTS = "ImageSets/Segmentation"


class ClassOverlap(NamedTuple):
    """Of one class: pixels that are it, that are said to be it, and that are both."""

    label: int
    pixels: int
    said: int
    both: int

    @property
    def overlap(self) -> float:
        """Intersection over union."""
        return self.both / (self.pixels + self.said - self.both)


class MaskScores:
    """Counts of pixels, by class and by what was said, that grow image by image.

    Parameters
    ----------
    classes : how many the network tells apart
    """

    def __init__(self, classes: int) -> None:
        self.confusion = np.zeros((classes, classes), np.int64)  # [class, said]

    def add(self, said: Array, labels: Array) -> None:
        """Count the pixels of an image: two (H, W) arrays of classes; those labelled 255 are left out."""
        classes, counted = len(self.confusion), labels != _IGNORED
        pairs = labels[counted].astype(np.int64) * classes + said[counted]
        self.confusion += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    @property
    def pixels(self) -> int:
        """Pixels that were counted."""
        return int(self.confusion.sum())

    @property
    def right(self) -> int:
        """Pixels that are said to be what they are."""
        return int(np.trace(self.confusion))

    def by_class(self) -> list[ClassOverlap]:
        """The classes that are somewhere, or are said to be."""
        rows = zip(self.confusion.sum(axis=1), self.confusion.sum(axis=0), np.diag(self.confusion), strict=True)
        found = [ClassOverlap(label, *map(int, counts)) for label, counts in enumerate(rows)]
        return [row for row in found if row.pixels or row.said]

    @property
    def mean_overlap(self) -> float:
        """The mean of intersection over union of the classes that are somewhere; NaN where nothing was counted.

        Examples
        --------
        >>> scores = MaskScores(3)
        >>> scores.add(np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, 255]]))
        >>> scores.mean_overlap
        0.5
        """
        overlaps = [row.overlap for row in self.by_class()]
        return float(np.mean(overlaps)) if overlaps else float("nan")


@dataclass(frozen=True, eq=False)
class MaskSet:
    """Images with masks, in a fixed order.

    Attributes
    ----------
    what : where they are from
    names : one for each image
    images, masks : a path for each; or arrays, images as in `Dataset`, masks (images, H, W) of integers
    """

    what: str
    names: Sequence[str]
    images: Sequence[Path] | Array
    masks: Sequence[Path] | Array


class MaskEvaluation(NamedTuple):
    """What came of a run: the counts, and why an image was not counted, by its name."""

    scores: MaskScores
    failures: dict[str, str]


def gives_masks(graph: Graph) -> bool:
    """Whether a network makes numbers of several classes for each pixel of its image."""
    shape = shapes(graph)[graph.output]
    return len(graph.outputs) == 1 and len(shape) == 3 and shape[0] > 1 and shape[1:] == graph.recipe.size


def read_masks(path: str | os.PathLike[str]) -> MaskSet:
    """List images with masks.

    Parameters
    ----------
    path : of a folder with the folders images and masks, or JPEGImages and SegmentationClass as PASCAL VOC has them (of
        those only what ImageSets/Segmentation/val.txt lists, if it is there): files of one name, whatever the suffix,
        belong together. Or of an .npz archive with x, the images, and y, their masks

    Raises
    ------
    FormatError, RequestError
        if there is no such set, or an image has no mask.
    """
    base = Path(path)
    if base.is_dir():
        return _folder(base)
    if base.suffix != ".npz":
        raise RequestError(f"{base}: take a folder with images and masks, or an .npz archive with x and y")
    arrays = npz.read(base)
    if lacking := [name for name in ("x", "y") if name not in arrays]:
        raise RequestError(f"{base}: has no array {lacking[0]!r}; take x, the images, and y, their masks")
    x, y = arrays["x"], arrays["y"]
    if x.ndim != 4 or not len(x) or x.dtype not in (np.uint8, np.float32, np.float64):
        raise RequestError(f"{base}: x of shape {x.shape}, {x.dtype}; take floats (N, C, H, W) or uint8 (N, H, W, 3)")
    size = x.shape[1:3] if x.dtype == np.uint8 else x.shape[2:]
    if y.dtype.kind not in "iu" or y.shape != (len(x), *size):
        raise RequestError(f"{base}: y of shape {y.shape}, {y.dtype}; take integers ({len(x)}, {size[0]}, {size[1]})")
    return MaskSet(base.name, [f"image {index}" for index in range(len(x))], x, y)


def _folder(base: Path) -> MaskSet:
    pair = next((pair for pair in _LAYOUTS if all((base / name).is_dir() for name in pair)), None)
    if pair is None:
        ways = " or ".join(" and ".join(pair) for pair in _LAYOUTS)
        raise RequestError(f"{base}: of a segmentation network take a folder with the folders {ways}")
    images, masks = (
        {file.stem: file for file in sorted((base / name).iterdir()) if file.suffix.lower() in SUFFIXES}
        for name in pair
    )
    listed = base / _LISTS / "val.txt"
    chosen = pair == _LAYOUTS[1] and listed.is_file()
    names = small_text(listed).split() if chosen else list(masks)
    for kind, found in (("image", images), ("mask", masks)):
        if lacking := [name for name in names if name not in found]:
            raise RequestError(f"{base}: no {kind} is called {lacking[0]}")
    if not names:
        raise RequestError(f"{base}: {pair[1]} holds no masks")
    return MaskSet(str(base), names, [images[name] for name in names], [masks[name] for name in names])


def evaluate_masks(
    net: Network,
    masks: MaskSet | str | os.PathLike[str],
    *,
    whole: bool = True,
    after_image: Callable[[int], object] = lambda images: None,
) -> MaskEvaluation:
    """Run a segmentation network over images with masks and count pixels.

    Parameters
    ----------
    masks : a set, or its path, see `read_masks`
    whole : run each image whole; otherwise at the network's own size, cropped as its vendor's preprocessing does
    after_image : called with 1 after each image

    Raises
    ------
    FormatError, RequestError
        if the network gives no masks, or there is no such set.

    Notes
    -----
    Intersection over union of a class: pixels that are it and are said to be, over those that are either. Images run
    in the network's own precision. A mask that does not fit its image, or holds what is no class, fails that image.

    Examples
    --------
    >>> from refnet import Network, build, random_params
    >>> graph = build("torchvision/lraspp_mobilenet_v3_large", width=0.1, size=(32, 32), classes=2)
    >>> net, x = Network(graph, random_params(graph)), np.zeros((1, 3, 32, 32), np.float32)
    >>> evaluate_masks(net, MaskSet("", ["one"], x, net(x).argmax(axis=1))).scores.mean_overlap
    1.0
    """
    if not gives_masks(net.graph):
        raise RequestError(
            f"{net.graph.recipe}: gives no class for each pixel of its image, so masks say nothing of it"
        )
    masks = masks if isinstance(masks, MaskSet) else read_masks(masks)
    scores, failures = MaskScores(shapes(net.graph)[net.graph.output][0]), dict[str, str]()
    at = net
    for name, image, mask in zip(masks.names, masks.images, masks.masks, strict=True):
        try:
            labels = read_mask(mask) if isinstance(mask, Path) else mask
            if wrong := set(np.unique(labels).tolist()) - {*range(len(scores.confusion)), _IGNORED}:
                raise FormatError(f"the mask holds {min(wrong)}, and the classes are 0 to {len(scores.confusion) - 1}")
            at, said, labels = _run(net, at, image, labels, whole)
            scores.add(said, labels)
        except (FormatError, RequestError) as error:
            failures[name] = " ".join(str(error).split())
        after_image(1)
    return MaskEvaluation(scores, failures)


def _run(net: Network, last: Network, image: Path | Array, labels: Array, whole: bool) -> tuple[Network, Array, Array]:
    """The network at the size of an image, the last one if it can be; the class of each pixel; the mask."""
    if not isinstance(image, Path) and image.dtype != np.uint8:
        at, x = at_size_of(net.astype(image.dtype), image), image[np.newaxis]
    else:
        pixels = read_image(image) if isinstance(image, Path) else image
        if labels.shape != pixels.shape[:2]:
            raise FormatError(f"the mask is of {labels.shape}, the image of {pixels.shape[:2]}")
        at = at_whole(net, pixels) if whole else net
        x = input_of(at, pixels)
        if at.graph.recipe.preprocessing is not None:
            labels = prepare_mask(labels, at.graph.recipe.preprocessing, at.graph.recipe.size)
    at = last if (last.graph, last.dtype) == (at.graph, at.dtype) else at
    return at, at(x)[0].argmax(axis=0), labels
