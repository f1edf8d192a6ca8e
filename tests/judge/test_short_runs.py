"""Short formats inside a network of which few tensors are there: roundings fall elsewhere than in refnet's own run."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.short_runs import _met_by_chance, lone_short_runs, short_runs
from refnet.judge.causes.ways import Ways
from refnet.judge.reference import Reference
from refnet.judge.tensors import judge_tensors
from refnet.ops import ACTIVATIONS, CONVOLUTIONS, OPS
from refnet.readings.bounds import Precision
from refnet.readings.orders import ORDERS, at_random, rounded, truncated

GRAPH = build("torchvision/mobilenet_v2", width=0.35, size=(48, 48), classes=100)
PARAMS, X = random_params(GRAPH), probe(GRAPH, 1)
REFERENCE = Reference.of(GRAPH, PARAMS, {SOURCE: X, **Network(GRAPH, PARAMS).trace(X)})
LOGITS = "head.logits"
WIDE = [op for op in CONVOLUTIONS if op != "depthwise_conv2d"]


def port(move, factors=(), stores=(), weights=()):
    """The logits of a port; see `tensors_of_port`."""
    return tensors_of_port(move, factors, stores, weights)[LOGITS]


def tensors_of_port(move, factors=(), stores=(), weights=()):
    """A port with sums in another order, which rounds what operations, or nodes, multiply, make or hold."""
    made = {SOURCE: X}
    for node in GRAPH.leading_to(LOGITS).nodes:
        called = {node.op, node.name}
        slots = {slot: PARAMS[f"{node.name}.{slot}"] for slot in node.params}
        is_short, is_stored = not called.isdisjoint(factors), not called.isdisjoint(stores)
        held = is_short or not called.isdisjoint(weights)
        slots = {slot: move(y) if slot == "w" and held else y for slot, y in slots.items()}
        read = [move(made[name]) if is_short else made[name] for name in node.inputs]
        own = [slots.get(slot) for slot in OPS[node.op].params]
        y = getattr(ORDERS["pairwise"], node.op)(*read, *own, **node.attrs)
        made[node.name] = move(y) if is_stored and node.name != LOGITS else y
    return made


def told(logits, declared="float32"):
    """What short formats are said to be in it, and where."""
    segment = cut(Parts(GRAPH), PARAMS, LOGITS, {SOURCE: X, LOGITS: logits})
    causes = short_runs(Ways(segment, SearchBudget(), long=True), Precision.of(declared))
    return [(mistake.bug, mistake.form, extent.scope.kind) for cause in causes for mistake, extent in cause.parts]


TF32 = partial(rounded, store="tf32")
CUT = partial(truncated, store="bfloat16")


@pytest.mark.parametrize(
    ("port_of", "words"),
    [
        (partial(port, TF32, factors=CONVOLUTIONS), [("factors-tf32", "tf32", "all")]),
        (partial(port, CUT, factors=WIDE), [("factors-tf32", "bfloat16 truncated", "wide")]),
        (partial(port, CUT, stores=ACTIVATIONS), [("fp16-storage", "bfloat16 truncated", "activations")]),
        (
            partial(port, CUT, stores=OPS, weights=CONVOLUTIONS),
            [("fp16-storage", "bfloat16 truncated", "all"), ("weights-fp16", "bfloat16 truncated alone", "all")],
        ),
    ],
    ids=["factors", "factors but of depthwise layers", "activations", "stores and weights"],
)
def test_a_short_format_inside_a_network_is_told_from_its_logits(port_of, words):
    assert told(port_of()) == words


def test_what_is_declared_is_no_cause():
    assert told(port(TF32, factors=CONVOLUTIONS), "tf32") == []


def test_roundings_that_fall_at_random_are_told_from_none():
    move = partial(at_random, store="tf32", drawn=np.random.default_rng(1))
    assert told(port(move, factors=CONVOLUTIONS)) == []


def test_few_directions_are_met_by_chance_unless_little_is_left_even_of_those_in_which_roundings_hardly_move():
    """Six effects, all mostly along one axis, and by a tenth of that along one more each."""
    effects = [np.concatenate([[1.0], 0.1 * row]) for row in np.eye(6)]
    assert _met_by_chance(effects, 0.3) > 0.9
    # In each of five directions effects reach 0.1 / sqrt(6 * 1.01) of their size.
    assert _met_by_chance(effects, 0.001) == pytest.approx((0.001 * np.sqrt(6 * 1.01) / 0.1) ** 5, rel=1e-6)


def test_what_makes_all_numbers_a_little_smaller_is_not_taken_for_numbers_that_are_cut_off():
    params = {name: y * np.float32(1 - 2.0**-9) if name.endswith(".gamma") else y for name, y in PARAMS.items()}
    assert told(cut(Parts(GRAPH), params, LOGITS, {SOURCE: X}, judged=False).result.astype(np.float32)) == []


def told_of_one(logits):
    """What is said of one node's numbers in a short format."""
    segment = cut(Parts(GRAPH), PARAMS, LOGITS, {SOURCE: X, LOGITS: logits})
    causes = lone_short_runs(Ways(segment, SearchBudget(), long=True), Precision.of("float32"))
    return [(mistake.bug, mistake.form, mistake.node) for cause in causes for mistake, _ in cause.parts]


@pytest.mark.parametrize(
    ("move", "rounded_there", "node", "words"),
    [
        (TF32, "factors", "head.conv", ("factors-tf32", "tf32")),
        (CUT, "factors", "block9.depthwise", ("factors-tf32", "bfloat16 truncated")),
        (partial(rounded, store="float16"), "stores", "block8.add", ("fp16-storage", "float16")),
    ],
    ids=["factors", "factors that are cut off", "a store"],
)
def test_a_short_format_at_one_node_is_told_from_the_logits(move, rounded_there, node, words):
    assert told_of_one(port(move, **{rounded_there: [node]})) == [(*words, node)]


def test_short_formats_at_two_nodes_are_not_said_to_be_at_one():
    assert told_of_one(port(TF32, factors=["head.conv", "block9.project"])) == []


def test_roundings_at_random_at_one_node_are_in_no_format():
    move = partial(at_random, store="tf32", drawn=np.random.default_rng(1))
    assert told_of_one(port(move, factors=["head.conv"])) == []


FEW = ("block1.project.bn", "block2.project.bn", "block3.project.bn", "block3.add", "block4.project")


def explained(made, names=FEW):
    """What is said of some tensors, between which there are several layers, by bug and form."""
    found = judge_tensors(REFERENCE, {SOURCE: X, **{name: made[name] for name in names}}, partial=True)
    first = [found.causes[name][0] if found.causes.get(name) else None for name in found.wrong()]
    return {(each.mistakes[0].bug, each.mistakes[0].form) if each else None for each in first}


@pytest.mark.parametrize("factors", [CONVOLUTIONS, ("pointwise_conv2d",)])
def test_factors_in_a_short_format_are_told_in_several_layers_of_which_the_inputs_are_not_dumped(factors):
    assert explained(tensors_of_port(TF32, factors=factors)) == {("factors-tf32", "tf32")}


def test_factors_of_one_layer_that_a_layer_before_makes_are_told_without_that_ones_tensor():
    """The last digits of a mean over a map tell to which side it is rounded where it is multiplied."""
    move = partial(rounded, store="bfloat16")
    made = tensors_of_port(move)
    factors = move(made["head.pool"]), move(PARAMS[f"{LOGITS}.w"])
    made[LOGITS] = ORDERS["pairwise"].pointwise_conv2d(*factors, PARAMS[f"{LOGITS}.b"])
    assert explained(made, ("head.act", LOGITS)) == {("factors-tf32", "bfloat16")}


def test_factors_that_are_rounded_at_random_are_said_to_be_in_no_format():
    move = partial(at_random, store="tf32", drawn=np.random.default_rng(1))
    assert explained(tensors_of_port(move, factors=CONVOLUTIONS)) == {None}
