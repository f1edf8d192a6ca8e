"""Which network a graph is found to be, and what is told of it."""

from __future__ import annotations

from edits import disguised

from refnet import build
from refnet.files.identify.structure import recognise
from refnet.graph import Graph
from refnet.report.differences import words

SMALL = build("torchvision/mobilenet_v3_small", width=0.35, size=(48, 192), classes=2)


def found_in(graph: Graph, model: str | None = None, width: float | None = None):
    return recognise(disguised(graph), (), model, width)


def told(graph: Graph, model: str | None = None) -> list[tuple[str, ...]]:
    return [(one.node, *words(one)) for one in found_in(graph, model).differences]
