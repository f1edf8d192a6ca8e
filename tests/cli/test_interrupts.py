"""Signals: at most one is obeyed, outputs take their place undisturbed, and the status says what is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from refnet.interrupts import ending_in_order, held, on_the_way, taking_place

# ruff: noqa: PT012

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")


@pytest.fixture(autouse=True)
def heard() -> None:
    """A suite in the background is born deaf to interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ended(number: int) -> object:
    """What a block ends with that is sent a signal."""
    try:
        with ending_in_order():
            signal.raise_signal(number)
    except KeyboardInterrupt:
        return "interrupt"
    except SystemExit as end:
        return end.code
    return None


def test_each_signal_ends_a_command_with_its_number():
    assert ended(signal.SIGTERM) == 143
    assert ended(signal.SIGHUP) == 129
    assert ended(signal.SIGINT) == "interrupt"


def test_what_the_caller_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert ended(signal.SIGHUP) is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_those_of_the_caller_afterwards():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    ended(signal.SIGTERM)
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_second_signal_does_not_stop_the_taking_away():
    taken = []
    with pytest.raises(SystemExit), ending_in_order():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            taken.append("away")
    assert taken == ["away"]


def test_a_signal_while_an_output_takes_its_place_and_later_ends_nothing():
    with ending_in_order():
        with taking_place():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert ended(signal.SIGTERM) == 143  # of the next command


def test_a_signal_while_an_output_fails_to_take_its_place_ends_the_command():
    with pytest.raises(SystemExit), ending_in_order(), taking_place():
        signal.raise_signal(signal.SIGTERM)
        raise OSError


def test_a_signal_while_a_file_on_the_way_takes_its_place_is_obeyed_then():
    reached = []
    with pytest.raises(SystemExit), ending_in_order(), on_the_way():
        with taking_place():
            signal.raise_signal(signal.SIGTERM)
            reached.append("inside")
        reached.append("behind")
    assert reached == ["inside"]


def test_a_held_signal_is_obeyed_at_the_end_of_the_block():
    reached = []
    with pytest.raises(SystemExit), ending_in_order():
        with held():
            signal.raise_signal(signal.SIGTERM)
            reached.append("inside")
        reached.append("behind")
    assert reached == ["inside"]


def test_an_interrupt_that_a_destructor_swallows_is_raised_again(capfd):
    class Last:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as end, ending_in_order():
        last = Last()
        del last
        time.sleep(5)
    assert end.value.code == 143
    assert not capfd.readouterr().err


def test_an_interrupt_while_modules_are_imported_says_nothing():
    code = "import signal, sys; sys.argv[1:] = ['models']\nfrom refnet import __main__\n"
    code += "import importlib.abc\nclass Finder(importlib.abc.MetaPathFinder):\n"
    code += "    def find_spec(self, name, *_):\n        if name == 'refnet.cli': signal.raise_signal(signal.SIGINT)\n"
    code += "sys.meta_path.insert(0, Finder())\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    done = subprocess.run([sys.executable, "-c", code + "__main__.command()"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
