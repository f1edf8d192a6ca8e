"""Bugs of pixels in memory: rows that are longer there than a port takes them to be, and pixels of four bytes.

What a port reads in a gap, or behind the end, is black, or zero once pixels are normalised. A row of any length is
solved for from the first rows of the first layer's tensor, or of the port's own input, which shows what is in the gaps
too. Both show in a port's own tensor alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pixels import WHITE, fed, normalised, pixels_of, room
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment, run
from refnet.graph import SOURCE
from refnet.ops import ACTIVATIONS

Array = npt.NDArray[Any]

_ALIGNED = (4, 8, 16, 32, 64)  # bytes: BMP and Windows' bitmaps, then what cameras and processors ask of a row
_ROWS, _SEEN = 12, 4  # of an input and of the first layer's tensor, by which the length of its rows is solved for
_LONGEST = 3  # rows: how much longer a row is looked for in the port's own input
_AT_ONCE = 256  # beginnings of inputs that are run together
_WIDE, _REACH = 40, 8  # columns by which lengths are told apart, and those beyond its own that a kernel may see
# Of the error in those rows: what rows of the right length leave less than. Tuned, on the table in
# tests/bugs/test_tables.py: the power of ten between right lengths, of ports in 8 bits, and wrong ones.
_NEAR = 0.1


def input_pitch(segment: Segment) -> Iterator[Change]:
    """rows of pixels read with another length.

    Rows that a file or a camera has made longer, up to a multiple of some bytes, read without a gap, or the reverse;
    or pixels of four bytes read as of three, or the reverse.

    Source: https://github.com/nnstreamer/nnstreamer/issues/72
    """
    if SOURCE not in segment.given:
        return
    _, C, _, W = segment.given[SOURCE].shape
    seen: set[int] = set()
    if segment.end not in segment.whole and segment.candidate is not None:  # the port's own input
        for change in _shown(segment, segment.candidate):
            seen.add(change.facts["gap"])
            yield change
    for aligned in _ALIGNED:
        gap = -(C * W) % aligned
        if gap and gap not in seen:
            seen.add(gap)
            for form, by in (("tight", -gap), ("wide", gap)):
                yield from fed(segment, f"{form} {aligned}", partial(_pitched, segment, by), bytes=aligned, gap=gap)
    if C == 3 and segment.candidate is not None:
        for form in ("four", "four first", "three"):
            yield from fed(segment, form, partial(_by_fours, segment, form))
    one = (-1, 1) if segment.candidate is not None else ()
    for fill in ("black", "zero"):
        for gap in _solved(segment, black=fill == "black") or one:
            if fill == "zero" or abs(C * gap) not in seen:
                made = partial(_pitched, segment, C * gap, black=fill == "black")
                form = f"{'tight' if gap < 0 else 'wide'} pixels {fill}"
                yield from fed(segment, form, made, found=W + abs(gap), known=W)


def _solved(segment: Segment, *, black: bool) -> tuple[int, ...]:
    """By how many pixels rows are longer than they are taken for (below 0), or shorter: what the first layer shows."""
    t, x, nodes = segment.candidate, segment.given[SOURCE], segment.graph.nodes
    by_rows = nodes[0].op == "conv2d" and all(node.op in ("batch_norm", *ACTIVATIONS) for node in nodes[1:])
    if t is None or not by_rows or t.shape != segment.result.shape or x.shape[2] <= _ROWS or t.shape[2] < 2 * _SEEN:
        return ()
    W = x.shape[3]
    gaps = np.array([gap for gap in range(-W, W) if gap])
    columns = min(_WIDE, W)
    whole = t.shape[3] if columns == W else max((columns - _REACH) * t.shape[3] // W, 1)
    own = replace(segment, given={SOURCE: x[:1, :, : 2 * _ROWS]})  # twice as many hold all that the first ones read
    left = [
        float(np.linalg.norm(y - t[0, :, :_SEEN, :whole].astype(np.float64)))
        for begin in range(0, len(gaps), _AT_ONCE)
        for y in _made(segment, _beginnings(own, gaps[begin : begin + _AT_ONCE], columns, black=black))[..., :whole]
    ]
    best = int(gaps[np.argmin(left)])
    seen = t[0, :, :_SEEN].astype(np.float64)
    (y,) = _made(segment, _beginnings(own, np.array([best]), W, black=black))
    before = float(np.linalg.norm(seen - segment.result[0, :, :_SEEN]))
    return (best,) if float(np.linalg.norm(y - seen)) < _NEAR * before else ()


def _made(segment: Segment, x: Array) -> Array:
    """The first rows of what the first layer makes of the beginnings of inputs."""
    y = run(replace(segment, given={SOURCE: x.astype(segment.given[SOURCE].dtype)}), np.float32)
    return y[:, :, :_SEEN].astype(np.float64)


def _beginnings(segment: Segment, gaps: Array, columns: int, *, black: bool) -> Array:
    """The first rows and columns of an image as `_pitched` reads them by some gaps, (gaps, C, rows, columns)."""
    _, C, _, W = segment.given[SOURCE].shape
    pixels = _pixels(segment) if black else segment.given[SOURCE].astype(np.float64)
    memory, row, by = pixels[0].transpose(1, 2, 0).ravel(), C * W, C * gaps[:, None, None]
    lines = np.arange(_ROWS)[:, None]
    read, longer = lines * row + np.arange(columns * C), row + np.maximum(-by, 0)
    place = np.where(by > 0, read + lines * by, read // longer * row + read % longer)
    values = np.where(read % longer < row, memory[np.minimum(place, len(memory) - 1)], 0.0)
    made: Array = values.reshape(len(gaps), _ROWS, columns, C).transpose(0, 3, 1, 2)
    return _input(made, segment) if black else made


def _pixels(segment: Segment) -> Array:
    own = segment.whole.recipe.preprocessing
    return segment.given[SOURCE].astype(np.float64) if own is None else pixels_of(segment, own)


def _input(pixels: Array, segment: Segment) -> Array:
    own = segment.whole.recipe.preprocessing
    return pixels if own is None else normalised(pixels, own)


def _pitched(segment: Segment, by: int, *, black: bool = True) -> Array:
    """Rows that begin so many bytes behind the end of the row before; gaps, and what lies behind, are black or zero."""
    pixels = _pixels(segment) if black else segment.given[SOURCE].astype(np.float64)
    made = _images(_aslant(_lines(pixels, planes=False), by, 0.0), pixels.shape, planes=False)
    return _input(made, segment) if black else made


def _by_fours(segment: Segment, form: str) -> Array:
    """Pixels of four bytes, of which one is full, read as of three; or pixels of three read as of four."""
    pixels = _pixels(segment).transpose(0, 2, 3, 1)
    N, H, W, C = pixels.shape
    if form == "three":
        flat = np.pad(pixels.reshape(N, -1), ((0, 0), (0, H * W)))
        made = flat.reshape(N, H, W, C + 1)[..., :C]
    else:
        full = np.full((N, H, W, 1), WHITE if segment.whole.recipe.preprocessing is not None else 1.0)
        both = (full, pixels) if form == "four first" else (pixels, full)
        made = np.concatenate(both, axis=3).reshape(N, -1)[:, : H * W * C].reshape(pixels.shape)
    return _input(made.transpose(0, 3, 1, 2), segment)


def _aslant(lines: Array, by: int, fill: float) -> Array:
    """Rows, (N, rows, numbers), read as (N, numbers) as if each began so many numbers later; what lacks is filled."""
    N, rows, row = lines.shape
    if by < 0:  # rows with gaps, read without
        return np.pad(lines, ((0, 0), (0, 0), (0, -by)), constant_values=fill).reshape(N, -1)[:, : rows * row]
    starts = (np.arange(rows)[:, None] * (row + by) + np.arange(row)).ravel()
    flat = np.pad(lines.reshape(N, -1), ((0, 0), (0, 1)), constant_values=fill)
    return flat[:, np.minimum(starts, rows * row)]


def _lines(x: Array, *, planes: bool) -> Array:
    """The rows of images as they lie in memory, (N, rows, numbers): of each colour, or of all colours together."""
    N, C, H, W = x.shape
    return x.reshape(N, C * H, W) if planes else x.transpose(0, 2, 3, 1).reshape(N, H, W * C)


def _images(read: Array, shape: tuple[int, ...], *, planes: bool) -> Array:
    """Images of what was read as it lies in memory."""
    N, C, H, W = shape
    made: Array = read.reshape(shape) if planes else read.reshape(N, H, W, C).transpose(0, 3, 1, 2)
    return made


def _shown(segment: Segment, target: Array) -> Iterator[Change]:
    """The gap that the second row of the port's own input shows; what is in the gaps is taken from the port."""
    x, own = segment.given[SOURCE], segment.whole.recipe.preprocessing
    if target.shape != x.shape or x.shape[2] < 2:
        return
    near = float(room(x, x, own).max())
    for planes in (False, True):
        right, seen = (_lines(y[:1].astype(np.float64), planes=planes)[0] for y in (x, target))
        row = right.shape[1]
        for form, sign, line, lying in (("tight", -1, right[1], seen), ("wide", 1, seen[1], right)):
            flat = lying[: _LONGEST + 2].ravel()
            windows = np.lib.stride_tricks.sliding_window_view(flat, row)[row + 1 :]
            at = np.flatnonzero((np.abs(windows - line) <= near).all(axis=1)) + 1
            if len(at):
                gap = int(at[0])
                mine, other = (_lines(y.astype(np.float64), planes=planes) for y in (x, target))
                read = _aslant(mine, sign * gap, np.nan)
                read = np.where(np.isnan(read), other.reshape(read.shape), read)  # what is in the gaps is the port's
                made = _images(read, x.shape, planes=planes)
                yield from fed(segment, f"{form} shown{' planes' if planes else ''}", made, gap=gap)
