"""One image divided between a session and a worker process: the same bits, whatever becomes of the worker."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
import warnings

import numpy as np
import pytest

from refnet import build, child, random_input, random_params
from refnet.session import Session
from refnet.session.pace import Pace

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a worker has half of an image on POSIX alone")

SMALL = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, 56), classes=4)
PARAMS = random_params(SMALL)
X = random_input(SMALL, 1)


class Eager(Pace):
    """Which takes a worker whatever was measured."""

    together = wants_worker = property(lambda self: True, lambda self, value: None)
    to_try, patience = False, 30.0

    def ran_together(self, seconds, *, ran):
        pass


@pytest.fixture
def paired():
    """A session that runs its images with a worker, and the worker."""
    session = Session(SMALL, PARAMS, threads=2)
    session._pace = Eager()
    session.start_workers()
    yield session, session._pool._workers[0]
    session.stop_workers()


@pytest.fixture
def files(monkeypatch):
    """The files that are made as shared memory."""
    made, real = [], tempfile.mkstemp

    def mkstemp(*args, **keys):
        handle, path = real(*args, **keys)
        made.append(path)
        return handle, path

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    return made


def runs(session, monkeypatch) -> list[str]:
    """Who runs images from now on."""
    seen, alone, paired = [], session._run_alone, session._run_paired

    def run_alone(*args):
        seen.append("alone")
        alone(*args)

    def run_paired(*args):
        seconds, ran = paired(*args)
        seen.append("paired" if ran else "lost")
        return seconds, ran

    monkeypatch.setattr(session, "_run_alone", run_alone)
    monkeypatch.setattr(session, "_run_paired", run_paired)
    return seen


def test_an_image_has_the_same_bits_alone_and_with_a_worker_in_memory_without_a_name(paired, monkeypatch, files):
    session, _ = paired
    images, seen = [X, 2 * X, -X], runs(session, monkeypatch)
    expected = [Session(SMALL, PARAMS, threads=2)(x) for x in images]
    for _ in range(20):
        for x, y in zip(images, expected, strict=True):
            assert np.array_equal(session(x), y)
    assert seen == ["paired"] * 60
    assert [os.path.exists(path) for path in files] == [False]


def test_a_batch_between_two_images_is_run_as_without_them(paired):
    session, _ = paired
    x = random_input(SMALL, 5)
    expected = Session(SMALL, PARAMS, threads=1)(x)
    alone = session(X)
    assert np.array_equal(session(x), expected)
    assert np.array_equal(session(X), alone)
    assert len(session._pool._workers) == 1


def test_an_image_of_a_session_that_keeps_tensors_has_the_same_bits_beside_batches(monkeypatch):
    """The worker has one copy of the weights for both."""
    keep = [f"block{number}.depthwise.act" for number in range(4, 12, 2)]
    session, x = Session(SMALL, PARAMS, threads=2, keep=keep), random_input(SMALL, 6)
    alone, together = session(X), session(x)
    session._pace = Eager()
    session.start_workers()
    seen = runs(session, monkeypatch)
    for _ in range(2):
        assert np.array_equal(session(X), alone)
        assert np.array_equal(session(x), together)
    assert seen == ["paired"] * 2
    assert len(session._pool._workers) == 1
    session.stop_workers()


def test_a_worker_that_is_held_up_in_an_image_runs_its_share_of_the_batch_behind_it(paired, monkeypatch):
    """It reads both requests at once."""
    session, worker = paired
    x = random_input(SMALL, 6)
    alone, together, seen = session(X), session(x), runs(session, monkeypatch)
    monkeypatch.setattr(Eager, "patience", 0.1)
    os.kill(worker.pid, signal.SIGSTOP)
    threading.Timer(1.0, os.kill, (worker.pid, signal.SIGCONT)).start()
    began = time.monotonic()
    assert np.array_equal(session(X), alone)
    assert seen == ["lost", "alone"]
    assert np.array_equal(session(x), together)
    assert time.monotonic() - began < 20
    assert session._pool._workers == [worker]


def test_an_interrupt_while_a_worker_is_told_of_its_half_ends_it(monkeypatch):
    """Its answer would be taken for that to the next batch."""
    session, x = Session(SMALL, PARAMS, threads=2), random_input(SMALL, 6)
    session._pace = Eager()
    alone, together = Session(SMALL, PARAMS, threads=2)(X), session(x)
    session.start_workers()

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("refnet.session.workers.has_done", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session(X)
    assert session._pool is None
    session.start_workers()
    assert np.array_equal(session(x), together)
    assert np.array_equal(session(X), alone)
    session.stop_workers()


def test_kept_tensors_of_one_image_have_the_bits_of_what_is_returned(paired):
    session, _ = paired
    assert np.array_equal(session.tensors(X)["head.flatten"], session(X))


@pytest.mark.parametrize("when", ["between", "within"])
def test_a_lost_worker_costs_no_image(paired, when, monkeypatch):
    session, worker = paired
    expected, seen = session(X), runs(session, monkeypatch)
    if when == "between":
        worker.kill()
        worker.wait()
    else:
        monkeypatch.setattr(Eager, "patience", 0.3)
        os.kill(worker.pid, signal.SIGSTOP)
        threading.Timer(0.1, worker.kill).start()
    for _ in range(3):
        assert np.array_equal(session(X), expected)
    assert seen[:2] == ["lost", "alone"]
    assert "paired" not in seen


def test_a_worker_that_is_held_up_costs_an_image_its_patience_and_joins_again(paired, monkeypatch):
    session, worker = paired
    expected, seen = session(X), runs(session, monkeypatch)
    monkeypatch.setattr(Eager, "patience", 0.2)
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert np.array_equal(session(X), expected)
        assert time.monotonic() - began < 20
        assert np.array_equal(session(-X), Session(SMALL, PARAMS, threads=2)(-X))
        assert seen == ["lost", "alone"] * 2
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    monkeypatch.setattr(Eager, "patience", 30.0)
    until = time.monotonic() + 30
    while seen[-1] != "paired" and time.monotonic() < until:
        assert np.array_equal(session(X), expected)
    assert seen[-1] == "paired"


def test_an_interrupt_within_an_image_leaves_the_next_one_right(paired, monkeypatch):
    session, _ = paired
    expected = session(X)
    program, real = session._pair._program, list(session._pair._program.early)

    def interrupt():
        raise KeyboardInterrupt

    program.early.insert(len(real) // 2, (interrupt, ()))
    with pytest.raises(KeyboardInterrupt):
        session(X)
    program.early[:] = real
    seen = runs(session, monkeypatch)
    until = time.monotonic() + 30
    while "paired" not in seen and time.monotonic() < until:
        assert np.array_equal(session(X), expected)
    assert seen[-1] == "paired"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_runs_its_images_itself(paired, monkeypatch):
    session, _ = paired
    expected = session(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of other tests' threads
        process = os.fork()
    if not process:
        signal.alarm(20)
        seen = runs(session, monkeypatch)
        os._exit(0 if np.array_equal(session(X), expected) and seen == ["lost", "alone"] else 1)
    seen = runs(session, monkeypatch)
    assert os.waitpid(process, 0)[1] == 0
    assert np.array_equal(session(X), expected)
    assert seen == ["paired"]


def test_where_no_memory_can_be_shared_an_image_is_run_here(monkeypatch, files):
    session = Session(SMALL, PARAMS, threads=2)
    expected, seen = session(X), runs(session, monkeypatch)
    session._pace = Eager()
    session.start_workers()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # as on a disk that is full
    try:
        assert np.array_equal(session(X), expected)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert seen == ["lost", "alone"]
    assert [os.path.exists(path) for path in files] == [False] * 2


def test_a_worker_is_started_meanwhile_after_a_while_of_images(monkeypatch):
    session = Session(SMALL, PARAMS, threads=2)
    session._pace = Eager()
    expected, seen = session(X), runs(session, monkeypatch)
    assert session._pool is None
    until = time.monotonic() + 60
    while "paired" not in seen and time.monotonic() < until:
        assert np.array_equal(session(X), expected)
    assert seen[0] == "alone"
    assert len(session._pool._workers) == 1


@pytest.mark.parametrize(
    ("threads", "variables"), [(1, {}), (None, {"OPENBLAS_NUM_THREADS": "1"})], ids=["one core", "the user's threads"]
)
def test_on_one_core_and_where_the_user_has_set_threads_no_image_is_divided(threads, variables, monkeypatch):
    monkeypatch.setattr(child, "_ours", set())
    for name in child.ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    session = Session(SMALL, PARAMS, threads=threads)
    session._pace = Eager()
    for _ in range(3):
        session(X)
    assert session._pool is session._start is None


def test_where_cores_do_not_see_each_others_stores_in_order_no_image_is_divided(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    session = Session(SMALL, PARAMS, threads=2)
    session._pace = Eager()
    assert np.array_equal(session(X), Session(SMALL, PARAMS, threads=1)(X))
    assert session._start is None


SCRIPT = """
import sys
import numpy as np
from refnet import load, Network
from refnet.files.digits import digits
from refnet.session.pace import Pace
Pace.together = Pace.wants_worker = property(lambda self: True, lambda self, value: None)
Pace.patience, Pace.ran_together = 30.0, lambda self, seconds, ran: None
net, x = load().on(2), digits().inputs()[:1]
end = sys.argv[1]
if end != "starting":
    net.session.start_workers()
expected = net(x)
for _ in range(5):
    assert np.array_equal(net(x), expected)
if end == "killed":
    print(flush=True)
    while True:
        net(x)
"""


def run_script(end):
    command = child.python("-c", SCRIPT, end)
    return subprocess.Popen(command, env=child.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("end", ["ready", "starting"])
def test_a_script_that_ends_while_it_has_a_worker_or_starts_one_ends_at_once(end):
    process = run_script(end)
    assert process.communicate(timeout=60) == (b"", b"")  # which a worker that stayed would hold open
    assert process.returncode == 0


def test_of_a_process_that_is_killed_within_an_image_no_worker_is_left():
    process = run_script("killed")
    process.stdout.readline()
    process.kill()
    assert process.communicate(timeout=30) == (b"", b"")
