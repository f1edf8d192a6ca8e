"""Which network is this file? Container + scheme -> graph and params, strict both ways.

Nothing may be missing, nothing left over, every shape must be right. Where two networks share every name and shape
but compute differently, nothing is guessed: the caller must say which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files import containers
from refnet.files.schemes import Entry, entries, unused
from refnet.graph import Graph
from refnet.networks.build import build, find, image_size
from refnet.networks.dialects import MODELS, Model
from refnet.networks.plan import Plan, plan

__all__ = ["read_checkpoint"]

Arrays = Mapping[str, npt.NDArray[Any]]
Params = dict[str, npt.NDArray[Any]]

_COUNTERS = ".num_batches_tracked"  # of PyTorch's batch norms; inference does not read them
_PUBLISHED = (1.0, 0.1, 0.25, 0.35, 0.5, 0.75, 1.25, 1.3, 1.4)
_WIDTHS = (*_PUBLISHED, *(percent / 100 for percent in range(5, 201)))


class _Layout(NamedTuple):
    """A network as a file would hold it: key -> (refnet's name, entry), keys that may also be there."""

    graph: Graph
    entries: dict[str, tuple[str, Entry]]
    unused: dict[str, tuple[int, ...]]


def read_checkpoint(
    path: str | Path,
    *,
    model: str | None = None,
    width: float | None = None,
    size: tuple[int, int] | int | None = None,
) -> tuple[Graph, Params]:
    """Read trained weights and find the network that they belong to.

    Parameters
    ----------
    path : a PyTorch checkpoint (.pth, .pt, .bin; with or without a wrapper) or an .npz archive
    model : its name, where it is known; by default it is recognised from names and shapes, with width and classes
    width : width multiplier, where it is known
    size : (height, width) of the images, by default the vendor's

    Returns
    -------
    graph, params : params are float32, or float64 where the file is

    Raises
    ------
    FormatError
        if the file is no checkpoint, or one of another network: names the first key that is missing, left over or of
        another shape.
    RequestError
        if several networks fit that compute differently; names them.
    """
    arrays = _weights(path, containers.read(path).arrays)
    if model is not None:
        find(model)
    found = _recognise(arrays, model, width)
    if not found:
        raise FormatError(f"{path}: {_objection(arrays, model, width)}")
    if len(found) > 1:
        names = " and ".join(layout.graph.recipe.model for layout in found)
        raise RequestError(f"{path}: {names} share every name and shape but compute differently; say which with model=")
    layout = found[0]
    params = {ours: entry.ours(arrays[key], _shape(layout, ours)) for key, (ours, entry) in layout.entries.items()}
    _check_values(path, params, {ours: key for key, (ours, _) in layout.entries.items()})
    recipe = layout.graph.recipe
    graph = build(recipe.model, width=recipe.width, size=image_size(size, recipe.size), classes=recipe.classes)
    return graph, {name: params[name] for name in graph.params()}


def _weights(path: str | Path, arrays: Arrays) -> Params:
    """The arrays that count, in the precision that refnet computes in."""
    kept: Params = {}
    for key, array in arrays.items():
        if key.endswith(_COUNTERS) or key.startswith("__"):
            continue
        if array.dtype.kind != "f":
            raise FormatError(
                f"{path}: {key} holds {array.dtype}, not floating-point numbers: not a checkpoint of weights"
            )
        kept[key] = array if array.dtype == np.float64 else array.astype(np.float32)
    if not kept:
        raise FormatError(f"{path}: holds no weights")
    if len({array.dtype for array in kept.values()}) > 1:
        kept = {key: array.astype(np.float64) for key, array in kept.items()}
    return kept


def _check_values(path: str | Path, params: Params, keys: Mapping[str, str]) -> None:
    for name, array in params.items():
        if not np.isfinite(array).all():
            raise FormatError(f"{path}: {keys[name]} holds NaN or infinity: the weights are broken")
        if name.endswith(".var") and (array < 0).any():
            raise FormatError(f"{path}: {keys[name]} holds a negative variance: the weights are broken")


def _shape(layout: _Layout, name: str) -> tuple[int, ...]:
    node, _, slot = name.rpartition(".")
    return layout.graph[node].params[slot]


def _recognise(arrays: Arrays, model: str | None, width: float | None) -> list[_Layout]:
    """Every network that fits the arrays exactly; one of each kind that computes alike."""
    fitting = [layout for layout in _candidates(arrays, model, width) if _difference(arrays, layout) is None]
    if model is None and any(not _dilated(layout) for layout in fitting):
        fitting = [layout for layout in fitting if not _dilated(layout)]  # a file cannot tell; the plain one wins
    if any(layout.graph.recipe.width == 1.0 for layout in fitting):  # mnasnet0_5 is meant, not mnasnet1_0 at 0.5
        fitting = [layout for layout in fitting if layout.graph.recipe.width == 1.0]
    kinds: list[_Layout] = []
    for layout in fitting:
        if all(layout.graph.nodes != other.graph.nodes for other in kinds):
            kinds.append(layout)
    return kinds


def _dilated(layout: _Layout) -> bool:
    return MODELS[layout.graph.recipe.model].dilated_from is not None


def _candidates(arrays: Arrays, model: str | None, width: float | None) -> Iterator[_Layout]:
    """Networks whose names resemble the file's, at every width that could give its shapes.

    A model that fits at a width it is published at keeps the search from going on to odd ones.
    """
    names = [model] if model is not None else list(MODELS)
    for name in names:
        for scheme in (None, "refnet"):
            layout = _layout(name, 1.0, 1000, scheme)
            if model is None and len(layout.entries.keys() & arrays.keys()) < len(arrays) / 2:
                continue
            yield from _at_widths(arrays, name, width, scheme)


def _at_widths(arrays: Arrays, name: str, width: float | None, scheme: str | None) -> Iterator[_Layout]:
    tried: set[Plan] = set()
    own = find(name).width
    # A name that carries a width (mnasnet_050) means that width, unless the caller asks for another.
    widths = _WIDTHS if own == 1.0 else (1.0,)
    for candidate in widths if width is None else (width,):
        widths_of_layers = plan(find(name), candidate)
        if widths_of_layers in tried:
            continue
        tried.add(widths_of_layers)
        if width is None and not _plausible(arrays, find(name), widths_of_layers, scheme, name):
            continue
        layout = _layout(name, candidate, _classes(arrays, name, candidate, scheme), scheme)
        yield layout
        if _difference(arrays, layout) is None:
            return


def _plausible(arrays: Arrays, model: Model, widths: Plan, scheme: str | None, name: str) -> bool:
    """A quick look at the two ends of the network, before a whole graph is built."""
    layout = _layout(name, 1.0, 1000, scheme)
    keys = {ours: key for key, (ours, _) in layout.entries.items()}
    stem, project = arrays.get(keys["stem.bn.mean"]), arrays.get(keys[f"block{len(widths.blocks)}.project.bn.mean"])
    return (
        stem is not None and project is not None and stem.size == widths.stem and project.size == widths.blocks[-1].out
    )


def _classes(arrays: Arrays, name: str, width: float, scheme: str | None) -> int:
    layout = _layout(name, 1.0, 1000, scheme)
    key = next(key for key, (ours, _) in layout.entries.items() if ours == "head.logits.b")
    return arrays[key].size if key in arrays and arrays[key].size else find(name).dialect.classes


@lru_cache(maxsize=512)
def _layout(name: str, width: float, classes: int, scheme: str | None) -> _Layout:
    graph = build(name, width=width, classes=classes)
    keyed = {entry.key: (ours, entry) for ours, entry in entries(graph, scheme).items()}
    return _Layout(graph, keyed, unused(graph, scheme))


def _difference(arrays: Arrays, layout: _Layout) -> str | None:
    """What first keeps the arrays from being this network, or None."""
    name = layout.graph.recipe.model
    for key, (_, entry) in layout.entries.items():
        if key not in arrays:
            return f"{key!r} is missing, which {name} needs"
        if arrays[key].shape != entry.shape:
            return f"{key!r} has shape {arrays[key].shape}, in {name} it has {entry.shape}"
    for key, array in arrays.items():
        if key in layout.unused and array.shape != layout.unused[key]:
            return f"{key!r} has shape {array.shape}, in {name} it has {layout.unused[key]}"
        if key not in layout.entries and key not in layout.unused:
            return f"{key!r} is left over: {name} has no such weight"
    return None


def _objection(arrays: Arrays, model: str | None, width: float | None) -> str:
    """Why no network fits, told of the one that comes nearest."""

    def agreement(layout: _Layout) -> int:
        return sum(key in arrays and arrays[key].shape == entry.shape for key, (_, entry) in layout.entries.items())

    names = [model] if model is not None else list(MODELS)
    at = 1.0 if width is None else width
    layouts = [
        _layout(name, at, _classes(arrays, name, at, scheme), scheme) for name in names for scheme in (None, "refnet")
    ]
    nearest = max([*layouts, *_candidates(arrays, model, width)], key=agreement)
    recipe = nearest.graph.recipe
    if not agreement(nearest):
        first = next(iter(arrays))
        return f"no weight has a name and shape of {model or 'a network that refnet knows'}; the first is {first!r}"
    return f"{_difference(arrays, nearest)} (compared at width {recipe.width:g}, {recipe.classes} classes)"
