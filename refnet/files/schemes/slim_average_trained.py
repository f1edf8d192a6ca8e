"""TF-slim's variables where only what is trained has a running average: a norm's statistics have none of their own."""

from __future__ import annotations

from refnet.files.schemes import slim
from refnet.files.schemes.layout import Entry
from refnet.graph import Graph

modules = slim.modules

_STATISTICS = (".mean", ".var")


def entries(graph: Graph) -> dict[str, Entry]:
    """The average of every variable that is trained, and the statistics themselves."""
    return {
        ours: entry if ours.endswith(_STATISTICS) else entry._replace(key=entry.key + slim.AVERAGE)
        for ours, entry in slim.entries(graph).items()
    }
