"""Which kind of file is this, and is it one at all? Its content says so; what is none is refused in one line."""

from __future__ import annotations

import os
import pickle
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fuzz import SAMPLES, fuzz
from fuzz_worker import FINE
from support import DATA

from refnet.errors import FormatError
from refnet.files import containers
from refnet.files.containers import archive as opening
from refnet.files.containers import npz

CHECKPOINTS = DATA / "pth"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def refuses(path: Path, why: str) -> None:
    with pytest.raises(FormatError, match=why) as caught:
        containers.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["network.pth", "network_legacy.pth", "network_legacy_protocol4.pth"])
def test_checkpoints_are_known_by_their_content(path: Path, name: str) -> None:
    path.write_bytes((CHECKPOINTS / name).read_bytes())
    contents = containers.read(path)
    assert (contents.kind, contents.structure) == ("pth", None)
    assert "conv.weight" in contents.arrays


def test_archives_of_arrays_are_known_by_their_content(path: Path) -> None:
    npz.write(path, {"w": np.ones(3)})
    contents = containers.read(path)
    assert contents.kind == "npz"
    assert list(contents.arrays) == ["w"]


@pytest.mark.parametrize("content", [b"hello", b"P", bytes(8)])
def test_other_files_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refuses(path, r"no weights are read from such a file: take \.pth")


def test_a_pickle_is_refused_with_the_line_that_writes_it_as_npz(tmp_path):
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps({"conv.weight": np.ones((2, 3))}))
    refuses(tmp_path / "w.pdparams", re.escape("numpy.savez('w.npz', **{k: v.numpy() for k, v in paddle.load("))


@pytest.mark.parametrize(
    ("names", "why"), [(["config.json"], "its first member is 'config.json'"), ([], "it is empty")]
)
def test_zip_archives_of_something_else_are_refused(path: Path, names: list[str], why: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "{}")
    refuses(path, f"a zip archive, but neither .*; {why}")


def test_no_file_is_said(path: Path) -> None:
    refuses(path, "No such file")


def test_a_folder_is_said(path: Path) -> None:
    path.mkdir()
    refuses(path, "is a folder, not a file of weights")


def test_an_empty_file_is_said(path: Path) -> None:
    path.touch()
    refuses(path, "the file is empty")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_a_pipe_is_said_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    refuses(path, "not a regular file")


def test_what_cannot_be_read_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path.write_bytes(b"hello")
    monkeypatch.setattr(Path, "open", denied)
    refuses(path, r"cannot be read \(Permission denied\)")


def test_too_little_memory_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    path.write_bytes(b"hello")
    monkeypatch.setattr(containers, "is_zip", exhausted)
    refuses(path, "needs more memory than there is")


def changed(path: Path, offset: int, value: int, signature: bytes = b"PK\x01\x02") -> None:
    """Set two bytes of the first entry of an archive's table of contents."""
    npz.write(path, {"w": np.ones(3)})
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, data.index(signature) + offset, value)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        (8, 1, "is encrypted: save the file without a password"),
        (10, 14, "is neither stored nor deflated"),
        (24, 5, "is stored, but with two different sizes"),
        (42, 999, "truncated or damaged|is damaged"),
    ],
)
def test_odd_members_are_refused(path: Path, offset: int, value: int, why: str) -> None:
    changed(path, offset, value)
    refuses(path, why)


def test_a_member_is_not_inflated_beyond_its_declared_size(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("w.npy", bytes(1 << 26))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 100)
    path.write_bytes(data)
    refuses(path, r"'w\.npy' is damaged \(its checksum is wrong\)")


def test_a_member_shorter_than_declared_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("w.npy", b"short")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 100)
    path.write_bytes(data)
    refuses(path, r"its size is not the declared 100")


def test_what_a_file_says_is_shown_on_one_short_line() -> None:
    assert opening.shown("stem.conv") == "'stem.conv'"
    assert opening.shown("a\nb\x1b\u2028") == r"'a\nb\x1b\u2028'"
    assert len(opening.shown("\U0001f600" * 10**6)) <= 100


@pytest.mark.skipif(os.name != "posix", reason="limits on memory are of Unix")
@pytest.mark.parametrize(("kind", "count"), [("pth", 30), ("safetensors", 30), ("hdf5", 5), ("keras", 3)])
def test_damaged_files_are_refused_or_read_as_the_vendor_reads_them(exports: Path, kind: str, count: int) -> None:
    """Ten thousand of each: python tests/fuzz.py KIND."""
    outcomes = fuzz(kind, [exports / name for name in SAMPLES[kind]], count=count, seed=1)
    assert sum(outcomes.values()) == count
    assert set(outcomes) <= set(FINE), outcomes
