"""The calls of an inverted residual: tile by tile of rows, so that what was expanded never leaves the cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import Unit
from refnet.session.steps import Excite, InvertedResidual, Pointwise
from refnet.session.taps import Taps
from refnet.session.writer import TILE, CallWriter

__all__ = ["write_residual"]

Array = npt.NDArray[Any]


def write_residual(writer: CallWriter, step: InvertedResidual) -> None:
    """Write the calls of one block, and make its tensor."""
    _Block(writer, step).write()


class _Block:
    """The memory of one block and what it does with a tile.

    `border` holds the rows that a tile's kernels reach, with zeros around the image. Rows that two tiles share are
    moved to its top, not computed again.
    """

    def __init__(self, writer: CallWriter, step: InvertedResidual) -> None:
        self.writer, self.step = writer, step
        conv = step.depthwise.conv
        self.stride, self.pad, self.dilation = (conv.attrs[key] for key in ("stride", "pad", "dilation"))
        self.x = writer.values[step.source]
        self.H, self.W = self.x.shape[:2]
        self.C, self.R, _ = conv.params["w"]
        self.P, self.Q = writer.shapes[conv.name][1:]
        if step.expand is not None:
            self.expand = writer.weights(step.expand), writer.bias(step.expand, self.W)
        if step.project is not None:
            self.project = writer.weights(step.project.unit), writer.bias(step.project.unit, self.Q)
        self.bias = writer.bias(step.depthwise, self.Q)
        self.taps = Taps(writer, conv, self.Q)

    def write(self) -> None:
        writer, step, sh = self.writer, self.step, self.stride[0]
        y = writer.new(step.end)
        T = max(1, min(self.P, TILE // (sh * self.W * self.C)))
        self.reach = (self.R - 1) * self.dilation[0] + 1
        tall = (T - 1) * sh + self.reach
        # The last pair of columns may reach one column too far.
        wide = sum(self.pad[1]) + self.W + self.stride[1]
        self.border = writer.arena.take(tall, wide * self.C)
        most = max(min(tall, self.H) * self.W * self.C, T * self.Q * max(self.C, y.shape[2]))
        self.expanded, self.spare = writer.arena.take(most), writer.arena.take(most)
        scratch = [self.border, self.expanded, self.spare, *self.taps.scratch(T)]
        whole = step.project is None or step.excite is not None  # all rows must be there before one is projected
        filtered = y
        if step.project is not None:
            filtered = writer.arena.take(self.P if whole else T, self.Q, self.C)
            scratch.append(filtered)
        left, right = self.pad[1][0] * self.C, (self.pad[1][0] + self.W) * self.C
        for edge in (self.border[: self.pad[0][0]], self.border[:, :left], self.border[:, right:]):
            if edge.size:
                writer.call(edge.fill, 0)
        self.first, self.end = -self.pad[0][0], -self.pad[0][0]  # the rows of the image that lie in `border`
        for p in range(0, self.P, T):
            n = min(T, self.P - p)
            self.reached(p, n)
            rows = filtered[p : p + n] if whole else filtered[:n]
            self.filtered(rows)
            if step.project is not None and not whole:
                writer.projected(step.project, rows.reshape(-1, self.C), *self.project, p, self.spare)
        if step.project is not None and step.excite is not None:
            scratch += self.gated(step.project, step.excite, filtered.reshape(-1, self.C), y)
        writer.arena.drop(*scratch)

    def reached(self, p: int, n: int) -> None:
        """Fill `border` with what the kernels of output rows p to p + n reach."""
        call, border = self.writer.call, self.border
        first = p * self.stride[0] - self.pad[0][0]
        end = first + (n - 1) * self.stride[0] + self.reach
        known = max(self.end, first)
        if p and known > first:
            call(np.copyto, border[: known - first], border[first - self.first : known - self.first])
        low, high = max(known, 0), min(end, self.H)
        if high > low:
            left = self.pad[1][0]
            self.expanded_rows(low, high, border[low - first : high - first, left * self.C : (left + self.W) * self.C])
        if end > max(known, self.H):
            call(border[max(known, self.H) - first : end - first].fill, 0)
        self.first, self.end = first, max(self.end, end)

    def expanded_rows(self, low: int, high: int, into: Array) -> None:
        """Expand rows of the image: (n, W, C) -> (n, W*C)."""
        x, n = self.x[low:high], high - low
        expand = self.step.expand
        if expand is None:
            self.writer.call(np.copyto, into, x.reshape(n, -1))
            return
        z = self.expanded[: n * self.W * self.C].reshape(n, -1)
        self.writer.product(x.reshape(n * self.W, -1), *self.expand, z)
        self.writer.activate(expand.act, z, self.spare[: z.size].reshape(z.shape), into)

    def filtered(self, rows: Array) -> None:
        """Filter what is in `border` channel by channel: -> (n, Q, C)."""
        self.taps.write(self.border, rows)
        flat = rows.reshape(len(rows), -1)
        if self.bias is not None:
            self.writer.call(np.add, flat, self.bias, flat)
        spare = self.spare[: flat.size].reshape(flat.shape)
        self.writer.activate(self.step.depthwise.act, flat, spare, flat)

    def gated(self, project: Pointwise, excite: Excite, x: Array, y: Array) -> list[Array]:
        """Project a map (P*Q, C) through its gate, which multiplies the smaller of map and weights.

        An activation behind the gate needs the map itself.
        """
        writer, (w, b) = self.writer, self.project
        pooled = writer.arena.take(1, self.C)
        writer.call(np.matmul, writer.mean(len(x)), x, pooled)
        hidden = self.vector(excite.reduce, pooled)
        gate = self.vector(excite.expand, hidden)
        spare = writer.arena.take(y.size if excite.act is None else max(x.size, y.size))
        scratch = [pooled, hidden, gate, spare]
        if excite.act is not None or len(x) < w.shape[1]:
            writer.call(np.multiply, x, gate, x)
            if excite.act is not None:
                writer.activate(excite.act, x, spare[: x.size].reshape(x.shape), x)
        else:
            scaled = writer.arena.take(*w.shape)
            writer.call(np.multiply, w, gate.reshape(-1, 1), scaled)
            scratch.append(scaled)
            w = scaled
        writer.projected(project, x, w, b, 0, spare)
        return scratch

    def vector(self, unit: Unit, x: Array) -> Array:
        """A pointwise convolution of a 1x1 map, with its activation: (1, C) -> (1, K)."""
        writer = self.writer
        w, b = writer.weights(unit), writer.bias(unit, 1)
        y, spare = writer.arena.take(1, w.shape[1]), writer.arena.take(1, w.shape[1])
        writer.product(x, w, b, y)
        writer.activate(unit.act, y, spare, y)
        writer.arena.drop(spare)
        return y
