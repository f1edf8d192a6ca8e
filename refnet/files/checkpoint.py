"""Which network is this file? Bytes -> a graph, its params, and what they are.

A file that tells its structure is a network whatever it is: under our names where it is known, almost or in its
beginning, else under its own. One that has arrays alone must be known: nothing may be missing, nothing left over. Where
two networks compute differently and the file cannot tell, the caller must say which.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.alignment.diff import differences
from refnet.alignment.differences import Difference, Standing, structural
from refnet.errors import FormatError, RequestError
from refnet.files import containers
from refnet.files.identify import filters, names, structure
from refnet.files.identify.beside import as_ours, read_beside
from refnet.files.identify.heads import head_words
from refnet.files.identify.notes import Note, structure_notes
from refnet.files.identify.pixels import prepared_for
from refnet.files.identify.reading import Asked, read, read_own
from refnet.files.identify.weights import in_one_precision, weights_in
from refnet.files.importers.imported import ImportedGraph
from refnet.files.labels import fitting_labels
from refnet.graph import Graph, Recipe
from refnet.networks.build import find, image_size
from refnet.networks.dialects import MODELS
from refnet.networks.resize import resize
from refnet.networks.rewrite import returning
from refnet.readings.shapes import shapes
from refnet.report.differences import line, standing_words

__all__ = ["Checkpoint", "identify", "settled"]

Arrays = Mapping[str, npt.NDArray[Any]]
Params = dict[str, npt.NDArray[Any]]

_SIZE = (224, 224)  # of the images that nearly all known networks are built for
_ALONE = "; weights alone do not say how they are used: put what model.to_json() says beside them, as config.json"


@dataclass(frozen=True)
class Checkpoint:
    """A file as a network.

    Attributes
    ----------
    path : the file
    kind : of container, see `containers.Contents`
    scheme : whose names say which array is which ('torchvision', 'keras', 'refnet', ...), or 'structure'
    standing : a known network, almost one, the beginning of one, or one of the file's own
    graph : the network; the file's own structure where it tells one, else the known one's. Its nodes have our names as
        far as a known network goes, and the file's beyond
    params : by 'node.slot'; float32, or float64 where the file has any
    stored : by 'node.slot', the dtype in the file
    keys : by 'node.slot', the file's name of the array; none for what no file holds, such as a gamma of 1
    models : the network's name; several where the file cannot tell which it is, the graph then being the first's; none
        of a network of the file's own
    apart : in what these differ: ('pad', 'eps'); nothing where they compute alike
    folded : whether batch norm has been worked into the convolutions
    differences : from the first of `models` at the width, size and classes of the graph's recipe, as far as it goes
    misfits : what strict loading would refuse, in words, by 'node.slot' or, of what is left over, by the file's name:
        only of files that were read like another, see `identify`. Of `params`, missing ones are not there; ones in
        another shape have as many elements in the file's order, or else the file's own shape
    notes : what the file holds beside the network, and what was found that nobody said
    names : of a file that tells its structure: its own name of each node -> ours
    """

    path: str
    kind: str
    scheme: str
    standing: Standing
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

    def returning(self, names: Sequence[str]) -> Checkpoint:
        """The network that returns other tensors, by our names or the file's.

        Raises
        ------
        RequestError : there is no such node; names the nearest
        """
        ends = [self.names.get(name, name) for name in names]
        graph = returning(self.graph, ends)
        graph = replace(graph, recipe=replace(graph.recipe, classes=shapes(graph)[ends[0]][0]))
        needed = graph.params()

        def kept(table: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in table.items() if name in needed}

        return replace(
            self,
            graph=graph,
            params=kept(self.params),
            stored=kept(self.stored),
            keys=kept(self.keys),
            misfits=kept(self.misfits),
        )

    def __str__(self) -> str:
        return standing_words(self.standing)


def identify(
    path: str | Path,
    *,
    model: str | None = None,
    width: float | None = None,
    size: tuple[int, int] | int | None = None,
    head: str | Sequence[str] | None = None,
    prefix: str | None = None,
    output: str | Sequence[str] | None = None,
    own_blocks: bool = False,
    like: Checkpoint | None = None,
    contents: containers.Contents | None = None,
) -> Checkpoint:
    """Say which network a file holds: a known one, one of several, almost one, the beginning of one, or one of its own.

    Parameters
    ----------
    path : a file of weights, see `containers.read`
    model : its name, where it is known; by default it is recognised, with width and classes
    width : width multiplier, where it is known
    size : (height, width) of the images, by default the file's or else the vendor's
    head : of a file that has arrays alone: the layers behind the network's features, 'linear,relu,linear', where it has
        a head of its own and cannot tell what stands between the layers
    prefix : of a file that has arrays alone: take those only whose names begin so
    output : the tensor, or tensors, that the network is to return, by our names or the file's; what does not lead
        there is left out
    own_blocks : of a file that has arrays alone: read it as almost a known network where its blocks are not quite that
        one's, though no array tells their strides, pads and activations
    like : what another file is, of which this one should be a copy: if it has arrays alone, and these fit no network
        but are most of that one's, it is taken for that one, and `misfits` has what does not fit
    contents : what is in the file, where it has been read

    Returns
    -------
    checkpoint : its values are not judged: they may be NaN

    Raises
    ------
    FormatError
        if the file cannot be read; if it has arrays alone, and these fit no network: names the first key that is
        missing, left over or of another shape; if it is too far from the model or width that is given.
    RequestError
        for a model, width, size, head or prefix that cannot be, or where a file holds several networks.

    Examples
    --------
    >>> from refnet.files import shipped
    >>> found = identify(shipped.path("digits_weights.npz"))
    >>> print(found, found.kind, found.folded)
    refnet/digits x1 npz False
    """
    if model is not None:
        find(model)
    contents = containers.read(path) if contents is None else contents
    asked = Asked(model, width, None if head is None else head_words(head), prefix, own_blocks)
    found = _identified(path, contents, asked, size, like)
    return found if output is None else found.returning([output] if isinstance(output, str) else output)


def _identified(
    path: str | Path,
    contents: containers.Contents,
    asked: Asked,
    size: tuple[int, int] | int | None,
    like: Checkpoint | None,
) -> Checkpoint:
    """`identify`, but for the tensors that are wanted."""
    if contents.structure is None and not contents.graph:
        return _from_names_or_beside(path, contents, asked, size, like)
    if asked.head is not None or asked.prefix is not None:
        raise RequestError(f"{path}: tells its own structure, so head= and prefix= say nothing of it")
    return _from_structure(path, contents, asked.model, asked.width, size, like)


def settled(found: Checkpoint, *, model: str | None = None, strict: bool = False) -> tuple[Graph, Params]:
    """The network of a file that has been identified, if it is one network and its weights are numbers.

    Parameters
    ----------
    model : what was asked for; what tells its structure must be exactly that
    strict : refuse whatever is not exactly a known network

    Returns
    -------
    graph, params : params are float32, or float64 where the file is

    Raises
    ------
    FormatError
        if a weight is NaN or infinite, or a variance negative; if the network is not exactly the known one that was
        asked for.
    RequestError
        if several networks fit that compute differently; names them.
    """
    if found.apart:
        raise RequestError(
            f"{found.path}: {' and '.join(found.models)} share every name and shape but compute differently "
            f"({', '.join(found.apart)}); say which with model="
        )
    if strict and any(note.kind == "end" for note in found.notes):
        raise FormatError(f"{found.path}: does not end with the network: behind it are operations that refnet lacks")
    if found.standing.kind != "known" and (strict or (model is not None and found.scheme == "structure")):
        way = "strict=" if strict else "model="
        raise FormatError(f"{found.path}: {_almost(found)}; it is taken as it is without {way}")
    _check_values(found)
    return found.graph, found.params


def _from_names_or_beside(
    path: str | Path,
    contents: containers.Contents,
    asked: Asked,
    size: tuple[int, int] | int | None,
    like: Checkpoint | None,
) -> Checkpoint:
    """A file that has arrays alone: what a file beside it says counts where they are not exactly one known network."""
    told = contents.described
    if told is None or asked.head is not None or asked.prefix is not None:
        return _from_names(path, contents, asked, size, like)
    with suppress(FormatError, RequestError):
        found = _from_names(path, contents, asked, size, None)
        if found.standing.kind == "known" and not found.apart:
            return found
    return _from_structure(path, told._replace(labels=contents.labels), asked.model, asked.width, size)


def _from_names(
    path: str | Path,
    contents: containers.Contents,
    asked: Asked,
    size: tuple[int, int] | int | None,
    like: Checkpoint | None,
) -> Checkpoint:
    """A file that has arrays alone."""
    try:
        arrays, notes = weights_in(contents)
        reading = read(arrays, asked, contents.submodules)
    except (FormatError, RequestError) as error:
        raise type(error)(f"{path}: {error}") from None
    if like is not None and (not reading.layouts or any(note.kind == "axes" for note in reading.notes)):
        reading = read_beside(reading, like.models, like.graph, like.params, contents.submodules)
        size = like.graph.recipe.size if size is None else size
    reading = read_own(reading, asked)
    found, arrays = reading.layouts, reading.arrays
    if not found:
        why = filters.refusal(arrays, asked.model, asked.width, reading.own_name) + _ALONE * (contents.kind == "hdf5")
        raise FormatError(f"{path}: {names.instead(arrays, asked.model, asked.width)}{why}")
    layout = found[0]
    graph, shapes = layout.graph, layout.graph.params()
    graph = replace(graph, recipe=replace(graph.recipe, labels=fitting_labels(contents.labels, graph.recipe)))
    other = like if reading.as_other else None
    standing, changes = (other.standing, other.differences) if other else _standing(layout, reading.notes)
    moved = [reading.own_name(key) for key in names.reshaped(arrays, layout)]
    if moved:
        notes = (*notes, Note("reshaped", tuple(moved[:4]), len(moved)))
    theirs = {ours: (entry, arrays[key]) for key, (ours, entry) in layout.entries.items() if key in arrays}
    held = [ours for ours in shapes if ours in theirs]
    own = {ours: reading.own[theirs[ours][0].key] for ours in held}
    return Checkpoint(
        path=str(path),
        kind=contents.kind,
        scheme=layout.scheme,
        standing=standing,
        graph=graph if size is None else resize(graph, size),
        params={ours: as_ours(*theirs[ours], shapes[ours]) for ours in held},
        stored={ours: str(contents.arrays[own[ours]].dtype) for ours in held},
        keys=own,
        models=other.models[:1] if other else tuple(each.graph.recipe.model for each in found),
        apart=names.apart(found),
        folded=layout.folded,
        differences=changes,
        misfits=dict(names.misfits(arrays, layout, reading.own_name)),
        notes=(*notes, *reading.notes),
    )


def _standing(layout: names.NamedLayout, notes: Sequence[Note]) -> tuple[Standing, tuple[Difference, ...]]:
    """How a network of known names stands to the known one, and in what it differs as far as it goes."""
    recipe, last = layout.graph.recipe, layout.graph.output
    found = names.changes(layout)
    if any(note.kind == "headless" for note in notes) and last in (known := names.known_graph(layout)):
        found = structural(differences(structure.up_to(known, last), layout.graph))
        return Standing("beginning", recipe.model, recipe.width, until=last), found
    return Standing("almost" if found else "known", recipe.model, recipe.width), found


def _from_structure(
    path: str | Path,
    contents: containers.Contents,
    model: str | None,
    width: float | None,
    size: tuple[int, int] | int | None,
    like: Checkpoint | None = None,
) -> Checkpoint:
    """A file that says how its arrays are used."""
    from refnet.files import importers

    # Where the file leaves the size open, it is the one that the known networks are built for.
    usual = image_size(size, _SIZE if model is None else find(model).size)
    try:
        inputs = {} if contents.structure is None else contents.structure.inputs
        left_open = any(None in shape[1:] for shape in inputs.values())
        readings = importers.readings_of(contents)
        imported = (importers.import_graph(each, size=usual if left_open else None) for each in readings)
        own, found = _likeliest(imported, model, width, () if like is None else like.models)
        graph = found.named.graph
        graph = resize(graph, graph.recipe.size if size is None else size)
    except (FormatError, RequestError) as error:
        raise type(error)(f"{path}: {error}") from error
    params = in_one_precision(own.params)
    graph = replace(graph, recipe=_recipe(own, graph.recipe, contents))
    theirs = {new: old for old, new in found.named.names.items()}
    origin = {f"{node.name}.{slot}": f"{theirs[node.name]}.{slot}" for node in graph.nodes for slot in node.params}
    return Checkpoint(
        path=str(path),
        kind=contents.kind,
        scheme="structure",
        standing=found.standing,
        graph=graph,
        params={ours: params[name] for ours, name in origin.items()},
        stored={ours: own.stored[name] for ours, name in origin.items() if name in own.stored},
        keys={ours: own.keys[name] for ours, name in origin.items() if name in own.keys},
        models=found.models,
        folded=found.named.folded,
        differences=found.differences,
        notes=tuple(structure_notes(found.standing.width, found.divisor, own.left_out)),
        names=found.named.names,
    )


def _likeliest(
    readings: Iterable[ImportedGraph], model: str | None, width: float | None, wanted: Collection[str]
) -> tuple[ImportedGraph, structure.Recognised]:
    """Of all that a file may be read as, what is nearest to a known network, best one of those that are wanted."""
    best: tuple[tuple[bool, bool, int, bool], ImportedGraph, structure.Recognised] | None = None
    for own in readings:
        found = structure.recognise(own.graph, own.keys.values(), model, width)
        known = MODELS.get(found.standing.model)
        other = bool(wanted) and not {*wanted} & {*found.models}
        rank = (found.standing.kind == "own", other, len(found.differences), known is not None and known.variant)
        if best is None or rank < best[0]:
            best = rank, own, found
        if not any(rank):
            break
    assert best is not None
    return best[1:]


def _recipe(own: ImportedGraph, recipe: Recipe, contents: containers.Contents) -> Recipe:
    """How images are prepared, and what the classes are called, as far as the file says."""
    recipe = replace(recipe, preprocessing=prepared_for(replace(own.graph, recipe=recipe), own.params))
    return replace(recipe, labels=fitting_labels(contents.labels, recipe))


def _almost(found: Checkpoint) -> str:
    if len(found.differences) < 2:
        return ", but ".join([f"is {found}", *map(line, found.differences)])
    return f"is {found} with {len(found.differences)} differences, first: {line(found.differences[0])}"


def _check_values(found: Checkpoint) -> None:
    for name, array in found.params.items():
        what = f"{found.path}: {found.keys.get(name, name)} holds"
        if not np.isfinite(array).all():
            raise FormatError(f"{what} NaN or infinity: the weights are broken")
        if name.endswith(".var") and (array < 0).any():
            raise FormatError(f"{what} a negative variance: the weights are broken")
