"""TF-slim's variables, the authors' own: `MobilenetV3/expanded_conv_3/depthwise/depthwise_weights`.

A checkpoint may hold each variable twice, itself and its running average, called `.../ExponentialMovingAverage`, which
is the one that the papers' accuracies are of.
"""

from __future__ import annotations

from refnet.files.schemes import keras2
from refnet.files.schemes.layout import Entry, blocks, places, tensorflow_entries
from refnet.graph import Graph, Node
from refnet.networks import tables
from refnet.networks.dialects import MODELS

AVERAGE = "/ExponentialMovingAverage"

_SLOTS = {
    "w": "weights",
    "b": "biases",
    "gamma": "gamma",
    "beta": "beta",
    "mean": "moving_mean",
    "var": "moving_variance",
}
_LOGITS = "Logits/Conv2d_1c_1x1"


def entries(graph: Graph) -> dict[str, Entry]:
    """Every variable of the network; all layers are convolutions."""
    names = modules(graph)

    def key(node: Node, slot: str) -> str:
        weights = node.op == "depthwise_conv2d" and slot == "w"
        return f"{names[node.name]}/{'depthwise_weights' if weights else _SLOTS[slot]}"

    return tensorflow_entries(graph, key)


def modules(graph: Graph) -> dict[str, str]:
    """Scope of every node with weights."""
    table = MODELS[graph.recipe.model].table
    if table is tables.V1:
        return {node: f"MobilenetV1/{name}" for node, name in _v1(graph).items()}
    scope = "MobilenetV2" if table is tables.V2 else "MobilenetV3"
    layers = keras2.modules(graph) | {"head.logits": _LOGITS}  # Keras took the names over, all but this one
    return {node: f"{scope}/{name}" for node, name in layers.items()}


def _v1(graph: Graph) -> dict[str, str]:
    layers = {"depthwise": "depthwise", "project": "pointwise"}
    per_block = []
    for i, parts in enumerate(blocks(graph)):
        names = {part: f"Conv2d_{i + 1}_{layers[part.removesuffix('.bn')]}" for part in parts}
        per_block.append({part: f"{name}/BatchNorm" if part.endswith(".bn") else name for part, name in names.items()})
    return places({"stem.conv": "Conv2d_0", "stem.bn": "Conv2d_0/BatchNorm", "head.logits": _LOGITS}, per_block)
