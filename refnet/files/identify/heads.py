"""A head of one's own on a known network, or none: which layers, from names and shapes.

The arrays that no known name explains must be a chain of linear layers and batch norms from the network's features to
the classes. What stands between them has no weights, so names show it only where nothing can stand there; else the
file must hold the module whole, or the caller say it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files.containers.structure import Submodule
from refnet.files.identify.head_layers import HeadLayer, chain_of
from refnet.files.schemes import Entry
from refnet.graph import Graph, Node
from refnet.readings.shapes import shapes, well_formed

__all__ = ["ACTIVATION_CLASSES", "Head", "Part", "Whole", "head_words", "with_head"]

Arrays = Mapping[str, npt.NDArray[Any]]
Shape = tuple[int, ...]

# What a caller may say of a head, layer by layer: those with weights, what may stand between, what does nothing there.
_WEIGHTED = ("linear", "batch_norm")
_BETWEEN: dict[str, dict[str, Any]] = {
    "relu": {},
    "relu6": {},
    "hard_swish": {},
    "swish": {},
    "sigmoid": {},
    "hard_sigmoid": {"slope": 1 / 6, "offset": 0.5},
    "softmax": {},
}
_NOTHING = ("dropout", "identity", "flatten", "pool")
_WORDS = (*_WEIGHTED, *_BETWEEN, *_NOTHING)

# PyTorch's classes, by the last part of their names.
ACTIVATION_CLASSES = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "Hardswish": "hard_swish",
    "SiLU": "swish",
    "Sigmoid": "sigmoid",
    "Hardsigmoid": "hard_sigmoid",
}
_CLASSES = {
    **ACTIVATION_CLASSES,
    "Softmax": "softmax",
    "Linear": "linear",
    "NonDynamicallyQuantizableLinear": "linear",
    "BatchNorm1d": "batch_norm",
    "Dropout": "dropout",
    "Identity": "identity",
    "Flatten": "flatten",
    "AdaptiveAvgPool2d": "pool",
}


class Whole(NamedTuple):
    """A known network as a file would hold it.

    Attributes
    ----------
    graph : folded or not
    entries : key -> (refnet's name, entry)
    paths : the vendor's name of the layer of each node with weights
    unused : keys of weights that may also be there
    """

    graph: Graph
    entries: Mapping[str, tuple[str, Entry]]
    paths: Mapping[str, str]
    unused: Mapping[str, Shape]


class Part(NamedTuple):
    """What a file says of the head beside its arrays.

    Attributes
    ----------
    own : the file's name of each array
    submodules : of a module saved whole, what each is, by the file's paths
    said : the layers as the caller says them, or None
    features : whether the file holds only that part of the vendor's network which makes the features
    """

    own: Mapping[str, str]
    submodules: Mapping[str, Submodule] = {}
    said: tuple[str, ...] | None = None
    features: bool = False


class Head(NamedTuple):
    """A network with another head, or without one.

    Attributes
    ----------
    graph : its last layers are the file's
    entries : key -> (refnet's name, entry)
    words : the layers of the head; none for a network that ends before it
    """

    graph: Graph
    entries: dict[str, tuple[str, Entry]]
    words: tuple[str, ...]


def head_words(said: str | Sequence[str]) -> tuple[str, ...]:
    """The layers of a head as a caller gives them: 'dropout,linear,relu,linear', or a sequence of words.

    Raises
    ------
    RequestError
        if a word is not known, or none is 'linear'.
    """
    words = tuple(word.strip() for word in said.split(",")) if isinstance(said, str) else tuple(said)
    for word in words:
        if word not in _WORDS:
            raise RequestError(f"head: no layer is called {word!r}; they are {', '.join(_WORDS)}")
    if "linear" not in words:
        raise RequestError(f"head: {','.join(words)} has no linear layer")
    return words


def with_head(whole: Whole, arrays: Arrays, part: Part) -> Head | None:
    """A known network whose head is the file's own, or is not there.

    Parameters
    ----------
    arrays : by the vendor's names; those of a head of its own by any

    Returns
    -------
    head : None if the arrays are not this network's before the head, or no chain of layers behind it

    Raises
    ------
    FormatError
        if they are a chain, but what stands between its layers is in doubt.
    RequestError
        if they are another chain than the caller says.
    """
    kept = _kept(whole, arrays)
    if kept is None:
        return None
    names = {f"{node.name}.{slot}" for node in kept for slot in node.params}
    entries = {key: named for key, named in whole.entries.items() if named[0] in names}
    rest = {key: array for key, array in arrays.items() if key not in entries and key not in whole.unused}
    body = Graph(whole.graph.recipe, kept)
    if not rest:
        return None if part.said else _without_head(body, entries, part)
    layers = chain_of(rest, shapes(body)[kept[-1].name][0])
    if layers is None or _lacks_a_bias(whole, layers):
        return None
    words = part.said or _words(whole, layers, part)
    if [word for word in words if word in _WEIGHTED] != [layer.op for layer in layers]:
        found = ", ".join(f"{layer.path} ({layer.op})" for layer in layers[:6])
        raise RequestError(f"the layers of the head are {found}: head={','.join(words)} has others")
    return _joined(body, entries, words, layers, part)


def _kept(whole: Whole, arrays: Arrays) -> tuple[Node, ...] | None:
    """The nodes before the head: with the pool, and the vendor's hidden layer where the file has it as it is."""
    nodes = whole.graph.nodes
    by_name = {ours: (key, entry) for key, (ours, entry) in whole.entries.items()}

    def there(node: Node) -> bool:
        held = [by_name[f"{node.name}.{slot}"] for slot in node.params]
        return all(key in arrays and entry.holds(arrays[key]) for key, entry in held)

    pool = next((index for index, node in enumerate(nodes) if node.name == "head.pool"), None)
    if pool is None or not all(map(there, nodes[:pool])):
        return None
    hidden = [node for node in nodes if node.name in ("head.hidden", "head.hidden.act")]
    return (*nodes[: pool + 1], *hidden) if hidden and there(hidden[0]) else nodes[: pool + 1]


def _without_head(body: Graph, entries: dict[str, tuple[str, Entry]], part: Part) -> Head:
    """The network up to the vector that its head would read; where the file has only its features, up to their map."""
    last = body.nodes[-1]
    if last.name == "head.pool" and part.features:
        return Head(Graph(body.recipe, body.nodes[:-1]), entries, ())
    return Head(Graph(body.recipe, (*body.nodes, Node("head.flatten", "flatten", (last.name,)))), entries, ())


# ------------------------------------------------------------------------------------------- what stands between layers


def _words(whole: Whole, layers: Sequence[HeadLayer], part: Part) -> tuple[str, ...]:
    """The layers of a head that the caller does not say."""
    known = [node for node in whole.graph.nodes if node.name in ("head.hidden", "head.logits")]
    if [layer.path for layer in layers] == [whole.paths[node.name] for node in known]:
        return _vendor_words(whole.graph)
    return _of_module(layers, part) or _shown(layers, part)


def _lacks_a_bias(whole: Whole, layers: Sequence[HeadLayer]) -> bool:
    """Whether these are the vendor's own layers but for a bias that they have lost: a damaged file, no other head."""
    vendors = {
        whole.paths[node.name]: node for node in whole.graph.nodes if node.name in ("head.hidden", "head.logits")
    }
    return all(layer.path in vendors for layer in layers) and any(
        "b" in vendors[layer.path].params and "b" not in layer.entries for layer in layers
    )


def _vendor_words(graph: Graph) -> tuple[str, ...]:
    """The vendor's head, of which the file has other widths."""
    start = next(index for index, node in enumerate(graph.nodes) if node.name == "head.pool")
    return tuple("linear" if node.op == "pointwise_conv2d" else node.op for node in graph.nodes[start + 1 :])


def _own_path(layer: HeadLayer, part: Part) -> str:
    key = next(iter(layer.entries.values())).key
    return part.own[key].removesuffix(key.removeprefix(layer.path))


def _of_module(layers: Sequence[HeadLayer], part: Part) -> tuple[str, ...] | None:
    """What a module saved whole has in the sequence that its head is; None if it says nothing of it."""
    paths = [_own_path(layer, part) for layer in layers]
    parent = paths[0].rpartition(".")[0]
    if part.submodules.get(parent, Submodule("", {})).kind.rpartition(".")[2] != "Sequential":
        return None
    inside = {path: held for path, held in part.submodules.items() if path.startswith(f"{parent}.")}
    parents = {path.rpartition(".")[0] for path in inside}
    leaves = [path for path in inside if path not in parents]
    words = []
    for path in leaves:
        kind = inside[path].kind
        word = _CLASSES.get(kind.rpartition(".")[2])
        if word is None:
            raise FormatError(f"its head has a layer of class {kind}, {path!r}, which refnet has not")
        words.append(word)
    weighted = [path for path, word in zip(leaves, words, strict=True) if word in _WEIGHTED]
    return tuple(words) if weighted == paths else None


def _shown(layers: Sequence[HeadLayer], part: Part) -> tuple[str, ...]:
    """The layers alone, if nothing can stand between them."""
    for one, other in pairwise(layers):
        (parent, _, first), (same, _, second) = one.path.rpartition("."), other.path.rpartition(".")
        numbered = first.isdigit() and second.isdigit() and len(first) < 9 and len(second) < 9
        if parent != same or not numbered or int(second) != int(first) + 1:
            names = " and ".join(repr(_own_path(layer, part)) for layer in (one, other))
            ops = [layer.op for layer in layers]
            example = ",".join(word for op in ops[:-1] for word in (op, "relu")) + f",{ops[-1]}"
            raise FormatError(
                f"its head has {len(layers)} layers with weights, and what stands between {names} is not in the file: "
                f"say it, as in head={example}"
            )
    return tuple(layer.op for layer in layers)


# --------------------------------------------------------------------------------------------------- the network itself


class _Joiner:
    """Puts the layers of a head behind a network, one after the other."""

    def __init__(self, body: Graph, entries: dict[str, tuple[str, Entry]], part: Part) -> None:
        self.nodes, self.entries, self.part = list(body.nodes), dict(entries), part
        self.base = self.nodes[-1].name.removesuffix(".act")  # what norms and activations are called after

    def layer(self, layer: HeadLayer, last: bool) -> None:
        if layer.op == "linear":
            self.base = self.node("head.logits" if last else "head.hidden", "pointwise_conv2d", layer.params, {})
        else:
            self.node(f"{self.base}.bn", "batch_norm", layer.params, {"eps": _eps(layer, self.part)})
        for slot, entry in layer.entries.items():
            self.entries[entry.key] = f"{self.nodes[-1].name}.{slot}", entry

    def node(self, name: str, op: str, params: Mapping[str, Shape], attrs: Mapping[str, Any]) -> str:
        """Append a node under its name or, where that is taken, the name with a number."""
        taken, number, free = {node.name for node in self.nodes}, 2, name
        while free in taken:
            free, number = f"{name}{number}", number + 1
        self.nodes.append(Node(free, op, (self.nodes[-1].name,), params, attrs))
        return free


def _joined(
    body: Graph, entries: dict[str, tuple[str, Entry]], words: Sequence[str], layers: Sequence[HeadLayer], part: Part
) -> Head:
    """The network with its head behind it."""
    joiner, waiting = _Joiner(body, entries, part), list(layers)
    doing = [word for word in words if word not in _NOTHING]
    softmax = doing[-1] == "softmax"  # of a vector, as elsewhere
    for word in doing[:-1] if softmax else doing:
        if word in _BETWEEN:
            joiner.node(f"{joiner.base}.act", word, {}, _BETWEEN[word])
        else:
            layer = waiting.pop(0)
            joiner.layer(layer, last=all(other.op != "linear" for other in waiting))
    joiner.node("head.flatten", "flatten", {}, {})
    if softmax:
        joiner.node("output", "softmax", {}, {})
    recipe = replace(body.recipe, classes=layers[-1].makes)
    return Head(well_formed(Graph(recipe, tuple(joiner.nodes))), joiner.entries, tuple(doing))


def _eps(layer: HeadLayer, part: Part) -> float:
    """Of a batch norm in a head, as far as the file says."""
    path = _own_path(layer, part)
    eps = part.submodules[path].settings.get("eps", layer.eps) if path in part.submodules else layer.eps
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise FormatError(f"{path!r} has eps {str(eps)[:60]}: no batch norm has that")
    return eps
