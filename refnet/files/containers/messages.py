"""What other libraries say about a file, as one short printable line: a file may choose names, but not lines."""

from __future__ import annotations

__all__ = ["line"]

_LONGEST = 300


def line(error: Exception) -> str:
    r"""A message without line breaks and control characters; the error's type if it says nothing.

    >>> line(ValueError("bad name\n\x1b[2J"))
    'bad name \\x1b[2J'
    """
    words = " ".join(str(error).split())[:_LONGEST]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words) or type(error).__name__
