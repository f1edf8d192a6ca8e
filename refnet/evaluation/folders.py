"""A folder of images in the layout of ImageNet: one folder for each class.

Reads names alone; whether a file is an image that can be decoded shows when its turn comes. Hidden files and folders
(.DS_Store) and files that are no images by their suffix (README.txt, Thumbs.db) are left out and counted. Links are
followed, as sets are often made of them; a folder that contains itself is entered once. A class folder without images
keeps its class, for otherwise every class after it would shift.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from refnet.errors import RequestError
from refnet.evaluation.classes import classes_of
from refnet.evaluation.dataset import Dataset, fingerprint
from refnet.graph import Recipe

__all__ = ["SUFFIXES", "read_folder"]

# Of the kinds that files.images reads; what a file really is, its first bytes say.
SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".webp"))


class _Listing:
    """What a walk over the folders came by."""

    def __init__(self) -> None:
        self.others: list[str] = []  # no images by their suffix
        self.hidden = 0
        self.empty: list[str] = []  # class folders without images

    def notes(self) -> tuple[str, ...]:
        lines = []
        if self.empty:
            lines.append(f"{_count(len(self.empty), 'class folder')} without images: {_some(self.empty)}")
        if self.others:
            lines.append(f"left out {_count(len(self.others), 'file')} not named as images: {_some(self.others)}")
        if self.hidden:
            lines.append(f"left out {_count(self.hidden, 'hidden file or folder', 'hidden files and folders')}")
        return tuple(lines)


def read_folder(
    root: str | os.PathLike[str], recipe: Recipe, classes_file: str | os.PathLike[str] | None = None
) -> Dataset:
    """List the images of a folder of class folders.

    Parameters
    ----------
    root : the folder
    recipe : of the network that will see the images
    classes_file : which folder is which class, see `classes.read_classes`

    Returns
    -------
    dataset : class folders, and images in each, in order of their names

    Raises
    ------
    RequestError : there are no class folders, no images, or it is not clear which folder is which class
    FormatError : the file of classes cannot be read
    """
    base, found = Path(root), _Listing()
    folders = _class_folders(base, found)
    by_class = classes_of([folder.name for folder in folders], recipe.labels, recipe.classes, classes_file)
    names: list[str] = []
    labels: list[int] = []
    for folder, label in zip(folders, by_class.labels, strict=True):
        before = len(names)
        names.extend(path.relative_to(base).as_posix() for path in _images(folder, base, found, {_identity(base)}))
        labels.extend([label] * (len(names) - before))
        if len(names) == before:
            found.empty.append(folder.name)
    if not names:
        raise RequestError(f"{base}: no class folder holds an image; images end in {' '.join(sorted(SUFFIXES))}")
    paths = [base.resolve() / name for name in names]
    stats = (_stat(path) for path in paths)
    return Dataset(
        what=str(base),
        names=names,
        labels=np.array(labels, np.int64),
        images=paths,
        listing=fingerprint((name, label, *stat) for name, label, stat in zip(names, labels, stats, strict=True)),
        classes={label: folder.name for folder, label in zip(folders, by_class.labels, strict=True)},
        notes=(*by_class.notes, *found.notes()),
    )


def _class_folders(base: Path, found: _Listing) -> list[Path]:
    """The visible folders in a folder, by name; refused where the layout is another."""
    entries = sorted(base.iterdir(), key=lambda path: path.name)
    shown = [path for path in entries if not path.name.startswith(".")]
    found.hidden += len(entries) - len(shown)
    folders = [path for path in shown if path.is_dir()]
    loose = [path.name for path in shown if not path.is_dir()]
    images = [name for name in loose if _is_image(name)]
    layout = "take a folder with a folder for each class, as ImageNet's"
    if not folders and images:
        raise RequestError(f"{base}: {_count(len(images), 'image')} but no class folders, so no labels; {layout}")
    if not folders:
        raise RequestError(f"{base}: holds no class folders; {layout}")
    if images:
        raise RequestError(f"{base}: {images[0]} lies beside the class folders, so it has no label; move it into one")
    found.others += loose
    return folders


def _images(folder: Path, base: Path, found: _Listing, entered: set[tuple[int, int]]) -> Iterator[Path]:
    """The images in a folder and the folders in it, in order of their names."""
    here = _identity(folder)
    if here in entered:  # by a link that leads back
        return
    entered.add(here)
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith("."):
            found.hidden += 1
        elif path.is_dir():
            yield from _images(path, base, found, entered)
        elif _is_image(path.name):
            yield path
        else:
            found.others.append(path.relative_to(base).as_posix())


def _identity(folder: Path) -> tuple[int, int]:
    """What two names of the same folder share."""
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _stat(path: Path) -> tuple[int, int]:
    """Size and time of modification; of a link that leads nowhere, what no file has."""
    try:
        stat = path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
