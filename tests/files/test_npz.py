"""NumPy's archives: what is written comes back, equal arrays make equal bytes, no file asks for more than it is."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from numpy.typing import NDArray

from refnet.errors import FormatError
from refnet.files.containers import npz, read

DTYPES = ("?", "<u1", "<i1", "<i8", ">i4", "<f2", "<f4", ">f4", "<f8", "<c8", "<U5", "S3")
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: nps.arrays(np.dtype(dtype), nps.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
NAMES = st.text(st.characters(categories=("L", "N"), include_characters="._- "), max_size=8)
ARCHIVES = st.dictionaries(NAMES, ARRAYS, max_size=4)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "arrays.npz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("npz")


def member(array: NDArray[Any], **how: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **how)
    return stream.getvalue()


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    """The start of a .npy file with any text for a header."""
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode("latin1")


def archived(path: Path, members: dict[str, bytes], **how: Any) -> Path:
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return path


def refused(path: Path, *says: str) -> None:
    """The complaint about a file: a FormatError of one line, naming the file and what is wrong."""
    for reader in (npz.read, read):
        with pytest.raises(FormatError) as caught:
            reader(path)
        message = str(caught.value)
        assert message.isprintable()  # hence one line
        assert path.name in message
        assert len(message) < 500 + len(str(path))
        if reader is npz.read:
            for word in says:
                assert word in message


# What is written


@pytest.mark.parametrize("reader", [npz.read, read])
@pytest.mark.parametrize("compressed", [False, True])
@given(arrays=ARCHIVES)
def test_what_is_written_is_read(folder: Path, compressed: bool, reader: Any, arrays: dict[str, NDArray[Any]]) -> None:
    npz.write(folder / "a.npz", arrays, compressed=compressed)
    found = reader(folder / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@given(arrays=ARCHIVES)
def test_numpy_reads_what_is_written(folder: Path, arrays: dict[str, NDArray[Any]]) -> None:
    npz.write(folder / "a.npz", arrays)
    with np.load(folder / "a.npz", allow_pickle=False) as found:
        for name, array in arrays.items():
            assert found[f"{name}.npy"].tobytes() == array.tobytes()


@given(arrays=ARCHIVES)
def test_what_numpy_writes_is_read(folder: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with zipfile.ZipFile(folder / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:  # savez takes no name such as 'file'
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", member(array))
    for name, array in npz.read(folder / "b.npz").items():
        assert array.tobytes() == arrays[name].tobytes()


@given(array=ARRAYS, compressed=st.booleans())
def test_equal_arrays_make_equal_bytes(folder: Path, array: NDArray[Any], compressed: bool) -> None:
    spread = np.repeat(array[None], 2, axis=0)[0] if array.ndim else array.copy()
    for name, same in (("c", array), ("f", np.asarray(array, order="F")), ("s", spread)):
        npz.write(folder / name, {"x": same}, compressed=compressed)
    assert (folder / "c").read_bytes() == (folder / "f").read_bytes() == (folder / "s").read_bytes()


def test_a_fortran_array_of_another_writer_is_read(file: Path) -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez(file, x=array)
    np.testing.assert_array_equal(npz.read(file)["x"], array)


def test_the_path_may_be_a_string(file: Path) -> None:
    npz.write(str(file), {"x": np.ones(2)})
    assert list(npz.read(str(file))) == ["x"]


# A write is whole or not at all


def half_written(stream: Any, array: NDArray[Any], **_: Any) -> None:
    stream.write(b"half")
    raise KeyboardInterrupt


@pytest.mark.parametrize("before", [True, False], ids=["over a file", "to a new file"])
def test_an_interrupted_write_leaves_the_folder_as_it_was(
    file: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    if before:
        npz.write(file, {"x": np.arange(3)})
    monkeypatch.setattr(np.lib.format, "write_array", half_written)
    with pytest.raises(KeyboardInterrupt):
        npz.write(file, {"x": np.zeros(5)})
    assert list(file.parent.iterdir()) == ([file] if before else [])
    if before:
        np.testing.assert_array_equal(npz.read(file)["x"], [0, 1, 2])


def test_objects_are_not_written(file: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        npz.write(file, {"good": np.ones(2), "bad": np.array([{}])})
    assert list(file.parent.iterdir()) == []


def test_a_written_file_can_be_read_by_others(file: Path) -> None:
    npz.write(file, {"x": np.ones(2)})
    assert os.name == "nt" or file.stat().st_mode & 0o777 == 0o644


# What is refused


def test_objects_are_refused(file: Path) -> None:
    np.savez(file, x=np.array([{}, []], dtype=object))
    refused(file, "'x.npy' holds Python objects")


def test_objects_within_records_are_refused(file: Path) -> None:
    np.savez(file, x=np.zeros(2, [("a", "f4"), ("b", "O")]))
    refused(file, "Python objects")


def test_a_file_cut_short_anywhere_is_refused(file: Path) -> None:
    npz.write(file, {"x": np.arange(6.0), "y": np.ones((2, 2))}, compressed=True)
    raw = file.read_bytes()
    for length in range(1, len(raw)):
        file.write_bytes(raw[:length])
        refused(file)


@pytest.mark.parametrize("raw", [b"", b"garbage", b"PK\x03\x04", member(np.ones(3))])
def test_what_is_no_archive_is_refused(file: Path, raw: bytes) -> None:
    file.write_bytes(raw)
    refused(file)


def test_one_wrong_byte_is_seen(file: Path) -> None:
    npz.write(file, {"x": np.arange(6.0)})
    raw = bytearray(file.read_bytes())
    raw[raw.index(np.arange(6.0).tobytes()) + 13] ^= 1
    file.write_bytes(raw)
    refused(file, "CRC")


@pytest.mark.parametrize("names", [("x.npy", "x.npy"), ("x.npy", "x")])
def test_two_arrays_of_one_name_are_refused(file: Path, names: tuple[str, str]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(names[0], member(np.ones(2)))
    with zipfile.ZipFile(file, "a") as archive:
        archive.NameToInfo.clear()  # it would warn
        archive.writestr(names[1], member(np.zeros(2)))
    refused(file, "'x' twice")


@pytest.mark.parametrize("shape", [(1000,), (2**20, 2**20, 2**20), (2**62, 4), (-1, -8), (-8,), (2, -4)])
@pytest.mark.parametrize("descr", ["<f8", "S0", "V0", "<U0", "|u1"])
def test_a_header_cannot_promise_more_than_its_member_holds(file: Path, shape: tuple[int, ...], descr: str) -> None:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"
    refused(archived(file, {"x.npy": header(text) + bytes(64)}), "'x.npy' is cut short")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[" * 9000,
        "(" * 150 + ")" * 150,
        "-" * 9000 + "1",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)",
        "{'descr': '<f8', 'fortran_order': False, 'shape': 2}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2.0,)}",
        "{'descr': '<f8', 'fortran_order': 0, 'shape': (2,)}",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': [('a',)], 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1," * 99 + ")}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'more': 1}",
        "__import__('os').system('true')",
        " " * 20_000,
        "'unclosed\n  \n\tindent",
        "\0",
    ],
)
@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"])
def test_a_header_of_nonsense_is_refused(file: Path, text: str, version: bytes) -> None:
    refused(archived(file, {"x.npy": header(text, version) + bytes(16)}))


def test_a_header_cannot_say_how_long_it_is_beyond_its_member(file: Path) -> None:
    refused(archived(file, {"x.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}"}))


def test_nothing_follows_an_array(file: Path) -> None:
    refused(archived(file, {"x.npy": member(np.ones(2)) + b"more"}), "not as long as its array")


def test_a_member_that_is_no_array_is_refused(file: Path) -> None:
    refused(archived(file, {"x.npy": member(np.ones(2)), "readme.txt": b"hello, reader"}))


def declared(path: Path, size: int) -> Path:
    """An archive of one compressed array whose directory declares another unpacked size."""
    raw = bytearray(archived(path, {"x.npy": member(np.zeros(1000))}, compression=zipfile.ZIP_DEFLATED).read_bytes())
    at = raw.rindex(b"PK\x01\x02") + 24
    raw[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(raw)
    return path


def test_an_archive_that_declares_too_much_is_refused_unread(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "_LARGEST", 2**30)
    refused(declared(file, 2**31), "declares more than 1 GiB")


@pytest.mark.parametrize("size", [0, 8000, 8127, 8129, 2**31])
def test_an_archive_that_declares_another_size_than_it_has_is_refused(file: Path, size: int) -> None:
    refused(declared(file, size))


def test_the_sizes_of_all_members_are_added(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "_LARGEST", 2**20)
    arrays = {f"{i}": np.zeros(2**15) for i in range(5)}
    npz.write(file, arrays, compressed=True)
    refused(file, "declares more than")


def test_a_file_that_is_not_there_is_no_format_error(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        npz.read(file)


@settings(max_examples=int(os.environ.get("REFNET_FUZZ", "200")), suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=3), st.integers(0, 3)), max_size=4),
    compressed=st.booleans(),
    checked=st.booleans(),
)
def test_a_damaged_archive_gives_arrays_or_a_format_error(
    folder: Path, changes: list[tuple[int, bytes, int]], compressed: bool, checked: bool
) -> None:
    """Damage to the archive, or to an array before it is archived, which no checksum sees."""

    def damaged(raw: bytes) -> bytes:
        changed = bytearray(raw)
        for at, new, gone in changes:
            at %= max(len(changed), 1)
            changed[at : at + gone] = new
        return bytes(changed)

    path = folder / "fuzz.npz"
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    if checked:
        npz.write(path, {"x": array, "y": array}, compressed=compressed)
        path.write_bytes(damaged(path.read_bytes()))
    else:
        archived(path, {"x.npy": damaged(member(array))}, compression=8 if compressed else 0)
    try:
        found = read(path)
    except FormatError as error:
        message = str(error)
    else:
        assert all(isinstance(array, np.ndarray) and not array.dtype.hasobject for array in found.values())
        return
    assert message.isprintable()
    assert path.name in message
