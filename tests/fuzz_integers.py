"""Mutants of files of integers: ONNX, TFLite and PyTorch, each changed as the file that it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fuzz import damaged
from fuzz_headers import KNOWING
from fuzz_pickles import pickle_mutants

from refnet.errors import FormatError
from refnet.files.quantised import read_quantised

__all__ = ["integer_mutants", "read"]


def integer_mutants(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Copies of which every third has bytes damaged, and the others say something else in a form that is right."""
    rng = np.random.default_rng(seed)
    pickles = pickle_mutants(data, seed, count) if data[:2] == b"PK" else None
    change = KNOWING["tflite" if data[4:8] == b"TFL3" else "onnx"]
    for index in range(count):
        if index % 3 == 0:
            yield damaged(data, rng)
        else:
            yield change(data, rng) if pickles is None else next(pickles)


def read(path: Path) -> dict[str, np.ndarray]:
    """No arrays to compare: a network of integers, where it still is one."""
    if read_quantised(path) is None:
        raise FormatError("a network of floats")
    return {}
