"""Keras 3's own paths in a .weights.h5 file: `layers/conv2d_3/vars/0`, for files that do not tell the layers' names.

Layers of one class are numbered in the order in which they run; a layer's variables in the order in which they are
made.
"""

from __future__ import annotations

from refnet.files.schemes import keras
from refnet.files.schemes.layout import Entry, tensorflow_entries
from refnet.graph import Graph, Node

_CLASSES = {"depthwise_conv2d": "depthwise_conv2d", "batch_norm": "batch_normalization"}


def entries(graph: Graph) -> dict[str, Entry]:
    """Every variable of the network."""
    groups = modules(graph)

    def key(node: Node, slot: str) -> str:
        return f"{groups[node.name]}/vars/{list(node.params).index(slot)}"

    return tensorflow_entries(graph, key, keras.dense(graph))


def modules(graph: Graph) -> dict[str, str]:
    """Group of every node with weights."""
    counts: dict[str, int] = {}
    groups = {}
    for node in graph.nodes:
        if node.params:
            kind = "dense" if node.name in keras.dense(graph) else _CLASSES.get(node.op, "conv2d")
            counts[kind] = number = counts.get(kind, -1) + 1
            groups[node.name] = f"layers/{kind}_{number}" if number else f"layers/{kind}"
    return groups
