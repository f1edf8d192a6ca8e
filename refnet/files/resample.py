"""How libraries resize a picture: as sums of pixels along rows, then along columns.

Kernels are what their libraries state: OpenCV's and PyTorch's read the pixels around (p + 1/2) n / P - 1/2 however much
they shrink the picture; those that are called antialiased widen their kernel by the factor, as Pillow does. Pillow's
own are run by it. The vendors of networks use Pillow's, or TensorFlow 1's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import RefnetError, RequestError

__all__ = ["KERNELS", "ResizeKernel", "import_pillow", "is_a_size", "resized"]

Array = npt.NDArray[Any]
_Kernel = Callable[[Array], Array]

_FEW = 6  # pixels of a sum that are read one by one in less time than a product of matrices takes
_MOST_PIXELS = 100_000_000  # of a resized image: one of 1 x 1,000,000 pixels would become 256 x 256,000,000


class ResizeKernel(NamedTuple):
    """A way to resize pixels.

    Attributes
    ----------
    resize : ((h, w, 3) pixels, (height, width)) -> (height, width, 3)
    levels : how far, in levels of a pixel, a library's own result may lie from it: one whole level where it is computed
        in fixed point and rounded to whole levels
    places : whether it rounds where it reads, (p + 1/2) n / P - 1/2, to float32, and none of its results
    """

    resize: Callable[[Array, tuple[int, int]], Array]
    levels: float
    places: bool = False

    def room(self, sides: tuple[int, ...]) -> float:
        """How far, in levels of a pixel, its result of a picture with such sides may lie from a library's own.

        A place is a quotient, a product and a difference, each rounded: 3 u n at most, along both sides; and a pixel
        away lies another one, by 255 levels at most.
        """
        return self.levels + (255 * 3 * 2.0**-24 * sum(sides) if self.places else 0.0)


def import_pillow() -> ModuleType:
    """Pillow, once it is needed.

    Raises
    ------
    RefnetError : it is missing
    """
    try:
        import PIL.Image
    except ImportError as error:
        raise RefnetError("images need Pillow: pip install 'refnet[tools]'") from error
    return PIL


def _by_pillow(kernel: str, pixels: Array, shape: tuple[int, int]) -> Array:
    image = import_pillow().Image
    method = getattr(image.Resampling, kernel.upper())
    return np.asarray(image.fromarray(np.ascontiguousarray(pixels)).resize((shape[1], shape[0]), method))


def _corners_apart(pixels: Array, shape: tuple[int, int]) -> Array:
    """TensorFlow 1's resize_bilinear: corners, not centres, of pixels coincide, and shrinking skips pixels."""
    image = pixels.astype(np.float32)
    for axis in (1, 0):  # TensorFlow mixes along the rows first
        n, p = image.shape[axis], shape[axis]
        at = np.arange(p, dtype=np.float32) * (np.float32(n) / np.float32(p))  # its coordinates are float32
        before = np.minimum(at.astype(np.intp), n - 1)
        after = np.minimum(before + 1, n - 1)
        rest = (at - np.floor(at)).reshape((p, 1, 1) if axis == 0 else (p, 1))
        low, high = image.take(before, axis), image.take(after, axis)
        image = low + (high - low) * rest
    return image


def _triangle(x: Array) -> Array:
    made: Array = np.maximum(1 - np.abs(x), 0)
    return made


def _lanczos(x: Array) -> Array:
    """Lanczos' kernel, a sinc under the middle of one that is three times as wide: of Pillow, TensorFlow and JAX."""
    made: Array = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)
    return made


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
        made = _summed(rows, _summed(columns, pixels.astype(np.float64), 1), 0)
        return np.floor(made + 0.5).clip(0, 255) if whole else made

    return resize


def _summed(weights: Array, pixels: Array, axis: int) -> Array:
    """Sums of pixels along an axis, by weights of (P, n); where few of them count, only these are read."""
    count = int(np.count_nonzero(weights, axis=1).max())
    if count > _FEW:
        return np.moveaxis(np.tensordot(weights, pixels, (1, axis)), 0, axis)
    places = np.argsort(weights == 0, axis=1, kind="stable")[:, :count]
    shape = [-1 if each == axis else 1 for each in range(pixels.ndim)]
    taken = zip(places.T, np.take_along_axis(weights, places, 1).T, strict=True)
    return np.asarray(sum(pixels.take(place, axis) * weight.reshape(shape) for place, weight in taken))


def _area(pixels: Array, shape: tuple[int, int]) -> Array:
    """OpenCV's INTER_AREA: the mean of what lies under a result, in float32; of two pixels where a side grows."""
    if any(p > n for n, p in zip(pixels.shape[:2], shape, strict=True)):
        return _fixed_bilinear(pixels, shape, area=True)
    return _nearest(_mean(pixels, shape), pixels.shape[:2], shape)


def _mean(pixels: Array, shape: tuple[int, int]) -> Array:
    """TensorFlow's area: the mean of what lies under a result, not rounded."""
    made = pixels.astype(np.float32)
    for axis, p in ((1, shape[1]), (0, shape[0])):
        n = made.shape[axis]
        edges = np.arange(p + 1) * (n / p)
        low, high = np.maximum(edges[:-1, None], np.arange(n)), np.minimum(edges[1:, None], np.arange(n) + 1)
        share = (np.maximum(high - low, 0) * (p / n)).astype(np.float32)
        made = _summed(share, made, axis)
    return made


def _nearest(made: Array, sides: tuple[int, ...], shape: tuple[int, int]) -> Array:
    """Whole levels: of a half the even one, but where both sides are halved, which OpenCV does in whole numbers."""
    halved = all(n == 2 * p for n, p in zip(sides, shape, strict=True))
    return np.floor(made + 0.5) if halved else np.rint(made)


def _ends(n: int, p: int, one: int, *, area: bool = False) -> tuple[Array, Array, Array]:
    """For each of p results the pixels on both sides of it, of n, and the second one's weight, in parts of `one`.

    By area a result mixes two pixels only where it lies over both.
    """
    at = (np.arange(p) + 0.5) * (n / p) - 0.5
    if area:
        first = np.floor(np.arange(p) * (n / p))
        over = np.arange(1, p + 1) - (first + 1) * (p / n)
        at = first + np.where(over > 0, over - np.floor(over), 0.0)
    before = np.floor(at).astype(np.intp)
    rest = np.where((before < 0) | (before >= n - 1), 0.0, at - before)
    before = before.clip(0, n - 1)
    return before, np.minimum(before + 1, n - 1), np.rint(rest * one).astype(np.int32)


def _fixed_bilinear(pixels: Array, shape: tuple[int, int], *, area: bool = False) -> Array:
    """OpenCV's INTER_LINEAR of bytes: weights of 11 bits, sums along rows cut to 4 bits fewer, products to 16."""
    (top, bottom, low), (left, right, late) = (
        _ends(n, p, 2048, area=area) for n, p in zip(pixels.shape[:2], shape, strict=True)
    )
    wide, down, across = pixels.astype(np.int32), low[:, None, None], late[:, None]
    rows = (wide[:, left] * (2048 - across) + wide[:, right] * across) >> 4
    made = ((rows[top] * (2048 - down)) >> 16) + ((rows[bottom] * down) >> 16)
    return np.asarray(((made + 2) >> 2).clip(0, 255), np.float64)


def _exact_bilinear(pixels: Array, shape: tuple[int, int]) -> Array:
    """OpenCV's INTER_LINEAR_EXACT of bytes: weights of 8 bits, and one rounding."""
    (top, bottom, low), (left, right, late) = (_ends(n, p, 256) for n, p in zip(pixels.shape[:2], shape, strict=True))
    wide, down, across = pixels.astype(np.int32), low[:, None, None], late[:, None]  # sums stay below 2 ** 24
    rows = wide[:, left] * (256 - across) + wide[:, right] * across
    return np.asarray((rows[top] * (256 - down) + rows[bottom] * down + (1 << 15)) >> 16, np.float64)


def _fixed_lanczos(pixels: Array, shape: tuple[int, int]) -> Array:
    """OpenCV's INTER_LANCZOS4 of bytes: weights of 11 bits along both sides, and one rounding."""
    rows, columns = (_lanczos_bits(n, p) for n, p in zip(pixels.shape[:2], shape, strict=True))
    made = _summed(rows, _summed(columns, pixels.astype(np.float64), 1), 0)  # whole numbers below 2 ** 53
    return np.asarray(np.floor(made / 2**22 + 0.5).clip(0, 255))


def _lanczos_bits(n: int, p: int) -> Array:
    """(P, n): OpenCV's weights of eight pixels around each place, made and added up in float32, in parts of 2048."""
    at = ((np.arange(p) + 0.5) * (n / p) - 0.5).astype(np.float32)
    before = np.floor(at)
    away = (at - before)[:, None] + np.float32(3) - np.arange(8, dtype=np.float32)
    weight = (np.sinc(away.astype(np.float64)) * np.sinc(away.astype(np.float64) / 4)).astype(np.float32)
    weight *= 1 / weight.sum(axis=1, keepdims=True)
    total: Array = np.zeros((p, n))
    taken = (before[:, None] + np.arange(-3, 5)).clip(0, n - 1).astype(np.intp)
    np.add.at(total, (np.arange(p)[:, None], taken), np.rint(weight * np.float32(2048)))
    return total


def _first(pixels: Array, shape: tuple[int, int]) -> Array:
    """The pixel at floor(p n / P): OpenCV's and TensorFlow 1's nearest."""
    rows, columns = (np.arange(p) * n // p for n, p in zip(pixels.shape[:2], shape, strict=True))
    made: Array = pixels[rows][:, columns]
    return made


def _middle(pixels: Array, shape: tuple[int, int]) -> Array:
    """The pixel at floor((p + 1/2) n / P): PyTorch's nearest-exact and TensorFlow 2's; Pillow's rounds its places."""
    rows, columns = ((2 * np.arange(p) + 1) * n // (2 * p) for n, p in zip(pixels.shape[:2], shape, strict=True))
    made: Array = pixels[rows][:, columns]
    return made


KERNELS: Mapping[str, ResizeKernel] = {  # by name; the networks' vendors have the first four
    "nearest": ResizeKernel(partial(_by_pillow, "nearest"), 0.0),
    "bilinear": ResizeKernel(partial(_by_pillow, "bilinear"), 0.0),
    "bicubic": ResizeKernel(partial(_by_pillow, "bicubic"), 0.0),
    "bilinear-tf1": ResizeKernel(_corners_apart, 0.0, places=True),
    "opencv-bilinear": ResizeKernel(_fixed_bilinear, 1.0),
    "opencv-exact": ResizeKernel(_exact_bilinear, 0.0),
    "opencv-bicubic": ResizeKernel(_separable(_cubic(-0.75), 2, whole=True), 1.0),
    "opencv-area": ResizeKernel(_area, 1.0),
    "first-nearest": ResizeKernel(_first, 0.0),
    "middle-nearest": ResizeKernel(_middle, 0.0),
    "float-bilinear": ResizeKernel(_separable(_triangle, 1), 0.0, places=True),
    "float-bicubic": ResizeKernel(_separable(_cubic(-0.75), 2), 0.0, places=True),
    "antialiased-bilinear": ResizeKernel(_separable(_triangle, 1, wide=True), 0.0, places=True),
    "antialiased-bicubic": ResizeKernel(_separable(_cubic(-0.5), 2, wide=True), 0.0, places=True),
    "corners-bilinear": ResizeKernel(_separable(_triangle, 1, corners=True), 0.0, places=True),
    "float-area": ResizeKernel(_mean, 0.0, places=True),
    "antialiased-lanczos": ResizeKernel(_separable(_lanczos, 3, wide=True), 0.0, places=True),
    "opencv-lanczos": ResizeKernel(_fixed_lanczos, 0.0),
    "lanczos": ResizeKernel(partial(_by_pillow, "lanczos"), 0.0),
    "hamming": ResizeKernel(partial(_by_pillow, "hamming"), 0.0),
    "box": ResizeKernel(partial(_by_pillow, "box"), 0.0),
}


def is_a_size(shape: tuple[int, int]) -> bool:
    """Whether an image may have such a height and width: it is neither empty nor enormous."""
    return min(shape) >= 1 and shape[0] * shape[1] <= _MOST_PIXELS


def resized(pixels: Array, shape: tuple[int, int], kernel: str) -> Array:
    """Pixels of another size, (h, w, 3) uint8 -> (*shape, 3), by one of `KERNELS`.

    Raises
    ------
    RequestError : `shape` is empty or enormous, or no kernel is called so
    RefnetError : Pillow is missing, and the kernel is its
    """
    if not is_a_size(shape):
        height, width = pixels.shape[:2]
        raise RequestError(f"an image of {height} x {width} pixels cannot be resized to {shape[0]} x {shape[1]}")
    if kernel not in KERNELS:
        raise RequestError(f"no interpolation is called {kernel!r}: {', '.join(KERNELS)}")
    return KERNELS[kernel].resize(pixels, shape)
