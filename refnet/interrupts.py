"""Signals that end a command: what is half written is taken away first, and the status says what is there.

Interrupt, termination and hang-up end it with 128 + their number. Once one is obeyed, others do not stop the taking
away. Once an output has taken its place, none is obeyed any more: what is left is to say so, with the command's status.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

__all__ = ["ending_in_order", "held", "on_the_way", "taking_place"]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class _State:
    """What may be done about a signal now."""

    caught: tuple[int, ...] = ()
    held = 0  # outputs that are taking their place
    waiting = 0  # the signal that came meanwhile
    over = False  # an output is there
    aside = 0  # blocks whose outputs are not the command's answer


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Have signals that end the process raise inside the block: KeyboardInterrupt, or SystemExit with the status.

    Those that the caller ignores stay so.
    """
    here = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in _NAMES if here and hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    _State.caught = tuple(number for number, how in before.items() if how not in (signal.SIG_IGN, None))
    _State.held, _State.waiting, _State.over, _State.aside = 0, 0, False, 0
    unraisable = sys.unraisablehook
    for number in _State.caught:
        signal.signal(number, _obey)
    if _State.caught:
        sys.unraisablehook = _raised_in_vain
    try:
        yield
    finally:
        sys.unraisablehook = unraisable
        for number in _State.caught:
            signal.signal(number, before[number])
        _State.caught = ()


@contextmanager
def held() -> Iterator[None]:
    """A block that ends before a signal is obeyed."""
    _State.held += 1
    try:
        yield
    finally:
        _State.held -= 1
        if _State.waiting and not _State.held and not _State.over:
            _leave(_State.waiting)


@contextmanager
def taking_place() -> Iterator[None]:
    """A block in which an output takes its place: no signal parts it from what is said of it."""
    with held():
        yield
        _State.over = _State.over or not _State.aside


@contextmanager
def on_the_way() -> Iterator[None]:
    """A block whose outputs are not the command's answer: signals are obeyed between them and after it, as before."""
    _State.aside += 1
    try:
        yield
    finally:
        _State.aside -= 1


def _obey(number: int, _: object) -> None:
    if _State.held:
        _State.waiting = number
    elif not _State.over:
        _leave(number)


def _leave(number: int) -> NoReturn:
    for each in _State.caught:
        signal.signal(each, signal.SIG_IGN)
    if number == signal.SIGINT:  # what searches gives what it has
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _raised_in_vain(unraisable: Any) -> None:
    """An interrupt inside a destructor ends nothing, and Python prints a page about it: it is raised again."""
    match unraisable.exc_value:
        case KeyboardInterrupt():
            number = int(signal.SIGINT)
        case SystemExit(code=int() as code):
            number = code - 128
        case _:
            sys.__unraisablehook__(unraisable)
            return
    for each in _State.caught:
        signal.signal(each, _obey)
    # From another thread, and so not before this hook, in which nothing may be raised, has come to its end.
    threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
