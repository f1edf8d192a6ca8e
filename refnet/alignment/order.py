"""One order of execution for all graphs that are alike, where branches may run in any."""

from __future__ import annotations

from refnet.graph import SOURCE, Graph

__all__ = ["deepest_first"]


def deepest_first(graph: Graph) -> Graph:
    """The same graph, of the branches that meet in a node the deepest first, whichever a file happens to hold first.

    Depth is counted in units, so that folding changes no order. A chain with shortcuts and gates stays as it is.
    """
    own = {unit.conv.name for unit in graph.units()}
    depth = {SOURCE: 0}
    for node in graph.nodes:
        depth[node.name] = max(depth[name] for name in node.inputs) + (node.name in own)
    ordered: dict[str, None] = {}
    for end in (*graph.outputs, *graph.by_name):
        stack = [end]
        while stack:
            waiting = [name for name in graph[stack[-1]].inputs if name != SOURCE and name not in ordered]
            if waiting:
                stack.append(max(waiting, key=depth.__getitem__))
            else:
                ordered[stack.pop()] = None
    return Graph(graph.recipe, tuple(graph[name] for name in ordered), graph.outputs)
