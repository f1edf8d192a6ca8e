"""Tables of plain text, as every command and report prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["table"]


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
