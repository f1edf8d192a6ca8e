"""The same network for images of another size, whatever its nodes are.

Three things follow the size: the kernel of a global pool, a padding that is computed from it, and the size that a map
is resized to, where that is the size of the map that it is joined with, or the image's. All else stays: strides,
kernels, and the nodes that a known network lacks. How a known network pads, its vendor says. Of any other, the paddings
must tell by which rule they were computed; one that follows no rule is refused, because nobody has said whether it
follows the size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from refnet.errors import GraphError, RequestError
from refnet.graph import SOURCE, Graph, Node, is_global
from refnet.networks.build import image_size
from refnet.networks.dialects import MODELS, Dialect
from refnet.networks.plan import PADDINGS, decoder_kernel, padding
from refnet.ops import RESIZES, WINDOWED
from refnet.readings.shapes import shape_after, shapes

__all__ = ["fitting_pads", "following", "resize"]

Pad = tuple[tuple[int, int], tuple[int, int]]
Shape = tuple[int, ...]


def resize(graph: Graph, size: tuple[int, int] | int) -> Graph:
    """Move a graph to images of another (height, width).

    Raises
    ------
    RequestError
        if the images are too small for it, if nodes that agree at its own size do not at this one, or if it pads
        otherwise than its model does, or by no one rule: names the node.
    """
    recipe = replace(graph.recipe, size=image_size(size, graph.recipe.size))
    if recipe == graph.recipe:
        return graph
    before: Mapping[str, Shape] = shapes(graph)
    after: dict[str, Shape] = {SOURCE: (recipe.channels, *recipe.size)}
    rules = _rules(graph, before)
    moved: dict[str, tuple[Node]] = {}
    for node in graph.nodes:
        node = replace(node, attrs=_attrs(graph, node, before, after, rules))
        after[node.name] = _shape(graph, node, recipe.size, [after[name] for name in node.inputs])
        moved[node.name] = (node,)
    return replace(graph.rewritten(moved), recipe=recipe)


def following(graph: Graph, known: Mapping[str, Shape]) -> Graph:
    """A graph whose global pools, and paddings that follow the size, fit maps of other shapes in it.

    A padding that no one rule explains stays as it is.

    Parameters
    ----------
    known : shapes without the batch axis that some tensors have, the input's perhaps, instead of those of this graph

    Raises
    ------
    GraphError
        if nodes do not agree at these shapes.
    """
    before: Mapping[str, Shape] = shapes(graph)
    after: dict[str, Shape] = {SOURCE: known.get(SOURCE, graph.input_shape)}
    rules = _rules(graph, before)
    moved: dict[str, tuple[Node]] = {}
    for node in graph.nodes:
        if node.op in RESIZES or after[node.inputs[0]] != before[node.inputs[0]]:
            with suppress(RequestError):
                node = replace(node, attrs=_attrs(graph, node, before, after, rules))
        after[node.name] = known.get(node.name) or shape_after(node, *(after[name] for name in node.inputs))
        moved[node.name] = (node,)
    return graph.rewritten(moved)


def _shape(graph: Graph, node: Node, size: tuple[int, int], inputs: Sequence[Shape]) -> Shape:
    """What a node makes at this size, if that is anything."""
    said, whom = f"size {size[0]},{size[1]}", graph.recipe.model or "this network"
    try:
        shape = shape_after(node, *inputs)
    except GraphError as error:
        raise RequestError(f"{said} does not fit {whom}: {error}") from None
    if min(shape) < 1:
        raise RequestError(f"{said} is too small for {whom}: nothing is left of {node.name}")
    return shape


def _rules(graph: Graph, before: Mapping[str, Shape]) -> tuple[str, ...]:
    """The rules of padding that every convolution of a graph obeys; all, if there is none such."""
    padded = [node for node in graph.nodes if node.op in WINDOWED and any(map(any, node.attrs["pad"]))]
    obeyed = [rule for rule in PADDINGS if all(_pads(rule, n, before[n.inputs[0]]) == n.attrs["pad"] for n in padded)]
    return tuple(obeyed) or PADDINGS


def _attrs(
    graph: Graph, node: Node, before: Mapping[str, Shape], after: Mapping[str, Shape], rules: Sequence[str]
) -> Mapping[str, Any]:
    """The attributes of a node, once the maps before it are of other shapes."""
    attrs, image, dialect = node.attrs, after[node.inputs[0]], _dialect(graph)
    if node.op in RESIZES:
        whose = _followed(graph, node, before, after)
        return attrs if whose is None else {**attrs, "size": after[whose][1:]}
    if node.op == "avg_pool2d" and dialect is not None and attrs["stride"] != (1, 1) and dialect.decoder_pool:
        return {**attrs, "kernel": decoder_kernel(dialect, image[1:])}
    if node.op == "avg_pool2d" and is_global(node, before[node.inputs[0]]):
        return {**attrs, "kernel": image[1:]}
    if node.op not in WINDOWED or not any(map(any, attrs["pad"])):
        return attrs
    if dialect is not None:
        rules, why = [_rule(dialect, node)], f"which is not how {graph.recipe.model} pads"
    else:
        why = "which no one rule explains"
    pads = {_pads(rule, node, image) for rule in rules if _pads(rule, node, before[node.inputs[0]]) == attrs["pad"]}
    if len(pads) != 1:
        raise RequestError(
            f"{node.name} pads {attrs['pad']} at size {graph.recipe.size}, {why}: "
            "whether that follows the size is unknown, so leave the size as it is"
        )
    return {**attrs, "pad": pads.pop()}


def _followed(graph: Graph, node: Node, before: Mapping[str, Shape], after: Mapping[str, Shape]) -> str | None:
    """The tensor whose size a map is resized to: of the map that it is joined with, or the image; None for neither."""
    size, name = node.attrs["size"], node.name
    while (reader := graph.only_reader(name)) is not None and before[reader.name][1:] == size:
        for other in reader.inputs:
            while other != name and other not in after and before[other][1:] == size:
                other = graph[other].inputs[0]
            if other != name and other in after and before[other][1:] == size:
                return other
        name = reader.name
    return SOURCE if size == graph.recipe.size else None


def _dialect(graph: Graph) -> Dialect | None:
    """The habits of a known network's vendor."""
    model = MODELS.get(graph.recipe.model)
    return None if model is None else model.dialect


def _rule(dialect: Dialect, node: Node) -> str:
    """How a vendor pads at one of the nodes of a known network."""
    return dialect.stem_pad if node.name == "stem.conv" else dialect.pad


def _pads(rule: str, node: Node, image: Shape) -> Pad:
    """What a rule makes of a map, (C, H, W), for a convolution."""
    kernel, stride, dilation = node.params["w"][-2:], node.attrs["stride"], node.attrs["dilation"]
    rows, columns = (padding(rule, image[1 + i], kernel[i], stride[i], dilation[i]) for i in (0, 1))
    return rows, columns


def fitting_pads(known: Graph, ours: Node, theirs: Node, image: Shape) -> tuple[Pad, Pad]:
    """How the known network's vendor pads a map, (C, H, W): for the known node, and for another in its place."""
    rule = _rule(MODELS[known.recipe.model].dialect, ours)
    return _pads(rule, ours, image), _pads(rule, theirs, image)
