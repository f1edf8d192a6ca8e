"""safetensors files: read as the library reads them, or refused in one line; written as the library does."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refnet.errors import FormatError, RequestError
from refnet.files import containers
from refnet.files.containers import safetensors

library = pytest.importorskip("safetensors")
in_numpy = pytest.importorskip("safetensors.numpy")

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 7,
    "half": np.array([[1, -2], [65504, 6e-8]], np.float16),
    "double": np.array([np.pi]),
    "bn.num_batches_tracked": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "int8": np.array([-128, 127], np.int8),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def put(path: Path, header: bytes | dict[str, Any], data: bytes = bytes(8), length: int | None = None) -> Path:
    raw = json.dumps(header).encode() if isinstance(header, dict) else header
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name].dtype == array.dtype
        and found[name].shape == array.shape
        and found[name].tobytes() == array.tobytes()
        for name, array in wanted.items()
    )


def test_what_the_library_writes_is_read(path: Path) -> None:
    in_numpy.save_file(ARRAYS, path, {"format": "np"})
    contents = containers.read(path)
    assert (contents.kind, contents.structure) == ("safetensors", None)
    assert same(contents.arrays, ARRAYS)


def test_what_is_written_the_library_reads(path: Path) -> None:
    safetensors.write(path, ARRAYS)
    assert same(in_numpy.load_file(path), ARRAYS)
    with library.safe_open(path, framework="np") as file:
        assert file.metadata() == {"format": "pt"}  # which timm and transformers ask for


def test_what_is_written_reads_back_in_order(path: Path) -> None:
    turned = {name: np.array(array, array.dtype.newbyteorder(">"), order="F") for name, array in ARRAYS.items()}
    safetensors.write(path, turned)
    found = safetensors.read(path)
    assert list(found) == list(ARRAYS)
    assert same(found, ARRAYS)


def test_bfloat16_becomes_float32(path: Path) -> None:
    bits = np.array([0x3F80, 0xC000, 0x0001, 0x7F80], "<u2")
    put(path, {"x": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}, bits.tobytes())
    found = safetensors.read(path)["x"]
    assert np.array_equal(found, np.array([[1, -2], [2.0**-133, np.inf]], np.float32))
    assert found.dtype == np.float32


X = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HALF = json.dumps({"a": X}).encode().replace(b'"a"', rb'"\ud800"')


@pytest.mark.parametrize(
    ("header", "data", "length", "why"),
    [
        ({"x": X}, b"1234567", None, "cut short"),
        ({"x": X}, b"123456789", None, "9 bytes of data for tensors of 8"),
        ({}, b"", None, "empty"),
        ({"x": X, "y": {**X, "data_offsets": [4, 12]}}, bytes(12), None, "'y' overlaps"),
        ({"x": X, "y": {**X, "data_offsets": [12, 20]}}, bytes(20), None, "'y' leaves a gap"),
        ({"x": {**X, "data_offsets": [8, 0]}}, bytes(8), None, "are no offsets"),
        ({"x": {**X, "data_offsets": [0, True]}}, bytes(8), None, "are no offsets"),
        ({"x": {**X, "shape": [3]}}, bytes(8), None, "offsets 0 to 8 for shape"),
        ({"x": {**X, "shape": [2**40, 2**40, 0], "data_offsets": [0, 0]}}, b"", None, "impossible shape"),
        ({"x": {**X, "shape": [0, 2**63], "data_offsets": [0, 0]}}, b"", None, "no shape"),
        ({"x": {**X, "shape": [1] * 65}}, bytes(8), None, "no shape"),
        ({"x": {**X, "shape": [2.0]}}, bytes(8), None, "no shape"),
        ({"x": {**X, "dtype": "F8_E4M3"}}, bytes(8), None, "holds F8_E4M3; take F64, F32"),
        ({"x": {"dtype": "F32", "shape": [2]}}, bytes(8), None, "'x' lacks"),
        ({"__metadata__": {"a": 1}, "x": X}, bytes(8), None, "__metadata__"),
        ({"__metadata__": [], "x": X}, bytes(8), None, "__metadata__"),
        (b'{"a": 1, "a": 2}', b"", None, "names 'a' twice"),
        (b'{"a": {"dtype": "F32", "dtype": "F32"}}', b"", None, "names 'dtype' twice"),
        (b'{"a": NaN}', b"", None, "holds NaN"),
        (b'{"a": 1', b"", None, "no JSON"),
        (b'{"\xff": 1}', b"", None, "no JSON"),
        (HALF, bytes(8), None, "no text"),
        (b'{"a":' + b"[" * 100_000, b"", None, "nested too deeply"),
        ({"x": X}, b"", 2**62, None),
    ],
)
def test_malformed_files_are_refused_in_one_line(
    path: Path, header: Any, data: bytes, length: int | None, why: str | None
) -> None:
    put(path, header, data, length)
    with pytest.raises(FormatError, match=why) as caught:
        safetensors.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


def test_a_header_longer_than_that_of_any_network_is_refused(path: Path) -> None:
    put(path, b"{" + b" " * (9 << 20))
    with pytest.raises(FormatError, match="the longest that is read"):
        safetensors.read(path)


def test_another_kind_of_number_is_not_written(path: Path) -> None:
    with pytest.raises(RequestError, match="'x' has dtype <c8: safetensors take F64"):
        safetensors.write(path, {"x": np.ones(2, np.complex64)})
    assert not path.exists()


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_a_changed_file_is_refused_or_read_as_the_library_reads_it(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, cut: bool
) -> None:
    path = tmp_path_factory.mktemp("changed") / "weights"
    safetensors.write(path, ARRAYS)
    data = bytearray(path.read_bytes())
    at %= len(data)
    data[at] = byte
    path.write_bytes(data[:at] if cut else data)
    try:
        found = containers.read(path).arrays
    except FormatError as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert same(found, in_numpy.load_file(path))
