"""Outputs: whole or not at all, never in an input's place, and nothing left of processes that were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from refnet import RequestError
from refnet.cli import main
from refnet.files import shipped
from refnet.files.containers.atomic import atomic_file, atomic_folder, free, is_no_file, writable

JUNIT = b'<?xml version="1.0" encoding="utf-8"?><testsuites></testsuites>'


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_that_another_process_renames_meanwhile_is_a_file_or_is_not_there(tmp_path):
    part = tmp_path / "x.part"

    def rename() -> None:
        for _ in range(3000):
            part.touch()
            part.replace(tmp_path / "x")

    with ThreadPoolExecutor() as pool:
        renaming = pool.submit(rename)
        while not renaming.done():
            assert not is_no_file(part)
    os.mkfifo(part)
    assert is_no_file(part)
    assert is_no_file(tmp_path)


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "weights.npz"
    path.write_bytes(shipped.path("digits_weights.npz").read_bytes())
    return path


@pytest.mark.parametrize("link", ["path", "symbolic", "hard"])
def test_an_output_that_is_an_input_is_refused(link, weights, tmp_path, capsys):
    target = tmp_path / "other.npz"
    if link == "path":
        target = tmp_path / "." / "folder" / ".." / "weights.npz"
        (tmp_path / "folder").mkdir()
    else:
        (os.symlink if link == "symbolic" else os.link)(weights, target)
    before = weights.read_bytes()
    commands = [
        ("evaluate", "--weights", weights, "--out", target),
        ("evaluate", weights, "--out", target),
        ("verify", weights, "--junit", target),
        ("verify", shipped.path("digits_weights.npz"), "--against", weights, "--junit", target),
        ("compare", "pack", weights, "--report", target),
        ("compare", "pack", "port", "--map", weights, "--junit", target),
        ("compare", "pack", "port", "--scales", weights, "--junit", target),
        ("convert", weights, target),
        ("probe", weights, "-o", target),
    ]
    for command in commands:
        assert main([str(each) for each in command]) == 2, command
        assert "which is read" in capsys.readouterr().err, command
    assert weights.read_bytes() == before


@pytest.mark.parametrize("name", ["manifest.json", "conv.npy", "model.xml", "notes.html"])
def test_a_report_takes_no_other_files_place(name, tmp_path, capsys):
    path = tmp_path / name
    path.write_bytes(b"<?xml version='1.0'?><net></net>" if name.endswith("xml") else b"{}")
    for option in ("--junit", "--report"):
        assert main(["compare", "pack", "port", option, str(path)]) == 2
        assert "another kind" in capsys.readouterr().err
    assert path.stat().st_size


def test_a_report_takes_the_place_of_an_earlier_one(tmp_path):
    path = tmp_path / "found.xml"
    path.write_bytes(JUNIT)
    assert writable(path, mark=b"<testsuite") == path
    path.write_bytes(b"")
    assert writable(path, mark=b"<testsuite") == path


@pytest.mark.parametrize(
    "command",
    [
        ("golden", "torchvision/mobilenet_v2", "-o"),
        ("probe", "torchvision/mobilenet_v2", "-o"),
        ("verify", "no file", "--junit"),
        ("compare", "no pack", "no port", "--report"),
        ("convert", "no file"),
    ],
)
def test_a_place_that_is_not_there_is_refused_before_the_work(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    assert main([*command, "missing/x.npz"]) == 2
    assert capsys.readouterr().err == f"refnet: {'missing' if command[0] == 'golden' else tmp_path / 'missing'}: " + (
        "is no folder to write into\n"
    )
    assert time.process_time() - started < 5  # of work that takes a minute


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_into_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    for ask in (writable, free):
        with pytest.raises(RequestError, match="cannot be written into"):
            ask(tmp_path / "x")


def test_links_that_lead_in_a_circle_are_refused_in_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("loop", "loop.npz"):
        os.symlink(name, name)
    for command in (
        ("evaluate", "--out", "loop.npz"),
        ("convert", str(shipped.path("digits_weights.npz")), "loop.npz"),
        ("golden", "refnet/digits", "-o", "loop"),
        ("verify", "loop.npz", "--junit", "loop"),
        ("verify", "loop.npz"),
        ("probe", "refnet/digits", "-o", "loop"),
        ("compare", "loop", "loop", "--map", "loop"),
        ("evaluate", "loop"),
        ("run", "loop"),
    ):
        assert main(list(command)) == 2, command
        assert capsys.readouterr().err.count("\n") == 1


def test_permissions_are_kept_or_those_of_the_umask(tmp_path):
    old = tmp_path / "old"
    old.write_bytes(b"")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        for name in ("old", "new"):
            with atomic_file(tmp_path / name) as file:
                file.write(b"1")
        with atomic_folder(tmp_path / "folder") as folder:
            (folder / "file").touch()
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"old": 0o640, "new": 0o640, "folder": 0o750, "folder/file": 0o640}


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "real").write_bytes(b"0")
    os.symlink("real", tmp_path / "link")
    with atomic_file(tmp_path / "link") as file:
        file.write(b"1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"1"


CHILD = """
import os, sys, time
from refnet.files.containers.atomic import atomic_file, atomic_folder
kind = atomic_file if sys.argv[1] == "file" else atomic_folder
with kind("made") as made:
    print("ready", flush=True)
    time.sleep(60)
"""


def writing(kind: str, folder: Path) -> subprocess.Popen[bytes]:
    """Another process in the middle of writing."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, kind], cwd=folder, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_of_the_same_name_takes_away_what_a_killed_process_left(kind, tmp_path):
    process = writing(kind, tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(left(tmp_path)) == 1
    with atomic_file(tmp_path / "another"):
        pass
    assert len(left(tmp_path)) == 2  # what is of another name stays
    with (atomic_file if kind == "file" else atomic_folder)(tmp_path / "made"):
        pass
    assert left(tmp_path) == ["another", "made"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_living_process_is_at_stays(kind, tmp_path):
    process = writing(kind, tmp_path)
    (held,) = left(tmp_path)
    with atomic_file(tmp_path / "made"):
        assert held in left(tmp_path)
    assert held in left(tmp_path)
    process.kill()
    process.wait()
