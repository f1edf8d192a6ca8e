"""Which lines of refnet each test executes, and how long the test takes: what `mutate.py` chooses tests by.

A line that is executed while a fixture is made that tests share counts for all tests that ask for it; one that is
executed when a module is imported counts for none. Watching is slow and sees one process: a test that takes long is
watched as it begins, one that starts other processes but in its own. Of both it is known that they may execute more.
"""

from __future__ import annotations

import ast
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest
from mutations import Mutant

__all__ = ["Chosen", "Executed", "Record", "Recorder"]

STARTS = {"subprocess.Popen", "os.fork", "os.posix_spawn"}  # events of the audit: another process begins
LONG = 200_000  # calls of functions, about half a second: so long is a test watched
MOST = 30.0  # seconds of processor time, while they were watched, of the tests that are run on one mutant

Lines = dict[CodeType, set[int]]


class Executed(NamedTuple):
    """What is known of one test.

    Attributes
    ----------
    seconds : of processor time, while it was watched
    passed : or was skipped; a test that fails without a mutant says nothing of one
    more : whether it may execute lines that were not seen
    lines : of each file of the package, beneath the checkout
    """

    seconds: float
    passed: bool
    more: bool
    lines: dict[str, list[int]]


class Record:
    """What is known of many tests.

    Attributes
    ----------
    files : digests of the package's files, and of those of tests that were recorded, as they were then
    tests : by their ids
    """

    def __init__(self, files: dict[str, str], tests: dict[str, Any]) -> None:
        self.files = files
        self.tests = {name: Executed(*each) for name, each in tests.items()}

    @classmethod
    def of(cls, checkout: Path) -> Record:
        """The record of a checkout of which no test is known."""
        modules = (checkout / "refnet").rglob("*.py")
        return cls({path.relative_to(checkout).as_posix(): digest(path) for path in modules}, {})

    @classmethod
    def read(cls, path: Path) -> Record:
        """What `write` wrote."""
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        """Keep it for another time."""
        path.write_text(json.dumps({"files": self.files, "tests": self.tests}))

    def unknown(self, checkout: Path, files: Sequence[str]) -> list[str]:
        """Which of some files of tests have not been recorded as they are."""
        return [file for file in files if self.files.get(file) != digest(checkout / file)]

    def add(self, checkout: Path, files: Sequence[str], path: Path) -> None:
        """Add what a `Recorder` wrote of some files of tests."""
        self.tests = {name: test for name, test in self.tests.items() if name.split("::")[0] not in files}
        self.tests |= {name: Executed(*each) for name, each in json.loads(path.read_text()).items()}
        self.files |= {file: digest(checkout / file) for file in files}

    def chosen(self, checkout: Path, mutant: Mutant, files: Sequence[str]) -> Iterator[Chosen]:
        """The tests of some files that see a mutant, as many as there is time for: of the quickest file, of the others.

        Where none is known to execute its line, those that may.
        """
        known = {name: test for name, test in self.tests.items() if name.split("::")[0] in files and test.passed}
        same = self.files.get(mutant.file) == digest(checkout / mutant.file)
        lines = _lines(mutant) if same else set()
        seeing = {name for name, test in known.items() if not lines.isdisjoint(test.lines.get(mutant.file, ()))}
        if not seeing:  # executed on import, in another process, or not the line that it was
            seeing = {name for name, test in known.items() if mutant.file in test.lines or test.more}
        groups = _by_file(_quick({name: known[name].seconds for name in seeing or known}))
        for tests in (groups[0], {name: seconds for some in groups[1:] for name, seconds in some.items()}):
            if tests:
                others = {name for name in self.tests if name not in tests}
                yield Chosen(tests, frozenset(others))


class Chosen:
    """Tests to run, as a plugin of pytest.

    Parameters
    ----------
    tests : the seconds of each, by their ids, in groups by their files; the quick ones of a file are run first
    others : that are left out
    """

    def __init__(self, tests: dict[str, float], others: frozenset[str]) -> None:
        self.tests, self.others = tests, others
        self.files = list(dict.fromkeys(name.split("::")[0] for name in tests))
        self.seconds = sum(tests.values())

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep the tests; those that a mutant has given new names, too."""
        place = {file: index for index, file in enumerate(self.files)}
        kept = [item for item in items if item.nodeid not in self.others]
        kept.sort(key=lambda item: (place[item.nodeid.split("::")[0]], self.tests.get(item.nodeid, 0)))
        items[:] = kept


def digest(path: Path) -> str:
    """What tells a file from an older one."""
    return sha256(path.read_bytes()).hexdigest()


def _quick(seconds: dict[str, float]) -> dict[str, float]:
    """The quickest tests, of `MOST` seconds together, or one."""
    names = sorted(seconds, key=seconds.__getitem__)
    kept = sum(total <= MOST for total in accumulate(seconds[name] for name in names))
    return {name: seconds[name] for name in names[: max(1, kept)]}


def _by_file(seconds: dict[str, float]) -> list[dict[str, float]]:
    """Tests in groups by their files, those first whose tests are quick."""
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for name, each in seconds.items():
        found[name.split("::")[0]][name] = each
    return sorted(found.values(), key=lambda tests: sum(tests.values()) / len(tests))


def _lines(mutant: Mutant) -> set[int]:
    """The lines of the statement that is changed, without those of statements in it; none for one outside functions."""
    statement = mutant.site.statement
    if not mutant.scope or isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return set()
    place: Any = statement.pattern if isinstance(statement, ast.match_case) else statement
    body = getattr(statement, "body", None)
    last = max(place.lineno, body[0].lineno - 1) if isinstance(body, list) else place.end_lineno
    return set(range(place.lineno, last + 1))


class Recorder:
    """The plugin.

    Parameters
    ----------
    checkout : whose folder refnet is watched
    path : the file to write
    """

    def __init__(self, checkout: Path, path: Path) -> None:
        self.checkout, self.path = checkout, path
        self._package = f"{checkout / 'refnet'}/"
        self._now: Lines = {}  # of the test or the fixture that runs
        self._calls = 0
        self._more = False
        self._fixtures: defaultdict[str, list[Lines]] = defaultdict(list)
        self._failed: set[str] = set()
        self._tests: dict[str, Executed] = {}

    def pytest_sessionstart(self) -> None:
        """In the process in which the tests run."""
        sys.addaudithook(self._audit)

    def _audit(self, event: str, _arguments: object) -> None:
        if event in STARTS:
            self._more = True

    def _enter(self, frame: FrameType, _event: str, _argument: object) -> Any:
        """A function begins."""
        self._calls += 1
        if self._calls > LONG:
            self._more = True
            sys.settrace(None)
            return None
        code = frame.f_code
        if not code.co_filename.startswith(self._package):
            return None
        add = self._now.setdefault(code, set()).add

        def line(frame: FrameType, event: str, _argument: object) -> Any:
            if event == "line":
                add(frame.f_lineno)
            return line

        return line

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """A fixture is made: if for several tests, what that executes is its own."""
        if fixturedef.scope == "function":
            return (yield)
        around, self._now = self._now, {}
        try:
            return (yield)
        finally:
            self._fixtures[fixturedef.argname].append(self._now)
            self._now = around

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        """A test runs, from the setup of its fixtures to their end."""
        self._now, self._calls, self._more, began = {}, 0, False, time.process_time()
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            seconds = time.process_time() - began
            asked = [lines for name in item.fixturenames for lines in self._fixtures[name]]
            passed = item.nodeid not in self._failed
            self._tests[item.nodeid] = Executed(round(seconds, 3), passed, self._more, self._files([self._now, *asked]))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A part of a test is over."""
        if report.failed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """All is known."""
        self.path.write_text(json.dumps(self._tests))

    def _files(self, several: list[Lines]) -> dict[str, list[int]]:
        found: defaultdict[str, set[int]] = defaultdict(set)
        for lines in several:
            for code, seen in lines.items():
                found[str(Path(code.co_filename).relative_to(self.checkout))] |= seen
        return {file: sorted(lines) for file, lines in found.items()}
