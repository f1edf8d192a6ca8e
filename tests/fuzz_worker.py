"""The process that reads mutants, one after another, with limits on its memory and time, and what it must not do.

What a mutant may come to is one of `FINE`; whatever else happens is a finding. A mutant that is read goes through
commands of the command line, too, where the container has such: whoever has a file types these.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from fuzz_lines import LONGEST, said_by
from fuzz_vendors import VENDORS, no_vendor

from refnet.errors import FormatError, RequestError

__all__ = ["COMMANDS", "FINE", "Worker", "within"]

SECONDS = 5  # of processor time, of the reader and the processes that it starts: a busy machine is no finding
PATIENCE = 60  # seconds on the clock: who waits uses no processor
MEMORY = 200 << 20  # bytes, and four times the file
EVERY = 8  # of so many files that are read, one is verified and written as ONNX, and one summed up
FILE, MADE = "FILE", "made.onnx"  # in a command: the mutant, and what is written beside it
FINE = ("refused", "as the vendor reads it", "the vendor refuses it", "the vendor's reader crashes")

Made = TypeVar("Made")
Arrays = dict[str, np.ndarray]

MODULES = {"keras": "hdf5", "nested": "hdf5", "checkpoint": "bundle"}
COMMANDS = ("packs", "candidates", "files")
# What is read by a module of the fuzzer: by commands, or as a network too.
OWN = {name: f"fuzz_{name}" for name in ("integers", "planted")}
OWN |= {"modules": "fuzz_pickles", **dict.fromkeys(COMMANDS, "fuzz_commands")}
PROCESSES = ("hdf5", "keras", "nested")  # whose readers start one of their own


# ----------------------------------------------------------------------------------------------------------- in a child


def _limit_memory(size: int) -> None:
    """Allow what the process has now, and four times the file and 200 MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 4 * size + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _size(path: Path) -> int:
    """Bytes of a file; of one in a folder of its own, of the whole folder."""
    folder = next((each for each in (path, *path.parents) if each.name == "mutant"), None)
    folder = None if folder is not None and folder.is_file() else folder
    files = [path] if folder is None else [each for each in folder.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files if each.exists())


class _Watch:
    """Remembers what a reader should not do: open files elsewhere, change them, start programs, reach for the network.

    Also whether it left files, or wrote to stdout or stderr, as C libraries may.
    """

    CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.utime")
    STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn")
    RUNS = ("socket.", "ctypes.", "pickle.find_class", "webbrowser.open")  # no marshal: modules come by it, too

    def __init__(self, folder: str, may_start: bool) -> None:
        self.folder, self.may_start, self.seen = os.path.realpath(folder), may_start, ""
        # What Python itself may need later, and this checkout.
        checkout = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
        self.readable = (self.folder, sys.prefix, sys.base_prefix, checkout, "/proc", "/dev/null")
        self.on = False
        self.words = os.memfd_create("words")
        for number in (1, 2):
            os.dup2(self.words, number)
        sys.addaudithook(self)

    def begin(self) -> None:
        os.ftruncate(self.words, 0)
        self.before = self._files()
        self.on, self.seen = True, ""

    def end(self) -> str:
        """What was seen since the beginning, if it is a finding."""
        self.on = False
        if not self.seen and os.fstat(self.words).st_size:
            self.seen = f"words on stdout or stderr: {os.pread(self.words, 80, 0)!r}"
        if not self.seen and self._files() != self.before:
            self.seen = "files are left behind"
        return self.seen

    def _files(self) -> list[tuple[str, float]]:
        found = []
        for where, folders, names in os.walk(self.folder):
            for name in (*folders, *names):
                with contextlib.suppress(OSError):
                    about = os.lstat(os.path.join(where, name))
                    found.append((os.path.join(where, name), 0 if name in folders else about.st_mtime_ns))
        return sorted(found)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on or self.seen:
            return
        if event == "open" and isinstance(args[0], str | bytes):
            path = os.path.realpath(os.fsdecode(args[0]))
            writes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not path.startswith((self.folder, "/dev/null") if writes else self.readable):
                self.seen = f"opened {path}"
        elif event in self.CHANGES and isinstance(args[0], str | bytes):
            path = os.fsdecode(args[0])
            if os.path.isabs(path) and not os.path.realpath(os.path.dirname(path)).startswith(self.folder):
                self.seen = f"{event} {path}"
        elif event == "subprocess.Popen":
            if not (self.may_start and args[0] == sys.executable):
                self.seen = f"started {args[0]}"
        elif (
            event.split(".")[0] in ("socket", "ctypes")
            or event in self.RUNS
            or (event in self.STARTS and not self.may_start)
        ):
            self.seen = event


def _work(container: str, folder: str, pipe: Any) -> None:
    """Read one file after another; say what came of it."""
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")  # as the command line does
    room = f"refnet.files.containers.{MODULES.get(container, container)}"
    reader = importlib.import_module(OWN.get(container, room))
    vendor = VENDORS.get(container, no_vendor)
    importers = importlib.import_module("refnet.files.importers")
    tempfile.tempdir = folder  # a reader may make files of its own
    watch = _Watch(folder, may_start=container in PROCESSES)
    lines = _through_commands(container)
    for name in pipe.recv():  # the good files: what is imported when it is first needed
        good = Path(folder, name)
        _read(reader, importers, good)
        vendor(good)
    for _ in range(EVERY):
        _commanded(next(lines), good)
    if container == "nested":
        _remember_arrays(reader)
    pipe.send("ready")
    path = Path(folder, pipe.recv())
    while True:
        _limit_memory(_size(path))
        watch.begin()
        said, arrays = _outcome(reader, importers, path)
        if arrays is not None:
            said = _commanded(next(lines), path) or said
        seen = watch.end()
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        pipe.send(seen or said)
        if arrays is not None and (seen or said) == "read":
            pipe.send(_compared(arrays, vendor, path))
        path = Path(folder, pipe.recv())


def _through_commands(container: str) -> Iterator[list[list[str]]]:
    """For one file that was read after another: the commands, the file to be put in; they take ten times as long.

    `packs` and the like go through commands anyhow.
    """
    rows: list[list[list[str]]] = [[] for _ in range(EVERY)]
    if container not in COMMANDS:
        rows[0], rows[EVERY // 2] = [["verify", FILE], ["convert", FILE, MADE]], [["summary", FILE]]
    yield from itertools.cycle(rows)


def _read(reader: Any, importers: Any, path: Path) -> Arrays:
    from refnet.files.containers import Contents

    held = reader.read(path)
    if not isinstance(held, Contents):
        return held  # type: ignore[no-any-return]
    if held.structure is not None:
        importers.import_graph(held, _open_size(held))
    return held.arrays


def _open_size(held: Any) -> tuple[int, int] | None:
    """A size for a network that leaves its own open."""
    return (33, 49) if any(None in shape[2:] for shape in held.structure.inputs.values()) else None


def _outcome(reader: Any, importers: Any, path: Path) -> tuple[str, Arrays | None]:
    arrays: Arrays | None = None
    try:
        arrays = _read(reader, importers, path)
    except (FormatError, RequestError) as error:
        return _refused(str(error)), None
    except MemoryError:
        return "more memory than allowed", None
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:80]}", None
    return "read", arrays


def _refused(text: str) -> str:
    if "more memory than there is" in text or "out of memory" in text:
        return "more memory than allowed"
    if not text.isprintable() or len(text) > LONGEST:
        return "refused in several lines, at length, or with what a terminal obeys"
    return "refused"


def _commanded(lines: list[list[str]], path: Path) -> str:
    """What a command did that it must not do; '' where it did not."""
    for line in lines:
        made = path.parent / MADE
        words = [{FILE: str(path), MADE: str(made)}.get(word, word) for word in line]
        try:
            status, _, error = said_by(words)
        except AssertionError as found:
            return f"{line[0]}: {found}"
        except MemoryError:
            return f"{line[0]}: more memory than allowed"
        except BaseException as error:
            return f"{line[0]}: {type(error).__name__}: {str(error)[:80]}"
        if status == 2 and _refused(error[:-1]) != "refused":
            return f"{line[0]}: {_refused(error[:-1])}"
        if MADE in line and (status == 0) != made.exists():
            return f"{line[0]}: status {status} is not that of the output"
        made.unlink(missing_ok=True)
    return ""


def _compared(arrays: Arrays, vendor: Callable[[Path], Arrays | None], path: Path) -> str:
    try:
        theirs = vendor(path)
    except Exception:
        return "the vendor refuses it"
    if theirs is None:
        return "as the vendor reads it"
    for name, array in theirs.items():
        ours = arrays.get(name)
        if ours is None or ours.shape != array.shape or ours.dtype != array.dtype or ours.tobytes() != array.tobytes():
            return "read as other numbers"
    return "as the vendor reads it"


def _remember_arrays(reader: Any) -> None:
    """Configurations alone are changed: the HDF5 file beside them is read in a process of its own once."""
    reader._datasets = functools.lru_cache(4)(reader._datasets)


# -------------------------------------------------------------------------------------------------------- in the parent


def within(seconds: float, made: Iterator[Made]) -> Iterator[Made]:
    """What an iterator makes, until time is up."""
    end = time.monotonic() + seconds
    yield from itertools.takewhile(lambda _: time.monotonic() < end, made)


class Worker:
    """A process that reads files, started again when it dies or takes too long."""

    def __init__(self, container: str, folder: str, good: list[str]) -> None:
        self.container, self.folder, self.good = container, folder, good
        self.start()

    def start(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_work, args=(self.container, self.folder, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.send(self.good)
        self.pipe.recv()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()

    def outcome(self, name: str) -> str:
        self.pipe.send(name)
        said = self.answer("crash", f"more than {SECONDS} seconds")
        return self.answer("the vendor's reader crashes", "the vendor's reader crashes") if said == "read" else said

    def answer(self, dead: str, late: str) -> str:
        """What the worker says, or what became of it."""
        end, least = time.monotonic() + PATIENCE, 0.0
        try:
            while time.monotonic() < end:
                if self.pipe.poll(0.5):
                    return str(self.pipe.recv())
                used = _processor_time(self.process.pid)  # looked at only when it is slow
                least = least or used
                if used - least > SECONDS:
                    break
            dead = late
        except (EOFError, ConnectionError):
            pass
        self.stop()
        self.start()
        return dead


def _processor_time(pid: int | None) -> float:
    """Seconds that a process and those that it started have used; what has ended and was not waited for is left out."""
    ticks: dict[int, int] = {}
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = stat.read_text().rpartition(")")[2].split()
            number = int(stat.parent.name)
            parents[number] = int(fields[1])
            ticks[number] = sum(map(int, fields[11:15]))  # its own and of children that it has waited for
    family = {pid}
    while more := {number for number, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks[number] for number in family & ticks.keys()) / os.sysconf("SC_CLK_TCK")
