"""The catalogue: what it holds, that every form has its words, and the same mistake everywhere."""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, random_input, random_params
from refnet.bugs import systematic
from refnet.bugs.catalogue import BUGS, REPLAYED
from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Deferred
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import Segment, cut, run
from refnet.bugs.sites import sites, styles
from refnet.bugs.systematic import changed_at, changes_by_place, everywhere
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.scorecard import FAMILIES
from refnet.readings import fast
from refnet.readings.orders import rounded
from refnet.report.mistakes.bugs import of_port
from refnet.verification.kinds import KINDS

SIZE = (40, 48)


def network(family):
    model, width, _ = FAMILIES[family]
    graph = build(model, width=width, size=SIZE, classes=6)
    return graph, random_params(graph), random_input(graph, 1).astype(np.float64)


def whole(graph, params, x):
    return cut(Parts(graph), params, graph.output, {SOURCE: x}, judged=False)


def applied(graph, params, x):
    trace = Network(graph, params).astype(np.float64).trace(x)
    return list(sites(graph, params, [(SOURCE, x), *trace.items()]))


def test_a_bug_is_a_function_with_a_sentence():
    apart = Counter(bug.group for bug in BUGS.values() if bug not in REPLAYED)
    late = {
        "joins",
        "kernels",
        "norm_forms",
        "roots",
        "batch_statistics",
        "curves",
        "in_place",
        "buffers",
        "flat_reads",
        "channel_orders",
        "knobs",
        "answers",
        "fixed",
        "folds",
        "fold_signs",
        "digits",
        "pools",
        "vectors",
        "loaded",
        "narrower",
        "result_orders",
        "steps",
    }
    files = {"damage": 14, "stored_weights": 4, "scales": 3, "few_values": 3, "refolds": 3}
    assert set(apart) == {*files, "slips", "formulas", "pad_rules", "rules", "shared", *late}
    assert {group: apart[group] for group in files} == files
    for bug in BUGS.values():
        assert bug.id == bug.function.__name__.replace("_", "-")
        assert bug.sentence
        assert not bug.sentence.endswith(".")
        assert not bug.link or bug.link.startswith("https://")


def test_every_kind_of_fault_is_about_bugs_that_arrays_show():
    for kind in KINDS.values():
        assert all(UnitArrays in BUGS[bug].takes for bug in kind.bugs)
    named = {bug for kind in KINDS.values() for bug in kind.bugs}
    only_files = {
        bug.id for bug in BUGS.values() if bug.group in ("damage", "few_values", "refolds", "scales", "stored_weights")
    }
    assert only_files <= named


@pytest.mark.parametrize("family", FAMILIES)
def test_a_form_is_at_most_once_at_a_node_and_has_words(family):
    seen = set()
    for site in applied(*network(family)):
        key = site.bug, site.change.form, site.change.node
        assert key not in seen
        seen.add(key)
        assert of_port(site.mistake)


@pytest.mark.parametrize("family", ["V1", "MnasNet A1", "V3 Small, SAME", "d-li14"])
def test_bugs_are_found_in_a_network_of_other_names(family):
    graph, params, x = network(family)
    names = {node.name: f"n{index}" for index, node in enumerate(graph.nodes)}
    recipe = replace(graph.recipe, model="")
    other = replace(graph.renamed(names), recipe=recipe)
    keys = {f"{n.name}.{slot}": f"{names[n.name]}.{slot}" for n in graph.nodes for slot in n.params}
    renamed = {other_name: params[name] for name, other_name in keys.items()}
    known = [
        (s.bug, names.get(s.change.node, SOURCE), renamed_in(s.mistake.what, names), s.style)
        for s in applied(graph, params, x)
    ]
    found = [(s.bug, s.change.node, s.mistake.what, s.style) for s in applied(other, renamed, x)]
    assert found == known
    assert styles(other) == {style: tuple(names[n] for n in kept) for style, kept in styles(graph).items()}


def renamed_in(what, names):
    """What is wrong, with the other names of nodes in its facts."""
    bug, form, facts = what
    return bug, form, tuple((key, names.get(fact, fact) if isinstance(fact, str) else fact) for key, fact in facts)


def made_everywhere(bug, form, graph, params, x):
    """The result of a network with one form of a bug at every place, and the places."""
    found = everywhere(BUGS[bug], whole(graph, params, x))
    (changes, segment) = next((changes, made) for changes, made in found if changes[0].form == form)
    return run(segment), [change.node for change in changes]


def made_by(graph, params, x):
    """The result of a network, in float64."""
    return interpret(graph, fast, {name: array.astype(np.float64) for name, array in params.items()}, {SOURCE: x})


def replaced_everywhere(graph, edit):
    nodes = tuple(edit(node) for node in graph.nodes)
    return Graph(graph.recipe, nodes)


def test_another_eps_everywhere_is_a_network_with_that_eps():
    graph, params, x = network("V2")
    y, places = made_everywhere("bn-eps", "0.001", graph, params, x)
    assert places == [node.name for node in graph.nodes if node.op == "batch_norm"]
    other = replaced_everywhere(graph, lambda n: replace(n, attrs={"eps": 1e-3}) if n.op == "batch_norm" else n)
    np.testing.assert_array_equal(y, made_by(other, params, x))


def test_relu_everywhere_is_a_network_without_relu6():
    graph, params, x = network("V2")
    y, places = made_everywhere("relu6-relu", "relu", graph, params, x)
    assert places == [node.name for node in graph.nodes if node.op == "relu6"]
    other = replaced_everywhere(graph, lambda n: replace(n, op="relu") if n.op == "relu6" else n)
    np.testing.assert_array_equal(y, made_by(other, params, x))


def test_weights_rounded_everywhere_are_a_network_with_rounded_weights():
    graph, params, x = network("V3 Small")
    y, places = made_everywhere("weights-fp16", "float16", graph, params, x)
    assert places == [node.name for node in graph.nodes if node.params]
    short = {name: rounded(array, "float16") for name, array in params.items()}
    np.testing.assert_array_equal(y, made_by(graph, short, x))


def test_a_change_that_adds_nodes_is_made_once_at_each_place():
    graph, params, x = network("V3 Small")
    y, places = made_everywhere("hswish-nodiv", "none", graph, params, x)
    assert places == [node.name for node in graph.nodes if node.op == "hard_swish"]
    assert np.isfinite(y).all()


def test_statistics_of_the_batch_everywhere_are_those_of_what_came_before():
    """Training mode: each batch norm normalises what the ones before it made."""
    graph, params, x = network("V1")
    y, _ = made_everywhere("bn-batch-stats", "", graph, params, x)
    values, own = {SOURCE: x}, {name: array.astype(np.float64) for name, array in params.items()}
    for node in graph.nodes:
        if node.op == "batch_norm":
            before = values[node.inputs[0]]
            own[f"{node.name}.mean"], own[f"{node.name}.var"] = before.mean(axis=(0, 2, 3)), before.var(axis=(0, 2, 3))
        values[node.name] = interpret(Graph(graph.recipe, (node,)), fast, own, values)
    np.testing.assert_allclose(y, values[graph.output], rtol=1e-9)


def test_maps_that_several_places_make_smaller_together_are_pooled_whole():
    """One dilation alone leaves the last map as it is, all of them do not."""
    graph = build("timm/mobilenetv1_100", width=0.25, size=(48, 64), classes=6)
    segment, bug = whole(graph, random_params(graph), random_input(graph)), BUGS["dilation-alone"]
    found = changes_by_place(bug, segment)["2"]
    done, changed = changed_at(bug, segment, "2", found)
    again, alike = changed_at(bug, segment, "2", {change.node: found[change.node] for change in done})
    assert [change.node for change in again] == [change.node for change in done]
    np.testing.assert_array_equal(run(alike), run(changed))


def test_the_same_padding_is_made_in_every_strided_layer_whatever_the_others_make_of_its_map():
    """Alone (0, 1) makes every map here smaller; behind one that is, it keeps the size of some."""
    graph = build("torchvision/mobilenet_v2", width=0.35, size=(65, 77), classes=6)
    strided = [node.name for node in graph.nodes if node.attrs.get("stride") == (2, 2)]
    segment, bug = whole(graph, random_params(graph), random_input(graph)), BUGS["pad-amount"]
    found = changes_by_place(bug, segment)["0,1"]
    done, changed = changed_at(bug, segment, "0,1", {name: found[name] for name in strided})
    assert [change.node for change in done] == strided
    assert {changed.graph[name].attrs["pad"] for name in strided} == {((0, 1), (0, 1))}


def test_squeeze_and_excite_on_the_other_side_everywhere_changes_every_block_that_has_it():
    graph, params, x = network("MnasNet A1")
    _, places = made_everywhere("se-order", "before", graph, params, x)
    assert places == [node.name for node in graph.nodes if node.op == "scale"]


def test_everywhere_leaves_out_what_shows_as_a_shape():
    graph, params, x = network("V3 Small")
    part = cut(Parts(graph), params, "block1.se.reduce", {SOURCE: x}, judged=False)
    assert list(BUGS["se-width"].changes(part))
    assert not list(everywhere(BUGS["se-width"], part))


def test_arrays_of_a_change_are_made_when_they_are_asked_for_and_handed_out_for_good():
    """Of thousands of changes of a network, all those that were run would fill the memory."""
    made = []
    arrays = Deferred(["a", "b"], lambda: made.append(1) or {"a": np.zeros(1), "b": np.ones(1)})
    assert (set(arrays), len(arrays), made) == ({"a", "b"}, 2, [])
    assert {name: y.tolist() for name, y in arrays.items()} == {"a": [0.0], "b": [1.0]}
    assert made == [1]
    kept = weakref.ref(arrays["a"])
    assert kept() is None
    assert made == [1, 1]


def test_weights_of_few_bits_are_not_made_before_they_are_run():
    graph = build("torchvision/mobilenet_v2", width=0.35, size=32, classes=10)
    whole = cut(Parts(graph), random_params(graph), graph.output, {SOURCE: random_input(graph, 1)}, judged=False)
    changes = [*BUGS["weights-few-bits"].changes(whole)]
    assert len(changes) > 1000
    assert all(isinstance(change.params, Deferred) for change in changes)


@pytest.mark.parametrize(("bug", "form"), [("pad-flat-index", "row"), ("bn-image-stats", ""), ("pool-other", "batch")])
def test_what_follows_from_the_maps_of_a_network_is_made_at_all_places_in_one_run(bug, form, monkeypatch):
    """And it is what is made at one place after another."""
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(32, 48), classes=10)
    whole = cut(Parts(graph), random_params(graph), graph.output, {SOURCE: random_input(graph, 2)}, judged=False)
    changes, ran = changes_by_place(BUGS[bug], whole)[form], []
    monkeypatch.setattr(Segment, "_walked", lambda *_: ran.append(1) or iter(()))
    done, changed = changed_at(BUGS[bug], whole, form, changes)
    assert (len(done), ran) == (len(changes), [])
    monkeypatch.undo()
    monkeypatch.setattr(systematic, "_fed_on", lambda *_: ())
    _, one_by_one = changed_at(BUGS[bug], whole, form, changes)
    np.testing.assert_array_equal(changed.result, one_by_one.result)
