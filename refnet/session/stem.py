"""The calls of a dense convolution: its windows as a matrix, a tile at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from refnet.session.steps import Stem
from refnet.session.writer import LONG, TILE, CallWriter, even, part

__all__ = ["write_stem"]

Array = npt.NDArray[Any]


def write_stem(writer: CallWriter, step: Stem) -> None:
    """Split the columns by phase, lay a tile's windows out as a matrix (C*R*S + 1, pixels), multiply.

    So every copy moves whole rows. The last row of the matrix is one, and meets the bias.
    """
    conv = step.unit.conv
    (sh, sw), (dh, dw) = conv.attrs["stride"], conv.attrs["dilation"]
    K, C, R, S = conv.params["w"]
    _, P, Q = writer.shapes[conv.name]
    y = writer.new(step.end)
    read = sorted({s * dw % sw for s in range(S)})  # of a stride wider than the kernel not all
    phases, loads = _phases(writer, step, read)
    length = C * R * S + 1
    tiles = writer.tiles(P, even(P, TILE // (length * Q)))
    T = max(n for _, n in tiles) if tiles else 0
    memory, spare = writer.arena.take(length * T * Q), writer.spare(T * Q * K, step.unit.act)
    w = writer.weights.pack((conv.name, "w"), lambda: _dense(writer, step))
    # The image itself, if nobody else reads it, is laid out by who runs this.
    maps = writer.logical(step.source) if step.source in writer.values else None
    if maps is None:
        writer.loads += loads if writer.leads else []
        writer.meet()
    for image in range(1 if maps is None else len(maps)):
        if maps is not None:
            for buffer, index in loads if writer.leads else []:
                writer.call(np.copyto, buffer, maps[image][index])
            writer.meet()
        filled = 0
        for p, n in tiles:
            matrix = memory[: length * n * Q].reshape(length, n, Q)
            taps = matrix[:-1].reshape(C, R, S, n, Q)
            for place, phase in enumerate(read):
                columns = [s for s in range(S) if s * dw % sw == phase]  # of the kernel, as far apart as the first two
                apart = columns[1] - columns[0] if len(columns) > 1 else 1
                start = phases[:, place, p * sh :, columns[0] * dw // sw :]
                channel, row, item = start.strides
                strides = (channel, row * dh, item * (apart * dw // sw), row * sh, item)
                windows = as_strided(start, (C, R, len(columns), n, Q), strides)
                writer.call(np.copyto, taps[:, :, columns[0] :: apart][:, :, : len(columns)], windows)
            if n != filled:  # else the row of ones is where it was
                writer.call(matrix[-1].fill, 1)
            filled = n
            z = y[image * P + p : image * P + p + n]
            windows = matrix.transpose(1, 2, 0)
            x = windows if Q >= LONG else windows.reshape(n * Q, length)
            writer.call(np.matmul, x, w, z.reshape(*x.shape[:-1], K))
            flat = z.reshape(n, Q * K)
            writer.activate(step.unit.act, flat, part(spare, flat), flat)
    writer.arena.drop(memory, spare)
    writer.shared.drop(phases)


def _phases(writer: CallWriter, step: Stem, read: list[int]) -> tuple[Array, list[tuple[Array, Any]]]:
    """Memory for the columns of a map by phase, (C, phases, rows, columns), with zeros around them.

    Returns
    -------
    phases : the memory
    loads : (a part of it, which part of a map (C, H, W) it takes)
    """
    attrs = step.unit.conv.attrs
    sw, ((top, bottom), (left, right)) = attrs["stride"][1], attrs["pad"]
    C, H, W = writer.shapes[step.source]
    phases = writer.shared.take(C, len(read), top + H + bottom, -(-(left + W + right) // sw))
    loads, edges = [], [phases[:, :, :top], phases[:, :, top + H :]]
    for place, phase in enumerate(read):
        start = (phase - left) % sw
        first = (start + left) // sw
        end = first + len(range(start, W, sw))
        loads.append((phases[:, place, top : top + H, first:end], np.s_[:, :, start::sw]))
        edges += [phases[:, place, :, :first], phases[:, place, :, end:]]
    for edge in edges:
        if edge.size and writer.leads:
            writer.call(edge.fill, 0)
    return phases, loads


def _dense(writer: CallWriter, step: Stem) -> Array:
    """(C*R*S + 1, K): the filters and, last, the bias."""
    name = step.unit.conv.name
    w, b = writer.params[f"{name}.w"], writer.params.get(f"{name}.b")
    bias = np.zeros(len(w), w.dtype) if b is None else b
    return np.concatenate([w.reshape(len(w), -1).T, bias[None]])
