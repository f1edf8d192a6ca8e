"""A network prepared for speed: a graph and its params become, once, a flat list of NumPy calls on fixed buffers.

Batch norm is folded, weights are packed for the matrix product, runs of nodes are computed tile by tile while they are
in cache. docs/05-speed.md tells why each of these is there and what it brings. NumPy and SciPy only: there is no
compiled code here. A session refuses nothing that `readings.fast` can run: what it does not know, it leaves to it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet import child
from refnet.errors import RequestError
from refnet.graph import SOURCE, Graph
from refnet.networks.rewrite import fold_graph, folded_arrays
from refnet.readings.shapes import shapes
from refnet.session.halves import is_halvable
from refnet.session.pace import Pace
from refnet.session.pair import Pair, Start
from refnet.session.program import Copies, Programs
from refnet.session.steps import steps
from refnet.session.weights import Weights
from refnet.session.workers import WorkerPool
from refnet.shares import cores
from refnet.threads import numpy_threads

__all__ = ["Session", "group_size"]

Array = npt.NDArray[Any]

_GROUP = 8  # images at most that run together where maps are small; more bring little and take memory
_PATIENCE = 1.0  # seconds of work on batches after which worker processes pay for their start
_starting = threading.Lock()
_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
_with_workers: weakref.ref[Session] | None = None  # the session that has workers


class Session:
    """Run a network fast, many times.

    Parameters
    ----------
    graph, params : of any network, folded or not. A worker gets the folded graph and the `Weights` of the session that
        started it, and keeps the same tensors
    threads : cores to use, by default all that this process may use. The images of a batch are divided among this
        process and `threads - 1` worker processes, each of which uses one core. One image is divided between this
        process and one worker, where a network that is run again was measured to be quicker so; where more is lost by
        waiting for it than it saves, that ends for a while. By default a user's environment that sets the threads of
        BLAS (`OPENBLAS_NUM_THREADS`) keeps an image on them, undivided.
    keep : names of tensors that `tensors` returns besides the outputs; whatever lies between is computed in one go
    copy : whether the session copies the arrays. Without it, do not change one while the session is there: those that
        no batch norm is folded into may be read where they are

    Notes
    -----
    The same settings give the same bits each time. Where maps are large every image is run by itself; where they are
    small, a group of images runs together, half of a batch and at most eight of them. So the last bits of an image may
    depend on how many images there are, and on its place, but neither on what its neighbours are nor on how many cores
    are used. Alone they depend on whether `threads` is more than one: products of matrices are then those of two
    halves, whoever makes them. Calls from several threads wait for one another. Without threadpoolctl (extra
    `tools`) only the threads of NumPy's own OpenBLAS are known.

    Worker processes start when a session has spent a second on batches, or with `start_workers`; for single images one
    starts, meanwhile, after a quarter of a second. They end with `stop_workers`, with the session, with this process,
    and when another session starts its own: one session at a time has workers, however many sessions there are.
    One that is lost costs time and no result. Where none can be started, and in a process that was forked, a batch is
    run here.

    Examples
    --------
    >>> from refnet import build, random_input, random_params
    >>> graph = build("torchvision/mobilenet_v3_small")
    >>> session = Session(graph, random_params(graph))
    >>> session(random_input(graph)).shape
    (2, 1000)
    """

    def __init__(
        self,
        graph: Graph,
        params: Mapping[str, Array] | Weights,
        *,
        threads: int | None = None,
        keep: Collection[str] = (),
        copy: bool = True,
    ) -> None:
        if threads is not None and threads < 1:
            raise RequestError(f"threads {threads}: take at least 1")
        if unknown := [name for name in keep if name not in graph]:
            raise RequestError(f"keep: no node is called {unknown[0]!r}")
        self.threads = cores() if threads is None else threads
        self._chosen = threads is not None
        self._halved = self.threads > 1 and is_halvable()
        if isinstance(params, Weights):
            folded, weights = graph, params
        else:
            folded, weights = fold_graph(graph, keep), Weights(_arrays(graph, params, keep, copy=copy))
        # The tensor of a batch norm that was folded is now its convolution's.
        names = {name: name if name in folded else graph[name].inputs[0] for name in (*keep, *graph.outputs)}
        sizes = shapes(folded)
        kept = set(names.values())
        self._folded = folded
        self.steps = steps(folded, sizes, kept)
        self._programs = Programs(self.steps, weights, sizes, kept)
        self._programs.of(1, halved=self._halved)
        self._sizes, self._dtype = sizes, self._programs.dtype
        self._names, self._outputs = names, graph.outputs
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = None
        self._start: Start | None = None  # of a worker, meanwhile
        self._pair: Pair | None = None
        self._pace, self._kept = Pace(), kept
        self._spent, self._patience = 0.0, _PATIENCE
        _sessions.add(self)

    @property
    def buffer_bytes(self) -> int:
        """Memory for the tensors of a run, in this process; 0 from a move to large pages to the next run."""
        return self._programs.buffers

    @property
    def weight_bytes(self) -> int:
        """Memory for the packed weights, in this process; 0 from a move to large pages to the next run."""
        return self._programs.weights.packed_bytes

    def __call__(self, x: Array) -> Any:
        """Run a batch, (N, C, H, W) -> the tensor that the network returns; of several, {name: tensor} in order.

        Raises
        ------
        RequestError
            if x has another shape or dtype than the network takes; `Network` says more, and looks for NaN too.
        """
        made = self.returned(x)
        return made[self._outputs[0]] if len(made) == 1 else made

    def returned(self, x: Array) -> dict[str, Array]:
        """Run a batch as calling does: the tensors that the network returns by name, one or several."""
        return self.in_groups(x, group_size(len(x)))

    def in_groups(self, x: Array, size: int) -> dict[str, Array]:
        """Run a batch, so many images at a time: what a worker does with its share of a larger one."""
        self._check(x)
        with self._lock, self._blas_for(len(x)):
            self._programs.settle()
            y = self._empty(self._outputs, len(x))
            run = partial(self._run, size=size)
            if len(x) == 1:
                self._run_one(x, y)
                return y
            if self.threads == 1:
                run(x, y)
                return y
            started = time.perf_counter()
            if (self._pool is None or self._pool.count < self.threads - 1) and self._spent > self._patience:
                self._start_workers()
            if self._pool is None:
                run(x, y)
            else:
                try:
                    self._pool.divide(x, y, run, size)
                except BaseException:  # an answer that nobody has heard would be taken for that to the next batch
                    self._stop_workers()
                    raise
            self._spent += time.perf_counter() - started
            return y

    def tensors(self, x: Array) -> dict[str, Array]:
        """Run a batch and return the tensors that the session was made to keep, by name."""
        self._check(x)
        with self._lock, self._blas_for(len(x)):
            self._programs.settle()
            found = self._empty(self._names, len(x))
            if len(x) == 1:
                self._run_alone(x, found)
            else:
                self._run(x, found, group_size(len(x)))
            return found

    def times(self, x: Array, clock: Callable[[], float], runs: int = 1) -> Array:
        """How long each of `steps` takes for one image, (1, C, H, W), in each of some runs: (runs, steps), as `clock`.

        On one thread, as a network that is run again and again.
        """
        self._check(x)
        with self._lock, numpy_threads(1):
            self._programs.move()
            return np.array([self._programs.of(1).timed(x[0], clock) for _ in range(runs)])

    def start_workers(self) -> None:
        """Start the worker processes now, unless those of another session are at work; wait until they are ready."""
        with self._lock:
            if self.threads > 1 and (self._pool is None or self._pool.count < self.threads - 1):
                self._start_workers()

    def stop_workers(self) -> None:
        """Let the worker processes end; they start again after another while of work on batches."""
        with self._lock:
            self._stop_workers()

    def _check(self, x: Array) -> None:
        shape = self._sizes[SOURCE]
        if x.ndim != 4 or x.shape[1:] != shape or x.dtype != self._dtype:
            wanted = f"(N, {', '.join(map(str, shape))}) {self._dtype}"
            raise RequestError(f"input: {x.shape} {x.dtype}; take {wanted}")

    def _start_workers(self) -> None:
        self._take_workers(lambda: WorkerPool(self.threads - 1, *self._shared()))

    def _shared(self) -> tuple[Graph, Weights, Collection[str]]:
        """What workers get, once it stays where it is."""
        self._programs.move()
        return self._folded, self._programs.weights, self._kept

    def _take_workers(self, made: Callable[[], WorkerPool]) -> None:
        """Have workers, unless those of another session are at work."""
        global _with_workers
        with _starting:
            other = None if _with_workers is None else _with_workers()
            if other is not None and other is not self and other._pool is not None:
                if not other._lock.acquire(blocking=False):
                    return
                try:
                    other._stop_workers()
                    other._patience *= 2  # two sessions in turns must not spend their time on starting workers
                    other._pace.before *= 2
                finally:
                    other._lock.release()
            self._stop_workers()
            self._pool = made()
            _with_workers = weakref.ref(self)

    def _stop_workers(self) -> None:
        if self._pool is not None:
            self._pool.stop_workers()
        self._pool = self._start = self._pair = None
        self._spent = 0.0
        self._pace.leave()

    def _empty(self, names: Iterable[str], batch: int) -> dict[str, Array]:
        """Memory for what some tensors are for a batch."""
        return {name: np.empty((batch, *self._sizes[self._names[name]]), self._dtype) for name in names}

    def _blas_for(self, images: int) -> AbstractContextManager[Any]:
        """BLAS's threads for a batch: one, or for one image what the user has set."""
        return nullcontext() if images == 1 and self._is_left_to_user() else numpy_threads(1)

    def _is_left_to_user(self) -> bool:
        return not self._chosen and child.threads_are_set()

    def _run_one(self, x: Array, y: Mapping[str, Array]) -> None:
        """Run one image, with a worker where that pays, and now and then measure whether it does."""
        pair = self._paired() if self._halved and not self._is_left_to_user() else None
        self._pace.begin(time.perf_counter())
        if pair is not None and self._pace.together:
            seconds, ran = self._run_paired(pair, x, y)
            self._pace.ran_together(seconds, ran=ran)
            if ran:
                return
        began = time.perf_counter()
        self._run_alone(x, y)
        self._pace.ran_alone(time.perf_counter() - began)
        if pair is not None and self._pace.to_try:
            again = self._empty(y, 1)
            seconds, ran = self._run_paired(pair, x, again)
            same = not ran or all(again[name].tobytes() == array.tobytes() for name, array in y.items())
            self._pace.tried(seconds, ran=ran, same=same)

    def _paired(self) -> Pair | None:
        """A worker to run half of an image, if there is one or its time has come."""
        if self._pool is None:
            if self._start is None and self._pace.wants_worker:
                self._start = Start(*self._shared())
            if self._start is not None and self._start.pool is not None:
                self._take_workers(partial(_same, self._start.pool))
        if self._pool is not None and self._pair is None:
            try:
                self._pair = Pair(self._pool, self._programs)
            except BaseException:  # as with a batch: nobody has heard the answer
                self._stop_workers()
                raise
        return self._pair

    def _run_paired(self, pair: Pair, x: Array, y: Mapping[str, Array]) -> tuple[float, bool]:
        """Run one image with a worker; the seconds, and whether it was not given up."""
        began = time.perf_counter()
        ran = pair.run(x, self._copies(y), self._pace.patience)
        return time.perf_counter() - began, ran

    def _run_alone(self, x: Array, y: Mapping[str, Array]) -> None:
        self._programs.run(x, self._copies(y), halved=self._halved)

    def _copies(self, into: Mapping[str, Array]) -> Copies:
        return [(array, self._names[name]) for name, array in into.items()]

    def _run(self, x: Array, into: Mapping[str, Array], size: int) -> None:
        """Run images group by group, and copy the tensors that are asked for."""
        for first in range(0, len(x), size):
            images = slice(first, first + size)
            copies = self._copies({name: array[images] for name, array in into.items()})
            self._programs.run(x[images], copies)


def _arrays(
    graph: Graph, params: Mapping[str, Array], keep: Collection[str], *, copy: bool
) -> Iterator[tuple[str, Array]]:
    """The params of the folded graph. An array of the user's is copied, or becomes a view that is read-only."""
    views = {name: _read_only(array) for name, array in params.items()}
    for name, array in folded_arrays(graph, views, keep):
        yield name, array if array.flags.writeable or not copy else np.array(array)


def _read_only(array: Array) -> Array:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _same(pool: WorkerPool) -> WorkerPool:
    return pool


def group_size(batch: int) -> int:
    """How many images of a batch run together: half of them, so that two processes have as much to do."""
    return max(1, min(_GROUP, -(-batch // 2)))


def _after_fork() -> None:
    """In a process that was forked: what another thread held there is held by nobody here."""
    global _starting
    _starting = threading.Lock()
    for session in list(_sessions):
        session._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
