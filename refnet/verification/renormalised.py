"""Folded layers that differ in what batch norm made of them alone: other running statistics, or gammas and betas.

Variance and gamma are in the factor of a channel and so in its weights; mean and beta are in its bias alone. A layer
whose weights are its own but for a positive factor of each channel needs no other cause: any bias has a mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import UnitArrays
from refnet.graph import Graph
from refnet.networks.folded import folded_convolutions
from refnet.readings.precision import FLOATS
from refnet.verification.array_findings import ArrayFinding, said_of
from refnet.verification.sides import Sides

__all__ = ["RENORMALISED", "folded_layers", "renormalised"]

Array = npt.NDArray[Any]

RENORMALISED = "renormalised"
_OTHER = ("stale", "retrained")
_OPEN = (*_OTHER, "coarse")  # of a bias, for which there is no cause of its own
_LIKE = (*_OPEN, "damaged", "offset")  # what may look like one that was moved
_SEVERAL = 3  # layers whose biases alone differ, before it is said that batch norm's numbers did
_U = FLOATS["float32"].u


def folded_layers(one: Graph, other: Graph) -> tuple[str, ...]:
    """The convolutions of one that have a batch norm in either graph, or had one where both are folded."""
    normed = {unit.conv.name for graph in (one, other) for unit in graph.units() if unit.norm is not None}
    return tuple(node.name for node in one.nodes if node.name in normed) or folded_convolutions(one)


def renormalised(values: Sequence[ArrayFinding], sides: Sides) -> tuple[ArrayFinding, ...]:
    """The findings, in which folded layers are told that batch norm's numbers explain."""
    wrong = {value.name: value for value in values if value.fault}
    said: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for name in folded_layers(sides.original.graph, sides.copy.graph):
        form = _form(sides, name, wrong) if name in sides.first and name in sides.second else ""
        if form:
            mistake = wrong[f"{name}.w"].mistake if form != "mean" else None
            said[name] = form, {} if mistake is None else _range(mistake.facts)
    alone = [name for name, (form, _) in said.items() if form == "mean"]
    if len(said) < _SEVERAL or not any(wrong[f"{name}.b"].kind in _OTHER for name in alone):
        said = {name: each for name, each in said.items() if name not in alone}

    def told(value: ArrayFinding) -> ArrayFinding:
        name, _, slot = value.name.rpartition(".")
        if name not in said or slot not in ("w", "b") or not value.fault:
            return value
        form, facts = said[name]
        return replace(value, kind=RENORMALISED, mistake=said_of(value.name, form, **facts), backward=False)

    return tuple(map(told, values))


def _form(sides: Sides, name: str, wrong: Mapping[str, ArrayFinding]) -> str:
    """What of batch norm differs: 'var' with gamma, 'mean' with beta, or 'both'; '' where that explains nothing."""
    w, b = wrong.get(f"{name}.w"), wrong.get(f"{name}.b")
    if w is None:
        return "mean" if b is not None and b.kind in _OPEN else ""
    if sides.first[name].foldable and sides.second[name].foldable:
        return ""  # both hold the numbers of batch norm themselves
    if w.mistake is None or w.mistake.bug != "channels-scaled" or _range(w.mistake.facts)["least"] <= 0:
        return ""
    is_scaled = _is_scaled_about(sides, name)
    if is_scaled("beta"):
        return "var"
    return "both" if b is not None and b.kind in _LIKE and not is_scaled("") else ""


def _range(facts: Mapping[str, Any]) -> dict[str, float]:
    """The least and the largest factor of channels."""
    factors = facts.get("factors") or (facts["least"], facts["most"])
    return {"least": min(factors), "most": max(factors)}


def _is_scaled_about(sides: Sides, name: str) -> Callable[[str], bool]:
    """Whether what a bias has beside beta, or all of it (''), is as many times as large as its channel's weights."""
    one, two = sides.first[name], sides.second[name]
    one, two = (two, one) if sides.unfolded(name) else (one, two)
    right = one.folded()
    factor, off = _factors(right, two)

    def is_scaled(slot: str) -> bool:
        if slot and slot not in one:
            return False
        at = one[slot] if slot else np.zeros(len(factor))
        rest = right["b"] - at
        slack = right.tensors["b"].slack * np.maximum(factor, 1) + (off + 3 * _U) * np.abs(rest)
        return bool((np.abs(two["b"] - at - factor * rest) <= slack).all())

    return is_scaled


def _factors(right: UnitArrays, seen: UnitArrays) -> tuple[Array, Array]:
    """By channel its factor by least squares, and how far that may be off: by what it leaves."""
    own, rows = (unit["w"].reshape(len(unit["w"]), -1) for unit in (right, seen))
    square, most = (own**2).sum(axis=1), np.abs(own).max(axis=1)
    factor = np.where(square > 0, (rows * own).sum(axis=1) / np.where(square > 0, square, 1), 1)
    left = np.abs(rows - factor[:, None] * own).max(axis=1)
    return factor, 2 * left / np.where(most > 0, most, 1)
