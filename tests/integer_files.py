"""Files of integers that the tests run on: a network of MLPerf Tiny, and what LiteRT made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support import DATA

INTEGERS = DATA / "integers"


def write_vww(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Write the int8 network of `vww_96.npz` into a folder; its path, and the archive."""
    with np.load(INTEGERS / "vww_96.npz", allow_pickle=False) as archive:
        golden = {name: archive[name] for name in archive.files}
    path = folder / "vww.tflite"
    path.write_bytes(golden["model"].tobytes())
    return path, golden
