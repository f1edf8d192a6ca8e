"""Two dumps of the same port on the same input: which tensors differ, the first one first, and how."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.regions import lines_off
from refnet.graph import Graph
from refnet.judge.verdicts import root_mean_square
from refnet.pack.matching.match import Assignment

__all__ = ["Unsteady", "unsteady"]

Array = npt.NDArray[Any]

_FEWEST = 4  # elements of a part that is told
# Relative: what other orders of a sum in float32 leave, through many layers. Tuned, on the table in
# tests/judge/test_second_dump.py: the smallest power of ten that they leave in no network.
_ORDER = 1e-4


class Unsteady(NamedTuple):
    """A tensor that a port makes otherwise when it is run again.

    Attributes
    ----------
    source, node : the candidate's name, and the node's, '' where it is none
    kind : 'dropped' where it is zero in one run and not in the other (dropout), 'order' where it is off by what another
        order of sums leaves (atomics, threads), 'part' where a part of it alone is other, 'other'
    relative : rms of the difference over the rms of the tensor
    part : of a part, for each axis of the candidate's array where it begins and ends
    """

    source: str
    node: str
    kind: str
    relative: float
    part: tuple[tuple[int, int], ...] = ()


def unsteady(
    first: Mapping[str, Array], second: Mapping[str, Array], matching: Assignment, graph: Graph
) -> Iterator[Unsteady]:
    """The tensors of both dumps that are not the same, those of nodes first, in order of execution."""
    nodes = {each.source: node for node, each in reversed(matching.tensors.items())}
    known = [each.source for each in matching.tensors.values()]
    for source in dict.fromkeys([*known, *first]):
        if source not in first or source not in second:
            continue
        y, z = (np.asarray(each[source]) for each in (first, second))
        if y.shape != z.shape or not np.array_equal(y, z, equal_nan=True):
            node = nodes.get(source, "")
            kind, relative, part = _kind(y, z)
            terms = graph[node].inputs if node in graph and graph[node].op == "add" else ()
            branches = [first[matching.tensors[each].source] for each in terms if each in matching.tensors]
            if kind != "order" and any(_is_multiple(y, z, term) for term in branches):
                kind, part = "path", ()
            yield Unsteady(source, node, kind, relative, part)


def _is_multiple(y: Array, z: Array, branch: Array) -> bool:
    """Whether two sums differ by a multiple of one of their terms in each image."""
    if not y.shape == z.shape == np.shape(branch) or y.ndim < 2:
        return False
    rows = (np.asarray(each, np.float64).reshape(len(y), -1) for each in (y, z, branch))
    for one, other, term in zip(*rows, strict=True):
        size = float(term @ term)
        apart = one - other - (float((one - other) @ term) / size if size else 0.0) * term
        if not float(np.linalg.norm(apart)) <= _ORDER * float(np.linalg.norm(one)):
            return False
    return True


def _kind(y: Array, z: Array) -> tuple[str, float, tuple[tuple[int, int], ...]]:
    if y.shape != z.shape or y.dtype.kind != "f" or z.dtype.kind != "f":
        return "other", float("inf"), ()
    y, z = y.astype(np.float64), z.astype(np.float64)
    size, apart = root_mean_square(y), root_mean_square(y - z)
    relative = apart / size if size else float("inf")
    if part := _part(y != z):
        whole = all(place == (0, side) for place, side in zip(part[1:], y.shape[1:], strict=True))
        return "images" if whole else "part", relative, part
    lost = (y == 0) ^ (z == 0)
    both = (y != 0) & (z != 0)
    if lost.any() and np.allclose(y[both], z[both], rtol=_ORDER):
        return "dropped", relative, ()
    return ("order" if relative < _ORDER else "other"), relative, ()


def _part(off: Array) -> tuple[tuple[int, int], ...]:
    """The box in which two tensors differ, if it is a part of them and they differ in most of it; () otherwise."""
    box = []
    for axis in range(off.ndim):
        places = lines_off(off, axis)
        box.append((int(places[0]), int(places[-1]) + 1))
    size = math.prod(end - begin for begin, end in box)
    return tuple(box) if 2 * size <= off.size and 2 * int(off.sum()) >= size and size >= _FEWEST else ()
