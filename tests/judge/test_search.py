"""Causes that are everywhere, ends alone, and searches that end: by themselves, by the clock, by the user."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from refnet import Network, build, random_input, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.changes import Change, Mistake
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.bugs.sites import styles
from refnet.bugs.systematic import ALL, Scope, changed_at, changes_by_place, runs_of, scopes
from refnet.graph import SOURCE, Node, walk
from refnet.judge.causes import replays, ways
from refnet.judge.causes import search as searching
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.diagnose import Diagnosis
from refnet.judge.measures import yardstick
from refnet.judge.scorecard import FAMILIES, FLOAT32, subject
from refnet.judge.sweep import sweep
from refnet.judge.tensors import judge_tensors
from refnet.judge.verdicts import Judgement
from refnet.readings import fast
from refnet.readings.orders import rounded
from refnet.report.words import unfinished


@pytest.fixture(scope="module")
def small():
    return subject(FAMILIES["V1"], 1)


def whole(small):
    given = {SOURCE: small.tensors[SOURCE]}
    return cut(Parts(small.graph), small.net.params, small.graph.output, given, judged=False)


def wrong(small, bug, form, kept=None):
    """A float32 run with a mistake at all of its places, or at some."""
    segment = whole(small)
    changes = changes_by_place(BUGS[bug], segment)[form]
    _, changed = changed_at(BUGS[bug], segment, form, {n: c for n, c in changes.items() if kept is None or n in kept})
    params = {name: np.asarray(changed.params[name], np.float32) for name in changed.graph.params()}
    run = walk(changed.graph, fast, params, {SOURCE: small.tensors[SOURCE]}, keep=True)
    return {node.name: y for node, y in run}, tuple(changes)


def judged(small, tensors, seconds=float("inf"), tell=None):
    budget = SearchBudget(seconds, tell)
    return judge_tensors(small.reference, tensors, precision=FLOAT32, partial=True, budget=budget)


def test_a_mistake_in_every_layer_is_one_pattern(small):
    tensors, places = wrong(small, "bn-eps", "0.001")
    (pattern,) = judged(small, tensors).patterns
    assert (pattern.mistake.bug, pattern.scope, pattern.nodes) == ("bn-eps", ALL, places)
    assert pattern.of == len(places)


def test_a_mistake_in_the_layers_of_a_kind_is_a_pattern_of_that_kind(small):
    parts = Parts(small.graph)
    strided = [n.name for n in small.graph.nodes if n.op == "depthwise_conv2d" and n.attrs["stride"] != (1, 1)]
    norms = [parts.unit(name).norm.name for name in strided]
    tensors, _ = wrong(small, "bn-missing", "", norms)
    fused = {name: tensors[name] for name in styles(small.graph)["fused"]}
    (pattern,) = judged(small, fused).patterns
    assert (pattern.mistake.bug, pattern.nodes) == ("bn-missing", tuple(norms))


def test_a_mistake_that_begins_somewhere_is_a_pattern_from_there_on(small):
    acts = [n.name for n in small.graph.nodes if n.op == "relu6"]
    tensors, _ = wrong(small, "act-missing", "", acts[7:])
    (pattern,) = judged(small, tensors).patterns
    assert (pattern.scope, pattern.nodes, pattern.of) == (Scope("from", acts[7]), tuple(acts[7:]), len(acts[7:]))


def test_of_layers_those_count_that_may_have_the_mistake_where_it_is(small):
    """Batch norms have weights too, but none of theirs is rounded."""
    convs = [n.name for n in small.graph.nodes if n.op == "pointwise_conv2d" and n.name != "head.logits"]
    tensors, _ = wrong(small, "weights-fp16", "float16", convs)
    (pattern,) = judged(small, tensors).patterns
    assert (pattern.scope, pattern.of) == (Scope("part", "project"), len(convs))


def test_an_eps_of_nobodys_is_told_of_the_layers_that_have_it_among_all_that_could(small):
    norms = [n.name for n in small.graph.nodes if n.op == "batch_norm" and "depthwise" in n.name]
    graph = replace(
        small.graph,
        nodes=tuple(replace(n, attrs={**n.attrs, "eps": 0.02}) if n.name in norms else n for n in small.graph.nodes),
    )
    tensors = Network(graph, small.net.params).trace(small.tensors[SOURCE])
    (pattern,) = judged(small, tensors).patterns
    assert (pattern.scope, pattern.of) == (Scope("layers", "depthwise_conv2d"), len(norms))


@pytest.mark.parametrize("bug", ["bn-eps-outside", "bn-eps-inverse"])
def test_an_eps_outside_the_root_is_solved_for(bug, small):
    gamma, root = small.net.params["stem.bn.gamma"], np.sqrt(small.net.params["stem.bn.var"].astype(np.float64))
    within = np.sqrt(root**2 + small.graph["stem.bn"].attrs["eps"])
    y = wrong(small, "bn-eps", "0.001", [])[0]["stem.conv"]
    factor = 1 / (root + 0.02) if bug == "bn-eps-outside" else 1 / root + 0.02
    params = {**small.net.params, "stem.bn.gamma": gamma * within * factor}
    one = cut(Parts(small.graph), params, "stem.bn", {"stem.conv": y}, judged=False)
    tensors = {"stem.conv": y, "stem.bn": run(one).astype(np.float32)}
    (cause, *_) = judged(small, tensors).causes["stem.bn"]
    assert (cause.ids, cause.mistakes[0].facts) == ((bug,), {"eps": 0.02})


def test_one_wrong_layer_is_no_pattern(small):
    tensors, _ = wrong(small, "bn-eps", "0.001", ["block3.depthwise.bn"])
    found = judged(small, tensors)
    assert found.wrong() == ["block3.depthwise.bn"]
    assert not found.patterns


def test_of_logits_alone_a_mistake_everywhere_is_named(small):
    tensors, places = wrong(small, "relu6-relu", "relu") if small.graph["stem.act"].op == "relu6" else (None, None)
    found = judged(small, {"head.flatten": tensors["head.flatten"]})
    first = found.causes["head.flatten"][0]
    assert (first.ids, first.nodes) == (("relu6-relu",), places)
    assert found.evidence["head.flatten"].left < 1e-3 < found.evidence["head.flatten"].rest


def test_of_logits_alone_a_mistake_from_a_layer_on_is_named(small):
    segment = whole(small)
    places = tuple(changes_by_place(BUGS["bn-eps"], segment)["0.001"])
    tensors, _ = wrong(small, "bn-eps", "0.001", places[9:])
    found = judged(small, {"head.flatten": tensors["head.flatten"]})
    extents = [cause.extents[0] for cause in found.causes["head.flatten"] if cause.ids == ("bn-eps",)]
    assert places[9:] in [extent.nodes for extent in extents if extent is not None]


def test_weights_that_were_written_with_few_digits_are_one_mistake_everywhere(small):
    tensors, places = wrong(small, "weights-printed", "4 decimals")
    (pattern,) = judged(small, tensors).patterns
    assert (pattern.mistake.bug, pattern.mistake.form) == ("weights-printed", "4 decimals")
    assert len(pattern.tensors) > len(places)  # batch norms are dumped apart


@pytest.mark.parametrize("form", ["float16", "4 decimals"])
def test_rounded_weights_beside_biases_and_norms_that_are_not_are_named_from_the_end_alone(small, form):
    tensors, places = wrong(small, "weights-rounded", form)
    (first, *_) = judged(small, {"head.flatten": tensors["head.flatten"]}).causes["head.flatten"]
    assert (first.ids, first.mistakes[0].form, first.nodes) == (("weights-rounded",), form, places)


def test_folded_weights_that_were_written_with_few_digits_are_named_from_the_end_alone(small):
    tensors, places = wrong(small, "fold-rounded", "3 decimals arrays")
    found = judged(small, {"head.flatten": tensors["head.flatten"]})
    first = found.causes["head.flatten"][0]
    assert (first.ids, first.nodes) == (("fold-rounded",), places)
    assert {"stem.bn", "head.logits"} <= {*places}


def test_what_to_dump_next_lies_inside_the_segment(small):
    noise = np.random.default_rng(0).standard_normal(small.tensors["head.flatten"].shape).astype(np.float32)
    found = judged(small, {"head.flatten": small.tensors["head.flatten"] + noise}, seconds=1)
    assert found.evidence["head.flatten"].dump in small.graph


def test_a_search_out_of_time_says_how_far_it_got(small):
    tensors, _ = wrong(small, "bn-eps", "0.001")
    found = judged(small, tensors, seconds=1e-9)
    assert found.wrong()
    assert not found.search.finished
    assert (found.search.ended, found.search.looked) == ("time", 0)


def test_an_interrupted_search_keeps_what_it_has_found(small):
    tensors, _ = wrong(small, "bn-eps", "0.001")

    def tell(looked, ways):
        if looked > 200:
            raise KeyboardInterrupt

    found = judged(small, tensors, tell=tell)
    assert found.search.ended == "interrupted"
    assert 200 < found.search.looked < found.search.ways
    assert any(found.causes.values())


def test_a_search_that_ends_by_itself_has_looked_at_all(small):
    tensors, _ = wrong(small, "bn-eps", "0.001", ["block3.depthwise.bn"])
    search = judged(small, tensors).search
    assert search.finished
    assert 0 < search.looked <= search.ways


def test_only_what_a_change_reaches_is_run_again(small):
    """A network without branches: the node that is changed, and all behind it; the time is looked at before each."""
    segment, checks = whole(small), []
    names = [node.name for node in segment.graph.nodes]
    budget = SearchBudget()
    budget.check = checks.append
    runs = replays.Replays(segment, budget, np.float32)
    assert len(checks) == len(names)
    change = next(each for each in BUGS["bn-eps"].changes(segment) if each.node == "block3.depthwise.bn")
    checks.clear()
    changed = segment.changed(change)
    y = runs.run(changed)
    assert len(checks) == len(names) - names.index("block3.depthwise.bn")
    np.testing.assert_array_equal(y, run(changed, np.float32))


def test_a_batch_norm_that_nothing_changes_is_worked_into_its_convolution(small, monkeypatch):
    segment, ran = whole(small), []
    runs = replays.Replays(segment, SearchBudget(), np.float32, fold=True)
    norm = fast.batch_norm
    monkeypatch.setattr(fast, "batch_norm", lambda *read, **attrs: ran.append(attrs["eps"]) or norm(*read, **attrs))
    changed = segment.changed(changes_by_place(BUGS["bn-eps"], segment)["0.001"]["block3.depthwise.bn"])
    y = runs.run(changed)
    assert ran == [0.001]
    np.testing.assert_allclose(y, run(changed, np.float32), rtol=1e-3, atol=1e-5)


def test_a_convolution_that_something_else_reads_too_keeps_its_batch_norm(small):
    segment = whole(small)
    runs = replays.Replays(segment, SearchBudget(), np.float32, fold=True)
    bare = replace(segment.graph["block3.depthwise.act"], inputs=("block3.depthwise",))
    changed = segment.changed(Change(bare.name, nodes={bare.name: (bare,)}))
    np.testing.assert_allclose(runs.run(changed), run(changed, np.float32), rtol=1e-3, atol=1e-5)


def two_images(classes):
    """Two images through a network, of which the logits of the second are twice as far off; and their segment."""
    graph = build("timm/mobilenetv1_100", width=0.25, size=32, classes=classes)
    given = {SOURCE: random_input(graph, 2)}
    segment = cut(Parts(graph), random_params(graph), graph.output, given, judged=False)
    off = np.arange(1, 1 + classes) * [[1e-3], [2e-3]]
    return replace(segment, candidate=(run(segment) + off).astype(np.float32))


@pytest.mark.parametrize(("classes", "images"), [(200, slice(1, 2)), (10, slice(None))])
def test_a_network_is_run_on_the_image_that_tells_most_if_its_numbers_are_enough(classes, images):
    segment = two_images(classes)
    found = ways.Ways(segment, SearchBudget(), long=True)
    np.testing.assert_allclose(found.runs.y, run(segment, np.float32)[images], rtol=1e-3, atol=1e-5)
    assert found.target.shape == found.honest.shape == found.runs.y.shape


def test_a_way_at_one_place_of_a_network_is_run_once(small):
    segment = replace(whole(small), candidate=small.tensors[small.graph.output] + np.float32(0.1))
    found = ways.Ways(segment, SearchBudget(), long=True)
    assert [*found.singles([BUGS["bn-eps"]], at={"stem.bn"})]
    assert "stem.bn" not in {way.mistake.node for way in found.singles([BUGS["bn-eps"]])}
    assert len({way.key for way in found.looked}) == len(found.looked)


def test_changes_that_hold_what_follows_from_whole_maps_are_not_kept(small):
    segment = replace(whole(small), candidate=small.tensors[small.graph.output] + np.float32(0.1))
    found = ways.Ways(segment, SearchBudget(), long=True)
    for bug, kept in (("bn-eps", True), ("pad-amount", True), ("bn-image-stats", False)):
        one, again = (next(iter(found.placed(BUGS[bug]).values())) for _ in range(2))
        assert all((again[node] is change) == kept for node, change in one.items())


def test_numbers_of_other_channels_at_all_places_are_looked_for_once(small):
    """They are arrays beside the nodes: made at every place at once, and not at one after another."""
    bug, asked = BUGS["vector-index"], []
    counted = replace(bug, function=lambda segment: asked.append(1) or bug.function(segment))
    segment = whole(small)
    form, changes = next(iter(changes_by_place(bug, segment).items()))
    done, changed = changed_at(counted, segment, form, changes)
    assert not asked
    assert len(done) == len(changes) > 1
    one_by_one = segment
    for change in changes.values():
        one_by_one = one_by_one.changed(change)
    np.testing.assert_array_equal(changed.result, one_by_one.result)


@pytest.mark.parametrize(
    "change",
    [
        Change(SOURCE, view=lambda y: y[::-1]),  # images in another order
        Change(SOURCE, given={SOURCE: np.ones((2, 3, 32, 32), np.float32)}),
        Change(
            "stem.act",  # numbers that are the same for every image
            nodes={"stem.act": (Node("stem.more", "relu6", ("stem.bn",)), Node("stem.act", "add", ("stem.more", "b")))},
            given={"b": np.ones((1, 8, 1, 1), np.float32)},
        ),
    ],
)
def test_one_image_of_a_batch_is_what_it_is_beside_the_others(change):
    segment = two_images(200)
    changed = segment.changed(change)
    alone = replays.Replays(segment, SearchBudget(), np.float32, slice(1, 2)).run(changed)
    np.testing.assert_allclose(alone, run(changed, np.float32)[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("off", "count", "verdict"),
    [
        (0.0, 1, "exact"),  # as one honest run has it
        (1.5, 1, "rounding"),
        (3.0, 5, "suspect"),  # which others may explain
        (3.0 * yardstick._HOPELESS, 1, "suspect"),  # which none will
    ],
)
def test_honest_runs_are_made_until_they_tell(off, count, verdict, monkeypatch):
    """They lie 1 apart, so that 2 are allowed; and are made one by one."""
    y, made = np.full((1, 4), 8.0), []

    def runs(segment, precision):
        for _ in range(5):
            yield lambda: made.append(1) or y + 1

    monkeypatch.setattr(yardstick, "lens", lambda segment: lambda y: y)
    monkeypatch.setattr(yardstick, "run", lambda segment: y)
    monkeypatch.setattr(yardstick, "_runs", runs)
    segment = SimpleNamespace(precision=None, candidate=y + off, slack={}, given={})
    found = yardstick.judge_cause(segment, FLOAT32, "spread", lambda: None)
    assert (found.verdict, found.yardstick, len(made)) == (verdict, "spread", count)


def test_errors_that_there_is_no_time_for_are_counted(small):
    tensors, _ = wrong(small, "bn-eps", "0.001")
    search = judged(small, tensors, seconds=1e-9).search
    assert 0 < search.unseen <= len(tensors)
    assert f"{search.unseen} errors not described" in unfinished(search)


def test_verdicts_are_told_before_causes_are_looked_for(small):
    tensors, _ = wrong(small, "bn-eps", "0.001", ["stem.bn"])
    told, budget = [], SearchBudget()
    judge_tensors(small.reference, tensors, budget=budget, tell=lambda found: told.append((found, budget.looked)))
    ((found, looked),) = told
    assert (found.wrong(), dict(found.causes), looked) == (["stem.bn"], {}, 0)


def test_places_of_a_kind_are_told_apart_once(small):
    parts = Parts(small.graph)
    norms = [node.name for node in small.graph.nodes if node.op == "batch_norm"]
    found = scopes(parts, norms)
    assert found[ALL] == tuple(norms)
    assert len(set(found.values())) == len(found)
    assert {Scope("layers", "depthwise_conv2d"), Scope("layers", "pointwise_conv2d")} <= found.keys()
    begun = runs_of(parts, norms)
    assert all(
        nodes == tuple(norms[norms.index(scope.value) :]) for scope, nodes in begun.items() if scope[0] == "from"
    )


def cause(bug, rms, form=""):
    return Cause((Mistake(bug, "there", form, {}),), Judgement("rounding", rms=rms))


def test_causes_that_explain_the_same_tensors_come_in_one_order_in_all_of_them():
    """At one place the one is a little closer, at the other the other one; over both it is one of them."""
    found = {
        "one": [cause("act-swap", 0.1), cause("relu6-relu", 0.2)],
        "two": [cause("relu6-relu", 0.3), cause("act-swap", 0.5)],
    }
    settled = searching.agreed(found, lambda name: ())
    assert [causes[0].ids for causes in settled.values()] == [("relu6-relu",)] * 2


def test_ties_are_settled_by_the_other_tensors():
    """Of two causes that fit alike, the one that explains another tensor too comes first."""
    found = {"one": [cause("act-swap", 0.1), cause("relu6-relu", 0.2)], "two": [cause("relu6-relu", 0.1)]}
    assert searching.agreed(found, lambda name: ())["one"][0].ids == ("relu6-relu",)


def test_a_scale_that_is_solved_for_comes_behind_a_rule():
    """A hard swish that is not divided by 6, and a scale of 6 times what it should be, make the same integers."""
    found = {name: [cause("store-scale", 0.1, "stored"), cause("hswish-nodiv", 0.2)] for name in ("one", "two")}
    assert [causes[0].ids for causes in searching.agreed(found, lambda name: ()).values()] == [("hswish-nodiv",)] * 2


@pytest.mark.parametrize("dump", ["all", "fused"])
def test_ties_are_settled_by_tensors_that_are_right(dump):
    """ReLU before or behind a gate is the same, so only the pool shows the order; nor is the activation missing."""
    rows = [row for row in sweep(subject(FAMILIES["MnasNet A1"], 1), (dump,), ("se-order",)) if row.visible]
    assert [row.named for row in rows] == ["named"]


@pytest.mark.parametrize("dump", ["all", "fused", "logits"])
def test_a_sample_of_the_sweep(small, dump):
    bugs = ("bn-eps", "act-missing", "kernel-flip")
    rows = list(sweep(small, (dump,), bugs, forms=1))
    seen = [row for row in rows if row.visible]
    assert seen
    assert all(row.named != "missed" for row in seen)


def test_a_mistake_whose_places_have_facts_of_their_own_is_named_by_the_sentence_that_all_share(small):
    """Each stride is left to another layer: 'the next block' is said once."""
    (row,) = sweep(small, ("all",), ("stride-moved",), forms=1)
    assert (row.named, row.found) == ("named", (("stride-moved", "next of each"),))


def test_what_explains_two_tensors_is_tried_first_in_the_others(small):
    """Two batch norms in a segment: at both places at once, before any change at one."""
    tensors, _ = wrong(small, "bn-eps", "0.001")
    kept = {"stem.conv", "stem.bn", "block1.depthwise", "block1.depthwise.bn", "block2.project.bn"}
    budget = SearchBudget()
    found = judge_tensors(
        small.reference,
        {name: tensors[name] for name in kept},
        precision=FLOAT32,
        partial=True,
        budget=budget,
    )
    (cause,) = found.causes["block2.project.bn"]
    assert (cause.ids, len(cause.nodes)) == (("bn-eps",), 3)
    assert budget.search.looked < budget.search.ways / 2


@pytest.mark.parametrize(("store", "told"), [("", False), ("bfloat16", True)])
def test_of_layers_with_other_weights_several_are_looked_at_to_the_end(small, store, told, monkeypatch):
    """Once one of these shows what its weights are, all others of the kind are looked at too."""
    convs = [node for node in small.graph.nodes if node.op == "depthwise_conv2d"][:6]
    tensors = {SOURCE: small.tensors[SOURCE], **{name: small.tensors[name] for conv in convs for name in conv.inputs}}
    for conv in convs:
        w = small.net.params[f"{conv.name}.w"].astype(np.float32)
        noise = np.random.default_rng(1).normal(1, 0.03, w.shape).astype(np.float32)
        other = rounded(w, store) if store else w * noise
        tensors[conv.name] = fast.depthwise_conv2d(
            tensors[conv.inputs[0]].astype(np.float32), other, None, **conv.attrs
        )
    last = []
    monkeypatch.setattr(Diagnosis, "is_coarse", property(lambda one: last.append(one.segment.end)))  # asked at the end
    found = judged(small, tensors)
    names = [conv.name for conv in convs]
    assert found.wrong() == names
    assert all(bool(found.causes.get(name)) == told for name in names)
    assert told or {each.kind for name in names for each in found.features[name]} == {"weights"}
    quickest = sorted(names, key=lambda name: tensors[name].size)
    assert {*last} == (set() if told else {*quickest[: searching._SEVERAL]})


@pytest.mark.parametrize(
    ("bug", "form", "strided"),
    [
        ("pad-split", "-1 +0", True),
        ("pad-split", "-1 -1", False),
        ("pad-split", "+1 +0", False),
        ("pad-value", "wrap", True),
    ],
)
def test_a_padding_that_is_made_otherwise_is_named_from_the_end_alone(small, bug, form, strided):
    """Where another bug does the same at some of the places, it is still one mistake at all of them."""
    at = [n.name for n in small.graph.nodes if not strided or n.attrs.get("stride") == (2, 2)]
    tensors, places = wrong(small, bug, form, at)
    (first, *_) = judged(small, {"head.flatten": tensors["head.flatten"]}).causes["head.flatten"]
    assert (first.ids, first.nodes) == ((bug,), tuple(name for name in places if name in at))


@pytest.mark.parametrize(("form", "sides"), [("rows behind", (3, 5)), ("-1 +0", (5,))])
def test_pads_of_kernels_of_several_sizes_and_of_one_are_one_mistake_from_the_end_alone(form, sides):
    v3 = subject(FAMILIES["V3 Small"], 1)
    strided = (node for node in v3.graph.nodes if node.attrs.get("stride") == (2, 2))
    at = tuple(node.name for node in strided if node.params["w"][-1] in sides)
    tensors, _ = wrong(v3, "pad-split", form, at)
    (first, *_) = judged(v3, {"head.flatten": tensors["head.flatten"]}).causes["head.flatten"]
    ((mistake, extent),) = first.parts
    assert (mistake.bug, mistake.form, extent.nodes) == ("pad-split", form, at)


def test_a_vector_along_the_wrong_axis_is_looked_at_soon_from_the_end_alone():
    """Few maps are as high as they have channels."""
    v1 = subject(FAMILIES["V1"]._replace(size=(32, 48)), 1)
    segment = whole(v1)
    change = changes_by_place(BUGS["vector-axis"], segment)["height"]["block1.project.bn"]
    found = judged(v1, {"head.flatten": segment.changed(change).result.astype(np.float32)})
    (first, *_) = found.causes["head.flatten"]
    assert (first.ids, first.nodes) == (("vector-axis",), ("block1.project.bn",))
    assert found.search.looked < 1500


def test_what_explains_one_tensor_is_tried_at_all_places_of_the_others_before_anything_else(small):
    tensors, places = wrong(small, "pad-value", "wrap columns")
    kept = ("stem.act", "block3.project.act", "block6.project.act")
    found = judged(small, {name: tensors[name] for name in kept})
    (pattern,) = found.patterns
    before = places[: places.index("block6.depthwise") + 1]
    assert (pattern.mistake.form, pattern.nodes) == ("wrap columns", before)
    assert found.search.looked < found.search.ways / 2


def test_a_limit_that_most_tensors_show_is_that_of_those_whose_numbers_do_not_reach_it(small):
    """Of these no limit at all fits as well."""
    acts = [node.name for node in small.graph.nodes if node.op == "relu6"]
    nodes = tuple(
        Node(node.name, "clip", node.inputs, {}, {"low": 0.0, "high": 7.0}) if node.name in acts else node
        for node in small.graph.nodes
    )
    tensors = Network(replace(small.graph, nodes=nodes), small.net.params).trace(small.tensors[SOURCE])
    wrong = [name for name in acts if tensors[name].max() > 6]
    assert {tensors[name].max() < 7 for name in wrong} == {True, False}
    found = judged(small, tensors)
    assert [(each.mistake.bug, each.mistake.facts["curve"], each.nodes) for each in found.patterns] == [
        ("act-curve", ("clip", 0.0, 7.0), tuple(wrong))
    ]


def test_channels_that_all_layers_of_a_kind_leave_out_are_told_from_the_end_alone():
    form, graph = "16 fused", build("marvis/mobilenet_v1", width=0.3, size=(33, 48), classes=10)
    net, x = Network(graph, random_params(graph)), random_input(graph, 2)
    segment = cut(Parts(graph), net.params, graph.output, {SOURCE: x}, judged=False)
    changes = changes_by_place(BUGS["outputs-left"], segment)[form]
    own = {name: change for name, change in changes.items() if name.endswith("depthwise")}
    _, changed = changed_at(BUGS["outputs-left"], segment, form, own)
    one = replace(segment, candidate=run(changed, np.float32).astype(np.float32))
    found = Diagnosis(one, FLOAT32, SearchBudget(), "spread")
    for _ in found.steps():
        pass
    (first, *_) = found.found
    assert (first.ids, first.mistakes[0].form, first.extents[0].scope) == (
        ("outputs-left",),
        form,
        Scope("layers", "depthwise_conv2d"),
    )
