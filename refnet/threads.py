"""How many threads BLAS multiplies matrices on.

Threads of BLAS wait for one another in a loop: on a machine at work they cost many times what they save. What a user
has set in the environment (`OPENBLAS_NUM_THREADS`, `OMP_NUM_THREADS` and their like) is left as it is.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from refnet import child

__all__ = ["AVX512_KERNELS", "blas_threads", "has_small_kernels", "numpy_kernels", "numpy_threads", "on_one_thread"]

P = ParamSpec("P")
T = TypeVar("T")

AVX512_KERNELS = ("SkylakeX", "Cooperlake", "SapphireRapids")  # as OpenBLAS calls them
# With what the names of OpenBLAS's functions begin and end, in NumPy's wheels and elsewhere.
_NAMES = (("scipy_openblas_", "64_"), ("scipy_openblas_", ""), ("openblas_", "64_"), ("openblas_", ""))


def blas_threads(count: int) -> AbstractContextManager[Any]:
    """A context in which BLAS uses so many threads; without threadpoolctl that is known of NumPy's own OpenBLAS."""
    controller = _controller()
    return _openblas_threads(count) if controller is None else controller.limit(limits=count, user_api="blas")


def numpy_threads(count: int) -> AbstractContextManager[Any]:
    """As `blas_threads`, for what NumPy alone multiplies: its own OpenBLAS is told in a tenth of the time."""
    return blas_threads(count) if _openblas() is None else _openblas_threads(count)


def on_one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """The function, during which BLAS uses one thread, unless the user's environment says how many there are to be."""

    @functools.wraps(function)
    def run(*args: P.args, **keys: P.kwargs) -> T:
        with nullcontext() if child.threads_are_set() else blas_threads(1):
            return function(*args, **keys)

    return run


@cache
def has_small_kernels() -> bool:
    """Whether NumPy's own OpenBLAS multiplies small matrices as they lie: of a large one it copies parts before that.

    So do its kernels of AVX-512.
    """
    return any(name in numpy_kernels() for name in AVX512_KERNELS)


def numpy_kernels() -> str:
    """The processor for which NumPy's own OpenBLAS has chosen kernels, '' where there is none."""
    for library, before, after in _libraries():
        tell = getattr(library, f"{before}get_corename{after}", None)
        if tell is not None:
            tell.restype = ctypes.c_char_p
            return bytes(tell()).decode("ascii", "replace")
    return ""


@cache
def _controller() -> Any:
    """What sets the threads of any BLAS, or None."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


@cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """How the OpenBLAS that came with NumPy tells and sets its threads, or None where there is none."""
    for library, before, after in _libraries():
        get, put = (getattr(library, f"{before}{verb}_num_threads{after}", None) for verb in ("get", "set"))
        if get is not None and put is not None:
            return get, put
    return None


def _libraries() -> Iterator[tuple[ctypes.CDLL, str, str]]:
    """The OpenBLAS that came with NumPy, and with what the names of its functions may begin and end."""
    package = Path(np.__file__).parent
    for folder in (package.with_name("numpy.libs"), package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            try:
                library = ctypes.CDLL(str(path))  # it is loaded already
            except OSError:
                continue
            yield from ((library, before, after) for before, after in _NAMES)


@contextmanager
def _openblas_threads(count: int) -> Iterator[None]:
    found = _openblas()
    if found is None:
        yield
        return
    get, put = found
    before = get()
    put(count)
    try:
        yield
    finally:
        put(before)
