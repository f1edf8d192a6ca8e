"""What the classes of a classifier are called, in the order of its outputs."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from functools import cache
from os import PathLike

from refnet.errors import FormatError, RequestError
from refnet.files import shipped
from refnet.files.containers.archive import small_text
from refnet.graph import Recipe

__all__ = ["class_names", "fitting_labels", "names_in", "names_of_classes", "read_names"]

_VOC = (  # PASCAL VOC 2012, as torchvision 0.28 calls and orders them (models/_meta.py, _VOC_CATEGORIES)
    "__background__,aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person,"
    "pottedplant,sheep,sofa,train,tvmonitor"
)
_CITYSCAPES = (  # the 19 that are evaluated, by their train id
    "road,sidewalk,building,wall,fence,pole,traffic light,traffic sign,vegetation,terrain,sky,person,rider,car,truck,"
    "bus,train,motorcycle,bicycle"
)
_FORMAT = "# refnet class names, version 1"  # the first line of a file of names
_SHORT = {"voc": _VOC, "cityscapes": _CITYSCAPES}


@cache
def class_names(labels: str) -> tuple[str, ...]:
    """The names of the classes.

    Parameters
    ----------
    labels : 'imagenet', the 1000 of ILSVRC 2012; 'imagenet+background', 1001 of them, as TF-slim counts; 'digits', 10;
        'voc', 21 with the background; 'cityscapes', 19

    Returns
    -------
    names : one per output of the network

    Raises
    ------
    RequestError : there are no such labels
    FormatError : the shipped file of names is damaged
    RefnetError : the shipped file of names is missing

    Examples
    --------
    >>> class_names("imagenet")[281]
    'tabby'
    >>> class_names("imagenet+background")[282]
    'tabby'
    """
    if labels == "imagenet":
        return _read("imagenet_classes.txt", 1000)
    if labels == "imagenet+background":
        return ("background", *class_names("imagenet"))
    if labels == "digits":
        return tuple("0123456789")
    if labels in _SHORT:
        return tuple(_SHORT[labels].split(","))
    raise RequestError(f"no class names are called {labels!r}: imagenet, imagenet+background, digits, voc, cityscapes")


def names_of_classes(recipe: Recipe) -> tuple[str, ...]:
    """What the classes of a network are called; none where nobody has said, or where it has another number of them.

    Examples
    --------
    >>> names_of_classes(Recipe("", 1.0, (32, 32), classes=10, labels="digits"))[7]
    '7'
    """
    labels = recipe.labels
    names = labels if isinstance(labels, tuple) else class_names(labels) if labels else ()
    return names if len(names) == recipe.classes else ()


def fitting_labels(found: Mapping[str, str], recipe: Recipe) -> str | tuple[str, ...]:
    """The names that a file has for the classes: the first that are as many as these; else what the recipe says.

    Parameters
    ----------
    found : texts, by where they are from
    """
    fitting = (names for text in found.values() if len(names := names_in(text)) == recipe.classes)
    return next(fitting, recipe.labels)


def read_names(path: str | PathLike[str]) -> tuple[str, ...]:
    """The names of classes in a file; see `names_in`.

    Raises
    ------
    FormatError : it cannot be read, or holds none
    """
    found = names_in(small_text(path))
    if not found:
        raise FormatError(f"{path}: names no classes: one a line, or a list in JSON")
    return found


def names_in(text: str) -> tuple[str, ...]:
    """The names in a text: one a line, with or without numbers before them; or a list, or names by number.

    Examples
    --------
    >>> names_in("0 cat"), names_in("{0: 'cat', 1: 'big dog'}"), names_in('{"labels": ["cat"]}')
    (('cat',), ('cat', 'big dog'), ('cat',))
    """
    if text.lstrip()[:1] in ("{", "["):
        return _listed(text.strip())
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    parts = [line.replace(":", " ", 1).split(maxsplit=1) for line in lines]
    if lines and all(len(part) == 2 and part[0] == str(place) for place, part in enumerate(parts)):
        return tuple(part[1] for part in parts)
    return tuple(name.strip() for name in lines[0].split(",")) if len(lines) == 1 else tuple(lines)


def _listed(text: str) -> tuple[str, ...]:
    """The names of a list, of an entry 'labels', or of a dictionary by number; in JSON or as Python writes it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return ()
    if isinstance(found, dict) and "labels" in found:
        found = found["labels"]
    if isinstance(found, dict):
        numbered = {str(key): name for key, name in found.items()}
        found = [numbered.get(str(place)) for place in range(len(numbered))]
    return tuple(found) if isinstance(found, list) and all(isinstance(name, str) for name in found) else ()


def _read(file: str, count: int) -> tuple[str, ...]:
    """One name a line, after a head of lines with '#', of which the first states the format."""
    lines = shipped.path(file).read_text(encoding="utf-8").splitlines()
    names = tuple(line for line in lines if not line.startswith("#"))
    if lines[:1] != [_FORMAT] or len(names) != count or not all(names):
        raise FormatError(f"{file}: not {count} names, one a line, after the line {_FORMAT!r}: install refnet again")
    return names
