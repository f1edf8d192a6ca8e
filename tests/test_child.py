"""How many threads BLAS takes: one in a command, unless the user's environment says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from refnet import child
from refnet.child import ONE_THREAD, keep_to_one_thread

USER = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(USER))
    monkeypatch.setattr(child, "_ours", set())


def command(*words: str, **variables: str) -> str:
    env = {**child.environment(), **variables}
    return subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, check=True).stdout


def test_a_command_is_told_to_take_one_thread_before_numpy_is_imported():
    code = (
        "import os, runpy, sys; sys.argv = ['refnet', 'models']\n"
        "class Finder:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'numpy':\n"
        "            print('first', os.environ['OPENBLAS_NUM_THREADS'], os.environ['MKL_NUM_THREADS'])\n"
        "sys.meta_path.insert(0, Finder)\n"
        "runpy.run_module('refnet', run_name='__main__')"
    )
    assert command("-c", code).splitlines()[0] == "first 1 1"


def test_threads_that_the_user_asked_for_are_left():
    os.environ["OMP_NUM_THREADS"] = "3"
    keep_to_one_thread()
    assert {name: os.environ.get(name) for name in ONE_THREAD if name in os.environ} == {"OMP_NUM_THREADS": "3"}


def test_other_processes_get_the_environment_of_the_user():
    keep_to_one_thread()
    assert os.environ.items() >= ONE_THREAD.items()
    assert not child.environment().keys() & ONE_THREAD.keys()
    assert child.environment(**ONE_THREAD).items() >= ONE_THREAD.items()


def test_importing_refnet_leaves_the_environment_alone():
    code = "import os; before = dict(os.environ); import refnet.network; print(before == dict(os.environ))"
    assert command("-c", code) == "True\n"


def test_blas_takes_one_thread_in_a_command_and_as_many_as_the_user_says():
    pytest.importorskip("threadpoolctl")
    assert "1 threads" in command("-m", "refnet", "--version")
    if (os.cpu_count() or 1) > 1:
        assert "2 threads" in command("-m", "refnet", "--version", OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="2")
