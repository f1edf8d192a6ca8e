"""What vendors call the activations behind their layers, which schemes of weights do not know."""

from __future__ import annotations

from collections.abc import Mapping

from refnet.graph import SOURCE, Graph
from refnet.ops import ACTIVATIONS
from refnet.pack.matching.names import plain_name

__all__ = ["activations_of", "with_activations"]

_CALLED = {"Conv_1_bn": "out_relu"}  # by layer, what Keras calls the activation behind it in words of its own


def with_activations(
    graph: Graph, modules: Mapping[str, str], found: Mapping[str, str], plain: Mapping[str, str]
) -> dict[str, str]:
    """The names that are found with those of activations, which vendors call after layers.

    Parameters
    ----------
    modules : by node with parameters, the vendor's name of the layer
    found : {a candidate's name: its node}
    plain : the candidate's names in their plain form
    """
    made, taken = dict(found), set(found.values())
    ending = _by_ending(plain)
    for unit in graph.units():
        if unit.act is None or unit.act.op not in ACTIVATIONS or unit.act.name in taken:
            continue
        last = unit.norm or unit.conv
        guesses = {guess for node in (last, unit.conv) for guess in _act_names(modules.get(node.name, ""))}
        hits = {name for guess in guesses for name in ending.get(guess, ())}
        if len(hits) == 1 and not hits & made.keys():
            made[hits.pop()] = unit.act.name
    return made


def _by_ending(plain: Mapping[str, str]) -> dict[str, list[str]]:
    """The names by each ending of their plain form, from one of its parts on."""
    ending: dict[str, list[str]] = {}
    for name, form in plain.items():
        for place, sign in enumerate(f"_{form}"):
            if sign == "_":
                ending.setdefault(form[place:], []).append(name)
    return ending


def activations_of(graph: Graph, modules: Mapping[str, str]) -> dict[str, str]:
    """By activation, what PyTorch numbers it, where that is no layer's name: of a dump that has no others."""
    made, taken = {}, {plain_name(module) for module in modules.values()}
    for unit in graph.units():
        last = unit.norm or unit.conv
        head, dot, number = modules.get(last.name, "").rpartition(".")
        if unit.act is None or unit.act.name in modules or not number.isdecimal():
            continue
        name = f"{head}{dot}{int(number) + 1}"
        if plain_name(name) not in taken:
            made[unit.act.name] = name
    return made


def _act_names(module: str) -> list[str]:
    """What the activation behind a layer of this name may be called."""
    if not module or module == SOURCE:
        return []
    head, dot, last = module.rpartition(".")
    numbered = [f"{head}{dot}{int(last) + 1}"] if last.isdecimal() else []
    behind = [f"{module}_{act}" for act in ("relu", "relu6", "activation")]
    own = [_CALLED[module]] if module in _CALLED else []
    return [plain_name(name) for name in (*numbered, *behind, *own, f"{head}.activation")]
