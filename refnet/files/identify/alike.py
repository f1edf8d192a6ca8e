"""Arrays whose order says nothing, beside a network with arrays of its own: in the order of what they are most like.

A file that sorts its names holds the norm `bn1` before the convolution `conv1` that it follows, and `act10` before
`act2`. Where its arrays are those of the other file, changed or not, a filter is the most like its own one; and a norm
is that which makes the other file's filter of it, or is the most like the other file's norm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.files.identify.axes import fitting_entries
from refnet.files.identify.order import layer_named
from refnet.graph import Graph, Node
from refnet.networks.rewrite import norms

__all__ = ["filters_alike", "keys_alike"]

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
_EXCHANGED = 0.25  # of the layers of a kind, that may stand in another's place: where more do, numbers say nothing
_NONE = -np.inf  # of two that cannot be one: their shapes differ


def keys_alike(
    arrays: Arrays,
    filters: Sequence[str],
    vectors: Mapping[str, Sequence[str]],
    graph: Graph,
    params: Arrays,
) -> list[str]:
    """The names of arrays, layer by layer, as the graph has its layers; [] where layers and arrays do not pair off.

    Parameters
    ----------
    filters, vectors : of the arrays, see `order.by_role`
    graph, params : of the other file
    """
    layers: dict[str, list[str]] = {}
    for key in arrays:
        layers.setdefault(layer_named(key), []).append(key)
    convs = [node for node in graph.nodes if "w" in node.params]
    if len(filters) != len(convs):
        return []
    held = [[_laid_out(arrays[key], conv, params[f"{conv.name}.w"], key) for key in filters] for conv in convs]
    own = _pairs([[alike for alike, _ in line] for line in held])
    if len(own) != len(convs):
        return []
    gammas, variances = ({layer_named(key): arrays[key] for key in vectors[role]} for role in ("gamma", "var"))
    behind, named = norms(graph), [layer for layer in variances if layer in gammas]
    theirs = [
        _scales(w, conv.name, behind[conv.name].name if conv.name in behind else "", params)
        for place, conv in enumerate(convs)
        if (w := held[place][own[place]][1]) is not None
    ]
    scales = [_norm_scales(gammas[layer], variances[layer]) for layer in named]
    normed = _pairs([[_scales_alike(one, other) for other in theirs] for one in scales])
    if len(normed) != len(named):
        return []
    of = {place: named[index] for index, place in normed.items()}
    ordered = [
        key
        for place in range(len(convs))
        for weights in [filters[own[place]]]
        for key in (weights, *layers[layer_named(weights)], *layers.get(of.get(place, ""), ()))
        if key == weights or key not in filters
    ]
    return _as_numbered(list(dict.fromkeys(ordered)), arrays)


def _as_numbered(keys: Sequence[str], arrays: Arrays) -> list[str]:
    """The same, layers whose names differ in a number alone being in the order of their numbers, if most are anyway.

    Of `conv_8` and `conv_10` each holds what is most like the other one's where a port has exchanged their weights.
    """
    kinds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        kinds[_numbered(key)[:2]].append(place)
    made = list(keys)
    for places in kinds.values():
        own = [keys[place] for place in places]
        counted = sorted(own, key=lambda key: _numbered(key)[2])
        moved = [each for each in zip(own, counted, strict=True) if each[0] != each[1]]
        if len(moved) <= _EXCHANGED * len(own) and all(arrays[a].shape == arrays[b].shape for a, b in moved):
            for place, key in zip(places, counted, strict=True):
                made[place] = key
    return made


def _numbered(key: str) -> tuple[str, str, tuple[int, str]]:
    """A name in two parts, before and behind the number of its layer; and that, in a form that sorts as numbers do."""
    layer = layer_named(key)
    name = layer.rstrip("0123456789")
    digits = layer[len(name) :].lstrip("0")
    return name.rstrip("_"), key[len(layer) :], (len(digits), digits)


def _laid_out(array: Array, conv: Node, other: Array, key: str) -> tuple[float, Array | None]:
    """Filters as refnet has those of a layer, in the order of axes in which they are most like the other file's.

    Nothing of filters of another shape.
    """
    shape = conv.params["w"]
    made = [entry.ours(array, shape) for entry in fitting_entries(array, conv.op, shape, key).values()]
    alike = [filters_alike(each, other) for each in made]
    return max(zip(alike, made, strict=True), key=lambda each: each[0], default=(_NONE, None))


def _pairs(scores: Sequence[Sequence[float]]) -> dict[int, int]:
    """One column for each row, each of one row alone, the most alike first."""
    ranked = sorted(
        ((score, row, column) for row, line in enumerate(scores) for column, score in enumerate(line) if score > _NONE),
        key=lambda each: (-each[0], *each[1:]),
    )
    found: dict[int, int] = {}
    taken: set[int] = set()
    for _, row, column in ranked:
        if row not in found and column not in taken:
            found[row] = column
            taken.add(column)
    return found


def filters_alike(one: Array, other: Array) -> float:
    """The cosine of two layers' filters, its median over them; a norm that is worked in leaves it as it is."""
    if one.ndim == 1 or len(one) != len(other) or one.size != other.size:
        return _NONE
    a, b = (each.reshape(len(each), -1).astype(np.float64) for each in (one, other))
    with np.errstate(all="ignore"):
        cosines = np.abs((a * b).sum(axis=1)) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return float(np.median(np.nan_to_num(cosines)))


def _scales(w: Array, conv: str, norm: str, params: Arrays) -> Array:
    """By what a norm multiplies the channels of a layer: the other file's norm, or what it has made of the filters."""
    if norm:
        return _norm_scales(params[f"{norm}.gamma"], params[f"{norm}.var"])
    a, b = (np.linalg.norm(each.reshape(len(each), -1), axis=1) for each in (w, params[f"{conv}.w"]))
    with np.errstate(all="ignore"):
        return np.asarray(b / a)


def _norm_scales(gamma: Array, var: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(np.abs(gamma) / np.sqrt(var))


def _scales_alike(one: Array, other: Array) -> float:
    """How near two layers' factors are, as the median of channels; the eps that nobody says moves them little."""
    if one.shape != other.shape:
        return _NONE
    with np.errstate(all="ignore"):
        off = np.abs(np.log(one / other))
    return -float(np.median(np.nan_to_num(off, nan=np.inf, posinf=1e9)))
