"""Mutation testing: small mistakes made in refnet's source, one at a time, and whether the tests see them.

    python tests/mutate.py readings
    python tests/mutate.py readings/bounds --sample 40 --seed 1 --seconds 600
    python tests/mutate.py judge --record judge.json > survivors.txt
    python tests/mutate.py judge --record judge.json --again survivors.txt

Works in a copy of the checkout, which is left as it is. First the test files that `TESTS` names are run once, to record
which test executes which lines (`executed.py`). A mutant is tested by the quickest tests that execute its line, half a
minute of them, until the first one fails. It is

    killed      a test failed
    survived    all passed: a quick test is missing, or the mutant is equivalent
    equivalent  it survives, and tests/mutants.txt says why no test can see it
    undecided   the tests took more than three times as long as without it, or waited in vain

`--record` keeps what was recorded. Files of tests that have changed since are recorded again; a mutant of a module that
has changed is tested by all. `--again` tests what survived, or was undecided, by an earlier output.

Prints every survivor and every undecided one with its place, and a table at the end. Exit status: 0 if none survived,
1 if some did, 2 if the request is bad.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import pytest
from executed import Chosen, Record, Recorder
from mutations import Mutant, mutants

__all__ = ["Trial", "equivalents", "main", "tests_of"]

CHECKOUT = Path(__file__).resolve().parent.parent
OUTCOMES = ("killed", "survived", "equivalent", "undecided")
GRACE = 5  # seconds beyond three times the unmutated run
MEMORY = 8 << 30  # bytes that a mutant may claim

# A process that has imported what all tests need, and nothing of refnet: what it forks has it at once.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["pytest", "hypothesis.strategies", "numpy", "scipy.ndimage"])

# The test files, or folders of them, that cover a module. The longest beginning of a module's path counts. What is not
# here has the file of its own name, and all those of its room.
TESTS = {
    "readings/integer": ("readings/integer",),
    "readings/quantised": ("test_quantised.py",),
    "readings": ("readings", "test_graph.py", "networks/test_models.py"),
    "judge": ("judge", "bugs/test_sampling.py", "cli/test_compare.py"),
    "session": ("session",),
    "verification": ("verification",),
    "alignment": (
        "alignment",
        "verification/test_planted.py",
        "files/test_identify.py",
        "files/test_planted_changes.py",
        "files/test_changed_habits.py",
    ),
    "bugs": ("bugs", "judge", "verification/test_planted.py"),
    "files": ("files", "test_quantised.py"),
    "graph": ("test_graph.py", "session/test_any_graph.py"),
}


class Outcome(NamedTuple):
    """What the tests said of a mutant, and how long they took."""

    what: str
    seconds: float


class Trial:
    """A copy of the checkout in which mutants are tested.

    Parameters
    ----------
    checkout : has the folders of the package and of the tests
    folder : an empty one, for the copy and for what the tests write
    record : what was recorded earlier
    """

    def __init__(self, checkout: Path, folder: Path, record: Record | None = None) -> None:
        self.copy, self.home = folder / "checkout", folder / "home"
        self.home.mkdir()
        unwanted = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
        shutil.copytree(checkout, self.copy, ignore=unwanted)
        compileall.compile_dir(self.copy, quiet=2)
        self.record = record or Record.of(self.copy)

    def watch(self, tests: Sequence[str]) -> None:
        """Record which lines the tests of some files execute, where that is not known.

        Raises
        ------
        SystemExit : pytest cannot run them
        """
        unknown = self.record.unknown(self.copy, tests)
        if not unknown:
            return
        path = self.home / "executed.json"
        code = self._run(unknown, 3600, Recorder(self.copy, path))
        if not path.is_file():
            raise SystemExit(f"the tests cannot be run (pytest's status {code}): {' '.join(unknown)}")
        self.record.add(self.copy, unknown, path)
        path.unlink()
        for name, test in self.record.tests.items():
            if not test.passed and name.split("::")[0] in unknown:
                print(f"left out, for it fails without a mutant: {name}", flush=True)

    def tested(self, mutant: Mutant, tests: Sequence[str]) -> Outcome:
        """Run those tests of some files on one mutant that see its line."""
        self.watch(tests)
        chosen = list(self.record.chosen(self.copy, mutant, tests))
        path = self.copy / mutant.file
        original = path.read_bytes()
        for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            stale.unlink()
        path.write_text(mutant.source)
        started, what = time.monotonic(), "survived"
        try:
            for some in chosen:
                what = _meaning(self._run(some.files, some.seconds, some))
                if what != "survived":
                    break
            return Outcome(what, time.monotonic() - started)
        finally:
            path.write_bytes(original)

    def _run(self, tests: Sequence[str], seconds: float, plugin: object) -> int | None:
        """pytest's exit status, a signal's number below zero, or None after a wait in vain."""
        answer, asked = _SERVER.Pipe(duplex=False)
        child = _SERVER.Process(target=_pytest, args=(self.copy, self.home, tests, 3 * seconds + GRACE, plugin, asked))
        child.start()
        asked.close()
        try:
            patience = 8 * seconds + 30  # on the clock: a busy machine is no finding
            if answer in wait([answer, child.sentinel], patience):
                with contextlib.suppress(EOFError):
                    return int(answer.recv())
            child.join(1)
            return child.exitcode
        finally:
            _ended(child.pid)
            child.join()


def _pytest(copy: Path, home: Path, tests: Sequence[str], seconds: float, plugin: object, answer: Connection) -> None:
    """Run tests in this process, which has been forked for that; of a mutant until one fails."""
    os.setsid()  # so that `_ended` knows what it leaves behind
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))  # of its children, too, each
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, most))  # its children may set their own
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(copy)
    os.environ |= {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_PROFILE": "mutants",
        "HOME": str(home),
        "TMPDIR": str(home),
    }
    tempfile.tempdir = None
    sys.dont_write_bytecode = True
    sys.path[:] = [
        str(copy),
        *(path for path in sys.path if Path(path).resolve() not in (CHECKOUT, CHECKOUT / "tests")),
    ]
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    first = ["-x"] if isinstance(plugin, Chosen) else []
    answer.send(pytest.main([*first, "-q", "-p", "no:cacheprovider", *tests], plugins=[plugin]))
    os._exit(0)  # whatever threads the tests have left


def _ended(leader: int | None) -> None:
    """End the processes of a session: a child, whatever it started and left behind."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(entry.name)) == leader:
                os.kill(int(entry.name), signal.SIGKILL)


def _meaning(code: int | None) -> str:
    if code is None or -code in (signal.SIGXCPU, signal.SIGKILL):
        return "undecided"
    return "survived" if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) else "killed"


# -------------------------------------------------------------------------------------------- modules, tests, the list


def modules(place: str, checkout: Path) -> list[str]:
    """The files of a room or a module, beneath the checkout.

    Raises
    ------
    SystemExit : there is none
    """
    room = checkout / "refnet" / place.removeprefix("refnet/").removesuffix(".py")
    found = [room.with_suffix(".py")] if room.with_suffix(".py").is_file() else sorted(room.rglob("*.py"))
    if not found:
        print(f"{place}: neither a folder nor a module of refnet", file=sys.stderr)
        raise SystemExit(2)
    return [path.relative_to(checkout).as_posix() for path in found]


def tests_of(module: str, checkout: Path) -> list[str]:
    """The test files that cover a module, see `TESTS`."""
    path = module.removeprefix("refnet/").removesuffix(".py").removesuffix("/__init__")
    listed = max((key for key in TESTS if f"{path}/".startswith(f"{key}/")), key=len, default="")
    own = f"test_{path.rpartition('/')[2]}.py"
    room = path.split("/")[0]
    found: list[str] = []
    for place in TESTS.get(listed, (own, f"{room}/{own}", room)):
        at = checkout / "tests" / place
        found += [
            path.relative_to(checkout).as_posix() for path in (sorted(at.rglob("test_*.py")) if at.is_dir() else [at])
        ]
    return [test for test in dict.fromkeys(found) if (checkout / test).is_file()]


def equivalents(path: Path) -> dict[tuple[str, str, str, str], str]:
    """The mutants that no test can see, and why; or those of an earlier output, and how it calls them.

    An entry is four lines: '# the reason', 'file scope', '- before', '+ after'; a reason counts until the next one. In
    an output the reason is not a line but the word before the file.
    """
    found: dict[tuple[str, str, str, str], str] = {}
    reason = file = scope = before = ""
    for line in path.read_text().splitlines() if path.is_file() else ():
        mark, _, text = line.partition(" ")
        if mark == "#":
            reason = text
        elif mark == "-":
            before = text
        elif mark == "+":
            found[file, scope, before, text] = reason
        elif line:
            if mark in OUTCOMES:
                reason, (mark, _, text) = mark, text.partition(" ")
            file, scope = mark.partition(":")[0], text
    return found


# ------------------------------------------------------------------------------------------------------------ command


def main(argv: Sequence[str] | None = None, checkout: Path = CHECKOUT) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("place", help="a folder of refnet, 'readings', or a module, 'readings/bounds'")
    parser.add_argument("--sample", type=int, help="so many mutants, drawn at random; by default all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no mutant after so many seconds")
    parser.add_argument("--record", type=Path, help="file of what the tests execute: read if it is there, and written")
    parser.add_argument("--again", type=Path, help="an earlier output, whose survivors are tested instead of a sample")
    parser.add_argument("--list", action="store_true", help="print the mutants, test none")
    asked = parser.parse_args(argv)
    every = [
        mutant for file in modules(asked.place, checkout) for mutant in mutants((checkout / file).read_text(), file)
    ]
    chosen = every
    if asked.again is not None:
        named = equivalents(asked.again)
        chosen = [mutant for mutant in every if mutant.key in named]
    elif asked.sample is not None and asked.sample < len(every):
        chosen = [every[i] for i in sorted(random.Random(asked.seed).sample(range(len(every)), asked.sample))]
    if asked.list:
        print("\n".join(_shown(mutant) for mutant in chosen))
        return 0
    known = equivalents(checkout / "tests" / "mutants.txt")
    for key in known.keys() - {mutant.key for mutant in every}:
        if key[0] in {mutant.file for mutant in every}:
            print(f"tests/mutants.txt names a mutant that is no more: {' '.join(key[:2])}: {key[2]}")
    counts: dict[str, Counter[str]] = {}
    record = Record.read(asked.record) if asked.record is not None and asked.record.is_file() else None
    with tempfile.TemporaryDirectory(prefix="refnet-mutate-") as folder:
        trial = Trial(checkout, Path(folder), record)
        trial.watch([*dict.fromkeys(test for mutant in chosen for test in tests_of(mutant.file, trial.copy))])
        if asked.record is not None:
            trial.record.write(asked.record)
        for mutant, outcome in _outcomes(trial, chosen, asked.seconds):
            what = "equivalent" if outcome.what == "survived" and mutant.key in known else outcome.what
            row = counts.setdefault(mutant.file, Counter())
            row[what] += 1
            row["seconds"] += round(outcome.seconds)
            if what in ("survived", "undecided"):
                print(f"{what} {_shown(mutant)}", flush=True)
    _table(counts, len(chosen), len(every))
    return int(any(row["survived"] for row in counts.values()))


def _outcomes(trial: Trial, chosen: Sequence[Mutant], seconds: float) -> Iterator[tuple[Mutant, Outcome]]:
    """Test one mutant after another, as long as there is time."""
    end = time.monotonic() + seconds
    for index, mutant in enumerate(chosen):
        if time.monotonic() > end:
            return
        if sys.stderr.isatty():
            print(f"\r{index + 1}/{len(chosen)} {mutant.file}:{mutant.line}\033[K", end="\r", file=sys.stderr)
        yield mutant, trial.tested(mutant, tests_of(mutant.file, trial.copy))


def _shown(mutant: Mutant) -> str:
    return f"{mutant.file}:{mutant.line} {mutant.scope}\n- {mutant.before}\n+ {mutant.after}"


def _table(counts: dict[str, Counter[str]], asked: int, every: int) -> None:
    rows = [*counts.items(), ("all", sum(counts.values(), Counter()))]
    width = max(len(name) for name, _ in rows)
    print(f"\n{'':{width}}  {'mutants':>8}" + "".join(f"{column:>11}" for column in (*OUTCOMES, "seconds")))
    for name, row in rows:
        tried = sum(row[what] for what in OUTCOMES)
        print(f"{name:{width}}  {tried:8}" + "".join(f"{row[column]:11}" for column in (*OUTCOMES, "seconds")))
    total = rows[-1][1]
    decided = total["killed"] + total["survived"]
    print(f"{sum(total[what] for what in OUTCOMES)} tested of {asked} chosen of {every}; ", end="")
    print(f"killed {total['killed']} of {decided} that change behaviour ({total['killed'] / max(decided, 1):.0%})")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the tests and removes the copy
    sys.exit(main())
