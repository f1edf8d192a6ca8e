"""Short formats, each told from the others: factors in tf32, weights cut off or rounded; no catch-all."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.language import segments
from refnet.bugs.language.parts import Parts
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings import fast
from refnet.readings.bounds import Precision
from refnet.readings.orders import half_away, rounded, truncated
from refnet.report.comparison import cause_sentence

GRAPH = build("torchvision/mobilenet_v2", width=0.35, size=(48, 64), classes=10)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 1)
TRACE = {SOURCE: X, **NET.trace(X)}
NODE = "block2.expand"


def said(of_input, of_weights):
    """What is said of a port that does something to what one layer multiplies."""
    node = GRAPH[NODE]
    given = {name: of_input(TRACE[name]) for name in node.inputs}
    params = {f"{NODE}.w": of_weights(NET.params[f"{NODE}.w"])}
    y = interpret(Graph(GRAPH.recipe, (node,)), fast, params, given).astype(np.float32)
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), {**TRACE, NODE: y}, precision=Precision.of("float32"))
    return [cause_sentence(cause) for cause in found.causes[NODE]]


def same(y):
    return y


CASES = {
    "tf32 cut off": (
        partial(truncated, store="tf32"),
        partial(truncated, store="tf32"),
        "both factors of each product are cut off to tf32, toward zero",
    ),
    "tf32": (
        partial(rounded, store="tf32"),
        partial(rounded, store="tf32"),
        "both factors of each product are rounded to tf32",
    ),
    "inputs in bfloat16": (
        partial(rounded, store="bfloat16"),
        same,
        "what it reads is rounded to bfloat16, and its weights are not",
    ),
    "inputs in float16, cut off": (
        partial(truncated, store="float16"),
        same,
        "what it reads is cut off to float16, toward zero, and its weights are not",
    ),
    "float16": (same, partial(rounded, store="float16"), "its weights are rounded to float16"),
    "float16 cut off": (same, partial(truncated, store="float16"), "its weights are cut off to float16, toward zero"),
    "bfloat16 cut off": (
        same,
        partial(truncated, store="bfloat16"),
        "its weights are cut off to bfloat16, toward zero",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_rounded_is_said_first(case):
    of_input, of_weights, words = CASES[case]
    assert said(of_input, of_weights)[0] == words


def test_tf32_is_said_of_a_layer_that_reads_what_nobody_dumped():
    (joined,) = GRAPH["block4.expand"].inputs  # a sum of what was dumped
    assert GRAPH[joined].op == "add"
    node = GRAPH["block4.expand"]
    own = {joined: rounded(TRACE[joined], "tf32")}, {f"{node.name}.w": rounded(NET.params[f"{node.name}.w"], "tf32")}
    y = interpret(Graph(GRAPH.recipe, (node,)), fast, own[1], own[0]).astype(np.float32)
    tensors = {name: each for name, each in TRACE.items() if name != joined} | {node.name: y}
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), tensors, precision=Precision.of("float32"))
    first, *others = found.causes[node.name]
    assert cause_sentence(first) == "both factors of each product are rounded to tf32"
    assert "fp16-accumulate" not in {bug for cause in others for bug in cause.ids}


def at_random(y):
    bits = y.astype(np.float32).view(np.uint32) + np.random.default_rng(0).integers(0, 1 << 16, y.shape, np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (partial(rounded, store="bfloat16"), "its values are rounded to bfloat16"),
        (partial(truncated, store="bfloat16"), "its values are cut off to bfloat16, toward zero"),
        (partial(truncated, store="float16"), "its values are cut off to float16, toward zero"),
        (at_random, "its values are rounded to bfloat16 up or down at random"),
    ],
)
def test_how_values_were_rounded_is_said(stored, words):
    tensors = {**TRACE, NODE: stored(TRACE[NODE])}
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), tensors, precision=Precision.of("float32"))
    assert [cause_sentence(cause) for cause in found.causes[NODE]] == [words]


def test_an_error_that_is_too_small_is_no_sum_in_float16():
    noise = np.random.default_rng(0).standard_normal(NET.params[f"{NODE}.w"].shape)
    assert said(same, lambda w: (w * (1 + 3e-6 * noise)).astype(np.float32)) == []


@pytest.mark.parametrize("store", ["float16", "bfloat16"])
def test_cutting_off_goes_toward_zero_and_keeps_what_fits(store):
    y = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    cut_off = truncated(y, store)
    assert (np.abs(cut_off) <= np.abs(y)).all()
    np.testing.assert_array_equal(truncated(cut_off, store), cut_off)
    assert (np.abs(rounded(y, store) - y) <= np.abs(cut_off - y)).all()


@pytest.mark.parametrize("store", ["tf32", "bfloat16"])
def test_a_tie_of_factors_that_goes_away_from_zero_is_the_same_rounding(store):
    move = partial(rounded, store=store)
    away = partial(half_away, store=store)
    w = NET.params[f"{NODE}.w"].copy()
    w[3, 1] = 1 + (2**-11 if store == "tf32" else 2**-8)  # a tie whose even neighbour is 1
    params = {**NET.params, f"{NODE}.w": w}
    golden, (source,) = {SOURCE: X, **Network(GRAPH, params).trace(X)}, GRAPH[NODE].inputs
    assert (away(w) != move(w)).sum() == 1
    own = {f"{NODE}.w": away(w)}, {source: away(golden[source])}
    y = interpret(Graph(GRAPH.recipe, (GRAPH[NODE],)), fast, *own).astype(np.float32)
    found = judge_tensors(Reference.of(GRAPH, params, golden), {**golden, NODE: y}, precision=Precision.of("float32"))
    assert cause_sentence(found.causes[NODE][0]) == f"both factors of each product are rounded to {store}"


def test_tf32_keeps_eleven_bits():
    assert rounded(np.float32([1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11]), "tf32").tolist() == [
        1 + 2**-10,
        1.0,
        1 + 2**-9,
    ]


def half_sums(scale):
    """What a port makes of one layer whose weights are so much larger, if it multiplies and adds in float16."""
    params = {**NET.params, f"{NODE}.w": NET.params[f"{NODE}.w"] * np.float32(scale)}
    golden = {SOURCE: X, **Network(GRAPH, params).trace(X)}
    with np.errstate(over="ignore"):
        golden = {name: y.astype(np.float16) for name, y in golden.items()}
    (source,) = GRAPH[NODE].inputs
    a, w = golden[source], params[f"{NODE}.w"].astype(np.float16)
    total = np.zeros((len(a), len(w), *a.shape[2:]), np.float16)
    with np.errstate(all="ignore"):
        for c in range(w.shape[1]):
            total = total + a[:, c : c + 1] * w[None, :, c, None, None]
    found = judge_tensors(Reference.of(GRAPH, params, golden), {source: a, NODE: total}, partial=True)
    return total, [cause_sentence(cause) for cause in found.causes[NODE]]


def test_a_sum_on_the_way_that_leaves_float16_is_told():
    y, found = half_sums(20000)
    assert not np.isfinite(y).all()
    assert len(found) == 1
    assert "a sum on the way of" in found[0]


def test_a_sum_below_zero_that_leaves_float16_is_told_though_an_activation_makes_zero_of_it():
    """Of the sums on both sides of zero only those above stay infinite behind a ReLU."""
    act = "block2.expand.act"
    graph = GRAPH.replaced(act, replace(GRAPH[act], op="relu"))
    params = {**NET.params, f"{NODE}.w": NET.params[f"{NODE}.w"] * np.float32(20000)}
    golden = {SOURCE: X, **Network(graph, params).trace(X)}
    (source,) = graph[NODE].inputs
    port, x = dict(golden), {source: golden[source]}
    for name in (NODE, "block2.expand.bn", act):
        part = Graph(graph.recipe, (graph[name],))
        with np.errstate(over="ignore"):
            x = {name: interpret(part, fast, params, x).astype(np.float16).astype(np.float32)}
        port[name] = x[name]
    dumped = {source: port[source], act: port[act]}
    assert np.isneginf(port[NODE]).any()
    assert np.isposinf(port[act]).any()
    found = judge_tensors(Reference.of(graph, params, golden), dumped, partial=True)
    assert {cause.mistakes[0].node for cause in found.causes[act]} >= {NODE}


def in_steps(w):
    step = np.abs(w).max() / 127
    return (np.rint(w / step) * step).astype(np.float32)


half, cut = partial(rounded, store="float16"), partial(truncated, store="bfloat16")
FOLDED = {
    "its folded weights and biases are rounded to float16": (half, half),
    "its folded weights are cut off to bfloat16, toward zero": (cut, same),
    "its folded biases are rounded to float16": (same, half),
    "its folded weights are quantised to 8 bits per tensor": (in_steps, same),
}


@pytest.mark.parametrize("words", FOLDED)
@pytest.mark.parametrize("name", ["block2.expand", "block4.depthwise"])
def test_what_is_rounded_once_batch_norm_is_folded_is_said(name, words):
    """Folded in float32, so that some numbers lie on the other side of a tie."""
    conv, norm, act = (GRAPH[f"{name}{suffix}"] for suffix in ("", ".bn", ".act"))
    w, gamma, beta, mean, var = (NET.params[key] for key in (f"{name}.w", *(f"{norm.name}.{s}" for s in norm.params)))
    s = gamma * (np.float32(1) / np.sqrt(var + np.float32(norm.attrs["eps"])))
    of_weights, of_biases = FOLDED[words]
    params = {
        f"{name}.w": of_weights(w * s.reshape(-1, *(1,) * (w.ndim - 1))),
        f"{name}.b": of_biases(beta - mean * s),
    }
    nodes = (replace(conv, params={**conv.params, "b": s.shape}), replace(act, inputs=(name,)))
    y = interpret(Graph(GRAPH.recipe, nodes), fast, params, {conv.inputs[0]: TRACE[conv.inputs[0]]})
    tensors = {key: value for key, value in TRACE.items() if key not in (name, norm.name)}
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), {**tensors, act.name: y.astype(np.float32)})
    assert [cause_sentence(cause) for cause in found.causes[act.name]] == [words]


def test_how_far_a_tensor_may_be_off_is_told_beside_inputs_that_it_is_not_made_of():
    norm, act = "block2.expand.bn", "block2.expand.act"
    reader = next(node.name for node in GRAPH.nodes if node.inputs == (act,))
    segment = segments.cut(Parts(GRAPH), NET.params, reader, {norm: TRACE[norm]}, judged=False)
    beside = replace(segment, given={**segment.given, "head.conv": TRACE["head.conv"]})
    assert np.array_equal(segments.limit_of(beside, act), segments.limit_of(segment, act))


@pytest.mark.parametrize("move", [rounded, half_away])
def test_a_weight_on_a_tie_of_bfloat16_may_have_gone_to_either_side(move):
    w = NET.params[f"{NODE}.w"].copy()
    w[3, 1] = 1 + 2**-8  # whose even neighbour is 1
    params, (source,) = {**NET.params, f"{NODE}.w": w}, GRAPH[NODE].inputs
    golden = {SOURCE: X, **Network(GRAPH, params).trace(X)}
    own = {f"{NODE}.w": move(w, "bfloat16")}, {source: golden[source]}
    y = interpret(Graph(GRAPH.recipe, (GRAPH[NODE],)), fast, *own).astype(np.float32)
    found = judge_tensors(Reference.of(GRAPH, params, golden), {**golden, NODE: y}, precision=Precision.of("float32"))
    assert cause_sentence(found.causes[NODE][0]) == "its weights are rounded to bfloat16"
