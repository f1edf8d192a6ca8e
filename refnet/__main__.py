"""`python -m refnet` and the command `refnet`: an interrupt while modules are imported ends it without a word.

Before NumPy is imported BLAS is told to take one thread.
"""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from refnet.child import age, keep_to_one_thread
from refnet.memory import keep_freed_memory

__all__ = ["command"]


def command() -> NoReturn:
    """Run a command, and leave with its exit status."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    for number in numbers:
        signal.signal(number, _leave)
    keep_to_one_thread()
    keep_freed_memory()
    from refnet.cli import main

    status = 1
    try:
        status = main(spent=age())
    finally:
        for number in numbers:  # its answer is given: what is left is to end
            signal.signal(number, signal.SIG_IGN)
    sys.exit(status)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    os._exit(128 + number)  # there is nothing yet to take away


if __name__ == "__main__":
    command()
