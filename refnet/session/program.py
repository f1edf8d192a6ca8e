"""Steps -> flat lists of NumPy calls on fixed buffers: of one image, and of a group of them where maps are small."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE
from refnet.ops import OPS
from refnet.readings import fast
from refnet.session.arena import Arena
from refnet.session.halves import Half
from refnet.session.pages import large_pages, small_pages
from refnet.session.residual import write_residual
from refnet.session.stem import write_stem
from refnet.session.steps import InvertedResidual, Pointwise, Pool, Rename, Single, Stem, Step, sources
from refnet.session.weights import Weights
from refnet.session.writer import TILE, CallWriter, Shape, copied, even

__all__ = ["Copies", "Program", "Programs"]

Array = npt.NDArray[Any]

Copies = Sequence[tuple[Array, str]]  # where a tensor is to be copied to, and its name

BUFFER = (
    256  # numbers that ufuncs may copy together; by NumPy's 8192 they copy what has rows of less than a third of it
)
SMALL = 256  # pixels of a map, up to which a group of images is run together
_AGAIN = 0.5  # seconds of runs after which large pages pay for what it takes to get them; most programs run for less


class Program:
    """The calls of a group of images: the early steps image by image, the late ones all images together.

    Attributes
    ----------
    images : N, of the group
    early, late : (function, arguments), in order; of one image, and of half of one, everything is early
    begins : the place in `early` at which each step begins
    loads : (a buffer, which part of an image it takes), (C, H, W)
    kept : the tensors that outlive a run, views of the buffers: (N, C, H, W) or (N, F); N is 1 where `early` makes them
    carried : where what `late` reads is for all images, and for the one that was run
    buffers : bytes of memory
    """

    def __init__(self, early: CallWriter, late: CallWriter, begins: list[int], keep: Collection[str]) -> None:
        self.images, self.begins, self.loads = late.images, begins, early.loads
        self.early, self.late = early.calls, [] if late is early else late.calls
        own = {name: writer for writer in (late, early) for name in writer.values}  # what both have, `early` makes
        self.kept = {name: own[name].logical(name) for name in keep}
        self.of_group = frozenset(name for name in keep if late is not early and own[name] is late)
        shared = [] if late is early else sorted(early.values.keys() & late.values.keys())
        self.carried = [(late.logical(name), early.logical(name)[0]) for name in shared]

    def run(self, x: Array, into: Copies = ()) -> None:
        """Run a group, (N, C, H, W), and copy kept tensors, each into an array (N, ...)."""
        copies = [(array, self.kept[name], name in self.of_group) for array, name in into]
        with _buffers(BUFFER):
            for index, image in enumerate(x):
                self._load(image)
                for call, args in self.early:
                    call(*args)
                for group, made in self.carried:
                    np.copyto(group[index], made)
                for array, made, of_group in copies:
                    if not of_group:
                        np.copyto(array[index], made[0])
            for call, args in self.late:
                call(*args)
        for array, made, of_group in copies:
            if of_group:
                np.copyto(array, made)

    def _load(self, image: Array) -> None:
        for buffer, index in self.loads:
            np.copyto(buffer, image[index])

    def timed(self, x: Array, clock: Callable[[], float]) -> list[float]:
        """Run one image, (C, H, W); the time that each step takes."""
        self._load(x)
        times = []
        with _buffers(BUFFER):
            for begin, end in pairwise([*self.begins, len(self.early)]):
                began = clock()
                for call, args in self.early[begin:end]:
                    call(*args)
                times.append(clock() - began)
        return times


@contextmanager
def _buffers(size: int) -> Iterator[None]:
    """ufuncs with a buffer of this size, in this thread."""
    before = np.setbufsize(size)
    try:
        yield
    finally:
        np.setbufsize(before)


class Programs:
    """The programs of groups of images, which share the packed weights and the memory that they run in.

    Parameters
    ----------
    steps : from `steps.steps`
    weights : of the nodes that they stand for, of one dtype
    shapes : of every tensor, without the batch axis
    keep : names of tensors that outlive the run
    """

    def __init__(
        self, steps: Sequence[Step], weights: Weights, shapes: Mapping[str, Shape], keep: Collection[str]
    ) -> None:
        self._steps, self.weights, self._shapes, self._keep = steps, weights, shapes, keep
        self.dtype = weights.dtype
        self._memory: Arena | None = None
        self._ran = 0.0  # seconds of groups of images
        self._made: dict[tuple[int, bool], Program] = {}
        self._late = _late(steps, shapes)
        readers = [step for step in steps if SOURCE in sources(step)]
        # A dense convolution that alone reads the image lays it out as it needs it, and no other copy is there.
        self._laid_out = SOURCE not in keep and len(readers) == 1 and isinstance(readers[0], Stem)

    def of(self, images: int, *, halved: bool = False) -> Program:
        """The program of a group of so many images, written when it is first asked for.

        Of one image `halved` makes the bits that two halves of it do.
        """
        if (images, halved) not in self._made:
            dry = Arena(self.dtype)
            self._written(images, dry, halved=halved)
            arena = self._room(dry.peak)
            self._made[images, halved] = self._written(images, arena, halved=halved)
        return self._made[images, halved]

    def of_half(self, half: Half, memory: Callable[[int], Array]) -> Program:
        """The program of half an image; what both halves read lies in so many bytes, which `memory` gives."""
        dry, both = Arena(self.dtype), Arena(self.dtype)
        self._written(1, dry, halved=True, half=half, shared=both)
        shared = Arena(self.dtype, memory(both.peak))
        return self._written(1, self._room(dry.peak), halved=True, half=half, shared=shared)

    def run(self, x: Array, into: Copies = (), *, halved: bool = False) -> None:
        """Run a group of images as `Program.run` does."""
        program = self.of(len(x), halved=halved)
        began = perf_counter()
        program.run(x, into)
        self._ran += perf_counter() - began

    def settle(self) -> None:
        """Move to large pages if groups of images have run for long enough."""
        if self._ran > _AGAIN:
            self.move()

    def move(self) -> None:
        """Move the weights, and all that runs take, to large pages, unless they are there or gain nothing by it.

        Programs are written again when they are asked for.
        """
        self._ran = 0.0
        if self.weights.gains_by_moving:
            self._made.clear()
            self._memory = None
            self.weights.move()

    def _room(self, size: int) -> Arena:
        """The memory that all programs run in, empty; programs that were written for less are forgotten."""
        if self._memory is None or self._memory.nbytes < size:
            self._made.clear()
            self._memory = None  # before the next one is there
            pages = large_pages if self.weights.large else small_pages
            self._memory = Arena(self.dtype, pages(size))
        self._memory.empty()
        return self._memory

    def _written(
        self, images: int, arena: Arena, *, halved: bool, half: Half | None = None, shared: Arena | None = None
    ) -> Program:
        if half is not None:
            half.meetings = 0
        early = CallWriter(self.weights, self._shapes, arena, halved=halved, half=half, shared=shared)
        if images == 1 or self._late == len(self._steps):
            if not self._laid_out:
                early.new(SOURCE)
            begins, _ = _write(early, self._steps, self._keep)
            return Program(early, early, begins, self._keep)
        first, last = self._steps[: self._late], self._steps[self._late :]
        late = CallWriter(self.weights, self._shapes, arena, images)
        made = {step.end for step in first}
        carried = sorted({name for step in last for name in sources(step)} & made)
        for name in carried:
            late.new(name)
        if not self._laid_out:
            early.new(SOURCE)
        begins, held = _write(early, first, made.intersection((*self._keep, *carried)))
        arena.drop(*held)  # copied before the late steps begin
        _write(late, last, set(self._keep) - made)
        return Program(early, late, begins, self._keep)

    @property
    def buffers(self) -> int:
        """Bytes of memory that runs take."""
        return 0 if self._memory is None else self._memory.nbytes


def _late(steps: Sequence[Step], shapes: Mapping[str, Shape]) -> int:
    """The place of the first step from which on all maps are small; the image itself is not theirs to read."""
    first = 0
    for index, step in enumerate(steps):
        names = (*sources(step), step.end)
        if SOURCE in names or max(math.prod(shapes[name][1:]) for name in names) > SMALL:
            first = index + 1
    return first


def _write(writer: CallWriter, steps: Sequence[Step], keep: Collection[str]) -> tuple[list[int], list[Array]]:
    """Write every step, and let each tensor's memory go after its last reader.

    Returns
    -------
    begins : the first call of each step
    held : the memory of what is kept
    """
    home = {name: name for name in writer.values}  # whose memory a tensor lies in
    last = dict.fromkeys(home, 0)
    for index, step in enumerate(steps):
        home[step.end] = home[step.source] if isinstance(step, Rename) else step.end
        last |= {home[name]: index for name in (*sources(step), step.end) if name in home}
    for name in keep:
        last[home[name]] = len(steps)
    begins = []
    for index, step in enumerate(steps):
        begins.append(len(writer.calls))
        _RULES[type(step)](writer, step)
        writer.meet()
        writer.shared.drop(*(writer.values[name] for name, end in last.items() if end == index))
    return begins, [writer.values[name] for name, end in last.items() if end == len(steps)]


def _pointwise(writer: CallWriter, step: Pointwise) -> None:
    x, y = writer.values[step.source], writer.new(step.end)
    P, Q, K = y.shape
    T = P if writer.images == P * Q else even(P, TILE // (Q * K))
    spare = writer.spare(T * Q * K, step.unit.act)
    if writer.images == P * Q:  # one pixel of each
        writer.vectors(step.unit, x.reshape(P, -1), y.reshape(P, K), writer.parts(K))
        writer.activated(step, 0, P, spare, writer.own(K) if writer.half is not None else None)
    elif T == P and writer.halved:  # rows are few
        w = writer.matrix(step.unit)[:, writer.own(K)]
        writer.projected(step, x.reshape(P * Q, -1), w, 0, spare, writer.parts(K))
    else:
        w = writer.matrix(step.unit)
        for p, n in writer.tiles(P, T):
            writer.projected(step, x[p : p + n].reshape(n * Q, -1), w, p, spare)
    writer.arena.drop(spare)


def _pool(writer: CallWriter, step: Pool) -> None:
    x, y = writer.values[step.source], writer.new(step.end)
    N, C = writer.images, x.shape[2]
    writer.means(x.reshape(N, -1, C), y.reshape(N, C), writer.parts(C))


def _rename(writer: CallWriter, step: Rename) -> None:
    writer.values[step.end] = writer.values[step.source].reshape(writer.images, -1)


def _single(writer: CallWriter, step: Single) -> None:
    """A node as `fast` has it, copied to where its readers look for it."""
    node = step.node
    writer.new(step.end)
    if not writer.leads:
        return
    arrays = [writer.logical(name) for name in node.inputs]
    params = [writer.params.get(f"{node.name}.{slot}") for slot in OPS[node.op].params]
    writer.call(copied, writer.logical(step.end), partial(getattr(fast, node.op), **node.attrs), *arrays, *params)


_RULES: Mapping[type, Any] = {
    Stem: write_stem,
    Pointwise: _pointwise,
    InvertedResidual: write_residual,
    Pool: _pool,
    Rename: _rename,
    Single: _single,
}
