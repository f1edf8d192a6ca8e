"""Bugs of blocks: squeeze-and-excite, shortcuts, expansions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.changes import Change, without
from refnet.bugs.language.segments import Segment, from_elsewhere
from refnet.bugs.layers.activations import acts_by_use, plain_activations
from refnet.graph import Node
from refnet.networks.dialects import Dialect
from refnet.networks.plan import round_width
from refnet.ops import ACTIVATIONS

_BY_EIGHT = Dialect("")  # the rule of rounding that most have


def se_order(segment: Segment) -> Iterator[Change]:
    """squeeze-and-excite on the other side of the activation.

    Source: https://github.com/open-mmlab/mmpretrain/issues/193
    """
    for scale in segment.nodes("scale"):
        act = segment.graph.by_name.get(scale.inputs[0])
        if act is not None and act.op in ACTIVATIONS and act.inputs[0] not in scale.inputs:
            yield Change(scale.name, "before", nodes=_squeezed_first(segment, act, scale))
        plain = plain_activations(segment, *ACTIVATIONS)
        late = next((node for node in plain if node.inputs[0] == scale.name), None)
        if late is not None:
            yield Change(late.name, "after", nodes=_activated_first(segment, scale, late))
    for squeeze in segment.parts.squeezes:  # its pool alone, of a port that has no tensor between
        act = segment.graph.by_name.get(squeeze.pool.inputs[0])
        inside = squeeze.pool.name in segment.graph and squeeze.scale.name not in segment.graph
        if inside and act is not None and act.op in ACTIVATIONS:
            nodes = _reading(segment, {act.name: act.inputs[0]})
            yield Change(squeeze.scale.name, "before", nodes={**nodes, act.name: ()})
    for squeeze in segment.parts.squeezes:
        if squeeze.pool.name in segment.graph:
            yield from _pooled_first(segment, squeeze.pool)


def _pooled_first(segment: Segment, pool: Node) -> Iterator[Change]:
    """The pool alone reads what comes before the activation: as the port dumped it, or made again of what it dumped."""
    act = segment.whole.by_name.get(pool.inputs[0])
    if act is None or act.op not in ACTIVATIONS:
        return
    (before,) = act.inputs
    reader = replace(pool, inputs=(before,))
    if act.name in segment.graph:
        alone = all(node is pool or act.name not in node.inputs for node in segment.graph.nodes)
        if not (alone and segment.end != act.name):  # else it is the same as if all of it came first
            yield Change(pool.name, "pooled", nodes={pool.name: (reader,)})
    elif segment.available:
        made, given = from_elsewhere(segment, before)
        yield Change(pool.name, "pooled", nodes={pool.name: (*made, reader)}, given=given)


def _squeezed_first(segment: Segment, act: Node, scale: Node) -> dict[str, tuple[Node, ...]]:
    """x -> act -> squeeze-and-excite becomes x -> squeeze-and-excite -> act."""
    nodes = _reading(segment, {act.name: act.inputs[0]})
    (scaled,) = nodes[scale.name]
    raw = replace(scaled, name=f"{scale.name}.raw")
    return {**nodes, act.name: (), scale.name: (raw, replace(act, name=scale.name, inputs=(raw.name,)))}


def _activated_first(segment: Segment, scale: Node, act: Node) -> dict[str, tuple[Node, ...]]:
    """x -> squeeze-and-excite -> act becomes x -> act -> squeeze-and-excite."""
    source = scale.inputs[0]
    first = replace(act, name=f"{act.name}.early", inputs=(source,))
    nodes = _reading(segment, {source: first.name})
    nodes |= {act.name: (), scale.name: (replace(scale, name=act.name, inputs=(first.name, scale.inputs[1])),)}
    given = source in segment.given
    place = segment.graph.nodes[0] if given else segment.graph[source]
    own = nodes.get(place.name, (place,))
    return {**nodes, place.name: (first, *own) if given else (*own, first)}


def _reading(segment: Segment, names: dict[str, str]) -> dict[str, tuple[Node, ...]]:
    """The nodes that read some tensors, reading others instead."""
    return {
        node.name: (replace(node, inputs=tuple(names.get(name, name) for name in node.inputs)),)
        for node in segment.graph.nodes
        if set(names) & set(node.inputs)
    }


def se_missing(segment: Segment) -> Iterator[Change]:
    """squeeze-and-excite left out.

    Source: https://github.com/jixing0415/caffe-mobilenet-v3/issues/2
    """
    for node in segment.nodes("scale"):
        yield Change(node.name, nodes=without(node))


def se_width(segment: Segment) -> Iterator[Change]:
    """another squeeze width.

    It shows as a shape.

    Source: https://github.com/keras-team/keras-cv/issues/1756
    """
    ends = {unit.conv.name: {node.name for node in unit.nodes} for unit in segment.graph.units()}
    for block in segment.parts.blocks:
        if block.squeeze is None or segment.end not in ends.get(block.squeeze.reduce.name, ()):
            continue
        reduce = block.squeeze.reduce
        own, expanded = reduce.params["w"]
        for whose, width in (("expanded", expanded), ("entry", segment.sizes[block.entry][0])):
            bare, rounded = width // 4, round_width(width / 4, _BY_EIGHT)
            ways = {"": bare} if bare == rounded else {"bare": bare, "rounded": rounded}
            for how, squeezed in ways.items():
                if squeezed != own:
                    facts = {"found": squeezed, "known": own, "width": width, "whose": whose, "how": how}
                    shape = (segment.batch, squeezed, 1, 1)
                    yield Change(reduce.name, f"{whose} {how}".strip(), facts, shape=shape)


def se_bias(segment: Segment) -> Iterator[Change]:
    """biases of squeeze-and-excite left out."""
    for squeeze in segment.parts.squeezes:
        both = [node for node in (squeeze.reduce, squeeze.expand) if node.name in segment.graph and "b" in node.params]
        for node in both:
            yield Change(node.name, "one", params=no_bias(node))
        if len(both) > 1:
            params = {name: zeros for node in both for name, zeros in no_bias(node).items()}
            yield Change(both[-1].name, "both", params=params)


def no_bias(node: Node) -> dict[str, npt.NDArray[np.float64]]:
    """The bias of a convolution, as zeros."""
    return {f"{node.name}.b": np.zeros(node.params["b"])}


def shortcut_missing(segment: Segment) -> Iterator[Change]:
    """the shortcut left out."""
    for node in segment.nodes("add"):
        yield Change(node.name, nodes=without(node, source=1))


def shortcut_extra(segment: Segment) -> Iterator[Change]:
    """a shortcut where there is none.

    Where the block widens, the channels that are missing may be zeros; where it has a stride, points are left out.

    Source: https://github.com/kuangliu/pytorch-cifar/issues/133
    """
    for block in segment.parts.blocks:
        node, entry = segment.graph.by_name.get(block.exit), block.entry
        inside = entry in segment.graph
        if node is None or block.add is not None or not (inside or segment.available):
            continue
        made, given = ((), {}) if inside else from_elsewhere(segment, entry)
        (C, H, W), (K, P, Q) = segment.sizes[entry], segment.sizes[node.name]
        plain, step = replace(node, name=f"{node.name}.plain"), -(-H // P)
        if (C, H, W) == (K, P, Q):
            summed = Node(node.name, "add", (entry, plain.name))
            yield Change(node.name, nodes={node.name: (*made, plain, summed)}, given=given)
        elif C <= K and (-(-H // step), -(-W // step)) == (P, Q):
            filters = {"stride": (step, step), "pad": ((0, 0), (0, 0)), "dilation": (1, 1)}
            wide = Node(f"{node.name}.wide", "conv2d", (entry,), {"w": (K, C, 1, 1)}, filters)
            nodes = (*made, plain, wide, Node(node.name, "add", (wide.name, plain.name)))
            params = {f"{wide.name}.w": np.eye(K, C).reshape(K, C, 1, 1)}
            yield Change(node.name, "zeros", nodes={node.name: nodes}, params=params, given=given)


def shortcut_late(segment: Segment) -> Iterator[Change]:
    """an activation around the shortcut's sum."""
    acts = acts_by_use(segment)
    for node in segment.nodes("add"):
        for act in acts:
            acted = Node(f"{node.name}.acted", act, (node.inputs[1],))
            summed = replace(node, inputs=(node.inputs[0], acted.name))
            yield Change(node.name, f"{act} before", {"act": act}, nodes={node.name: (acted, summed)})
        for act in (act for act in acts if act != "hard_swish"):
            summed = replace(node, name=f"{node.name}.sum")
            after = Node(node.name, act, (summed.name,))
            yield Change(node.name, f"{act} after", {"act": act}, nodes={node.name: (summed, after)})


def expand_extra(segment: Segment) -> Iterator[Change]:
    """an expansion where the factor is 1.

    Its activation is run, before the depthwise convolution of a block that does not expand.

    Source: https://github.com/dmlc/gluon-cv/issues/773
    """
    for block in segment.parts.blocks:
        node = segment.graph.by_name.get(block.depthwise.name)
        if node is not None and block.linear and block.expand is None:
            op = block.act or "relu"
            acted = Node(f"{node.name}.extra", op, node.inputs)
            reader = replace(node, inputs=(acted.name,))
            yield Change(node.name, facts={"act": op}, nodes={node.name: (acted, reader)})
