"""The state-dict names of the V1 in biubug6's Pytorch_Retinaface: marvis', in three stages: `stage2.0.3.weight`."""

from __future__ import annotations

from refnet.files.schemes.layout import Entry, blocks, places, torch_entries
from refnet.files.schemes.marvis import LAYERS
from refnet.graph import Graph

_STAGES = (5, 6, 2)  # blocks in each; the first begins with the stem


def entries(graph: Graph) -> dict[str, Entry]:
    """The state dict of the network; only the classifier is nn.Linear."""
    return torch_entries(graph, modules(graph), linear=("head.logits",))


def modules(graph: Graph) -> dict[str, str]:
    """Module path of every node with weights."""
    paths = [f"stage{s + 1}.{j + (s == 0)}" for s, count in enumerate(_STAGES) for j in range(count)]
    per_block = [
        {part: f"{path}.{LAYERS[part]}" for part in parts} for path, parts in zip(paths, blocks(graph), strict=True)
    ]
    return places({"stem.conv": "stage1.0.0", "stem.bn": "stage1.0.1", "head.logits": "fc"}, per_block)
