"""Mutants of single files that know what they damage: lengths and checksums are right, what they say is not."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping

import numpy as np
from fuzz_archives import archive_mutant
from fuzz_commands import json_mutant
from fuzz_hdf5 import hdf5_mutant
from fuzz_messages import names, protobuf_mutant
from fuzz_pickles import pickle_mutants

__all__ = ["KNOWING"]

Mutant = Callable[[bytes, np.random.Generator], bytes]

_WORDS = [0, 1, 2, 4, 31, 33, 127, 255, 4096, 65535, 2**20, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1]
_PATHS = [b"location", b"../outside", b"/etc/hostname", b"good0", b"mutant", b".", b"a/../../x", b"x" * 5000, b"a\0b"]
_HEADS = [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 0, 0, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (3L,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 90 + ")" * 90 + ", }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
]


def _onnx(data: bytes, rng: np.random.Generator) -> bytes:
    """Names are also those of other files, as external data has them."""
    return protobuf_mutant(data, rng, [*names(data), *_PATHS])


def _tflite(data: bytes, rng: np.random.Generator) -> bytes:
    """Aligned words, where offsets, lengths, strides and shapes are, of other tables or of no table."""
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = 4 * int(rng.integers(1, len(made) // 4))
        if rng.random() < 0.5:
            made[at : at + 4] = struct.pack("<I", _WORDS[int(rng.integers(len(_WORDS)))])
        else:
            other = 4 * int(rng.integers(1, len(made) // 4))
            made[at : at + 4] = made[other : other + 4]
    return bytes(made)


def _safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    length = int.from_bytes(data[:8], "little")
    head = json_mutant(json.loads(data[8 : 8 + length]), rng)
    text = json.dumps(head).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _members(data: bytes, change: Callable[[str, bytes], bytes], rng: np.random.Generator, ends: str) -> bytes:
    """An archive of which one member that ends so is changed, and compressed."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = {name: source.read(name) for name in source.namelist()}
    fit = [name for name in members if name.endswith(ends)]
    chosen = fit[int(rng.integers(len(fit)))]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for name, body in members.items():
            target.writestr(name, change(name, body) if name == chosen else body)
    return made.getvalue()


def _keras(data: bytes, rng: np.random.Generator) -> bytes:
    what = rng.random()
    if what < 0.3:
        return archive_mutant(data, rng)
    if what < 0.5:
        return _members(data, lambda _, body: hdf5_mutant(body, rng), rng, ".h5")

    def change(name: str, body: bytes) -> bytes:
        if rng.random() < 0.05:
            return bytes([body[0]]) * int(rng.choice([10**4, 10**6, 3 * 10**7]))
        return json.dumps(json_mutant(json.loads(body), rng)).encode("utf-8", "surrogatepass")

    return _members(data, change, rng, ".json")


def _npz(data: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.5:
        return archive_mutant(data, rng)

    def change(name: str, body: bytes) -> bytes:
        head = _HEADS[int(rng.integers(len(_HEADS)))].ljust(501).encode() + b"\n"
        start = 10 + int.from_bytes(body[8:10], "little")
        tail = bytes(int(rng.choice([0, 10**7]))) if rng.random() < 0.3 else body[start:]
        return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + tail

    return _members(data, change, rng, ".npy")


def _hdf5(data: bytes, rng: np.random.Generator) -> bytes:
    """As h5py writes it, or with other words: HDF5 has no lengths that must be right."""
    if rng.random() < 0.5:
        return hdf5_mutant(data, rng)
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = 8 * int(rng.integers(len(made) // 8))
        made[at : at + 8] = struct.pack("<Q", _WORDS[int(rng.integers(len(_WORDS)))])
    return bytes(made)


def _pth(data: bytes, rng: np.random.Generator) -> bytes:
    """An archive that lies; what the pickle in it says is changed by `fuzz_pickles`."""
    return archive_mutant(data, rng) if data[:2] == b"PK" else next(pickle_mutants(data, int(rng.integers(2**31)), 1))


KNOWING: Mapping[str, Mutant] = {
    "onnx": _onnx,
    "tflite": _tflite,
    "safetensors": _safetensors,
    "keras": _keras,
    "npz": _npz,
    "hdf5": _hdf5,
    "pth": _pth,
}
