"""The state-dict names of d-li14's mobilenetv2.pytorch and mobilenetv3.pytorch: `features.4.conv.3.weight`."""

from __future__ import annotations

from refnet.files.schemes.layout import Entry, blocks, places, torch_entries
from refnet.graph import Graph

# Positions in a block's nn.Sequential. Activations, and squeeze-and-excite where it is absent, keep their place.
_V3_PLAIN: dict[str, int | str] = {
    "depthwise": 0,
    "depthwise.bn": 1,
    "se.reduce": "3.fc.0",
    "se.expand": "3.fc.2",
    "project": 4,
    "project.bn": 5,
}
_V3_EXPANDED: dict[str, int | str] = {
    "expand": 0,
    "expand.bn": 1,
    "depthwise": 3,
    "depthwise.bn": 4,
    "se.reduce": "5.fc.0",
    "se.expand": "5.fc.2",
    "project": 7,
    "project.bn": 8,
}
_V2_PLAIN: dict[str, int | str] = {"depthwise": 0, "depthwise.bn": 1, "project": 3, "project.bn": 4}
_V2_EXPANDED: dict[str, int | str] = {
    "expand": 0,
    "expand.bn": 1,
    "depthwise": 3,
    "depthwise.bn": 4,
    "project": 6,
    "project.bn": 7,
}


def entries(graph: Graph) -> dict[str, Entry]:
    """The state dict of the network; squeeze-and-excite and the head are nn.Linear."""
    return torch_entries(graph, modules(graph), linear=("se.reduce", "se.expand", "head.hidden", "head.logits"))


def modules(graph: Graph) -> dict[str, str]:
    """Module path of every node with weights."""
    v3 = any(node.name == "head.hidden" for node in graph.nodes)
    per_block = []
    for i, parts in enumerate(blocks(graph)):
        layers = (_V3_EXPANDED if v3 else _V2_EXPANDED) if "expand" in parts else (_V3_PLAIN if v3 else _V2_PLAIN)
        per_block.append({part: f"features.{i + 1}.conv.{slot}" for part, slot in layers.items() if part in parts})
    head = {"head.hidden": "classifier.0", "head.logits": "classifier.3"} if v3 else {"head.logits": "classifier"}
    last = {"head.conv": "conv.0", "head.bn": "conv.1"}
    return places({"stem.conv": "features.0.0", "stem.bn": "features.0.1", **last, **head}, per_block)
