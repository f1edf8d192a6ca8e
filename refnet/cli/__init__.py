"""The command line: one module for each command, imported when its command runs, or when all are listed.

Exit status: 0 it holds, 1 it does not, 2 the request or a file is bad: one line says which and what to do.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from refnet import __version__
from refnet.errors import RefnetError
from refnet.text import plain

if TYPE_CHECKING:
    from refnet.cli.common import Command

__all__ = ["main"]

# In the order of the help. Each is a module that ends in its COMMAND.
_COMMANDS = (
    "models",
    "summary",
    "run",
    "probe",
    "compare",
    "convert",
    "fetch",
    "verify",
    "scorecard",
    "evaluate",
    "bench",
    "check",
    "golden",
    "quantise",
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    warnings.simplefilter("ignore", RuntimeWarning)  # overflow in a candidate's numbers is for the verdict to tell
    with _leaving_in_order():
        return _answered(list(sys.argv[1:] if argv is None else argv))


@contextmanager
def _leaving_in_order() -> Iterator[None]:
    """Have a signal that ends the process raise SystemExit, so that what is half written is taken away."""

    def leave(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    here = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if here and hasattr(signal, name)]
    caught = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]  # nohup ignores one
    for number in caught:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def _answered(argv: list[str]) -> int:
    """Run a command; say its errors in a line; return its exit status."""
    try:
        status = _main(argv)
        sys.stdout.flush()
        return status
    except RefnetError as error:
        return _refuse(str(error))
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _refuse(f"{error.filename or 'file system'}: {error.strerror or error}")
    except MemoryError:
        return _refuse("out of memory: take a smaller size or batch")
    except KeyboardInterrupt:
        return 130
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        # A file that no check foresaw. One line all the same; REFNET_TRACEBACK=1 shows where.
        if os.environ.get("REFNET_TRACEBACK"):
            raise
        return _refuse(f"cannot go on with this input: {type(error).__name__}: {error}")


def _main(argv: list[str]) -> int:
    if argv[:1] == ["--version"]:
        print(__version__)
        return 0
    parser = _Parser(prog="refnet", description="The pure NumPy golden reference of the MobileNet family.")
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    first = next((word for word in argv if not word.startswith("-")), None)
    commands = {name: _command(name) for name in ([first] if first in _COMMANDS else _COMMANDS)}
    for name, command in commands.items():
        line = command.line
        command.declare(subparsers.add_parser(name, help=line, description=f"{line[0].upper()}{line[1:]}."))
    options = parser.parse_args(argv)
    if options.command is None:
        parser.print_help()
        return 2
    return commands[options.command].run(options)


def _command(name: str) -> Command:
    command: Command = importlib.import_module(f"refnet.cli.{name}").COMMAND
    return command


def _refuse(message: str) -> int:
    print(f"refnet: {plain(message)}", file=sys.stderr)
    return 2
