"""What refnet raises when a request or a file is bad: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

__all__ = ["FormatError", "GraphError", "RefnetError", "RequestError"]


class RefnetError(ValueError):
    """The base of every error that a user can cause; the command line prints it and exits with 2."""


class FormatError(RefnetError):
    """A file is not what its format asks for."""


class GraphError(RefnetError):
    """A graph breaks its own rules."""


class RequestError(RefnetError):
    """A request cannot be met: no such model, no such size, an array of the wrong shape."""
