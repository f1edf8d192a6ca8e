"""Which class folder is which output of the network? By name, by a file of classes, or by position; never by a guess.

Position means the order of the names, as torchvision's ImageFolder and Keras number the folders they train on, and
counts only where there are as many folders as classes. Where two readings are possible, both are refused.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from refnet.errors import FormatError, RequestError
from refnet.files.labels import class_names

__all__ = ["Classes", "classes_of", "read_classes"]

_LARGEST = 64 << 20  # bytes of a file of classes
_BACKGROUND = "imagenet+background"


class Classes(NamedTuple):
    """The class of each folder, in the order of the folders, and lines for the user."""

    labels: list[int]
    notes: tuple[str, ...] = ()


def classes_of(
    folders: Sequence[str], labels: str | tuple[str, ...], classes: int, file: str | os.PathLike[str] | None = None
) -> Classes:
    """Find the class of each folder.

    Parameters
    ----------
    folders : their names, sorted
    labels : the names of the classes, or what the network's vendor calls them, see `files.labels.class_names`; '' where
        nobody has said
    classes : how many outputs the network has
    file : of classes, see `read_classes`; what it says is taken and nothing else

    Raises
    ------
    RequestError : a folder is no class, or two are the same, or names and numbers do not settle it
    FormatError : the file of classes cannot be read

    Examples
    --------
    >>> classes_of(["cat", "dog"], "imagenet", 2).labels
    [0, 1]
    """
    if file is not None:
        return Classes(_looked_up(folders, read_classes(file), classes, str(file)))
    names = labels if isinstance(labels, tuple) else class_names(labels) if labels else ()
    if len(names) == classes and set(folders) <= set(names):
        return Classes([names.index(folder) for folder in folders])
    if len(folders) == classes:
        _refuse_unpadded(folders)
        return Classes(list(range(classes)))
    if labels == _BACKGROUND and len(folders) == classes - 1:
        _refuse_unpadded(folders)
        return Classes(
            list(range(1, classes)), (f"{len(folders)} class folders for {classes} classes: 0 is the background",)
        )
    raise RequestError(
        f"{len(folders)} class folders (the first is {folders[0]!r}) for a network of {classes} classes: "
        "which is which? Say so with --classes-file: one name a line in the order of the outputs"
    )


def read_classes(path: str | os.PathLike[str]) -> dict[str, int]:
    """Read which name is which class.

    Parameters
    ----------
    path : of a text, whose line i (from 0) names class i: the whole line, or its first word, as in ImageNet's
        LOC_synset_mapping.txt; or of JSON: a list of names, {name: class} as torchvision's class_to_idx, or
        {class: [WordNet id, name]} as Keras' imagenet_class_index.json

    Raises
    ------
    FormatError : it is neither, is empty, or gives a name to two classes
    """
    file = Path(path)
    if not file.is_file():
        raise FormatError(f"{file}: no such file of classes")
    if file.stat().st_size > _LARGEST:
        raise FormatError(f"{file}: too large for a file of classes")
    try:
        text = file.read_text(encoding="utf-8")
        pairs = _from_json(json.loads(text)) if file.suffix == ".json" else _from_lines(text.splitlines())
    except (AttributeError, ValueError, TypeError, RecursionError):
        raise FormatError(
            f"{file}: no file of classes: take one name a line, or JSON such as imagenet_class_index.json"
        ) from None
    found = dict(pairs)
    if not found:
        raise FormatError(f"{file}: names no class")
    for name, label in pairs:
        if found[name] != label:
            raise FormatError(f"{file}: {name!r} is class {label} as well as class {found[name]}")
    return found


def _from_json(value: Any) -> list[tuple[str, int]]:
    """Pairs of name and class; AttributeError, TypeError, ValueError if it is none of them."""
    if isinstance(value, list):
        pairs = [(name, label) for label, name in enumerate(value)]
    elif all(isinstance(label, list) for label in value.values()):
        pairs = [(words[0], int(label)) for label, words in value.items() if words]
    else:
        pairs = list(value.items())
    if not all(isinstance(name, str) and type(label) is int for name, label in pairs):
        raise TypeError("a name is no text, or a class no integer")
    return pairs


def _from_lines(lines: list[str]) -> list[tuple[str, int]]:
    """Whole lines; and first words, where no other line begins with the same or is the same."""
    lines = [line.strip() for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if not all(lines):
        raise ValueError("an empty line would shift all classes after it")
    pairs = [(line, label) for label, line in enumerate(lines)]
    first = Counter(line.split()[0] for line in lines)
    whole = set(lines)
    words = [(line.split()[0], label) for label, line in enumerate(lines)]
    return pairs + [(word, label) for word, label in words if first[word] == 1 and word not in whole]


def _looked_up(folders: Sequence[str], known: dict[str, int], classes: int, file: str) -> list[int]:
    if unknown := [folder for folder in folders if folder not in known]:
        raise RequestError(f"{file}: has no line for {len(unknown)} class folders, the first {unknown[0]!r}")
    labels = [known[folder] for folder in folders]
    for folder, label in zip(folders, labels, strict=True):
        if not 0 <= label < classes:
            raise RequestError(f"{file}: {folder!r} is class {label}, and the network's are 0 to {classes - 1}")
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        same = [folder for folder, label in zip(folders, labels, strict=True) if label == twice[0]]
        raise RequestError(f"{file}: the folders {same[0]!r} and {same[1]!r} are both class {twice[0]}")
    return labels


def _refuse_unpadded(folders: Sequence[str]) -> None:
    """Folders 0 1 10 2: is the third class 2, by its place, or 10, by its name?"""
    if all(folder.isascii() and folder.isdigit() for folder in folders):
        numbers = [int(folder) for folder in folders]
        ordered = sorted(numbers)
        if numbers != ordered:
            place = next(at for at, pair in enumerate(zip(numbers, ordered, strict=True)) if pair[0] != pair[1])
            raise RequestError(
                f"the class folders are numbers, and by their names {folders[place]!r} stands where {ordered[place]} "
                "would by number: which is meant? Say it with --classes-file, a name a line in the order of the outputs"
            )
