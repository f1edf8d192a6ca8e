"""Threads of BLAS: one where matrices are of float64 or a program imports refnet, unless the user says otherwise."""

from __future__ import annotations

import sys

import pytest

from refnet import Network, build, child, probe, random_params, threads, verify
from refnet.child import ONE_THREAD
from refnet.files.write import write_weights
from refnet.judge.compare import compare
from refnet.pack.pack import write_pack
from refnet.readings import fast
from refnet.session import Session
from refnet.threads import blas_threads, numpy_threads, on_one_thread

GRAPH = build("torchvision/mobilenet_v3_small", width=0.25, size=(32, 32), classes=4)


def now() -> int:
    found = threads._openblas()
    if found is None:
        pytest.skip("NumPy's BLAS is not the OpenBLAS of its wheels")
    return found[0]()


@pytest.fixture
def without_threadpoolctl(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    threads._controller.cache_clear()
    yield
    threads._controller.cache_clear()


@pytest.fixture
def user(monkeypatch):
    """An environment that says nothing of threads."""
    for name in ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(child, "_ours", set())
    return monkeypatch


@pytest.mark.parametrize("set_threads", [blas_threads, numpy_threads])
@pytest.mark.parametrize("bare", [False, True], ids=["", "without threadpoolctl"])
def test_blas_takes_as_many_threads_as_it_is_told_and_then_as_many_as_before(bare, set_threads, request):
    if bare:
        request.getfixturevalue("without_threadpoolctl")
    before = now()
    with set_threads(2):
        assert now() == 2
        with set_threads(1):
            assert now() == 1
        assert now() == 2
    assert now() == before


def test_where_no_blas_is_known_its_threads_are_left(monkeypatch, without_threadpoolctl):
    monkeypatch.setattr(threads, "_openblas", lambda: None)
    with blas_threads(1), numpy_threads(1):
        pass


def test_a_function_runs_on_one_thread_and_what_the_user_has_set_is_left(user):
    with blas_threads(2):
        assert on_one_thread(now)() == 1
        user.setenv("OMP_NUM_THREADS", "2")
        assert on_one_thread(now)() == 2


def test_golden_compare_and_verify_from_python_take_one_thread(user, tmp_path):
    """Seen from within, where each runs a network."""
    seen, run = [], fast.pointwise_conv2d

    def pointwise_conv2d(*args):
        seen.append(now())
        return run(*args)

    user.setattr(fast, "pointwise_conv2d", pointwise_conv2d)
    net = Network(GRAPH, random_params(GRAPH))
    for fold in (False, True):
        write_weights(net.graph, net.params, tmp_path / f"{fold}.npz", fold=fold)
    with blas_threads(2):
        tensors = dict(net.trace(probe(GRAPH, 1)))
        assert set(seen) == {2}
        for work in (
            lambda: write_pack(net, probe(GRAPH, 1), tmp_path / "pack"),
            lambda: compare(tmp_path / "pack", tensors),
            lambda: verify(tmp_path / "True.npz", tmp_path / "False.npz"),
        ):
            seen.clear()
            work()
            assert set(seen) == {1}
        assert now() == 2


def test_one_image_takes_one_thread_of_blas_by_default_and_what_the_user_has_set(user):
    seen, x = [], probe(GRAPH, 1)
    with blas_threads(2):
        for threads in (None, 2, 1):
            session = Session(GRAPH, random_params(GRAPH), threads=threads)
            run = session._run_alone
            user.setattr(session, "_run_alone", lambda *args, run=run: seen.append(now()) or run(*args))
            session(x)
            user.setenv("OPENBLAS_NUM_THREADS", "2")
            session(x)
            user.delenv("OPENBLAS_NUM_THREADS")
    assert seen == [1, 2, 1, 1, 1, 1]
