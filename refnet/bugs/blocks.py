"""Bugs of activations, squeeze-and-excite, shortcuts and the head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from refnet.bugs.segments import Segment, Variation
from refnet.graph import Node
from refnet.networks.dialects import MODELS, Dialect
from refnet.networks.plan import round_width

_ACTIVATIONS = ("relu", "relu6", "hard_swish", "swish")
_BY_EIGHT = Dialect("")  # the rule of rounding that most have
_HARD = {"slope": 1 / 6, "offset": 0.5}


def _gates(segment: Segment) -> Iterator[Node]:
    """The nodes that squeeze-and-excite multiplies by."""
    gates = {node.inputs[1] for node in segment.whole.nodes if node.op == "scale"}
    return (node for node in segment.graph.nodes if node.name in gates)


def _plain_activations(segment: Segment, *ops: str) -> Iterator[Node]:
    gates = {node.name for node in _gates(segment)}
    return (node for node in segment.nodes(*(ops or _ACTIVATIONS)) if node.name not in gates)


def _gate(segment: Segment, words: str, op: str, **attrs: float) -> Iterator[Variation]:
    for node in _gates(segment):
        if (node.op, dict(node.attrs)) != (op, attrs):
            yield Variation(node.name, words, segment.with_op(node, op, **attrs))


def hsigmoid_slope(segment: Segment) -> Iterator[Variation]:
    """Keras' old slope."""
    yield from _gate(segment, "the gate is clip(0.2 x + 0.5, 0, 1)", "hard_sigmoid", slope=0.2, offset=0.5)


def hsigmoid_half(segment: Segment) -> Iterator[Variation]:
    """The steep form."""
    yield from _gate(segment, "the gate is clip((x + 1) / 2, 0, 1)", "hard_sigmoid", slope=0.5, offset=0.5)


def hsigmoid_beta0(segment: Segment) -> Iterator[Variation]:
    """The offset dropped."""
    yield from _gate(
        segment, "the gate is clip(x / 6, 0, 1), its offset dropped", "hard_sigmoid", slope=1 / 6, offset=0.0
    )


def gate_sigmoid(segment: Segment) -> Iterator[Variation]:
    """True for hard sigmoid, and the reverse."""
    for node in _gates(segment):
        if node.op == "sigmoid":
            yield Variation(node.name, "the gate is the hard sigmoid", segment.with_op(node, "hard_sigmoid", **_HARD))
        else:
            yield Variation(node.name, "the gate is the true sigmoid", segment.with_op(node, "sigmoid"))


def gate_hswish(segment: Segment) -> Iterator[Variation]:
    """Hard swish as the gate."""
    yield from _gate(segment, "the gate is hard swish", "hard_swish")


def hswish_swish(segment: Segment) -> Iterator[Variation]:
    """True for hard swish."""
    for node in segment.nodes("hard_swish"):
        yield Variation(node.name, "the activation is the true swish", segment.with_op(node, "swish"))


def hswish_nodiv(segment: Segment) -> Iterator[Variation]:
    """Hard swish without its division by six, or with six rounded."""
    for node in segment.nodes("hard_swish"):
        for words, factor in (
            ("the division by 6 is left out", 6.0),
            ("1/6 is rounded to 0.1667", 6 * 0.1667),
            ("1/6 is rounded to 0.16667", 6 * 0.16667),
        ):
            whole = replace(node, name=f"{node.name}.whole")
            scaled = Node(node.name, "affine", (whole.name,), {}, {"slope": factor, "offset": 0.0})
            yield Variation(node.name, words, segment.with_nodes(node, whole, scaled))


def relu6_relu(segment: Segment) -> Iterator[Variation]:
    """ReLU for ReLU6, and the reverse."""
    for node in _plain_activations(segment, "relu", "relu6"):
        other = "relu" if node.op == "relu6" else "relu6"
        yield Variation(node.name, f"the activation is {other} instead of {node.op}", segment.with_op(node, other))


def act_swap(segment: Segment) -> Iterator[Variation]:
    """ReLU where the table says hard swish, and the reverse."""
    for node in _plain_activations(segment, "relu", "relu6", "hard_swish"):
        if node.name.startswith("head.hidden"):
            continue  # that is a bug of its own
        others = ("relu", "relu6") if node.op == "hard_swish" else ("hard_swish",)
        for other in others:
            yield Variation(node.name, f"the activation is {other} instead of {node.op}", segment.with_op(node, other))


def head_hidden_act(segment: Segment) -> Iterator[Variation]:
    """Another activation in the hidden layer of the head."""
    for node in _plain_activations(segment):
        if node.name.startswith("head.hidden"):
            for other in ("relu", "relu6"):
                if other != node.op:
                    words = f"the hidden layer's activation is {other} instead of {node.op}"
                    yield Variation(node.name, words, segment.with_op(node, other))


def act_missing(segment: Segment) -> Iterator[Variation]:
    """No activation."""
    for node in _plain_activations(segment):
        yield Variation(node.name, "the activation is left out", segment.without(node))


def act_on_linear(segment: Segment) -> Iterator[Variation]:
    """An activation on the linear bottleneck, where it is made or where it is read."""
    readers = segment.whole.readers()
    acts = ("relu", "relu6", "hard_swish")
    linear = {
        node.name
        for node in segment.whole.nodes
        if (node.op == "add" or node.name.endswith("project.bn"))
        and not {reader.op for reader in readers[node.name]} & set(_ACTIVATIONS)
    }
    for node in segment.nodes("batch_norm"):
        if node.name in linear:
            for act in acts:
                plain = replace(node, name=f"{node.name}.linear")
                acted = segment.with_nodes(node, plain, Node(node.name, act, (plain.name,)))
                yield Variation(node.name, f"{act} follows the linear bottleneck", acted)
    for node in segment.nodes("pointwise_conv2d"):
        if node.inputs[0] in linear and node.inputs[0] in segment.given:
            for act in acts:
                first = Node(f"{node.name}.acted", act, node.inputs)
                acted = segment.with_nodes(node, first, replace(node, inputs=(first.name,)))
                yield Variation(node.name, f"{act} is put on the linear bottleneck that it reads", acted)


def se_order(segment: Segment) -> Iterator[Variation]:
    """Squeeze-and-excite before the activation instead of after it, and the reverse."""
    by_name = {node.name: node for node in segment.graph.nodes}
    for scale in segment.nodes("scale"):
        act = by_name.get(scale.inputs[0])
        if act is not None and act.op in _ACTIVATIONS and act.inputs[0] not in scale.inputs:
            words = "squeeze-and-excite comes before the activation, not after it"
            yield Variation(scale.name, words, _exchanged(segment, act, scale))
        late = next((node for node in _plain_activations(segment) if node.inputs[0] == scale.name), None)
        if late is not None:
            words = "squeeze-and-excite comes after the activation, not before it"
            yield Variation(late.name, words, _exchanged_back(segment, scale, late))


def _exchanged(segment: Segment, act: Node, scale: Node) -> Segment:
    """x -> act -> squeeze-and-excite becomes x -> squeeze-and-excite -> act."""
    source = act.inputs[0]
    nodes: list[Node] = []
    for node in segment.graph.nodes:
        if node.name == act.name:
            continue
        inputs = tuple(source if name == act.name else name for name in node.inputs)
        if node.name == scale.name:
            raw = replace(node, name=f"{scale.name}.raw", inputs=inputs)
            nodes += [raw, replace(act, name=scale.name, inputs=(raw.name,))]
        else:
            nodes.append(replace(node, inputs=inputs))
    return replace(segment, graph=replace(segment.graph, nodes=tuple(nodes)))


def _exchanged_back(segment: Segment, scale: Node, act: Node) -> Segment:
    """x -> squeeze-and-excite -> act becomes x -> act -> squeeze-and-excite."""
    source = scale.inputs[0]
    first = replace(act, name=f"{act.name}.early", inputs=(source,))
    nodes: list[Node] = []
    placed = source in segment.given
    if placed:
        nodes.append(first)
    for node in segment.graph.nodes:
        inputs = tuple(first.name if name == source and placed else name for name in node.inputs)
        if node.name == act.name:
            continue
        if node.name == scale.name:
            nodes.append(replace(node, name=act.name, inputs=(first.name, node.inputs[1])))
        else:
            nodes.append(replace(node, inputs=inputs))
        if node.name == source:
            nodes.append(first)
            placed = True
    return replace(segment, graph=replace(segment.graph, nodes=tuple(nodes)))


def se_missing(segment: Segment) -> Iterator[Variation]:
    """No squeeze-and-excite."""
    for node in segment.nodes("scale"):
        yield Variation(node.name, "squeeze-and-excite is left out", segment.without(node))


def se_bias(segment: Segment) -> Iterator[Variation]:
    """Biases of the squeeze-and-excite layers left out."""
    biased = [node for node in segment.nodes("pointwise_conv2d") if ".se." in node.name and "b" in node.params]
    for node in biased:
        yield Variation(node.name, "its bias is left out", _unbiased(segment, node))
    if len(biased) > 1:
        both = segment
        for node in biased:
            both = _unbiased(both, node)
        yield Variation(biased[-1].name, "the biases of both squeeze-and-excite layers are left out", both)


def se_width(segment: Segment) -> Iterator[Variation]:
    """Another width of the squeeze layer, which shows as a shape."""
    reduce = next((node for node in segment.nodes("pointwise_conv2d") if node.name.endswith(".se.reduce")), None)
    if reduce is None or segment.end not in (reduce.name, f"{reduce.name}.act"):
        return
    own, expanded = reduce.params["w"]
    block = reduce.name.partition(".")[0]
    first = next(node for node in segment.whole.nodes if node.name.startswith(f"{block}."))
    entry = segment.sizes[first.inputs[0]][0]
    for whose, width in (("expanded channels", expanded), ("block's input", entry)):
        bare, rounded = width // 4, round_width(width / 4, _BY_EIGHT)
        ways = {"": bare} if bare == rounded else {", not rounded": bare, ", rounded to 8": rounded}
        for how, squeezed in ways.items():
            if squeezed != own:
                words = (
                    f"The layer has {squeezed} channels, a quarter of the {whose} ({width}){how}, and should have {own}"
                )
                yield Variation(reduce.name, words, segment, (segment.batch, squeezed, 1, 1))


def bias_missing(segment: Segment) -> Iterator[Variation]:
    """A bias dropped."""
    for node in segment.nodes("conv2d", "depthwise_conv2d", "pointwise_conv2d"):
        if "b" in node.params and ".se." not in node.name:
            yield Variation(node.name, "its bias is left out", _unbiased(segment, node))


def _unbiased(segment: Segment, node: Node) -> Segment:
    return segment.with_params(node, b=np.zeros(node.params["b"]))


def shortcut_missing(segment: Segment) -> Iterator[Variation]:
    """No residual sum."""
    for node in segment.nodes("add"):
        yield Variation(node.name, "the shortcut is left out", segment.without(node, source=1))


def shortcut_late(segment: Segment) -> Iterator[Variation]:
    """An activation before the residual sum."""
    for node in segment.nodes("add"):
        for act in ("relu", "relu6", "hard_swish"):
            acted = Node(f"{node.name}.acted", act, (node.inputs[1],))
            summed = replace(node, inputs=(node.inputs[0], acted.name))
            words = f"{act} is applied before the shortcut is added"
            yield Variation(node.name, words, segment.with_nodes(node, acted, summed))
        for act in ("relu", "relu6"):
            summed = replace(node, name=f"{node.name}.sum")
            words = f"{act} is applied after the shortcut is added"
            yield Variation(node.name, words, segment.with_nodes(node, summed, Node(node.name, act, (summed.name,))))


def shortcut_extra(segment: Segment) -> Iterator[Variation]:
    """A residual sum where the reference has none."""
    sizes, readers = segment.sizes, segment.whole.readers()
    for node in segment.graph.nodes:
        block = node.name.partition(".")[0]
        last = node.name.endswith(("project.bn", "project.act")) and node.name in readers
        if not last or any(reader.name.startswith(f"{block}.") for reader in readers[node.name]):
            continue
        first = next(other for other in segment.whole.nodes if other.name.startswith(f"{block}."))
        entry = first.inputs[0]
        if entry not in segment.available or sizes[entry] != sizes[node.name]:
            continue
        plain = replace(node, name=f"{node.name}.plain")
        summed = Node(node.name, "add", (entry, plain.name))
        wider = replace(segment, given={**segment.given, entry: segment.available[entry]})
        yield Variation(node.name, "a shortcut is added where there is none", wider.with_nodes(node, plain, summed))


def expand_extra(segment: Segment) -> Iterator[Variation]:
    """A block that does not expand runs its activation before the depthwise convolution all the same."""
    model = MODELS.get(segment.whole.recipe.model)
    if model is None or not model.table.bottleneck:
        return
    expanded = {node.name for node in segment.whole.nodes if node.name.endswith(".expand")}
    for node in segment.nodes("depthwise_conv2d"):
        block = node.name.partition(".")[0]
        if f"{block}.expand" in expanded:
            continue
        after = f"{node.name}.act"
        op = next((other.op for other in segment.whole.nodes if other.name == after), "relu")
        acted = Node(f"{node.name}.extra", op, node.inputs)
        words = f"an expansion's {op} is run in a block that has no expansion"
        yield Variation(node.name, words, segment.with_nodes(node, acted, replace(node, inputs=(acted.name,))))


def head_bn(segment: Segment) -> Iterator[Variation]:
    """A batch norm in the head, at its initial statistics."""
    for node in segment.nodes("pointwise_conv2d"):
        if node.name in ("head.hidden", "head.logits"):
            for eps in (1e-3, 1e-5):
                bare = replace(node, name=f"{node.name}.bare")
                attrs: dict[str, Any] = {"slope": float(1 / np.sqrt(1 + eps)), "offset": 0.0}
                normed = Node(node.name, "affine", (bare.name,), {}, attrs)
                words = f"an untrained batch norm (eps {eps:g}) follows"
                yield Variation(node.name, words, segment.with_nodes(node, bare, normed))


def head_act_pool(segment: Segment) -> Iterator[Variation]:
    """The head's activation after the pool."""
    by_name = {node.name: node for node in segment.graph.nodes}
    for pool in segment.nodes("avg_pool2d"):
        act = by_name.get(pool.inputs[0])
        if act is None or act.op not in _ACTIVATIONS or not pool.name.startswith("head."):
            continue
        nodes = [node for node in segment.graph.nodes if node.name != act.name]
        first = replace(pool, name=f"{pool.name}.early", inputs=act.inputs)
        late = replace(act, name=pool.name, inputs=(first.name,))
        exchanged = [made for node in nodes for made in ((first, late) if node.name == pool.name else (node,))]
        moved = replace(segment, graph=replace(segment.graph, nodes=tuple(exchanged)))
        yield Variation(pool.name, "the activation comes after the pool, not before it", moved)
