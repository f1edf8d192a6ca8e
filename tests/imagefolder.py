"""Folders in the layout of ImageNet, made from the scans that ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from refnet.files.digits import digits


def write_scans(root: Path, each: int = 2) -> Path:
    """A folder for each digit with the first held-out scans of it: 0/scan_3.png and so on."""
    from PIL import Image

    held_out = np.flatnonzero(digits().held_out)
    for digit in range(10):
        folder = root / str(digit)
        folder.mkdir(parents=True)
        for index in held_out[digits().labels[held_out] == digit][:each]:
            pixels = np.round(digits().scans[index] * 15.9375).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"scan_{index}.png")
    return root
