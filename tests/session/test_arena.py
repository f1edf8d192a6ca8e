"""Memory that is used again once it is let go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet.session.arena import Arena

FLOAT = np.dtype(np.float32)


def test_a_dry_run_seems_to_have_no_more_than_a_32_bit_address_space(monkeypatch):
    monkeypatch.setattr("refnet.session.arena._MOST", 2**31 - 1)
    arena = Arena(FLOAT)
    first = arena.take(2**28)
    assert arena.take(2**28 - 64).nbytes == 2**30 - 256
    with pytest.raises(MemoryError, match=r"2\.0 GiB of buffers are needed at once"):
        arena.take(64, 2)
    arena.drop(first)
    assert arena.take(64, 2).shape == (64, 2)


@given(st.lists(st.tuples(st.integers(1, 200), st.booleans()), max_size=30))
def test_arrays_that_are_held_never_share_memory(requests):
    dry = Arena(FLOAT)
    held = []
    for size, drop in requests:
        held.append(dry.take(size))
        if drop:
            dry.drop(held.pop(0))
    arena, held = Arena(FLOAT, np.empty(dry.peak, np.uint8)), []
    assert arena.nbytes == dry.peak
    for index, (size, drop) in enumerate(requests):
        array = arena.take(size)
        array[:] = index
        held.append((index, array))
        if drop:
            arena.drop(held.pop(0)[1])
        assert all((kept == number).all() for number, kept in held)
    assert arena.peak == dry.peak


def test_what_is_let_go_is_used_again():
    arena = Arena(FLOAT)
    first, second = arena.take(100), arena.take(100)
    arena.drop(first)
    assert arena.take(4, 20).ctypes.data == first.ctypes.data
    assert (second.ctypes.data - first.ctypes.data, arena.peak) == (448, 896)  # whole lines of a cache
