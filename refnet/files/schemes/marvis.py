"""The state-dict names of marvis' pytorch-mobilenet, which most V1 are copies of: `model.3.4.running_var`."""

from __future__ import annotations

from refnet.files.schemes.layout import Entry, blocks, places, torch_entries
from refnet.graph import Graph

LAYERS = {"depthwise": 0, "depthwise.bn": 1, "project": 3, "project.bn": 4}  # places in a block's nn.Sequential


def entries(graph: Graph) -> dict[str, Entry]:
    """The state dict of the network; only the classifier is nn.Linear."""
    return torch_entries(graph, modules(graph), linear=("head.logits",))


def modules(graph: Graph) -> dict[str, str]:
    """Module path of every node with weights."""
    per_block = [{part: f"model.{i + 1}.{LAYERS[part]}" for part in parts} for i, parts in enumerate(blocks(graph))]
    return places({"stem.conv": "model.0.0", "stem.bn": "model.0.1", "head.logits": "fc"}, per_block)
