"""PyTorch checkpoints written by hand, right and wrong ones, without PyTorch."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
SIX = np.arange(6, dtype=np.float32)  # what a storage holds by default


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def plain(value: object) -> bytes:
    """The instructions that make a value, without the frame of a pickle."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 2)
    pickler.fast = True
    pickler.dump(value)
    return file.getvalue()[2:-1]


def tensor(
    *size: int, stride: Any = None, offset: int = 0, key: str = "0", kind: str = "Float", numel: int = 6
) -> bytes:
    """The instructions that describe a tensor, by default a contiguous one."""
    strides = stride or tuple(int(np.prod(size[axis + 1 :])) for axis in range(len(size)))
    storage = b"(" + text("storage") + b"ctorch\n%sStorage\n" % kind.encode() + plain(key) + text("cpu") + plain(numel)
    view = plain(offset) + plain(size) + plain(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQ" + view + b"\x89NtR"


def dictionary(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def checkpoint(path: Path, program: bytes, *, data: bytes = SIX.tobytes(), **members: bytes) -> Path:
    """A zip checkpoint around a program; `members` are further ones, or take the place of what it has."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in ({"data.pkl": b"\x80\x02" + program + b".", "data/0": data} | members).items():
            file.writestr(f"archive/{name}", content)
    return path


def legacy(
    path: Path, program: bytes, keys: object = ("0",), tail: bytes = struct.pack("<q", 6) + SIX.tobytes()
) -> Path:
    start = b"".join(pickle.dumps(value, 2) for value in (MAGIC, 1001, {"little_endian": True}))
    path.write_bytes(start + b"\x80\x02" + program + b"." + pickle.dumps(list(keys), 2) + tail)  # type: ignore[call-overload]
    return path
