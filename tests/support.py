"""Where the tests' data is, and the facts about every public model."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

DATA = Path(__file__).parent / "data"
CHECKOUT = Path(__file__).resolve().parent.parent
FACTS = json.loads((DATA / "facts.json").read_text())["models"]


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive of the tests' data into a folder; no member may lead out of it, where Python can tell.

    Python 3.11 has filters from 3.11.4 on, and distributions ship older ones.
    """
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)
    return folder


def facts_id(fact: dict) -> str:
    """How a model of the facts is called in a test's name."""
    return f"{fact['name']}-{fact['width']:g}"
