"""Nodes by the names that vendors give their layers: PyTorch's modules, Keras' layers, Flax's paths, blobs of files.

The names are those of `files.schemes`. A scheme is taken when most of its layers are there; of a few tensors alone, the
names of the network's own vendor are, where the shapes agree. What a file puts before or
behind them ('model.', '/Conv2D', ':0') is the same for many, or a word of the list here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from refnet.files.schemes import SCHEMES, schemes_of
from refnet.graph import SOURCE, Graph
from refnet.networks.dialects import MODELS
from refnet.ops import ACTIVATIONS

__all__ = ["by_vendor"]

_ENOUGH = 0.5  # of a scheme's layers, and at least
_LEAST = 4
# What files and hooks put behind a layer's name, innermost last.
_BEHIND = re.compile(
    r"([/.:_]+(Conv2D|Conv|BiasAdd|MatMul|Gemm|depthwise|convolution|FusedBatchNormV3|BatchNormalization|call|__call__|"
    r"output|out|0|convolution_output|Conv_output_0|BatchNormalization_output_0|Gemm_output_0|FusedBatchNorm))+$"
)


_BETWEEN = re.compile(r"[/:.\-_]+")


def by_vendor(
    graph: Graph, names: Collection[str], fits: Callable[[str, str], bool] = lambda name, node: False
) -> dict[str, str]:
    """{a candidate's name: the node}, of the scheme that knows most of the names; {} where none knows enough.

    Parameters
    ----------
    graph : a network under its known names
    names : of tensors that are no node's by name
    fits : whether a name's tensor has a node's shape, without which a few names say nothing

    Examples
    --------
    >>> from refnet import build
    >>> graph = build("torchvision/mobilenet_v2")
    >>> hooked = [f"model.features.{i}.{j}" for i in (0, 18) for j in (0, 1)]
    >>> hooked += [f"model.features.{i}.conv.{j}.0" for i in range(2, 18) for j in (0, 1)]
    >>> by_vendor(graph, hooked)["model.features.0.1"]
    'stem.bn'
    """
    if graph.recipe.model not in MODELS or not names:
        return {}
    plain = {name: _plain(name) for name in names}
    best: dict[str, str] = {}
    own = schemes_of(graph.recipe.model)
    for vendor, scheme in SCHEMES.items():
        try:
            modules = scheme.modules(graph)
        except (KeyError, ValueError, IndexError, AttributeError, TypeError):  # a vendor that has no such network
            continue
        modules = {node: module for node, module in modules.items() if node in graph and module != node}
        found = _found({**_of_activations(graph, modules), **modules}, plain)
        few = vendor in own and len(names) < 2 * _LEAST and all(fits(*each) for each in found.items())
        if len(found) > len(best) and len(found) >= max(1 if few else _LEAST, _ENOUGH * min(len(modules), len(names))):
            best = _with_activations(graph, modules, found, plain)
    return best


def _plain(name: str) -> str:
    return _whole(_BEHIND.sub("", name))


def _whole(name: str) -> str:
    """A name whose parts are told by one sign, as where a file may have no other."""
    return _BETWEEN.sub("_", name).strip("_").casefold()


def _found(modules: Mapping[str, str], plain: Mapping[str, str]) -> dict[str, str]:
    """Names that are a module's, under the prefix that most have."""
    node_of = {_plain(module): node for node, module in modules.items()}
    whole = {_plain(module): _whole(module) for module in modules.values()}
    prefixes: Counter[str] = Counter()
    for name in plain.values():
        parts = name.split("_")
        for begin in range(len(parts)):
            if "_".join(parts[begin:]) in node_of:
                prefixes["_".join(parts[:begin])] += 1
    if not prefixes:
        return {}
    (prefix, _), *_ = prefixes.most_common(1)
    ahead = f"{prefix}_" if prefix else ""
    hits = {
        source: node_of[name[len(ahead) :]]
        for source, name in plain.items()
        if name.startswith(ahead)
        and name[len(ahead) :] in node_of
        # A name that lacks what the module's ends in is that of a container: 'conv.1', not 'conv.1.0'.
        and _whole(source).removeprefix(ahead).startswith(whole[name[len(ahead) :]])
    }
    count = Counter(hits.values())
    return {source: node for source, node in hits.items() if count[node] == 1}


def _with_activations(
    graph: Graph, modules: Mapping[str, str], found: Mapping[str, str], plain: Mapping[str, str]
) -> dict[str, str]:
    """The same with activations: PyTorch numbers them after the batch norm, Keras calls them after the layer."""
    made, taken = dict(found), set(found.values())
    for unit in graph.units():
        if unit.act is None or unit.act.op not in ACTIVATIONS or unit.act.name in taken:
            continue
        last = unit.norm or unit.conv
        guesses = {guess for node in (last, unit.conv) for guess in _act_names(modules.get(node.name, ""))}
        hits = [name for name, form in plain.items() if any(form == g or form.endswith(f"_{g}") for g in guesses)]
        if len(hits) == 1 and hits[0] not in made:
            made[hits[0]] = unit.act.name
    return made


def _of_activations(graph: Graph, modules: Mapping[str, str]) -> dict[str, str]:
    """What PyTorch numbers an activation, where that is no layer's name: of a dump that has no others."""
    made, taken = {}, {_plain(module) for module in modules.values()}
    for unit in graph.units():
        last = unit.norm or unit.conv
        head, dot, number = modules.get(last.name, "").rpartition(".")
        if unit.act is None or unit.act.name in modules or not number.isdecimal():
            continue
        name = f"{head}{dot}{int(number) + 1}"
        if _plain(name) not in taken:
            made[unit.act.name] = name
    return made


def _act_names(module: str) -> list[str]:
    """What the activation behind a layer of this name may be called."""
    if not module or module == SOURCE:
        return []
    head, dot, last = module.rpartition(".")
    numbered = [f"{head}{dot}{int(last) + 1}"] if last.isdecimal() else []
    behind = [f"{module}_{act}" for act in ("relu", "relu6", "activation")]
    return [_plain(name) for name in (*numbered, *behind, f"{head}.activation")]
