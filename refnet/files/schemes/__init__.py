"""Vendors' names of weights <-> names of nodes. Knows no files.

A scheme is a module with `modules(graph)`: for every node with parameters, the vendor's name of the layer. From
that, `entries` makes what a checkpoint of the network must hold, key by key and shape by shape.
"""

from __future__ import annotations

from typing import Any

from refnet.files.schemes import (
    article,
    biubug6,
    d_li14,
    keras,
    keras2,
    keras_numbers,
    kuan_wang,
    marvis,
    plain,
    slim,
    slim_average,
    slim_average_trained,
    timm,
    tonylins,
    torchvision,
    transformers,
)
from refnet.files.schemes.layout import Entry
from refnet.graph import Graph
from refnet.networks import tables
from refnet.networks.dialects import MODELS

__all__ = ["SCHEMES", "Entry", "counters", "entries", "is_pytorch", "schemes_of", "unused"]

SCHEMES: dict[str, Any] = {
    "torchvision": torchvision,
    "timm": timm,
    "keras": keras,
    "keras2": keras2,
    "keras-numbers": keras_numbers,
    "d-li14": d_li14,
    "kuan-wang": kuan_wang,
    "article": article,
    "marvis": marvis,
    "biubug6": biubug6,
    "tonylins": tonylins,
    "transformers": transformers,
    "slim": slim,
    "slim-average": slim_average,
    "slim-average-trained": slim_average_trained,
    "refnet": plain,
}
_OF_PYTORCH = (torchvision, timm, d_li14, kuan_wang, article, marvis, biubug6, tonylins, transformers)
_SCHEMES_OF_VENDORS = {
    "keras": ("keras", "keras2", "keras-numbers"),
    "paper": ("slim", "slim-average", "slim-average-trained"),
}


def schemes_of(model: str) -> tuple[str, ...]:
    """Whose names a checkpoint of a model may have, keys of `SCHEMES`: the vendor's, if one is known, and refnet's."""
    if model not in MODELS:
        return ("refnet",)
    vendor, table = MODELS[model].dialect.vendor, MODELS[model].table
    schemes: tuple[str, ...] = _SCHEMES_OF_VENDORS.get(vendor, (vendor,) if vendor in SCHEMES else ())
    same = table in (tables.V1, tables.V2)  # whose names are those of Keras 3 in Keras 2 already
    schemes = tuple(scheme for scheme in schemes if not (same and scheme == "keras2"))
    return (*schemes, *(("tonylins",) if vendor == "d-li14" and table is tables.V2 else ()), "refnet")


def entries(graph: Graph, scheme: str | None = None) -> dict[str, Entry]:
    """What a checkpoint of this network holds, by the names of refnet's parameters.

    Parameters
    ----------
    graph : with batch norms or with them folded
    scheme : a key of `SCHEMES`; by default the vendor's own, or refnet's where the vendor has none
    """
    found: dict[str, Entry] = SCHEMES[scheme or schemes_of(graph.recipe.model)[0]].entries(graph)
    return found


def unused(graph: Graph, scheme: str | None = None) -> dict[str, tuple[int, ...]]:
    """Key and shape of weights that a checkpoint may hold beside, and that a forward pass never reads."""
    match scheme or schemes_of(graph.recipe.model)[0]:
        case "article":
            return article.unused(graph)
        case (
            "slim-average" | "slim-average-trained"
        ):  # and not the other way round: where a file holds both, the average is the one to run
            return {entry.key: entry.shape for entry in slim.entries(graph).values()}
    return {}


def is_pytorch(scheme: str) -> bool:
    """Whether these are the names of a PyTorch module's state dict."""
    return SCHEMES[scheme] in _OF_PYTORCH


def counters(graph: Graph, scheme: str) -> tuple[str, ...]:
    """Keys of the integers that PyTorch's batch norms count batches with: loading asks for them, inference does not."""
    if not is_pytorch(scheme):
        return ()
    names = SCHEMES[scheme].modules(graph)
    return tuple(f"{names[node.name]}.num_batches_tracked" for node in graph.nodes if node.op == "batch_norm")
