"""The arrays of a file that has arrays alone: which count, in which precision, and what is known of the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.bundle import is_aside
from refnet.files.containers.structure import Contents
from refnet.files.identify.notes import Note

__all__ = ["in_one_precision", "weights_in"]

Params = dict[str, npt.NDArray[Any]]

_COUNTERS = ".num_batches_tracked"  # of PyTorch's batch norms; inference does not read them
_PROFILERS = ("total_ops", "total_params")  # what thop leaves in every module that it has counted
# What PyTorch's quantisation-aware training leaves beside weights: a module that watches or rounds a tensor.
_WATCHERS = re.compile(r"(^|\.)\w*(fake_quant|observer|post_process)\w*(\.|$)")
_NAMED = 4  # names in a note


def weights_in(contents: Contents) -> tuple[Params, tuple[Note, ...]]:
    """The arrays that count, in the precision that refnet computes in, and notes of the others.

    Raises
    ------
    FormatError : there are none, or one holds no floating-point numbers
    """
    kept: Params = {}
    counted: list[str] = []
    trained: list[str] = []
    for key, array in contents.arrays.items():
        if key.endswith(_COUNTERS) or key.startswith("__"):
            continue
        counts = array.dtype.kind in "iu" or key.rpartition(".")[2] in _PROFILERS
        if counts and array.size <= 1:  # such as how many models were averaged
            counted.append(key)
            continue
        if is_aside(key) or _WATCHERS.search(key):
            trained.append(key)
            continue
        if array.dtype.kind != "f":
            raise FormatError(f"{key} holds {array.dtype}, not floating-point numbers: not a checkpoint of weights")
        kept[key] = array if array.dtype == np.float64 else array.astype(np.float32)
    if not kept:
        raise FormatError("holds no weights")
    facts = {"wrapper": contents.wrappers, "beside": contents.beside, "counters": tuple(counted)}
    facts |= {"training": tuple(trained)}
    notes = [Note(kind, tuple(held[:_NAMED]), len(held)) for kind, held in facts.items() if held]
    return in_one_precision(kept), tuple(notes)


def in_one_precision(arrays: Mapping[str, npt.NDArray[Any]]) -> Params:
    """All in float64 where any is, which is exact."""
    if len({array.dtype for array in arrays.values()}) == 1:
        return dict(arrays)
    return {key: array.astype(np.float64) for key, array in arrays.items()}
