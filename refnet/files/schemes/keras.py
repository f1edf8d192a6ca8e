"""Keras' layer names: `expanded_conv_3_depthwise`, and its layout: height, width, input, output.

A key is the layer's name and the variable's, joined by a slash: `conv/kernel`, `conv_bn/gamma`.
"""

from __future__ import annotations

from refnet.files.schemes.layout import Entry, Shape, blocks, places
from refnet.graph import Graph, Node
from refnet.networks import tables
from refnet.networks.dialects import MODELS

_SLOTS = {
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
    found = {}
    for node in graph.nodes:
        for slot, shape in node.params.items():
            key = f"{names[node.name]}/{_SLOTS[slot]}"
            vendor_shape, axes = _layout(node, shape, names[node.name]) if slot == "w" else (shape, (0,))
            found[f"{node.name}.{slot}"] = Entry(key, vendor_shape, axes)
    return found


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


def _layout(node: Node, shape: Shape, layer: str) -> tuple[Shape, tuple[int, ...]]:
    """Keras' shape of a weight, and the axes that bring it to refnet's order."""
    match node.op:
        case "conv2d":
            K, C, R, S = shape
            return (R, S, C, K), (3, 2, 0, 1)
        case "depthwise_conv2d":
            C, R, S = shape
            return (R, S, C, 1), (2, 3, 0, 1)
    K, C = shape
    if layer == "predictions":
        return (C, K), (1, 0)
    return (1, 1, C, K), (3, 2, 0, 1)
