"""A network over a labelled set, batch by batch: counted, kept in a journal, written down at the end.

Memory holds a few batches, and of the whole set names and labels; outputs go to the journal, and from there to the file
of predictions. A run that was killed goes on behind the batches in its journal; since batches are the same ones every
time, its numbers are those of an uninterrupted run, bit for bit on the same machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.evaluation.arrays import read_arrays
from refnet.evaluation.batches import BatchResult, Span, batch_results, spans
from refnet.evaluation.cluster import cluster_results
from refnet.evaluation.dataset import Dataset, scans
from refnet.evaluation.folders import read_folder
from refnet.evaluation.journal import Journal, journal_path
from refnet.evaluation.scores import Scores, predicted
from refnet.files.containers import npz
from refnet.files.containers.atomic import writable
from refnet.files.labels import names_of_classes
from refnet.graph import Recipe
from refnet.inputs import at_size_of
from refnet.network.quantised import AnyNetwork, QuantisedNetwork
from refnet.shares import cores

__all__ = ["BATCH", "Evaluation", "evaluate", "fitted", "read_dataset", "remarks"]

Array = npt.NDArray[Any]
AfterBatch = Callable[[int], object]

BATCH = 16  # images at once, unless asked otherwise
_FORMAT = "refnet-predictions 1"
_BACKGROUND = "background"


@dataclass(frozen=True)
class Evaluation:
    """What came of a run.

    Attributes
    ----------
    scores : the counts
    failures : name of an image -> why it has no output
    resumed : images that an earlier run had done
    """

    scores: Scores
    failures: dict[str, str]
    resumed: int


def read_dataset(
    path: str | os.PathLike[str],
    recipe: Recipe,
    *,
    labels: str | os.PathLike[str] | None = None,
    classes_file: str | os.PathLike[str] | None = None,
) -> Dataset:
    """List a labelled set: a folder of class folders, or an array.

    Parameters
    ----------
    path : see `read_folder`, `read_arrays`
    recipe : of the network that will see the images
    labels : of an .npy array
    classes_file : which folder is which class

    Raises
    ------
    FormatError, RequestError
        if there is no such set, or what was given does not go with it.
    """
    path = Path(path)
    if not path.exists():
        raise RequestError(f"{path}: no such file or folder")
    if classes_file is not None and not path.is_dir():
        raise RequestError("--classes-file goes with a folder of class folders")
    if labels is not None and path.is_dir():
        raise RequestError("--labels goes with an .npy array")
    return read_folder(path, recipe, classes_file) if path.is_dir() else read_arrays(path, labels)


def fitted(net: AnyNetwork, dataset: Dataset) -> AnyNetwork:
    """The network at the size and precision of an array that is ready for it; as it is for other sets."""
    images = dataset.images
    if not isinstance(images, np.ndarray) or images.dtype == np.uint8:
        return net
    return at_size_of(net, images).astype(images.dtype)


def remarks(net: AnyNetwork, dataset: Dataset) -> tuple[str, ...]:
    """What a user should know beforehand: the set's own notes, and labels that may count other classes."""
    lowest, highest = int(dataset.labels.min()), int(dataset.labels.max())
    names = names_of_classes(net.graph.recipe)
    if names[:1] == (_BACKGROUND,) and lowest == 0 and highest < len(names) - 1:
        line = f"labels begin at 0, which this network calls {_BACKGROUND}: do they count without it, one too low?"
        return (*dataset.notes, line)
    return dataset.notes


def evaluate(
    net: AnyNetwork,
    dataset: Dataset | str | os.PathLike[str] | None = None,
    *,
    batch: int = BATCH,
    threads: int | None = None,
    output: str | os.PathLike[str] | None = None,
    resume: bool | None = None,
    cluster: str | None = None,
    after_batch: AfterBatch = lambda images: None,
) -> Evaluation:
    """Run a network over a set and count how often it is right.

    Parameters
    ----------
    net : is run as it is on a `Dataset`, and else at the size and precision of an array, see `fitted`
    dataset : a set, or its path, see `read_dataset`; by default the digits that ship
    batch : images at once; changes the last bits of outputs, since another product of matrices rounds otherwise
    threads : cores to use, by default all, and how many read images ahead of the network
    output : .npz file of predictions to write; its journal, and so the possibility to go on, comes with it
    resume : go on with an interrupted run, which must be there (True); begin again (False); whichever fits (None)
    cluster : address of a Dask scheduler that runs the batches instead of this process
    after_batch : called with the number of images of each batch that is done

    Returns
    -------
    evaluation : counts, and the images that failed

    Raises
    ------
    FormatError, RequestError, RefnetError
        in one line: labels that are no classes of the network, a journal of another run, no such cluster.

    Notes
    -----
    The file of predictions has names, labels, predicted (-1 where the image failed), the outputs, called logits or, if
    the network ends in softmax, probabilities (NaN where the image failed), and meta, JSON that says what was run.

    Examples
    --------
    >>> from refnet.network import load
    >>> evaluate(load()).scores.top1
    593
    """
    if not isinstance(dataset, Dataset):
        if output is not None:
            writable(output, dataset)
        dataset = scans() if dataset is None else read_dataset(dataset, net.graph.recipe)
        net = fitted(net, dataset)
    _refuse(net, dataset, batch, threads, output, resume)
    if output is None:
        return _Run(net, dataset, batch, None, after_batch).through(threads, cluster)
    target = writable(output)  # a link stays a link
    binding = _binding(net, dataset, batch)
    if resume and not journal_path(target).exists():
        raise RequestError(f"{journal_path(target)}: there is no interrupted run to go on with; leave out --resume")
    journal = Journal(journal_path(target), binding, restart=resume is False)
    finished = False
    try:
        evaluation = _Run(net, dataset, batch, journal, after_batch).through(threads, cluster)
        _write(target, net, dataset, spans(len(dataset), batch), journal, binding)
        finished = True
    finally:
        journal.close(remove=finished)
    return evaluation


class _Run:
    """Counts and failures as the batches come in, whichever way they come."""

    def __init__(
        self, net: AnyNetwork, dataset: Dataset, batch: int, journal: Journal | None, after_batch: AfterBatch
    ) -> None:
        self.net, self.dataset, self.journal, self.after_batch = net, dataset, journal, after_batch
        self.spans = spans(len(dataset), batch)
        self.scores = Scores(net.graph.recipe.classes)
        self.failures: dict[int, str] = {}

    def through(self, threads: int | None, cluster: str | None) -> Evaluation:
        """Take what the journal has, run the rest."""
        done = set() if self.journal is None else self.journal.done
        if self.journal is not None:
            for number in sorted(done):
                self._count(number, self.journal.result(number))
        resumed = self.scores.images
        todo = [(number, span) for number, span in enumerate(self.spans) if number not in done]
        for number, result in self._results(todo, threads, cluster):
            if number in done:
                raise AssertionError(f"batch {number} came twice")
            done.add(number)
            if self.journal is not None:
                self.journal.add(number, result)
            self._count(number, result)
        names = {self.dataset.names[image]: why for image, why in sorted(self.failures.items())}
        return Evaluation(self.scores, names, resumed)

    def _results(
        self, todo: list[tuple[int, Span]], threads: int | None, cluster: str | None
    ) -> Iterator[tuple[int, BatchResult]]:
        if not todo:
            return iter(())
        if cluster is not None:
            return cluster_results(cluster, self.net, self.dataset, todo)
        return batch_results(self.net.on(threads), self.dataset, todo, threads or cores())

    def _count(self, number: int, result: BatchResult) -> None:
        start, stop = self.spans[number]
        if result.outputs.shape != (stop - start, self.net.graph.recipe.classes):
            raise FormatError(f"the journal's batch {number} has shape {result.outputs.shape}; begin with --restart")
        self.scores.add(result.outputs, self.dataset.labels[start:stop])
        self.failures.update({start + row: why for row, why in result.failures.items()})
        self.after_batch(stop - start)


def _refuse(
    net: AnyNetwork,
    dataset: Dataset,
    batch: int,
    threads: int | None,
    output: str | os.PathLike[str] | None,
    resume: bool | None,
) -> None:
    """What can be seen to be wrong before anything is run."""
    if batch < 1 or (threads is not None and threads < 1):
        raise RequestError(f"a batch of {batch} by {threads} threads: take at least 1 of each")
    images, classes = dataset.images, net.graph.recipe.classes
    if isinstance(images, np.ndarray) and images.dtype != np.uint8:
        net.checked(np.zeros((1, *images.shape[1:]), images.dtype))  # its shape and dtype, or one line
    wrong = np.flatnonzero((dataset.labels < 0) | (dataset.labels >= classes))
    if wrong.size:
        name, label = dataset.names[wrong[0]], dataset.labels[wrong[0]]
        more = "; were the labels counted with a background class?" if dataset.labels.max() == classes else ""
        raise RequestError(f"{name}: has label {label}, and the network's classes are 0 to {classes - 1}{more}")
    if output is None:
        if resume is not None:
            raise RequestError("only a run with --out has a journal to resume or to restart")
        return
    if writable(output).suffix != ".npz":
        raise RequestError(f"{output}: the predictions are an .npz archive; take a name that ends so")


def _binding(net: AnyNetwork, dataset: Dataset, batch: int) -> dict[str, Any]:
    """All that the outputs depend on, by the words in which a difference is reported."""
    weights = hashlib.sha256(str(net.graph).encode())
    for array in net.arrays():
        weights.update(np.ascontiguousarray(array).data)
    return {
        "network": net.graph.recipe.model,
        "size": list(net.graph.recipe.size),
        "precision": net.kernels if isinstance(net, QuantisedNetwork) else str(net.dtype),
        "weights": weights.hexdigest(),
        "data": dataset.listing,
        "images": len(dataset),
        "batch": batch,
        "versions": {name: _version(name) for name in ("refnet", "numpy", "pillow")},
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:  # a checkout, or an extra that is not there
        return None


def _write(
    target: Path, net: AnyNetwork, dataset: Dataset, batches: list[Span], journal: Journal, binding: dict[str, Any]
) -> None:
    """The predictions, read from the journal batch by batch."""
    shape = (len(dataset), net.graph.recipe.classes)
    said = np.concatenate([predicted(journal.result(number).outputs) for number in range(len(batches))])
    rows = (journal.result(number).outputs for number in range(len(batches)))
    kind = "probabilities" if net.graph[net.graph.output].op == "softmax" else "logits"
    npz.write(
        target,
        {
            "meta": json.dumps({"format": _FORMAT, "of": dataset.what, **binding}),
            "names": np.array(dataset.names),
            "labels": dataset.labels,
            "predicted": said,
            kind: npz.Rows(shape, net.dtype, rows),
        },
    )
