"""The graphs of two files, node by node: operations, attributes, what is read, shapes, biases.

No difference here: a batch norm that one file has worked into its convolution (`values` shows whether it was worked in
as it should be), a bias of zeros, an operation that changes nothing, the order of what is added. A constant that was
rounded to a short format is a difference that the format explains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from refnet.files.checkpoint import Checkpoint, Difference
from refnet.files.identify.differences import BIAS
from refnet.graph import SOURCE, Graph, Node
from refnet.networks.rewrite import norms
from refnet.ops import CONVOLUTIONS

__all__ = ["Change", "differences", "folded_norms"]

_POOLS = ("avg_pool2d", "max_pool2d")
_NEVER = "structure"
# How far constants may move, relatively: a slope and an offset that is its multiple are one rounding of the format off,
# and a product of two such constants two.
_CONSTANTS = (("float32", 2.0**-23), ("float16", 2.0**-10), ("bfloat16", 2.0**-7))


class Change(NamedTuple):
    """A difference, and what a policy must allow for it: 'structure', or the format that a constant was rounded to."""

    difference: Difference
    needs: str = _NEVER


def folded_norms(graph: Graph, other: Graph) -> dict[str, str]:
    """The batch norms of a graph that the other one has not, each with the convolution that it follows."""
    theirs = {node.name for node in other.nodes}
    return {norm.name: convolution for convolution, norm in norms(graph).items() if norm.name not in theirs}


def differences(one: Checkpoint, other: Checkpoint) -> list[Change]:
    """In what two files are different networks: `known` is the first file's, `file` the second's.

    Where the two are made for images of other sizes, that is one difference, and paddings and global pools, which
    follow from it, are none.
    """
    return list(_differences(one, other))


def _differences(one: Checkpoint, other: Checkpoint) -> Iterator[Change]:
    mine, theirs = one.graph.recipe, other.graph.recipe
    for what, known, file in (("size", mine.size, theirs.size), ("channels", mine.channels, theirs.channels)):
        if known != file:
            yield Change(Difference(SOURCE, "attribute", f"{what} {known}", f"{what} {file}"))
    first, rounded = _common(one.graph, other.graph)
    second, more = _common(other.graph, one.graph)
    yield from (Change(Difference(node.name, "missing", node.op, ""), word) for node, word in rounded)
    yield from (Change(Difference(node.name, "extra", "", node.op), word) for node, word in more)
    folded = {*folded_norms(one.graph, other.graph).values(), *folded_norms(other.graph, one.graph).values()}
    for name in dict.fromkeys([*first, *second]):
        if name not in second:
            yield Change(Difference(name, "missing", first[name].op, ""))
        elif name not in first:
            yield Change(Difference(name, "extra", "", second[name].op))
        elif first[name].op != second[name].op:
            yield Change(Difference(name, "operation", first[name].op, second[name].op))
        else:
            yield from _attributes(first[name], second[name], mine.size == theirs.size)
            yield from _params(one, other, first[name], second[name], name in folded)


def _common(graph: Graph, other: Graph) -> tuple[dict[str, Node], list[tuple[Node, str]]]:
    """The nodes of a graph without those that the other one can do without, and of these the rounded constants."""
    theirs = {node.name for node in other.nodes}
    gone: dict[str, str] = dict(folded_norms(graph, other))
    rounded = []
    for node in graph.nodes:
        if node.name not in theirs and (word := _nothing(node)) is not None:
            gone[node.name] = node.inputs[0]
            if word:
                rounded.append((node, word))

    def origin(name: str) -> str:
        while name in gone:
            name = gone[name]
        return name

    kept = (node for node in graph.nodes if node.name not in gone)
    return {node.name: replace(node, inputs=tuple(map(origin, node.inputs))) for node in kept}, rounded


def _nothing(node: Node) -> str | None:
    """Whether a node changes nothing ('') or only because a constant, 1, was rounded (the format)."""
    attrs = node.attrs
    if node.op in (*_POOLS, "pad") and not any(map(any, attrs["pad"])):
        return "" if attrs.get("kernel", (1, 1)) == attrs.get("stride", (1, 1)) == (1, 1) else None
    if node.op == "affine" and not attrs["offset"]:
        return "" if attrs["slope"] == 1 else _constant(1.0, attrs["slope"])
    return None


def _constant(known: Any, file: Any) -> str | None:
    """The finest format that rounding a constant to explains another one."""
    if isinstance(known, float) and isinstance(file, float):
        for word, most in _CONSTANTS:
            if abs(file - known) <= most * abs(known):
                return word
    return None


def _attributes(one: Node, other: Node, sized: bool) -> Iterator[Change]:
    name = one.name
    for key, value in one.attrs.items():
        if not sized and (key == "pad" or (one.op in _POOLS and key in ("kernel", "stride"))):
            continue
        if value != (theirs := other.attrs.get(key)):
            known, file = f"{key} {value}", f"{key} {theirs}"
            yield Change(Difference(name, "attribute", known, file), _constant(value, theirs) or _NEVER)
    same = sorted(one.inputs) == sorted(other.inputs) if one.op in ("add", "scale") else one.inputs == other.inputs
    if not same:
        known, file = (f"inputs {', '.join(node.inputs)}" for node in (one, other))
        yield Change(Difference(name, "attribute", known, file))


def _params(one: Checkpoint, other: Checkpoint, mine: Node, theirs: Node, folded: bool) -> Iterator[Change]:
    for slot, shape in mine.params.items():
        if slot in theirs.params and shape != theirs.params[slot]:
            known, file = f"{slot} {shape}", f"{slot} {theirs.params[slot]}"
            yield Change(Difference(mine.name, "shape", known, file))
    if folded or mine.op not in CONVOLUTIONS or ("b" in mine.params) == ("b" in theirs.params):
        return
    known, file = _bias(mine, one.params), _bias(theirs, other.params)
    if known != file:
        yield Change(Difference(mine.name, "missing" if known else "extra", known, file))


def _bias(node: Node, params: Mapping[str, Any]) -> str:
    """'bias' where a node has one that is not all zeros."""
    b = params.get(f"{node.name}.b") if "b" in node.params else None
    return BIAS if b is not None and b.any() else ""
