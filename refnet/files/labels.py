"""What the classes of a classifier are called, in the order of its outputs."""

from __future__ import annotations

from functools import cache

from refnet.errors import FormatError, RequestError
from refnet.files import shipped
from refnet.graph import Recipe

__all__ = ["class_names", "names_of_classes"]

_FORMAT = "# refnet class names, version 1"  # the first line of a file of names


@cache
def class_names(labels: str) -> tuple[str, ...]:
    """The names of the classes.

    Parameters
    ----------
    labels : 'imagenet', the 1000 of ILSVRC 2012; 'imagenet+background', 1001 of them, as TF-slim counts; 'digits', 10

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
    raise RequestError(f"no class names are called {labels!r}: imagenet, imagenet+background, digits")


def names_of_classes(recipe: Recipe) -> tuple[str, ...]:
    """What the classes of a network are called; none where nobody has said, or where it has another number of them.

    Examples
    --------
    >>> names_of_classes(Recipe("", 1.0, (32, 32), classes=10, labels="digits"))[7]
    '7'
    """
    names = class_names(recipe.labels) if recipe.labels else ()
    return names if len(names) == recipe.classes else ()


def _read(file: str, count: int) -> tuple[str, ...]:
    """One name a line, after a head of lines with '#', of which the first states the format."""
    lines = shipped.path(file).read_text(encoding="utf-8").splitlines()
    names = tuple(line for line in lines if not line.startswith("#"))
    if lines[:1] != [_FORMAT] or len(names) != count or not all(names):
        raise FormatError(f"{file}: not {count} names, one a line, after the line {_FORMAT!r}: install refnet again")
    return names
