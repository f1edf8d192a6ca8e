"""Two mistakes at once in a port of which only what blocks make is there."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.changes import PART, Mistake
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.bugs.sites import styles
from refnet.bugs.systematic import ALL, Scope, changed_at, changes_by_place
from refnet.graph import SOURCE, Graph, Node, Recipe, walk
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.chance import chances_joined
from refnet.judge.causes.patterns import patterns
from refnet.judge.causes.varying import kind_of, varying
from refnet.judge.reference import Reference
from refnet.judge.tensors import judge_tensors
from refnet.judge.verdicts import Judgement
from refnet.readings import fast
from refnet.report.comparison import cause_sentence
from refnet.report.mistakes.bugs import of_port


def judged(model, *mistakes, names=()):
    """What is found of a port with mistakes: each a bug, its form, and where, or everywhere; by the ends of blocks."""
    graph = build(model, width=0.35, size=(64, 64), classes=10)
    own, x = random_params(graph), probe(graph, 1)
    golden = Network(graph, own).trace(x) | {SOURCE: x}
    changed = cut(Parts(graph), own, graph.output, {SOURCE: x}, judged=False)
    for bug, form, places in mistakes:
        changes = changes_by_place(BUGS[bug], changed)[form]
        kept = {node: change for node, change in changes.items() if places is None or node in places}
        _, changed = changed_at(BUGS[bug], changed, form, kept)
    params = {name: np.asarray(changed.params[name], np.float32) for name in changed.graph.params()}
    made = {node.name: y for node, y in walk(changed.graph, fast, params, {SOURCE: x}, keep=True)}
    tensors = {name: made[name] for name in names or styles(graph)["blocks"]}
    return judge_tensors(Reference.of(graph, own, golden), tensors, partial=True, dumped=False)


def test_what_is_everywhere_is_told_where_a_block_has_one_more_mistake():
    found = judged("torchvision/mobilenet_v2", ("relu6-relu", "relu", None), ("shortcut-missing", "", ("block6.add",)))
    (pattern,) = found.patterns
    assert (pattern.mistake.bug, len(pattern.nodes), pattern.of) == ("relu6-relu", 35, 35)
    assert "block6.add" not in pattern.tensors  # so that its other mistake is said
    words = "the activation is relu instead of relu6, everywhere, and the shortcut is left out, at block6.add"
    assert cause_sentence(found.causes["block6.add"][0]) == words


def test_two_mistakes_in_every_block_are_told_by_layers_that_have_one_of_them():
    ends = ("stem.act", "block1.project.act", "block2.depthwise.act", "block2.project.act", "block3.project.act")
    found = judged("keras/MobileNet", ("kernel-flip", "180", None), ("weights-transpose", "CK>KC", None), names=ends)
    places = {node for name in ends for cause in found.causes[name][:1] for node in cause.nodes}
    assert {pattern.mistake.bug for pattern in found.patterns} == {"weights-transpose", "kernel-flip"}
    assert {f"block{number}.{part}" for number in (1, 2, 3) for part in ("depthwise", "project")} <= places


def test_divisors_that_are_one_less_than_the_points_are_one_mistake_whatever_the_map():
    parts, pools = Parts(build("torchvision/mobilenet_v3_small")), {"block1.se.pool": 480, "block9.se.pool": 9}
    places = {
        name: Mistake("pool-divisor", name, f"{n - 1}", {"found": n - 1, "known": n}, "less")
        for name, n in pools.items()
    }
    assert {kind_of(each) for each in places.values()} == {("pool-divisor", "less")}
    assert of_port(varying(places, parts)) == "the pool's sum is divided by one less than its points"
    alike = {name: Mistake("pool-divisor", name, "49", {"found": 49, "known": n}) for name, n in pools.items()}
    assert of_port(varying(alike, parts)) == "the pool's sum is divided by 49, not by its 480 points"


def test_divisors_that_are_squares_of_the_heights_are_said_to_be_that():
    def squares(*sides):
        facts = [{"found": height * height, "known": height * width} for height, width in sides]
        return {f"pool{index}": Mistake("pool-divisor", "", "height", each) for index, each in enumerate(facts)}

    assert varying(squares((4, 6), (2, 3)), None).form == "height of each"
    assert varying(squares((4, 6), (4, 6)), None).form == "height"


@pytest.mark.parametrize(
    ("kind", "runs", "words"),
    [
        ("row-run", [(25, 31, 32), (1, 7, 8)], "a part of each tensor, of the first the last 7 of 32 rows,"),
        ("row-run", [(16, 31, 32), (4, 7, 8)], "the last half of the rows"),
        ("row-run", [(21, 31, 32), (5, 7, 8)], "the numbers of an image beyond the first H H C, with H the shorter"),
        ("channel-run", [(32, 47, 48), (64, 95, 96)], "the numbers of an image beyond the first H H C, with H the"),
        ("channel-run", [(36, 47, 48), (72, 95, 96)], "the last 1/4 of the channels"),
    ],
)
def test_parts_of_tensors_of_all_sizes_are_told_by_the_rule_that_they_have_in_common(kind, runs, words):
    """Of maps of 32 x 48 and 8 x 12."""
    graph = build("torchvision/mobilenet_v2", width=0.35, size=(64, 96), classes=10)
    whole = cut(Parts(graph), random_params(graph), graph.output, {SOURCE: probe(graph, 1)}, judged=False)
    found = {}
    for name, held in zip(("block2.expand.act", "block5.expand.act"), runs, strict=True):
        part = kind, tuple(zip(("first", "last", "of"), held, strict=True))
        found[name] = [Cause((Mistake("act-missing", name, "", {PART: part}),), Judgement("exact"))]
    (pattern,) = patterns(found, whole, graph.by_name, {})
    assert of_port(pattern.mistake).startswith(f"the activation is left out, in {words}")


def test_what_pools_alone_do_that_any_layer_could_do_is_not_said_to_be_everywhere():
    graph = build("torchvision/mobilenet_v3_small", width=0.25, size=(32, 32), classes=5)
    whole = cut(Parts(graph), random_params(graph), graph.output, {SOURCE: probe(graph, 1)}, judged=False)
    pools = [node.name for node in graph.nodes if node.op == "avg_pool2d"]
    coarse = {name: Mistake("fp16-accumulate", name, "", {}) for name in graph.by_name}
    for names, scope in ((pools, Scope("layers", "avg_pool2d")), (list(graph.by_name), ALL)):
        found = {name: [Cause((coarse[name],), Judgement("exact"))] for name in names}
        (pattern,) = patterns(found, whole, graph.by_name, {})
        assert (pattern.scope, pattern.of) == (scope, len(names))


@pytest.mark.parametrize("whole", [False, True])
def test_pools_of_sides_that_are_rounded_down_are_one_mistake_whatever_the_map(whole):
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(75, 97), classes=10)
    whole_net = cut(Parts(graph), random_params(graph), graph.output, {SOURCE: probe(graph, 1)}, judged=False)
    tensors = dict(whole_net.values({node.name for node in graph.nodes}))
    for name in (pools := ("block1.se.pool", "block5.se.pool", "head.pool")):  # of 19 x 25, 5 x 7 and 3 x 4 points
        x = tensors[graph[name].inputs[0]]
        H, W = (side // 2 * 2 for side in x.shape[2:])
        y = x[:, :, :H, :W].sum(axis=(2, 3), keepdims=True) / (x[0, 0].size if whole else H * W)
        tensors[name] = y
    golden = {SOURCE: probe(graph, 1), **dict(whole_net.values({node.name for node in graph.nodes}))}
    dumped = {name: np.float32(y) for name, y in tensors.items() if name in pools or name in inputs_of(graph, pools)}
    found = judge_tensors(Reference.of(graph, random_params(graph), golden), dumped, partial=True)
    (pattern,) = found.patterns
    words = "the pool takes in whole multiples of 2 rows and columns alone"
    assert of_port(pattern.mistake) == words + (", and divides by the points of the whole map" if whole else "")
    assert pattern.nodes == pools


def inputs_of(graph, names):
    return {name for each in names for name in graph[each].inputs}


def test_a_border_whose_innermost_line_alone_repeats_the_edge_is_named():
    attrs = {"stride": (1, 1), "pad": ((2, 2), (2, 2)), "dilation": (1, 1)}
    graph = Graph(Recipe("", 1.0, (4, 6), 2, 1), (Node("a", "depthwise_conv2d", (SOURCE,), {"w": (1, 5, 5)}, attrs),))
    x, w = np.arange(24.0).reshape(1, 1, 4, 6), np.arange(25.0).reshape(1, 5, 5)
    segment = cut(Parts(graph), {"a.w": w}, "a", {SOURCE: x}, judged=False)
    (change,) = (each for each in BUGS["pad-clamped"].changes(segment) if each.form == "inner before")
    edge = np.pad(x, ((0, 0), (0, 0), (1, 0), (1, 0)), mode="edge")
    y = fast.depthwise_conv2d(edge, w, None, stride=(1, 1), pad=((1, 2), (1, 2)), dilation=(1, 1))
    np.testing.assert_array_equal(run(segment.changed(change)), y)


@pytest.mark.parametrize("form", ["first row", "last row", "first column", "last column"])
def test_a_line_of_a_kernel_that_a_loop_leaves_out_is_a_mistake(form):
    attrs = {"stride": (1, 1), "pad": ((1, 1), (1, 1)), "dilation": (1, 1)}
    graph = Graph(Recipe("", 1.0, (4, 6), 2, 1), (Node("a", "depthwise_conv2d", (SOURCE,), {"w": (1, 3, 3)}, attrs),))
    w = np.arange(1.0, 10).reshape(1, 3, 3)
    segment = cut(Parts(graph), {"a.w": w}, "a", {SOURCE: np.ones((1, 1, 4, 6))}, judged=False)
    (change,) = (each for each in BUGS["kernel-cut"].changes(segment) if each.form == form)
    lines = {"row": w[0], "column": w[0].T}[form.split()[1]]
    lacking = np.delete(lines, 0 if form.startswith("first") else 2, axis=0)
    assert run(segment.changed(change)).max() == lacking.sum()
    assert of_port(change.of("kernel-cut")) == f"the {form} of the kernel is left out"


def test_layers_that_have_the_numbers_of_the_same_layers_of_another_block_are_of_one_kind():
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(32, 32), classes=5)
    parts, params, tensors = Parts(graph), random_params(graph), {SOURCE: probe(graph, 1)}
    tensors |= Network(graph, params).trace(tensors[SOURCE])
    mistakes = {}
    for name in ("block9.expand", "block9.project", "block10.expand"):
        segment = cut(parts, params, name, tensors)
        changes = BUGS["weights-elsewhere"].changes(segment)
        mistakes[name] = next(each.of("weights-elsewhere") for each in changes if each.kind == "before 1")
    assert {kind_of(each) for each in mistakes.values()} == {("weights-elsewhere", "before 1")}
    assert of_port(varying(mistakes, parts)) == "it has the numbers of the same layer one block before"


def summed(name, bug, form, **facts):
    kind = "branch" if "branch" in facts else ""
    return [Cause((Mistake(bug, name, form, {"shortcut": 1.0, **facts}, kind),), Judgement("exact"))]


MORE = {f"block{n}.add": summed(f"block{n}.add", "join-weights", f"1 {n}", branch=1 + n / 10) for n in (3, 5)}


@pytest.mark.parametrize(
    ("other", "is_chance"),
    [
        (summed("block6.add", "block-missing", ""), True),
        (summed("block6.add", "join-weights", "images"), True),
        (summed("block6.add", "join-weights", "1 1.2", branch=1.2), False),  # none is left out
        (summed("block6.add", "shortcut-missing", ""), False),
    ],
)
def test_sums_that_lack_their_block_beside_sums_that_have_more_of_it_are_stochastic_depth(other, is_chance):
    made = chances_joined({**MORE, "block6.add": other})
    forms = {cause.mistakes[0].form for (cause,) in made.values()}
    assert (forms == {"chance"}) is is_chance


def test_survival_rates_go_from_sum_to_sum_too():
    """By their blocks the sums are 3, 5, 6, 8; by themselves 1, 2, 3, 4."""
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(32, 32), classes=5)
    sums = ("block3.add", "block5.add", "block6.add", "block8.add")
    numbers = {name: 1 / (1 - 0.02 * (place + 1)) for place, name in enumerate(sums)}
    found = {n: summed(n, "join-weights", f"{b:g}", branch=b)[0].mistakes[0] for n, b in numbers.items()}
    _, how, slope = varying(found, Parts(graph)).facts["branch"]
    assert (how, round(slope, 6)) == ("divided", -0.02)
