"""Keras' layer names: `expanded_conv_3_depthwise`, and its layout: height, width, input, output.

A key is the layer's name and the variable's, joined by a slash: `conv/kernel`, `conv_bn/gamma`.
"""

from __future__ import annotations

from refnet.files.schemes.layout import Entry, blocks, places, tensorflow_entries
from refnet.graph import Graph
from refnet.networks import tables
from refnet.networks.dialects import MODELS

SLOTS = {
    "w": "kernel",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "mean": "moving_mean",
    "var": "moving_variance",
}


def entries(graph: Graph) -> dict[str, Entry]:
    """Every variable of the network; `predictions` of V2 is a Dense layer, all others are convolutions."""
    names = modules(graph)
    return tensorflow_entries(graph, lambda node, slot: f"{names[node.name]}/{SLOTS[slot]}", dense(graph))


def dense(graph: Graph) -> tuple[str, ...]:
    """The nodes that are Dense layers in Keras."""
    return ("head.logits",) if MODELS[graph.recipe.model].table is tables.V2 else ()


def modules(graph: Graph) -> dict[str, str]:
    """Layer name of every node with weights."""
    table = MODELS[graph.recipe.model].table
    if table is tables.V1:
        return _v1(graph)
    v2 = table is tables.V2
    bn = "BN" if v2 else "bn"
    per_block = []
    for i, parts in enumerate(blocks(graph)):
        number = f"{i}_" if i else ""
        prefix = f"block_{number}" if v2 and i else f"expanded_conv_{number}"
        squeeze = {"se.reduce": "squeeze_excite_conv", "se.expand": "squeeze_excite_conv_1"}
        per_block.append({part: prefix + squeeze.get(part, part.replace(".bn", f"_{bn}")) for part in parts})
    if v2:
        top = {"stem.conv": "Conv1", "stem.bn": "bn_Conv1", "head.conv": "Conv_1", "head.bn": "Conv_1_bn"}
        return places({**top, "head.logits": "predictions"}, per_block)
    top = {"stem.conv": "conv", "stem.bn": "conv_bn", "head.conv": "conv_1", "head.bn": "conv_1_bn"}
    return places({**top, "head.hidden": "conv_2", "head.logits": "logits"}, per_block)


def _v1(graph: Graph) -> dict[str, str]:
    layers = {"depthwise": "dw_{}", "depthwise.bn": "dw_{}_bn", "project": "pw_{}", "project.bn": "pw_{}_bn"}
    per_block = [
        {part: "conv_" + layers[part].format(i + 1) for part in parts} for i, parts in enumerate(blocks(graph))
    ]
    return places({"stem.conv": "conv1", "stem.bn": "conv1_bn", "head.logits": "conv_preds"}, per_block)
