"""Weights as calls read them: where they lie, whose they are, and how they move to large pages."""

from __future__ import annotations

import mmap
import pickle
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet import Network, build, random_input, random_params
from refnet.session import Session
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
        weights = Weights(arrays, large=True)
    for name, array in arrays:
        assert np.array_equal(weights.params[name], array)
        assert not np.shares_memory(weights.params[name], array)
        weights.params[name][:] = 0
    assert not any(held.any() for held in weights.params.values())


def test_where_addresses_are_few_weights_stay_in_ordinary_memory(monkeypatch):
    monkeypatch.setattr("refnet.session.weights.large_pages", mock.Mock(side_effect=MemoryError))
    weights = Weights([("a.w", np.ones(2**18, np.float32)), ("a.b", np.ones(3, np.float32))])
    before = dict(weights.params)
    weights.enlarge()
    assert all(weights.params[name] is array for name, array in before.items())
    assert weights.pack(("a", "b"), lambda: np.ones(3)).tolist() == [1] * 3


def test_a_block_that_is_full_where_there_is_no_other_is_not_written_again(monkeypatch):
    blocks = [np.zeros(1024, np.uint8), *[MemoryError()] * 3]
    monkeypatch.setattr("refnet.session.weights.large_pages", mock.Mock(side_effect=blocks))
    weights = Weights([(str(index), np.full(100, index, np.float32)) for index in range(4)], large=True)
    assert [set(array) for array in weights.params.values()] == [{0}, {1}, {2}, {3}]
    assert [np.shares_memory(array, blocks[0]) for array in weights.params.values()] == [True, True, False, False]


def test_without_a_copy_an_array_that_may_be_written_is_taken_over():
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    weights = Weights([("a.w", w)], copy=False)
    assert weights.params["a.w"] is w
    assert np.shares_memory(weights.transposed("a"), w)


@pytest.mark.parametrize("over", [1, 6])
def test_an_array_that_may_not_be_written_is_only_read(over):
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    w.flags.writeable = False
    weights = Weights([("a.w", w)], copy=False)
    assert weights.params["a.w"] is w
    assert np.array_equal(weights.transposed("a", over), w.T / np.float32(over))
    assert np.array_equal(w.ravel(), np.arange(12))


@pytest.mark.parametrize("lies", ["in Fortran's order", "at an odd address", "in a subclass"])
def test_what_calls_cannot_read_as_it_is_is_copied_into_a_plain_array(lies):
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    if lies == "in Fortran's order":
        given = np.asfortranarray(w)
    elif lies == "at an odd address":
        memory = np.empty(w.nbytes + 32, np.uint8)
        first = 1 - memory.ctypes.data % 16
        given = memory[first : first + w.nbytes].view(np.float32).reshape(3, 4)
        given[:] = w
    else:
        given = w.view(np.recarray)
    held = Weights([("a.w", given)], copy=False).params["a.w"]
    assert np.array_equal(held, w)
    assert (type(held), held.flags.c_contiguous, held.ctypes.data % 16) == (np.ndarray, True, 0)


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


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=12), st.data())
def test_weights_that_move_are_the_same_in_other_memory(shapes, data):
    arrays = [np.full(shape, index + 1, np.float32) for index, shape in enumerate(shapes)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("refnet.session.weights._RETURNED", 2000)
        weights = Weights((f"{index}.w", array) for index, array in enumerate(arrays))
        made = {index: data.draw(st.sampled_from([1, 6])) for index in range(len(arrays)) if data.draw(st.booleans())}
        before = {index: weights.transposed(str(index), over) for index, over in made.items()}
        params = dict(weights.params)
        weights.enlarge()
    assert weights.large
    assert weights.packed_bytes == 0
    for name, array in params.items():
        assert np.array_equal(weights.params[name], array)
        assert not np.shares_memory(weights.params[name], array)
    for index, over in made.items():
        again = weights.transposed(str(index), over)
        assert np.array_equal(again, before[index])
        assert again.flags.c_contiguous
        assert np.shares_memory(again, weights.params[f"{index}.w"])


@pytest.mark.skipif(not PAGES.exists(), reason="a system without large pages")
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_network_that_is_run_again_moves_to_large_pages_and_makes_the_same_bits(batch):
    graph = build("torchvision/mobilenet_v3_small", size=(95, 64))
    session, x = Session(graph, random_params(graph), threads=1), random_input(graph, batch)
    with mock.patch("refnet.session.program._AGAIN", float("inf")):
        first = session(x)
    assert "hg" not in flags(session._programs.weights.params["block5.depthwise.w"])
    with mock.patch("refnet.session.program._AGAIN", 0.0):
        second = session(x)
    assert "hg" in flags(session._programs.weights.params["block5.depthwise.w"])
    assert second.tobytes() == first.tobytes()
    assert session(x).tobytes() == first.tobytes()


def test_a_network_that_is_not_run_again_stays_where_it_is():
    graph = build("torchvision/mobilenet_v3_small", size=(32, 32))
    session = Session(graph, random_params(graph), threads=1)
    session(random_input(graph, 1))
    assert not session._programs.weights.large


def test_weights_have_moved_before_a_worker_gets_them():
    graph = build("torchvision/mobilenet_v3_small", size=(32, 32))
    session = Session(graph, random_params(graph), threads=2)
    session.start_workers()
    assert session._programs.weights.large
    session.stop_workers()


def test_later_changes_to_params_are_not_seen():
    graph = build("torchvision/mobilenet_v3_small", size=(32, 32))
    params, x = random_params(graph), random_input(graph)
    session = Session(graph, params, threads=1)
    first = session(x)
    for array in params.values():
        array[:] = 7
    assert session(x).tobytes() == first.tobytes()


@pytest.mark.parametrize("folded", [False, True])
def test_without_a_copy_params_are_read_where_they_are_and_never_written(folded):
    graph = build("torchvision/mobilenet_v3_small", size=(32, 32))
    net = Network(graph, random_params(graph), threads=1)
    net = net.fold() if folded else net
    before = {name: array.tobytes() for name, array in net.params.items()}
    x = random_input(graph)
    first = net(x)
    held = net.session._programs.weights.params
    assert any(np.shares_memory(held[name], array) for name, array in net.params.items() if name in held)
    with mock.patch("refnet.session.program._AGAIN", 0.0):
        assert net(x).tobytes() == first.tobytes()
    assert Session(net.graph, net.params, threads=1)(x).tobytes() == first.tobytes()
    assert {name: array.tobytes() for name, array in net.params.items()} == before


def test_what_is_packed_is_made_once():
    made = []
    weights = Weights([])
    for _ in range(2):
        assert weights.pack(("a", "b"), lambda: made.append(1) or np.ones(3)).tolist() == [1] * 3
    assert made == [1]
    assert weights.dtype == np.float32
