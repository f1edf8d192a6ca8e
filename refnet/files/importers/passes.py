"""One look of a rewrite at every node of an imported graph, and what a rewrite asks and moves there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refnet.errors import FormatError
from refnet.files.importers.imported import ImportedGraph
from refnet.graph import Node

__all__ = ["Nodes", "Rewrite", "RewritePass"]

Nodes = tuple[Node, ...]


class RewritePass:
    """One look of a rewrite at every node of a graph, which stays as it is meanwhile.

    A node that has been rewritten is no part of another rewrite before the next pass.
    """

    def __init__(self, imported: ImportedGraph) -> None:
        self.graph = imported.graph
        self.params, self.keys, self.stored = dict(imported.params), dict(imported.keys), dict(imported.stored)
        self.rewritten: dict[str, Nodes] = {}

    def applied(self, rewrite: Rewrite) -> ImportedGraph | None:
        """The graph with a rewrite applied wherever it fits, without what nothing reads any more; None if nowhere."""
        for node in self.graph.nodes:
            if new := rewrite(self, node):
                self.rewritten[node.name] = new
        if not self.rewritten:
            return None
        graph = self.graph.rewritten(self.rewritten).leading_to(*self.graph.outputs)
        return ImportedGraph.of(graph, self.params, self.keys, self.stored)

    def before(self, node: Node, *ops: str, place: int = 0, shared: bool = False) -> Node | None:
        """The node that makes an input, if it is of one of these operations and, unless `shared`, is read once."""
        made = self.graph.by_name.get(node.inputs[place])
        if made is None or made.op not in ops or made.name in self.rewritten:
            return None
        return made if shared or self.graph.only_reader(made.name) is not None else None

    def ahead_of(self, node: Node, what: str = "unscaled") -> str:
        """A name for a node that is put in front of one of the file's."""
        name = f"{node.name}.{what}"
        if name in self.graph:
            raise FormatError(f"{name}: a tensor of the file is called so too")
        return name

    def held(self, node: Node, slot: str) -> bool:
        """Whether a parameter comes from the file."""
        return f"{node.name}.{slot}" in self.keys

    def carry(self, source: Node, slot: str, target: Node, into: str) -> None:
        """Give a node a parameter of another."""
        for table in (self.params, self.keys, self.stored):
            value: Any = table.get(f"{source.name}.{slot}")
            if value is None:
                table.pop(f"{target.name}.{into}", None)
            else:
                table[f"{target.name}.{into}"] = value


Rewrite = Callable[[RewritePass, Node], Nodes]  # what takes the node's place; nothing where it does not fit
