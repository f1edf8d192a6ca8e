"""Text that is fit to print: lines, tables and documents whose names came from files and folders.

A name may hold another line, an escape sequence, letters that turn the direction of a line, half a surrogate pair, or a
million letters. Every error, report and command makes what it prints fit here; JSON keeps names as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["plain", "plain_document", "plain_lines", "table"]

_LINE = 2000  # letters
_CELL = 400
_BREAK = re.compile(r"\s*[^\S ]\s*")  # any white space but blanks


def plain(text: object, most: int = _LINE) -> str:
    r"""Text on one line whose every character can be printed: what a terminal would obey is written out.

    Parameters
    ----------
    text : any
    most : how many letters are kept; of longer text, the beginning and the end

    Examples
    --------
    >>> print(plain("\x1b[31mred.pth\nhealthy"))
    \x1b[31mred.pth healthy
    >>> plain("n" * 10**6, 20)
    'nnnnnnnnnn ... nnnnn'
    """
    line = _cut(str(text), most)  # before it is looked at: a name may be as long as its file
    if line.isprintable():
        return line
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in _BREAK.sub(" ", line))
    return _cut(shown, most)


def _cut(line: str, most: int) -> str:
    if len(line) <= most:
        return line
    return f"{line[: most // 2]} ... {line[len(line) - (most - most // 2 - 5) :]}"


def plain_lines(text: str) -> str:
    """Lines, each made fit to print; a name with a break in it must have been made so before they were put together."""
    return "\n".join(map(plain, text.split("\n")))


def plain_document(value: Any) -> Any:
    r"""A JSON document whose every text is fit to print.

    Examples
    --------
    >>> plain_document({"name": "a\nb", "shape": [1, 2]})
    {'name': 'a b', 'shape': [1, 2]}
    """
    match value:
        case str():
            return plain(value)
        case dict():
            return {plain(key): plain_document(each) for key, each in value.items()}
        case list() | tuple():
            return [plain_document(each) for each in value]
    return value


def table(header: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """Lay out rows under a header; the first `left` columns are set left, the rest right.

    Examples
    --------
    >>> print(table(("node", "MACs"), [("stem.conv", 864), ("stem.bn", 0)]))
    node       MACs
    stem.conv   864
    stem.bn       0
    """
    lines = [[plain(cell, _CELL) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
