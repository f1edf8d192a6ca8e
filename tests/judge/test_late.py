"""What few ports do is tried where nothing else fits, and is named: curves, joins, numbers, slips."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from few_ports import GRAPH, PARAMS, X, is_short, judged, named, ran

from refnet import build, probe, random_params
from refnet.bugs.catalogue import BUGS, LATE, REPLAYED
from refnet.bugs.catalogue import SHARED as SHARED_BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.bugs.layers.curves import _curves
from refnet.bugs.systematic import ALL, Scope
from refnet.graph import SOURCE, Graph, interpret, walk
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.diagnose import Diagnosis
from refnet.judge.causes.ways import Ways
from refnet.judge.tensors import Reference, judge_tensors
from refnet.ops import CONVOLUTIONS
from refnet.readings import fast
from refnet.readings.precision import Precision
from refnet.report.mistakes.bugs import of_port

TRACED = {SOURCE: X, **{node.name: y for node, y in walk(GRAPH, fast, PARAMS, {SOURCE: X})}}


def curved(op, f):
    return lambda node, made: f(made[node.inputs[0]]) if node.op == op and is_short(node) else None


@pytest.mark.parametrize(
    ("op", "f", "words"),
    [
        ("relu", lambda x: np.where(x < 0, 0.1 * x, x), "lets 0.1 x through below zero"),
        ("relu", lambda x: x.clip(0, 127 / 64), "the activation is cut off at 0 and 1.984375"),
        ("hard_swish", lambda x: (x + 3) * (x + 3).clip(0, 6) / 6, "(x + 3) * relu6(x + 3) / 6"),
        (
            "hard_swish",
            lambda x: x / (1 + np.exp(-1.702 * x.astype(float))),
            "x sigmoid(1.702 x), which stands for GELU",
        ),
        ("hard_sigmoid", lambda x: 0.5 + 0.5 * x / (1 + abs(x)), "0.5 + 0.5 x / (1 + |x|)"),
        ("hard_sigmoid", lambda x: (0.15 * x + 0.5).clip(0, 1), "clip(0.15 x + 0.5, 0, 1)"),
        ("hard_sigmoid", lambda x: (x.clip(0, 6) + 3) / 6, "the activation is (relu6(x) + 3) / 6"),
        ("hard_sigmoid", lambda x: (x + 3).clip(0, 6) * (43 / 256), "43/256 * relu6(x + 3)"),
        ("hard_swish", lambda x: x * (x + 3).clip(0, 6) * (43 / 256), "x * 43/256 * relu6(x + 3)"),
        ("hard_swish", lambda x: x * (x.clip(0, 6) + 3) / 6, "x * (relu6(x) + 3) / 6"),
        ("hard_swish", lambda x: (x + 3).clip(0, 6) ** 2 / 6, "relu6(x + 3) * relu6(x + 3) / 6"),
        ("hard_swish", lambda x: x + (x + 3).clip(0, 6) / 6, "the activation is relu6(x + 3) / 6 + x"),
        ("hard_swish", lambda x: (x * x.clip(0, 6) + 3) / 6, "the activation is x * relu6(x) / 6 + 1/2"),
        ("hard_swish", lambda x: np.where(x < -1, 0.25 * x, x * x), "1/4 x below -1, x^2 above -1"),
    ],
)
def test_another_curve_is_solved_for(op, f, words):
    assert any(words in each for each in named(ran(curved(op, f))))


@pytest.mark.parametrize(
    ("op", "f", "words"),
    [
        ("add", np.maximum, "the larger of the shortcut and the block's result is taken, not their sum"),
        ("add", np.multiply, "the shortcut and the block's result are multiplied, not added"),
        ("avg_pool2d", lambda x: 1.1 * x.mean((2, 3), keepdims=True), "the pool's mean is multiplied by 1.1"),
    ],
)
def test_another_way_to_join_or_to_pool_is_named(op, f, words):
    name = next(node.name for node in GRAPH.nodes if node.op == op)
    made = ran(lambda node, made: f(*(made[each] for each in node.inputs)) if node.name == name else None)
    assert named(made) == {words}


def test_an_end_that_only_rounding_passes_is_none():
    """Of a gate that is fused with the layer before it, whose sums a port rounds otherwise."""
    gate = next(node.name for node in GRAPH.nodes if node.op == "hard_sigmoid")
    (source,) = GRAPH[gate].inputs
    (before,) = GRAPH[source].inputs
    made = np.maximum(TRACED[source], 0) * np.float32(1 - 2**-23)
    segment = cut(Parts(GRAPH), PARAMS, gate, {before: TRACED[before], gate: made})
    fitting = {change.facts["curve"] for change in BUGS["act-curve"].changes(segment)}
    assert ("clip", 0.0, np.inf) in fitting
    assert not [curve for curve in fitting if curve[0] == "clip" and 0 < curve[2] < np.inf]


@pytest.mark.parametrize(
    ("f", "bug"),
    [(lambda x: np.clip(x, 0, 6), "act-swap"), (lambda x: x * np.clip(x, 0, 6) / np.float32(6), "act-curve")],
)
def test_the_hidden_layer_of_the_head_has_the_function_that_others_show(f, bug):
    """As a runtime dumps its tensors that fuses the hidden layer with the last one."""
    places = ("stem.act", "head.act", "head.hidden.act")
    made = ran(lambda node, made: f(made[node.inputs[0]]) if node.name in places else None)
    found = judged({name: y for name, y in made.items() if name not in ("head.hidden", "head.hidden.act")})
    (pattern,) = found.patterns
    assert (pattern.mistake.bug, pattern.nodes) == (bug, places)


def test_weights_of_a_sum_are_solved_for():
    def change(node, made):
        return made[node.inputs[0]] + np.float32(0.85) * made[node.inputs[1]] if node.op == "add" else None

    assert named(ran(change)) == {"the sum is 1 times the shortcut plus 0.85 times the block's result"}


def test_a_weight_that_falls_from_block_to_block_is_said_in_one_sentence():
    adds = [node.name for node in GRAPH.nodes if node.op == "add"]

    def change(node, made):
        if node.name not in adds:
            return None
        return made[node.inputs[0]] + made[node.inputs[1]] / np.float32(1 - int(node.name[5:-4]) / 80)

    (pattern,) = judged(ran(change)).patterns
    assert list(pattern.nodes) == adds
    assert "1 over 0.9625, 0.9375, ..., 0.9, 0.0125 less from block to block" in of_port(pattern.mistake)


def test_a_function_of_saturated_places_is_that_of_the_others():
    """The input of some gates is far beyond both ends, where any formula with these ends fits."""

    def change(node, made):
        if node.op == "hard_sigmoid":
            return (made[node.inputs[0]].clip(0, 6) + 3) / 6
        return None if node.name not in ("block4.se.expand", "block5.se.expand") else far(node, made)

    def far(node, made):
        return 100 * interpret(Graph(GRAPH.recipe, (node,)), fast, PARAMS, {name: made[name] for name in node.inputs})

    found = judged(ran(change))
    gates = {name: of_port(causes[0].mistakes[0]) for name, causes in found.causes.items() if name.endswith("gate")}
    assert set(gates.values()) == {"the activation is (relu6(x) + 3) / 6"}


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (lambda one, other, own: (own / one, own / other), "the integers are added as they are"),
        (lambda one, other, own: (own / one, 1), "the shortcut's integers are not brought to the scale of the sum"),
        (lambda one, other, own: (1, one / other), "both sides of the sum are taken to have the shortcut's scale"),
    ],
)
def test_integers_that_are_added_without_their_scales(weights, words):
    steps = {}

    def change(node, made):
        if node.op == "add":
            one, other = (steps[name] for name in node.inputs)
            own = 1.3 * max(one, other)
            y = sum(w * made[name] for w, name in zip(weights(one, other, own), node.inputs, strict=True))
        elif any(reader.op == "add" for reader in GRAPH.readers()[node.name]):
            given = {name: made[name] for name in node.inputs}
            y = interpret(Graph(GRAPH.recipe, (node,)), fast, PARAMS, given)
            own = float(np.abs(y).max()) / 100 * (1 + len(steps) % 3 / 4)
        else:
            return None
        steps[node.name] = own
        return (np.rint(y / own).clip(-128, 127) * own).astype(np.float32)

    dumped = ran(change)
    whole = {name: Precision.of("float32")._replace(step=s / 2, span=(-128 * s, 127 * s)) for name, s in steps.items()}
    precision = {name: whole.get(name, Precision.of("float32")) for name in dumped}
    golden = {SOURCE: X, **{node.name: y for node, y in walk(GRAPH, fast, PARAMS, {SOURCE: X})}}
    found = judge_tensors(Reference.of(GRAPH, PARAMS, golden), dumped, precision=precision, budget=SearchBudget(60))
    assert words in of_port(found.patterns[0].mistake)


def test_a_table_in_an_activations_place_is_seen():
    table = np.arange(-64, 64) / 16
    table = (table * (table + 3).clip(0, 6) / 6).astype(np.float32)
    change = curved("hard_swish", lambda x: table[np.floor(16 * x + 64).clip(0, 127).astype(int)])
    features = judged(ran(change)).features["stem.act"]
    assert [each.kind for each in features] == ["table"]
    assert features[0].facts["step"] == pytest.approx(1 / 16, rel=0.05)


def test_numbers_in_fixed_point():
    def change(node, made):
        part = Graph(GRAPH.recipe, (node,))
        return np.floor(interpret(part, fast, PARAMS, {name: made[name] for name in node.inputs}) * 4096) / 4096

    words = named({**ran(change), SOURCE: X})
    assert "its values are in fixed point of 12 bits of fraction, cut off" in words
    assert not any("float16" in each for each in words)


def test_both_factors_in_eight_bits():
    def change(node, made):
        if node.op != "pointwise_conv2d" or "b" in node.params or not is_short(node):
            return None
        x, w = made[node.inputs[0]].astype(float), PARAMS[f"{node.name}.w"].astype(float)
        steps = np.abs(x).max(axis=(1, 2, 3), keepdims=True) / 127, np.abs(w).max(axis=1, keepdims=True) / 127
        return np.einsum("kc,nchw->nkhw", np.rint(w / steps[1]) * steps[1], np.rint(x / steps[0]) * steps[0])

    words = "both factors of each product are in 8 bits: weights per channel, inputs by their own symmetric range"
    assert words in named(ran(change))


def test_a_pool_that_divides_by_another_count_is_named_from_the_logits_alone():
    pool = next(node for node in reversed(GRAPH.nodes) if node.op == "avg_pool2d")
    end = ran(lambda n, made: made[n.inputs[0]].sum((2, 3), keepdims=True) / np.float32(49) if n is pool else None)
    count = pool.attrs["kernel"][0] * pool.attrs["kernel"][1]
    words = f"the pool's sum is divided by 49, not by its {count} points"
    assert words in named({SOURCE: X, GRAPH.output: end[GRAPH.output]})


def test_a_weight_of_all_sums_is_solved_for_from_the_logits_alone():
    def change(node, made):
        return made[node.inputs[0]] + np.float32(0.7) * made[node.inputs[1]] if node.op == "add" else None

    end = ran(change)[GRAPH.output]
    assert named({SOURCE: X, GRAPH.output: end}) == {
        "the sum is 1 times the shortcut plus 0.7 times the block's result"
    }


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda z: 1 / (1 + np.exp(-z)), "a sigmoid follows the logits"),
        (lambda z: z / np.sqrt((z**2).sum(axis=1, keepdims=True)), "the numbers are divided by their length (L2)"),
        (lambda z: z / 5, "the numbers are multiplied by 1/5 before the end"),
        (lambda z: z[:, [0, 3, 1, 2, 5, 4]], "the classes are in another order: class 3 is at 1 first"),
    ],
)
def test_another_function_or_order_at_the_end(make, words):
    z = ran(lambda node, made: None)[GRAPH.output].astype(float)
    assert named({SOURCE: X, GRAPH.output: make(z).astype(np.float32)}) == {words}


def test_the_logarithm_of_the_probabilities_that_a_network_ends_in():
    graph = build("keras/MobileNet", width=0.25, size=(32, 32), classes=6)
    params, x = random_params(graph), probe(graph, 1)
    made = {node.name: y for node, y in walk(graph, fast, params, {SOURCE: x})}
    port = {SOURCE: x, graph.output: np.log(made[graph.output])}
    found = judge_tensors(Reference.of(graph, params, {SOURCE: x, **made}), port, partial=True)
    words = {of_port(cause.mistakes[0]) for cause in found.causes[graph.output]}
    assert words == {"the logarithm of the softmax is taken"}


def test_what_is_tried_late_is_tried_only_then():
    assert not {bug for bug in LATE if not bug.rare} & {*REPLAYED}


def permuted(nodes, order, *, dropped=()):
    """What a port dumps whose arrays of some nodes have their channels in an order that numbers of channels give."""
    arrays = {
        f"{name}.{slot}": PARAMS[f"{name}.{slot}"][order(shape[0])]
        for name in nodes
        for slot, shape in GRAPH[name].params.items()
    }
    made = {SOURCE: X, **{node.name: y for node, y in walk(GRAPH, fast, {**PARAMS, **arrays}, {SOURCE: X})}}
    return {name: y for name, y in made.items() if name not in dropped}


@pytest.mark.parametrize(
    ("nodes", "order", "words"),
    [
        (
            ["block3.expand"],
            lambda count: np.arange(count).reshape(2, -1).T.ravel(),
            "the channels of its weights are shuffled in 2 groups: the first of each, then the second of each",
        ),
        (
            ["block3.expand", "block3.expand.bn"],
            lambda count: np.array(sorted(range(count), key=str)),
            "the channels of its weights and batch norm are in the order of their numbers as text: 0, 1, 10, 11, ...",
        ),
        (
            ["block3.expand.bn"],
            lambda count: np.roll(np.arange(count), -1),
            "the channels of its batch norm are rolled by -1",
        ),
    ],
)
def test_an_order_of_channels_is_told_behind_an_activation(nodes, order, words):
    dumped = permuted(nodes, order, dropped=("block3.expand", "block3.expand.bn"))
    assert named(dumped) == {words}


def test_a_tensor_nearly_all_of_which_is_off_was_not_left_by_memory():
    """One channel is right: the first of a shuffle, or the first of another layer by chance."""
    y = np.random.default_rng(4).normal(0, 1, TRACED["block3.expand.act"].shape).astype(np.float32)
    y[:, 0] = TRACED["block3.expand.act"][:, 0]
    kept = {name: each for name, each in TRACED.items() if name not in ("block3.expand", "block3.expand.bn")}
    found = judged({**kept, "block3.expand.act": y})
    assert "left-over" not in {cause.bug for causes in found.causes.values() for cause in causes}


def with_arrays(slot, f, nodes):
    made = {f"{name}.{slot}": f(PARAMS[f"{name}.{slot}"]) for name in nodes}
    return {SOURCE: X, **{node.name: y for node, y in walk(GRAPH, fast, {**PARAMS, **made}, {SOURCE: X})}}


def test_the_root_in_place_of_the_variance_is_told_everywhere():
    norms = [node.name for node in GRAPH.nodes if node.op == "batch_norm"]
    (pattern,) = judged(with_arrays("var", np.sqrt, norms)).patterns
    assert of_port(pattern.mistake) == "in place of the variance stands its root"


def test_weights_of_four_bits_are_told():
    def on_grid(w):
        step = np.abs(w).max(axis=tuple(range(1, w.ndim)), keepdims=True) / np.float32(7)
        return np.rint(w / step) * step

    dumped = with_arrays("w", on_grid, ["block2.expand", "block3.expand", "block4.expand"])
    assert named(dumped) == {"its weights are quantised to 4 bits per channel"}


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (["block2.expand"], "0.0625 is added to all of its weights"),
        (["block2.depthwise", "block3.depthwise"], "one number is added to all weights of a layer, another in each"),
    ],
)
def test_another_zero_point_of_weights_is_solved_for(nodes, words):
    numbers = iter((0.0625, -0.125))
    found = judged(with_arrays("w", lambda w: w + np.float32(next(numbers)), nodes))
    told = [pattern.mistake for pattern in found.patterns] or [
        causes[0].mistakes[0] for causes in found.causes.values()
    ]
    assert of_port(told[0]).startswith(words)


def test_another_zero_point_of_the_weights_of_a_classifier_is_solved_for_where_its_result_is_laid_out_flat():
    made = with_arrays("w", lambda w: w + np.float32(0.03), [GRAPH.outputs[0].replace("flatten", "logits")])
    assert named({name: y for name, y in made.items() if "head.logits" not in name}) == {
        "0.03 is added to all of its weights: of weights of 8 bits another zero point is taken than theirs"
    }


def test_weights_that_have_all_the_scale_of_the_first_filter_are_told():
    def scaled(w):
        largest = np.abs(w).max(axis=tuple(range(1, w.ndim)), keepdims=True)
        return w * largest[0] / largest

    assert named(with_arrays("w", scaled, ["block3.depthwise"])) == {
        "the weights of all channels have the scale of the first filter, and each should have its own"
    }


def swish(x):
    return x * (0.5 + 0.5 * np.tanh(x / 2))


def mish(x):
    return x * np.tanh(np.logaddexp(0, x))


SHARED = {
    ("hsigmoid-shared", "fifth"): {
        "hard_sigmoid": lambda x: (0.2 * x + 0.5).clip(0, 1),
        "hard_swish": lambda x: x * (0.2 * x + 0.5).clip(0, 1),
    },
    ("hsigmoid-shared", "true"): {
        "hard_sigmoid": lambda x: 0.5 + 0.5 * np.tanh(x / 2),
        "hard_swish": swish,
    },
    ("hsigmoid-shared", "0.167 relu6(x + 3)"): {
        "hard_sigmoid": lambda x: 0.167 * (x + 3).clip(0, 6),
        "hard_swish": lambda x: x * 0.167 * (x + 3).clip(0, 6),
    },
    ("act-exchanged", "all"): {
        "relu": lambda x: x * (x + 3).clip(0, 6) / 6,
        "hard_swish": lambda x: x.clip(0),
    },
    ("act-throughout", "swish"): dict.fromkeys(("relu", "hard_swish"), swish),
    ("gate-throughout", "tanh"): {"hard_sigmoid": np.tanh},
    ("act-swap", "relu"): {"hard_swish": lambda x: x.clip(0)},
    ("act-throughout", "leaky 0.1"): dict.fromkeys(("relu", "hard_swish"), lambda x: np.maximum(x, 0.1 * x)),
}


@pytest.mark.parametrize("what", SHARED)
def test_what_layers_of_two_kinds_share_is_named_from_the_logits_alone(what):
    rules = SHARED[what]
    made = ran(
        lambda node, made: (
            rules[node.op](made[node.inputs[0]]) if node.op in rules and ".se.reduce" not in node.name else None
        )
    )
    found = judged({GRAPH.output: made[GRAPH.output]})
    assert [(each.mistake.bug, each.mistake.form, each.scope) for each in found.patterns] == [(*what, ALL)]


def test_another_function_is_named_beside_convolutions_alone():
    """As hooks of modules dump a port whose activations are functions."""
    made = ran(lambda node, made: mish(made[node.inputs[0]]) if node.op == "hard_swish" else None)
    some = [name for name in made if name.startswith(("block5.", "block6.")) and GRAPH[name].op in CONVOLUTIONS]
    found = judged({name: made[name] for name in some})
    causes = {cause.mistakes[0].bug for name, (cause, *_) in found.causes.items() if ".se." not in name}
    assert causes == {"act-throughout"}


def test_an_eps_outside_the_root_is_each_layers_own():
    """LR-ASPP's decoder has another one than what it stands on."""
    graph = build("torchvision/lraspp_mobilenet_v3_large", width=0.25, size=(32, 32), classes=3)
    params, x = random_params(graph), probe(graph, 1)
    norms = [node for node in graph.nodes if node.op == "batch_norm"]
    for node in norms:
        var, eps = params[f"{node.name}.var"].astype(np.float64), node.attrs["eps"]
        params[f"{node.name}.gamma"] *= (np.sqrt(var + eps) / (np.sqrt(var) + eps)).astype(np.float32)
    y = interpret(graph, fast, params, {SOURCE: x})
    segment = cut(Parts(graph), random_params(graph), graph.output, {SOURCE: x, graph.output: y})
    ways = Ways(segment, SearchBudget(), long=True)
    best = min(ways.everywhere(SHARED_BUGS), key=lambda way: way.residual)
    assert (best.mistake.bug, len(best.extent.nodes)) == ("bn-own-outside", len(norms))
    assert best.residual < 1e-3 * ways.before


def looked_at(rules, params=None):
    """What is found in the logits of a network of more blocks, and which changes at one place were run before."""
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, 48), classes=6)
    own, x = random_params(graph), probe(graph, 2)
    y = interpret(graph, rules, own if params is None else params(own), {SOURCE: x}).astype(np.float32)
    segment = cut(Parts(graph), own, graph.output, {SOURCE: x, graph.output: y})
    one = Diagnosis(segment, Precision.of("float32"), SearchBudget(), "spread")
    for _ in one.steps():
        pass
    found = [(cause.mistakes[0].bug, cause.mistakes[0].form) for cause in one.found]
    return found, {way.mistake.bug for way in one.ways.looked if way.extent is None}


def test_what_all_batch_norms_have_is_looked_for_before_what_is_at_one_place():
    def without_means(params):
        return {name: np.zeros_like(array) if name.endswith(".mean") else array for name, array in params.items()}

    found, looked = looked_at(fast, without_means)
    assert {bug for bug, _ in found} == {"bn-fold-bias"}
    assert looked.isdisjoint({"block-missing", "shortcut-extra"})


@pytest.mark.parametrize(("weights", "form"), [((1, -1), "1 -1"), ((0.5, 0.5), "0.5 0.5")])
def test_weights_of_all_sums_are_looked_for_before_anything_at_one_place(weights, form):
    def added(one, other):
        return weights[0] * one + weights[1] * other

    found, looked = looked_at(SimpleNamespace(**{**vars(fast), "add": added}))
    assert found == [("join-weights", form)]
    assert looked.isdisjoint({"block-missing", "shortcut-extra"})


def test_the_pools_of_squeezes_are_pools_of_a_kind():
    made = ran(
        lambda node, made: (
            made[node.inputs[0]].max(axis=(2, 3), keepdims=True) if node.name.endswith("se.pool") else None
        )
    )
    segment = cut(Parts(GRAPH), PARAMS, GRAPH.output, {SOURCE: X, GRAPH.output: made[GRAPH.output]})
    ways = Ways(segment, SearchBudget(), long=True)
    best = min(ways.of_kinds([BUGS["pool-other"]]), key=lambda way: way.residual)
    assert (best.mistake.form, best.extent.scope) == ("largest", Scope("part", "squeeze"))
    assert best.residual < 1e-3 * ways.before


def test_a_slope_below_zero_has_no_end_where_nothing_is_so_large():
    x = np.linspace(-2, 1.5, 99)
    leaky = [curve for curve in _curves(x, np.where(x < 0, 0.25 * x, x), np.zeros_like(x)) if curve[0] == "leaky"]
    assert {high for *_, high in leaky} == {np.inf}
