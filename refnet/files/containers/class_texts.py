"""Texts that name a network's classes: in a TFLite file's own archive, or in a file beside the weights.

Nothing is interpreted here. What is beside must be a small regular file under a usual name; an archive is read with the
same distrust as others, and one that cannot be read is as good as none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from refnet.errors import FormatError
from refnet.files.containers.archive import Archive

__all__ = ["class_texts"]

_LONGEST = 1 << 20  # bytes: a hundred thousand names
_MEMBERS = 16  # of an archive that are looked at
_BESIDE = ("{stem}.labels.txt", "{stem}_labels.txt", "{stem}.txt", "labels.txt", "label.txt", "classes.txt")
_TFJS = "metadata.json"  # of Teachable Machine


def class_texts(path: Path, kind: str) -> dict[str, str]:
    """Texts that may be names of classes, by where they are from.

    Parameters
    ----------
    path : of the weights
    kind : of container
    """
    found = dict(_members(path)) if kind == "tflite" else {}
    folder = path if path.is_dir() else path.parent
    names = [pattern.format(stem=path.stem) for pattern in _BESIDE]
    for name in [*names, _TFJS] if kind.startswith("tfjs") else names:
        file = folder / name
        try:
            if file != path and file.is_file() and file.stat().st_size <= _LONGEST:
                found[name] = file.read_text(encoding="utf-8")
        except (OSError, ValueError):  # unreadable, or no text
            continue
    return found


def _members(path: Path) -> Iterator[tuple[str, str]]:
    """The texts in the archive that lies behind a model."""
    try:
        with path.open("rb") as file:
            archive = Archive(file)
            for name in [name for name in archive.members if name.endswith(".txt")][:_MEMBERS]:
                yield f"{name} in the file", archive.read(name)[:_LONGEST].decode("utf-8")
    except (FormatError, OSError, ValueError):  # no archive
        return
