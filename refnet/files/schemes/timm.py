"""timm's state-dict names: `blocks.2.0.conv_pw.weight`.

`conv_pw` and `bn1`, `bn2` mean other things in blocks with and without an expansion.
"""

from __future__ import annotations

from refnet.files.schemes.layout import Entry, blocks, places, stages, torch_entries
from refnet.graph import Graph

_SEPARABLE = {"depthwise": "conv_dw", "depthwise.bn": "bn1", "project": "conv_pw", "project.bn": "bn2"}
_INVERTED = {
    "expand": "conv_pw",
    "expand.bn": "bn1",
    "depthwise": "conv_dw",
    "depthwise.bn": "bn2",
    "project": "conv_pwl",
    "project.bn": "bn3",
}
_SQUEEZE = {"se.reduce": "se.conv_reduce", "se.expand": "se.conv_expand"}


def entries(graph: Graph) -> dict[str, Entry]:
    """The state dict of the network; only the classifier is nn.Linear."""
    return torch_entries(graph, modules(graph), linear=("head.logits",))


def modules(graph: Graph) -> dict[str, str]:
    """Module path of every node with weights."""
    per_block = []
    for (stage, index), parts in zip(stages(graph), blocks(graph), strict=True):
        layers = {**(_INVERTED if "expand" in parts else _SEPARABLE), **_SQUEEZE}
        per_block.append({part: f"blocks.{stage}.{index}.{name}" for part, name in layers.items() if part in parts})
    top = {"stem.conv": "conv_stem", "stem.bn": "bn1", "head.logits": "classifier"}
    if any(node.name == "head.hidden" for node in graph.nodes):  # V3: the last convolution is a stage of its own
        last = f"blocks.{stages(graph)[-1][0] + 1}.0"
        top |= {"head.conv": f"{last}.conv", "head.bn": f"{last}.bn1", "head.hidden": "conv_head"}
    else:
        top |= {"head.conv": "conv_head", "head.bn": "bn2"}
    return places(top, per_block)
