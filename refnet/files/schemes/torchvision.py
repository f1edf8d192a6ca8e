"""torchvision's state-dict names: `features.4.block.1.0.weight`, `layers.8.0.layers.3.weight`."""

from __future__ import annotations

from refnet.files.schemes.layout import Entry, blocks, places, stages, torch_entries
from refnet.graph import Graph
from refnet.networks import tables
from refnet.networks.dialects import MODELS


def entries(graph: Graph) -> dict[str, Entry]:
    """The state dict of the network; the layers of a classifier's head are nn.Linear."""
    return torch_entries(graph, modules(graph), linear=("head.hidden", "head.logits"))


def modules(graph: Graph) -> dict[str, str]:
    """Module path of every node with weights."""
    table = MODELS[graph.recipe.model].table
    if table.stages == tables.V2.stages:  # with whichever activation
        return _v2(graph)
    if table is tables.MNASNET_B1:
        return _mnasnet(graph)
    return _v3(graph)


def _v3(graph: Graph) -> dict[str, str]:
    per_block = []
    for i, parts in enumerate(blocks(graph)):
        layers = [part for part in ("expand", "depthwise", "se.reduce", "project") if part in parts]
        names: dict[str, str] = {}
        for slot, part in enumerate(layers):  # slots are numbered without gaps
            path = f"features.{i + 1}.block.{slot}"
            if part == "se.reduce":
                names |= {"se.reduce": f"{path}.fc1", "se.expand": f"{path}.fc2"}
            else:
                names |= {part: f"{path}.0", f"{part}.bn": f"{path}.1"}
        per_block.append(names)
    last = f"features.{len(per_block) + 1}"
    top = {
        "stem.conv": "features.0.0",
        "stem.bn": "features.0.1",
        "head.conv": f"{last}.0",
        "head.bn": f"{last}.1",
        "head.hidden": "classifier.0",
        "head.logits": "classifier.3",
    }
    if MODELS[graph.recipe.model].table.decoder is None:
        return places(top, per_block)
    body = {node: f"backbone.{path.removeprefix('features.')}" for node, path in places(top, per_block).items()}
    return body | {
        "head.squeeze": "classifier.scale.1",
        "head.reduce": "classifier.cbr.0",
        "head.reduce.bn": "classifier.cbr.1",
        "head.low": "classifier.low_classifier",
        "head.high": "classifier.high_classifier",
    }


def _v2(graph: Graph) -> dict[str, str]:
    per_block = []
    for i, parts in enumerate(blocks(graph)):
        path = f"features.{i + 1}.conv"
        nested = [part for part in ("expand", "depthwise") if part in parts]
        names: dict[str, str] = {part: f"{path}.{slot}.0" for slot, part in enumerate(nested)}
        names |= {f"{part}.bn": f"{path}.{slot}.1" for slot, part in enumerate(nested)}
        # The projection and its batch norm are direct children, unlike the other two.
        names |= {"project": f"{path}.{len(nested)}", "project.bn": f"{path}.{len(nested) + 1}"}
        per_block.append(names)
    last = f"features.{len(per_block) + 1}"
    top = {
        "stem.conv": "features.0.0",
        "stem.bn": "features.0.1",
        "head.conv": f"{last}.0",
        "head.bn": f"{last}.1",
        "head.logits": "classifier.1",
    }
    return places(top, per_block)


def _mnasnet(graph: Graph) -> dict[str, str]:
    first = {"depthwise": "layers.3", "depthwise.bn": "layers.4", "project": "layers.6", "project.bn": "layers.7"}
    slots = {"expand": 0, "expand.bn": 1, "depthwise": 3, "depthwise.bn": 4, "project": 6, "project.bn": 7}
    rest = [
        {part: f"layers.{stage + 7}.{index}.layers.{slot}" for part, slot in slots.items()}
        for stage, index in stages(graph)[1:]
    ]
    top = {
        "stem.conv": "layers.0",
        "stem.bn": "layers.1",
        "head.conv": "layers.14",
        "head.bn": "layers.15",
        "head.logits": "classifier.1",
    }
    return places(top, [first, *rest])
