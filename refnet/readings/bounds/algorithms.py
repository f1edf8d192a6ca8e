"""How fast algorithms of convolution round: Winograd's, the Fourier transform, Strassen's.

They are no sums of products in any order: they add inputs before they multiply and cancel after, so that an element
may be off by what its neighbours are large. Each is bilinear, and computed it is a sum of elementary products, each
times at most K factors (1 + d), abs(d) <= u. The bound is gamma_K A as for a plain sum (Higham, sec. 3.1), with A the
sum of the absolute values of *all* elementary products, those that cancel included.

winograd-f2, winograd-f4 : F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3) (Lavin and Gray, arXiv 1509.09308), of 3 x 3 kernels at
    stride 1, tiles from the first output on: Y = A' [sum over c of (G g G') (B' d B)] A. A row of n terms rounds n
    times (a product, n - 1 sums), each matrix is applied twice: K = 2 (n_G + n_B + n_A) + 1 + C.
fft : of the same kernels and larger ones, at any stride (every point is made, and some are kept) and dilation (the
    kernel is spread out with zeros). One transform of M points errs by at most 7 u log2(M), relative to the norm
    (Higham, theorem 24.2, with exact roots and one rounding each); two forward, one back, a product: by Cauchy's
    inequality and Parseval's equation an element of the result is off by (21 log2(M) + 2 + C) u times the sum over c of
    norm(d_c) norm(g_c).
strassen : one level, of pointwise convolutions, which are matrix products. Seven products of sums of blocks, absolute
    values taken in each; operands and results are added up twice at most: K = C / 2 + 6. How pixels are split is not
    known: each counts as large as the largest of its channel.

rms takes squares for absolute values: those of all elementary products, and those of the transformed ones, whose
partial sums are rounded as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.readings.carried import Sum

__all__ = ["ALGORITHMS", "algorithm_sum"]

Array = npt.NDArray[np.float64]
ALGORITHMS = ("winograd-f2", "winograd-f4", "fft", "strassen")

_FFT = 7.0  # roundings of a butterfly, as a multiple of u


class _Winograd(NamedTuple):
    """The matrices of F(m, 3)."""

    m: int
    A: Array  # (m + 2, m)
    B: Array  # (m + 2, m + 2)
    G: Array  # (m + 2, 3)

    @property
    def roundings(self) -> int:
        """Of all six applications of the matrices."""
        rows = (self.G, self.B.T, self.A.T)
        return 2 * sum(int((matrix != 0).sum(axis=1).max()) for matrix in rows)


_F2 = _Winograd(
    2,
    np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float64).T,
    np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float64).T,
    np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float64),
)
_F4 = _Winograd(
    4,
    np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64).T,
    np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        np.float64,
    ).T,
    np.array(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        np.float64,
    )
    / np.array([[24], [24], [24], [24], [24], [24]]),
)
_TILES: Mapping[str, _Winograd] = {"winograd-f2": _F2, "winograd-f4": _F4}


def algorithm_sum(name: str, x: Array, w: Array, b: Array | None, plain: Sum, geometry: Mapping[str, Any]) -> Sum:
    """The sum that a convolution is in an algorithm; the plain one where the algorithm does not apply.

    Parameters
    ----------
    name : one of `ALGORITHMS`
    x : (N, C, H, W)
    w : (K, C, R, S), (C, R, S) of a depthwise or (K, C) of a pointwise convolution
    """
    if w.ndim == 2:
        return _strassen(x, w, b, plain) if name == "strassen" else plain
    dense = geometry["stride"] == (1, 1) and geometry["dilation"] == (1, 1)
    if name in _TILES and dense and w.shape[-2:] == (3, 3):
        return _biased(_winograd(_TILES[name], x, w, geometry["pad"], plain), b)
    if name == "fft" and w.shape[-1] > 1:
        return _biased(_fft(x, w, geometry, plain), b)
    return plain


def _biased(total: Sum, b: Array | None) -> Sum:
    if b is None:
        return total
    magnitude = np.abs(b).reshape(-1, 1, 1)
    return Sum(total.K + 1, total.A + magnitude, total.B2 + magnitude**2)


def _winograd(form: _Winograd, x: Array, w: Array, pad: Any, plain: Sum) -> Sum:
    P, Q = plain.A.shape[2:]
    m, side = form.m, form.m + 2
    rows, columns = -(-P // m), -(-Q // m)
    (top, _), (left, _) = pad
    N, C, H, W = x.shape
    wide = np.zeros((N, C, rows * m + 2, columns * m + 2))
    height, width = min(H, wide.shape[2] - top), min(W, wide.shape[3] - left)
    wide[:, :, top : top + height, left : left + width] = x[:, :, :height, :width]
    tiles = np.lib.stride_tricks.sliding_window_view(wide, (side, side), axis=(2, 3))[:, :, ::m, ::m]

    def made(A: Array, B: Array, G: Array, d: Array, g: Array) -> Array:
        """The tiles' results: (N, K, P, Q)."""
        return _joined(A, _products(np.einsum("ia,ncpqij,jb->ncpqab", B, d, B, optimize=True), _both(G, g)), P, Q)

    A, B, G = form.A, form.B, form.G
    absolute = made(np.abs(A), np.abs(B), np.abs(G), np.abs(tiles), np.abs(w))
    squares = made(A**2, B**2, G**2, tiles**2, w**2)
    inner = np.einsum("ia,ncpqij,jb->ncpqab", B, tiles, B, optimize=True) ** 2
    squares = squares + _joined(A**2, _products(inner, _both(G, w) ** 2), P, Q)
    channels = 1 if w.ndim == 3 else C
    return Sum(form.roundings + 1 + channels, absolute, squares)


def _both(G: Array, g: Array) -> Array:
    """G g G'."""
    made: Array = np.einsum("ar,...rs,bs->...ab", G, g, G, optimize=True)
    return made


def _products(d: Array, g: Array) -> Array:
    """Transformed tiles times transformed filters, summed over channels: (N, K, rows, columns, side, side)."""
    made: Array = d * g[:, None, None] if g.ndim == 3 else np.einsum("ncpqab,kcab->nkpqab", d, g, optimize=True)
    return made


def _joined(A: Array, products: Array, P: int, Q: int) -> Array:
    """A' M A of every tile, laid out as the map."""
    y = np.einsum("am,nkpqab,bo->nkpmqo", A, products, A, optimize=True)
    N, K, rows, m, columns, _ = y.shape
    made: Array = y.reshape(N, K, rows * m, columns * m)[:, :, :P, :Q]
    return made


def _fft(x: Array, w: Array, geometry: Mapping[str, Any], plain: Sum) -> Sum:
    C, (H, W) = x.shape[1], x.shape[2:]
    R, S = (step * (side - 1) + 1 for step, side in zip(geometry["dilation"], w.shape[-2:], strict=True))
    (top, bottom), (left, right) = geometry["pad"]
    points = 2.0 ** math.ceil(math.log2((H + top + bottom + R) * (W + left + right + S)))
    steps = math.log2(points)
    size = np.sqrt((x**2).sum(axis=(2, 3)))  # (N, C)
    filters, reach = np.sqrt((w**2).sum(axis=(-2, -1))), np.abs(w).sum(axis=(-2, -1))
    channels = 1 if w.ndim == 3 else C
    K = math.ceil(3 * _FFT * steps + 2 + channels)
    if w.ndim == 3:
        A, B2 = size * filters, size**2 * reach**2 / points
    else:
        A, B2 = size @ filters.T, size**2 @ (reach**2).T / points
    shape = (*A.shape, 1, 1)
    whole = np.ones_like(plain.A)
    return Sum(K, A.reshape(shape) * whole, B2.reshape(shape) * (3 * steps / K) * whole)


def _strassen(x: Array, w: Array, b: Array | None, plain: Sum) -> Sum:
    K, C = w.shape
    if min(K, C) < 2:
        return plain
    even = np.zeros((K + K % 2, C + C % 2))
    even[:K, :C] = w
    A = _blocks(np.abs(even), np.abs(x).max(axis=(0, 2, 3)))[:K]
    B2 = _blocks(even**2, (x**2).mean(axis=(0, 2, 3)))[:K]
    whole, column = np.ones_like(plain.A), (-1, 1, 1)
    return _biased(Sum(even.shape[1] // 2 + 6, A.reshape(column) * whole, B2.reshape(column) * whole), b)


def _blocks(w: Array, x: Array) -> Array:
    """The sums of the seven products' terms for each row, all of one sign: (K,)."""
    k, c = w.shape[0] // 2, w.shape[1] // 2
    (a11, a12), (a21, a22) = (w[:k, :c], w[:k, c:]), (w[k:, :c], w[k:, c:])
    b1 = x[:c]
    b2 = np.concatenate([x[c:], np.zeros(2 * c - len(x))])
    one, two, three = (a11 + a22) @ (b1 + b2), (a21 + a22) @ b1, a11 @ (b1 + b2)
    four, five = a22 @ (b1 + b2), (a11 + a12) @ b2
    six, seven = (a11 + a21) @ (2 * b1), (a12 + a22) @ (2 * b2)
    upper = np.maximum(one + four + five + seven, three + five)
    lower = np.maximum(two + four, one + two + three + six)
    return np.concatenate([upper, lower])
