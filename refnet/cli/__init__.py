"""The command line: one module for each command, imported when its command runs, or when all are listed.

Exit status: 0 it holds, 1 it does not, 2 the request or a file is bad: one line says which and what to do.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from refnet import __version__
from refnet.errors import RefnetError
from refnet.interrupts import ending_in_order
from refnet.text import plain, plain_lines

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
    "diff",
    "scorecard",
    "evaluate",
    "bench",
    "latency",
    "search",
    "netadapt",
    "check",
    "doctor",
    "golden",
    "quantise",
    "exercise",
    "explain",
    "draw",
    "show",
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {plain(message)}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None, *, spent: float = 0.0) -> int:
    """Run a command; return its exit status.

    Parameters
    ----------
    argv : the words behind the command's name, by default those of the process
    spent : seconds that have passed since the user called it
    """
    since = time.monotonic() - spent
    _open_streams()
    with warnings.catch_warnings(), ending_in_order():
        warnings.simplefilter("ignore")  # what is wrong with numbers or headers a verdict or an error tells
        logging.disable()  # Dask's and asyncio's pages about a lost worker
        try:
            return _answered(list(sys.argv[1:] if argv is None else argv), since)
        finally:
            logging.disable(logging.NOTSET)


def _open_streams() -> None:
    """Streams that the caller has closed go nowhere; a name that a terminal has no letters for is written out."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # or a file of ours would be taken for one of them
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _answered(argv: list[str], since: float) -> int:
    """Run a command; say its errors in a line; return its exit status."""
    try:
        status = _main(argv, since)
        sys.stdout.flush()
        return status
    except RefnetError as error:
        why = str(error)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        why = f"{error.filename or 'file system'}: {error.strerror or error}"
    except MemoryError:
        why = "out of memory: take a smaller size or batch"
    except KeyboardInterrupt:
        return 130
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        # A file that no check foresaw. One line all the same; REFNET_TRACEBACK=1 shows where.
        if os.environ.get("REFNET_TRACEBACK"):
            raise
        why = f"cannot go on with this input: {type(error).__name__}: {error}"
    # Outside of the handlers: what the error held in memory is free again.
    print(f"refnet: {plain(why)}", file=sys.stderr)
    return 2


def _main(argv: list[str], since: float) -> int:
    if argv[:1] == ["--version"]:
        print(plain_lines(_versions()))
        return 0
    parser = _Parser(prog="refnet", description="The pure NumPy golden reference of the MobileNet family.")
    parser.add_argument(
        "--version", action="store_true", help="print versions, of what it computes with too, and leave"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    first = next((word for word in argv if not word.startswith("-")), None)
    commands = {name: _command(name) for name in ([first] if first in _COMMANDS else _COMMANDS)}
    for name, command in commands.items():
        line = command.line
        command.declare(subparsers.add_parser(name, help=line, description=f"{line[0].upper()}{line[1:]}."))
    options, left = parser.parse_known_args(argv, argparse.Namespace(since=since))
    if left:
        parser.error(_left_over(options, left))
    if options.command is None:
        parser.print_help()
        return 2
    return commands[options.command].run(options)


def _left_over(options: argparse.Namespace, words: list[str]) -> str:
    """What is wrong with words that no command takes; of a second file, which option takes it."""
    option = getattr(options, "second", "")
    if len(words) == 1 and not words[0].startswith("-") and option and getattr(options, option) is None:
        line = shlex.join(["refnet", options.command, options.file, f"--{option}", *words])
        return f"the second file has an option of its own: {line}"
    return f"unrecognized arguments: {' '.join(words)}"


def _versions() -> str:
    """Of refnet, and of what it computes with: what a report of a bug should say."""
    from refnet.machine import about_this_machine, package_versions

    packages = {name: number for name, number in package_versions().items() if number}
    facts = {"refnet": __version__, **about_this_machine(), **packages}
    return "\n".join(f"{name} {value}" for name, value in facts.items())


def _command(name: str) -> Command:
    command: Command = importlib.import_module(f"refnet.cli.{name}").COMMAND
    return command
