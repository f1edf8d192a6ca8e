"""refnet evaluate: how often a network is right over a labelled set."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from refnet.cli.common import Command, kernels_argument, network_in, print_json, say, weights_arguments, with_kernels
from refnet.cli.masks import run_masks
from refnet.errors import RequestError
from refnet.evaluation.dataset import Dataset, scans
from refnet.evaluation.masks import gives_masks
from refnet.evaluation.run import BATCH, Evaluation, evaluate, fitted, read_dataset, remarks
from refnet.evaluation.scores import ClassScore
from refnet.files.containers.atomic import writable
from refnet.files.labels import names_of_classes
from refnet.network import Network
from refnet.network.quantised import AnyNetwork
from refnet.text import plain, table

_ROWS = 20  # of classes, of confusions and of failures that a person is shown, unless all are asked for
_PAIRS = 10

Names = Callable[[int], str]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        nargs="?",
        help="a folder with a folder of images for each class; or .npz with x, images (N, C, H, W) ready for the "
        "network or uint8 (N, H, W, 3), and y, classes; or .npy with x, and --labels; by default digits that ship. "
        "Of a network that gives each pixel a class: a folder with the folders images and masks, PASCAL VOC's folder, "
        "or .npz with y, masks (N, H, W)",
    )
    weights_arguments(parser)
    kernels_argument(parser)
    parser.add_argument("--labels", metavar="FILE", help="classes for an .npy array: .npy, or one integer a line")
    parser.add_argument(
        "--classes-file",
        metavar="FILE",
        help="which folder is which class: a name a line in the order of the outputs, or imagenet_class_index.json",
    )
    parser.add_argument("--batch", type=int, default=BATCH, metavar="N", help=f"images at once ({BATCH})")
    parser.add_argument("--threads", type=int, metavar="N", help="cores to use, and how many read images ahead (all)")
    parser.add_argument("--cluster", metavar="ADDRESS", help="run the batches on the workers of this Dask scheduler")
    parser.add_argument("--out", metavar="FILE.npz", help="write names, labels, predictions and outputs")
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action="store_const",
        const=True,
        help="insist on going on with an interrupted run; one with the same --out is gone on with anyhow if it fits",
    )
    again.add_argument("--restart", action="store_const", const=False, dest="resume", help="throw it away")
    parser.add_argument("--all", action="store_true", help=f"show every class (the {_ROWS} least often right)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    """Print how often the network is right; 1 if an image has no output."""
    if options.out is not None:
        writable(options.out, options.data, options.weights, options.labels, options.classes_file)
    net = network_in(options.weights, model=options.model, width=options.width, size=options.size)
    net = with_kernels(net, options.kernels)
    if isinstance(net, Network) and gives_masks(net.graph):
        return run_masks(options, net, _progress)
    dataset = _dataset(options, net)
    net = fitted(net, dataset)
    if options.size is not None:
        net = net.at(options.size)
    notes = remarks(net, dataset)
    began = time.perf_counter()
    with _progress(len(dataset), notes) as after_batch:
        evaluation = evaluate(
            net,
            dataset,
            batch=options.batch,
            threads=options.threads,
            output=options.out,
            resume=options.resume,
            cluster=options.cluster,
            after_batch=after_batch,
        )
    seconds = time.perf_counter() - began
    notes += _afterwards(evaluation)
    if options.json:
        print_json(_document(options, net, dataset, evaluation, notes, seconds))
    else:
        _print(options, net, dataset, evaluation, seconds)
    return 1 if evaluation.failures else 0


def _dataset(options: argparse.Namespace, net: AnyNetwork) -> Dataset:
    """The set that the user means."""
    if options.data is not None:
        return read_dataset(options.data, net.graph.recipe, labels=options.labels, classes_file=options.classes_file)
    if options.classes_file is not None:
        raise RequestError("--classes-file goes with a folder of class folders")
    if options.labels is not None:
        raise RequestError("--labels goes with an .npy array")
    if options.weights is not None:
        raise RequestError("which images? Give a folder of class folders, or an array with labels")
    return scans()


@contextmanager
def _progress(images: int, notes: tuple[str, ...]) -> Iterator[Callable[[int], object]]:
    """A progress bar where there is a terminal and tqdm; nothing elsewhere.

    Notes are said once the first images are done: a request that is refused has one line.
    """
    with _bar(images) as (update, say):
        waiting = list(notes)

        def after_batch(done: int) -> None:
            while waiting:
                say(_line(waiting.pop(0)))
            update(done)

        yield after_batch


@contextmanager
def _bar(images: int) -> Iterator[tuple[Callable[[int], object], Callable[[str], object]]]:
    """What moves the bar, and what prints a line above it."""
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            with tqdm(total=images, unit="image", leave=False) as bar:
                yield bar.update, partial(bar.write, file=sys.stderr)
            return
    yield lambda done: None, partial(print, file=sys.stderr)


def _afterwards(evaluation: Evaluation) -> tuple[str, ...]:
    """Lines about the images that failed, and about labels that count otherwise than the network does."""
    failures = [f"{name}: {why}" for name, why in evaluation.failures.items()]
    for line in failures[:_ROWS]:
        _say(line)
    if len(failures) > _ROWS:
        _say(f"and {len(failures) - _ROWS:,} more; --json has them all")
    step = evaluation.scores.shift()
    if not step:
        return ()
    count, way = evaluation.scores.nearby[step], "more" if step > 0 else "less"
    line = (
        f"{count:,} of {evaluation.scores.judged:,} would be right if every label were one {way}: "
        "do labels and network both count a background class, or neither?"
    )
    _say(line)
    return (line,)


def _say(line: str) -> None:
    say(_line(line), aside=True)


def _line(text: str) -> str:
    return f"refnet: {plain(text)}"


def _share(count: int, of: int) -> float | None:
    return count / of if of else None


def _percent(count: int, of: int) -> str:
    return f"{count / of:.2%}" if of else "-"


def _names(net: AnyNetwork, dataset: Dataset) -> Names:
    """What a class is called: by the network's vendor, or else by the set."""
    if names := names_of_classes(net.graph.recipe):
        return lambda label: names[label]
    return lambda label: dataset.classes.get(label, f"class {label}")


def _document(
    options: argparse.Namespace,
    net: AnyNetwork,
    dataset: Dataset,
    evaluation: Evaluation,
    notes: tuple[str, ...],
    seconds: float,
) -> dict[str, Any]:
    scores, names, recipe = evaluation.scores, _names(net, dataset), net.graph.recipe
    return {
        "model": recipe.model,
        "width": recipe.width,
        "size": list(recipe.size),
        "data": dataset.what,
        "images": scores.images,
        "judged": scores.judged,
        "failed": [{"name": name, "why": why} for name, why in evaluation.failures.items()],
        "right": scores.top1,
        "top1": _share(scores.top1, scores.judged),
        "k": scores.k,
        "right_k": scores.topk,
        "topk": _share(scores.topk, scores.judged),
        "classes": [{"class": row.label, "name": names(row.label), **_counts(row)} for row in scores.by_class()],
        "confusions": [pair._asdict() for pair in scores.confusions()],
        "notes": list(notes),
        "resumed": evaluation.resumed,
        "seconds": seconds,
        "output": options.out,
    }


def _counts(row: ClassScore) -> dict[str, Any]:
    return {"images": row.images, "right": row.top1, "right_k": row.topk}


def _print(
    options: argparse.Namespace, net: AnyNetwork, dataset: Dataset, evaluation: Evaluation, seconds: float
) -> None:
    scores, recipe = evaluation.scores, net.graph.recipe
    run_now = scores.images - evaluation.resumed
    again = f", {evaluation.resumed:,} of them in an earlier run" if evaluation.resumed else ""
    failed = f", {scores.failed:,} without an output" if scores.failed else ""
    say(f"{recipe}, {' x '.join(map(str, recipe.size))}: {plain(dataset.what)}")
    say(f"{scores.images:,} images{failed}{again}; {run_now / seconds:.0f} images/s\n")
    for k, count in {1: scores.top1, scores.k: scores.topk}.items():
        say(f"top-{k}  {_percent(count, scores.judged):>7}  {count:,} of {scores.judged:,}")
    _print_classes(options, net, dataset, evaluation)
    if options.out is not None:
        say(f"\npredictions in {plain(options.out)}")


def _print_classes(options: argparse.Namespace, net: AnyNetwork, dataset: Dataset, evaluation: Evaluation) -> None:
    """The table of classes, and what was taken for what."""
    scores, names = evaluation.scores, _names(net, dataset)
    rows = scores.by_class()
    shown = rows
    if len(rows) > _ROWS and not options.all:
        shown = sorted(rows, key=lambda row: (row.top1 / row.images, row.label))[:_ROWS]
    if shown:
        header = ("class", "name", "images", "top-1", f"top-{scores.k}")
        lines = [
            (row.label, names(row.label), row.images, _percent(row.top1, row.images), _percent(row.topk, row.images))
            for row in shown
        ]
        say("\n" + table(header, lines, left=2))
    if len(shown) < len(rows):
        say(f"the {len(shown)} classes that are least often right, of {len(rows)}; --all shows all")
    pairs = scores.confusions(_PAIRS)
    if pairs:
        taken = [(names(pair.label), names(pair.predicted), pair.images) for pair in pairs]
        say("\n" + table(("a picture of", "was taken for", "times"), taken, left=2))


COMMAND = Command("evaluate", "say how often a network is right over a labelled set", _arguments, _run)
