"""The graphs of two files, node by node: operations, attributes, what is read, shapes, biases.

A batch norm that one file has worked into its convolution is no difference here: `values` shows whether it was worked
in as it should be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from refnet.files.checkpoint import Checkpoint, Difference
from refnet.graph import SOURCE, Graph, Node
from refnet.verify.layers import CONVOLUTIONS

__all__ = ["common", "differences", "folded_norms"]

_POOLS = ("avg_pool2d", "max_pool2d")


def folded_norms(graph: Graph, other: Graph) -> dict[str, str]:
    """The batch norms of a graph that the other one has not, each with the convolution that it follows."""
    readers, theirs = graph.readers(), {node.name for node in other.nodes}
    operations = {node.name: node.op for node in graph.nodes}
    return {
        node.name: node.inputs[0]
        for node in graph.nodes
        if node.op == "batch_norm"
        and node.name not in theirs
        and operations.get(node.inputs[0]) in CONVOLUTIONS
        and len(readers[node.inputs[0]]) == 1
    }


def common(graph: Graph, other: Graph) -> list[Node]:
    """The nodes of a graph without the batch norms that the other one has folded."""
    norms = folded_norms(graph, other)
    return [
        replace(node, inputs=tuple(norms.get(name, name) for name in node.inputs))
        for node in graph.nodes
        if node.name not in norms
    ]


def differences(one: Checkpoint, other: Checkpoint) -> list[Difference]:
    """In what two files are different networks: `known` is the first file's, `file` the second's.

    Where the two are made for images of other sizes, that is one difference, and paddings and global pools, which
    follow from it, are none.
    """
    first = {node.name: node for node in common(one.graph, other.graph)}
    second = {node.name: node for node in common(other.graph, one.graph)}
    folded = {*folded_norms(one.graph, other.graph).values(), *folded_norms(other.graph, one.graph).values()}
    found = []
    mine, theirs = one.graph.recipe, other.graph.recipe
    for what, known, file in (("size", mine.size, theirs.size), ("channels", mine.channels, theirs.channels)):
        if known != file:
            found.append(Difference(SOURCE, "attribute", f"{what} {known}", f"{what} {file}"))
    for name in dict.fromkeys([*first, *second]):
        if name not in second:
            found.append(Difference(name, "missing", first[name].op, ""))
        elif name not in first:
            found.append(Difference(name, "extra", "", second[name].op))
        else:
            found += _of_node(first[name], second[name], name in folded, mine.size == theirs.size)
    return found


def _of_node(one: Node, other: Node, folded: bool, sized: bool) -> list[Difference]:
    name = one.name
    if one.op != other.op:
        return [Difference(name, "operation", one.op, other.op)]
    found = []
    for key in one.attrs:
        if not sized and (key == "pad" or (one.op in _POOLS and key in ("kernel", "stride"))):
            continue
        if one.attrs[key] != other.attrs.get(key):
            found.append(Difference(name, "attribute", _said(key, one.attrs[key]), _said(key, other.attrs.get(key))))
    if one.inputs != other.inputs:
        known, file = (f"reads {', '.join(node.inputs)}" for node in (one, other))
        found.append(Difference(name, "attribute", known, file))
    for slot in one.params:
        if slot in other.params and one.params[slot] != other.params[slot] and not (folded and slot == "b"):
            known, file = (f"{slot} {node.params[slot]}" for node in (one, other))
            found.append(Difference(name, "shape", known, file))
    if not folded and ("b" in one.params) != ("b" in other.params) and one.op in CONVOLUTIONS:
        kind = "missing" if "b" in one.params else "extra"
        known, file = ("bias" if "b" in node.params else "" for node in (one, other))
        found.append(Difference(name, kind, known, file))
    return found


def _said(key: str, value: Any) -> str:
    return f"{key} {value}"
