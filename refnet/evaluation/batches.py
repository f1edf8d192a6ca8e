"""From images to outputs, a batch at a time; the batches of a set are always the same ones, so that rounding is too.

What is wrong with one image (it cannot be decoded, holds NaN, its output does) fails that image, in words, and not the
run. Images are read by threads ahead of the network, never more than `_AHEAD` batches of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.evaluation.dataset import Dataset
from refnet.inputs import input_of
from refnet.network.quantised import AnyNetwork

__all__ = ["BatchResult", "batch_results", "read_one", "run_batch", "spans"]

Array = npt.NDArray[Any]
Span = tuple[int, int]  # the first image of a batch, and the one after its last

_AHEAD = 2  # batches


class BatchResult(NamedTuple):
    """What came of a batch.

    Attributes
    ----------
    outputs : (images, classes), dtype of the network; NaN throughout for an image that failed
    failures : row -> what is wrong with that image
    """

    outputs: Array
    failures: Mapping[int, str]


def spans(images: int, batch: int) -> list[Span]:
    """The batches of a set.

    Examples
    --------
    >>> spans(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(start, min(start + batch, images)) for start in range(0, images, batch)]


def read_one(image: Path | Array, net: AnyNetwork) -> Array | str:
    """One image as the network takes it, (C, H, W), or what is wrong with it.

    Raises
    ------
    RefnetError : Pillow is missing, which is not the image's fault
    """
    try:
        return np.asarray(input_of(net, image)[0])
    except (FormatError, RequestError) as error:
        return " ".join(str(error).split())


def run_batch(net: AnyNetwork, inputs: Iterable[Array | str]) -> BatchResult:
    """Run the network on what `read_one` made of a batch.

    Raises
    ------
    RequestError : the network is no classifier
    """
    images = list(inputs)
    classes = net.graph.recipe.classes
    outputs = np.full((len(images), classes), np.nan, net.dtype)
    failures = {row: image for row, image in enumerate(images) if isinstance(image, str)}
    readable = [row for row in range(len(images)) if row not in failures]
    if readable:
        y = net(np.stack([images[row] for row in readable]))  # (readable, C, H, W) -> (readable, classes)
        if y.shape != (len(readable), classes):
            shape = " x ".join(map(str, y.shape[1:]))
            raise RequestError(f"{net.graph.recipe}: makes {shape} of an image, not {classes} numbers")
        outputs[readable] = y
    for row in np.flatnonzero(~np.isfinite(outputs).all(axis=1)):
        if row not in failures:
            failures[int(row)] = "the network's output holds NaN or infinity"
            outputs[row] = np.nan
    return BatchResult(outputs, failures)


def batch_results(
    net: AnyNetwork, dataset: Dataset, todo: Iterable[tuple[int, Span]], threads: int
) -> Iterator[tuple[int, BatchResult]]:
    """Run numbered batches on this machine, in their order.

    Parameters
    ----------
    todo : (number, span) of each batch
    threads : how many read images
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="refnet-read")
    waiting: deque[tuple[int, list[Future[Array | str]]]] = deque()

    def finished() -> tuple[int, BatchResult]:
        number, images = waiting.popleft()
        return number, run_batch(net, [image.result() for image in images])

    try:
        for number, (start, stop) in todo:
            waiting.append((number, [pool.submit(read_one, image, net) for image in dataset.images[start:stop]]))
            if len(waiting) > _AHEAD:
                yield finished()
        while waiting:
            yield finished()
    finally:
        pool.shutdown(cancel_futures=True)
