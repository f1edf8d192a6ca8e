# ruff: noqa: E501
"""What readers write for the exercises of filters: right answers in several spellings, and wrong ones as edits of them.

A wrong answer is (a right spelling, then pairs of what stands there and what a beginner writes instead).
"""

_CONV_LOOPS = """
import numpy as np

def conv2d(x, w, b, *, stride, pad):
    N, C, H, W = x.shape
    K, C, R, S = w.shape
    (top, bottom), (left, right) = pad
    P = (H + top + bottom - R) // stride[0] + 1
    Q = (W + left + right - S) // stride[1] + 1
    y = np.zeros((N, K, P, Q), x.dtype)
    for n in range(N):
        for k in range(K):
            for p in range(P):
                for q in range(Q):
                    total = 0
                    for c in range(C):
                        for r in range(R):
                            for s in range(S):
                                h = p * stride[0] - top + r
                                v = q * stride[1] - left + s
                                if 0 <= h < H and 0 <= v < W:
                                    total += x[n, c, h, v] * w[k, c, r, s]
                    y[n, k, p, q] = total + b[k]
    return y
"""

_CONV_TAPS = """
import numpy as np

def conv2d(x, w, b, *, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), pad[0], pad[1]))
    K, C, R, S = w.shape
    P = (x.shape[2] - R) // stride[0] + 1
    Q = (x.shape[3] - S) // stride[1] + 1
    y = np.zeros((len(x), K, P, Q), x.dtype)
    for r in range(R):
        for s in range(S):
            part = x[:, :, r : r + P * stride[0] : stride[0], s : s + Q * stride[1] : stride[1]]
            y += np.einsum("ncpq,kc->nkpq", part[:, :, :P, :Q], w[:, :, r, s])
    return y + b[:, None, None]
"""

_CONV_WINDOWS = """
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

def conv2d(x, w, b, *, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), pad[0], pad[1]))
    windows = sliding_window_view(x, w.shape[2:], axis=(2, 3))[:, :, :: stride[0], :: stride[1]]
    return np.tensordot(windows, w, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2) + b.reshape(1, -1, 1, 1)
"""

_CONV_PIXELS = """
import numpy as np

def conv2d(x, w, b, stride, pad):
    N, C, H, W = x.shape
    K, _, R, S = w.shape
    big = np.zeros((N, C, H + sum(pad[0]), W + sum(pad[1])), x.dtype)
    big[:, :, pad[0][0] : pad[0][0] + H, pad[1][0] : pad[1][0] + W] = x
    rows = range(0, big.shape[2] - R + 1, stride[0])
    columns = range(0, big.shape[3] - S + 1, stride[1])
    y = np.empty((N, K, len(rows), len(columns)), x.dtype)
    for p, h in enumerate(rows):
        for q, v in enumerate(columns):
            patch = big[:, :, h : h + R, v : v + S].reshape(N, -1)
            y[:, :, p, q] = patch @ w.reshape(K, -1).T + b
    return y
"""

_CONV_WIDE = """
import numpy as np

def conv2d(x, w, b, *, stride, pad):
    (top, bottom), (left, right) = pad
    N, C, H, W = x.shape
    K, _, R, S = w.shape
    P = 1 + (top + H + bottom - R) // stride[0]
    Q = 1 + (left + W + right - S) // stride[1]
    y = np.tile(b.astype(float)[None, :, None, None], (N, 1, P, Q))
    for h in range(H):
        for v in range(W):
            for r in range(R):
                for s in range(S):
                    p, rest = divmod(h + top - r, stride[0])
                    q, other = divmod(v + left - s, stride[1])
                    if rest == other == 0 and 0 <= p < P and 0 <= q < Q:
                        y[:, :, p, q] += x[:, :, h, v].astype(float) @ w[:, :, r, s].T.astype(float)
    return y.astype(x.dtype)
"""

_SUM = "total += x[n, c, h, v] * w[k, c, r, s]"
_INSIDE = "if 0 <= h < H and 0 <= v < W:"
_STORE = "y[n, k, p, q] = total + b[k]"

CONV2D_RIGHT = {
    "loops": _CONV_LOOPS, "taps": _CONV_TAPS, "windows": _CONV_WINDOWS, "pixels": _CONV_PIXELS, "wide": _CONV_WIDE,
}  # fmt: skip
CONV2D_WRONG = {
    "a true convolution": ("loops", (_SUM, "total += x[n, c, h, v] * w[k, c, R - 1 - r, S - 1 - s]")),
    "no padding": ("taps", ("x = np.pad(x, ((0, 0), (0, 0), pad[0], pad[1]))", "pass")),
    "pads of height and width exchanged": ("windows", ("pad[0], pad[1]", "pad[1], pad[0]")),
    "the stride of height for both": ("pixels", ("- S + 1, stride[1]", "- S + 1, stride[0]")),
    "strides exchanged": ("windows", (":: stride[0], :: stride[1]", ":: stride[1], :: stride[0]")),
    "no stride": ("windows", ("[:, :, :: stride[0], :: stride[1]]", "")),
    "no bias": ("loops", (_STORE, "y[n, k, p, q] = total")),
    "the bias at every point": ("loops", (_SUM, "total += x[n, c, h, v] * w[k, c, r, s] + b[k]"), (_STORE, "y[n, k, p, q] = total")),
    "only the last channel": ("loops", ("for c in range(C):\n", "for c in range(C):\n                        total = 0\n")),
    "only the first channel": ("loops", ("for c in range(C):", "for c in range(1):")),
    "one window fewer": ("loops", ("- R) // stride[0] + 1", "- R) // stride[0]"), ("- S) // stride[1] + 1", "- S) // stride[1]")),
    "the total is not reset": ("loops", ("                    total = 0\n", ""), ("    for n in range(N):", "    total = 0\n    for n in range(N):")),
    "wraps around at the top": ("loops", (_INSIDE, "if h < H and v < W:")),
    "the edge is repeated": ("windows", ("pad[0], pad[1]))", "pad[0], pad[1]), mode='edge')")),
    "the top pad is forgotten": ("loops", ("p * stride[0] - top + r", "p * stride[0] + r"), ("q * stride[1] - left + s", "q * stride[1] + s")),
    "a mean": ("loops", (_STORE, "y[n, k, p, q] = total / (C * R * S) + b[k]")),
    "relu": ("taps", ("return y + b[:, None, None]", "return np.maximum(y + b[:, None, None], 0)")),
    "the top pad on both sides": ("windows", ("pad[0], pad[1]))", "(pad[0][0], pad[0][0]), (pad[1][0], pad[1][0])))")),
}  # fmt: skip

_DEPTH_LOOPS = """
import numpy as np

def depthwise(x, w, b, *, stride, pad):
    N, C, H, W = x.shape
    C, R, S = w.shape
    (top, bottom), (left, right) = pad
    P = (H + top + bottom - R) // stride[0] + 1
    Q = (W + left + right - S) // stride[1] + 1
    y = np.zeros((N, C, P, Q), dtype=x.dtype)
    for n in range(N):
        for c in range(C):
            for p in range(P):
                for q in range(Q):
                    total = 0
                    for r in range(R):
                        for s in range(S):
                            h = p * stride[0] + r - top
                            v = q * stride[1] + s - left
                            if 0 <= h < H and 0 <= v < W:
                                total += x[n, c, h, v] * w[c, r, s]
                    y[n, c, p, q] = total + b[c]
    return y
"""

_DEPTH_TAPS = """
import numpy as np

def depthwise(x, w, b, *, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), pad[0], pad[1]))
    C, R, S = w.shape
    P = (x.shape[2] - R) // stride[0] + 1
    Q = (x.shape[3] - S) // stride[1] + 1
    y = 0
    for r in range(R):
        for s in range(S):
            part = x[:, :, r : r + (P - 1) * stride[0] + 1 : stride[0], s : s + (Q - 1) * stride[1] + 1 : stride[1]]
            y = y + part * w[:, r, s].reshape(-1, 1, 1)
    return y + b.reshape(-1, 1, 1)
"""

_DEPTH_EINSUM = """
import numpy as np

def depthwise(x, w, b, *, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), *pad))
    view = np.lib.stride_tricks.sliding_window_view(x, w.shape[1:], axis=(2, 3))
    view = view[:, :, :: stride[0], :: stride[1]]
    return np.einsum("ncpqrs,crs->ncpq", view, w) + b[None, :, None, None]
"""

_DEPTH_CHANNELS = """
import numpy as np

def one_channel(image, kernel, stride, pad):
    image = np.pad(image, pad)
    R, S = kernel.shape
    rows = range(0, image.shape[0] - R + 1, stride[0])
    columns = range(0, image.shape[1] - S + 1, stride[1])
    return np.array([[np.sum(image[h : h + R, v : v + S] * kernel) for v in columns] for h in rows])

def depthwise(x, w, b, *, stride, pad):
    return np.stack(
        [np.stack([one_channel(x[n, c], w[c], stride, pad) + b[c] for c in range(len(w))]) for n in range(len(x))]
    )
"""

_DEPTH_MATRIX = """
import numpy as np

def depthwise(x, w, b, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), *pad))
    N, C, H, W = x.shape
    R, S = w.shape[1:]
    P, Q = (H - R) // stride[0] + 1, (W - S) // stride[1] + 1
    full = np.zeros((C, C, R, S), x.dtype)
    full[range(C), range(C)] = w
    y = np.zeros((N, C, P, Q), x.dtype)
    for p in range(P):
        for q in range(Q):
            h, v = p * stride[0], q * stride[1]
            y[:, :, p, q] = x[:, :, h : h + R, v : v + S].reshape(N, -1) @ full.reshape(C, -1).T + b
    return y
"""

_DSUM = "total += x[n, c, h, v] * w[c, r, s]"
DEPTHWISE_RIGHT = {
    "loops": _DEPTH_LOOPS, "taps": _DEPTH_TAPS, "einsum": _DEPTH_EINSUM, "channels": _DEPTH_CHANNELS, "matrix": _DEPTH_MATRIX,
}  # fmt: skip
DEPTHWISE_WRONG = {
    "a true convolution": ("channels", ("* kernel)", "* kernel[::-1, ::-1])")),
    "channels are summed": ("einsum", ('"ncpqrs,crs->ncpq"', '"ndpqrs,drs,c->ncpq"'), ("view, w)", "view, w, np.ones(len(w), x.dtype))")),
    "the first kernel for all": ("channels", ("w[c], stride", "w[0], stride")),
    "the same padding on both sides": ("taps", ("pad[0], pad[1]))", "(pad[0][0],) * 2, (pad[1][0],) * 2))")),
    "no padding": ("taps", ("x = np.pad(x, ((0, 0), (0, 0), pad[0], pad[1]))", "x = x")),
    "strides exchanged": ("loops", ("R) // stride[0]", "R) // stride[1]"), ("S) // stride[1]", "S) // stride[0]"), ("p * stride[0]", "p * stride[1]"), ("q * stride[1]", "q * stride[0]")),
    "no stride": ("einsum", ("    view = view[:, :, :: stride[0], :: stride[1]]\n", "")),
    "one stride": ("matrix", ("v = p * stride[0], q * stride[1]", "v = p * stride[0], q * stride[0]"), ("(W - S) // stride[1]", "(W - S) // stride[0]")),
    "no bias": ("einsum", (" + b[None, :, None, None]", "")),
    "the bias in the loop": ("loops", (_DSUM, _DSUM + " + b[c]"), ("= total + b[c]", "= total")),
    "wraps around": ("loops", ("if 0 <= h < H and 0 <= v < W:", "if h < H and v < W:")),
    "starts at the image": ("loops", ("+ r - top", "+ r"), ("+ s - left", "+ s")),
    "mirrors at the border": ("channels", ("np.pad(image, pad)", "np.pad(image, pad, mode='edge')")),
    "overwrites instead of summing": ("loops", ("total += x", "total = x")),
    "the last row is left out": ("loops", ("for p in range(P):", "for p in range(P - 1):")),
    "subtracts the bias": ("taps", ("return y + b", "return y - b")),
    "relu at the end": ("einsum", ("return np.einsum", "return np.maximum(0, np.einsum"), ("b[None, :, None, None]", "b[None, :, None, None])")),
}  # fmt: skip

_POINT_LOOPS = """
import numpy as np

def pointwise(x, w, b):
    N, C, H, W = x.shape
    K = w.shape[0]
    y = np.zeros((N, K, H, W), x.dtype)
    for n in range(N):
        for k in range(K):
            for h in range(H):
                for v in range(W):
                    total = b[k]
                    for c in range(C):
                        total += w[k, c] * x[n, c, h, v]
                    y[n, k, h, v] = total
    return y
"""
_POINT_EINSUM = """
import numpy as np

def pointwise(x, w, b):
    return np.einsum("nchw,kc->nkhw", x, w) + b[:, None, None]
"""
_POINT_MATMUL = """
import numpy as np

def pointwise(x, w, b):
    N, C, H, W = x.shape
    flat = x.reshape(N, C, H * W)
    return (w @ flat + b[:, None]).reshape(N, len(w), H, W)
"""
_POINT_LAST = """
import numpy as np

def pointwise(x, w, b):
    y = x.transpose(0, 2, 3, 1) @ w.T + b
    return y.transpose(0, 3, 1, 2)
"""
_POINT_SUM = """
def pointwise(x, w, b):
    y = sum(x[:, None, c] * w[None, :, c, None, None] for c in range(x.shape[1]))
    y += b.reshape(1, -1, 1, 1)
    return y
"""
POINTWISE_RIGHT = {
    "loops": _POINT_LOOPS, "einsum": _POINT_EINSUM, "matmul": _POINT_MATMUL, "last": _POINT_LAST, "sum": _POINT_SUM,
}  # fmt: skip
POINTWISE_WRONG = {
    "weights reshaped": ("last", ("@ w.T", "@ w.reshape(w.shape[1], w.shape[0])")),
    "no bias": ("einsum", (" + b[:, None, None]", "")),
    "the bias for every channel": ("loops", ("total = b[k]", "total = 0"), ("x[n, c, h, v]", "x[n, c, h, v] + b[k]")),
    "relu": ("einsum", ("return np.einsum", "return np.maximum(np.einsum"), ("b[:, None, None]", "b[:, None, None], 0)")),
    "channels last": ("last", ("return y.transpose(0, 3, 1, 2)", "return y")),
    "reshaped back": ("last", ("return y.transpose(0, 3, 1, 2)", "return y.reshape(len(x), len(w), *x.shape[2:])")),
    "reshaped to pixels": ("last", ("x.transpose(0, 2, 3, 1)", "x.reshape(len(x), *x.shape[2:], -1)")),
    "only the last channel": ("loops", ("total += w", "total = b[k] + w")),
    "only the first channel": ("loops", ("range(C)", "range(1)")),
    "a mean": ("loops", ("total = b[k]", "total = 0"), ("= total\n    return", "= total / C + b[k]\n    return")),
    "the sum goes on": ("loops", ("                    total = b[k]\n", ""), ("    for n in", "    total = 0\n    for n in"), ("= total\n    return", "= total + b[k]\n    return")),
    "subtracts the bias": ("matmul", ("+ b[", "- b[")),
    "height and width exchanged": ("sum", ("    return y", "    return y.swapaxes(2, 3)")),
    "the first image for all": ("matmul", ("x.reshape(N, C, H * W)", "np.repeat(x[:1], N, axis=0).reshape(N, C, H * W)")),
}  # fmt: skip

_SEP_TAPS = """
import numpy as np

def separable(x, depthwise_w, pointwise_w, *, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), pad[0], pad[1]))
    C, R, S = depthwise_w.shape
    P = (x.shape[2] - R) // stride[0] + 1
    Q = (x.shape[3] - S) // stride[1] + 1
    y = np.zeros((len(x), C, P, Q), x.dtype)
    for r in range(R):
        for s in range(S):
            part = x[:, :, r : r + (P - 1) * stride[0] + 1 : stride[0], s : s + (Q - 1) * stride[1] + 1 : stride[1]]
            y += part * depthwise_w[:, r, s, None, None]
    return np.einsum("ncpq,kc->nkpq", y, pointwise_w)
"""
_SEP_LOOPS = """
import numpy as np

def separable(x, depthwise_w, pointwise_w, *, stride, pad):
    N, C, H, W = x.shape
    K = len(pointwise_w)
    R, S = depthwise_w.shape[1:]
    P = (H + sum(pad[0]) - R) // stride[0] + 1
    Q = (W + sum(pad[1]) - S) // stride[1] + 1
    middle = np.zeros((N, C, P, Q), x.dtype)
    for n, c, p, q in np.ndindex(N, C, P, Q):
        for r in range(R):
            for s in range(S):
                h, v = p * stride[0] + r - pad[0][0], q * stride[1] + s - pad[1][0]
                if 0 <= h < H and 0 <= v < W:
                    middle[n, c, p, q] += x[n, c, h, v] * depthwise_w[c, r, s]
    y = np.zeros((N, K, P, Q), x.dtype)
    for n, k, p, q in np.ndindex(N, K, P, Q):
        for c in range(C):
            y[n, k, p, q] += middle[n, c, p, q] * pointwise_w[k, c]
    return y
"""
_SEP_FULL = """
import numpy as np

def separable(x, depthwise_w, pointwise_w, *, stride, pad):
    w = pointwise_w[:, :, None, None] * depthwise_w[None]
    x = np.pad(x, ((0, 0), (0, 0), *pad))
    view = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))[:, :, :: stride[0], :: stride[1]]
    return np.einsum("ncpqrs,kcrs->nkpq", view, w)
"""
_SEP_EINSUM = """
import numpy as np

def separable(x, depthwise_w, pointwise_w, *, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), *pad))
    view = np.lib.stride_tricks.sliding_window_view(x, depthwise_w.shape[1:], (2, 3))[:, :, :: stride[0], :: stride[1]]
    y = np.einsum("ncpqrs,crs->ncpq", view, depthwise_w)
    N, C, P, Q = y.shape
    return np.matmul(pointwise_w, y.reshape(N, C, P * Q)).reshape(N, -1, P, Q)
"""
_SEP_ORDER = """
import numpy as np

def depthwise(x, w, stride, pad):
    x = np.pad(x, ((0, 0), (0, 0), *pad))
    rows, columns = range(0, x.shape[2] - w.shape[1] + 1, stride[0]), range(0, x.shape[3] - w.shape[2] + 1, stride[1])
    y = np.zeros((*x.shape[:2], len(rows), len(columns)), x.dtype)
    for p, h in enumerate(rows):
        for q, v in enumerate(columns):
            y[:, :, p, q] = (x[:, :, h : h + w.shape[1], v : v + w.shape[2]] * w).sum(axis=(2, 3))
    return y

def pointwise(x, w):
    return (x.transpose(0, 2, 3, 1) @ w.T).transpose(0, 3, 1, 2)

def separable(x, depthwise_w, pointwise_w, *, stride, pad):
    return pointwise(depthwise(x, depthwise_w, stride, pad), pointwise_w)
"""
SEPARABLE_RIGHT = {
    "taps": _SEP_TAPS,
    "loops": _SEP_LOOPS,
    "full": _SEP_FULL,
    "einsum": _SEP_EINSUM,
    "order": _SEP_ORDER,
}
SEPARABLE_WRONG = {
    "relu between": ("taps", ("return np.einsum", "y = np.maximum(y, 0)\n    return np.einsum")),
    "relu6 at the end": ("order", ("return pointwise(", "return np.clip(pointwise("), ("pad), pointwise_w)", "pad), pointwise_w), 0, 6)")),
    "relu at the end": ("full", ("return np.einsum(", "return np.maximum(0, np.einsum("), ("view, w)", "view, w))")),
    "the kernel turned": ("full", ("depthwise_w[None]", "depthwise_w[None, :, ::-1, ::-1]")),
    "no padding": ("order", ("    x = np.pad(x, ((0, 0), (0, 0), *pad))\n", "")),
    "pads exchanged": ("full", ("*pad))", "*pad[::-1]))")),
    "no stride": ("einsum", ("[:, :, :: stride[0], :: stride[1]]", "")),
    "strides exchanged": ("einsum", (":: stride[0], :: stride[1]", ":: stride[1], :: stride[0]")),
    "weights reshaped": ("order", ("@ w.T", "@ w.reshape(w.shape[::-1])")),
    "one kernel for all": ("full", ("depthwise_w[None]", "depthwise_w[None, :1]")),
    "no pointwise sum": ("loops", ("y[n, k, p, q] += middle", "y[n, k, p, q] = middle")),
    "wraps around": ("loops", ("if 0 <= h < H and 0 <= v < W:", "if h < H and v < W:")),
    "starts at the image": ("loops", ("+ r - pad[0][0]", "+ r"), ("+ s - pad[1][0]", "+ s")),
    "the depthwise half only": ("taps", ("return np.einsum(\"ncpq,kc->nkpq\", y, pointwise_w)", "return y")),
    "the edge repeated": ("order", ("*pad))", "*pad), mode='edge')")),
    "channels summed": ("loops", ("middle[n, c, p, q] * pointwise_w[k, c]", "middle[n, c, p, q]")),
}  # fmt: skip

_SAME = """
def same_padding(size, kernel, stride, dilation):
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2
"""
_SAME_MATH = """
import math

def same_padding(size, kernel, stride, dilation):
    reach = dilation * (kernel - 1) + 1
    out = math.ceil(size / stride)
    total = max(0, (out - 1) * stride + reach - size)
    before = int(total / 2)
    return before, total - before
"""
_SAME_REST = """
def same_padding(size, kernel, stride, dilation):
    reach = (kernel - 1) * dilation + 1
    rest = size % stride
    total = reach - (rest if rest else stride)
    if total < 0:
        total = 0
    return (total // 2, (total + 1) // 2)
"""
_SAME_NUMPY = """
import numpy as np

def same_padding(size, kernel, stride, dilation):
    last = (np.ceil(size / stride) - 1) * stride
    total = np.maximum(last + (kernel - 1) * dilation + 1 - size, 0)
    return np.array([np.floor(total / 2), np.ceil(total / 2)], dtype=int)
"""
_SAME_SEARCH = """
def same_padding(size, kernel, stride, dilation):
    wanted = (size + stride - 1) // stride
    total = 0
    while (size + total - dilation * (kernel - 1) - 1) // stride + 1 < wanted:
        total += 1
    return [total // 2, total - total // 2]
"""
SAME_PADDING_RIGHT = {
    "plain": _SAME, "math": _SAME_MATH, "rest": _SAME_REST, "numpy": _SAME_NUMPY, "search": _SAME_SEARCH,
}  # fmt: skip
SAME_PADDING_WRONG = {
    "symmetric": ("plain", ("out = -(-size // stride)", "return ((kernel - 1) * dilation // 2,) * 2")),
    "the odd point before": ("plain", ("return total // 2, total - total // 2", "return total - total // 2, total // 2")),
    "both halves rounded down": ("plain", ("total - total // 2", "total // 2")),
    "both halves rounded up": ("math", ("return before, total - before", "return (total + 1) // 2, (total + 1) // 2")),
    "no dilation": ("plain", ("(kernel - 1) * dilation", "kernel - 1")),
    "the kernel dilated as a whole": ("math", ("dilation * (kernel - 1) + 1", "dilation * kernel")),
    "the size rounded down": ("plain", ("-(-size // stride)", "size // stride")),
    "negative pads": ("plain", ("max((out", "((out"), ("- size, 0)", "- size)")),
    "all of it before": ("math", ("return before, total - before", "return total, 0")),
    "all of it after": ("math", ("return before, total - before", "return 0, total")),
    "the stride is forgotten": ("plain", ("out = -(-size // stride)", "out, stride = size, 1")),
    "half of the kernel": ("plain", ("out = -(-size // stride)", "return kernel // 2, kernel // 2")),
    "kernel less stride": ("plain", ("(out - 1) * stride + (kernel - 1) * dilation + 1 - size", "(kernel - 1) * dilation + 1 - stride")),
    "none at all": ("plain", ("out = -(-size // stride)", "return 0, 0")),
    "one more point": ("rest", ("(kernel - 1) * dilation + 1\n", "kernel * dilation + 1\n")),
}  # fmt: skip

ANSWERS = {
    "conv2d": (CONV2D_RIGHT, CONV2D_WRONG),
    "depthwise": (DEPTHWISE_RIGHT, DEPTHWISE_WRONG),
    "pointwise": (POINTWISE_RIGHT, POINTWISE_WRONG),
    "separable": (SEPARABLE_RIGHT, SEPARABLE_WRONG),
    "same_padding": (SAME_PADDING_RIGHT, SAME_PADDING_WRONG),
}
