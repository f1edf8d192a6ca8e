"""The state-dict names of Hugging Face's transformers, TF-slim's networks: `mobilenet_v2.layer.3.expand_1x1`."""

from __future__ import annotations

from refnet.files.schemes.layout import Entry, blocks, places, torch_entries
from refnet.graph import Graph
from refnet.networks import tables
from refnet.networks.dialects import MODELS

_LAYERS = {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}


def entries(graph: Graph) -> dict[str, Entry]:
    """The state dict of the network; only the classifier is nn.Linear."""
    return torch_entries(graph, modules(graph), linear=("head.logits",))


def modules(graph: Graph) -> dict[str, str]:
    """Module path of every node with weights."""
    return _v1(graph) if MODELS[graph.recipe.model].table is tables.V1 else _v2(graph)


def _v1(graph: Graph) -> dict[str, str]:
    per_block = [
        {
            part: _inside(f"mobilenet_v1.layer.{2 * i + (part.startswith('project'))}", part.endswith(".bn"))
            for part in parts
        }
        for i, parts in enumerate(blocks(graph))
    ]
    return places({**_stem("mobilenet_v1.conv_stem"), "head.logits": "classifier"}, per_block)


def _v2(graph: Graph) -> dict[str, str]:
    per_block = []
    for i, parts in enumerate(blocks(graph)):
        path = f"mobilenet_v2.layer.{i - 1}" if i else "mobilenet_v2.conv_stem"  # the first block is a part of the stem
        layers = {part: _LAYERS[part.removesuffix(".bn")] for part in parts}
        per_block.append({part: _inside(f"{path}.{layer}", part.endswith(".bn")) for part, layer in layers.items()})
    last = "mobilenet_v2.conv_1x1"
    head = {"head.conv": _inside(last, False), "head.bn": _inside(last, True), "head.logits": "classifier"}
    return places({**_stem("mobilenet_v2.conv_stem.first_conv"), **head}, per_block)


def _stem(path: str) -> dict[str, str]:
    return {"stem.conv": _inside(path, False), "stem.bn": _inside(path, True)}


def _inside(path: str, norm: bool) -> str:
    return f"{path}.{'normalization' if norm else 'convolution'}"
