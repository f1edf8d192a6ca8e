"""A network begins in ordinary memory, and moves to large pages when it is run again and again."""

from __future__ import annotations

import mmap
import re
from itertools import count
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet import build, load, random_input, random_params
from refnet.session import Session, pages
from refnet.session.pages import has_large_pages, large_pages
from refnet.session.weights import Weights

GRAPH = build("torchvision/mobilenet_v3_small", size=(95, 64))
PARAMS = random_params(GRAPH)


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


@pytest.fixture
def pretended(monkeypatch):
    """Large pages, whatever the system has."""
    monkeypatch.setattr("refnet.session.weights.has_large_pages", lambda: True)


@pytest.fixture
def run_of(monkeypatch):
    """Set how many seconds a run seems to take."""

    def seconds(each):
        monkeypatch.setattr("refnet.session.program.perf_counter", map(float(each).__mul__, count()).__next__)

    return seconds


@pytest.mark.skipif(not has_large_pages(), reason="a system without large pages")
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


@pytest.mark.parametrize(
    ("setting", "has"),
    [
        ("always [madvise] never", True),
        ("[always] madvise never", True),
        ("always madvise [never]", False),
        (None, False),
    ],
)
def test_whether_there_are_large_pages_is_a_setting_of_the_system(setting, has, monkeypatch, tmp_path):
    monkeypatch.setattr(pages, "_SETTING", tmp_path / "enabled")
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 14, raising=False)
    if setting is not None:
        (tmp_path / "enabled").write_text(setting)
    assert has_large_pages.__wrapped__() is has


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=12), st.data())
def test_weights_that_move_are_the_same_in_other_memory(shapes, data):
    weights = Weights((f"{index}.w", np.full(shape, index + 1, np.float32)) for index, shape in enumerate(shapes))
    made = {index: data.draw(st.sampled_from([1, 6])) for index in range(len(shapes)) if data.draw(st.booleans())}
    before = {index: weights.transposed(str(index), over) for index, over in made.items()}
    params = dict(weights.params)
    with mock.patch("refnet.session.weights._RETURNED", 2000):
        weights.move()
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


def test_where_addresses_are_few_weights_stay_where_they_are():
    weights = Weights([("a.w", np.ones(2**18, np.float32)), ("a.b", np.ones(3, np.float32))])
    before = dict(weights.params)
    with mock.patch("refnet.session.weights.large_pages", side_effect=MemoryError):
        weights.move()
    assert not weights.large
    assert all(weights.params[name] is array for name, array in before.items())


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_network_that_moves_makes_the_same_bits(pretended, batch):
    session, x = Session(GRAPH, PARAMS, threads=1), random_input(GRAPH, batch)
    first = session(x)
    session._programs.move()
    assert session._programs.weights.large
    assert session(x).tobytes() == first.tobytes()


@pytest.mark.parametrize(("each", "moves"), [(0.24, False), (0.26, True)])
@pytest.mark.parametrize("run", ["calling", "tensors"])
def test_a_network_moves_before_the_call_that_follows_half_a_second_of_runs(pretended, run_of, each, moves, run):
    run_of(each)
    session, x = Session(GRAPH, PARAMS, threads=1), random_input(GRAPH, 1)
    for _ in range(2):
        session(x)
    assert not session._programs.weights.large
    session(x) if run == "calling" else session.tensors(x)
    assert session._programs.weights.large is moves


def test_a_batch_moves_nothing_in_its_midst(pretended, run_of):
    run_of(1.0)
    session = Session(GRAPH, PARAMS, threads=1)
    session(random_input(GRAPH, 5))
    assert not session._programs.weights.large


def test_a_network_stays_where_there_are_no_large_pages(run_of, monkeypatch):
    run_of(1.0)
    monkeypatch.setattr("refnet.session.weights.has_large_pages", lambda: False)
    session, x = Session(GRAPH, PARAMS, threads=1), random_input(GRAPH, 1)
    before = dict(session._programs.weights.params)
    for _ in range(3):
        session(x)
    assert all(session._programs.weights.params[name] is array for name, array in before.items())


def test_a_network_that_would_not_fill_a_large_page_stays(pretended, run_of):
    run_of(1.0)
    net = load()
    for _ in range(3):
        net(np.zeros((1, 3, 32, 32), np.float32))
    assert not net.session._programs.weights.large


def test_what_is_timed_has_moved(pretended):
    session = Session(GRAPH, PARAMS, threads=1)
    session.times(random_input(GRAPH, 1), count().__next__)
    assert session._programs.weights.large


def test_weights_move_before_workers_get_them(pretended):
    session, were = Session(GRAPH, PARAMS, threads=2), []

    def pool(count, graph, weights, keep):
        were.append(weights.large)
        raise KeyboardInterrupt

    with mock.patch("refnet.session.WorkerPool", pool), pytest.raises(KeyboardInterrupt):
        session.start_workers()
    assert were == [True]


def test_weights_move_before_the_worker_of_single_images_gets_them(pretended, monkeypatch):
    session, were = Session(GRAPH, PARAMS, threads=2), []
    monkeypatch.setattr("refnet.session.pace.Pace.wants_worker", True)
    with mock.patch(
        "refnet.session.Start", lambda graph, weights, keep: were.append(weights.large) or mock.Mock(pool=None)
    ):
        session._paired()
    assert were == [True]


@pytest.mark.parametrize("place", [1, 5, 20])
def test_a_move_that_is_interrupted_leaves_every_param(pretended, place):
    session, x = Session(GRAPH, PARAMS, threads=1), random_input(GRAPH, 2)
    first, laid, left = session(x), Weights._laid, count()

    def interrupted(weights, name, array):
        if next(left) == place:
            raise KeyboardInterrupt
        return laid(weights, name, array)

    with mock.patch.object(Weights, "_laid", interrupted), pytest.raises(KeyboardInterrupt):
        session._programs.move()
    for _ in range(2):
        assert session(x).tobytes() == first.tobytes()
