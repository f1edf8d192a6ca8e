"""A session's worker processes: the same bits with them and without, whatever becomes of them."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from programs import TWO_NORMS

from refnet import build, child, random_input, random_params
from refnet.graph import Graph, Recipe
from refnet.networks.rewrite import fold_graph, folded_arrays
from refnet.session import Session
from refnet.session.weights import Weights

SMALL = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, 56), classes=4)
PARAMS = random_params(SMALL)


@pytest.mark.parametrize("threads", [2, 3])
def test_worker_processes_give_the_same_bits(threads):
    one, many = Session(SMALL, PARAMS, threads=1), Session(SMALL, PARAMS, threads=threads)
    many.start_workers()
    for batch in (7, 2, 9):  # the shared memory grows
        x = random_input(SMALL, batch)
        assert np.array_equal(many(x), one(x))


def test_workers_make_what_a_session_makes_that_keeps_tensors_inside_of_blocks():
    """There a hard swish has its true size; elsewhere it is six times as large, and the next weights are a sixth."""
    keep = [f"block{number}.depthwise.act" for number in range(4, 12, 2)]
    one, many = (Session(SMALL, PARAMS, threads=threads, keep=keep) for threads in (1, 2))
    x = random_input(SMALL, 6)
    many.start_workers()
    assert np.array_equal(many(x), one(x))
    assert len(many._pool._workers) == 1
    many.stop_workers()


def test_workers_run_a_batch_norm_behind_one_that_is_folded():
    """The session has folded the first of the two, and a worker folds nothing."""
    graph = Graph(Recipe("", 1.0, (3, 5), 2, channels=2), TWO_NORMS)
    params = random_params(graph)
    one, many = (Session(graph, params, threads=threads) for threads in (1, 2))
    many.start_workers()
    x = random_input(graph, 4)
    assert np.array_equal(many(x), one(x))
    assert len(many._pool._workers) == 1
    many.stop_workers()


def test_workers_do_not_see_what_was_done_to_the_params_before_they_started():
    params, x = {name: array.copy() for name, array in PARAMS.items()}, random_input(SMALL, 4)
    many = Session(SMALL, params, threads=2)
    for array in params.values():
        array[...] = 7
    many.start_workers()
    assert np.array_equal(many(x), Session(SMALL, PARAMS, threads=1)(x))


def test_workers_keep_off_the_core_that_the_session_is_on(monkeypatch):
    workers = sys.modules["refnet.session.workers"]
    core, moved = 0, []
    monkeypatch.setattr(workers, "_core_asker", lambda: lambda: core)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: moved.append((pid, cores)), raising=False)
    many, x = Session(SMALL, PARAMS, threads=2), random_input(SMALL, 2)
    many.start_workers()
    pid = many._pool._workers[0].pid
    for core in (0, 0, 1):  # noqa: B007 (read by the asker)
        many(x)
    assert moved == [(pid, {1}), (pid, {0})]


def test_fewer_groups_than_processes_leave_some_of_them_without_work():
    """Two images are two groups, and nine of five and four."""
    many = Session(SMALL, PARAMS, threads=4)
    many.start_workers()
    for batch in (2, 9):
        x = random_input(SMALL, batch)
        assert np.array_equal(many(x), Session(SMALL, PARAMS, threads=1)(x))
    assert len(many._pool._workers) == 3


@pytest.mark.parametrize("lost", [False, True], ids=["", "lost"])
def test_worker_processes_return_every_output(lost):
    """Of other shapes each, one of them a batch norm that is folded."""
    graph = replace(SMALL, returns=("head.flatten", "block2.project.bn", "block1.se.gate"))
    one, many = Session(graph, PARAMS, threads=1), Session(graph, PARAMS, threads=2)
    many.start_workers()
    if lost:
        many._pool._workers[0].kill()
    for batch in (5, 8):
        x = random_input(SMALL, batch)
        found, expected = many(x), one(x)
        assert tuple(found) == graph.returns
        for name, y in expected.items():
            assert np.array_equal(found[name], y)


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
@pytest.mark.parametrize("when", ["before", "stopped"])
def test_a_lost_worker_costs_no_result(when):
    session, x = Session(SMALL, PARAMS, threads=2), random_input(SMALL, 6)
    expected = session(x)
    session.start_workers()
    assert np.array_equal(session(x), expected)
    (worker,) = session._pool._workers
    if when == "before":
        worker.kill()
        worker.wait()
    else:  # it takes its share, and dies with it
        os.kill(worker.pid, signal.SIGSTOP)
        threading.Timer(0.2, worker.kill).start()
    assert np.array_equal(session(x), expected)
    assert session._pool._workers == []
    assert np.array_equal(session(x), expected)


def test_workers_end_with_their_session():
    session = Session(SMALL, PARAMS, threads=2)
    session.start_workers()
    (worker,) = session._pool._workers
    del session
    assert worker.wait(timeout=10) == 0


def test_workers_are_started_once_batches_take_long(monkeypatch):
    session = Session(SMALL, PARAMS, threads=2)
    x = random_input(SMALL, 2)
    session(x)
    assert session._pool is None
    session._spent = 2.0
    session(x)
    assert len(session._pool._workers) == 1


def test_workers_that_are_there_are_not_started_again():
    session, worker = working()
    session._spent = 2.0
    session(random_input(SMALL, 2))
    session.start_workers()
    assert session._pool._workers == [worker]


def test_time_spent_on_batches_counts_and_that_on_single_images_does_not(monkeypatch):
    monkeypatch.setattr("refnet.session._PATIENCE", 0.0)
    session = Session(SMALL, PARAMS, threads=2)
    for _ in range(2):
        session(random_input(SMALL, 1))
    session(random_input(SMALL, 2))
    assert session._pool is None
    session(random_input(SMALL, 2))
    assert len(session._pool._workers) == 1


def test_a_session_on_one_core_never_has_workers(monkeypatch):
    monkeypatch.setattr("refnet.session._PATIENCE", 0.0)
    session = Session(SMALL, PARAMS, threads=1)
    session.start_workers()
    for _ in range(3):
        session(random_input(SMALL, 2))
    assert session._pool is None


def working() -> tuple[Session, subprocess.Popen]:
    """A session, and its only worker."""
    session = Session(SMALL, PARAMS, threads=2)
    session.start_workers()
    (worker,) = session._pool._workers
    return session, worker


def test_workers_end_when_they_are_dismissed():
    session, worker = working()
    session.stop_workers()
    assert worker.returncode == 0
    assert len(session(random_input(SMALL, 2))) == 2


def test_memory_is_shared_once_for_batches_of_one_size_and_has_no_name(monkeypatch):
    session, _ = working()
    made = []
    monkeypatch.setattr(
        tempfile, "mkstemp", lambda *args, real=tempfile.mkstemp, **keys: made.append(real(*args, **keys)) or made[-1]
    )
    for count in (4, 4, 3):
        session(random_input(SMALL, count))
    ((_, path),) = made
    assert not os.path.exists(path)


def test_an_interrupt_at_the_keyboard_does_not_reach_the_workers():
    _, worker = working()
    assert os.getpgid(worker.pid) != os.getpgid(0)


def test_one_session_at_a_time_has_workers():
    first, worker = working()
    second, _ = working()
    assert worker.returncode == 0
    assert first._pool is None
    assert not first._lock.locked()
    x = random_input(SMALL, 4)
    assert np.array_equal(first(x), second(x))
    assert first._patience > second._patience


def test_workers_that_are_at_work_are_not_taken_away():
    first, worker = working()
    second = Session(SMALL, PARAMS, threads=2)
    with first._lock:
        second.start_workers()
    assert second._pool is None
    assert first._pool._workers == [worker]


def test_an_answer_that_an_interrupt_left_unheard_is_not_taken_for_the_next(monkeypatch):
    (session, worker), x = working(), random_input(SMALL, 6)
    expected, turned = session(x), session(x[::-1])

    def interrupted(x, y, **_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(session, "_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session(x)
    assert worker.poll() is not None
    session.start_workers()
    assert np.array_equal(session(x[::-1]), turned)
    assert np.array_equal(session(x), expected)


def test_where_a_pipe_is_closed_the_batch_is_run_here():
    (session, worker), x = working(), random_input(SMALL, 6)
    expected = session(x)
    worker.stdin.close()
    assert np.array_equal(session(x), expected)
    assert session._pool._workers == []


def test_where_no_memory_can_be_shared_the_batch_is_run_here():
    (session, worker), x = working(), random_input(SMALL, 6)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # as on a disk that is full
    try:
        y = session(x)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert np.array_equal(y, Session(SMALL, PARAMS, threads=1)(x))
    assert worker.returncode == 0
    assert session._pool._workers == []


@pytest.mark.parametrize(("name", "value"), [("executable", ""), ("executable", "/nowhere/python"), ("frozen", True)])
def test_where_no_worker_can_be_started_the_batch_is_run_here(monkeypatch, name, value):
    session, x = Session(SMALL, PARAMS, threads=2), random_input(SMALL, 4)
    expected = session(x)
    monkeypatch.setattr(sys, name, value, raising=False)
    session.start_workers()
    assert session._pool._workers == []
    assert np.array_equal(session(x), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_runs_its_batches_itself_and_holds_no_worker_back():
    (session, worker), x = working(), random_input(SMALL, 6)
    expected = session(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of other tests' threads
        child = os.fork()
    if not child:
        os._exit(0 if np.array_equal(session(x), expected) and not time.sleep(60) else 1)
    try:
        assert np.array_equal(session(x), expected)
        session.stop_workers()  # although the child has the pipes, too, for longer than is waited
        assert worker.returncode == -signal.SIGKILL
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


SCRIPT = """
import numpy as np
from refnet import Network, load
from refnet.files.digits import digits
net, x = load().on(2), digits().inputs()[:8]
net.session.start_workers()
assert len(net.session._pool._workers) == 1
assert np.array_equal(net(x), net.on(1)(x))
"""


def test_a_script_from_stdin_leaves_nothing_behind_and_runs_nothing_from_its_folder(tmp_path):
    (tmp_path / "pickle.py").write_text("open('executed', 'w')")
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    command, environment = [sys.executable, "-P", "-"], {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, input=SCRIPT, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "executed").exists()


LOUD = """
from refnet.session import Session, worker
in_groups = Session.in_groups
Session.in_groups = lambda session, x, size: print("+" * 99, flush=True) or in_groups(session, x, size)
worker.serve_session()
"""


def test_what_a_worker_prints_is_no_answer(tmp_path):
    """It goes where errors go; an answer is one byte for each request."""
    np.zeros(2, [("x", "<f4", (3, 40, 56)), ("y0", "<f4", (4,))]).tofile(tmp_path / "shared")
    dtype = np.dtype([("x", "<f4", (3, 40, 56)), ("y0", "<f4", (4,))])
    network = fold_graph(SMALL), Weights(folded_arrays(SMALL, PARAMS), large=True), ()
    asked = b"".join(map(pickle.dumps, [network, (str(tmp_path / "shared"), dtype, 2), (0, 2, 1)]))
    done = subprocess.run([sys.executable, "-c", LOUD], input=asked, env=child.environment(), capture_output=True)
    assert (done.returncode, done.stdout, done.stderr.decode().strip()) == (0, b"+++", "+" * 99)


@pytest.mark.skipif(os.name != "posix", reason="stops a process")
def test_a_stopped_worker_is_ended_in_time_and_its_share_is_run_here(monkeypatch):
    monkeypatch.setattr("refnet.session.workers._SHARE", 0.5)
    session, x = Session(SMALL, PARAMS, threads=2), random_input(SMALL, 6)
    session.start_workers()
    expected = session(x)
    (worker,) = session._pool._workers
    os.kill(worker.pid, signal.SIGSTOP)
    assert np.array_equal(session(x), expected)
    assert session._pool._workers == []
    assert worker.wait(timeout=10) == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_process_forked_while_another_thread_is_inside_a_call_runs():
    session, x = Session(SMALL, PARAMS, threads=1), random_input(SMALL, 1)
    expected = session(x)
    session._lock.acquire()  # as a thread that the child does not have
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child_process = os.fork()
    if not child_process:
        signal.alarm(20)
        os._exit(0 if np.array_equal(session(x), expected) else 1)
    session._lock.release()
    assert os.waitpid(child_process, 0)[1] == 0
