"""How other people's libraries resize a picture: as sums of pixels along rows, then along columns.

Kernels are what their libraries state: OpenCV's and PyTorch's read the pixels around (p + 1/2) n / P - 1/2 however much
they shrink the picture; those that are called antialiased widen their kernel by the factor, as Pillow does. The
vendors' own kernels are in `images`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["KERNELS", "ResizeKernel"]

Array = npt.NDArray[Any]
_Kernel = Callable[[Array], Array]


class ResizeKernel(NamedTuple):
    """A way to resize pixels.

    Attributes
    ----------
    resize : ((h, w, 3) pixels, (height, width)) -> (height, width, 3)
    levels : how far, in levels of a pixel, a library's own result may lie from it: one whole level where it is computed
        in fixed point and rounded to whole levels
    """

    resize: Callable[[Array, tuple[int, int]], Array]
    levels: float


def _triangle(x: Array) -> Array:
    made: Array = np.maximum(1 - np.abs(x), 0)
    return made


def _box(x: Array) -> Array:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _cubic(a: float) -> _Kernel:
    """Keys' kernel (IEEE Trans. ASSP 29(6), 1981): a = -0.5 in Pillow, -0.75 in OpenCV and PyTorch."""

    def kernel(x: Array) -> Array:
        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x**2 + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        made: Array = np.where(x < 1, near, np.where(x < 2, far, 0.0))
        return made

    return kernel


def _weights(n: int, p: int, kernel: _Kernel, reach: float, *, wide: bool, corners: bool = False) -> Array:
    """(P, n): what each of P results takes of n pixels; beyond the edge the last pixel counts, or with `wide` none."""
    step = (n - 1) / max(p - 1, 1) if corners else n / p
    at = np.arange(p) * step if corners else (np.arange(p) + 0.5) * step - 0.5
    stretch = max(step, 1.0) if wide else 1.0
    reach = int(np.ceil(reach * stretch)) + 1
    taken = np.floor(at)[:, None] + np.arange(-reach, reach + 1)
    weight = kernel((taken - at[:, None]) / stretch)
    if wide:
        weight[(taken < 0) | (taken >= n)] = 0
    total: Array = np.zeros((p, n))
    np.add.at(total, (np.arange(p)[:, None], taken.clip(0, n - 1).astype(np.intp)), weight)
    total /= total.sum(axis=1, keepdims=True)
    return total


def _separable(kernel: _Kernel, reach: float, *, wide: bool = False, corners: bool = False, whole: bool = False) -> Any:
    def resize(pixels: Array, shape: tuple[int, int]) -> Array:
        rows, columns = (
            _weights(n, p, kernel, reach, wide=wide, corners=corners)
            for n, p in zip(pixels.shape[:2], shape, strict=True)
        )
        across = np.einsum("qw,hwc->hqc", columns, pixels.astype(np.float64), optimize=True)
        made: Array = np.einsum("ph,hqc->pqc", rows, across, optimize=True)
        return np.floor(made + 0.5).clip(0, 255) if whole else made

    return resize


def _area(pixels: Array, shape: tuple[int, int]) -> Array:
    """OpenCV's INTER_AREA where it shrinks: each result is the mean of what lies under it."""
    made = pixels.astype(np.float64)
    for axis, p in enumerate(shape):
        n = made.shape[axis]
        edges = np.arange(p + 1) * (n / p)
        low, high = np.maximum(edges[:-1, None], np.arange(n)), np.minimum(edges[1:, None], np.arange(n) + 1)
        made = np.moveaxis(np.tensordot(np.maximum(high - low, 0) * (p / n), made, (1, axis)), 0, axis)
    return np.asarray(np.floor(made + 0.5))


def _first(pixels: Array, shape: tuple[int, int]) -> Array:
    """The pixel at floor(p n / P): OpenCV's and TensorFlow 1's nearest."""
    rows, columns = (np.arange(p) * n // p for n, p in zip(pixels.shape[:2], shape, strict=True))
    made: Array = pixels[rows][:, columns]
    return made


KERNELS: Mapping[str, ResizeKernel] = {
    "opencv-bilinear": ResizeKernel(_separable(_triangle, 1, whole=True), 1.0),
    "opencv-bicubic": ResizeKernel(_separable(_cubic(-0.75), 2, whole=True), 1.0),
    "opencv-area": ResizeKernel(_area, 1.0),
    "first-nearest": ResizeKernel(_first, 0.0),
    "float-bilinear": ResizeKernel(_separable(_triangle, 1), 0.0),
    "float-bicubic": ResizeKernel(_separable(_cubic(-0.75), 2), 0.0),
    "antialiased-bilinear": ResizeKernel(_separable(_triangle, 1, wide=True), 0.0),
    "antialiased-bicubic": ResizeKernel(_separable(_cubic(-0.5), 2, wide=True), 0.0),
    "corners-bilinear": ResizeKernel(_separable(_triangle, 1, corners=True), 0.0),
    "box": ResizeKernel(_separable(_box, 0.5, wide=True, whole=True), 1.0),
}
