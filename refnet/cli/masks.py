"""refnet evaluate of a network that gives each pixel a class: intersection over union, class by class."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from refnet.cli.common import print_json, say
from refnet.errors import RequestError
from refnet.evaluation.masks import MaskEvaluation, MaskSet, evaluate_masks, read_masks
from refnet.files.labels import names_of_classes
from refnet.network import Network
from refnet.text import plain, table

__all__ = ["run_masks"]

Progress = Callable[[int, tuple[str, ...]], AbstractContextManager[Callable[[int], object]]]

_BATCHES = ("out", "resume", "cluster", "labels", "classes_file")


def run_masks(options: argparse.Namespace, net: Network, progress: Progress) -> int:
    """Print the overlap of each class and the mean; 1 if an image could not be counted."""
    if options.data is None:
        raise RequestError("which images? Give a folder with images and masks, or an .npz archive with x and y")
    if given := [name for name in _BATCHES if getattr(options, name) is not None]:
        raise RequestError(f"--{given[0].replace('_', '-')} is not for a network that gives each pixel a class")
    masks = read_masks(options.data)
    with progress(len(masks.names), ()) as after_image:
        found = evaluate_masks(net.on(options.threads), masks, whole=options.size is None, after_image=after_image)
    for name, why in found.failures.items():
        say(f"refnet: {plain(name)}: {plain(why)}", aside=True)
    if options.json:
        print_json(_document(net, masks, found))
    else:
        _print(net, masks, found)
    return 1 if found.failures else 0


def _names(net: Network, found: MaskEvaluation) -> list[str]:
    classes = len(found.scores.confusion)
    names = names_of_classes(net.graph.recipe)
    return list(names) if len(names) == classes else [f"class {label}" for label in range(classes)]


def _document(net: Network, masks: MaskSet, found: MaskEvaluation) -> dict[str, Any]:
    scores, names, recipe = found.scores, _names(net, found), net.graph.recipe
    rows = scores.by_class()
    return {
        "model": recipe.model,
        "width": recipe.width,
        "data": masks.what,
        "images": len(masks.names),
        "failed": [{"name": name, "why": why} for name, why in found.failures.items()],
        "pixels": scores.pixels,
        "right": scores.right,
        "mean_iou": scores.mean_overlap if rows else None,
        "classes": [{"name": names[row.label], **row._asdict(), "iou": row.overlap} for row in rows],
    }


def _print(net: Network, masks: MaskSet, found: MaskEvaluation) -> None:
    scores, names = found.scores, _names(net, found)
    rows = scores.by_class()
    say(f"{net.graph.recipe}: {plain(masks.what)}")
    say(f"{len(masks.names):,} images, {scores.pixels:,} pixels\n")
    if rows:
        lines = [
            (row.label, names[row.label], f"{row.pixels:,}", f"{row.said:,}", f"{row.overlap:.2%}") for row in rows
        ]
        say(table(("class", "name", "pixels", "said", "IoU"), lines, left=2))
        say(f"\nmean IoU        {scores.mean_overlap:.2%} over {len(rows)} classes")
        say(f"pixel accuracy  {scores.right / scores.pixels:.2%}")
