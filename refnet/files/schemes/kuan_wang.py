"""The state-dict names of kuan-wang's pytorch-mobilenet-v3: `features.4.conv.5.fc.0.weight`."""

from __future__ import annotations

from refnet.files.schemes.layout import Entry, blocks, places, torch_entries
from refnet.graph import Graph

_LAYERS = {
    "expand": "0",
    "expand.bn": "1",
    "depthwise": "3",
    "depthwise.bn": "4",
    "se.reduce": "5.fc.0",
    "se.expand": "5.fc.2",
    "project": "7",
    "project.bn": "8",
}


def entries(graph: Graph) -> dict[str, Entry]:
    """The state dict of the network; squeeze-and-excite and the last layer are nn.Linear."""
    return torch_entries(graph, modules(graph), linear=("se.reduce", "se.expand", "head.logits"))


def modules(graph: Graph) -> dict[str, str]:
    """Module path of every node with weights."""
    per_block = [
        {part: f"features.{i + 1}.conv.{_LAYERS[part]}" for part in parts} for i, parts in enumerate(blocks(graph))
    ]
    last = len(per_block) + 1
    top = {
        "stem.conv": "features.0.0",
        "stem.bn": "features.0.1",
        "head.conv": f"features.{last}.0",
        "head.bn": f"features.{last}.1",
        "head.hidden": f"features.{last + 2}",  # the pool lies between
        "head.logits": "classifier.1",
    }
    return places(top, per_block)
