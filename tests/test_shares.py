"""Work over some processes: the same results as over one, an error is one, and no process is left."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
from sharing import share_of

from refnet import child, shares
from refnet.shares import at_once, in_shares

HERE = os.path.dirname(__file__)


@pytest.fixture(autouse=True)
def owner(monkeypatch):
    monkeypatch.setenv("REFNET_TEST_OWNER", str(os.getpid()))


@pytest.fixture
def started(monkeypatch):
    """The processes that are started."""
    processes, real = [], subprocess.Popen

    def popen(*args, **keys):
        processes.append(real(*args, **keys))
        return processes[-1]

    monkeypatch.setattr(shares.subprocess, "Popen", popen)
    return processes


def test_each_share_is_worked_on_in_a_process_of_its_own(started):
    given = np.arange(100_000)  # more than a pipe holds
    rows = in_shares(share_of, given, 2)
    assert [row[:2] for row in rows] == [(0, 2), (1, 2)]
    assert [row[2] for row in rows] == [os.getpid(), started[0].pid]
    assert np.array_equal(rows[1][3], given)
    assert started[0].returncode is not None


def test_one_share_takes_no_other_process(started):
    assert in_shares(share_of, None, 1) == [(0, 1, os.getpid(), None)]
    assert started == []


def test_a_process_that_is_done_takes_the_next_share_and_answers_are_in_order(started, tmp_path):
    """The first process waits in its first share for all others, and so has no other."""
    rows = in_shares(share_of, tmp_path, 5, 2)
    assert [row[:2] for row in rows] == [(share, 5) for share in range(5)]
    assert [row[2] for row in rows] == [os.getpid(), *[started[0].pid] * 4]


def test_progress_ends_with_all_shares_whoever_works_on_the_last(tmp_path):
    """This process is done with its share before it hears of the other's last one."""
    told = []
    in_shares(share_of, tmp_path, 5, 2, lambda *counts: told.append(counts))
    assert told[-1] == (5, 5)
    assert told.count((5, 5)) == 1


def test_no_more_processes_are_started_than_there_are_shares(started):
    assert len(in_shares(share_of, None, 2, 9)) == 2
    assert len(started) == 1


def test_an_error_elsewhere_is_raised_here(started):
    for count in (2, 7):
        with pytest.raises(ValueError, match="share 1 fails"):
            in_shares(share_of, "fails", count, 2)
        assert started.pop().returncode is not None


def test_what_cannot_be_sent_is_an_error():
    with pytest.raises((AttributeError, pickle.PicklingError), match="pickle"):
        in_shares(share_of, "cannot be sent", 2)


def test_an_interrupt_ends_the_others_at_once(started):
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_shares(share_of, "interrupted", 2)
    assert started[0].returncode == -signal.SIGKILL
    assert time.monotonic() - began < 30


def test_the_share_of_a_lost_process_is_worked_on_here(started):
    rows = in_shares(share_of, "dies", 2)
    assert [row[2] for row in rows] == [os.getpid()] * 2
    assert started[0].returncode == 3


def test_where_no_process_can_be_started_all_is_worked_on_here(monkeypatch):
    monkeypatch.setattr(child, "is_startable", lambda: False)
    assert [row[:3] for row in in_shares(share_of, None, 2)] == [(share, 2, os.getpid()) for share in (0, 1)]
    monkeypatch.undo()

    def refused(*args, **keys):
        raise OSError

    monkeypatch.setattr(shares.subprocess, "Popen", refused)
    assert [row[:3] for row in in_shares(share_of, None, 2)] == [(share, 2, os.getpid()) for share in (0, 1)]


def test_a_process_ends_when_the_one_that_asked_is_gone():
    """However that ended: its end of the pipe closes."""
    code = "from sharing import share_of; from refnet.shares import in_shares; in_shares(share_of, 'waits', 2)"
    asking = subprocess.Popen(
        child.python("-c", f"import sys; sys.path.insert(0, {HERE!r}); {code}"),
        env=child.environment(),
        stderr=subprocess.PIPE,
    )
    time.sleep(0.1)
    children = f"/proc/{asking.pid}/task/{asking.pid}/children"
    if not os.path.exists(children):
        asking.kill()
        asking.wait()
        pytest.skip("this system does not tell a process's children")
    until, found = time.monotonic() + 60, []
    while not found and time.monotonic() < until and asking.poll() is None:
        with open(children) as file:
            found = [int(pid) for pid in file.read().split()]
        time.sleep(0.05)
    asking.kill()
    asking.wait()
    asking.stderr.close()
    while time.monotonic() < until and any(alive(pid) for pid in found):
        time.sleep(0.1)
    assert found
    assert not any(alive(pid) for pid in found)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_tasks_at_once_give_what_each_returns_in_order(monkeypatch):
    monkeypatch.setattr(shares, "cores", lambda: 3)
    here = threading.get_ident()
    tasks = [lambda index=index: (time.sleep(0.01), index, threading.get_ident()) for index in range(9)]
    made = at_once(tasks)
    assert [row[1] for row in made] == list(range(9))
    assert here in {row[2] for row in made}
    assert 1 < len({row[2] for row in made}) <= 3


def test_of_tasks_that_raise_the_error_of_the_first_is_raised_whichever_was_sooner(monkeypatch):
    monkeypatch.setattr(shares, "cores", lambda: 2)

    def slow():
        time.sleep(0.05)
        raise ValueError("first")

    def quick():
        raise ValueError("last")

    with pytest.raises(ValueError, match="first"):
        at_once([lambda: 1, slow, quick])
    with pytest.raises(ValueError, match="first"):
        at_once([slow, lambda: 1, quick])


def test_tasks_at_once_have_numpys_way_with_errors_of_who_asks(monkeypatch):
    monkeypatch.setattr(shares, "cores", lambda: 2)
    with np.errstate(over="ignore"):
        assert [way["over"] for way in at_once([lambda: (time.sleep(0.01), np.geterr())[1]] * 4)] == ["ignore"] * 4
