"""A labelled set of images in an array: an .npz archive with x and y, or an .npy file with its labels in another.

An .npy file is mapped, not read, so that it may be larger than memory; an .npz archive is read whole. Never pickles.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.evaluation.dataset import Dataset, fingerprint
from refnet.files.containers import npz
from refnet.files.containers.archive import small_text

__all__ = ["read_arrays", "read_labels"]

Array = npt.NDArray[Any]

_LARGEST = 64 << 20  # bytes of a text of labels
_TAKE = "take floats (N, C, H, W) that are ready for the network, or uint8 pixels (N, H, W, 3)"


def read_arrays(path: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None) -> Dataset:
    """Read images and labels.

    Parameters
    ----------
    path : of an .npz archive with x, the images, and y, their classes; or of an .npy file with x alone
    labels : of the file with y that goes with an .npy file, see `read_labels`

    Raises
    ------
    FormatError : a file cannot be read
    RequestError : x or y is missing, is of another shape or dtype, or one is longer than the other
    """
    file = Path(path)
    if file.suffix == ".npz":
        if labels is not None:
            raise RequestError(f"{file}: an .npz archive has its labels inside, as y; --labels goes with .npy")
        arrays = npz.read(file)
        if lacking := [name for name in ("x", "y") if name not in arrays]:
            raise RequestError(f"{file}: has no array {lacking[0]!r}; take x, the images, and y, their classes")
        x, y = arrays["x"], arrays["y"]
    elif labels is None:
        raise RequestError(f"{file}: images without labels; give them with --labels FILE")
    else:
        x, y = _mapped(file), read_labels(labels)
    _refuse_images(file, x)
    if y.ndim != 1 or y.dtype.kind not in "iu" or (y.size and int(y.max()) > np.iinfo(np.int64).max):
        raise RequestError(f"{labels or file}: labels of shape {y.shape}, {y.dtype}; take one integer for each image")
    if len(x) != len(y):
        raise RequestError(f"{labels or file}: {len(y)} labels for {len(x)} images")
    stat = file.stat()
    return Dataset(
        what=file.name,
        names=[f"image {index}" for index in range(len(x))],
        labels=y.astype(np.int64),
        images=x,
        listing=fingerprint([(x.shape, x.dtype.str, stat.st_size, stat.st_mtime_ns)], y.astype(np.int64)),
    )


def read_labels(path: str | os.PathLike[str]) -> Array:
    """Read the class of each image: an .npy file of integers, or a text with one a line.

    Raises
    ------
    FormatError : it is neither
    """
    file = Path(path)
    if file.suffix == ".npy":
        return np.array(_mapped(file))
    lines = small_text(file, _LARGEST).split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    labels = []
    for number, line in enumerate(lines, 1):
        word = line.strip()
        if not (word.isascii() and word.removeprefix("-").isdigit() and len(word) < 19):
            raise FormatError(f"{file}: line {number} is no class: {word[:40]!r}; take one integer a line")
        labels.append(int(word))
    return np.array(labels, np.int64)


def _mapped(file: Path) -> Array:
    """An .npy file as an array whose pages are read when they are looked at."""
    if not file.is_file():
        raise FormatError(f"{file}: no such file")
    try:
        return np.asarray(np.lib.format.open_memmap(file, mode="r"))
    except Exception as error:  # hostile bytes make NumPy's headers raise nearly anything
        raise FormatError(f"{file}: not a readable .npy array: {' '.join(str(error).split())[:200]}") from None


def _refuse_images(file: Path, x: Array) -> None:
    if x.ndim != 4:
        raise RequestError(f"{file}: images of shape {x.shape}; {_TAKE}")
    if x.size == 0:
        raise RequestError(f"{file}: holds no images: its shape is {x.shape}")
    if x.dtype == np.uint8:
        if x.shape[3] != 3:
            turned = ": x.transpose(0, 2, 3, 1)" if x.shape[1] == 3 else ""
            raise RequestError(f"{file}: pixels of shape {x.shape}; take (N, H, W, 3){turned}")
    elif x.dtype not in (np.float32, np.float64):
        raise RequestError(f"{file}: images of {x.dtype}; {_TAKE}")
