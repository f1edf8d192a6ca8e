"""Arrays of a layer under the words of another framework: Paddle's `_mean` for PyTorch's `running_mean`.

The layers have a vendor's names, and their arrays have not. What each array is, its last word tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy.typing as npt

from refnet.files.schemes import Entry, is_pytorch

__all__ = ["in_torch_words", "other_way_round"]

Arrays = Mapping[str, npt.NDArray[Any]]

_WORDS = {
    "_mean": "running_mean",
    "_variance": "running_var",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "moving_var": "running_var",
    "mean": "running_mean",
    "variance": "running_var",
    "var": "running_var",
    "gamma": "weight",
    "scale": "weight",
    "beta": "bias",
    "offset": "bias",
    "kernel": "weight",
}


def in_torch_words(names: Iterable[str]) -> dict[str, str]:
    """The names with PyTorch's word for each array: {as PyTorch says it: as the file does}; none if nothing changes.

    Examples
    --------
    >>> in_torch_words(["features.0.1.weight", "features.0.1._mean"])
    {'features.0.1.weight': 'features.0.1.weight', 'features.0.1.running_mean': 'features.0.1._mean'}
    """
    names = list(names)
    made: dict[str, str] = {}
    for name in names:
        layer, dot, word = name.rpartition(".")
        made[layer + dot + _WORDS.get(word, word)] = name
    return made if len(made) == len(names) and made.keys() != {*names} else {}


def other_way_round(entries: Mapping[str, tuple[str, Entry]], scheme: str) -> dict[str, tuple[str, Entry]]:
    """The same entries with linear weights inputs first, as Paddle and Keras hold them."""
    if not is_pytorch(scheme):
        return dict(entries)
    return {
        key: (ours, entry._replace(shape=entry.shape[::-1], axes=(1, 0)) if len(entry.shape) == 2 else entry)
        for key, (ours, entry) in entries.items()
    }
