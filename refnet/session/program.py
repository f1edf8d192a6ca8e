"""Steps -> a flat list of NumPy calls on fixed buffers, for one image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE
from refnet.ops import OPS
from refnet.readings import fast
from refnet.session.arena import Arena
from refnet.session.residual import write_residual
from refnet.session.steps import InvertedResidual, Pointwise, Pool, Rename, Single, Stem, Step, sources
from refnet.session.writer import TILE, Call, CallWriter, Shape, copied

__all__ = ["Program", "program"]

Array = npt.NDArray[Any]


class Program:
    """The calls of one image.

    Attributes
    ----------
    calls : (function, arguments), in order
    begins : the place in `calls` at which each step begins
    source : the buffer that takes the image, (C, H, W)
    kept : the tensors that outlive a run, views of the buffers: (C, H, W) or (F,)
    buffers, weights : bytes of memory
    """

    def __init__(
        self,
        calls: list[Call],
        begins: list[int],
        source: Array,
        kept: dict[str, Array],
        buffers: int,
        weights: int,
    ) -> None:
        self.calls, self.begins, self.source, self.kept = calls, begins, source, kept
        self.buffers, self.weights = buffers, weights

    def run(self, x: Array) -> None:
        """Run one image, (C, H, W)."""
        np.copyto(self.source, x)
        for call, args in self.calls:
            call(*args)

    def timed(self, x: Array, clock: Callable[[], float]) -> list[float]:
        """Run one image, (C, H, W); the time that each step takes."""
        np.copyto(self.source, x)
        times = []
        for begin, end in pairwise([*self.begins, len(self.calls)]):
            began = clock()
            for call, args in self.calls[begin:end]:
                call(*args)
            times.append(clock() - began)
        return times


def program(
    steps: Sequence[Step], params: Mapping[str, Array], shapes: Mapping[str, Shape], keep: Collection[str]
) -> Program:
    """Lay out the buffers, pack the weights and write the calls.

    Parameters
    ----------
    steps : from `steps.steps`
    params : of the nodes that they stand for, of one dtype
    shapes : of every tensor, without the batch axis
    keep : names of tensors that outlive the run
    """
    dtype = next(iter(params.values())).dtype
    packed: dict[tuple[Any, ...], Array] = {}
    dry = Arena(dtype)
    _write(CallWriter(params, shapes, dry, packed), steps, keep)
    writer = CallWriter(params, shapes, Arena(dtype, dry.peak), packed)
    begins = _write(writer, steps, keep)
    kept = {name: writer.logical(name) for name in keep}
    weights = sum(array.nbytes for array in packed.values())
    return Program(writer.calls, begins, writer.values[SOURCE], kept, dry.peak * dtype.itemsize, weights)


def _write(writer: CallWriter, steps: Sequence[Step], keep: Collection[str]) -> list[int]:
    """Write every step, and let each tensor's memory go after its last reader; the first call of each."""
    home = {SOURCE: SOURCE}  # whose memory a tensor lies in
    last = {SOURCE: 0}
    for index, step in enumerate(steps):
        home[step.end] = home[step.source] if isinstance(step, Rename) else step.end
        last |= {home[name]: index for name in (*sources(step), step.end)}
    for name in keep:
        last[home[name]] = len(steps)
    writer.new(SOURCE)
    begins = []
    for index, step in enumerate(steps):
        begins.append(len(writer.calls))
        _RULES[type(step)](writer, step)
        writer.arena.drop(*(writer.values[name] for name, end in last.items() if end == index))
    return begins


def _stem(writer: CallWriter, step: Stem) -> None:
    """Split the columns by phase, lay a tile's windows out as a matrix (C*R*S + 1, pixels), multiply.

    So every copy moves whole rows. The last row of the matrix is one, and meets the bias.
    """
    conv = step.unit.conv
    (sh, sw), ((top, bottom), (left, right)), (dh, dw) = (conv.attrs[key] for key in ("stride", "pad", "dilation"))
    K, C, R, S = conv.params["w"]
    _, H, W = writer.shapes[step.source]
    _, P, Q = writer.shapes[conv.name]
    y = writer.new(step.end)
    read = sorted({s * dw % sw for s in range(S)})  # of a stride wider than the kernel not all
    phases = writer.arena.take(C, len(read), top + H + bottom, -(-(left + W + right) // sw))
    writer.call(phases.fill, 0)
    x = writer.logical(step.source)
    for place, phase in enumerate(read):
        part = x[:, :, (phase - left) % sw :: sw]
        first = ((phase - left) % sw + left) // sw
        writer.call(np.copyto, phases[:, place, top : top + H, first : first + part.shape[2]], part)
    length = C * R * S + 1
    T = max(1, min(P, 2 * TILE // (length * Q)))
    memory, spare = writer.arena.take(length * T * Q), writer.arena.take(T * Q * K)
    w = writer.pack((conv.name, "w"), lambda: _dense(writer, step))
    for p in range(0, P, T):
        n = min(T, P - p)
        matrix = memory[: length * n * Q].reshape(length, n * Q)
        taps = matrix[:-1].reshape(C, R, S, n, Q)
        for r in range(R):
            rows = slice(p * sh + r * dh, (p + n - 1) * sh + r * dh + 1, sh)
            for s in range(S):
                first, phase = divmod(s * dw, sw)
                writer.call(np.copyto, taps[:, r, s], phases[:, read.index(phase), rows, first : first + Q])
        writer.call(matrix[-1].fill, 1)
        z = y[p : p + n].reshape(n, Q * K)
        writer.product(matrix.T, w, None, z)
        writer.activate(step.unit.act, z, spare[: z.size].reshape(z.shape), z)
    writer.arena.drop(phases, memory, spare)


def _dense(writer: CallWriter, step: Stem) -> Array:
    """(C*R*S + 1, K): the filters and, last, the bias."""
    name = step.unit.conv.name
    w, b = writer.params[f"{name}.w"], writer.params.get(f"{name}.b")
    bias = np.zeros(len(w), w.dtype) if b is None else b
    return np.concatenate([w.reshape(len(w), -1).T, bias[None]])


def _pointwise(writer: CallWriter, step: Pointwise) -> None:
    x, y = writer.values[step.source], writer.new(step.end)
    P, Q, K = y.shape
    T = max(1, min(P, TILE // (Q * K)))
    spare = writer.arena.take(T * Q * K)
    w, b = writer.weights(step.unit), writer.bias(step.unit, Q)
    for p in range(0, P, T):
        writer.projected(step, x[p : p + T].reshape(-1, x.shape[2]), w, b, p, spare)
    writer.arena.drop(spare)


def _pool(writer: CallWriter, step: Pool) -> None:
    x, y = writer.values[step.source], writer.new(step.end)
    pixels = x.shape[0] * x.shape[1]
    writer.call(np.matmul, writer.mean(pixels), x.reshape(pixels, -1), y.reshape(1, -1))


def _rename(writer: CallWriter, step: Rename) -> None:
    writer.values[step.end] = writer.values[step.source].reshape(-1)


def _single(writer: CallWriter, step: Single) -> None:
    """A node as `fast` has it, copied to where its readers look for it."""
    node = step.node
    writer.new(step.end)
    arrays = [writer.logical(name)[None] for name in node.inputs]
    params = [writer.params.get(f"{node.name}.{slot}") for slot in OPS[node.op].params]
    writer.call(copied, writer.logical(step.end), partial(getattr(fast, node.op), **node.attrs), *arrays, *params)


_RULES: Mapping[type, Any] = {
    Stem: _stem,
    Pointwise: _pointwise,
    InvertedResidual: write_residual,
    Pool: _pool,
    Rename: _rename,
    Single: _single,
}
