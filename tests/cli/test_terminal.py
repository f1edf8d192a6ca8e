"""Names of files, folders, tensors and classes that would drive a terminal, forge a line or break an encoding."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from safetensors.numpy import save_file

import refnet
from refnet import load, random_input
from refnet.cli import main
from refnet.files import shipped

HOSTILE = "x\nsame network\rhealthy\x1b[31m\x1b]0;t\x07\x9b2J\u202e\u2028\u2029"


def fit(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def said(capfd, *arguments: object) -> tuple[int, str]:
    """The exit status of a command and all that it printed, found fit."""
    status = main([str(each) for each in arguments])
    out, err = capfd.readouterr()
    assert fit(out), out
    assert fit(err), err
    return status, out + err


@pytest.fixture(scope="module")
def digits() -> dict[str, np.ndarray]:
    with np.load(shipped.path("digits_weights.npz")) as archive:
        return {name: array for name, array in archive.items() if array.dtype.kind == "f"}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_tensor_does_not_forge_a_verdict(suffix, tmp_path, capfd, digits):
    path, good = tmp_path / f"evil{suffix}", tmp_path / f"good{suffix}"
    save = save_file if suffix == ".safetensors" else lambda arrays, path: np.savez(path, **arrays)
    save(digits, good)
    save({**digits, HOSTILE: np.ones(3, np.float32)}, path)
    junit = tmp_path / "found.xml"
    status, text = said(capfd, "verify", good, "--against", path, "--junit", junit)
    assert status == 1
    assert not any(line.startswith(("same network", "healthy")) for line in text.splitlines())
    assert fit("".join(ElementTree.parse(junit).getroot().itertext()))
    assert said(capfd, "summary", path)[0] == 2


def test_a_long_name_makes_no_long_line(tmp_path, capfd, digits):
    np.savez(tmp_path / "long.npz", **digits, **{"n" * 60_000: np.ones(3, np.float32)})
    for arguments in (("verify", tmp_path / "long.npz"), ("summary", tmp_path / "long.npz")):
        status, text = said(capfd, *arguments)
        assert status == 2
        assert len(text) < 3000


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = load()
    path = tmp_path_factory.mktemp("packs") / "pack"
    refnet.write_pack(net, random_input(net.graph, 1), path)
    return path


def test_a_candidates_name_does_not_forge_a_verdict_in_any_report(pack, tmp_path, capfd):
    y = refnet.read_pack(pack).tensor("head.flatten")
    np.savez(tmp_path / "port.npz", **{"head.flatten": y + 1, HOSTILE: y[:, :3]})
    junit, page = tmp_path / "a.xml", tmp_path / "a.html"
    arguments = ("--partial", "--no-causes", "--junit", junit, "--report", page)
    status, text = said(capfd, "compare", pack, tmp_path / "port.npz", *arguments)
    assert status == 1
    assert not any(line.startswith(("same network", "healthy")) for line in text.splitlines())
    assert "\x1b" not in page.read_text()
    assert "\u202e" not in page.read_text() + junit.read_text()


def test_a_folder_whose_name_is_no_utf8_is_printed_and_written_into_reports(pack, tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\x1b[31m\n"
    os.mkdir(folder)
    np.save(os.path.join(os.fsdecode(folder), "head.flatten.npy"), refnet.read_pack(pack).tensor("head.flatten"))
    reports = ["--partial", "--no-causes", "--junit", str(tmp_path / "u.xml"), "--report", str(tmp_path / "u.html")]
    command = [sys.executable, "-m", "refnet", "compare", str(pack), folder, *reports]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"})
    assert done.returncode == 0, done.stderr
    assert fit(done.stdout.decode())
    assert (tmp_path / "u.xml").exists()
    assert (tmp_path / "u.html").exists()


def test_a_terminal_without_the_letters_is_told_their_codes(tmp_path):
    path = tmp_path / "größe.npz"
    path.write_bytes(b"none")
    command = [sys.executable, "-m", "refnet", "summary", str(path)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii:strict"})
    assert done.returncode == 2
    assert b"gr\\xf6\\xdfe.npz" in done.stderr


def test_a_folder_of_images_with_such_a_name_is_one_line(tmp_path, capfd):
    folder = tmp_path / HOSTILE.replace("/", "")
    (folder / "0").mkdir(parents=True)
    assert said(capfd, "evaluate", folder)[0] == 2
    assert said(capfd, "run", folder / "x.npy")[0] == 2


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_go_nowhere(closed, tmp_path):
    command = f"{sys.executable} -m refnet evaluate --out done.npz {closed}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["done.npz"]


def test_commands_print_by_say_alone():
    for path in sorted((Path(refnet.__file__).parent / "cli").glob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        printing = [ast.unparse(call) for call in calls if ast.unparse(call.func) == "print"]
        if path.name not in ("common.py", "__init__.py"):
            assert all("\\r" in call for call in printing), path  # a count that a terminal overwrites


@pytest.mark.parametrize("shape", ["(1, 3, 32L, 32)", "(1, 3, 32if 1else 3, 32)", "(1, 3, 32, 32), 'x': '\\q'"])
def test_odd_headers_of_arrays_make_one_line_at_most(shape, tmp_path):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    body = np.ones((1, 3, 32, 32), np.float32).tobytes()
    (tmp_path / "odd.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + body)
    command = [sys.executable, "-m", "refnet", "run", str(tmp_path / "odd.npy")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.count("\n") == (1 if done.returncode else 0)


def test_an_error_beyond_every_number_has_no_histogram(pack, tmp_path, capfd):
    y = refnet.read_pack(pack).tensor("head.flatten").astype(np.float64)
    y[0, :2] = 1.7e308, -1.7e308
    np.savez(tmp_path / "port.npz", **{"head.flatten": y})
    page = tmp_path / "a.html"
    assert said(capfd, "compare", pack, tmp_path / "port.npz", "--partial", "--no-causes", "--report", page)[0] == 1
    assert page.exists()
