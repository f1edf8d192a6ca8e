"""Bugs that few ports have: other formulas of batch norm, parts of kernels, biases twice, weights in fixed point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language import segments
from refnet.bugs.language.parts import Parts
from refnet.bugs.layers.padding import bordered
from refnet.bugs.systematic import Scope
from refnet.graph import SOURCE, Graph, Node, interpret
from refnet.judge.measures.yardstick import judge_cause
from refnet.judge.tensors import Reference, judge_tensors
from refnet.ops import CONVOLUTIONS
from refnet.readings import fast
from refnet.readings.bounds import Precision
from refnet.readings.shapes import shapes
from refnet.report.comparison import cause_sentence
from refnet.report.mistakes.bugs import of_port

GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(64, 96), classes=10)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 1)
TRACE = {SOURCE: X, **NET.trace(X)}
NORM, LARGE, SE = "block2.expand.bn", "block5.depthwise", "block5.se.reduce"


def said(node, graph=GRAPH, **slots):
    """What is said of a port that has other arrays in one node, or another graph."""
    params = {**NET.params, **{f"{node}.{slot}": np.asarray(y, np.float32) for slot, y in slots.items()}}
    found = judge_tensors(
        Reference.of(GRAPH, NET.params, TRACE),
        {SOURCE: X, **Network(graph, params).trace(X)},
        precision=Precision.of("float32"),
    )
    assert list(found.causes) == [node]
    return [cause_sentence(cause) for cause in found.causes[node]]


def held(node, slot):
    return NET.params[f"{node}.{slot}"]


def cut(w, part):
    kept = np.zeros_like(w)
    kept[..., part, part] = w[..., part, part]
    return kept


def stepped(w, low, step):
    return np.rint((w - low) / step) * step + low


W = held("block5.expand", "w").astype(np.float64)
BATCH = TRACE[GRAPH[NORM].inputs[0]]
ROOT = np.sqrt(held(NORM, "var") + GRAPH[NORM].attrs["eps"])
CASES = {
    "beta in reverse": (NORM, {"beta": held(NORM, "beta")[::-1]}, "beta is in reverse order of channels"),
    "variances one on": (NORM, {"var": np.roll(held(NORM, "var"), 1)}, "variance of each channel is in the next"),
    "gamma one back": (NORM, {"gamma": np.roll(held(NORM, "gamma"), -1)}, "gamma of each channel is in the place of"),
    "a bias in reverse": (SE, {"b": held(SE, "b")[::-1]}, "bias is in reverse order of channels"),
    "beta by gamma": (NORM, {"beta": held(NORM, "beta") * held(NORM, "gamma")}, "beta is multiplied by gamma"),
    "beta twice": (NORM, {"beta": 2 * held(NORM, "beta")}, "the folded bias is 2 beta - s mean, with s = gamma"),
    "beta by the root": (NORM, {"beta": held(NORM, "beta") / ROOT}, "beta is divided by the root"),
    "mean of the batch": (NORM, {"mean": BATCH.mean((0, 2, 3))}, "the mean is that of the batch"),
    "variance of the batch": (NORM, {"var": BATCH.var((0, 2, 3))}, "the variance is that of the batch"),
    "both scaled": (
        NORM,
        {slot: held(NORM, slot) * np.float32(999.982) for slot in ("mean", "var")},
        "running means and variances are 999.982 times",
    ),
    "mean scaled": (NORM, {"mean": held(NORM, "mean") * np.float32(3)}, "the running mean is 3 times"),
    "variance scaled": (NORM, {"var": held(NORM, "var") * np.float32(0.9)}, "the running variance is 0.9 times"),
    "variance no less": (
        NORM,
        {"var": np.maximum(held(NORM, "var"), np.float32(1.1))},
        "variances below 1.1 are taken for 1.1",
    ),
    "variance no more": (
        NORM,
        {"var": np.minimum(held(NORM, "var"), np.float32(0.9))},
        "variances above 0.9 are taken",
    ),
    "middle": (LARGE, {"w": cut(held(LARGE, "w"), slice(1, 4))}, "only the middle 3 x 3 counts"),
    "corner": (LARGE, {"w": cut(held(LARGE, "w"), slice(0, 3))}, "only the first 3 rows and columns count"),
    "bias twice": (SE, {"b": 2 * held(SE, "b")}, "its bias is added twice"),
    "fixed point": (
        "block5.expand",
        {"w": np.rint(held("block5.expand", "w") * 64) / 64},
        "its weights are in fixed point, multiples of 1 / 2^6",
    ),
    "fixed point, rounded down": (
        SE,
        {slot: np.floor(held(SE, slot) * 1024) / 1024 for slot in ("w", "b")},
        "its weights and biases are in fixed point, multiples of 1 / 2^10, rounded down",
    ),
    "four bits": (
        "block5.expand",
        {"w": stepped(W, 0, np.abs(W).max() / 7)},
        "its weights are quantised to 4 bits per tensor",
    ),
    "eight bits between the ends": (
        "block5.expand",
        {"w": stepped(W, W.min(), np.ptp(W) / 255)},
        "its weights are quantised to 8 bits per tensor, from -",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_named(case):
    node, slots, words = CASES[case]
    found = said(node, **slots)
    assert words in found[0]


@pytest.mark.parametrize(("move", "manner"), [(np.floor, "rounded down"), (np.rint, "rounded")])
def test_folded_weights_in_fixed_point_are_named(move, manner):
    net, normed = NET.fold(), {unit.conv.name: unit.norm.name for unit in GRAPH.units() if unit.norm is not None}
    params = {name: (move(y * 2.0**12) / 2.0**12).astype(np.float32) for name, y in net.params.items()}
    made = {normed.get(name, name): y for name, y in Network(net.graph, params).trace(X).items()}
    dumped = {name: made[name] for name in GRAPH.fused() if name.startswith(("stem", "block1.", "block2.", "block3."))}
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), {SOURCE: X, **dumped}, partial=True)
    said = {cause_sentence(found.causes[name][0]) for name in found.wrong() if ".se." not in name}
    assert said == {f"its folded weights and biases are in fixed point, multiples of 1 / 2^12, {manner}"}


@pytest.mark.parametrize(("first", "end"), [(0, 5), (13, 24), (27, 32)])
def test_a_run_of_channels_that_a_convolution_never_makes_is_named(first, end):
    """One of them is 0 in the reference, too; and what a kernel makes of them is another number at the border."""
    seen = "block4.depthwise.act"
    right = {name: y.copy() for name, y in NET.params.items()}
    right["block4.expand.bn.beta"][first + 2] = -1000
    wrong = {name: y.copy() for name, y in right.items()}
    wrong["block4.expand.w"][first:end] = 0
    golden = {SOURCE: X, **Network(GRAPH, right).trace(X)}
    dumped = {seen: Network(GRAPH, wrong).trace(X)[seen]}
    found = judge_tensors(Reference.of(GRAPH, right, golden), dumped, partial=True)
    (cause, *_) = found.causes[seen]
    assert of_port(cause.mistakes[0]) == f"channels {first} to {end - 1} of 32 are never made: their sums are 0 there"
    assert cause.mistakes[0].node == "block4.expand"


def test_squeeze_and_excite_that_pools_another_tensor_is_named():
    pool = GRAPH["block5.se.pool"]
    graph = GRAPH.replaced(pool.name, replace(pool, inputs=("block5.expand.act",)))
    assert said(pool.name, graph) == ["block5.expand.act is pooled instead of block5.depthwise.act"]


def pooled(y, how):
    N, C, H, W = y.shape
    return getattr(y.reshape(N, C, H // 2, 2, W // 2, 2), how)(axis=(3, 5))


@pytest.mark.parametrize(
    ("how", "place"), [("mean", "behind it"), ("mean", "behind its activation"), ("max", "before it")]
)
def test_a_pool_in_a_strides_place_is_named(how, place):
    conv, norm, act = (GRAPH[f"block2.depthwise{part}"] for part in ("", ".bn", ".act"))
    full = replace(conv, attrs={**conv.attrs, "stride": (1, 1)})
    x = TRACE[conv.inputs[0]]
    y = interpret(
        Graph(GRAPH.recipe, (full,)), fast, NET.params, {conv.inputs[0]: pooled(x, how) if "before" in place else x}
    )
    y = pooled(y, how) if place == "behind it" else y
    y = interpret(Graph(GRAPH.recipe, (norm, act)), fast, NET.params, {conv.name: y})
    y = pooled(y, how) if place == "behind its activation" else y
    tensors = {name: each for name, each in TRACE.items() if name not in (conv.name, norm.name)}
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), {**tensors, act.name: y.astype(np.float32)})
    words = {"mean": "a mean", "max": "the largest value"}[how]
    assert cause_sentence(found.causes[act.name][0]) == f"{words} of 2 x 2 points {place} takes the stride's place"


@pytest.mark.parametrize("cut", [False, True])
def test_a_pool_in_a_strides_place_is_named_on_a_map_of_an_odd_side(cut):
    """Of 18 x 25 points; the last column is averaged by itself, or left out, so that what is behind is smaller."""
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(72, 100), classes=10)
    x, conv = probe(graph, 1), graph["block2.depthwise"]
    golden, made = {SOURCE: x, **Network(graph, NET.params).trace(x)}, {SOURCE: x}
    for node in graph.nodes:
        other = replace(node, attrs={**node.attrs, "stride": (1, 1)}) if node is conv else node
        other = (
            replace(node, attrs={**node.attrs, "kernel": made[node.inputs[0]].shape[2:]})
            if "pool" in node.name
            else other
        )
        y = interpret(Graph(graph.recipe, (other,)), fast, NET.params, {name: made[name] for name in node.inputs})
        if node is conv:
            y = y[..., :-1] if cut else np.concatenate([y, y[..., -1:]], axis=3)
            y = pooled(y, "mean")
        made[node.name] = y.astype(np.float32)
    found = judge_tensors(Reference.of(graph, NET.params, golden), made)
    assert found.wrong() == [conv.name]
    words = "a mean of 2 x 2 points behind it takes the stride's place"
    words += ", and leaves out the last line of an odd side" if cut else ""
    assert cause_sentence(found.causes[conv.name][0]) == words


@pytest.mark.parametrize(
    ("axis", "mode", "words"),
    [("rows", "edge", "of mode edge"), ("columns", "wrap", "circular"), ("rows", "symmetric", "of mode symmetric")],
)
def test_a_border_of_one_axis_alone_is_named(axis, mode, words):
    node = GRAPH[LARGE]
    rows, columns = node.attrs["pad"]
    along = {"rows": (rows, (0, 0)), "columns": ((0, 0), columns)}
    border = Node("border", "pad", node.inputs, {}, {"pad": along.pop(axis), "mode": mode, "value": 0.0})
    (rest,) = along.values()
    conv = replace(node, inputs=("border",), attrs={**node.attrs, "pad": rest})
    index = GRAPH.nodes.index(node)
    port = replace(GRAPH, nodes=(*GRAPH.nodes[:index], border, conv, *GRAPH.nodes[index + 1 :]))
    assert f"the padding of {axis} is {words} instead of zeros" in said(LARGE, port)[0]


def test_a_border_that_mirrors_the_edge_too_is_named():
    port = GRAPH.rewritten({LARGE: bordered(GRAPH[LARGE], GRAPH[LARGE].attrs["pad"], "symmetric", 0.0)})
    assert said(LARGE, port) == ["the padding mirrors the map with its edge (mode symmetric) instead of zeros"]


def test_gates_of_images_in_reverse_order_are_named():
    x = np.concatenate([X, X[:, :, ::-1]])
    trace = {SOURCE: x, **NET.trace(x)}
    (source, gate) = GRAPH["block4.se.scale"].inputs
    found = judge_tensors(
        Reference.of(GRAPH, NET.params, trace), {**trace, "block4.se.scale": trace[source] * trace[gate][::-1]}
    )
    words = cause_sentence(found.causes["block4.se.scale"][0])
    assert words == "the gates of the images are in reverse order: each scales another image"


PARTS = {
    "takes in 3 x 2 points in the first corner, not the whole map": lambda x: x[:, :, :3, :2],
    "takes in 2 x 2 points from [1, 4] on, not the whole map": lambda x: x[:, :, 1:3, 4:6],
    "leaves out the last row of the map": lambda x: x[:, :, :-1],
    "leaves out the last row and the last column of the map": lambda x: x[:, :, :-1, :-1],
}


@pytest.mark.parametrize("words", PARTS)
def test_a_pool_of_a_part_of_the_map_is_named(words):
    pool = GRAPH["block4.se.pool"]
    y = PARTS[words](TRACE[pool.inputs[0]]).mean(axis=(2, 3), keepdims=True)
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), {**TRACE, pool.name: y})
    assert [cause_sentence(cause) for cause in found.causes[pool.name]] == [f"the pool {words}"]


def test_a_pool_of_a_part_of_the_map_is_held_to_the_spread_of_an_embedding_alone():
    y = TRACE["head.act"][..., :-1].mean(axis=(2, 3), keepdims=True)
    segment = segments.cut(Parts(GRAPH), NET.params, "head.pool", {SOURCE: X, "head.pool": y})
    (change,) = (each for each in BUGS["pool-part"].changes(segment) if each.node == "head.pool")
    judgement = judge_cause(segment.changed(change), Precision.of("float32"), "spread", lambda: None)
    assert judgement.holds


OTHER = {
    "half of the map's mean and half of its largest value": lambda x: (x.mean((2, 3)) + x.max((2, 3))) / 2,
    "the map's largest value is added to its mean": lambda x: x.mean((2, 3)) + x.max((2, 3)),
    "the generalised mean of cubes": lambda x: np.cbrt((np.maximum(x, 1e-6) ** 3).mean((2, 3))),
}


@pytest.mark.parametrize("words", OTHER)
def test_a_mean_that_is_mixed_is_named(words):
    pool = GRAPH["block4.se.pool"]
    y = OTHER[words](TRACE[pool.inputs[0]])[:, :, None, None].astype(np.float32)
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), {**TRACE, pool.name: y})
    assert words in cause_sentence(found.causes[pool.name][0])


def test_a_pool_over_the_images_is_no_tensor_that_was_never_written():
    x = np.concatenate([X, X[:, :, ::-1]])
    trace = {SOURCE: x, **NET.trace(x)}
    pool = GRAPH["block4.se.pool"]
    y = np.broadcast_to(trace[pool.inputs[0]].mean(axis=(0, 2, 3), keepdims=True), trace[pool.name].shape)
    found = judge_tensors(Reference.of(GRAPH, NET.params, trace), {**trace, pool.name: np.ascontiguousarray(y)})
    assert cause_sentence(found.causes[pool.name][0]) == "the mean is taken over all images, not over each"


def test_batch_norm_that_is_folded_and_run_is_one_pattern():
    again = {node.name: replace(node, name=f"{node.name}.again") for node in GRAPH.nodes if node.op == "batch_norm"}
    nodes = {
        name: (replace(twice, name=f"{name}.once"), replace(twice, name=name, inputs=(f"{name}.once",)))
        for name, twice in again.items()
        if name.startswith(("block8.", "block9."))
    }
    params = {f"{name}.once.{slot}": held(name, slot) for name in nodes for slot in GRAPH[name].params}
    fused = [node.name for node in GRAPH.nodes if node.op not in CONVOLUTIONS]
    made = Network(GRAPH.rewritten(nodes), {**NET.params, **params}).trace(X)
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), {name: made[name] for name in fused}, partial=True)
    (pattern,) = found.patterns
    assert (pattern.mistake.bug, pattern.mistake.form, pattern.nodes) == ("bn-twice", "again", tuple(nodes))


def test_batch_norm_behind_convolutions_whose_weights_hold_it_is_one_pattern():
    acts = ["block8.expand.act", "block8.depthwise.act", "block9.depthwise.act"]
    nodes, params = {}, {}
    for name in acts:
        act = GRAPH[name]
        again = replace(GRAPH[act.inputs[0]], name=f"{name}.again", inputs=act.inputs)
        nodes[name] = (again, replace(act, inputs=(again.name,)))
        params |= {f"{again.name}.{slot}": held(act.inputs[0], slot) for slot in again.params}
    made = Network(GRAPH.rewritten(nodes), {**NET.params, **params}).trace(X)
    dumped = [node.name for node in GRAPH.nodes if node.op not in CONVOLUTIONS]
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), {name: made[name] for name in dumped}, partial=True)
    (pattern,) = found.patterns
    assert (pattern.mistake.bug, pattern.mistake.form, pattern.nodes) == ("bn-twice", "between", tuple(acts))
    assert "is normalised already (folded weights)" in of_port(pattern.mistake)


def test_terms_of_a_folded_bias_are_told_of_all_layers_of_a_kind():
    """As a runtime that fuses dumps them."""
    norms = [f"{node.name}.bn" for node in GRAPH.nodes if node.op == "depthwise_conv2d"]
    made = Network(GRAPH, {**NET.params, **{f"{name}.beta": 3 * held(name, "beta") for name in norms}}).trace(X)
    fused = {node.name: made[node.name] for node in GRAPH.nodes if node.op not in (*CONVOLUTIONS, "batch_norm")}
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), fused, partial=True)
    (pattern,) = found.patterns
    assert (pattern.mistake.bug, pattern.mistake.facts["terms"]) == ("bn-bias-terms", (3, 1, 0))
    assert (pattern.scope, pattern.of, pattern.nodes) == (Scope("layers", "depthwise_conv2d"), len(norms), tuple(norms))


def test_a_bias_of_its_own_that_alone_is_left_of_a_fold_is_told():
    conv = GRAPH["block5.depthwise"]
    graph = GRAPH.replaced(conv.name, replace(conv, params={**conv.params, "b": conv.params["w"][:1]}))
    params = {**NET.params, f"{conv.name}.b": np.cos(np.arange(conv.params["w"][0])).astype(np.float32)}
    lost = {f"{conv.name}.bn.{slot}": np.zeros_like(params[f"{conv.name}.bn.{slot}"]) for slot in ("beta", "mean")}
    made = Network(graph, {**params, **lost}).trace(X)
    fused = {name: y for name, y in made.items() if name not in (conv.name, f"{conv.name}.bn")}
    golden = {SOURCE: X, **Network(graph, params).trace(X)}
    found = judge_tensors(Reference.of(graph, params, golden), fused, partial=True)
    words = "the folded bias is s b, with s = gamma / sqrt(var + eps)"
    assert cause_sentence(found.causes[f"{conv.name}.act"][0]) == words


def test_beta_that_is_added_twice_is_named_where_the_block_alone_is_dumped():
    norm, end = "block2.depthwise.bn", "block2.project.bn"
    params = {**NET.params, f"{norm}.beta": 2 * held(norm, "beta")}
    made = {SOURCE: X, **Network(GRAPH, params).trace(X)}
    tensors = {name: made[name] for name in (SOURCE, "block1.project.bn", end)}
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), tensors, partial=True)
    words = "the folded bias is 2 beta - s mean, with s = gamma / sqrt(var + eps)"
    assert cause_sentence(found.causes[end][0]) == words


def test_statistics_scaled_everywhere_are_one_pattern():
    params = {n: y * np.float32(999.982) if n.endswith((".mean", ".var")) else y for n, y in NET.params.items()}
    tensors = {SOURCE: X, **Network(GRAPH, params).trace(X)}
    found = judge_tensors(Reference.of(GRAPH, NET.params, TRACE), tensors)
    (pattern,) = found.patterns
    assert pattern.mistake.bug == "bn-statistics-scaled"
    assert len(pattern.nodes) == sum(node.op == "batch_norm" for node in GRAPH.nodes)


@pytest.mark.parametrize(
    ("size", "modes"), [(96, {"edge", "reflect", "symmetric", "wrap"}), (64, {"edge", "symmetric", "wrap"})]
)
def test_a_map_no_larger_than_its_border_is_mirrored_with_its_edge_or_goes_round(size, modes):
    """Of 2 x 2 points with two more on each side: to mirror them without the edge takes three."""
    graph = build("torchvision/mnasnet0_5", size=size, classes=10)
    source = graph["block16.depthwise"].inputs[0]
    side = shapes(graph)[source]
    segment = segments.cut(
        Parts(graph), random_params(graph), "block16.depthwise", {source: np.ones((1, *side))}, judged=False
    )
    forms = {change.form for change in BUGS["pad-value"].changes(segment)}
    assert forms & {"edge", "reflect", "symmetric", "wrap"} == modes


def test_a_bias_that_is_left_out_is_under_no_other_scale():
    assert said(SE, b=np.zeros(GRAPH[SE].params["b"])) == ["its bias is left out"]
