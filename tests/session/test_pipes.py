"""How a session and a worker wait for each other: without a pause at first, then asleep."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time

import pytest

from refnet.session.pipes import eagerness, has_come

pytestmark = pytest.mark.skipif(os.name == "nt", reason="its pipes cannot be waited for")


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):  # of one that is closed
            os.close(end)


@pytest.fixture
def looks(pipe, monkeypatch):
    """The patience of every look at the pipe."""
    seen, real = [], select.select

    def look(*args):
        if args[0] == [pipe[0]]:
            seen.append(args[3])
        return real(*args)

    monkeypatch.setattr(select, "select", look)
    return seen


def test_what_is_there_is_seen_at_the_first_look(pipe, looks):
    os.write(pipe[1], b"+")
    assert has_come(pipe[0], 5.0, 5.0)
    assert looks == [0]


def test_nothing_is_looked_for_without_a_pause_and_then_asleep(pipe, looks):
    began = time.monotonic()
    assert not has_come(pipe[0], 0.01, 0.5)
    assert time.monotonic() - began >= 0.51
    assert looks[-1] == 0.01
    assert len(looks) > 2
    assert set(looks[:-1]) == {0}


def test_what_comes_soon_is_seen_without_sleep(pipe, looks):
    threading.Timer(0.05, os.write, (pipe[1], b"+")).start()
    assert has_come(pipe[0], None, 60.0)
    assert set(looks) == {0}


def test_who_is_not_eager_sleeps_at_once(pipe, looks):
    assert not has_come(pipe[0], 0.0)
    assert looks == [0.0]


def test_the_end_of_a_pipe_comes_too(pipe):
    os.close(pipe[1])
    assert has_come(pipe[0], None, 60.0)


def test_little_work_is_followed_by_little_waiting_without_a_pause():
    """A fifth of it, and never more than a fiftieth of a second."""
    assert eagerness(0.0) == 0
    assert eagerness(0.01) == pytest.approx(0.002)
    assert eagerness(3600.0) == 0.02
