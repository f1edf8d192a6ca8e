"""The running averages of TF-slim's variables: the names of `slim`, each with `/ExponentialMovingAverage` behind it."""

from __future__ import annotations

from refnet.files.schemes import slim
from refnet.files.schemes.layout import Entry
from refnet.graph import Graph

modules = slim.modules


def entries(graph: Graph) -> dict[str, Entry]:
    """The average of every variable of the network."""
    return {ours: entry._replace(key=entry.key + slim.AVERAGE) for ours, entry in slim.entries(graph).items()}
