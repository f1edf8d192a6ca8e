"""Arrays under anybody's names -> the networks that they are the weights of, by their order and shapes alone.

Files keep arrays in the order in which a port makes its layers, which is mostly that of execution. The filters of a
network, one after another, tell it; each vector goes to its layer by what it is of: a mean, a variance, a factor, or
what is added. Every array must have its place, and every place its array.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy.typing as npt

from refnet.alignment.diff import differences
from refnet.alignment.differences import structural
from refnet.errors import RequestError
from refnet.files.identify.axes import Filters, fitting_entries, layer_parts, likeliest_entries
from refnet.files.identify.names import WIDTHS, NamedLayout, plain_layouts
from refnet.files.identify.nearest import convolution_rows
from refnet.files.schemes import Entry
from refnet.graph import Graph, Node
from refnet.networks.build import build, find
from refnet.networks.dialects import MODELS
from refnet.networks.rewrite import fold_graph

__all__ = [
    "SCHEME",
    "by_role",
    "keys_in_order",
    "layer_named",
    "layouts_by_order",
    "listings",
    "placed",
]

Arrays = Mapping[str, npt.NDArray[Any]]
Shape = tuple[int, ...]

SCHEME = "nobody"  # whose names they are
_SEGMENTER = ("head.reduce", "head.reduce.bn", "head.squeeze", "head.low", "head.high")
_FEWEST = 20  # arrays, without which an order proves nothing


# What a vector is of, by the last words of its name.
_ROLES: tuple[tuple[str, str], ...] = (
    ("mean", r"mean|mu|avg|average|w_1"),  # Paddle numbers the arrays of a layer
    ("var", r"var|variance|sigma2|w_2"),
    ("gamma", r"gammas?|scales?|weights?|w|g"),
    ("beta", r"betas?|offsets?|shifts?|bias(es)?|b"),
)
_TAIL = re.compile(r"^(arg|aux):|(:0|/value)$")  # MXNet's kinds of arrays, and TensorFlow's and Keras' ends of names
_WORD = "|".join([*(words for _, words in _ROLES), "kernel", "filter"])
_LAST_WORD = re.compile(rf"([./:](depth|point)wise_kernel|[./:_]_?((running|moving)_)?({_WORD}))$", re.IGNORECASE)
_KERNEL = re.compile(r"(^|[./:_])(kernel|filter)s?$", re.IGNORECASE)
_END = re.compile(r"class|logits|predict|output|(^|[./_])(head|fc|dense|linear|last)\w*[./_]")
_LISTED = ("gamma", "beta", "mean", "var")  # by PyTorch, Keras and TensorFlow alike


def layouts_by_order(arrays: Arrays, model: str | None, width: float | None) -> list[NamedLayout]:
    """Every network whose weights the arrays can be, one for one; one of each kind that computes alike.

    Parameters
    ----------
    arrays : in the order that fits first, see `keys_in_order`
    """
    if len(arrays) < _FEWEST:
        return []
    for keys in keys_in_order(arrays):
        filters, vectors = by_role(arrays, keys)
        found: list[NamedLayout] = []
        shapes = [arrays[key].shape for key in filters]
        for graph, folded in _graphs(shapes, bool(vectors["mean"]), model, width):
            for nodes in listings(graph):
                found += placed(arrays, graph, folded, filters, vectors, nodes)[:1]
        found = plain_layouts(found) if model is None else found
        kinds: list[NamedLayout] = []
        for layout in found:
            if all(structural(differences(other.graph, layout.graph)) for other in kinds):
                kinds.append(layout)
        if kinds:
            return kinds
    return []


def keys_in_order(arrays: Arrays) -> Iterator[list[str]]:
    """The names in the file's order; as they are sorted, numbers in them counted; with those of an end at the end.

    Of an end are those whose part of the module that holds all says so, else those of which any word does: gates too
    have layers that are called `fc`.
    """
    yield list(arrays)
    counted = sorted(arrays, key=_counted)
    yield counted
    first, last = (name.split(".") for name in (min(arrays), max(arrays)))
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    yield sorted(counted, key=lambda name: _of_end(".".join([*name.split(".")[shared : shared + 1], ""])))
    yield sorted(counted, key=_of_end)


def _counted(name: str) -> list[tuple[int, str]]:
    """A name whose numbers count as such: layer2 comes before layer10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _of_end(name: str) -> bool:
    """Whether a name says that it is of the end of a network, which sorting puts before its features."""
    return _END.search(name.casefold()) is not None


def by_role(arrays: Arrays, keys: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The filters in order, and the vectors of each role in order."""
    filters = _filters(arrays, keys)
    vectors: dict[str, list[str]] = {role: [] for role, _ in _ROLES}
    apart = {*filters}
    others = [key for key in keys if key not in apart]
    named = {key: _role(key) for key in others}
    told = {*named.values()}
    # Where names tell of some of a batch norm's vectors alone, a letter may do so by chance.
    is_told = "" not in told or {"mean", "var"} <= told or told == {"", "beta"}
    roles = {key: role or "beta" for key, role in named.items()} if is_told else _by_place(keys, apart)
    for key, role in roles.items():
        vectors[role].append(key)
    return filters, vectors


def _filters(arrays: Arrays, keys: Sequence[str]) -> list[str]:
    """The arrays of several axes; where there are vectors that are none of their layers, of those with one axis too.

    A vector has as many numbers as a layer has filters. Filters whose axes are joined are called a kernel, or have more
    numbers than the vectors before them.
    """
    several = {key for key in keys if sum(length > 1 for length in arrays[key].shape) > 1}
    counts = {length for key in several for length in arrays[key].shape}
    others = [key for key in keys if key not in several]
    if all(arrays[key].size in counts for key in others):
        return [key for key in keys if key in several]
    named = {key for key in others if _KERNEL.search(_TAIL.sub("", key))}
    if named:
        return [key for key in keys if key in several or key in named]
    found: list[str] = []
    longest, in_vectors = 0, False  # of the filters, or of the vectors behind them
    for key in keys:
        size = arrays[key].size
        if key in several or (size > longest if in_vectors else size >= longest):
            found.append(key)
            longest, in_vectors = size, False
        elif not in_vectors:
            longest, in_vectors = size, True
    return found


def _by_place(keys: Sequence[str], filters: Collection[str]) -> dict[str, str]:
    """Of vectors whose names say nothing: behind a filter a bias, or four of batch norm as all frameworks list them."""
    found, behind = dict[str, str](), list[str]()
    for key in (*keys, ""):
        if key and key not in filters:
            behind.append(key)
            continue
        norm = [role for role in _LISTED if len(behind) >= len(_LISTED)]
        found |= dict(zip(behind, ["beta"] * (len(behind) - len(norm)) + norm, strict=True))
        behind = []
    return found


def layer_named(name: str) -> str:
    """A name without the word for the array: the same of all arrays of a layer, whatever stands between the words.

    Examples
    --------
    >>> layer_named("features_batchnorm0_running_mean"), layer_named("stem.bn.weight"), layer_named("stem/bn/gamma:0")
    ('features_batchnorm0', 'stem.bn', 'stem/bn')
    """
    whole = _TAIL.sub("", name)
    layer = _LAST_WORD.sub("", whole)
    return layer if layer != whole else whole[: max(whole.rfind(each) for each in "./:") + 1]


def _role(name: str) -> str:
    """What a vector is of: the first role of which the end of its name tells, or ''."""
    last = re.split(r"[./:]", _TAIL.sub("", name.casefold()))[-1]
    *_, word = [last, *filter(None, re.split(r"[_\d]+", last))]
    return next((role for role, pattern in _ROLES if re.fullmatch(pattern, last) or re.fullmatch(pattern, word)), "")


def _graphs(
    shapes: Sequence[Shape], norms: bool, model: str | None, width: float | None
) -> Iterator[tuple[Graph, bool]]:
    """Known networks whose filters can have these shapes, one after another; folded where there are no norms."""
    names = [model] if model is not None else [name for name in MODELS if MODELS[name].dialect.vendor != "refnet"]
    for name in names:
        seen = set()
        if len(convolution_rows(name, 1.0)) != len(shapes):  # at any width
            continue
        for at in [width] if width is not None else WIDTHS if find(name).width == 1.0 else (1.0,):
            try:
                rows = convolution_rows(name, at)
            except RequestError:  # a layer without channels
                continue
            if rows in seen:
                continue
            seen.add(rows)
            if all(_may_be(row, shape) for row, shape in zip(rows, shapes, strict=True)):
                for classes in _classes(rows[-2][-1], shapes[-1]):
                    graph = build(name, width=at, classes=classes)
                    yield (graph, False) if norms else (fold_graph(graph), True)


def _may_be(row: tuple[str, tuple[int, ...], int], shape: Shape) -> bool:
    """Whether an array has a number of weights that a known layer can have."""
    op, kernel, K = row
    size, filters = math.prod(shape), math.prod(kernel) * (K or 1)
    return size == filters if op == "depthwise_conv2d" else size % filters == 0


def _classes(before: int, shape: Shape) -> Iterable[int]:
    """How many classes the last layer can have, by its shape and, where its axes are one, by the channels before it."""
    axes = [length for length in shape if length > 1]
    if len(axes) > 1:
        return dict.fromkeys(axes)
    return [axes[0] // before] if axes and before and axes[0] % before == 0 else []


def listings(graph: Graph) -> Iterator[tuple[Node, ...]]:
    """A network's layers in the order of execution; those of a segmenter also as PyTorch's module lists them."""
    layers = tuple(node for node in graph.nodes if node.params)
    yield layers
    if "head.low" in graph:
        place = {name: index for index, name in enumerate(_SEGMENTER, 1)}
        yield tuple(sorted(layers, key=lambda node: place.get(node.name, 0)))


def placed(
    arrays: Arrays,
    graph: Graph,
    folded: bool,
    filters: Sequence[str],
    vectors: Mapping[str, Sequence[str]],
    nodes: Sequence[Node] = (),
) -> list[NamedLayout]:
    """The arrays by their names with what each is, in each order of axes that filters may have; the likeliest first.

    None where an array has no place, or a place none.

    Parameters
    ----------
    nodes : in the order in which the file has their arrays, by default that of execution
    """
    left = {"w": list(filters), **{role: list(keys) for role, keys in vectors.items()}}
    found: dict[str, tuple[str, Entry]] = {}
    kinds: dict[tuple[str, str, int], Filters] = {}
    parts = layer_parts(graph)
    for node in nodes or graph.nodes:
        for slot, shape in node.params.items():
            role = "beta" if slot == "b" else slot
            if not left.get(role):
                return []
            key = left[role].pop(0)
            array, entry = arrays[key], Entry(key, shape, (0,))
            if slot == "w":
                fits = fitting_entries(array, node.op, shape, key)
                kinds.setdefault((node.op, parts[node.name], array.ndim), Filters(node.op, [])).fits.append(fits)
            elif not entry.holds(array):
                return []
            found[key] = f"{node.name}.{slot}", entry
    if any(left.values()):
        return []
    orders = likeliest_entries(list(kinds.values()))
    told = [{entry.key: entry for entry in order} for order in orders]
    unsure = tuple(key for key in told[0] if any(each[key] != told[0][key] for each in told[1:])) if told else ()
    return [
        NamedLayout(
            graph,
            SCHEME,
            folded,
            {key: (ours, order.get(key, entry)) for key, (ours, entry) in found.items()},
            {},
            unsure=unsure,
        )
        for order in told
    ]
