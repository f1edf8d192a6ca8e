"""The state-dict names of the article's PyTorch listing: `stack.3.semodule.1.weight`."""

from __future__ import annotations

from refnet.files.schemes.layout import Entry, Shape, blocks, places, torch_entries
from refnet.graph import Graph
from refnet.networks.dialects import MODELS
from refnet.networks.plan import plan, round_width

_LAYERS = {
    "expand": "conv.0",
    "expand.bn": "conv.1",
    "depthwise": "dconv.0",
    "depthwise.bn": "dconv.1",
    "se.reduce": "semodule.1",
    "se.expand": "semodule.3",
    "project": "linearconv.0",
    "project.bn": "linearconv.1",
}


def entries(graph: Graph) -> dict[str, Entry]:
    """The state dict of the network as far as its forward pass reads it; all layers are nn.Conv2d."""
    return torch_entries(graph, modules(graph))


def modules(graph: Graph) -> dict[str, str]:
    """Module path of every node with weights."""
    per_block = [{part: f"stack.{i}.{_LAYERS[part]}" for part in parts} for i, parts in enumerate(blocks(graph))]
    top = {
        "stem.conv": "conv1.0",
        "stem.bn": "conv1.1",
        "head.conv": "last.0",
        "head.bn": "last.1",
        "head.hidden": "last.4",
        "head.logits": "last.6",
    }
    return places(top, per_block)


def unused(graph: Graph) -> dict[str, Shape]:
    """The squeeze-and-excite layers that the listing builds in every block and runs only where the table ticks it."""
    model = MODELS[graph.recipe.model]
    found: dict[str, Shape] = {}
    for i, block in enumerate(plan(model, graph.recipe.width).blocks):
        if not block.squeeze:
            squeeze = round_width(block.expanded // 4, model.dialect)
            for slot, (out, inputs) in {1: (squeeze, block.expanded), 3: (block.expanded, squeeze)}.items():
                found[f"stack.{i}.semodule.{slot}.weight"] = (out, inputs, 1, 1)
                found[f"stack.{i}.semodule.{slot}.bias"] = (out,)
    return found
