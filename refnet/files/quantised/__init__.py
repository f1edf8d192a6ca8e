"""Which network is this file of integers? Bytes -> its graph of integers with our names, and its twin in floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files import containers
from refnet.files.checkpoint import Checkpoint, identify, settled
from refnet.files.containers.structure import Contents, Structure
from refnet.files.importers.integers import ImportedIntegers
from refnet.files.importers.onnx_integers import import_onnx_integers
from refnet.files.importers.onnx_quantised import is_quantised_onnx
from refnet.files.importers.tflite_integers import import_tflite_integers, is_quantised
from refnet.files.integers_npz import integers_in
from refnet.files.quantised.torch_state import torch_integers
from refnet.graph import SOURCE, Graph
from refnet.networks.build import image_size
from refnet.networks.preprocessing import RAW, Preprocessing
from refnet.readings.integer.quantisation import Quantisation
from refnet.readings.quantised import DEFAULT_KERNELS

__all__ = ["QuantisedFile", "read_quantised"]


_ANY = (0, 0)
# What integers of 8 bits usually cover: pixel / scale - mean.
_RANGES = {(-1.0, 1.0): (127.5, 1.0), (0.0, 1.0): (255.0, 0.0), (0.0, 255.0): (1.0, 0.0), (-128.0, 127.0): (1.0, 128.0)}


class _Reader(NamedTuple):
    """How a kind of container is read in integers, and whose arithmetic is meant where nobody says."""

    holds: Callable[[Structure], bool]
    read: Callable[[Contents, tuple[int, int] | None], ImportedIntegers]
    kernels: str


_READERS: Mapping[str, _Reader] = {
    "onnx": _Reader(is_quantised_onnx, import_onnx_integers, "onnxruntime"),
    "tflite": _Reader(is_quantised, import_tflite_integers, DEFAULT_KERNELS),
}


class QuantisedFile(NamedTuple):
    """A file of integers as a network: what `network.QuantisedNetwork` takes."""

    graph: Graph
    params: Mapping[str, Any]
    quantised: Mapping[str, Quantisation]
    kernels: str
    twin: tuple[Graph, Mapping[str, npt.NDArray[Any]]] | None
    keys: Mapping[str, str]


def read_quantised(
    path: str | Path,
    *,
    model: str | None = None,
    width: float | None = None,
    size: tuple[int, int] | int | None = None,
    strict: bool = False,
    contents: Contents | None = None,
) -> QuantisedFile | None:
    """Read a network whose convolutions read integers; None of a file that holds none.

    Parameters
    ----------
    path, model, width, size, strict, contents : as for `read_checkpoint`

    Raises
    ------
    FormatError, RequestError
        in one line: the file, what is wrong.
    """
    kind = containers.kind(path) if Path(path).is_file() else ""
    if kind not in ("npz", "pth", *_READERS):
        return None
    contents = containers.read(path) if contents is None else contents
    if kind == "npz":
        own = integers_in(path, contents.arrays)
        return None if own is None else QuantisedFile(*own, None, {})
    if kind == "pth":
        return _of_torch(path, contents, model, width, size)
    reader = _READERS[contents.kind]
    if contents.structure is None or not reader.holds(contents.structure):
        return None
    sides = None if size is None else image_size(size, _ANY)
    try:
        imported = reader.read(contents, sides)
    except (FormatError, RequestError) as error:
        raise type(error)(f"{path}: {error}") from error
    twin = _twin(path, contents, model, width, size)
    if strict or model is not None:
        known = identify(path, model=model, size=size, contents=contents) if twin is None else twin
        settled(known, model=model, strict=strict)
    return _named(imported, twin, reader.kernels)


def _of_torch(
    path: str | Path, contents: Contents, model: str | None, width: float | None, size: tuple[int, int] | int | None
) -> QuantisedFile | None:
    """A state dict of PyTorch, if its tensors are quantised."""
    if not contents.integers:
        return None
    found = identify(path, model=model, width=width, size=size, contents=contents)
    try:
        graph, params, quantised, kernels = torch_integers(contents, found)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    real = [replace(node, op="relu") if node.op == "relu6" else node for node in found.graph.nodes]
    return QuantisedFile(graph, params, quantised, kernels, (replace(found.graph, nodes=tuple(real)), found.params), {})


def _twin(
    path: str | Path, contents: Contents, model: str | None, width: float | None, size: tuple[int, int] | int | None
) -> Checkpoint | None:
    """The file as a network of floats, where it can be said."""
    try:
        found = identify(path, model=model, width=width, size=size, contents=contents)
    except FormatError:
        if model is not None or width is not None:
            raise
        return None
    return found if all(np.isfinite(array).all() for array in found.params.values()) else None


def _named(imported: ImportedIntegers, twin: Checkpoint | None, kernels: str) -> QuantisedFile:
    """Under the names of the known network; nodes that it has none of keep the file's."""
    if twin is None:
        recipe = replace(imported.graph.recipe, preprocessing=_fitting(None, imported))
        graph = replace(imported.graph, recipe=recipe)
        return QuantisedFile(graph, imported.params, imported.quantised, kernels, None, imported.keys)
    ours = {node.name for node in imported.graph.nodes}
    names = {old: new for old, new in twin.names.items() if old in ours}
    used = set(names.values())
    for name in ours - names.keys():  # what a known network calls otherwise must not be called so here
        if name in used:
            names[name] = f"{name}.own"
    named = imported.renamed(names)
    known = twin.graph.recipe
    prepared = _fitting(known.preprocessing, named)
    recipe = replace(known, classes=imported.graph.recipe.classes, preprocessing=prepared)
    graph = replace(named.graph, recipe=recipe)
    real = replace(twin.graph, recipe=recipe)
    return QuantisedFile(graph, named.params, named.quantised, kernels, (real, twin.params), named.keys)


def _fitting(known: Preprocessing | None, named: ImportedIntegers) -> Preprocessing | None:
    """How images are prepared: pixels are brought into the range of the input's integers, where that is a usual one.

    A network that rescales its input itself takes pixels from 0 to 1 or from 0 to 255, whatever its vendor's others do.
    """
    first = [node.name for node in named.graph.nodes if SOURCE in node.inputs and node.op == "quantize"]
    q = named.quantised.get(SOURCE) or (named.quantised[first[0]] if first else None)
    if q is None:
        return known
    step, zero_point = q.single()
    ends = [float(step) * (end - zero_point) for end in (q.low, q.high)]
    for (low, high), (scale, mean) in _RANGES.items():
        if all(abs(end - wanted) <= 1.01 * float(step) for end, wanted in zip(ends, (low, high), strict=True)):
            origin = f"pixels from {low:g} to {high:g}, which the input's integers stand for"
            return replace(known or RAW, origin=origin, scale=scale, mean=(mean, mean, mean), std=(1.0, 1.0, 1.0))
    return known
