"""Candidates in files: what is written is read when asked for, what is damaged is refused in one line."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet import FormatError
from refnet.pack.candidate import read_candidate
from refnet.pack.matching.match import match_tensors

DTYPES = ("<f2", "<f4", "<f8", ">f4", "<i1", "<u1", "<i4", "<i8")


def refused(path, *says):
    with pytest.raises(FormatError) as caught:
        read_candidate(path)
    message = str(caught.value)
    assert message.isprintable()  # hence one line
    assert path.name in message
    for word in says:
        assert word in message


def safetensors(path, tensors, data=b"", header=None, length=None):
    raw = json.dumps(tensors).encode() if header is None else header
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_folder_of_npy_is_read_when_asked_for(tmp_path, dtype):
    arrays = {f"t{i}": (np.arange(6 * i).reshape(i, 2, 3) % 100).astype(dtype) for i in (10, 2, 1)}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", np.asarray(array, order="F" if name == "t2" else "C"))
    (tmp_path / "notes.txt").write_text("not a tensor")
    found = read_candidate(tmp_path)
    assert list(found) == ["t1", "t2", "t10"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == np.dtype(dtype).newbyteorder("=")
        assert found[name] is not found[name]  # nothing is kept
    (tmp_path / "t2.npy").write_bytes((tmp_path / "t2.npy").read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"t2\.npy"):
        found["t2"]


def test_names_keep_their_dots_and_the_folder_may_be_a_pack(tmp_path):
    (tmp_path / "tensors").mkdir()
    np.save(tmp_path / "tensors" / "block1.expand.bn.npy", np.ones(3))
    np.save(tmp_path / "elsewhere.npy", np.ones(3))
    assert list(read_candidate(tmp_path)) == ["block1.expand.bn"]
    assert list(read_candidate(tmp_path / "tensors" / "block1.expand.bn.npy")) == ["block1.expand.bn"]


@pytest.mark.parametrize("suffix", [".bin", ".raw"])
def test_raw_files_are_float32_without_a_shape(tmp_path, suffix):
    x = np.arange(24, dtype="<f4").reshape(1, 2, 3, 4)
    (tmp_path / f"x{suffix}").write_bytes(x.tobytes())
    np.testing.assert_array_equal(read_candidate(tmp_path)["x"], x.ravel())
    np.testing.assert_array_equal(
        match_tensors(read_candidate(tmp_path), {"x": x.shape}, {"x": x}.__getitem__).tensors["x"].array, x
    )


def test_an_archive_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((2, 3), np.float16))
    assert read_candidate(tmp_path / "a.npz")["x"].dtype == np.float16


def test_what_the_safetensors_package_writes_is_read(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    arrays = {f"t{d[1:]}": (np.arange(10).reshape(2, 5) % 7).astype(d) for d in DTYPES if d[0] == "<"}
    package.save_file(arrays, tmp_path / "a.safetensors", {"format": "np"})
    found = read_candidate(tmp_path / "a.safetensors")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_bfloat16_becomes_float32(tmp_path):
    bits = np.array([0x3F80, 0xC000, 0x0000, 0x7F80], "<u2")
    entry = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}
    found = read_candidate(safetensors(tmp_path / "b.safetensors", {"x": entry}, bits.tobytes()))["x"]
    np.testing.assert_array_equal(found, np.array([[1, -2], [0, np.inf]], np.float32), strict=True)


KINDS = ("F64", "F32", "F16", "BF16", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")
X = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("tensors", "data", "says"),
    [
        ({"x": X}, b"1234567", "cut short"),
        ({"x": X}, b"123456789", "bytes of data"),
        ({}, b"", "empty"),
        ([], b"", "no JSON object"),
        ({"x": X, "y": {**X, "data_offsets": [4, 12]}}, bytes(12), "overlaps"),
        ({"x": X, "y": {**X, "data_offsets": [12, 20]}}, bytes(20), "gap"),
        ({"x": {**X, "data_offsets": [-8, 0]}}, bytes(8), "offsets"),
        ({"x": {**X, "data_offsets": [0, 2**70]}}, bytes(8), "offsets"),
        ({"x": {**X, "shape": [3]}}, bytes(8), "shape"),
        ({"x": {**X, "shape": [-1, -2]}}, bytes(8), "no shape"),
        ({"x": {**X, "shape": [True, 2]}}, bytes(8), "no shape"),
        ({"x": {**X, "dtype": "BOOL"}}, bytes(8), "holds BOOL"),
        ({"x": {**X, "dtype": 4}}, bytes(8), "lacks"),
        ({"x": [1]}, bytes(8), "lacks"),
    ],
)
def test_a_malformed_safetensors_file_is_refused(tmp_path, tensors, data, says):
    refused(safetensors(tmp_path / "x.safetensors", tensors, data), says)


@pytest.mark.parametrize("dtype", ["BOOL", "F8_E4M3"])
def test_a_tensor_of_a_safetensors_file_that_holds_no_numbers_does_not_refuse_the_others(tmp_path, dtype):
    mask = {"dtype": dtype, "shape": [3], "data_offsets": [8, 11]}
    found = read_candidate(safetensors(tmp_path / "x.safetensors", {"x": X, "mask": mask}, bytes(11)))
    assert {name: list(y) for name, y in found.items()} == {"x": [0, 0]}
    assert found.unread == {"mask": f"'mask' holds {dtype}; take {', '.join(KINDS)}"}


@pytest.mark.parametrize(
    ("header", "length", "says"),
    [
        (b"{}", 3, "cut short"),
        (b"{}", 2**63, "cut short"),
        (b"{}", 1, ""),
        (b'{"a": 1, "a": 2}', None, "twice"),
        (b"[" * 100_000, None, ""),
        (b"\xff\xfe", None, ""),
    ],
)
def test_a_safetensors_header_that_is_none_is_refused(tmp_path, header, length, says):
    refused(safetensors(tmp_path / "x.safetensors", {}, b"", header, length), says)


@settings(max_examples=60)
@given(cut=st.integers(0, 199), flip=st.integers(0, 255))
def test_hostile_bytes_are_refused_or_read(tmp_path_factory, cut, flip):
    folder = tmp_path_factory.mktemp("hostile")
    np.save(folder / "a.npy", np.arange(12.0))
    raw = bytearray((folder / "a.npy").read_bytes())
    raw[cut] ^= flip
    (folder / "a.npy").write_bytes(raw)
    safe = safetensors(folder / "s", {"x": X}, bytes(8))
    raw = bytearray(safe.read_bytes())
    raw[cut % len(raw)] ^= flip
    (folder / "s.safetensors").write_bytes(raw)
    for path in (folder, folder / "s.safetensors"):
        try:
            for array in read_candidate(path).values():
                assert array.dtype.kind in "fiu"
        except FormatError as error:
            assert str(error).isprintable()  # noqa: PT017


def test_files_that_hold_no_tensor_are_refused(tmp_path):
    refused(tmp_path, "no .npy")
    for number, array in enumerate([np.array([{}]), np.ones(2, bool), np.ones(2, complex), np.array("x")]):
        folder = tmp_path / f"f{number}"
        folder.mkdir()
        np.save(folder / "x.npy", array)
        refused(folder, "x.npy", "holds")
        np.savez(folder / "x.npz", x=array)
        refused(folder / "x.npz", "holds")
    twice = tmp_path / "twice"
    twice.mkdir()
    np.save(twice / "x.npy", np.ones(2))
    (twice / "x.bin").write_bytes(bytes(8))
    refused(twice, "one name")
    (tmp_path / "x.bin").write_bytes(bytes(7))
    refused(tmp_path, "7 bytes")
    (tmp_path / "x.bin").write_bytes(b"")
    refused(tmp_path, "0 bytes")
    (tmp_path / "x.txt").write_text("hello")
    refused(tmp_path / "x.txt", "take a folder")
    np.savez(tmp_path / "none.npz")
    refused(tmp_path / "none.npz")


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(5.0))
    raw = (tmp_path / "x.npy").read_bytes()
    for length in (0, 5, 8, 60, len(raw) - 1):
        (tmp_path / "x.npy").write_bytes(raw[:length])
        refused(tmp_path, "x.npy")
    (tmp_path / "x.npy").write_bytes(raw + b"0")
    refused(tmp_path, "not as long")


def test_a_missing_path_passes_through(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_candidate(tmp_path / "none")


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "port").mkdir()
    np.save(tmp_path / "secret.npy", np.ones(3, np.float32))
    (tmp_path / "port" / "a.npy").symlink_to(tmp_path / "secret.npy")
    with pytest.raises(FormatError, match=r"a\.npy: is a link that leads out of the folder"):
        read_candidate(tmp_path / "port")
    (tmp_path / "port" / "a.npy").unlink()
    np.save(tmp_path / "port" / "b.npy", np.ones(3, np.float32))
    (tmp_path / "port" / "a.npy").symlink_to("b.npy")
    assert list(read_candidate(tmp_path / "port")) == ["a", "b"]
