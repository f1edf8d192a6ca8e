"""What refnet raises when a request or a file is bad: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

from refnet.text import plain

__all__ = ["FormatError", "GraphError", "RefnetError", "RequestError"]


class RefnetError(ValueError):
    """The base of every error that a user can cause; the command line prints it and exits with 2.

    Examples
    --------
    >>> issubclass(FormatError, RefnetError)
    True
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(plain(message).strip())  # names from files may hold anything


class FormatError(RefnetError):
    """A file is not what its format asks for.

    Examples
    --------
    >>> import refnet
    >>> refnet.read_pack("no/such/pack")
    Traceback (most recent call last):
        ...
    refnet.errors.FormatError: no/such/pack: does not exist
    """


class GraphError(RefnetError):
    """A graph breaks its own rules.

    Examples
    --------
    >>> from refnet.graph import Graph, Node, Recipe, check
    >>> check(Graph(Recipe("", 1.0, (8, 8), 10), (Node("stem.act", "relu", ("stem.bn",)),)))
    Traceback (most recent call last):
        ...
    refnet.errors.GraphError: stem.act: reads 'stem.bn', which no earlier node makes
    """


class RequestError(RefnetError):
    """A request cannot be met: no such model, no such size, an array of the wrong shape.

    Examples
    --------
    >>> import refnet
    >>> refnet.build("torchvision/mobilenet_v2", size=0)
    Traceback (most recent call last):
        ...
    refnet.errors.RequestError: size 0: take (height, width) in pixels
    """
