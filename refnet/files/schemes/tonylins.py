"""The state-dict names of tonylins' pytorch-mobilenet-v2: d-li14's, with the last convolution among `features`."""

from __future__ import annotations

from refnet.files.schemes import d_li14
from refnet.files.schemes.layout import Entry, blocks, torch_entries
from refnet.graph import Graph


def entries(graph: Graph) -> dict[str, Entry]:
    """The state dict of the network; only the classifier is nn.Linear."""
    return torch_entries(graph, modules(graph), linear=("head.logits",))


def modules(graph: Graph) -> dict[str, str]:
    """Module path of every node with weights."""
    last = f"features.{len(blocks(graph)) + 1}"
    return {**d_li14.modules(graph), "head.conv": f"{last}.0", "head.bn": f"{last}.1"}
