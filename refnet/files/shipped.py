"""Where the small data files are that come with refnet: trained weights, saved outputs, class names, a photograph.

A wheel carries them inside the package, as refnet/data/; a source checkout has them in weights/, beside the package.
Finds files; reads none.
"""

from __future__ import annotations

from pathlib import Path

from refnet.errors import RefnetError

__all__ = ["path"]

_PACKAGE = Path(__file__).resolve().parent.parent


def path(name: str) -> Path:
    """The path of a shipped file.

    Parameters
    ----------
    name : of the file, without a folder: 'chelsea.png'

    Returns
    -------
    path : of a file that exists

    Raises
    ------
    RefnetError : no such file is there
    """
    data = _PACKAGE / "data"
    # In an installed package the sibling folder weights/, if any, belongs to somebody else.
    folder = data if data.is_dir() else _PACKAGE.parent / "weights"
    found = folder / name
    if Path(name).name != name or not found.is_file():
        raise RefnetError(f"{name!r} is not among the files in {folder}: install refnet again, or take a full checkout")
    return found
