"""Weights in large pages: copies, one behind another."""

from __future__ import annotations

import mmap
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet.session.pages import large_pages
from refnet.session.weights import Weights

PAGES = Path("/sys/kernel/mm/transparent_hugepage")


def flags(array):
    """What the system was told of the memory that an array lies in."""
    address = array.ctypes.data
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if span := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(span[1], 16) <= address < int(span[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return line.split()[1:]
    return []


@pytest.mark.skipif(not PAGES.exists(), reason="a system without large pages")
def test_much_memory_lies_in_large_pages():
    memory = large_pages(5 * 2**20)
    assert memory.ctypes.data % 2**21 == 0
    assert "hg" in flags(memory)


@pytest.mark.parametrize("size", [1, 2**21 - 1, 2**21, 5 * 2**20 + 7])
def test_memory_is_zeros_that_begin_at_a_page(size):
    memory = large_pages(size)
    assert (memory.size, memory.any()) == (size, False)
    assert memory.ctypes.data % mmap.PAGESIZE == 0
    memory[:] = 1


@pytest.mark.parametrize("lacking", ["large pages", "anything of them", "memory"])
def test_a_system_that_gives_no_large_pages_gives_others(lacking, monkeypatch):
    class Refused(mmap.mmap):
        def madvise(self, *args):
            raise OSError

    def fail(*args, **kwargs):
        raise OSError

    if lacking == "anything of them":
        monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    else:
        monkeypatch.setattr(mmap, "mmap", Refused if lacking == "large pages" else fail)
    memory = large_pages(2**22)
    memory[:] = 1
    assert memory.sum() == 2**22


@given(st.lists(st.integers(0, 300), max_size=20), st.integers(1, 4))
def test_copies_are_the_arrays_and_share_no_memory(sizes, blocks):
    """Blocks of a few hundred bytes, so that some arrays begin one, and some are larger."""
    arrays = [(str(index), np.full(size, index + 1, np.float32)) for index, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("refnet.session.weights._BLOCK", 256 * blocks)
        weights = Weights(arrays)
    for name, array in arrays:
        assert np.array_equal(weights.params[name], array)
        assert not np.shares_memory(weights.params[name], array)
        weights.params[name][:] = 0
    assert not any(held.any() for held in weights.params.values())


def test_where_addresses_are_few_a_block_has_the_size_of_its_array(monkeypatch):
    def few(size):
        if size > 2**20:
            raise MemoryError
        return large_pages(size)

    monkeypatch.setattr("refnet.session.weights.large_pages", few)
    weights = Weights([("a.w", np.ones(2**18, np.float32)), ("a.b", np.ones(3, np.float32))])
    assert [array.sum() for array in weights.params.values()] == [2**18, 3]


def test_each_param_is_copied_before_the_next_one_is_made():
    array = np.zeros(3)

    def made():
        for index in range(3):
            array[:] = index
            yield str(index), array

    assert [held.tolist() for held in Weights(made()).params.values()] == [[0] * 3, [1] * 3, [2] * 3]


def test_a_matrix_is_transposed_in_its_own_memory():
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    weights = Weights([("a.w", w), ("a.b", w[0])])
    before = weights.params["a.w"].ctypes.data
    for _ in range(2):  # the second time it is there
        packed = weights.transposed("a")
        assert packed.ctypes.data == before
        assert packed.flags.c_contiguous
        assert np.array_equal(packed, w.T)
        assert np.array_equal(weights.params["a.w"], w)
    assert np.array_equal(weights.params["a.b"], w[0])


def test_what_another_process_gets_is_divided_once():
    """A sixth of a matrix takes the place of the matrix."""
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    weights = Weights([("a.w", w), ("b.w", w)])
    sixth = weights.transposed("a", 6)
    assert np.array_equal(sixth, w.T / np.float32(6))
    assert np.shares_memory(sixth, weights.params["a.w"])
    with pytest.raises(ValueError, match=r"a\.w: divided by 6 already, not by 1"):
        weights.transposed("a")
    sent = pickle.loads(pickle.dumps(weights))
    for name in ("a", "b"):
        assert np.array_equal(sent.transposed(name, 6), sixth)
    assert not np.shares_memory(sent.params["a.w"], weights.params["a.w"])


def test_what_is_packed_is_made_once():
    made = []
    weights = Weights([])
    for _ in range(2):
        assert weights.pack(("a", "b"), lambda: made.append(1) or np.ones(3)).tolist() == [1] * 3
    assert made == [1]
    assert weights.dtype == np.float32
