"""A depthwise convolution as a few NumPy calls on rows that have their border already."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from refnet.graph import Node
from refnet.session.writer import LONG, CallWriter

__all__ = ["Phase", "Taps"]

Array = npt.NDArray[Any]

# np.einsum goes through two Python functions to reach this, which has no public name.
einsum: Callable[..., Any] = getattr(getattr(np, "_core", np), "multiarray", np).c_einsum

KERNEL = 36_000  # numbers that a repeated kernel should have: with more, it takes too much of a second cache
PHASED = 192  # channels up to which columns lie by phase at stride 2
SAVED = 15_000  # multiply-adds with zeros above or below a map that are worth a call of its own to leave them out


class Phase(NamedTuple):
    """Columns of a bordered map that lie side by side: all of them, or every other one.

    Attributes
    ----------
    first : the column of the map that is the first of them
    width : how many columns of the map they are
    lead, trail : zeros that windows reach before and behind these
    """

    first: int
    width: int
    lead: int
    trail: int


class Taps:
    """A depthwise convolution as einsum over views of bordered rows, channels innermost: no temporaries.

    einsum's innermost loop is quick and its outer loops are slow, so the innermost one should be long. At stride 1 the
    kernel is repeated along the row, and the loop runs over the channels of some columns. At stride 2 the windows of
    neighbouring outputs do not lie side by side, but the columns of each phase do, the even ones and the odd ones: if
    they are few, each phase is filtered like a map of stride 1, and the two sums are added.

    Parameters
    ----------
    conv : the node
    W, Q : columns of the map and of the output
    own : which channels
    six : whether a sixth of the kernel is taken, since the map is six times as large

    Attributes
    ----------
    phases : how the columns of a row are to lie
    """

    def __init__(self, writer: CallWriter, conv: Node, W: int, Q: int, own: slice, *, six: bool = False) -> None:
        self.writer, self.Q = writer, Q
        (self.sh, self.sw), (self.dh, self.dw) = conv.attrs["stride"], conv.attrs["dilation"]
        self.channels, self.R, self.S = conv.params["w"]
        self.C = own.stop - own.start
        split = (self.sw, self.dw) == (2, 1) and self.S > 1 and self.channels <= PHASED and (W % 2 == 0 or W >= LONG)
        apart = 2 if split else 1
        left = conv.attrs["pad"][1][0]
        self.phases = [self._phase(index, apart, W, left) for index in range(apart)]
        self.step = self.sw // apart  # columns of a phase between the windows of neighbouring outputs
        self.columns = repetitions(Q, self.R * self.S * self.C) if self.step == 1 else 1
        w = writer.params[f"{conv.name}.w"][own]
        packed = writer.weights.pack(
            (conv.name, "taps", own.start, self.C), lambda: self._packed(w / writer.number(6) if six else w)
        )
        even = len(range(0, self.S, apart))
        self.kernels = [packed[:, :even], packed[:, even:]][:apart]
        self.sums: Array | None = None

    def _phase(self, index: int, apart: int, W: int, left: int) -> Phase:
        first = (index - left) % apart
        width = len(range(first, W, apart))
        lead = (left + first) // apart
        reached = (self.Q - 1) * (self.sw // apart) + (len(range(index, self.S, apart)) - 1) * self.dw + 1
        return Phase(first, width, lead, max(0, reached - lead - width))

    def _packed(self, w: Array) -> Array:
        """(C, R, S) -> (R, S, columns*C), phase by phase."""
        taps, apart = w.transpose(1, 2, 0), len(self.phases)
        return np.tile(np.concatenate([taps[:, index::apart] for index in range(apart)], axis=1), self.columns)

    def scratch(self, rows: int) -> list[Array]:
        """Memory for the second sums, if there are two."""
        if len(self.phases) == 1:
            return []
        self.sums = self.writer.arena.take(rows, self.Q * self.C)
        return [self.sums]

    def write(self, border: Array, starts: Sequence[int], into: Array, above: int, H: int) -> None:
        """Filter the rows of a tile of m images: (m, rows, columns*C) -> (m, n, Q, C).

        The last windows of a row reach into the zeros that lie before the next one.

        Parameters
        ----------
        starts : the column of a row with which the first window begins, of each phase
        above : row of the map, of H, that the tile begins with; rows outside the map are zeros
        """
        m, n = into.shape[:2]
        flat = into.reshape(m, n, -1)
        sums = [flat] if self.sums is None else [flat, self.sums[: m * n].reshape(m, n, -1)]
        for reached, rows in groupby(range(n), lambda row: self.reached(row * self.sh + above, H, m)):
            some = [*rows]
            for start, kernel, z in zip(starts, self.kernels, sums, strict=True):
                self._sum(border[:, :, start * self.C :], kernel[slice(*reached)], some, reached[0], z)
        for other in sums[1:]:
            self.writer.call(np.add, flat, other, flat)

    def reached(self, first: int, H: int, m: int) -> tuple[int, int]:
        """The first and the end of the kernel's rows that are multiplied, of a kernel that begins with some row."""
        inside = [r for r in range(self.R) if 0 <= first + r * self.dh < H]
        zeros = (self.R - len(inside)) * m * self.Q * self.S * self.C // len(self.phases)
        return (inside[0], inside[-1] + 1) if inside and zeros > SAVED else (0, self.R)

    def _sum(self, first: Array, w: Array, rows: Sequence[int], skipped: int, out: Array) -> None:
        """Sum some rows of a kernel, after those that are skipped, for some rows of a tile."""
        (m, n), columns = (len(out), len(rows)), self.Q // self.columns
        item, (image, row) = first.itemsize, first.strides[:2]
        column = self.C * item
        windows = as_strided(
            first[:, rows[0] * self.sh + skipped * self.dh :],
            (m, n, columns, *w.shape),
            (image, row * self.sh, column * self.step * self.columns, row * self.dh, column * self.dw, item),
        )
        some = out[:, rows[0] : rows[0] + n].reshape(m, n, columns, -1)
        self.writer.call(partial(einsum, "npqrsc,rsc->npqc", windows, w, out=some))


def repetitions(columns: int, length: int) -> int:
    """Over how many columns a kernel of so many numbers is repeated: a divisor of theirs, for a size near `KERNEL`."""
    divisors = [number for number in range(1, columns + 1) if columns % number == 0]
    return min(divisors, key=lambda number: abs(math.log(max(1, number * length) / KERNEL)))
