"""A depthwise convolution as one or two NumPy calls on rows that have their border already."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from refnet.graph import Node
from refnet.session.writer import CallWriter

__all__ = ["Taps"]

Array = npt.NDArray[Any]

# np.einsum goes through two Python functions to reach this, which has no public name.
einsum: Callable[..., Any] = getattr(getattr(np, "_core", np), "multiarray", np).c_einsum

RUN = 1000  # numbers that einsum's innermost loop should run over: with more, the kernel falls out of the first cache
PAIRED = 128  # channels up to which columns are filtered in pairs at stride 2
SAVED = 15_000  # multiply-adds with zeros above or below a map that are worth a call of its own to leave them out


class Taps:
    """A depthwise convolution as einsum over a view of bordered rows, channels innermost: one pass, no temporaries.

    einsum's innermost loop is quick and its outer loops are slow, so the innermost one should be long. At stride 1 the
    kernel is repeated along the row, and the loop runs over the channels of some columns. At stride 2 the same is done
    with pairs of columns: one loop sums the even taps of the kernel and the odd ones side by side, and in the end the
    two sums are added.

    Parameters
    ----------
    conv : the node
    Q : columns of the output
    own : which channels
    six : whether a sixth of the kernel is taken, since the map is six times as large
    """

    def __init__(self, writer: CallWriter, conv: Node, Q: int, own: slice, *, six: bool = False) -> None:
        self.writer, self.Q = writer, Q
        (self.sh, self.sw), (self.dh, self.dw) = conv.attrs["stride"], conv.attrs["dilation"]
        self.channels, self.R, self.S = conv.params["w"]
        self.C = own.stop - own.start
        self.paired = self.channels <= PAIRED and (self.sw, self.dw) == (2, 1)
        self.length = 2 * self.C if self.paired else self.C  # of what is summed for one column
        self.columns = repetitions(Q, self.length) if self.paired or self.sw == 1 else 1
        w = writer.params[f"{conv.name}.w"][own]
        self.w = writer.pack(
            (conv.name, "taps", own.start, self.C), lambda: self._packed(w / writer.number(6) if six else w)
        )
        self.sums: Array | None = None

    def _packed(self, w: Array) -> Array:
        """(C, R, S) -> (R, S, columns*C), or (R, S/2, columns*2*C) for columns in pairs."""
        taps = w.transpose(1, 2, 0)
        if self.paired:
            even = np.concatenate([taps, np.zeros((self.R, taps.shape[1] % 2, self.C), w.dtype)], axis=1)
            taps = even.reshape(self.R, -1, self.length)
        return np.ascontiguousarray(np.tile(taps, self.columns))

    def scratch(self, rows: int) -> list[Array]:
        """Memory for the two sums of each column, if there are two."""
        if not self.paired:
            return []
        self.sums = self.writer.arena.take(rows, self.Q * self.length)
        return [self.sums]

    def write(self, border: Array, skipped: int, into: Array, above: int, H: int) -> None:
        """Filter the rows of a tile of m images, from some column on: (m, rows, columns*C) -> (m, n, Q, C).

        The last windows of a row reach into the zeros that lie before the next one.

        Parameters
        ----------
        above : row of the map, of H, that the tile begins with; rows outside the map are zeros
        """
        m, n = into.shape[:2]
        sums = into if self.sums is None else self.sums[: m * n]
        out = sums.reshape(m, n, -1, self.columns * self.length)
        first = border[:, :, skipped * self.C :]
        for reached, rows in groupby(range(n), lambda row: self.reached(row * self.sh + above, H, m)):
            self._sum(first, [*rows], reached, out)
        if self.sums is not None:
            halves = sums.reshape(m * n * self.Q, 2, self.C)
            # Quicker than an add.
            self.writer.call(partial(einsum, "nhc->nc", halves, out=into.reshape(m * n * self.Q, self.C)))

    def reached(self, first: int, H: int, m: int) -> tuple[int, int]:
        """The first and the end of the kernel's rows that are multiplied, of a kernel that begins with some row."""
        inside = [r for r in range(self.R) if 0 <= first + r * self.dh < H]
        zeros = (self.R - len(inside)) * m * self.Q * self.w.shape[1] * self.length
        return (inside[0], inside[-1] + 1) if inside and zeros > SAVED else (0, self.R)

    def _sum(self, first: Array, rows: Sequence[int], reached: tuple[int, int], out: Array) -> None:
        """Sum some rows of the kernel for some rows of a tile."""
        (m, n), w = (len(out), len(rows)), self.w[slice(*reached)]
        item, (image, row) = first.itemsize, first.strides[:2]
        column = self.C * item
        across = self.length * item if self.paired else column * self.dw
        windows = as_strided(
            first[:, rows[0] * self.sh + reached[0] * self.dh :],
            (m, n, self.Q // self.columns, *w.shape),
            (image, row * self.sh, column * self.sw * self.columns, row * self.dh, across, item),
        )
        some = out[:, rows[0] : rows[0] + n]
        self.writer.call(partial(einsum, "npqrsc,rsc->npqc", windows, w, out=some))


def repetitions(columns: int, length: int) -> int:
    """Over how many columns a kernel of so many numbers is repeated: a divisor of theirs, for a run close to `RUN`."""
    divisors = [number for number in range(1, columns + 1) if columns % number == 0]
    return min(divisors, key=lambda number: abs(math.log(max(1, number * length) / RUN)))
