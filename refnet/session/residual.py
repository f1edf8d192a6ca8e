"""The calls of an inverted residual: a tile at a time, so that what was expanded never leaves the cache.

A tile is some rows of one image or, where maps are small, some whole images of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from refnet.graph import Unit
from refnet.session.steps import Excite, InvertedResidual, Pointwise
from refnet.session.taps import Phase, Taps
from refnet.session.writer import LONG, TILE, CallWriter, even, part, sixfold

__all__ = ["write_residual"]

Array = npt.NDArray[Any]

FLAT = 8  # rows up to which halves of an image are channels: of fewer rows too many are needed by both halves
ROWS = 196  # of a product, up to which more images are taken together, whatever the size of a tile


def write_residual(writer: CallWriter, step: InvertedResidual) -> None:
    """Write the calls of one block, and make its tensor."""
    _Block(writer, step).write()


class _Block:
    """The memory of one block and what it does with a tile.

    `border` holds the rows that a tile's kernels reach, with zeros around the image: above and below it, and between
    the end of a row and the beginning of the next one, which share them. Rows that two tiles share are moved to its
    top, not computed again. `inner` is memory for a map without a border, and for what an activation uses.

    A half of an image is some rows of the result. Where there are few, it is some channels of what is filtered and some
    of what is projected. `own` and `columns` are what is made here, `parts` what is multiplied at once.
    """

    def __init__(self, writer: CallWriter, step: InvertedResidual) -> None:
        self.writer, self.step = writer, step
        conv = step.depthwise.conv
        self.stride, self.pad, self.dilation = (conv.attrs[key] for key in ("stride", "pad", "dilation"))
        x = writer.values[step.source]
        self.x = x.reshape(writer.images, -1, *x.shape[1:])
        self.H, self.W = self.x.shape[1:3]
        C, self.R, _ = conv.params["w"]
        self.P, self.Q = writer.shapes[conv.name][1:]
        most = TILE // (self.stride[0] * self.W * C)
        self.T = even(self.P, most)  # rows of the result in a tile
        # einsum sums one channel by itself in another order: each half has two at least.
        self.by_channels = writer.halved and self.T == self.P and self.P <= FLAT and C >= 4
        self.own = writer.own(C) if self.by_channels else slice(0, C)
        self.parts = self.divided(C)
        rows = [slice(0, self.P)] if self.by_channels else writer.bands(self.P)
        self.rows = [each for each in rows if each.start < each.stop]  # of one row a half has none
        self.T = max((even(each.stop - each.start, most) for each in self.rows), default=1)
        self.C = self.own.stop - self.own.start
        if step.expand is None:
            self.x = self.x[..., self.own]
        act, excite = step.depthwise.act, step.excite
        # A hard swish that nobody sees is left six times as large, and the next weights are a sixth.
        self.wide_expanded = step.expand is not None and sixfold(step.expand.act)
        self.wide_filtered = step.project is not None and sixfold(act) and (excite is None or excite.act is None)
        self.wide_gated = excite is not None and sixfold(excite.act)
        self.taps = Taps(writer, conv, self.W, self.Q, self.own, six=self.wide_expanded)
        self.phases = self.taps.phases
        self.n = max(phase.width for phase in self.phases)  # columns of a phase
        if step.expand is not None:
            self.expand = writer.matrix(step.expand), writer.bias(step.expand, self.n, self.own)
        if step.project is not None:
            w = writer.matrix(step.project.unit, six=self.wide_filtered or self.wide_gated)
            self.columns = self.divided(w.shape[1]) if self.by_channels else ()
            self.project = w[:, self.columns[0].start : self.columns[-1].stop] if self.columns else w
        self.bias = writer.bias(step.depthwise, self.Q, self.own)

    def divided(self, total: int) -> Sequence[slice]:
        """The channels that are made here, as they are multiplied."""
        return self.writer.parts(total) if self.by_channels else [slice(0, total)]

    def write(self) -> None:
        writer, step, sh, N, T = self.writer, self.step, self.stride[0], self.writer.images, self.T
        y = writer.new(step.end)
        self.reach = (self.R - 1) * self.dilation[0] + 1
        row = self.Q * self.taps.channels  # of what is filtered
        every = self.P == T and (self.P - 1) * sh + self.reach >= self.pad[0][0] + self.H  # row of an image is read
        M = even(N, max(TILE // (self.H * self.W * self.taps.channels), ROWS // (self.H * self.W))) if every else 1
        # Images that are projected in one go: of each a stride leaves less. Then all rows must wait, as behind a gate.
        S = N if step.project is None else max(M, even(N, TILE // (self.P * row)) // M * M)
        whole = step.project is None or step.excite is not None or S > M or self.by_channels
        scratch = [self.bordered(M, (T - 1) * sh + self.reach), *self.taps.scratch(M * T)]
        elsewhere = step.project is None or (whole and writer.half is not None)
        scratch += self.maps(M, T, 0 if elsewhere else S * self.P if whole else M * T, y.shape[2])
        both = [writer.shared.take(self.P * row)] if whole and writer.half is not None and step.project else []
        filtered = y if step.project is None else [*scratch, *both][-1]
        self.apart = self.taps.channels > self.C
        if self.apart:
            self.filtered_own = writer.arena.take(T * self.Q * self.C)
            scratch.append(self.filtered_own)
        for first in range(0, N, S):
            end = min(first + S, N)
            for index in range(first, end, M):
                m = min(M, end - index)
                rows = filtered.reshape(-1)[(index - first) * self.P * row :] if whole else filtered
                rows = rows[: m * (self.P if whole else T) * row].reshape(m, -1, self.Q, self.taps.channels)
                self.written(slice(index, index + m), T, rows, whole=whole)
            if step.project is not None and whole:
                x = filtered[: (end - first) * self.P * row].reshape(end - first, self.P, self.Q, -1)
                self.projected(step.project, x, first * self.P)
        writer.arena.drop(*scratch)
        writer.shared.drop(*both)

    def bordered(self, M: int, tall: int) -> Array:
        """Make `border`, for so many images and rows: the memory of it."""
        self.gap = max(max(phase.lead, phase.trail) for phase in self.phases)
        wide, spans = self.gap + self.n, M * tall * len(self.phases)
        memory = self.writer.arena.take((spans * wide + self.gap) * self.C)
        self.border = memory[: spans * wide * self.C].reshape(M, tall, -1)
        self.starts = [index * wide + self.gap - phase.lead for index, phase in enumerate(self.phases)]
        if self.gap:
            item = memory.itemsize
            gaps = as_strided(memory, (spans + 1, self.gap * self.C), (wide * self.C * item, item))
            self.writer.call(gaps.fill, 0)
        return memory

    def maps(self, M: int, T: int, rows: int, K: int) -> list[Array]:
        """Make `inner`; the memory of it and, if they cannot be there too, of the rows that are filtered."""
        step, take = self.step, self.writer.arena.take
        tall = min((T - 1) * self.stride[0] + self.reach, self.H)
        size, filtered = 0, rows * self.Q * self.C
        if step.expand is not None and (self.W < LONG or self.wide_expanded):
            size = M * tall * len(self.phases) * self.n * self.C
        busy = sixfold(step.depthwise.act) or (step.project is not None and sixfold(step.project.unit.act))
        if busy:
            size = max(size, M * T * self.Q * max(self.C, K))
        together = step.project is not None and not busy and rows == M * T
        self.inner = take(max(size, filtered) if together else size)
        return [self.inner] if together else [self.inner, take(filtered)]

    def written(self, images: slice, T: int, filtered: Array, *, whole: bool) -> None:
        """Filter some images, T rows at a time, and project what need not wait."""
        m, step = images.stop - images.start, self.step
        border, self.border = self.border, self.border[:m]
        self.fresh = T < self.P or not images.start  # else the images before have left zeros above and below
        for p, n in [(0, T)] if self.by_channels else self.writer.tiles(self.P, T):
            if p in [rows.start for rows in self.rows]:
                self.first = self.end = p * self.stride[0] - self.pad[0][0]  # the rows of the image in `border`
                if self.first < 0 and self.fresh:
                    self.writer.call(self.border[:, : -self.first].fill, 0)
            self.reached(images, p, n)
            rows = filtered[:, p : p + n] if whole else filtered[:, :n]
            self.filtered(rows)
            if step.project is not None and not whole:
                first = images.start * self.P + p
                self.writer.projected(step.project, rows.reshape(-1, self.C), self.project, first, self.inner)
        self.border = border

    def reached(self, images: slice, p: int, n: int) -> None:
        """Fill `border` with what the kernels of output rows p to p + n reach."""
        call, border = self.writer.call, self.border
        first = p * self.stride[0] - self.pad[0][0]
        end = first + (n - 1) * self.stride[0] + self.reach
        known = max(self.end, first)
        if known > first:
            call(np.copyto, border[:, : known - first], border[:, first - self.first : known - self.first])
        low, high = max(known, 0), min(end, self.H)
        if high > low:
            rows = border[:, low - first : high - first]
            into = rows.reshape(*rows.shape[:2], len(self.phases), -1)[..., self.gap * self.C :]
            self.laid(self.x[images, low:high], into)
        if end > max(known, self.H) and self.fresh:
            call(border[:, max(known, self.H) - first : end - first].fill, 0)
        self.first, self.end = first, max(self.end, end)

    def laid(self, x: Array, into: Array) -> None:
        """Lay rows of images out by phase, expanded if they are to be: (m, rows, W, C) -> (m, rows, phases, n*C)."""
        if self.step.expand is not None:
            self.expanded(self.step.expand, x, into)
        for index, phase in enumerate(self.phases):
            if self.step.expand is None:
                self.writer.call(np.copyto, self.columns_of(index, into), self.read_by(phase, x))
            if phase.width < self.n:  # zeros, of which an expansion has made something
                self.writer.call(into[:, :, index, phase.width * self.C :].fill, 0)

    def read_by(self, phase: Phase, x: Array) -> Array:
        """The columns of a map that are a phase's."""
        return x[:, :, phase.first :: len(self.phases)]

    def columns_of(self, index: int, rows: Array) -> Array:
        """Where a phase's columns are in rows that lie by phase: (m, rows, phases, n*C) -> (m, rows, width, C)."""
        some = rows[:, :, index, : self.phases[index].width * self.C]
        return some.reshape(*some.shape[:2], -1, self.C)

    def expanded(self, expand: Unit, x: Array, into: Array) -> None:
        """Expand rows of images."""
        (w, b), (m, rows) = self.expand, x.shape[:2]
        z, spare = into, self.inner
        if self.W < LONG:
            z, spare = self.inner[: into.size].reshape(-1, m, rows, into.shape[-1]).transpose(1, 2, 0, 3), into
        for index, phase in enumerate(self.phases):
            some, made = self.read_by(phase, x), self.columns_of(index, z)
            if self.W < LONG:
                some, made = (each.reshape(-1, each.shape[-1]) for each in (some, made))
            for each in self.parts:
                self.writer.product(
                    some, w[:, each], made[..., each.start - self.own.start : each.stop - self.own.start]
                )
        if b is not None:
            self.writer.call(np.add, z, b, z)
        self.writer.activate(expand.act, z, spare if spare is into else part(spare, z), into, six=self.wide_expanded)

    def filtered(self, rows: Array) -> None:
        """Filter what is in `border` channel by channel: -> (m, n, Q, C).

        Some channels are filtered in memory of their own, and stored among the others when they are activated.
        """
        some = rows[..., self.own]
        own = part(self.filtered_own, some) if self.apart else rows
        self.taps.write(self.border, self.starts, own, self.first, self.H)
        flat = own.reshape(*own.shape[:2], -1)
        if self.bias is not None:
            self.writer.call(np.add, flat, self.bias, flat)
        z, into = (own, some) if self.apart else (flat, flat)
        self.writer.activate(self.step.depthwise.act, z, part(self.inner, z), into, six=self.wide_filtered)

    def projected(self, project: Pointwise, x: Array, first: int) -> None:
        """Project maps (m, P, Q, C), through their gates if there are any, to rows of the result from the first on."""
        if self.step.excite is not None:
            self.gated(project, self.step.excite, x, first)
            return
        self.writer.meet()
        spare = self.writer.spare(x.size // x.shape[-1] * self.project.shape[1], project.unit.act)
        self.writer.projected(project, x.reshape(-1, x.shape[-1]), self.project, first, spare, self.columns)
        self.writer.arena.drop(spare)

    def gated(self, project: Pointwise, excite: Excite, x: Array, first: int) -> None:
        """Project maps through their gates.

        A gate multiplies the smaller of map and weights. An activation behind it needs the map itself. Of an image that
        is divided by rows, each half opens all gates.
        """
        writer, w, own = self.writer, self.project, self.own
        m, P, Q, C = x.shape
        on_map = excite.act is not None or project.unit.conv.params["w"][0] > P * Q
        vectors = writer.shared if self.by_channels else writer.arena
        if not self.by_channels:
            writer.meet()
        pooled = vectors.take(m, C)
        writer.means(x.reshape(m, -1, C), pooled, self.parts, six=self.wide_filtered)
        if self.by_channels or on_map:  # which the other half has pooled, too, before it is changed
            writer.meet()
        hidden = self.vector(excite.reduce, pooled)
        self.meet()
        gate = self.vector(excite.expand, hidden)
        spare = writer.spare(max(x.size, x.size // C * w.shape[1]), excite.act, project.unit.act)
        scratch = [spare]
        if not on_map:
            self.meet()
            scaled = writer.arena.take(m, *w.shape)
            writer.call(np.multiply, w, gate[:, :, None], scaled)
            scratch.append(scaled)
            w = scaled
        for rows in self.rows:
            maps: Array = x[:, rows].reshape(m, -1, C)
            if on_map:
                some = maps[..., own]
                writer.call(np.multiply, some, gate[:, None, own], some)
                if excite.act is not None:
                    writer.activate(excite.act, some, part(spare, some), some, six=self.wide_gated)
                self.meet()
                maps = maps.reshape(-1, C)
            writer.projected(project, maps, w, first + rows.start, spare, self.columns)
        writer.arena.drop(*scratch)
        vectors.drop(pooled, hidden, gate)

    def meet(self) -> None:
        """What follows reads channels of the other half, if each half makes some."""
        if self.by_channels:
            self.writer.meet()

    def vector(self, unit: Unit, x: Array) -> Array:
        """A pointwise convolution of 1x1 maps, with its activation: (m, C) -> (m, K)."""
        writer, (K, _) = self.writer, unit.conv.params["w"]
        parts = self.divided(K)
        own = slice(parts[0].start, parts[-1].stop)
        y = (writer.shared if self.by_channels else writer.arena).take(len(x), K)
        spare, z = writer.spare(len(x) * K, unit.act), y[:, own]
        writer.vectors(unit, x, y, parts)
        writer.activate(unit.act, z, part(spare, z), z)
        writer.arena.drop(spare)
        return y
