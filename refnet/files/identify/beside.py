"""Arrays that are no known network by themselves -> the weights of the network that another file tells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.files.containers.structure import Submodule
from refnet.files.identify.alike import filters_alike, keys_alike
from refnet.files.identify.names import NamedLayout, nearest_layout
from refnet.files.identify.notes import Note
from refnet.files.identify.order import by_role, keys_in_order, placed
from refnet.files.identify.reading import Reading
from refnet.files.identify.settings import with_settings
from refnet.files.schemes import Entry
from refnet.graph import Graph
from refnet.networks.rewrite import fold_graph, norms, unfold_graph

__all__ = ["as_ours", "read_beside"]

Arrays = Mapping[str, npt.NDArray[Any]]

# What frameworks have as eps, the commonest first: PyTorch and ONNX, Keras and TensorFlow, flax and papers.
_EPS = (1e-5, 1e-3, 1e-6, 1e-4)
_ALIKE = 0.5  # of a cosine: that of unrelated filters of 9 weights is half the time below 0.25, of one layer's it is 1
_NEAR = 1e-5  # relative: within it are folds of one eps; another of these moves a fold of a variance below 1 farther


def read_beside(
    reading: Reading, models: Sequence[str], graph: Graph, params: Arrays, submodules: Mapping[str, Submodule]
) -> Reading:
    """Arrays as those of the network that another file tells; the reading as it is, where they are none of its.

    The arrays are of no known network, or their shapes do not tell how their axes stand.

    Parameters
    ----------
    models, graph, params : the other file's, see `checkpoint.Checkpoint`
    submodules : of a module saved whole, what each part is
    """
    near = nearest_layout(reading.arrays, models, graph.recipe) if models else None
    if near is not None:
        return reading._replace(layouts=[near])
    found, told = _by_order(reading.arrays, graph, params)
    if found is None:
        return reading
    layout, eps = _with_eps(found, graph, reading.arrays, params)
    layout = with_settings(layout, reading.own, submodules) if submodules else layout
    settled = [note for note in reading.notes if note.kind not in ("order", "axes")]
    notes = [*settled, Note(told, tuple(reading.own.values())[:4], len(reading.own))]
    notes += [Note("unfolded", (f"{eps:g}",))] if eps and not submodules else []
    return reading._replace(layouts=[layout], notes=tuple(notes), as_other=True)


def as_ours(entry: Entry, array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """In refnet's layout; in the file's own order where the file's shape is another than the vendor's."""
    if entry.holds(array):
        return entry.ours(array, shape)
    moved = array.transpose(entry.axes) if array.ndim == len(entry.axes) else array
    return moved.reshape(shape) if moved.size == math.prod(shape) else moved


def _by_order(arrays: Arrays, graph: Graph, params: Arrays) -> tuple[NamedLayout | None, str]:
    """A graph with these arrays as its weights, folded as they are, and by what they are told; None if by nothing.

    By an order of names, or by what the arrays are most like: where no order fits, or what fits is like other layers.
    """
    orders = list(_fitting(arrays, graph, params, keys_in_order(arrays)))
    if (found := next((each for each in orders if _is_alike(each, arrays, params)), None)) is not None:
        return found, "order"
    filters, vectors = by_role(arrays, list(arrays))
    keys = keys_alike(arrays, filters, vectors, graph, params)
    for layout in _fitting(arrays, graph, params, [keys] if keys else []):
        if _is_alike(layout, arrays, params):
            return layout, "alike"
    return next(iter(orders), None), "order"


def _is_alike(layout: NamedLayout, arrays: Arrays, params: Arrays) -> bool:
    """Whether most filters are like the other file's, and not retrained, or those of other layers."""
    return float(np.median(_likenesses(layout, arrays, params))) > _ALIKE


def _likenesses(layout: NamedLayout, arrays: Arrays, params: Arrays) -> list[float]:
    """How like the other file's each layer's filters are."""
    shapes = layout.graph.params()
    filters = [(key, ours, entry) for key, (ours, entry) in layout.entries.items() if ours.endswith(".w")]
    return [filters_alike(entry.ours(arrays[key], shapes[ours]), params[ours]) for key, ours, entry in filters]


def _fitting(arrays: Arrays, graph: Graph, params: Arrays, orders: Iterable[Sequence[str]]) -> Iterator[NamedLayout]:
    """A graph with the arrays in an order as its weights, for each order in which they fit one for one.

    A batch norm stands behind each filter that the arrays have one behind. Of several orders of axes that one counts in
    which the filters are most like the other file's.
    """
    convs = [node.name for node in graph.nodes if "w" in node.params]
    for keys in orders:
        filters, vectors = by_role(arrays, keys)
        if len(filters) != len(convs):
            return
        own = dict(zip(convs, _behind(keys, filters, vectors), strict=True))
        normed = {conv: len(each["beta"]) > 1 for conv, each in own.items() if each["mean"]}
        made = unfold_graph(graph, normed, _EPS[0]) if vectors["mean"] else fold_graph(graph)
        layouts = placed(arrays, made, not vectors["mean"], filters, vectors)
        if layouts:
            yield max(layouts, key=lambda each: sum(_likenesses(each, arrays, params)))._replace(unsure=())


def _behind(
    keys: Sequence[str], filters: Sequence[str], vectors: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, list[str]]]:
    """The vectors of each role between each filter and the next one."""
    starts = [keys.index(key) for key in filters]
    for start, end in zip(starts, [*starts[1:], len(keys)], strict=True):
        own = {*keys[start:end]}
        yield {role: [key for key in held if key in own] for role, held in vectors.items()}


def _with_eps(layout: NamedLayout, told: Graph, arrays: Arrays, params: Arrays) -> tuple[NamedLayout, float]:
    """A network whose norms that the other file has folded have the eps with which it folded them; 0 of none."""
    new = {conv: norm for conv, norm in norms(layout.graph).items() if norm.name not in told}
    shapes = layout.graph.params()
    own = {ours: entry.ours(arrays[key], shapes[ours]) for key, (ours, entry) in layout.entries.items()}
    apart = [_apart(own, params, conv, norm.name) for conv, norm in new.items()]
    if not apart:
        return layout, 0.0
    off = np.median(apart, axis=0)
    eps = _EPS[int(off.argmin())] if off.min() < _NEAR else _EPS[0]
    nodes = {norm.name: (replace(norm, attrs={"eps": eps}),) for norm in new.values()}
    return layout._replace(graph=layout.graph.rewritten(nodes)), eps


def _apart(own: Arrays, params: Arrays, conv: str, norm: str) -> list[float]:
    """How far folded filters are, relative, from what each eps makes of them; a dead one tells nothing."""
    w, folded = (np.abs(each[f"{conv}.w"]).reshape(len(each[f"{conv}.w"]), -1).sum(axis=1) for each in (own, params))
    with np.errstate(all="ignore"):
        made = [np.abs(own[f"{norm}.gamma"]) / np.sqrt(own[f"{norm}.var"] + eps) * w for eps in _EPS]
        return [float(np.median(np.abs(each / folded - 1)[folded > 0])) for each in made]
