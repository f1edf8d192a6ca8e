"""Bugs of the head, and of biases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.blocks import no_bias
from refnet.graph import Node
from refnet.ops import ACTIVATIONS, CONVOLUTIONS


def head_bn(segment: Segment) -> Iterator[Change]:
    """batch norm added in the head.

    At its initial statistics.

    Source: https://github.com/xiaolai-sqlai/mobilenetv3/issues/23
    """
    dense = {node.name for node in segment.parts.dense}
    for node in segment.nodes("pointwise_conv2d"):
        for eps in (1e-3, 1e-5) if node.name in dense else ():
            bare = replace(node, name=f"{node.name}.bare")
            attrs = {"slope": float(1 / np.sqrt(1 + eps)), "offset": 0.0}
            normed = Node(node.name, "affine", (bare.name,), {}, attrs)
            yield Change(node.name, f"{eps:g}", {"eps": eps}, nodes={node.name: (bare, normed)})


# What dropout keeps of its input's size where it scales when it should not, and its inverse.
_KEPT = (0.8, 1.25, 0.5, 2.0, 0.9, 1 / 0.9, 0.7, 1 / 0.7)


def head_dropout(segment: Segment) -> Iterator[Change]:
    """dropout that scales what a linear layer reads.

    By the share that it keeps, as it was first described, where training has scaled already; or by its inverse.

    Source: https://github.com/keras-team/keras/issues/3305
    """
    dense = {node.name for node in segment.parts.dense}
    for node in segment.nodes("pointwise_conv2d"):
        for factor in _KEPT if node.name in dense and node.inputs[0] in segment.sizes else ():
            kept = Node(f"{node.name}.kept", "affine", node.inputs, {}, {"slope": factor, "offset": 0.0})
            read = replace(node, inputs=(kept.name,))
            yield Change(node.name, f"{factor:.3g}", {"factor": factor}, nodes={node.name: (kept, read)})


def head_act_pool(segment: Segment) -> Iterator[Change]:
    """the head's activation after the pool."""
    head = segment.parts.head
    pool = segment.graph.by_name.get(head[0].name) if head else None
    act = segment.graph.by_name.get(pool.inputs[0]) if pool is not None else None
    if pool is not None and pool.op == "avg_pool2d" and act is not None and act.op in ACTIVATIONS:
        first = replace(pool, name=f"{pool.name}.early", inputs=act.inputs)
        late = replace(act, name=pool.name, inputs=(first.name,))
        yield Change(pool.name, nodes={act.name: (), pool.name: (first, late)})


def bias_missing(part: Segment | UnitArrays) -> Iterator[Change]:
    """a bias dropped."""
    if isinstance(part, UnitArrays):
        if part.slot in ("b", "beta"):
            yield Change(part.name, params={part.names[part.slot]: np.zeros_like(part[part.slot])}, rare=True)
        return
    squeezes = {node.name for squeeze in part.parts.squeezes for node in (squeeze.reduce, squeeze.expand)}
    for node in part.nodes(*CONVOLUTIONS):
        if "b" in node.params and node.name not in squeezes:
            yield Change(node.name, params=no_bias(node))
