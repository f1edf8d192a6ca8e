"""Which node of a network of integers each of a port's tensors is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.graph import SOURCE
from refnet.pack.integers import IntegerPack
from refnet.pack.match import match_tensors
from refnet.pack.sequence import by_order

__all__ = ["GoldenIntegers", "HeldIntegers", "integers_in_order", "match_integers"]

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
HeldIntegers = dict[str, tuple[str, Array]]

_LEFT = 0.1  # of a candidate's tensors that may be left over before their order is asked


class GoldenIntegers:
    """The tensors of a pack; those that it does not store are computed, once."""

    def __init__(self, pack: IntegerPack) -> None:
        self.pack = pack
        self.tensors = {SOURCE: pack.tensor(SOURCE), **pack.net.trace(pack.tensor(SOURCE))}

    def tensor(self, name: str) -> Array:
        """One tensor as floats, by which it is recognised."""
        return self.tensors[name].astype(np.float32)


def match_integers(
    tensors: Tensors, golden: GoldenIntegers, names: Mapping[str, str]
) -> tuple[HeldIntegers, list[str]]:
    """By node the candidate's name and its array as (N, C, H, W); the names that are no node's."""
    keys = {entry.get("key"): node for node, entry in golden.pack.manifest["tensors"].items() if entry.get("key")}
    # A name may be one node's and the file's of another node's tensor: a candidate has mostly the ones or the others.
    ours = sum(name in golden.tensors for name in tensors) >= sum(name in keys for name in tensors)
    theirs = {name: keys[name] for name in tensors if name in keys and not (ours and name in golden.tensors)}
    told = {name: node for name, node in theirs.items() if node not in names.values()} | dict(names)
    shapes = {name: y.shape for name, y in golden.tensors.items()}
    matching = match_tensors(_Floats(tensors), shapes, golden.tensor, names=told)
    found = {}
    for node, each in matching.tensors.items():
        whole = each.array
        dtype = np.asarray(tensors[each.source]).dtype
        found[node] = (each.source, whole.astype(dtype) if dtype.kind in "iu" else whole)
    return found, matching.unmatched


class _Floats(Mapping[str, Array]):
    """Tensors as floats, which hold integers of up to 24 bits exactly."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.shapes = {name: np.shape(tensors[name]) for name in tensors}

    def __getitem__(self, name: str) -> Array:
        return np.asarray(self.tensors[name]).astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def integers_in_order(
    tensors: Tensors,
    golden: GoldenIntegers,
    found: HeldIntegers,
    unmatched: list[str],
    exact: Callable[[HeldIntegers], int],
) -> tuple[HeldIntegers, list[str]]:
    """The same by the order of the tensors, if that tells all of them and makes no fewer of them exact."""
    net = golden.pack.net
    if len(unmatched) <= _LEFT * len(tensors):
        return found, unmatched
    shapes = {name: y.shape for name, y in golden.tensors.items()}
    told = by_order(net.graph, {name: np.shape(tensors[name]) for name in tensors}, shapes)
    other, left = match_integers(tensors, golden, {source: node for node, source in told.items()})
    return (other, left) if told and exact(other) >= exact(found) else (found, unmatched)
