"""Convolutions of 3 x 3 kernels as fast ports compute them in float32: Winograd's, the Fourier transform; Strassen's
product of matrices for pointwise ones. All are honest."""

from __future__ import annotations

import numpy as np

from refnet.readings.bounds import algorithms

__all__ = ["PAD", "PORTS"]

SINGLE = np.float32
PAD = ((1, 1), (1, 1))


def winograd(form, x, w):
    """F(m x m, 3 x 3) in float32, stage by stage."""
    A, B, G = (matrix.astype(SINGLE) for matrix in (form.A, form.B, form.G))
    m, (N, C, H, W) = form.m, x.shape
    rows, columns = -(-H // m), -(-W // m)
    wide = np.zeros((N, C, rows * m + 2, columns * m + 2), SINGLE)
    wide[:, :, 1 : H + 1, 1 : W + 1] = x
    tiles = np.lib.stride_tricks.sliding_window_view(wide, (m + 2, m + 2), axis=(2, 3))[:, :, ::m, ::m]
    d = np.einsum("...aj,jb->...ab", np.einsum("ia,ncpqij->ncpqaj", B, tiles), B)
    g = np.einsum("...as,bs->...ab", np.einsum("ar,...rs->...as", G, w), G)
    made = d * g[:, None, None] if w.ndim == 3 else np.einsum("ncpqab,kcab->nkpqab", d, g)
    y = np.einsum("nkpqmb,bo->nkpmqo", np.einsum("am,nkpqab->nkpqmb", A, made), A)
    return y.reshape(N, y.shape[1], rows * m, columns * m)[:, :, :H, :W]


def fourier(x, w):
    from scipy import fft

    (H, W), sides = x.shape[2:], (x.shape[2] + 4, x.shape[3] + 4)
    d = fft.rfft2(np.pad(x, ((0, 0), (0, 0), *PAD)), s=sides)
    g = np.conj(fft.rfft2(w, s=sides))
    return fft.irfft2(d * g if w.ndim == 3 else np.einsum("nchw,kchw->nkhw", d, g), s=sides)[:, :, :H, :W]


def strassen(x, w):
    K, C = w.shape
    N, _, H, W = x.shape
    X = x.transpose(1, 0, 2, 3).reshape(C, -1)
    k, c, p = K // 2, C // 2, X.shape[1] // 2
    (a11, a12), (a21, a22) = (w[:k, :c], w[:k, c:]), (w[k:, :c], w[k:, c:])
    (b11, b12), (b21, b22) = (X[:c, :p], X[:c, p:]), (X[c:, :p], X[c:, p:])
    m1, m2, m3 = (a11 + a22) @ (b11 + b22), (a21 + a22) @ b11, a11 @ (b12 - b22)
    m4, m5 = a22 @ (b21 - b11), (a11 + a12) @ b22
    m6, m7 = (a21 - a11) @ (b11 + b12), (a12 - a22) @ (b21 + b22)
    y = np.block([[m1 + m4 - m5 + m7, m3 + m5], [m2 + m4, m1 - m2 + m3 + m6]])
    return y.reshape(K, N, H, W).transpose(1, 0, 2, 3)


PORTS = {
    "winograd-f2": lambda x, w: winograd(algorithms._F2, x, w),
    "winograd-f4": lambda x, w: winograd(algorithms._F4, x, w),
    "fft": fourier,
    "strassen": strassen,
}
