"""A network as its paper draws it: one row for each block, and one for each layer before and behind them."""

from __future__ import annotations

from typing import NamedTuple

from refnet.bugs.language.parts import BlockNodes, Parts
from refnet.graph import Graph, Node
from refnet.ops import CONVOLUTIONS, POOLS
from refnet.readings.cost import cost

__all__ = ["LayerRow", "layer_rows"]


class LayerRow(NamedTuple):
    """One row of the table.

    Attributes
    ----------
    name : of a layer's node; '' for a block
    block : its number from 1 on; 0 for a layer
    op : of a layer; 'block' for a block
    source : (C, H, W) that it reads
    kernel : (height, width), None where there is none
    expanded : channels inside a block, 0 where it does not expand and for a layer
    out : channels that it makes
    squeeze : channels of its squeeze-and-excite, 0 for none
    act : operation of its activation, '' for none
    stride : (height, width)
    shortcut : whether its input is added
    nodes : of the row, in order
    params, macs : of all of them
    """

    name: str
    block: int
    op: str
    source: tuple[int, ...]
    kernel: tuple[int, ...] | None
    expanded: int
    out: int
    squeeze: int
    act: str
    stride: tuple[int, int]
    shortcut: bool
    nodes: tuple[str, ...]
    params: int
    macs: int


def layer_rows(graph: Graph) -> list[LayerRow]:
    """The rows of a network, in order; what is neither in a block nor a convolution nor a pool joins the row before."""
    parts, costs = Parts(graph), {row.node.name: row for row in cost(graph)}
    rows: list[tuple[Node, int, list[Node]]] = []
    for node in graph.nodes:
        number = parts.block_of(node.name)
        if rows and ((number and number == rows[-1][1]) or not (number or node.op in (*CONVOLUTIONS, *POOLS))):
            rows[-1][2].append(node)
        else:
            rows.append((node, number, [node]))
    found = []
    for first, number, nodes in rows:
        names = tuple(node.name for node in nodes)
        own = [costs[name] for name in names]
        total = sum(each.params for each in own), sum(each.macs for each in own)
        made = _block(parts, parts.blocks[number - 1], number) if number else _layer(parts, first, nodes)
        found.append(made._replace(nodes=names, params=total[0], macs=total[1]))
    return found


def _block(parts: Parts, block: BlockNodes, number: int) -> LayerRow:
    depthwise, sizes = block.depthwise, parts.sizes
    return LayerRow(
        name="",
        block=number,
        op="block",
        source=sizes[block.entry],
        kernel=depthwise.params["w"][-2:],
        expanded=block.expand.params["w"][0] if block.expand is not None else 0,
        out=sizes[block.exit][0],
        squeeze=block.squeeze.reduce.params["w"][0] if block.squeeze is not None else 0,
        act=block.act,
        stride=depthwise.attrs["stride"],
        shortcut=block.add is not None,
        nodes=(),
        params=0,
        macs=0,
    )


def _layer(parts: Parts, first: Node, nodes: list[Node]) -> LayerRow:
    unit = parts.unit(first.name)
    act = "" if unit is None or unit.act is None else unit.act.op
    w = first.params.get("w", ())
    return LayerRow(
        name=first.name,
        block=0,
        op=first.op,
        source=parts.sizes[first.inputs[0]],
        kernel=first.attrs.get("kernel", w[-2:] if "stride" in first.attrs else None),
        expanded=0,
        out=parts.sizes[nodes[-1].name][0],
        squeeze=0,
        act=act,
        stride=first.attrs.get("stride", (1, 1)),
        shortcut=False,
        nodes=(),
        params=0,
        macs=0,
    )
