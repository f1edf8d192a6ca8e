"""The graphs of two files, node by node, as `alignment.diff` finds them, and which batch norms one of them lacks.

Both files were given refnet's names when they were read, so their nodes are pairs by name. A bias of zeros is none.
"""

from __future__ import annotations

from dataclasses import replace

from refnet.alignment.diff import differences, folded_norms
from refnet.alignment.differences import SOFTMAX, Difference
from refnet.files.checkpoint import Checkpoint
from refnet.graph import Graph
from refnet.networks.rewrite import norms_ahead

__all__ = ["folded_norms", "is_worked_out", "structure_differences", "worked_ahead"]


def structure_differences(one: Checkpoint, other: Checkpoint) -> tuple[Difference, ...]:
    """In what two files are different networks: `known` is the first file's, `found` the second's.

    Where the two are made for images of other sizes, that is one difference, and what follows from it is none. A
    softmax that one of them alone has behind its logits needs a word of its own.
    """
    first, second = _likened(one, other), _likened(other, one)
    found = differences(first, second, folded=True)
    soft = {
        *(("missing", name) for name in _probabilities_of(first, second)),
        *(("extra", name) for name in _probabilities_of(second, first)),
    }
    return tuple(each._replace(needs=SOFTMAX) if (each.key, each.node) in soft else each for each in found)


def _probabilities_of(graph: Graph, other: Graph) -> set[str]:
    """The softmaxes at a graph's ends of which the other graph ends with the logits, flattened or not."""
    logits = {_unflattened(other, name) for name in other.outputs}
    soft = (graph[name] for name in graph.outputs if graph[name].op == "softmax")
    return {node.name for node in soft if _unflattened(graph, node.inputs[0]) in logits}


def _unflattened(graph: Graph, name: str) -> str:
    """The tensor that is flattened to another one; or that one."""
    while name in graph and graph[name].op == "flatten":
        (name,) = graph[name].inputs
    return name


def _likened(file: Checkpoint, other: Checkpoint) -> Graph:
    """A file's graph without the biases of zeros, and the batch norms worked ahead, that the other one goes without.

    Where it has a batch norm as factor and addend, which need no eps, it has the other's.
    """
    nodes = []
    ahead = worked_ahead(file, other)
    behind = {conv for convs in ahead.values() for conv in convs}
    graph = file.graph.without({norm: file.graph[norm].inputs[0] for norm in ahead})
    for node in graph.nodes:
        if node.name in behind:
            node = replace(node, params={**node.params, "b": node.params["w"][:1]})
        twin, bias = other.graph.by_name.get(node.name), file.params.get(f"{node.name}.b")
        if twin is not None and "b" in node.params and "b" not in twin.params and bias is not None and not bias.any():
            node = replace(node, params={slot: shape for slot, shape in node.params.items() if slot != "b"})
        if twin is not None and node.op == twin.op == "batch_norm" and is_worked_out(file, node.name):
            node = replace(node, attrs=twin.attrs)
        nodes.append(node)
    return Graph(file.graph.recipe, tuple(nodes), file.graph.returns)


def worked_ahead(file: Checkpoint, other: Checkpoint) -> dict[str, tuple[str, ...]]:
    """The batch norms of a file that the other one has worked into the convolutions which read them, with these."""
    params, needed = file.params, file.graph.params()

    def is_whole(name: str) -> bool:
        held = (f"{name}.{slot}" for slot in file.graph[name].params)
        return all(each in params and params[each].shape == needed[each] for each in held)

    return {
        norm: convs
        for norm, convs in norms_ahead(file.graph).items()
        if norm not in other.graph and all(map(is_whole, (norm, *convs)))
    }


def is_worked_out(file: Checkpoint, name: str) -> bool:
    """Whether a batch norm has no variance in the file, but what a factor and an addend made of it."""
    return f"{name}.var" not in file.keys and file.graph[name].attrs["eps"] == 0
