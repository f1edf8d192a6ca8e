"""Tables of plain text, and names of files in them, as every command and report prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["plain", "table"]


def plain(text: object) -> str:
    r"""Text on one line whose every character can be printed: what a terminal would obey is written out.

    Examples
    --------
    >>> print(plain("\x1b[31mred.pth"))
    \x1b[31mred.pth
    """
    line = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """Lay out rows under a header; the first `left` columns are set left, the rest right.

    Examples
    --------
    >>> print(table(("node", "MACs"), [("stem.conv", 864), ("stem.bn", 0)]))
    node       MACs
    stem.conv   864
    stem.bn       0
    """
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
