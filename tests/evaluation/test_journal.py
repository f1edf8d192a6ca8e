"""The journal: what was written comes back bit for bit, a cut is mended, everything else that is wrong is refused."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

from refnet.errors import FormatError, RequestError
from refnet.evaluation.batches import BatchResult
from refnet.evaluation.journal import Journal, journal_path

RUN = {"weights": "abc", "data": "def", "batch": 2}
ONE = BatchResult(np.array([[1.5, -0.0], [np.nan, np.nan]], np.float32), {1: "cut short: ü"})
TWO = BatchResult(np.array([[1e-310, 1 / 3]]), {})


def same(a: BatchResult, b: BatchResult) -> bool:
    return a.outputs.tobytes() == b.outputs.tobytes() and a.outputs.dtype == b.outputs.dtype and a[1] == b[1]


@pytest.fixture
def path(tmp_path):
    """A journal with two batches, in another order than their numbers'."""
    journal = Journal(tmp_path / "out.npz.journal", RUN)
    journal.add(7, ONE)
    journal.add(3, TWO)
    journal.close()
    return tmp_path / "out.npz.journal"


def opened(path, run=None, **options):
    """Open and close; what it had."""
    journal = Journal(path, RUN if run is None else run, **options)
    try:
        return {number: journal.result(number) for number in journal.done}
    finally:
        journal.close()


def test_it_lies_beside_the_output(tmp_path):
    assert journal_path(tmp_path / "out.npz") == tmp_path / "out.npz.journal"


def test_batches_come_back_bit_for_bit(path):
    found = opened(path)
    assert set(found) == {3, 7}
    assert same(found[7], ONE)
    assert same(found[3], TWO)


def test_a_batch_can_be_read_back_and_appended_in_one_go(path):
    journal = Journal(path, RUN)
    journal.add(0, ONE)
    assert same(journal.result(0), ONE)
    assert same(journal.result(3), TWO)
    journal.close()
    assert same(opened(path)[0], ONE)


def test_a_file_cut_anywhere_keeps_every_whole_batch_and_goes_on(path, tmp_path):
    whole = path.read_bytes()
    last = len(whole) - len(whole.rpartition(struct.pack("<I", 3))[2]) - 4
    for size in range(len(whole) + 1):
        cut = tmp_path / "cut"
        cut.write_bytes(whole[:size])
        found = opened(cut)
        assert set(found) == ({3, 7} if size == len(whole) else {7} if size >= last else set()) or size < last
        journal = Journal(cut, RUN)
        journal.add(5, TWO)
        journal.close()
        assert opened(cut).keys() == found.keys() | {5}


def test_a_byte_changed_anywhere_is_noticed(path, tmp_path):
    whole, changed = path.read_bytes(), tmp_path / "changed"
    for at in range(len(whole)):
        changed.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            found = opened(changed)
        except (FormatError, RequestError):
            continue
        assert set(found) == {7}, at  # the last batch, as if it had been cut
        assert same(found[7], ONE)


def test_damage_before_the_end_is_refused_with_its_place(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"cut short")] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"journal: damaged between bytes \d+ and \d+; begin again with --restart"):
        opened(path)


def test_restart_begins_again_even_after_damage(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"cut short")] ^= 1
    path.write_bytes(data)
    assert opened(path, restart=True) == {}
    assert opened(path) == {}


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({**RUN, "weights": "x"}, "other weights;"),
        ({**RUN, "data": "x", "batch": 3}, "other batch, data;"),
        ({**RUN, "size": 3}, "other size;"),
        ({"batch": 2}, "other data, weights;"),
    ],
)
def test_a_journal_of_another_run_is_refused_and_left_alone(path, run, words):
    before = path.read_bytes()
    with pytest.raises(RequestError, match=f"of a run with {words}"):
        opened(path, run)
    assert path.read_bytes() == before


@pytest.mark.parametrize("restart", [True, False])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path, restart):
    (tmp_path / "j").write_bytes(b"my only copy")
    with pytest.raises(FormatError, match="no journal of refnet evaluate; move it away"):
        opened(tmp_path / "j", restart=restart)
    assert (tmp_path / "j").read_bytes() == b"my only copy"


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(RequestError, match="exists and is no file"):
        opened(tmp_path)


def record(number: int, content: bytes) -> bytes:
    head = struct.pack("<III", number, len(content), zlib.crc32(content))
    return head + struct.pack("<I", zlib.crc32(head)) + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"[]\n",
        b'{"shape": [1, 2], "dtype": "|O", "failures": {}}\n' + bytes(16),
        b'{"shape": [1, 3], "dtype": "<f4", "failures": {}}\n' + bytes(8),
        b'{"shape": [1, 2], "dtype": "<f4", "failures": {}}\n' + bytes(7),
        b'{"shape": [1, 2], "dtype": "<f4", "failures": 3}\n' + bytes(8),
    ],
)
def test_a_record_that_is_no_batch_is_refused(path, content):
    path.write_bytes(path.read_bytes() + record(9, content))
    with pytest.raises(FormatError, match="what it holds of batch 9 is no batch"):
        opened(path)


def test_a_batch_that_is_there_twice_is_refused(path):
    path.write_bytes(path.read_bytes() + record(3, b"{}\n"))
    with pytest.raises(FormatError, match="holds batch 3 twice"):
        opened(path)
    journal = Journal(path, RUN, restart=True)
    journal.add(3, TWO)
    with pytest.raises(RequestError, match="batch 3 is there already"):
        journal.add(3, TWO)
    journal.close()


@pytest.mark.parametrize("content", [b"3", b"[]", b"{"])
def test_a_journal_that_does_not_say_its_run_is_refused(path, content):
    begin = path.read_bytes().index(b"\n") + 1
    path.write_bytes(path.read_bytes()[:begin] + record(0xFFFFFFFF, content) + record(3, b"{}\n"))
    with pytest.raises(FormatError, match="does not say what run it is of"):
        opened(path)
    path.write_bytes(path.read_bytes()[:begin] + record(3, b"{}\n") + record(0xFFFFFFFF, b"{}"))
    with pytest.raises(FormatError, match="does not begin with what run it is of"):
        opened(path)


def test_a_second_process_is_refused(path):
    pytest.importorskip("fcntl")
    journal = Journal(path, RUN)
    code = (
        f"from refnet.evaluation.journal import Journal; from pathlib import Path; Journal(Path({str(path)!r}), {RUN})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "another process is at this run" in done.stderr
    journal.close()
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_full_disk_leaves_a_journal_that_goes_on(path, monkeypatch):
    journal = Journal(path, RUN)
    real = __import__("os").write

    def full(file, data):
        real(file, bytes(data)[:20])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.write", full)
        with pytest.raises(OSError, match="No space"):
            journal.add(9, ONE)
    journal.close()
    assert opened(path).keys() == {3, 7}


def test_it_is_removed_when_its_run_has_ended(path):
    shutil.copy(path, path.with_suffix(".kept"))
    journal = Journal(path, RUN)
    journal.close(remove=True)
    journal.close()
    assert not path.exists()


def test_a_journal_is_not_made_through_a_link(tmp_path):
    (tmp_path / "run.journal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RequestError, match="exists and is no file"):
        Journal(tmp_path / "run.journal", {})
    assert not (tmp_path / "elsewhere").exists()
