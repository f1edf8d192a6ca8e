"""A network -> a file of weights: in whose names, folded or not, in which precision. Of ONNX, with the graph.

What the vendor's strict loading asks for beside the weights is written too. Another vendor's names are given only to a
network that this vendor's own computes alike. What has been written is read back, and must be the same bit for bit,
before it takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.alignment.diff import differences
from refnet.alignment.differences import Difference, structural
from refnet.errors import RefnetError, RequestError
from refnet.files import containers
from refnet.files.checkpoint import identify, settled
from refnet.files.containers import hdf5, npz, pth_write, safetensors
from refnet.files.containers.atomic import atomic_path, writable
from refnet.files.exporters.onnx import export_onnx, initialisers
from refnet.files.graph_text import graph_text
from refnet.files.identify.notes import Note
from refnet.files.schemes import SCHEMES, counters, entries, schemes_of, unused
from refnet.graph import Graph
from refnet.networks.build import build
from refnet.networks.dialects import MODELS
from refnet.networks.rewrite import fold_batch_norm
from refnet.ops import CONVOLUTIONS
from refnet.readings.precision import FLOATS
from refnet.report.differences import line, what

__all__ = ["DTYPES", "SUFFIXES", "Converted", "Lost", "Written", "convert", "write_weights"]

Array = npt.NDArray[Any]
Params = Mapping[str, Array]

DTYPES = ("float32", "float16", "float64")
_Writer = Callable[[Path, Graph, Mapping[str, Array], str], None]  # the last is the text of the graph, or ''
_WITH_GRAPH = (".npz", ".safetensors")
SUFFIXES = (".npz", ".safetensors", ".pth", ".weights.h5", ".onnx")


class Lost(NamedTuple):
    """What becomes of an array's values in a smaller precision: how many turn to zero, how many lose digits."""

    name: str
    zeros: int
    denormal: int


class Written(NamedTuple):
    """What a file of weights has been made of.

    Attributes
    ----------
    model : whose network it is, by its vendor's name; '' of a network of its own
    scheme : whose names the arrays have
    arrays : how many
    differences : in which ways that network computes otherwise than the one it was made of
    lost : values that float16 does not hold
    graph : whether the file tells the graph too
    """

    model: str
    scheme: str
    arrays: int
    folded: bool
    differences: tuple[Difference, ...]
    lost: tuple[Lost, ...]
    graph: bool


class Converted(NamedTuple):
    """A file of weights that was made of another one.

    Attributes
    ----------
    written : what is in it
    dtype : of its arrays
    differences : in which ways the original's network is not the known one, where the new file tells none of them
    notes : what was settled while the original was read
    """

    written: Written
    dtype: str
    differences: tuple[Difference, ...]
    notes: tuple[Note, ...]


class _Target(NamedTuple):
    """The graph under the recipe of the network that the names are of, and how that one differs."""

    graph: Graph
    differences: tuple[Difference, ...]


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    names: str | None = None,
    fold: bool = False,
    dtype: str | None = None,
    force: bool = False,
    strict: bool = False,
    model: str | None = None,
    width: float | None = None,
    size: tuple[int, int] | int | None = None,
    head: str | Sequence[str] | None = None,
    prefix: str | None = None,
    output: str | Sequence[str] | None = None,
) -> Converted:
    """Write a file of weights as another kind of file, in other names, folded, in another precision; or as ONNX.

    Parameters
    ----------
    source : of any kind that refnet reads
    destination, names, fold, dtype : as for `write_weights`; dtype by default the precision that the source is read in
    force : give a vendor's names to a network that this vendor's own computes otherwise
    strict, model, width, size, head, prefix, output : which network the source is or must be, as for
        `identify` and `settled`

    Returns
    -------
    converted : what is in the new file

    Raises
    ------
    FormatError, RequestError, RefnetError
        as `identify`, `settled` and `write_weights` do; if source and destination are one file.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from refnet.network import load
    >>> with TemporaryDirectory() as folder:
    ...     net = load()
    ...     _ = write_weights(net.graph, net.params, f"{folder}/digits.npz")
    ...     made = convert(f"{folder}/digits.npz", f"{folder}/digits.safetensors", fold=True, dtype="float16")
    >>> made.written.model, made.written.folded, made.dtype
    ('refnet/digits', True, 'float16')
    """
    origin, target = Path(source), Path(destination)
    if not _is_onnx(target):
        _writer(target)
    writable(target, origin)
    found = identify(origin, model=model, width=width, size=size, head=head, prefix=prefix, output=output)
    graph, params = settled(found, model=model, strict=strict)
    written = write_weights(graph, params, target, names=names, fold=fold, dtype=dtype, force=force)
    lost = () if written.graph else found.differences  # a graph tells in what it is another one
    return Converted(written, dtype or str(next(iter(params.values())).dtype), lost, found.notes)


def write_weights(
    graph: Graph,
    params: Params,
    path: str | os.PathLike[str],
    *,
    names: str | None = None,
    fold: bool = False,
    dtype: str | None = None,
    force: bool = False,
) -> Written:
    """Write the weights of a network to a file whose kind its name tells.

    Parameters
    ----------
    graph, params : a network
    path : ends in one of `SUFFIXES`; a file that is there is replaced
    names : whose, a key of `schemes.SCHEMES`; by default the vendor's own, in ONNX the graph's; refnet's where names
        alone would not tell the graph, which is then written beside the arrays
    fold : work batch norm into the convolutions first
    dtype : one of `DTYPES`; by default that of the params
    force : give another vendor's names although that vendor's network computes otherwise

    Returns
    -------
    written : what is in the file

    Raises
    ------
    RequestError
        if the kind of file or the names are unknown or do not go together, if no network of that vendor has these
        layers or computes alike, if a value is beyond float16, if there are no weights, if the file cannot be written.
    RefnetError
        if the file does not read back as it was written; then it is taken away.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from refnet.network import load
    >>> net = load()
    >>> with TemporaryDirectory() as folder:
    ...     written = write_weights(net.graph, net.params, f"{folder}/digits.safetensors", fold=True)
    >>> written.model, written.folded
    ('refnet/digits', True)
    """
    path = Path(path)
    write = None if _is_onnx(path) else _writer(path)
    if not params:
        raise RequestError(f"{path.name}: the network has no weights, so there is nothing to write")
    if fold:
        graph, folded = fold_batch_norm(graph, params)
        params = folded
    if write is None:
        return _write_onnx(path, graph, params, names, dtype)
    known, holds_graph = _is_known(graph), path.suffix in _WITH_GRAPH
    if names is None:
        vendors = known or (graph.recipe.model in MODELS and not holds_graph)
        names = "keras" if write is _write_keras else schemes_of(graph.recipe.model)[0] if vendors else "refnet"
    if names not in SCHEMES:
        raise RequestError(f"no names are called {names!r}: {', '.join(SCHEMES)}")
    if write is _write_keras and names != "keras":
        raise RequestError(f"{path.name}: .weights.h5 is Keras' own format, so its names are Keras', not {names}")
    if names == "refnet" and not known:
        rounded, lost = _rounded(params, dtype)
        text = graph_text(graph) if holds_graph else ""
        _put(path, rounded, lambda temporary: write(temporary, graph, rounded, text))
        return Written(graph.recipe.model, "refnet", len(rounded), _is_folded(graph), (), lost, holds_graph)
    target = _target(graph, names)
    if target.differences and not force:
        model, ways = target.graph.recipe.model, _ways(target.differences)
        raise RequestError(f"{model} computes otherwise ({ways}); take its names all the same with --force")
    rounded, lost = _rounded(params, dtype)
    vendors_arrays = _named(target.graph, rounded, names)
    _put(path, vendors_arrays, lambda temporary: write(temporary, target.graph, vendors_arrays, ""))
    model, differences = target.graph.recipe.model, target.differences
    return Written(model, names, len(vendors_arrays), _is_folded(graph), differences, lost, False)


def _is_onnx(path: Path) -> bool:
    return path.suffix == ".onnx"


def _is_known(graph: Graph) -> bool:
    """Whether names and shapes tell all of a graph: it is the known network that its recipe says."""
    recipe = graph.recipe
    if recipe.model not in MODELS:
        return False
    known = build(recipe.model, width=recipe.width, size=recipe.size, classes=recipe.classes)
    return not structural(differences(known, graph))


def _write_onnx(path: Path, graph: Graph, params: Params, names: str | None, dtype: str | None) -> Written:
    """The graph itself, under its own names."""
    if names not in (None, "refnet"):
        raise RequestError(f"{path.name}: in ONNX tensors have the names of the graph's nodes, not those of {names}")
    rounded, lost = _rounded(params, dtype)
    model = export_onnx(graph, rounded)
    _put(path, initialisers(model), lambda temporary: temporary.write_bytes(model.SerializeToString()))
    return Written(graph.recipe.model, "refnet", len(rounded), _is_folded(graph), (), lost, True)


def _is_folded(graph: Graph) -> bool:
    return not any(node.op == "batch_norm" for node in graph.nodes)


def _writer(path: Path) -> _Writer:
    for suffix, write in _WRITERS.items():
        if path.name.endswith(suffix):
            return write
    raise RequestError(f"{path.name}: its ending must tell the kind of file: {', '.join(SUFFIXES)}")


def _target(graph: Graph, names: str) -> _Target:
    """The network that these names are of: ours, or the one of another vendor's that comes nearest."""
    recipe = graph.recipe
    if names in schemes_of(recipe.model):
        return _Target(graph, ())
    if recipe.model not in MODELS:
        raise RequestError(f"{recipe} has no layers of {names}: take --names refnet")
    weights = _weights(graph)
    found: list[_Target] = []
    for model in MODELS:
        width = recipe.width * MODELS[recipe.model].width / MODELS[model].width
        if names not in schemes_of(model) or MODELS[model].table.rows != MODELS[recipe.model].table.rows:
            continue
        theirs = build(model, width=width, size=recipe.size, classes=recipe.classes)
        if _weights(theirs) == weights:
            found.append(_Target(replace(graph, recipe=theirs.recipe), structural(differences(theirs, graph))))
    if not found:
        raise RequestError(f"no network of {names} has the layers of {recipe.model}, width {recipe.width:g}")

    def odd(target: _Target) -> tuple[int, bool, bool]:
        """Of those that compute alike, the one whose name stands for this width; else the one without a width."""
        recipe = target.graph.recipe
        return len(target.differences), recipe.width != 1.0, MODELS[recipe.model].width != 1.0

    return min(found, key=odd)


def _ways(found: Sequence[Difference]) -> str:
    """Each way in which networks differ, with the first node where they do."""
    first = {what(difference): difference for difference in reversed(found)}
    return "; ".join(line(difference) for difference in reversed(first.values()))


def _weights(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {node.name: node.params["w"] for node in graph.nodes if node.op in CONVOLUTIONS}


def _rounded(params: Params, dtype: str | None) -> tuple[dict[str, Array], tuple[Lost, ...]]:
    """The params in another precision, and what that does to them."""
    if dtype is None:
        return dict(params), ()
    if dtype not in DTYPES:
        raise RequestError(f"dtype {dtype!r}: take one of {', '.join(DTYPES)}")
    found, lost = {}, []
    for name, array in params.items():
        with np.errstate(over="ignore", under="ignore"):
            found[name] = array.astype(dtype)
        if beyond := int(np.isinf(found[name]).sum() - np.isinf(array).sum()):
            largest = float(np.abs(array).max())
            raise RequestError(f"{name}: {beyond} of its values are beyond {dtype}, the largest {largest:.6g}")
        zeros = int(((found[name] == 0) & (array != 0)).sum())
        small = np.abs(found[name]) < FLOATS[dtype].normal
        denormal = int((small & (found[name] != 0) & (found[name] != array)).sum())
        if zeros or denormal:
            lost.append(Lost(name, zeros, denormal))
    return found, tuple(lost)


def _named(graph: Graph, params: Params, names: str) -> dict[str, Array]:
    """The arrays under the vendor's names, in the vendor's layout, with what else strict loading asks for."""
    try:
        named = entries(graph, names)
    except KeyError as error:
        raise RequestError(f"{error.args[0]}: {names} has no name for this layer; take --names refnet") from None
    vendors = {entry.key: entry.theirs(params[ours]) for ours, entry in named.items()}
    dtype = next(iter(vendors.values())).dtype
    vendors |= {key: np.zeros(shape, dtype) for key, shape in unused(graph, names).items() if names == "article"}
    return vendors | {key: np.zeros((), np.int64) for key in counters(graph, names)}


def _put(path: Path, arrays: Mapping[str, Array], write: Callable[[Path], Any]) -> None:
    """Write under another name, read back, compare, rename."""
    with atomic_path(path) as temporary:
        write(temporary)
        found = containers.read(temporary).arrays
        for key, array in arrays.items():
            there = found.get(key)
            if there is None or there.dtype != array.dtype or there.tobytes() != array.tobytes():
                raise RefnetError(f"{path}: {key} does not read back as it was written; nothing is left of the file")
        if len(found) != len(arrays):
            raise RefnetError(f"{path}: reads back with {len(found)} arrays, not {len(arrays)}; nothing is left of it")


def _write_keras(path: Path, graph: Graph, arrays: Mapping[str, Array], _: str) -> None:
    numbers, names = SCHEMES["keras-numbers"].modules(graph), SCHEMES["keras"].modules(graph)
    named = entries(graph, "keras")
    layers = []
    for node in graph.nodes:
        if node.params:
            variables = tuple(arrays[named[f"{node.name}.{slot}"].key] for slot in node.params)
            layers.append(hdf5.LayerWeights(numbers[node.name].removeprefix("layers/"), names[node.name], variables))
    hdf5.write(path, layers)


def _write_pth(path: Path, graph: Graph, arrays: Mapping[str, Array], _: str) -> None:
    # torchvision's MnasNet loads nothing that does not say which version of its stem it has.
    pth_write.write(path, arrays, version=2 if graph.recipe.model.startswith("torchvision/mnasnet") else 1)


_WRITERS: Mapping[str, _Writer] = {
    ".npz": lambda path, _, arrays, text: npz.write(path, arrays, graph=text),
    ".safetensors": lambda path, _, arrays, text: safetensors.write(path, arrays, graph=text),
    ".pth": _write_pth,
    ".weights.h5": _write_keras,
}
