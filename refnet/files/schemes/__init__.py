"""Vendors' names of weights <-> names of nodes. Knows no files.

A scheme is a module with `modules(graph)`: for every node with parameters, the vendor's name of the layer. From
that, `entries` makes what a checkpoint of the network must hold, key by key and shape by shape.
"""

from __future__ import annotations

from typing import Any

from refnet.files.schemes import article, d_li14, keras, kuan_wang, plain, timm, torchvision
from refnet.files.schemes.layout import Entry
from refnet.graph import Graph
from refnet.networks.dialects import MODELS

__all__ = ["SCHEMES", "Entry", "entries", "schemes_of", "unused"]

SCHEMES: dict[str, Any] = {
    "torchvision": torchvision,
    "timm": timm,
    "keras": keras,
    "d-li14": d_li14,
    "kuan-wang": kuan_wang,
    "article": article,
    "refnet": plain,
}


def schemes_of(model: str) -> tuple[str, ...]:
    """Whose names a checkpoint of this model may have, keys of `SCHEMES`: the vendor's, and refnet's own."""
    vendor = MODELS[model].dialect.vendor
    return tuple(scheme for scheme in SCHEMES if scheme in (vendor, "refnet"))


def entries(graph: Graph, scheme: str | None = None) -> dict[str, Entry]:
    """What a checkpoint of this network holds, by the names of refnet's parameters.

    Parameters
    ----------
    scheme : a key of `SCHEMES`; by default the vendor's own, or refnet's where the vendor has none
    """
    vendor = MODELS[graph.recipe.model].dialect.vendor
    found: dict[str, Entry] = SCHEMES.get(scheme or vendor, plain).entries(graph)
    return found


def unused(graph: Graph, scheme: str | None = None) -> dict[str, tuple[int, ...]]:
    """Key and shape of weights that the vendor's network builds and its forward pass never reads."""
    vendor = MODELS[graph.recipe.model].dialect.vendor
    return article.unused(graph) if (scheme or vendor) == "article" else {}
