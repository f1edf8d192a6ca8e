"""Which network is this file of integers? Bytes -> its graph of integers with our names, and its twin in floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError, GraphError, RequestError
from refnet.files import containers
from refnet.files.checkpoint import Checkpoint, identify, settled
from refnet.files.containers.structure import Contents
from refnet.graph import SOURCE, Graph
from refnet.networks.build import image_size
from refnet.networks.preprocessing import RAW, Preprocessing
from refnet.readings.limits import check_growth

if TYPE_CHECKING:  # what reads integers is imported where there are some: most files are of floats
    from refnet.files.importers.integers import ImportedIntegers
    from refnet.readings.integer.quantisation import Quantisation

__all__ = ["QuantisedFile", "read_quantised"]


_KINDS = ("npz", "pth", "onnx", "tflite")
_ANY = (0, 0)
# What integers of 8 bits usually cover: pixel / scale - mean.
_RANGES = {(-1.0, 1.0): (127.5, 1.0), (0.0, 1.0): (255.0, 0.0), (0.0, 255.0): (1.0, 0.0), (-128.0, 127.0): (1.0, 128.0)}


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
    path, model, width, size, strict, contents : as for `identify` and `settled`

    Raises
    ------
    FormatError, RequestError
        in one line: the file, what is wrong.
    """
    found = _read(path, model, width, size, strict, contents)
    if found is not None:
        try:
            check_growth(found.graph)
        except GraphError as error:
            raise FormatError(f"{path}: {error}") from None
    return found


def _read(
    path: str | Path,
    model: str | None,
    width: float | None,
    size: tuple[int, int] | int | None,
    strict: bool,
    contents: Contents | None,
) -> QuantisedFile | None:
    """The same, whose graph may ask for anything."""
    if contents is None:
        if not Path(path).is_file() or containers.kind(path) not in _KINDS:
            return None
        contents = containers.read(path)
    if contents.kind == "npz":
        return _of_npz(path, contents)
    if contents.kind == "pth":
        return _of_torch(path, contents, model, width, size)
    reader = _reader(contents)
    if reader is None:
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


class _Reader(NamedTuple):
    """How a kind of container is read in integers, and whose arithmetic is meant where nobody says."""

    read: Callable[[Contents, tuple[int, int] | None], ImportedIntegers]
    kernels: str


def _reader(contents: Contents) -> _Reader | None:
    """What reads a file whose convolutions read integers."""
    if contents.structure is None:
        return None
    if contents.kind == "onnx":
        from refnet.files.importers.onnx_quantised import is_quantised_onnx

        if is_quantised_onnx(contents.structure):
            from refnet.files.importers.onnx_integers import import_onnx_integers

            return _Reader(import_onnx_integers, "onnxruntime")
    if contents.kind == "tflite":
        from refnet.files.importers.tflite_integers import import_tflite_integers, is_quantised

        if is_quantised(contents.structure):
            from refnet.readings.quantised import DEFAULT_KERNELS

            return _Reader(import_tflite_integers, DEFAULT_KERNELS)
    return None


def _of_npz(path: str | Path, contents: Contents) -> QuantisedFile | None:
    """An archive that `refnet quantise` wrote."""
    from refnet.files.integers_npz import integers_in

    own = integers_in(path, contents.arrays)
    return None if own is None else QuantisedFile(*own, None, {})


def _of_torch(
    path: str | Path, contents: Contents, model: str | None, width: float | None, size: tuple[int, int] | int | None
) -> QuantisedFile | None:
    """A state dict of PyTorch, if its tensors are quantised."""
    if not contents.integers:
        return None
    from refnet.files.quantised.torch_state import torch_integers

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
