"""An input that can reveal bugs.

An honest-looking input hides bugs: a square image hides exchanged axes, one that is zero at the border hides the
padding, one that never drives a gate beyond 3 hides its slope. The probe is made to hide nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.files import shipped
from refnet.graph import Graph
from refnet.networks.preprocessing import KERAS
from refnet.readings import fast

__all__ = ["probe"]

Array = npt.NDArray[Any]


def probe(graph: Graph, batch: int = 2) -> Array:
    """An input made to reveal bugs, float32.

    The first image: a texture of all frequencies, different in each channel and along each axis, so that no two
    axes, channels or directions can be exchanged unseen; bright and dark patches far beyond +-3; bands in which one
    channel alone is not zero; impulses on the border and in the corners. The second: a photograph, scaled as the
    vendor scales pixels. The third: smooth and dark, with a bright quarter. More are drawn like the first. A network
    that itself rescales pixels is given what it rescales to that.

    Parameters
    ----------
    graph : whose bugs are to show
    batch : how many images

    Returns
    -------
    x : (batch, C, H, W) float32 array

    Examples
    --------
    >>> from refnet.networks.build import build
    >>> x = probe(build("torchvision/mobilenet_v2", size=(48, 64)))
    >>> x.shape, bool(abs(x).max() > 6)
    ((2, 3, 48, 64), True)
    """
    C, H, W = graph.input_shape
    rng = np.random.Generator(np.random.PCG64(2026))
    x = np.empty((batch, C, H, W))
    for n in range(batch):
        if n == 1:
            x[n] = _photograph(graph)
        else:
            image = _smooth(C, H, W) if n == 2 else _texture(C, H, W, n, rng)
            for c in range(C):  # impulses on the border
                image[c, 0, c::5] += 3.0 + c
                image[c, -1, c::7] -= 4.0 + c
                image[c, c::6, 0] -= 3.0 + c
                image[c, c::4, -1] += 4.0 + c
            x[n] = graph.unscaled(image)
    return x.astype(np.float32)


def _texture(C: int, H: int, W: int, n: int, rng: np.random.Generator) -> Array:
    x = np.stack([_waves(c, H, W, n) + rng.standard_normal((H, W)) for c in range(C)])
    x[:, H // 4 : H // 2, W // 8 : W // 3] += 6.0
    x[:, H // 2 : 3 * H // 4, W // 2 : 3 * W // 4] -= 6.0
    for c in range(C):  # one channel alone, band after band
        band = x[:, 7 * H // 8 :, c * W // C : (c + 1) * W // C]
        band[np.arange(C) != c] = 0
    return x


def _smooth(C: int, H: int, W: int) -> Array:
    x = np.stack([0.7 * _waves(c, H, W, 2) - 1.0 for c in range(C)])
    x[:, : H // 2, W // 2 :] += 4.0
    return x


def _waves(c: int, H: int, W: int, n: int) -> Array:
    rows, columns = np.arange(H)[:, None] / H, np.arange(W)[None, :] / W
    waves: Array = np.sin((5 + 3 * c) * rows + 2 * n) + np.cos((9 + 2 * c) * columns - c) + rows * (1 + c) - columns
    return waves


def _photograph(graph: Graph) -> Array:
    """The photograph that ships, (C, H, W), scaled as the vendor does; without a vendor, to -1 .. 1."""
    C, H, W = graph.input_shape
    with np.load(shipped.path("photograph.npz"), allow_pickle=False) as archive:
        pixels = archive["pixels"].astype(np.float64).transpose(2, 0, 1)[None]  # (1, 3, h, w)
    if pixels.shape[1] != C:
        pixels = np.repeat(pixels.mean(axis=1, keepdims=True), C, axis=1)
    pixels = fast.resize_bilinear(pixels, size=(H, W), align_corners=False)
    pre = graph.recipe.preprocessing or KERAS
    mean, std = np.array([pre.mean, pre.std]).reshape(2, 3, 1, 1)
    if C != 3:
        mean, std = mean.mean(), std.mean()
    x: Array = (pixels[0] / pre.scale - mean) / std
    return x
