"""A depthwise convolution as one or two NumPy calls on rows that have their border already."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from refnet.graph import Node
from refnet.session.writer import CallWriter

__all__ = ["Taps"]

Array = npt.NDArray[Any]

ROW_WEIGHTS = 2**20  # bytes of weights repeated along a row, at most
PAIRED = 192  # channels up to which columns are filtered in pairs at stride 2


class Taps:
    """A depthwise convolution as einsum over a view of bordered rows, channels innermost: one pass, no temporaries.

    einsum's innermost loop is quick and its outer loops are slow, so the innermost one should be long. At stride 1 the
    kernel is repeated along the row, and the loop runs over all columns and channels of a row. At stride 2 the same is
    done with pairs of columns: one loop sums the even taps of the kernel and the odd ones side by side, and in the end
    the two sums are added.

    Parameters
    ----------
    conv : the node
    Q : columns of the output
    """

    def __init__(self, writer: CallWriter, conv: Node, Q: int) -> None:
        self.writer, self.Q = writer, Q
        (self.sh, self.sw), (self.dh, self.dw) = conv.attrs["stride"], conv.attrs["dilation"]
        C, R, S = self.C, self.R, self.S = conv.params["w"]
        w = writer.params[f"{conv.name}.w"]
        affordable = w.itemsize * R * (S + 1) * Q * C <= ROW_WEIGHTS
        self.paired = affordable and C <= PAIRED and (self.sw, self.dw) == (2, 1)
        self.repeated = affordable and self.sw == 1
        self.w = writer.pack((conv.name, "taps"), lambda: self._packed(w))
        self.sums: Array | None = None

    def _packed(self, w: Array) -> Array:
        """(C, R, S) -> (R, S, C), or with a row's columns and channels as the last axis."""
        taps = w.transpose(1, 2, 0)
        if self.repeated:
            taps = np.tile(taps, self.Q)
        elif self.paired:
            even = np.concatenate([taps, np.zeros((self.R, self.S % 2, self.C), w.dtype)], axis=1)
            taps = np.tile(even.reshape(self.R, -1, 2 * self.C), self.Q)
        return np.ascontiguousarray(taps)

    def scratch(self, rows: int) -> list[Array]:
        """Memory for the two sums of each column, if there are two."""
        if not self.paired:
            return []
        self.sums = self.writer.arena.take(rows, self.Q * 2 * self.C)
        return [self.sums]

    def write(self, border: Array, into: Array) -> None:
        """Filter the rows of a tile of m images: (m, rows, columns*C) -> (m, n, Q, C)."""
        (m, n), Q, C, call = into.shape[:2], self.Q, self.C, self.writer.call
        item, (image, row) = border.itemsize, border.strides[:2]
        column = C * item
        down, across = (row * self.sh, row * self.dh), column * self.dw
        if self.repeated:
            view = as_strided(border, (m, n, self.R, self.S, Q * C), (image, *down, across, item))
            call(partial(np.einsum, "nprsc,rsc->npc", view, self.w, out=into.reshape(m, n, Q * C)))
        elif self.sums is not None:
            sums = self.sums[: m * n].reshape(m, n, -1)
            view = as_strided(border, (m, n, self.R, self.w.shape[1], Q * 2 * C), (image, *down, 2 * column, item))
            call(partial(np.einsum, "nprsc,rsc->npc", view, self.w, out=sums))
            halves = sums.reshape(m * n * Q, 2, C)
            call(np.add, halves[:, 0], halves[:, 1], into.reshape(m * n * Q, C))
        else:
            strides = (image, down[0], column * self.sw, down[1], across, item)
            view = as_strided(border, (m, n, Q, self.R, self.S, C), strides)
            call(partial(np.einsum, "npqrsc,rsc->npqc", view, self.w, out=into))
