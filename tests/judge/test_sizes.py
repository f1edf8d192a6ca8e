"""Tensors of another size that no bug explains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.bugs.language.changes import Mistake, without
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.bugs.layers.shaping import stride_changed
from refnet.graph import SOURCE, Graph, Node, interpret
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.geometry import fillings_joined, pads_joined, strides_joined
from refnet.judge.causes.sizes import of_all
from refnet.judge.tensors import Reference, judge_tensors
from refnet.judge.verdicts import Judgement
from refnet.networks.resize import resize
from refnet.readings import fast
from refnet.readings.shapes import follow_shapes
from refnet.report.comparison import comparison_document
from refnet.report.mistakes.bugs import of_port
from refnet.report.words import causes

GRAPH = build("torchvision/mobilenet_v2", width=0.25, size=(64, 96), classes=10)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 1)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("sizes") / "golden"
    write_pack(NET, X, path)
    return path


def notes(found):
    return comparison_document(found, pack="", candidate="", precision="")["notes"]


@pytest.mark.parametrize("dumped", [False, True])
def test_an_input_of_another_size_is_told(pack, dumped):
    x = probe(resize(GRAPH, (96, 96)), 1)
    port = Network(resize(GRAPH, (96, 96)), NET.params).trace(x) | ({"input": x} if dumped else {})
    found = compare(pack, port)
    assert not found.holds
    assert any("those of an input of 96 x 96; the pack is of 64 x 96" in note for note in notes(found))


def test_a_file_that_is_cut_short_is_told(pack, tmp_path):
    for name, y in NET.trace(X).items():
        data = y.transpose(0, 2, 3, 1).astype("<f4").tobytes() if y.ndim == 4 else y.tobytes()
        (tmp_path / f"{name}.bin").write_bytes(data[: len(data) // 8 * 4] if name == "block5.expand.bn" else data)
    found = compare(pack, tmp_path)
    assert found.wrong() == ["block5.expand.bn"]
    held, of = NET.trace(X)["block5.expand.bn"].size // 2, NET.trace(X)["block5.expand.bn"].size
    (note,) = [each for each in notes(found) if "cut short" in each]
    assert (
        note == f"block5.expand.bn: the dump is cut short: it has {held:,} numbers of {of:,}; what is there is right."
    )
    assert np.isfinite(X).all()


def as_numbers_alone(tensors, folder):
    """Files that hold no shapes, of maps channels last."""
    for name, y in tensors.items():
        (folder / f"{name}.bin").write_bytes((y.transpose(0, 2, 3, 1) if y.ndim == 4 else y).astype("<f4").tobytes())
    return folder


@pytest.mark.parametrize("written", [lambda tensors, _: tensors, as_numbers_alone])
def test_a_stride_in_a_convolution_that_has_none_is_told(pack, written, tmp_path):
    """In the expansion in place of the depthwise layer behind it; no dump is said to be cut short."""
    early, late = GRAPH["block4.expand"], GRAPH["block4.depthwise"]
    kept = Node("kept", "avg_pool2d", early.inputs, {}, {"kernel": (1, 1), "stride": (2, 2), "pad": ((0, 0), (0, 0))})
    nodes = {early.name: (kept, replace(early, inputs=("kept",)))}
    nodes[late.name] = (replace(late, attrs={**late.attrs, "stride": (1, 1)}),)
    graph = replace(GRAPH, nodes=tuple(made for node in GRAPH.nodes for made in nodes.get(node.name, (node,))))
    port = {name: y for name, y in Network(graph, NET.params).trace(X).items() if name != "kept"}
    found = compare(pack, written(port, tmp_path))
    assert found.wrong() == [early.name, late.name]
    assert not found.judged.features
    assert said(found) == {("stride-moved", early.name, "earlier", late.name)}


def said(found):
    """What is said of all wrong tensors: bug, place, form and the other layer."""
    every = [found.causes[name][0].mistakes[0] for name in found.wrong()]
    return {(each.bug, each.node, each.form, each.facts["layer"]) for each in every}


def test_of_pads_that_are_alike_on_one_map_that_which_others_have_comes_first():
    def pads(node, *found):
        facts = [{"found": pad, "known": (1, 1)} for pad in found]
        return [Cause((Mistake("pad-amount", node, "", each),), Judgement("exact")) for each in facts]

    ordered = of_all({"a": pads("a", (0, 0), (0, 1)), "b": pads("b", (0, 1)), "c": pads("c", (2, 2))})
    assert [cause.mistakes[0].facts["found"] for cause in ordered["a"]] == [(0, 1), (0, 0)]


def test_of_no_pad_and_one_behind_that_are_alike_under_a_stride_the_one_behind_comes_first():
    """A map of 9 x 11 that Keras pads by (1, 1); a port that pads it as an even one drops the last row and column."""
    graph = build("keras/MobileNetV2", width=0.35, size=(36, 44), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    golden = {SOURCE: x, **net.trace(x)}
    node = graph["block4.depthwise"]
    assert (node.attrs["stride"], node.attrs["pad"]) == ((2, 2), ((1, 1), (1, 1)))
    fixed = Graph(graph.recipe, (replace(node, attrs={**node.attrs, "pad": ((0, 1), (0, 1))}),))
    y = interpret(fixed, fast, net.params, {name: golden[name] for name in node.inputs})
    before = {name: made for name, made in golden.items() if name in {*node.inputs, SOURCE}}
    found = judge_tensors(Reference.of(graph, net.params, golden), {**before, node.name: y}, partial=True)
    facts = [cause.mistakes[0].facts for cause in found.causes[node.name] if cause.ids == ("pad-amount",)]
    assert [each["found"] for each in facts] == [((0, 1),) * 2, ((0, 0),) * 2]


def test_a_layer_that_pads_once_more_is_told_where_rows_and_columns_are_padded_otherwise():
    """A map of 2 x 3 is padded by (0, 1) and (1, 1) for a stride, and the convolution pads by 1 again."""
    graph = build("keras/MobileNetV2", width=0.35, size=(32, 48), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    golden = {SOURCE: x, **net.trace(x)}
    node = graph["block14.depthwise"]
    assert node.attrs["pad"] == ((0, 1), (1, 1))
    again = Graph(graph.recipe, (replace(node, attrs={**node.attrs, "pad": ((1, 2), (2, 2))}),))
    y = interpret(again, fast, net.params, {name: golden[name] for name in node.inputs})
    before = {name: made for name, made in golden.items() if name in {*node.inputs, SOURCE}}
    found = judge_tensors(Reference.of(graph, net.params, golden), {**before, node.name: y}, partial=True)
    facts = [cause.mistakes[0].facts for cause in found.causes[node.name] if cause.ids == ("pad-amount",)]
    assert [each["found"] for each in facts] == [((1, 2), (2, 2))]


def of_another_pool(dumped):
    """A port whose image has 32 rows more, and whose last pool keeps the kernel of the pack's."""
    graph = resize(GRAPH, (96, 96))
    pool = GRAPH["head.pool"]
    made = {SOURCE: probe(graph, 1)}
    for node in graph.replaced(pool.name, pool).nodes:
        made[node.name] = interpret(Graph(graph.recipe, (node,)), fast, NET.params, made)
    return {name: made[name] for name in dumped}


def test_a_pool_of_a_fixed_kernel_is_told_by_how_many_results_a_port_has(pack):
    found = compare(pack, of_another_pool(["head.act", "head.flatten"]), partial=True)
    (cause,) = found.causes["head.flatten"]
    assert cause.mistakes == (Mistake("pool-fixed", "head.pool", "kernel", {"found": (2, 3), "known": (3, 3)}),)


def test_a_size_that_nothing_explains_follows_from_one_before_it(pack):
    port = of_another_pool(["head.act", "head.flatten"])
    port["head.flatten"] = np.tile(port["head.flatten"], 2) + 1
    found = compare(pack, port, partial=True)
    assert "head.flatten: it has another size, as head.act has, of which it is made." in notes(found)


def test_behind_a_stride_that_is_moved_to_a_later_block_only_the_sum_that_it_takes_the_shortcut_from_is_wrong(pack):
    """What reads the later block is right, though the terms of its sum do not agree any more."""
    early, late, total = (GRAPH[name] for name in ("block4.depthwise", "block5.depthwise", "block5.add"))
    moved = {n.name: (replace(n, attrs={**n.attrs, "stride": s}),) for n, s in ((early, (1, 1)), (late, (2, 2)))}
    port = Network(GRAPH.rewritten({**moved, **without(total, source=1)}), NET.params).trace(X)
    found = compare(pack, port)
    assert found.wrong() == [early.name, late.name, total.name]
    assert said(found) == {("stride-moved", early.name, "next", late.name)}


def test_a_stride_that_is_moved_may_come_with_the_pads_that_the_networks_strided_layers_have(tmp_path):
    """Keras' V1 pads behind alone before each stride, on odd maps too."""
    graph = build("keras/MobileNet", width=0.25, size=(75, 94), classes=7)
    net, x, pack = Network(graph, random_params(graph)), probe(graph, 1), tmp_path / "golden"
    write_pack(net, x, pack)
    early, late = graph["block6.depthwise"], graph["block7.depthwise"]
    assert (early.attrs["pad"], net.trace(x)["block5.project.act"].shape[2:]) == (((0, 1), (0, 1)), (9, 11))
    exchanged = {early.name: (replace(early, attrs=late.attrs),), late.name: (replace(late, attrs=early.attrs),)}
    port = Network(graph.rewritten(exchanged), net.params).trace(x)
    found = compare(pack, {unit.output: port[unit.output] for unit in graph.units()})
    assert found.wrong() == ["block6.depthwise.act", "block7.depthwise.act"]
    assert said(found) == {("stride-moved", early.name, "next", late.name)}


def test_a_stride_that_is_added_may_come_with_the_pads_of_tensorflow():
    """One point behind on even maps, where the network pads evenly."""
    graph = build("paper/mobilenet_v1", width=0.25, size=64, classes=10)
    segment = cut(
        Parts(graph),
        random_params(graph),
        "block3.depthwise",
        {"block2.project.act": np.ones((1, 32, 16, 16))},
        judged=False,
    )
    pads = {change.form: change.nodes["block3.depthwise"][0].attrs["pad"] for change in stride_changed(segment)}
    assert pads["(1, 1)>(2, 2)"] == ((1, 1), (1, 1))
    assert pads["(1, 1)>(2, 2) same"] == ((0, 1), (0, 1))


def strided(**strides):
    """What explains depthwise layers of another size, by name: 'out' where a stride is left out, 'in' if added."""
    made = {"out": {"found": (1, 1), "known": (2, 2)}, "in": {"found": (2, 2), "known": (1, 1)}}
    nodes = {name: f"{name}.depthwise" for name in strides}
    of = {nodes[name]: Mistake("stride-changed", nodes[name], "", made[how]) for name, how in strides.items()}
    return {name: [Cause((mistake,), Judgement("exact"))] for name, mistake in of.items()}


@pytest.mark.parametrize(
    ("strides", "forms"),
    [
        ({"block2": "out", "block3": "in", "block4": "out", "block5": "in"}, ["next", "next"]),
        ({"block4": "out", "block6": "in"}, ["later"]),
        ({"block3": "in", "block4": "out"}, ["earlier"]),
        ({"block2": "out", "block4": "out", "block5": "in"}, ["next"]),
        ({"block2": "out", "block4": "out"}, []),
    ],
)
def test_a_stride_that_is_left_out_and_one_that_is_added_next_are_one_that_is_moved(strides, forms):
    made = strides_joined(strided(**strides), list(strided(**strides)), Parts(GRAPH))
    moved = [each.mistakes[0] for (each,) in made.values() if each.ids == ("stride-moved",)]
    assert [each.form for each in moved[::2]] == forms
    assert moved[::2] == moved[1::2]


def padded(bug, form, found, known):
    return [Cause((Mistake(bug, "a", form, {"found": found, "known": known}),), Judgement("exact"))]


COLUMNS = {  # by kernel, what TF's rule for columns alone makes of them; of an even map it is TF's rule
    "three": padded("pad-split", "+0 -1", ((1, 1), (0, 2)), ((1, 1), (1, 1))),
    "five": padded("pad-split", "+0 -1", ((2, 2), (1, 3)), ((2, 2), (2, 2))),
    "even": padded("pad-same", "same", ((2, 2), (1, 2)), ((2, 2), (2, 2))),
}


def test_pads_of_several_rules_that_begin_elsewhere_by_as_much_are_one_mistake():
    made = [each.mistakes[0] for (each,) in pads_joined(COLUMNS).values()]
    assert {(each.bug, each.form, each.facts["later"]) for each in made} == {("pad-split", "shifted", (0, 1))}
    assert of_port(made[0]).startswith("sampling begins 1 column later: the padding is ((1, 1), (0, 2))")


@pytest.mark.parametrize("other", [COLUMNS["three"], padded("pad-split", "", ((0, 2), (1, 1)), ((1, 1), (1, 1)))])
def test_pads_of_one_rule_or_of_other_shifts_are_left_as_they_are(other):
    causes = {"three": COLUMNS["three"], "other": other}
    assert pads_joined(causes) == causes


def test_pads_that_are_larger_by_as_much_are_one_mistake_whatever_the_kernel():
    """Of a map on which two pads are alike, that which the others have."""
    three = padded("pad-amount", "2,2", ((2, 2), (2, 2)), ((1, 1), (1, 1)))
    alike = padded("pad-amount", "3,2", ((3, 2), (3, 2)), ((2, 2), (2, 2)))
    five = padded("pad-amount", "3,3", ((3, 3), (3, 3)), ((2, 2), (2, 2)))
    made = pads_joined({"three": three, "five": alike + five})
    mistakes = [each.mistakes[0] for (each,) in made.values()]
    assert [each.form for each in mistakes] == ["by as much"] * 2
    assert of_port(mistakes[1]) == "the padding is (3, 3) instead of (2, 2), or as much more or less at other kernels"
    assert pads_joined({"three": three, "five": alike}) == {"three": three, "five": alike}


def test_a_padding_that_keeps_the_size_of_some_maps_alone_is_one_mistake():
    """On an even map TF's rule is the same padding."""
    odd = padded("pad-amount", "0,1", ((0, 1), (0, 1)), ((1, 1), (1, 1)))
    even = padded("pad-same", "same", ((0, 1), (0, 1)), ((1, 1), (1, 1)))
    made = [each.mistakes[0] for (each,) in pads_joined({"odd": odd, "even": even}).values()]
    assert [(each.bug, each.form) for each in made] == [("pad-amount", "0,1")] * 2
    other = padded("pad-same", "same", ((1, 0), (1, 0)), ((1, 1), (1, 1)))
    assert pads_joined({"odd": odd, "even": other}) == {"odd": odd, "even": other}


def spread(name, by):
    return {name: [Cause((Mistake("dilation", name, f"{by}", {"found": by, "known": 1}),), Judgement("exact"))]}


@pytest.mark.parametrize(
    ("by", "at", "is_dense"), [(2, (15, 16, 17), True), (2, (15, 17), False), (4, (15, 16, 17), False)]
)
def test_a_stride_that_is_left_out_where_all_later_kernels_are_spread_by_it_is_a_network_for_dense_prediction(
    by, at, is_dense
):
    found = strided(block14="out")
    for block in at:
        found |= spread(f"block{block}.depthwise", by)
    made = strides_joined(found, ["block14.depthwise"], Parts(GRAPH))
    assert {each.ids == ("output-stride",) for (each,) in made.values()} == {is_dense}


def test_what_explains_several_tensors_is_said_once():
    of = {"place": "a", "sentence": "the stride is left to b", "id": "stride-moved"}
    document = {"tensors": [], "causes": [{**of, "node": "a"}, {**of, "node": "b"}, {**of, "node": "c", "place": "c"}]}
    assert [line.partition(":")[0] for line, _ in causes(document, brief=True)] == ["a", "c"]


@pytest.mark.parametrize(("wide", "form"), [("symmetric", "symmetric"), ("edge", "edge"), ("reflect", "edge")])
def test_a_border_of_one_point_is_mirrored_where_wider_ones_are(wide, form):
    one, two = ((1, 1), (1, 1)), ((2, 2), (2, 2))
    causes = {"three": padded("pad-value", "edge", one, one), "five": padded("pad-value", wide, two, two)}
    made = fillings_joined(causes)
    assert [each.mistakes[0].form for (each,) in made.values()] == [form, wide]


def test_paddings_of_a_port_need_not_follow_the_sizes_of_its_maps():
    """A stem that pads nothing leaves maps of other parities, which Keras would pad otherwise."""
    graph = build("keras/MobileNetV2", width=0.35, size=(97, 81), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    golden = {SOURCE: x, **net.trace(x)}
    stem, *rest = graph.leading_to("block17.project.bn").nodes
    nodes = (replace(stem, attrs={**stem.attrs, "pad": ((0, 0), (0, 0))}), *rest)
    port = Graph(graph.recipe, nodes)
    own = Network(port, {name: net.params[name] for name in port.params()}).trace(x)
    found = judge_tensors(Reference.of(graph, net.params, golden), own, partial=True)
    assert found.wrong() == ["stem.conv"]


def test_pools_of_whole_maps_follow_the_sizes_of_a_ports_maps_though_its_paddings_do_not():
    graph = build("keras/MobileNetV3Large", width=0.35, size=(64, 96), classes=10)
    params, x = random_params(graph), probe(graph, 2)
    golden = {SOURCE: x, **Network(graph, params).trace(x)}
    left_out = graph["block2.depthwise"]
    nodes, made = [], {SOURCE: x.shape[1:]}
    for node in graph.nodes:
        if node is left_out:
            node = replace(node, attrs={**node.attrs, "pad": ((0, 0), (0, 0))})
        elif node.op == "avg_pool2d":
            node = replace(node, attrs={**node.attrs, "kernel": made[node.inputs[0]][1:]})
        follow_shapes([node], made)
        nodes.append(node)
    run = Network(Graph(graph.recipe, tuple(nodes)), params).trace(x)
    own = {name: run[name] for name in ("block2.depthwise", "block3.add", "block5.add", "block10.add", "head.logits")}
    found = judge_tensors(Reference.of(graph, params, golden), own, partial=True)
    assert found.wrong() == ["block2.depthwise"]
    assert found.causes["block2.depthwise"][0].ids == ("pad-amount",)
