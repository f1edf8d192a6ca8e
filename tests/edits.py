"""Networks with one thing changed, as they come from the wild: another stride, a layer gone, other names."""

from __future__ import annotations

from dataclasses import replace

from refnet.graph import Graph, Node, Recipe
from refnet.readings.shapes import shapes


def disguised(graph: Graph) -> Graph:
    """As a file tells it: nodes named by number, and nothing of where it is from."""
    names = {node.name: f"tensor_{i}" for i, node in enumerate(graph.nodes)}
    nodes = [
        replace(node, name=names[node.name], inputs=tuple(names.get(name, name) for name in node.inputs))
        for node in graph.nodes
    ]
    recipe = graph.recipe
    return Graph(Recipe("", 1.0, recipe.size, recipe.classes, recipe.channels), tuple(nodes))


def edited(graph: Graph, name: str, **fields) -> Graph:
    """With other fields of one node: op, attrs, params, inputs."""
    nodes = tuple(replace(node, **fields) if node.name == name else node for node in graph.nodes)
    return settled(replace(graph, nodes=nodes), graph)


def changed(graph: Graph, name: str, **attrs) -> Graph:
    """With other attributes of one node."""
    return edited(graph, name, attrs={**graph[name].attrs, **attrs})


def without(graph: Graph, *names: str) -> Graph:
    """Without some nodes: who read one reads what it read, a sum being its longer way."""
    reads = {name: graph[name].inputs[-1 if graph[name].op == "add" else 0] for name in names}

    def source(name: str) -> str:
        return source(reads[name]) if name in reads else name

    nodes = [replace(node, inputs=tuple(map(source, node.inputs))) for node in graph.nodes if node.name not in names]
    return settled(replace(graph, nodes=tuple(nodes)), graph)


def inserted(graph: Graph, after: str, op: str, **attrs) -> Graph:
    """With one more node behind another, read by all who read that."""
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple("inserted" if name == after else name for name in node.inputs)
        nodes.append(replace(node, inputs=inputs))
        if node.name == after:
            nodes.append(Node("inserted", op, (after,), {}, attrs))
    return settled(replace(graph, nodes=tuple(nodes)), graph)


def settled(graph: Graph, before: Graph) -> Graph:
    """With every pool that was global before still global, whatever has become of its map.

    What comes after the last pool may not fit yet: it is to be edited next.
    """
    last = max((i for i, node in enumerate(before.nodes) if node.op == "avg_pool2d"), default=-1)
    maps = shapes(Graph(before.recipe, before.nodes[: last + 1]))
    whole = {
        node.name
        for node in before.nodes
        if node.op == "avg_pool2d" and node.attrs["kernel"] == maps[node.inputs[0]][1:]
    }
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name in whole:
            image = shapes(replace(graph, nodes=tuple(nodes)))[node.inputs[0]]
            node = replace(node, attrs={**node.attrs, "kernel": image[1:]})
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))
