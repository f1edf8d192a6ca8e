"""Write photograph.npz: chelsea.png at half its size, so that probes have a photograph without an image library.

Usage: PYTHONPATH=. python weights/make_photograph.py. Needs Pillow.
"""

from __future__ import annotations

import numpy as np
from configurations import HERE, versions, write

from refnet.files.images import read_image


def main() -> None:
    """Means of two by two pixels, rounded; an odd last column is left out."""
    pixels = read_image(HERE / "chelsea.png").astype(np.float64)  # (300, 451, 3)
    pixels = pixels[:, : pixels.shape[1] // 2 * 2]
    H, W, C = pixels.shape
    half = np.rint(pixels.reshape(H // 2, 2, W // 2, 2, C).mean(axis=(1, 3))).astype(np.uint8)
    write(
        "photograph.npz",
        {"pixels": half},
        format="refnet photograph 1",
        origin="weights/chelsea.png, means of 2 x 2 pixels; CC0",
        versions=versions("pillow"),
        made_by="weights/make_photograph.py",
    )


if __name__ == "__main__":
    main()
