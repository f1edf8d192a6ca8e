"""Arrays under anybody's names -> the networks that they are the weights of, by their order and shapes alone.

Files keep arrays in the order in which a port makes its layers, which is mostly that of execution. The filters of a
network, one after another, tell it; each vector goes to its layer by what it is of: a mean, a variance, a factor, or
what is added. Every array must have its place, and every place its array.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy.typing as npt

from refnet.alignment.diff import differences
from refnet.alignment.differences import structural
from refnet.errors import RequestError
from refnet.files.identify.names import WIDTHS, NamedLayout, plain_layouts
from refnet.files.identify.nearest import convolution_rows
from refnet.files.schemes import Entry
from refnet.graph import Graph
from refnet.networks.build import build, find
from refnet.networks.dialects import MODELS
from refnet.networks.rewrite import fold_graph

__all__ = [
    "HABITS",
    "SCHEME",
    "Habit",
    "by_role",
    "filter_entry",
    "keys_in_order",
    "layer_named",
    "layouts_by_order",
    "placed",
]

Arrays = Mapping[str, npt.NDArray[Any]]
Shape = tuple[int, ...]

SCHEME = "nobody"  # whose names they are
_FEWEST = 20  # arrays, without which an order proves nothing


Habit = Mapping[str, Shape]  # how a framework lays out filters: by operation, the axes that make them refnet's
_TORCH: Habit = {
    "conv2d": (0, 1, 2, 3),
    "depthwise_conv2d": (0, 1, 2, 3),
    "pointwise_conv2d": (0, 1, 2, 3),
    "dense": (0, 1),
}
_TF: Habit = {
    "conv2d": (3, 2, 0, 1),
    "depthwise_conv2d": (2, 3, 0, 1),
    "pointwise_conv2d": (3, 2, 0, 1),
    "dense": (1, 0),
}
HABITS: tuple[Habit, ...] = (_TORCH, {**_TORCH, "dense": (1, 0)}, _TF, {**_TF, "dense": (0, 1)})

# What a vector is of, by the last words of its name.
_ROLES: tuple[tuple[str, str], ...] = (
    ("mean", r"mean|mu|w_1"),  # Paddle numbers the arrays of a layer
    ("var", r"var|variance|sigma2|w_2"),
    ("gamma", r"gammas?|scales?|weights?|w|g"),
    ("beta", r"betas?|offsets?|shifts?|bias(es)?|b"),
)
_TAIL = re.compile(r"^(arg|aux):|(:0|/value)$")  # MXNet's kinds of arrays, and TensorFlow's and Keras' ends of names
_WORD = "|".join([*(words for _, words in _ROLES), "kernel", "filter"])
_LAST_WORD = re.compile(rf"([./:](depth|point)wise_kernel|[./:_]_?((running|moving)_)?({_WORD}))$", re.IGNORECASE)
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
            for habit in HABITS:
                entries = placed(arrays, graph, filters, vectors, habit)
                if entries is not None:
                    found.append(NamedLayout(graph, SCHEME, folded, entries, {}))
                    break
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
    filters = [key for key in keys if _is_filter(arrays[key].shape)]
    vectors: dict[str, list[str]] = {role: [] for role, _ in _ROLES}
    others = [key for key in keys if key not in {*filters}]
    named = {key: _role(key) for key in others}
    told = {*named.values()}
    # Where names tell of some of a batch norm's vectors alone, a letter may do so by chance.
    is_told = "" not in told or {"mean", "var"} <= told or told == {"", "beta"}
    roles = {key: role or "beta" for key, role in named.items()} if is_told else _by_place(arrays, keys)
    for key, role in roles.items():
        vectors[role].append(key)
    return filters, vectors


def _is_filter(shape: Shape) -> bool:
    return sum(length > 1 for length in shape) > 1


def _by_place(arrays: Arrays, keys: Sequence[str]) -> dict[str, str]:
    """Of vectors whose names say nothing: behind a filter a bias, or four of batch norm as all frameworks list them."""
    found, behind = dict[str, str](), list[str]()
    for key in (*keys, ""):
        if key and not _is_filter(arrays[key].shape):
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
            if all(
                set(kernel) <= {*shape} and (K in shape or not K)
                for (_, kernel, K), shape in zip(rows, shapes, strict=True)
            ):
                for classes in dict.fromkeys(length for length in shapes[-1] if length > 1):
                    graph = build(name, width=at, classes=classes)
                    yield (graph, False) if norms else (fold_graph(graph), True)


def placed(
    arrays: Arrays, graph: Graph, filters: Sequence[str], vectors: Mapping[str, Sequence[str]], habit: Habit
) -> dict[str, tuple[str, Entry]] | None:
    """The arrays by their names with what each is; None where one has no place, or a place none."""
    left = {"w": list(filters), **{role: list(keys) for role, keys in vectors.items()}}
    found: dict[str, tuple[str, Entry]] = {}
    for node in graph.nodes:
        for slot, shape in node.params.items():
            role = "beta" if slot == "b" else slot
            if not left.get(role):
                return None
            key = left[role].pop(0)
            entry = filter_entry(arrays[key], node.op, shape, habit, key) if slot == "w" else Entry(key, shape, (0,))
            if entry is None or not entry.holds(arrays[key]):
                return None
            found[key] = f"{node.name}.{slot}", entry
    return None if any(left.values()) else found


def filter_entry(array: npt.NDArray[Any], op: str, shape: Shape, habit: Habit, key: str) -> Entry | None:
    """A filter as a framework lays it out; None where it has other axes."""
    axes = habit.get("dense" if array.ndim == 2 and op == "pointwise_conv2d" else op, ())
    if len(axes) != array.ndim:
        return None
    K, *rest = shape
    C, R, S = {"pointwise_conv2d": (rest[0], 1, 1), "depthwise_conv2d": (1, *rest)}.get(op, tuple(rest))
    wide = (K, C, R, S) if array.ndim == 4 else (K, C)
    theirs = [0] * len(axes)
    for place, axis in enumerate(axes):
        theirs[axis] = wide[place]
    return Entry(key, tuple(theirs), tuple(axes))
