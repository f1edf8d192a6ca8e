"""TF-Keras 2's layer names of V3, which have slashes: `expanded_conv_3/depthwise/BatchNorm`; otherwise as `keras`.

V1 and V2 have the same names in Keras 2 and 3.
"""

from __future__ import annotations

from refnet.files.schemes import keras
from refnet.files.schemes.layout import Entry, blocks, places, tensorflow_entries
from refnet.graph import Graph

_SQUEEZE = {"se.reduce": "squeeze_excite/Conv", "se.expand": "squeeze_excite/Conv_1"}


def entries(graph: Graph) -> dict[str, Entry]:
    """Every variable of the network; all layers are convolutions."""
    names = modules(graph)
    return tensorflow_entries(graph, lambda node, slot: f"{names[node.name]}/{keras.SLOTS[slot]}")


def modules(graph: Graph) -> dict[str, str]:
    """Layer name of every node with weights."""
    per_block = []
    for i, parts in enumerate(blocks(graph)):
        prefix = f"expanded_conv_{i}" if i else "expanded_conv"
        layers = {part: _SQUEEZE.get(part, part.replace(".bn", "/BatchNorm")) for part in parts}
        per_block.append({part: f"{prefix}/{layer}" for part, layer in layers.items()})
    top = {
        "stem.conv": "Conv",
        "stem.bn": "Conv/BatchNorm",
        "head.conv": "Conv_1",
        "head.bn": "Conv_1/BatchNorm",
        "head.hidden": "Conv_2",
        "head.logits": "Logits",
    }
    return places(top, per_block)
