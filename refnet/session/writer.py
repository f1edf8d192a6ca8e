"""What every step needs to write its NumPy calls: buffers, packed weights, products, activations.

Maps lie channels last, those of a group of N images below one another, (N*H, W, C); vectors are (N, F); the input is
(C, H, W), of one image. Whatever a call reads or writes is a view made here once, so that a run is
``for call, args in calls: call(*args)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE, Node, Unit
from refnet.readings import fast
from refnet.session.arena import Arena
from refnet.session.halves import Half, halves, in_vectors
from refnet.session.steps import Pointwise
from refnet.session.weights import Weights
from refnet.threads import has_small_kernels

# np.clip goes through three Python functions to reach this, which has no public name.
clip: Callable[..., Any] = getattr(getattr(np, "_core", np), "umath", np).clip

__all__ = ["LONG", "TILE", "CallWriter", "even", "part", "sixfold"]

Array = npt.NDArray[Any]
Call = tuple[Callable[..., Any], tuple[Any, ...]]
Shape = tuple[int, ...]

# Elements of an expanded map that are worked on at once. Fewer, and calling costs more than it saves; more, and a tile
# with its neighbours falls out of a cache of 1 MiB.
TILE = 150_000
LONG = 56  # columns from which on rows of few channels are multiplied one by one: BLAS has kernels for small products
FEW = 32  # channels
SMALL = 1_000_000  # multiply-adds of a product, up to which OpenBLAS takes its kernels for small ones
FEWEST, MOST = 49, 98  # pixels that these multiply at a time
COLUMNS = 64  # of a matrix that a few vectors are multiplied with at a time


class CallWriter:
    """The calls written so far, and the tensors that they make.

    Attributes
    ----------
    images : N, how many images the calls are about
    halved : whether an image is computed in halves: products of matrices are those of its halves
    half : the half of an image that the calls are, or None: all of it
    arena, shared : memory of what these calls alone use, and of what those of the other half read
    calls : (function, arguments), in order
    loads : (a buffer, which part of an image it takes)
    values : the memory of each tensor
    weights : the params, as they are and as the calls read them
    """

    def __init__(
        self,
        weights: Weights,
        shapes: Mapping[str, Shape],
        arena: Arena,
        images: int = 1,
        *,
        halved: bool = False,
        half: Half | None = None,
        shared: Arena | None = None,
    ) -> None:
        self.weights, self.params, self.shapes, self.images = weights, weights.params, shapes, images
        self.arena = arena
        self.halved, self.half, self.shared = halved, half, arena if shared is None else shared
        self.calls: list[Call] = []
        self.loads: list[tuple[Array, Any]] = []
        self.values: dict[str, Array] = {}
        self.number = arena.dtype.type

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Write one call."""
        self.calls.append((function, args))

    def own(self, channels: int) -> slice:
        """Which of so many channels these calls make."""
        return self._own(channels, in_vectors(channels))

    def parts(self, channels: int) -> Sequence[slice]:
        """Which of so many channels these calls make together, one by one."""
        return self._parts(channels, in_vectors(channels))

    def bands(self, P: int) -> Sequence[slice]:
        """Which of P rows these calls make together, one by one."""
        return self._parts(P, 1)

    def _own(self, total: int, unit: int) -> slice:
        return slice(0, total) if self.half is None else halves(total, unit)[self.half.index]

    def _parts(self, total: int, unit: int) -> Sequence[slice]:
        return halves(total, unit) if self.halved and self.half is None else [self._own(total, unit)]

    def tiles(self, P: int, T: int) -> Sequence[tuple[int, int]]:
        """The first row, and how many, of every tile of T rows at most."""
        found = []
        for rows in self.bands(P):
            height = even(rows.stop - rows.start, T)
            found += [(p, min(height, rows.stop - p)) for p in range(rows.start, rows.stop, height)]
        return found

    def meet(self) -> None:
        """What follows reads what the other half has made until here."""
        if self.half is not None:
            self.half.meetings += 1
            self.call(self.half.meet, self.half.meetings)

    @property
    def leads(self) -> bool:
        """Whether these calls do what cannot be divided."""
        return self.half is None or self.half.index == 0

    def new(self, name: str) -> Array:
        """Memory for a step's tensor."""
        match self.shapes[name]:
            case shape if name == SOURCE:
                value = self.shared.take(*shape)
            case C, H, W:
                value = self.shared.take(self.images * H, W, C)
            case F:
                value = self.shared.take(self.images, *F)
        self.values[name] = value
        if name == SOURCE and self.leads:
            self.loads.append((value, ()))
        return value

    def logical(self, name: str) -> Array:
        """A stored tensor as the graph has it: (N, C, H, W) or (N, F)."""
        value = self.values[name]
        if name == SOURCE:
            return value[None]
        return value.reshape(self.images, -1, *value.shape[1:]).transpose(0, 3, 1, 2) if value.ndim == 3 else value

    def product(self, x: Array, w: Array, z: Array) -> None:
        """z = x w: (..., pixels, C) times (..., C, K); some pixels at a time where that is quicker."""
        (pixels, C), K = x.shape[-2:], w.shape[-1]
        r = together(pixels, C, K) if z.dtype == np.float32 and has_small_kernels() else pixels
        if r < pixels:  # views, since one axis becomes two
            x, z = (each.reshape(*each.shape[:-2], -1, r, each.shape[-1]) for each in (x, z))
            w = w[..., None, :, :] if w.ndim > 2 else w
        self.call(np.matmul, x, w, z)

    def vectors(self, unit: Unit, x: Array, z: Array, parts: Sequence[slice]) -> None:
        """Some columns of z = x w + b for some vectors, (m, C) -> (m, K); of several vectors all, or a few at a time.

        BLAS would copy a large matrix for a product of a few rows. Its kernels for small products read a few columns as
        they lie; the others copy a matrix the fastest that is transposed beforehand.
        """
        w = self.params[f"{unit.conv.name}.w"]
        K, C = w.shape
        if len(x) == 1:
            for own in parts:
                if own.start < own.stop:
                    self.call(np.matmul, x, w[own].T, z[:, own])
        elif has_small_kernels():
            whole = K // COLUMNS * COLUMNS
            if whole:
                blocks, into = w[:whole].reshape(-1, COLUMNS, C), z[:, :whole].reshape(len(z), -1, COLUMNS)
                self.call(np.matmul, x, blocks.transpose(0, 2, 1), into.transpose(1, 0, 2))
            if whole < K:
                self.call(np.matmul, x, w[whole:].T, z[:, whole:])
        else:
            self.call(np.matmul, x, self.weights.pack((unit.conv.name, "w"), lambda: w.T), z)
        own = slice(parts[0].start, parts[-1].stop)
        b = self.bias(unit, 1, own)
        if b is not None:
            self.call(np.add, z[:, own], b, z[:, own])

    def means(self, x: Array, into: Array, parts: Sequence[slice], *, six: bool = False) -> None:
        """The mean of some channels, or a sixth of it where x is six times as large: (m, pixels, C) -> (m, C)."""
        m, pixels, C = x.shape
        over = 6 * pixels if six else pixels
        mean = self.weights.pack(("mean", pixels, six), lambda: np.full((1, pixels), 1 / over, self.number))
        if m > 1:
            self.call(np.matmul, mean, x, into.reshape(m, 1, C))
            return
        for own in parts:
            self.call(np.matmul, mean, x[0][:, own], into[:, own])

    def activate(self, act: Node | None, z: Array, spare: Array, into: Array, *, six: bool = False) -> None:
        """Apply an activation to z and store it; `spare` is memory as large as z, or what `spare` gives.

        A hard swish may be left six times as large, where the weights of what reads it are a sixth.
        """
        number, call = self.number, self.call
        match act:
            case None:
                if into is not z:
                    call(np.copyto, into, z)
            case Node(op="relu"):
                call(clip, z, number(0), number(np.inf), into)  # NumPy's maximum takes four times as long
            case Node(op="relu6"):
                call(clip, z, number(0), number(6), into)
            case Node(op="hard_swish"):
                call(clip, z, number(-3), number(3), spare)
                call(np.add, spare, number(3), spare)
                call(np.multiply, z, spare, into)
                if not six:
                    call(np.multiply, into, number(1 / 6), into)
            case Node(op="hard_sigmoid"):
                call(np.multiply, z, number(act.attrs["slope"]), into)
                call(np.add, into, number(act.attrs["offset"]), into)
                call(clip, into, number(0), number(1), into)
            case _:
                call(copied, into, partial(getattr(fast, act.op), **act.attrs), z)

    def spare(self, size: int, *acts: Node | None) -> Array:
        """Memory that activations of so many numbers use."""
        return self.arena.take(size if any(map(sixfold, acts)) else 0)

    def projected(self, step: Pointwise, x: Array, w: Array, p: int, spare: Array, parts: Sequence[slice] = ()) -> None:
        """Rows of a pointwise convolution from row p on: x (..., pixels, C); product, bias, activation, shortcut.

        Or some channels of them, one part after another; w is of these channels.
        """
        _, Q, K = self.values[step.end].shape
        n = x.size // (x.shape[-1] * Q)
        if not parts:
            if w.ndim == 2 and len(w) <= FEW and Q >= LONG:
                x = x.reshape(n, Q, -1)
            self.product(x, w, self.rows(step.end, p, n).reshape(*x.shape[:-1], K))
            self.finished(step, p, n, spare)
            return
        own = slice(parts[0].start, parts[-1].stop)
        for each in parts:
            into = self.rows(step.end, p, n, each)
            some = w[..., each.start - own.start : each.stop - own.start]
            self.product(x, some, into.reshape(*x.shape[:-1], into.shape[-1]))
        self.finished(step, p, n, spare, own if own.stop - own.start < K else None)

    def rows(self, name: str, p: int, n: int, own: slice | None = None) -> Array:
        """Some rows of a map, (n, Q*K), or some channels of their pixels, (n*Q, channels)."""
        value = self.values[name][p : p + n]
        return value.reshape(n, -1) if own is None else value.reshape(-1, value.shape[-1])[:, own]

    def finished(self, step: Pointwise, p: int, n: int, spare: Array, own: slice | None = None) -> None:
        """What is left to do of rows of a pointwise convolution: bias, activation and shortcut."""
        z = self.rows(step.end, p, n, own)
        b = self.bias(step.unit, self.values[step.end].shape[1] if own is None else 1, own)
        if b is not None:
            self.call(np.add, z, b, z)
        self.activated(step, p, n, spare, own)

    def activated(self, step: Pointwise, p: int, n: int, spare: Array, own: slice | None = None) -> None:
        """What is left to do behind the bias."""
        z = self.rows(step.end, p, n, own)
        self.activate(step.unit.act, z, part(spare, z), z)
        if step.shortcut is not None:
            self.call(np.add, z, self.rows(step.shortcut, p, n, own), z)

    # Weights, packed once.

    def matrix(self, unit: Unit, *, six: bool = False) -> Array:
        """(C, K); a sixth of them, where what they multiply is six times as large."""
        return self.weights.transposed(unit.conv.name, 6 if six else 1)

    def bias(self, unit: Unit, W: int, own: slice | None = None) -> Array | None:
        """(W*K,): the bias, or some of it, repeated along a row, so that it is added in long runs."""
        b = self.params.get(f"{unit.conv.name}.b")
        if b is None:
            return None
        first, some = (0, b) if own is None else (own.start, b[own])
        return some if W == 1 else self.weights.pack((unit.conv.name, "b", first, len(some)), lambda: np.tile(some, W))


def together(pixels: int, C: int, K: int) -> int:
    """How many pixels of a large product are multiplied at a time: as many as BLAS's small kernels take, or all.

    Of few pixels, or with weights that are narrow, these are slower.
    """
    if pixels * C * K <= SMALL:
        return pixels
    most = max((r for r in range(1, MOST + 1) if pixels % r == 0 and r * C * K <= SMALL), default=0)
    return most if most >= (FEWEST if C < K else MOST) else pixels


def even(total: int, most: int) -> int:
    """The size of the parts of a whole that are as many as needed, and as even as can be."""
    return max(1, -(-total // max(1, -(-total // max(1, most)))))


def part(spare: Array, z: Array) -> Array:
    """As much of a memory as z takes, in its shape; where there is less, nothing uses it."""
    return spare[: z.size].reshape(z.shape) if spare.size >= z.size else spare


def sixfold(act: Node | None) -> bool:
    """Whether an activation takes memory, and may be left six times as large."""
    return act is not None and act.op == "hard_swish"


def copied(into: Array, rule: Callable[..., Array], *args: Any) -> None:
    """Store what a rule makes."""
    np.copyto(into, rule(*args).reshape(into.shape))
