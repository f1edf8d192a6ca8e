"""Two files side by side: which is the original, which network each is, which layers are folded in one alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.alignment.align import in_reading_order
from refnet.alignment.differences import Standing
from refnet.alignment.naming import named_after
from refnet.bugs.language.arrays import UnitArrays, unit_arrays
from refnet.bugs.language.parts import Parts
from refnet.errors import FormatError, RequestError
from refnet.files.checkpoint import Checkpoint, identify
from refnet.files.containers import Contents, is_folder
from refnet.graph import Graph, Node
from refnet.networks.resize import resize
from refnet.pack.pack import read_pack
from refnet.verification.renumbered import blocks_renumbered
from refnet.verification.roundings import on_grid
from refnet.verification.structure import is_worked_out, structure_differences, worked_ahead

__all__ = ["NORM", "Choice", "Sides", "both", "pair", "read_side"]

Array = npt.NDArray[Any]
Size = tuple[int, int]

_PRUNED = 0.05  # of a file's weights: so many are zero in no file that was only trained
NORM = {"gamma", "beta", "mean", "var"}


class Choice(NamedTuple):
    """A file that cannot tell which of several networks it is, and which it was taken for.

    Attributes
    ----------
    path : of the file; none where neither of two can tell, and both were taken for the same
    models : the networks that it may be
    apart : in what these differ
    taken : one of them, the other file's or the nearest to it
    """

    path: str | None
    models: tuple[str, ...]
    apart: tuple[str, ...]
    taken: str


@dataclass(frozen=True, eq=False)
class Sides:
    """Two files, layer by layer.

    Attributes
    ----------
    original, copy : the copy is the one that lacks weights, or is folded, or rounded, where either is; else the second
        file
    first, second : their units with arrays, by name
    choices : what was settled on the way
    ahead, other_ahead : the convolutions into which a batch norm ahead of them has been worked, because the other file
        has it so; the original's and the copy's
    """

    original: Checkpoint
    copy: Checkpoint
    first: dict[str, UnitArrays]
    second: dict[str, UnitArrays]
    choices: tuple[Choice, ...] = ()
    ahead: frozenset[str] = frozenset()
    other_ahead: frozenset[str] = frozenset()

    @cached_property
    def twins(self) -> bool:
        """Whether both are the same graph with the same bits in the same formats: what is true of one is of both."""
        one, other = self.original, self.copy
        return (
            one.graph.nodes == other.graph.nodes
            and one.stored == other.stored
            and one.keys.keys() == other.keys.keys()
            and list(one.params) == list(other.params)
            and all(_same_bits(array, other.params[name]) for name, array in one.params.items())
        )

    def folded(self, name: str) -> bool:
        """Whether a layer has its batch norm in the original and, worked in, in the copy."""
        return (
            name in self.first and name in self.second and self.first[name].foldable and not self.second[name].foldable
        )

    def unfolded(self, name: str) -> bool:
        """Whether it is the other way round."""
        return (
            name in self.first and name in self.second and self.second[name].foldable and not self.first[name].foldable
        )

    def worked_out(self, name: str) -> bool:
        """Whether a batch norm is held in other arrays: in one file as factor and addend.

        Converters write so what they can fold into nothing.
        """
        if name not in self.first or name not in self.second:
            return False
        files = ((self.original, self.first[name]), (self.copy, self.second[name]))
        if not all(unit.norm is not None and unit.tensors.keys() >= NORM for _, unit in files):
            return False
        held = [{slot for slot in NORM if unit.names[slot] in file.keys} for file, unit in files]
        return held[0] != held[1] and any(unit.norm and is_worked_out(file, unit.norm.name) for file, unit in files)


def read_side(
    path: str | Path | Checkpoint,
    *,
    model: str | None = None,
    width: float | None = None,
    size: Size | None = None,
    own_blocks: bool = False,
    like: Checkpoint | None = None,
    contents: Contents | None = None,
) -> Checkpoint:
    """A file of weights, or a golden pack, as a network; a checkpoint as it is.

    Parameters
    ----------
    model, width, size : of a file that cannot tell; of a golden pack its own
    own_blocks : whether blocks that are not quite a known network's will do, see `identify`
    like : what the file should be a copy of, see `identify`
    contents : what is in the file, where it has been read

    Raises
    ------
    FormatError, RequestError
        as `identify` and `read_pack` do.
    """
    if isinstance(path, Checkpoint):
        return path
    if not Path(path).is_dir() or is_folder(path):
        return identify(path, model=model, width=width, size=size, own_blocks=own_blocks, like=like, contents=contents)
    pack = read_pack(path)
    own = pack.graph.recipe
    for what, value in {"model": model, "width": width, "size": size}.items():
        known = getattr(own, what)
        if value is not None and value != known:
            shown = ",".join(map(str, known)) if what == "size" else known or "one of its own"
            raise RequestError(
                f"{path}: a golden pack knows its own {what}, {shown}: leave {what} out, or ask for that"
            )
    params = {name: np.asarray(array) for name, array in pack.params.items()}
    return Checkpoint(
        path=str(path),
        kind="pack",
        scheme="refnet",
        standing=Standing("known" if own.model else "own", own.model, own.width),
        graph=pack.graph,
        params=params,
        stored={name: str(array.dtype) for name, array in params.items()},
        keys={name: name for name in params},
        models=(own.model,) if own.model else (),
        folded=all(node.op != "batch_norm" for node in pack.graph.nodes),
    )


def both(
    one: str | Path | Checkpoint,
    other: str | Path | Checkpoint,
    *,
    model: str | None = None,
    width: float | None = None,
    size: Size | None = None,
    contents: Mapping[str, Contents] | None = None,
) -> tuple[Checkpoint, Checkpoint]:
    """Two files; where one by itself is no network, because arrays are missing or transposed, read like the other.

    One of arrays alone whose blocks are not quite a known network's is read as it is.

    Parameters
    ----------
    contents : by path, what is in the files that have been read

    Raises
    ------
    FormatError, RequestError
        as `read_side` does.
    """
    held = contents or {}

    def side(path: str | Path | Checkpoint, like: Checkpoint | None = None, own: bool = False) -> Checkpoint:
        own = own or like is not None
        told = held.get(str(path))
        return read_side(path, model=model, width=width, size=size, own_blocks=own, like=like, contents=told)

    try:
        first = side(one)
    except FormatError as error:
        try:
            second = side(other)
        except FormatError as too:  # it may be the one that tells what the first one is
            try:
                second = side(other, own=True)
            except FormatError:
                raise FormatError(f"{error}; {too}") from None
        return side(one, second), second
    second = side(other, first)
    unsure = any(note.kind == "axes" for note in first.notes)  # which the second file may tell
    return side(one, second) if unsure else first, second


def pair(one: Checkpoint, other: Checkpoint, *, size: Size | None = None, output: Sequence[str] = ()) -> Sides:
    """Put two files side by side.

    Where a file cannot tell which of several networks it is, the other one decides; a file that holds arrays alone
    is taken at the size of one that tells its structure. Of two such files neither holds the softmax at an end.
    Where either is a network of its own, or goes on as one, the second file's nodes are called after those of the
    first, by their place; also where each has layers that the other lacks by name, if fewer then differ. Where one has
    fewer blocks, weights tell which of the other's these are, and they have the numbers of those. Both end at the
    tensors `output`, called as in either file or as refnet calls them, if any are given.
    """
    one, other, choices = _settled(one, other, size)
    if not (_tells(one) or _tells(other)):
        one, other = _ended_alike(one, other), _ended_alike(other, one)
    if any(file.standing.kind == "own" or file.standing.beyond for file in (one, other)):
        one, other = _named_alike(*(replace(file, graph=in_reading_order(_once(file))) for file in (one, other)))
    elif _lacks(one, other) and _lacks(other, one):
        namings = [(one, other), _named_alike(one, other)]
        one, other = min(namings, key=lambda each: len(structure_differences(*each)))
    one, other = _numbered_alike(one, other)
    if output:
        ends = [one.names.get(name, other.names.get(name, name)) for name in output]
        one, other = one.returning(ends), other.returning(ends)
    original, copy = (other, one) if _derived(one) > _derived(other) else (one, other)
    first, ahead = _units(original, copy)
    second, other_ahead = _units(copy, original)
    return Sides(original, copy, first, second, choices, ahead, other_ahead)


def _lacks(file: Checkpoint, other: Checkpoint) -> bool:
    """Whether the other file has layers by name that this one has not; a batch norm may be folded, and is none."""
    return any(node.name not in file.graph for node in other.graph.nodes if node.params and node.op != "batch_norm")


def _ended_alike(file: Checkpoint, other: Checkpoint) -> Checkpoint:
    """A file of arrays alone without the softmax that its vendor ends in, where the other file's vendor does not."""
    last = file.graph.nodes[-1]
    if last.op != "softmax" or other.graph.nodes[-1].op == "softmax":
        return file
    return replace(file, graph=replace(file.graph, nodes=file.graph.nodes[:-1]))


def _once(file: Checkpoint) -> Graph:
    """A file's graph in which nothing is computed twice, as converters have it: equal nodes that read the same."""
    graph = file.graph
    kept: dict[str, list[str]] = {}
    same: dict[str, str] = {}
    for node in graph.nodes:
        reads = tuple(same.get(name, name) for name in node.inputs)
        alike = kept.setdefault(repr((node.op, reads, node.params, node.attrs)), [])
        first = next((name for name in alike if _same_arrays(file, name, node)), None)
        if first is None or node.name in graph.outputs:
            alike.append(node.name)
        else:
            same[node.name] = first
    return graph.without(same)


def _same_bits(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _same_arrays(file: Checkpoint, name: str, node: Node) -> bool:
    pairs = [[file.params.get(f"{each}.{slot}") for each in (name, node.name)] for slot in node.params]
    return all(a is not None and b is not None and np.array_equal(a, b) for a, b in pairs)


def _named_alike(one: Checkpoint, other: Checkpoint) -> tuple[Checkpoint, Checkpoint]:
    """The second file under the first one's names, where names of their own are not the same."""
    if one.graph.by_name.keys() == other.graph.by_name.keys():
        return one, other
    named = named_after(one.graph, other.graph)
    return one, _called(other, named.names, named.graph)


def _numbered_alike(one: Checkpoint, other: Checkpoint) -> tuple[Checkpoint, Checkpoint]:
    """Where one file has fewer blocks, these with the numbers of those of the other that they are."""
    names, other_names = blocks_renumbered(one, other), blocks_renumbered(other, one)
    return (
        _called(one, names, one.graph.renamed(names)) if names else one,
        _called(other, other_names, other.graph.renamed(other_names)) if other_names else other,
    )


def _called(file: Checkpoint, names: Mapping[str, str], graph: Graph) -> Checkpoint:
    """A file with other names for its nodes: its graph has them already."""
    moved = {
        f"{node.name}.{slot}": f"{names.get(node.name, node.name)}.{slot}"
        for node in file.graph.nodes
        for slot in node.params
    }
    return replace(
        file,
        graph=graph,
        params={moved.get(name, name): array for name, array in file.params.items()},
        stored={moved.get(name, name): dtype for name, dtype in file.stored.items()},
        keys={moved.get(name, name): key for name, key in file.keys.items()},
        misfits={moved.get(name, name): words for name, words in file.misfits.items()},
        names={own: names.get(name, name) for own, name in file.names.items()},
    )


def _units(file: Checkpoint, other: Checkpoint) -> tuple[dict[str, UnitArrays], frozenset[str]]:
    """A file's units by name, and those into which a batch norm has been worked that the other file lacks."""
    classifier = Parts(file.graph).classifier
    units = {unit.name: unit for unit in unit_arrays(file.graph, file.params, classifier)}
    ahead = worked_ahead(file, other)
    for norm, convs in ahead.items():
        alone = units.pop(norm)
        units |= {conv: units[conv].behind(alone) for conv in convs}
    return units, frozenset(conv for convs in ahead.values() for conv in convs)


def _settled(
    one: Checkpoint, other: Checkpoint, size: Size | None
) -> tuple[Checkpoint, Checkpoint, tuple[Choice, ...]]:
    """Both as the networks that they may be which differ least."""
    if size is None and one.graph.recipe.size != other.graph.recipe.size:
        if not _tells(one):
            one = _at(one, other.graph.recipe.size)
        elif not _tells(other):
            other = _at(other, one.graph.recipe.size)
    if one.models == other.models and not (_tells(one) or _tells(other)):
        if not one.apart:
            return one, other, ()
        return one, other, (Choice(None, one.models, one.apart, one.models[0]),)
    choices = [(a, b) for a in _readings(one) for b in _readings(other)]
    a, b = min(choices, key=lambda each: len(structure_differences(*each)))
    found = [
        Choice(file.path, file.models, file.apart, chosen.graph.recipe.model)
        for file, chosen in ((one, a), (other, b))
        if file.apart and not _tells(file)
    ]
    return a, b, tuple(found)


def _tells(file: Checkpoint) -> bool:
    """Whether a file tells its own structure."""
    return file.scheme == "structure" or file.kind == "pack"


def _at(file: Checkpoint, size: Size) -> Checkpoint:
    return replace(file, graph=resize(file.graph, size))


def _readings(file: Checkpoint) -> Iterator[Checkpoint]:
    """A file as each of the networks that it may be."""
    if len(file.models) <= 1 or file.misfits or _tells(file):
        yield file
        return
    recipe = file.graph.recipe
    for model in file.models:
        same_width = None if model != file.models[0] else recipe.width
        yield identify(file.path, model=model, width=same_width, size=recipe.size)


def _derived(file: Checkpoint) -> tuple[bool, int, int, bool]:
    """What of a file says that it was made from another: it lacks weights or norms, has short numbers or zeros."""
    norms = sum(node.op == "batch_norm" for node in file.graph.nodes)
    weights = [name for name in file.params if name.endswith(".w")]
    stored = min((np.dtype(file.stored.get(name, "float32")).itemsize for name in weights), default=4)
    for store in ("float16", "bfloat16"):
        if all(on_grid(file.params[name], store) for name in weights):
            stored = min(stored, 2)
    zeros = sum(int(file.params[name].size - np.count_nonzero(file.params[name])) for name in weights)
    pruned = zeros > _PRUNED * sum(file.params[name].size for name in weights)
    return bool(file.misfits), -norms, -stored, pruned
