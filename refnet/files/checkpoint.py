"""Which network is this file? Bytes -> a graph with our names of its nodes, its params, and what they are.

`identify` says what a file holds, an almost known network too. `read_checkpoint` is strict: nothing may be missing,
nothing left over, and where two networks compute differently and the file cannot tell, the caller must say which.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.alignment.differences import Difference
from refnet.errors import FormatError, RequestError
from refnet.files import containers
from refnet.files.identify import names, structure
from refnet.files.identify.heads import head_words
from refnet.files.identify.notes import Note
from refnet.files.identify.reading import Asked, read
from refnet.files.schemes import Entry
from refnet.graph import Graph
from refnet.networks.build import find, image_size
from refnet.networks.resize import resize
from refnet.report.differences import line

__all__ = ["Checkpoint", "identify", "read_checkpoint", "settled"]

Arrays = Mapping[str, npt.NDArray[Any]]
Params = dict[str, npt.NDArray[Any]]

_SIZE = (224, 224)  # of the images that nearly all known networks are built for
_COUNTERS = ".num_batches_tracked"  # of PyTorch's batch norms; inference does not read them
_PROFILERS = ("total_ops", "total_params")  # what thop leaves in every module that it has counted
_NAMED = 4  # names in a note


@dataclass(frozen=True)
class Checkpoint:
    """A file as a network.

    Attributes
    ----------
    path : the file
    kind : of container, see `containers.Contents`
    scheme : whose names say which array is which ('torchvision', 'keras', 'refnet', ...), or 'structure'
    graph : the network, its nodes under our names; the file's own structure where it tells one, else the known one's
    params : by 'node.slot'; float32, or float64 where the file has any
    stored : by 'node.slot', the dtype in the file
    keys : by 'node.slot', the file's name of the array; none for what no file holds, such as a gamma of 1
    models : the network's name; several where the file cannot tell which it is, the graph then being the first's
    apart : in what these differ: ('pad', 'eps'); nothing where they compute alike
    folded : whether batch norm has been worked into the convolutions
    differences : from the first of `models` at the width, size and classes of the graph's recipe
    misfits : what strict loading would refuse, in words, by 'node.slot' or, of what is left over, by the file's name:
        only of files that were read like another, see `identify`. Of `params`, missing ones are not there; ones in
        another shape have as many elements in the file's order, or else the file's own shape
    notes : what the file holds beside the network, and what was found that nobody said
    names : of a file that tells its structure: its own name of each node -> ours
    """

    path: str
    kind: str
    scheme: str
    graph: Graph
    params: Params
    stored: dict[str, str]
    keys: dict[str, str]
    models: tuple[str, ...]
    apart: tuple[str, ...] = ()
    folded: bool = False
    differences: tuple[Difference, ...] = ()
    misfits: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        recipe = self.graph.recipe
        return f"{recipe.model} x{recipe.width:g}"


def identify(
    path: str | Path,
    *,
    model: str | None = None,
    width: float | None = None,
    size: tuple[int, int] | int | None = None,
    head: str | Sequence[str] | None = None,
    prefix: str | None = None,
    like: Checkpoint | None = None,
) -> Checkpoint:
    """Say which network a file holds: a known one, one of several, or a known one but for some differences.

    Parameters
    ----------
    path : a file of weights, see `containers.read`
    model : its name, where it is known; by default it is recognised, with width and classes
    width : width multiplier, where it is known
    size : (height, width) of the images, by default the file's or else the vendor's
    head : of a file that has arrays alone: the layers behind the network's features, 'linear,relu,linear', where it has
        a head of its own and cannot tell what stands between the layers
    prefix : of a file that has arrays alone: take those only whose names begin so
    like : what another file is, of which this one should be a copy: if it has arrays alone, and these fit no network
        but are most of that one's, it is taken for that one, and `misfits` has what does not fit

    Returns
    -------
    checkpoint : its values are not judged: they may be NaN

    Raises
    ------
    FormatError
        if the file cannot be read, or if its arrays fit no network: names the first key that is missing, left over or
        of another shape.
    RequestError
        for a model, width, size, head or prefix that cannot be, or where a file holds several networks.

    Examples
    --------
    >>> from refnet.files import shipped
    >>> found = identify(shipped.path("digits_weights.npz"))
    >>> print(found, found.kind, found.folded)
    refnet/digits x1 npz False
    """
    asked = Asked(model, width, None if head is None else head_words(head), prefix)
    if model is not None:
        find(model)
    contents = containers.read(path)
    if contents.structure is None:
        return _from_names(path, contents, asked, size, like)
    if head is not None or prefix is not None:
        raise RequestError(f"{path}: tells its own structure, so head= and prefix= say nothing of it")
    return _from_structure(path, contents, model, width, size)


def read_checkpoint(
    path: str | Path,
    *,
    model: str | None = None,
    width: float | None = None,
    size: tuple[int, int] | int | None = None,
    head: str | Sequence[str] | None = None,
    prefix: str | None = None,
    as_is: bool = False,
) -> tuple[Graph, Params]:
    """Read trained weights and the network that they belong to.

    Parameters
    ----------
    path, model, width, size, head, prefix : as for `identify`
    as_is : take a network that differs from the known one as the file has it

    Returns
    -------
    graph, params : params are float32, or float64 where the file is

    Raises
    ------
    FormatError
        as `identify` does; if a weight is NaN or infinite, or a variance negative; if the network differs from the
        known one and `as_is` was not asked for.
    RequestError
        as `identify` does; if several networks fit that compute differently; names them.
    """
    return settled(identify(path, model=model, width=width, size=size, head=head, prefix=prefix), as_is=as_is)


def settled(found: Checkpoint, *, as_is: bool = False) -> tuple[Graph, Params]:
    """The network of a file that has been identified, if it is one network, known, and its weights are numbers.

    Raises
    ------
    FormatError, RequestError
        as `read_checkpoint` does.
    """
    if found.apart:
        raise RequestError(
            f"{found.path}: {' and '.join(found.models)} share every name and shape but compute differently "
            f"({', '.join(found.apart)}); say which with model="
        )
    if found.differences and found.scheme == "structure" and not as_is:
        raise FormatError(f"{found.path}: {_almost(found)}; run it as it is with --as-is")
    _check_values(found)
    return found.graph, found.params


def _from_names(
    path: str | Path,
    contents: containers.Contents,
    asked: Asked,
    size: tuple[int, int] | int | None,
    like: Checkpoint | None,
) -> Checkpoint:
    """A file that has arrays alone."""
    arrays, notes = _weights(path, contents)
    try:
        reading = read(arrays, asked, contents.submodules)
    except (FormatError, RequestError) as error:
        raise type(error)(f"{path}: {error}") from None
    found, arrays = reading.layouts, reading.arrays
    if not found and like is not None:
        near = names.nearest_layout(arrays, like.models, like.graph.recipe)
        found, size = ([] if near is None else [near]), like.graph.recipe.size if size is None else size
    if not found:
        why = names.objection(arrays, asked.model, asked.width, reading.own_name)
        raise FormatError(f"{path}: {_instead(arrays, asked.model, asked.width)}{why}")
    layout = found[0]
    graph, shapes = layout.graph, layout.graph.params()
    theirs = {ours: (entry, arrays[key]) for key, (ours, entry) in layout.entries.items() if key in arrays}
    held = [ours for ours in shapes if ours in theirs]
    own = {ours: reading.own[theirs[ours][0].key] for ours in held}
    return Checkpoint(
        path=str(path),
        kind=contents.kind,
        scheme=layout.scheme,
        graph=graph if size is None else resize(graph, size),
        params={ours: _ours(*theirs[ours], shapes[ours]) for ours in held},
        stored={ours: str(contents.arrays[own[ours]].dtype) for ours in held},
        keys=own,
        models=tuple(other.graph.recipe.model for other in found),
        apart=names.apart(found),
        folded=layout.folded,
        differences=names.changes(layout),
        misfits=dict(names.misfits(arrays, layout, reading.own_name)),
        notes=(*notes, *reading.notes),
    )


def _ours(entry: Entry, array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """In refnet's layout; in the file's own order where the file's shape is another than the vendor's."""
    if array.shape == entry.shape:
        return entry.ours(array, shape)
    moved = array.transpose(entry.axes) if array.ndim == len(entry.axes) else array
    return moved.reshape(shape) if moved.size == math.prod(shape) else moved


def _from_structure(
    path: str | Path,
    contents: containers.Contents,
    model: str | None,
    width: float | None,
    size: tuple[int, int] | int | None,
) -> Checkpoint:
    """A file that says how its arrays are used."""
    from refnet.files import importers

    assert contents.structure is not None
    # Where the file leaves the size open, it is the one that the known networks are built for.
    usual = image_size(size, _SIZE if model is None else find(model).size)
    left_open = any(None in shape[1:] for shape in contents.structure.inputs.values())
    try:
        own = importers.import_graph(contents, size=usual if left_open else None)
        found = structure.recognise(own.graph, own.keys.values(), model, width)
        graph = found.named.graph
        graph = resize(graph, graph.recipe.size if size is None else size)
    except (FormatError, RequestError) as error:
        raise type(error)(f"{path}: {error}") from error
    params = _in_one_precision(own.params)
    theirs = {new: old for old, new in found.named.names.items()}
    origin = {f"{node.name}.{slot}": f"{theirs[node.name]}.{slot}" for node in graph.nodes for slot in node.params}
    return Checkpoint(
        path=str(path),
        kind=contents.kind,
        scheme="structure",
        graph=graph,
        params={ours: params[name] for ours, name in origin.items()},
        stored={ours: own.stored[name] for ours, name in origin.items() if name in own.stored},
        keys={ours: own.keys[name] for ours, name in origin.items() if name in own.keys},
        models=found.models,
        folded=found.named.folded,
        differences=found.differences,
        names=found.named.names,
    )


def _instead(arrays: Arrays, model: str | None, width: float | None) -> str:
    """What the arrays are, where they are not what the caller said."""
    if model is None and width is None:
        return ""
    found = names.fitting_layouts(arrays, None, None)
    recipes = [layout.graph.recipe for layout in found]
    said = " or ".join(f"{recipe.model} x{recipe.width:g}" for recipe in recipes)
    return f"holds {said}, not {model or f'width {width:g}'}: " if found else ""


def _weights(path: str | Path, contents: containers.Contents) -> tuple[Params, tuple[Note, ...]]:
    """The arrays that count, in the precision that refnet computes in, and what is known of the others."""
    kept: Params = {}
    counted: list[str] = []
    for key, array in contents.arrays.items():
        if key.endswith(_COUNTERS) or key.startswith("__"):
            continue
        if key.rpartition(".")[2] in _PROFILERS and array.size <= 1:
            counted.append(key)
            continue
        if array.dtype.kind != "f":
            raise FormatError(
                f"{path}: {key} holds {array.dtype}, not floating-point numbers: not a checkpoint of weights"
            )
        kept[key] = array if array.dtype == np.float64 else array.astype(np.float32)
    if not kept:
        raise FormatError(f"{path}: holds no weights")
    facts = {"wrapper": contents.wrappers, "beside": contents.beside, "counters": tuple(counted)}
    notes = [Note(kind, tuple(held[:_NAMED]), len(held)) for kind, held in facts.items() if held]
    return _in_one_precision(kept), tuple(notes)


def _in_one_precision(arrays: Params) -> Params:
    """All in float64 where any is, which is exact."""
    if len({array.dtype for array in arrays.values()}) == 1:
        return arrays
    return {key: array.astype(np.float64) for key, array in arrays.items()}


def _almost(found: Checkpoint) -> str:
    first, *others = found.differences
    if not others:
        return f"{found}, but {line(first)}"
    return f"{found} with {len(others) + 1} differences, first: {line(first)}"


def _check_values(found: Checkpoint) -> None:
    for name, array in found.params.items():
        what = f"{found.path}: {found.keys.get(name, name)} holds"
        if not np.isfinite(array).all():
            raise FormatError(f"{what} NaN or infinity: the weights are broken")
        if name.endswith(".var") and (array < 0).any():
            raise FormatError(f"{what} a negative variance: the weights are broken")
