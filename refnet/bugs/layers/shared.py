"""Bugs of what a port has written once for layers of two kinds: a function or a flag that both are made with.

They are made at all of their places at once; at one place they are bugs with other names.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Change, Deferred, with_factor, with_op
from refnet.bugs.language.regions import AT_A_TIME
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.activations import ACTS, plain_activations
from refnet.bugs.layers.functions import FUNCTIONS
from refnet.bugs.layers.norms import with_eps_outside
from refnet.bugs.layers.shaping import respread, resulting
from refnet.bugs.numbers.precision import each_moved
from refnet.graph import Node
from refnet.pack.printed import FORMS
from refnet.readings.orders import rounded, truncated

Array = npt.NDArray[Any]

_SIXTHS = (0.167, 0.1667, 0.16667, 0.17)
_STORES = ("float16", "bfloat16")
_SHORT: Mapping[str, tuple[Mapping[str, Any], Callable[[Array], Array]]] = {
    **{store: ({"store": store}, partial(rounded, store=store)) for store in _STORES},
    **{f"{store} truncated": ({"store": store}, partial(truncated, store=store)) for store in _STORES},
    **{f"{form.places} {form.kind}": (form.facts, form.read) for form in FORMS if form.kind == "decimals"},
}


class _Hard(NamedTuple):
    """A hard sigmoid: a line that is cut off at 0 and 1, and what that is multiplied by."""

    formula: str
    slope: float
    offset: float = 0.5
    factor: float = 1.0


# A sixth that is written with few decimals, of relu6(x + 3) or of x.
_ROUNDED = (
    *(_Hard(f"{sixth} relu6(x + 3)", 1 / 6, factor=6 * sixth) for sixth in _SIXTHS),
    *(_Hard(f"clip({sixth} x + 0.5, 0, 1)", sixth) for sixth in _SIXTHS),
)
_SIGMOIDS: Mapping[str, _Hard | None] = {
    "fifth": _Hard("clip(0.2 x + 0.5, 0, 1)", 0.2),
    "half": _Hard("clip((x + 1) / 2, 0, 1)", 0.5),
    "true": None,
    **{each.formula: each for each in _ROUNDED},
}


def hsigmoid_shared(segment: Segment) -> Iterator[Change]:
    """one hard sigmoid, of gates and of hard swish, that is another function.

    Source: https://github.com/tensorflow/models/issues/9303
    """
    gates = [node for node in segment.nodes("hard_sigmoid") if node.name in segment.parts.gates]
    swishes = list(segment.nodes("hard_swish"))
    for form, hard in _SIGMOIDS.items() if gates and swishes else ():
        facts = {} if hard is None else {"formula": hard.formula}
        for node in gates:
            yield Change(node.name, form, facts, nodes={node.name: _sigmoid(node.name, node, hard)})
        for node in swishes:
            gate = f"{node.name}.gate"
            product = Node(node.name, "scale", (*node.inputs, gate))
            yield Change(node.name, form, facts, nodes={node.name: (*_sigmoid(gate, node, hard), product)})


def _sigmoid(name: str, node: Node, hard: _Hard | None) -> tuple[Node, ...]:
    """A sigmoid of what a node reads, a hard or a true one."""
    if hard is None:
        return (Node(name, "sigmoid", node.inputs),)
    line = Node(name, "hard_sigmoid", node.inputs, {}, {"slope": hard.slope, "offset": hard.offset})
    return (line,) if hard.factor == 1 else with_factor(line, hard.factor)


def act_exchanged(segment: Segment) -> Iterator[Change]:
    """ReLU for hard swish, and hard swish for ReLU.

    In all blocks, or in all layers: a flag is read the wrong way round.
    """
    acts = _acts(segment)
    inner = [node for node in acts if segment.parts.block_of(node.name)]
    for form, nodes in (("blocks", inner), ("all", acts)):
        if len({node.op == "hard_swish" for node in nodes}) == 2 and (form == "blocks" or nodes != inner):
            for node in nodes:
                other = "relu" if node.op == "hard_swish" else "hard_swish"
                yield Change(node.name, form, nodes=with_op(node, other))


def act_throughout(segment: Segment) -> Iterator[Change]:
    """one other function for every activation, or for every one of a kind.

    Networks that came later have swish or GELU in all layers.

    Source: https://arxiv.org/abs/1905.11946
    """
    every, layers = [*plain_activations(segment, *ACTS)], _acts(segment)
    of = {op: [node for node in layers if node.op == op] for op in ACTS} | {"": layers}
    if layers != every:
        of |= {f"all {op}": [node for node in every if node.op == op] for op in ACTS} | {"all": every}
    for function, made in FUNCTIONS.items():
        seen = [[node for node in every if _is_plain(node, function)]]  # of which there are bugs of their own
        for kind, nodes in of.items():
            if (other := [node for node in nodes if node.op != function]) not in seen:
                seen.append(other)
                for node in other:
                    yield Change(node.name, f"{function} {kind}".strip(), nodes={node.name: made(node)})


def gate_throughout(segment: Segment) -> Iterator[Change]:
    """all gates that are applied twice, or are a softmax over the channels or a tanh."""
    for op in ("softmax", "tanh"):
        for node in segment.graph.nodes:
            if node.name in segment.parts.gates:
                yield Change(node.name, op, nodes=with_op(node, op))
    for node in segment.nodes("scale"):
        if node.inputs[1] in segment.parts.gates:
            once = Node(f"{node.name}.once", "scale", node.inputs)
            again = Node(node.name, "scale", (once.name, node.inputs[1]))
            yield Change(node.name, "twice", nodes={node.name: (once, again)})


def bn_own_outside(segment: Segment) -> Iterator[Change]:
    """eps outside the root, where layers have several.

    sqrt(var) + eps divides instead of sqrt(var + eps), each layer's own eps.

    Source: https://github.com/pjreddie/darknet/blob/master/src/blas.c
    """
    units = [unit for unit in segment.units if unit.norm is not None]
    if len({unit.eps for unit in units}) > 1:
        for unit in units:
            yield with_eps_outside(unit, "", unit.eps)


def weights_rounded(segment: Segment) -> Iterator[Change]:
    """weights in a short format, where biases and batch norm are not.

    As a port has them that keeps vectors in float32: those of all layers, some of which have biases.
    """
    units = [unit for unit in segment.units if "w" in unit]
    for form, (facts, move) in _SHORT.items() if any("b" in unit for unit in units) else ():
        for unit in units:
            names = {"w": unit.names["w"]}
            params = Deferred(names.values(), partial(each_moved, unit, names, move))
            yield Change(unit.name, form, facts, params=params)


def outputs_left(segment: Segment) -> Iterator[Change]:
    """channels beyond the last multiple of a number that are left out.

    A loop takes so many channels at a time, and what is left of them holds 0: what a convolution makes, or what it and
    the batch norm behind it make in one.

    Source: https://github.com/Tencent/ncnn/issues/1014
    """
    units = [unit for unit in segment.units if "w" in unit]
    for number, fused in itertools.product(AT_A_TIME, (False, True)):
        for unit in units:
            channels = len(unit["w"])
            slots = [slot for slot in ("w", "b", *(("gamma", "beta") if fused else ())) if slot in unit]
            if channels > number and channels % number and (unit.norm is not None or not fused):
                names, left = {slot: unit.names[slot] for slot in slots}, slice(-(channels % number), None)
                params = Deferred(names.values(), partial(without_outputs, unit, names, left))
                yield Change(unit.name, f"{number}{' fused' * fused}", {"multiple": number}, params=params)


def without_outputs(unit: UnitArrays, names: Mapping[str, str], channels: slice) -> Mapping[str, Array]:
    """Some arrays of a layer, by name, with 0 in some channels of its result; `names` has them by slot."""
    made = {name: unit[slot].copy() for slot, name in names.items()}
    for array in made.values():
        array[channels] = 0
    return made


def output_stride(segment: Segment) -> Iterator[Change]:
    """a network for dense prediction built as one for classes, or the reverse.

    Of the latter the last stride is left out, and all kernels from there on are spread by it.

    Source: https://github.com/pytorch/vision/blob/main/torchvision/models/mobilenetv3.py
    """
    every = [node for node in segment.nodes("depthwise_conv2d") if node.inputs[0] in segment.sizes]
    dilated = [node for node in every if node.attrs["dilation"] != (1, 1)]
    strided = [node for node in every if node.attrs["stride"] != (1, 1)]
    for form, first in (("classes", dilated[:1]), ("dense", strided[-1:] if not dilated else [])):
        for node in first:
            yield from _restrided(segment, form, node, every[every.index(node) :])


def _restrided(segment: Segment, form: str, first: Node, later: list[Node]) -> Iterator[Change]:
    """A stride for a dilation at the first of some kernels, or the reverse, and no dilation for one at the others."""
    stride, step = (first.attrs[each] for each in ("stride", "dilation"))
    facts = {"layer": first.name, "rate": max(stride + step)}
    for node in later:
        own = respread(node, step if node is first else node.attrs["stride"], stride)
        made = resulting(segment, own) if node is first else ({}, None)
        if made is None or made[1] is not None:
            return
        yield Change(node.name, form, facts, nodes={**made[0], node.name: (own,)})


def _is_plain(node: Node, function: str) -> bool:
    """Whether a function in an activation's place is a bug at one place too."""
    if function == "swish":
        return node.op == "hard_swish"
    return function in ACTS and node.op != function


def _acts(segment: Segment) -> list[Node]:
    """The activations of layers, but for those inside squeeze-and-excite."""
    acts = plain_activations(segment, *ACTS)
    return [node for node in acts if _part(segment, node) != "squeeze"]


def _part(segment: Segment, node: Node) -> str:
    unit = segment.parts.unit(node.name)
    return "" if unit is None else segment.parts.part_of(unit.conv.name)
