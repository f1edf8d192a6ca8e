"""NumPy archives: what is written is read again, and hostile ones are refused in one line."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from refnet.errors import FormatError, RequestError
from refnet.files.containers import npz

ARRAYS = {"stem.conv.w": np.arange(12, dtype=np.float32).reshape(3, 4), "n": np.array(7), "empty": np.zeros((2, 0))}
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
DTYPES = nps.boolean_dtypes() | nps.integer_dtypes() | nps.floating_dtypes() | nps.unicode_string_dtypes(max_len=4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    npz.write(tmp_path / "a.npz", ARRAYS)
    return tmp_path / "a.npz"


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return list(found) == list(expected) and all(
        found[name].dtype == np.asarray(array).dtype.newbyteorder("=")
        and found[name].shape == np.shape(array)
        and found[name].tobytes() == np.asarray(array, found[name].dtype).tobytes()
        for name, array in expected.items()
    )


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def npy(descr: object, shape: object, body: bytes = b"", fortran: object = False) -> bytes:
    """An .npy file whose header promises anything."""
    header = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


def refuses(path: Path, why: str) -> None:
    with pytest.raises(FormatError, match=why) as caught:
        npz.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@given(st.dictionaries(NAMES, nps.arrays(DTYPES, nps.array_shapes(min_dims=0, min_side=0)), max_size=4), st.booleans())
def test_what_is_written_is_read_again(tmp_path_factory: Any, arrays: dict[str, Any], compressed: bool) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    npz.write(path, arrays, compressed=compressed)
    assert same(npz.read(path), arrays)


def test_numpy_reads_what_is_written(path: Path) -> None:
    with np.load(path) as found:
        assert same(dict(found), ARRAYS)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(path: Path, save: Any) -> None:
    save(path, **ARRAYS)
    assert same(npz.read(path), ARRAYS)


def test_arrays_are_contiguous_copies_in_native_order(path: Path) -> None:
    np.savez(path, turned=np.asfortranarray(ARRAYS["stem.conv.w"]), big=np.arange(3, dtype=">f8"))
    found = npz.read(path)
    assert same(found, {"turned": ARRAYS["stem.conv.w"], "big": np.arange(3, dtype=np.float64)})
    assert all(array.flags.c_contiguous and array.flags.writeable for array in found.values())
    assert found["big"].dtype.isnative


def test_versions_1_and_2_of_the_header_are_read(path: Path) -> None:
    body = io.BytesIO()
    np.lib.format.write_array(body, ARRAYS["stem.conv.w"], version=(2, 0))
    assert same(npz.read(archive(path, {"w.npy": body.getvalue()})), {"w": ARRAYS["stem.conv.w"]})


def test_any_byte_is_a_bool(path: Path) -> None:
    archive(path, {"b.npy": npy("|b1", (3,), b"\x00\x01\x02")})
    assert same(npz.read(path), {"b": np.array([False, True, True])})


@pytest.mark.parametrize("compressed", [False, True])
def test_equal_arrays_make_equal_bytes(tmp_path: Path, compressed: bool) -> None:
    order = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1, 2], ">i4")}
    again = {"a": np.asfortranarray(order["a"]), "b": order["b"].astype("<i4")}
    for name, arrays in (("one.npz", order), ("other.npz", again)):
        npz.write(tmp_path / name, arrays, compressed=compressed)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()


def test_compressed_is_smaller(path: Path) -> None:
    npz.write(path, {"zeros": np.zeros(10_000)}, compressed=True)
    assert path.stat().st_size < 1000


def test_a_file_that_is_there_is_replaced(path: Path) -> None:
    npz.write(path, {"b": np.ones(2)})
    assert same(npz.read(path), {"b": np.ones(2)})


def test_a_failure_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "open", full)
        with pytest.raises(RequestError, match=r"a\.npz: cannot be written \(No space left on device\)"):
            npz.write(path, {"b": np.ones(2)})
    assert list(path.parent.iterdir()) == [path]
    assert same(npz.read(path), ARRAYS)


@pytest.mark.parametrize("compressed", [False, True])
def test_parts_make_the_bytes_that_the_whole_makes(tmp_path: Path, compressed: bool) -> None:
    whole = np.arange(15.0).reshape(5, 3)
    npz.write(tmp_path / "whole.npz", {"x": whole}, compressed=compressed)
    parts = npz.Rows((5, 3), whole.dtype, (whole[at : at + 2] for at in (0, 2, 4)))
    npz.write(tmp_path / "parts.npz", {"x": parts}, compressed=compressed)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_parts_that_do_not_add_up_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rows that do not add up to the shape \(5, 3\)"):
        npz.write(tmp_path / "a.npz", {"x": npz.Rows((5, 3), np.dtype(float), [np.zeros((4, 3))])})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="missing: is no folder to write into"):
        npz.write(tmp_path / "missing" / "a.npz", ARRAYS)


@pytest.mark.parametrize("array", [np.array([None]), np.zeros(2, "f4,i4"), np.array(["2020"], "M8")])
def test_objects_and_records_are_not_written(tmp_path: Path, array: Any) -> None:
    with pytest.raises(RequestError, match=r"'x' has dtype .*: only numbers, bools and text"):
        npz.write(tmp_path / "a.npz", {"x": array})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "\ud800"])
def test_names_that_no_member_can_have_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="cannot be the name of an array"):
        npz.write(tmp_path / "a.npz", {name: np.ones(2)})


def test_objects_are_refused(path: Path) -> None:
    np.savez(path, x=np.array([{"a": 1}], object))
    refuses(path, r"'x\.npy' holds Python objects, which could run code: refused")


@pytest.mark.parametrize("descr", [[("a", "<f4")], "|V2", "<M8[s]", "(2,)f4"])
def test_records_are_refused(path: Path, descr: object) -> None:
    refuses(archive(path, {"x.npy": npy(descr, (1,), bytes(8))}), "holds records or a type that is not read")


@pytest.mark.parametrize("shape", [(10**12,), (2**62, 2**62), (0, 2**62), (-1,), (0, -(2**70)), (True,)])
def test_shapes_are_not_believed(path: Path, shape: tuple[int, ...]) -> None:
    """Each would make NumPy allocate the array before it looks for the numbers."""
    refuses(archive(path, {"x.npy": npy("<f4", shape, b"1234")}), "'x.npy' has an impossible shape")


@pytest.mark.parametrize("body", [bytes(23), bytes(25), b""])
def test_another_size_than_the_shape_says_is_refused(path: Path, body: bytes) -> None:
    refuses(archive(path, {"x.npy": npy("<f4", (2, 3), body)}), "has another size than its shape and dtype say")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"numbers",
        npy("<f4", (2,))[:9],
        npy("<f4", (2,)).replace(b"(2,)", b"2   "),
        npy("<f4", (2,)).replace(b"<f4", b"<q9"),
        npy("<f4", (2,)).replace(b"{", b"["),
        npy("<f4", "(" * 9000),
        npy("<f4", 10**4000),
        npy("<f4", (2,)).replace(b"(2,)", b"{[]}"),
        npy("<f4", (2,)).replace(b"(2,)", b"'''("),
    ],
    ids=range(10),
)
def test_damaged_headers_are_refused(path: Path, data: bytes) -> None:
    refuses(archive(path, {"x.npy": data}), "'x.npy' is not a whole .npy file")


def test_later_versions_of_the_header_are_refused(path: Path) -> None:
    refuses(archive(path, {"x.npy": b"\x93NUMPY\x03\x00"}), "is .npy version 3.0: only 1.0 and 2.0 are read")


def test_other_members_are_refused(path: Path) -> None:
    refuses(archive(path, {"readme.txt": b"hello"}), "'readme.txt' is not an array: not an .npz archive")


@pytest.mark.parametrize("size", [10, 100, -1])
def test_a_truncated_archive_is_refused(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    refuses(path, "a truncated or damaged zip archive .* cut short")


def test_an_archive_whose_table_of_contents_is_overwritten_is_refused_in_words_of_refnet(path: Path) -> None:
    data = path.read_bytes()
    at = data.index(b"PK\x01\x02")
    path.write_bytes(data[:at] + bytes(4) + data[at + 4 :])
    refuses(path, "its table of contents, at its end, is overwritten")


def test_a_wrong_checksum_is_refused(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(np.float32(5).tobytes(), np.float32(6).tobytes(), 1))
    refuses(path, r"'stem\.conv\.w\.npy' is damaged \(its checksum is wrong\)")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_ends_before_its_declared_size_is_refused(path: Path) -> None:
    """Its checksum is right: it is that of what is there."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.npy", npy("<f4", (100,), bytes(400)))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 24  # of the table of contents
    (size,) = struct.unpack_from("<I", content, at)
    struct.pack_into("<I", content, at, size + 1)
    path.write_bytes(content)
    refuses(path, f"its size is not the declared {size + 1}")


def test_a_name_that_is_there_twice_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("n.npy", b"")
    refuses(path, r"'n\.npy' is there twice")


def test_bombs_are_refused_before_they_are_unpacked(path: Path) -> None:
    zeros = npy("|u1", (1 << 27,), bytes(1 << 27))
    refuses(archive(path, {"x.npy": zeros}, zipfile.ZIP_DEFLATED), "would unpack to more than 67108864 bytes")


@given(st.data())
def test_damage_anywhere_is_noticed_or_harmless(tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    npz.write(path, ARRAYS, compressed=data.draw(st.booleans()))
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with contextlib.suppress(FormatError):
        npz.read(path)
