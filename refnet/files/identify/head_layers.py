"""The arrays that no known name explains, as a chain of linear layers and batch norms, each reading the one before.

PyTorch calls what a layer holds `weight` and `bias`, Keras `kernel`, or numbers it (`vars/0`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.files.schemes import Entry

__all__ = ["HeadLayer", "chain_of"]

Arrays = Mapping[str, npt.NDArray[Any]]
Shape = tuple[int, ...]

_MOST_LAYERS = 16  # with weights, of a head
_NUMBERS = re.compile(r"(\d+)")
_NORM = ("gamma", "beta", "mean", "var")


class _Style(NamedTuple):
    """How the files of a framework name what a layer holds: a weight, a bias, what a batch norm has; and its eps."""

    separator: str
    weight: str
    bias: str
    norm: tuple[str, ...]
    eps: float
    inputs_first: bool  # whether a linear layer's weights are (C, K)


_STYLES = (
    _Style(".", "weight", "bias", ("weight", "bias", "running_mean", "running_var"), 1e-5, False),
    _Style("/", "kernel", "bias", ("gamma", "beta", "moving_mean", "moving_variance"), 1e-3, True),
    _Style("/", "0", "1", ("0", "1", "2", "3"), 1e-3, True),
)


class HeadLayer(NamedTuple):
    """A layer with weights: 'linear' or 'batch_norm', its path, what the file calls its arrays, by refnet's slots."""

    op: str
    path: str
    entries: Mapping[str, Entry]
    reads: int
    makes: int
    eps: float

    @property
    def params(self) -> dict[str, Shape]:
        """Refnet's shapes of its arrays."""
        if self.op == "batch_norm":
            return dict.fromkeys(_NORM, (self.makes,))
        vectors = {"b": (self.makes,)} if "b" in self.entries else {}
        return {"w": (self.makes, self.reads), **vectors}


def chain_of(arrays: Arrays, channels: int) -> list[HeadLayer] | None:
    """The layers that arrays are, each reading what the one before it makes; None if they are no such chain.

    Parameters
    ----------
    channels : that the first of them is given
    """
    for style in _STYLES:
        groups: dict[str, dict[str, Shape]] = {}
        for key, array in arrays.items():
            path, _, slot = key.rpartition(style.separator)
            groups.setdefault(path, {})[slot] = array.shape
        layers = [_layer(path, held, style) for path, held in groups.items()] if len(groups) <= _MOST_LAYERS else [None]
        known = [layer for layer in layers if layer is not None]
        if len(known) < len(layers):
            continue
        # Some kinds of files keep names in the order of the alphabet, where 10 comes before 4.
        numbered = sorted(known, key=lambda layer: _natural(layer.path))
        # Keras numbers the layers of each class by themselves.
        orders = islice(_merged(numbered, channels), 2) if style.inputs_first else (known, numbered)
        fitting = [order for order in orders if _fits(order, channels)]
        if fitting and not (style.inputs_first and len(fitting) > 1):
            return fitting[0]
    return None


def _layer(path: str, held: Mapping[str, Shape], style: _Style) -> HeadLayer | None:
    def entry(slot: str, axes: tuple[int, ...]) -> Entry:
        return Entry(f"{path}{style.separator}{slot}", held[slot], axes)

    weight = held.get(style.weight, ())
    if set(held) == set(style.norm) and len(weight) <= 1 and len(set(held.values())) == 1:
        (size,) = held[style.norm[0]] or (0,)
        entries = {slot: entry(name, (0,)) for slot, name in zip(_NORM, style.norm, strict=True)}
        return HeadLayer("batch_norm", path, entries, size, size, style.eps) if size else None
    axes = {2: (1, 0), 4: (3, 2, 0, 1)}.get(len(weight)) if style.inputs_first else tuple(range(len(weight)))
    points = weight[:-2] if style.inputs_first else weight[2:]
    if len(weight) not in (2, 4) or axes is None or points not in ((), (1, 1)):
        return None
    made, read = (weight[axis] for axis in axes[:2])
    if not set(held) <= {style.weight, style.bias} or held.get(style.bias, (made,)) != (made,):
        return None
    entries = {"w": entry(style.weight, axes), **({"b": entry(style.bias, (0,))} if style.bias in held else {})}
    return HeadLayer("linear", path, entries, read, made, style.eps)


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _NUMBERS.split(path[:1000])]


def _merged(layers: Sequence[HeadLayer], channels: int) -> Iterator[list[HeadLayer]]:
    """The chains of all these layers that keep the order of the linear ones, and that of the batch norms."""
    if not layers:
        yield []
    for op in ("linear", "batch_norm"):
        first = next((layer for layer in layers if layer.op == op), None)
        if first is not None and first.reads == channels and (len(layers) > 1 or op == "linear"):
            rest = [layer for layer in layers if layer is not first]
            yield from ([first, *chain] for chain in _merged(rest, first.makes))


def _fits(layers: Sequence[HeadLayer], channels: int) -> bool:
    for layer in layers:
        if layer.reads != channels:
            return False
        channels = layer.makes
    return layers[-1].op == "linear"
