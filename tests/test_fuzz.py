"""The fuzzer finds what it looks for: a reader that does what it should not is seen to do it."""

from __future__ import annotations

import sys

import fuzz_lines
import fuzz_worker
import pytest
from fuzz_worker import FINE, Worker

FOUND = {
    "print": "words on stdout or stderr",
    "write": "words on stdout or stderr",
    "open": "opened /etc/hostname",
    "change": "opened ",
    "leave": "files are left behind",
    "damage": "files are left behind",
    "start": "started true",
    "call": "os.system",
    "connect": "socket.",
    "unpickle": "pickle.find_class",
    "ask": "more memory than allowed",
    "raise": "KeyError",
    "lines": "refused in several lines",
    "exit": "SystemExit",
    "die": "crash",
    "wait": "more than 0.5 seconds",
}


def test_whatever_a_reader_must_not_do_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_worker, "SECONDS", 0.5)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good").write_text("read")
    worker = Worker("planted", str(folder), ["good"])
    said = {}
    for act in (*FOUND, "refuse"):
        (folder / "left").unlink(missing_ok=True)
        (folder / "mutant").write_text(act)
        said[act] = worker.outcome("mutant")
    worker.stop()
    assert said.pop("refuse") == "refused"
    assert {act: outcome[: len(FOUND[act])] for act, outcome in said.items()} == FOUND
    assert not set(said.values()) & set(FINE)


COMMANDS = {
    "status 3": (3, "", ""),
    "stdout has what a terminal obeys": (0, "\x1b[31m\n", ""),
    "stderr has what a terminal obeys": (2, "", "no\u202e\n"),
    "status 2 and 2 lines on stderr": (2, "", "no\nno\n"),
    "status 2 and 0 lines on stderr": (2, "", ""),
    "status 0 and 1 lines on stderr": (0, "", "no\n"),
    "more memory than allowed": (2, "", "out of memory: take a smaller size or batch\n"),
    "at length": (2, "", "n" * 5000 + "\n"),
    "status 0 is not that of the output": (0, "", ""),
}


@pytest.mark.parametrize("found", COMMANDS)
def test_whatever_a_command_must_not_say_is_a_finding(found, tmp_path, monkeypatch):
    status, out, err = COMMANDS[found]

    def main(line: list[str]) -> int:
        sys.stdout.write(out)
        sys.stderr.write(err)
        return status

    monkeypatch.setattr(fuzz_lines, "main", main)
    assert found in fuzz_worker._commanded([["convert", "FILE", "made.onnx"]], tmp_path / "mutant")


def test_an_error_that_a_command_does_not_foresee_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_lines, "main", lambda line: {}[0])
    assert fuzz_worker._commanded([["summary", "FILE"]], tmp_path / "mutant") == "summary: KeyError: 0"
