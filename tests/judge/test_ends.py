"""Candidates of which only the end is there: logarithms of probabilities, classes in another order, a few names."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from feeding import shallow

from refnet import Network, Row, build, compare, probe, random_params, write_pack
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, run
from refnet.bugs.systematic import changed_at, changes_by_place
from refnet.errors import RequestError
from refnet.graph import SOURCE, Node, interpret
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.diagnose import Diagnosis
from refnet.judge.causes.starts import begun, begun_soon
from refnet.judge.causes.ways import EXACT, Ways
from refnet.networks.rewrite import fold_batch_norm
from refnet.ops import CONVOLUTIONS, OPS
from refnet.pack.matching.vendors import by_vendor
from refnet.readings import fast
from refnet.readings.orders import rounded, short_rules
from refnet.readings.precision import Precision
from refnet.report.comparison import cause_sentence, comparison_document
from refnet.report.comparison_notes import comparison_notes
from refnet.report.mistakes.features import feature_sentence

ROWS = (
    Row(3, 16, 8, False, "relu6", 1),
    Row(3, 48, 12, False, "relu6", 2),
    *2 * (Row(3, 72, 12, False, "relu6", 1),),
    Row(3, 72, 16, False, "relu6", 2),
    *4 * (Row(3, 96, 16, False, "relu6", 1),),
)
NET, _ = shallow((32, 40), ROWS, classes=12)
GRAPH = NET.graph
X = probe(GRAPH, 2)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ends") / "pack"
    write_pack(NET, X, folder, origin={"input": "probe"})
    return folder


def logits(net=NET, x=X):
    return net.trace(x)["head.flatten"]


def softmax(z, axis=1):
    p = np.exp(z - z.max(axis=axis, keepdims=True))
    return p / p.sum(axis=axis, keepdims=True)


def log_softmax(z):
    wide = z.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return (wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))).astype(np.float32)


def said(found):
    return [cause_sentence(cause) for causes in found.causes.values() for cause in causes]


@pytest.mark.parametrize("beside", [False, True])
def test_honest_logarithms_of_probabilities_hold(pack, beside):
    found = compare(pack, {"log_probs": log_softmax(logits()), **({"logits": logits()} if beside else {})})
    assert found.holds


def test_honest_logarithms_of_probabilities_are_told(pack):
    found = compare(pack, {"y": log_softmax(logits())})
    notes = comparison_document(found, pack="pack", candidate="y", precision="float32")["notes"]
    assert any(note.startswith("y holds logarithms of probabilities, as of log_softmax") for note in notes)


@pytest.mark.parametrize(("form", "last"), [("plain", False), ("plain", True), ("swish", True)])
def test_the_probabilities_of_a_masks_points_are_judged_behind_a_softmax(form, last, tmp_path):
    graph = build("torchvision/lraspp_mobilenet_v3_large", width=0.1, size=(32, 32), classes=5)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    write_pack(net, x, tmp_path / "pack")
    swish = {node.name: (dataclasses.replace(node, op="swish"),) for node in graph.nodes if node.op == "hard_swish"}
    port = Network(graph.rewritten(swish if form == "swish" else {}), net.params)
    p = softmax(port.trace(x)["head.resize"].astype(np.float64)).astype(np.float32)
    found = compare(tmp_path / "pack", {"probs": p.transpose(0, 2, 3, 1) if last else p}, partial=True)
    assert found.holds == (form == "plain")
    assert {pattern.mistake.bug for pattern in found.judged.patterns} == (
        {"hswish-swish"} if form == "swish" else set()
    )


@pytest.mark.parametrize("name", ["logits", "model.Logits", "head.flatten"])
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (log_softmax, "the logarithm of the softmax is taken"),
        (softmax, "softmax is applied where logits are expected"),
    ],
)
def test_another_function_under_the_name_of_logits_is_wrong(pack, name, function, words):
    found = compare(pack, {name: function(logits())})
    assert not found.holds
    assert said(found) == [words]


def test_logarithms_of_probabilities_show_what_is_everywhere(pack):
    nodes = [dataclasses.replace(n, attrs={"eps": 1e-3}) if n.op == "batch_norm" else n for n in GRAPH.nodes]
    wrong = Network(dataclasses.replace(GRAPH, nodes=tuple(nodes)), NET.params)
    found = compare(pack, {"y": log_softmax(logits(wrong))})
    assert said(found)[0] == "eps is 0.001 instead of 1e-05, everywhere"


def test_an_eps_that_is_far_from_the_own_is_solved_for_from_the_end_alone(pack):
    nodes = [dataclasses.replace(n, attrs={"eps": 0.02}) if n.op == "batch_norm" else n for n in GRAPH.nodes]
    wrong = Network(dataclasses.replace(GRAPH, nodes=tuple(nodes)), NET.params)
    assert said(compare(pack, {"logits": logits(wrong)}))[0] == "eps is 0.02 instead of 1e-05, everywhere"


def test_a_softmax_over_the_batch_is_said(pack):
    found = compare(pack, {"probs": softmax(logits(), axis=0)})
    assert said(found) == ["softmax runs over the images of the batch, not over the classes"]


def test_classes_in_the_order_of_text_are_said(pack):
    text = sorted(range(12), key=str)
    assert said(compare(pack, {"logits": logits()[:, text]})) == [
        "the classes are in the order of their numbers as text (0, 1, 10, 100, ...)"
    ]


@pytest.fixture(scope="module")
def of_other_weights(pack):
    """Two images' logits of other weights are in some order like these; no order, factor or line makes them these."""
    rng = np.random.default_rng(0)
    other = Network(GRAPH, {name: (y * rng.uniform(0.5, 2, y.shape)).astype(y.dtype) for name, y in NET.params.items()})
    return compare(pack, {"logits": logits(other)}, seconds=1)


def test_of_an_end_that_nothing_explains_no_form_is_told_that_is_not_there(of_other_weights):
    found = of_other_weights
    assert not found.holds
    assert [feature_sentence(each) for features in found.judged.features.values() for each in features] == []


def test_of_an_end_that_nothing_explains_other_weights_are_said_to_be_possible(of_other_weights):
    assert any("refnet verify PACK --against FILE" in note for note in comparison_notes(of_other_weights))


def test_of_an_end_that_another_input_explains_other_weights_are_not_said_to_be_possible(pack):
    found = compare(pack, {"logits": logits(x=X[:, ::-1])})
    assert not any("refnet verify PACK --against FILE" in note for note in comparison_notes(found))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda z: z / np.linalg.norm(z, axis=1, keepdims=True), "the numbers are divided by their length (L2)"),
        (
            lambda z: (z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True),
            "the numbers have their mean taken away and are divided by their deviation",
        ),
    ],
)
def test_an_embedding_that_an_activation_ends_is_an_answer_too(tmp_path, make, words):
    graph = build("timm/mobilenetv3_small_100", width=0.25, size=(32, 40), classes=12).leading_to("head.hidden.act")
    net = Network(graph, {name: y for name, y in random_params(graph).items() if name in graph.params()})
    write_pack(net, X, tmp_path / "pack", origin={"input": "probe"})
    embedding = net.trace(X)["head.hidden.act"].astype(np.float64)
    found = compare(tmp_path / "pack", {"embedding": make(embedding[:, :, 0, 0]).astype(np.float32)})
    assert said(found) == [words]


def test_a_vendors_name_alone_says_whose_tensor_it_is(tmp_path):
    """The stem's result of another input is like that of the next layer; its name is not."""
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(32, 40), classes=12)
    net = Network(graph, random_params(graph))
    write_pack(net, X, tmp_path / "pack", origin={"input": "probe"})
    assert by_vendor(graph, ["features.0.2"]) == {}
    assert by_vendor(graph, ["features.0.2"], lambda name, node: True) == {"features.0.2": "stem.act"}
    found = compare(tmp_path / "pack", {"features.0.2": net.trace(X.clip(0, 1))["stem.act"]}, partial=True)
    assert found.wrong()[0] == "stem.act"
    assert said(found) == ["the input is clipped to [0, 1]"]


def changed(bug, form, *nodes):
    """Logits of a port that has a mistake at some nodes."""
    whole = cut(Parts(GRAPH), NET.params, GRAPH.output, {SOURCE: X}, judged=False)
    places = changes_by_place(BUGS[bug], whole)[form]
    _, wrong = changed_at(BUGS[bug], whole, form, {node: places[node] for node in nodes})
    return run(wrong).astype(np.float32)


ENDS = {
    "dropout that scales": (
        ("head-dropout", "0.8", "head.logits"),
        "what it reads is multiplied by 0.8, as by dropout",
    ),
    "a block": (("block-missing", "", "block8.add"), "the block is left out"),
    "a shortcut": (("shortcut-missing", "", "block8.add"), "the shortcut is left out"),
}


@pytest.mark.parametrize("case", ENDS)
def test_from_logits_alone_is_said(pack, case):
    where, words = ENDS[case]
    assert said(compare(pack, {"logits": changed(*where)}))[0].startswith(words)


@pytest.mark.parametrize(("which", "left_out"), [("last", slice(-23, None)), ("first", slice(0, 7))])
@pytest.mark.parametrize("end", [lambda z: z, softmax, log_softmax], ids=["logits", "probabilities", "log"])
def test_inputs_of_the_last_layer_that_are_left_out_are_counted(pack, which, left_out, end):
    w = NET.params["head.logits.w"].copy()
    w[:, left_out] = 0
    y = end(logits(Network(GRAPH, {**NET.params, "head.logits.w": w})))
    count, of = w[:, left_out].shape[1], w.shape[1]
    assert said(compare(pack, {"y": y}))[0] == (
        f"the {which} {count} of the {of} numbers that it reads are left out, or are zero"
    )


@pytest.mark.parametrize("whole", [True, False])
def test_a_batch_norm_that_is_run_once_more_behind_its_fold_is_named(tmp_path, whole):
    """Mean and beta 0, variance and gamma 1: what is left of it is eps."""
    net = shallow((32, 40), ROWS[:3])[0] if whole else NET  # of the end alone a few blocks say too little
    folded, x = net.fold(), probe(net.graph, 2)
    write_pack(folded, x, tmp_path / "pack", origin={"input": "probe"})
    normed = {unit.conv.name for unit in net.graph.units() if unit.norm is not None}
    tensors = {SOURCE: x}
    for node in folded.graph.nodes:
        given = {name: tensors[name] for name in node.inputs}
        y = interpret(dataclasses.replace(folded.graph, nodes=(node,)), fast, folded.params, given)
        tensors[node.name] = y / np.sqrt(np.float32(1 + 1e-3)) if node.name in normed else y
    found = compare(tmp_path / "pack", tensors if whole else {"logits": tensors["head.flatten"]})
    (first, *_) = (cause for causes in found.causes.values() for cause in causes)
    assert first.ids == ("norm-left",)
    assert "divides by the root of 1 + 0.001" in said(found)[0]


def test_logits_beside_themselves_less_the_largest_are_the_logits(pack):
    """As a stable softmax begins; the other is no node's."""
    z = logits()
    y = z - z.max(axis=1, keepdims=True)
    found = compare(pack, {"z": z, "y": y, "p": softmax(z)})
    assert found.holds
    assert [each.source for each in found.matching.extras] == ["y"]


def test_an_embedding_that_is_divided_by_its_length_adds_nothing_beside_logits(pack):
    """Whether the port is right or wrong: what it is divided by is no layer's."""
    pooled = NET.trace(X)["head.pool"].reshape(len(X), -1)
    y = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    found = compare(pack, {"logits": logits(), "embedding": y})
    assert found.holds
    assert [(each.source, each.kind, each.node) for each in found.matching.extras] == [
        ("embedding", "unit", "head.pool")
    ]
    assert compare(pack, {"logits": logits() + 1, "embedding": y}, explain=False).wrong() == ["head.flatten"]
    assert not compare(pack, {"embedding": y}, explain=False).holds


def test_a_pool_that_is_divided_by_its_length_is_judged_where_the_logits_are_made_of_it(pack):
    w = NET.params["head.logits.w"]
    y = NET.trace(X)["head.pool"].reshape(len(X), -1)
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    z = y @ w.reshape(len(w), -1).T + NET.params["head.logits.b"]
    assert compare(pack, {"logits": z, "embedding": y}, explain=False).wrong() == ["head.pool"]


def test_padding_that_is_lost_before_strides_is_said_of_all_layers_though_the_first_alone_shows_it(tmp_path):
    """Behind it maps have odd sides, whose last points no stride reads, so that the others make nothing else."""
    graph = build("keras/MobileNetV2", width=0.1, size=(64, 96), classes=12)
    net = Network(graph, random_params(graph))
    write_pack(net, X := probe(graph, 1), tmp_path / "pack", origin={"input": "probe"})
    bare = tuple(f"block{index}.depthwise" for index in (2, 4, 7, 14))
    tensors = {SOURCE: X}
    for node in graph.nodes:
        attrs = {**node.attrs, "pad": ((0, 0), (0, 0))} if node.name in bare else node.attrs
        if node.op == "avg_pool2d":
            attrs = {**attrs, "kernel": tensors[node.inputs[0]].shape[2:]}
        params = [net.params.get(f"{node.name}.{slot}") for slot in OPS[node.op].params]
        tensors[node.name] = getattr(fast, node.op)(*(tensors[name] for name in node.inputs), *params, **attrs)
    found = compare(tmp_path / "pack", {"output": tensors["output"]})
    ((cause, *_),) = found.causes.values()
    assert (cause.ids, cause.nodes) == (("pad-amount",), bare)


INPUTS = {
    "one pixel to the right": (
        lambda x: np.pad(x, ((0, 0), (0, 0), (0, 0), (1, 0)))[..., :-1],
        "the image is one pixel to the right, and zeros come in",
    ),
    "rolled upwards": (lambda x: np.roll(x, -1, 2), "the image is one pixel farther up, and what leaves it comes in"),
    "grey": (lambda x: np.repeat(x.mean(1, keepdims=True), 3, 1), "the image is made grey, the mean of its colours"),
    "of the other sign": (lambda x: -x, "the pixels are subtracted from the mean"),
}


@pytest.mark.parametrize("case", INPUTS)
def test_from_logits_alone_what_happened_to_the_input_is_said(pack, case):
    make, words = INPUTS[case]
    assert said(compare(pack, {"logits": logits(x=make(X))}))[0].startswith(words)


def test_from_logits_alone_a_function_in_place_of_every_activation_is_said(pack):
    tensors = {SOURCE: X}
    for node in GRAPH.nodes:
        reading = fast if node.op != "relu6" else type("", (), {"relu6": staticmethod(np.abs)})
        given = {name: tensors[name] for name in node.inputs}
        tensors[node.name] = interpret(dataclasses.replace(GRAPH, nodes=(node,)), reading, NET.params, given)
    (first, *_) = said(compare(pack, {"logits": tensors["head.flatten"]}))
    assert first.startswith("the activation is the absolute value instead of relu6")


def test_a_softmax_of_probabilities_is_said(pack):
    assert said(compare(pack, {"logits": softmax(softmax(logits()))})) == ["the softmax is taken twice"]


def test_a_mistake_in_layers_of_a_kind_from_a_block_on_is_run():
    """In all depthwise layers from block 5 on, and in no other layer there."""
    nodes = tuple(f"block{index}.depthwise.act" for index in range(5, 10))
    y = changed("relu6-relu", "relu", *nodes)
    segment = cut(Parts(GRAPH), NET.params, GRAPH.output, {SOURCE: X, GRAPH.output: y})
    ways = Ways(segment, SearchBudget(), long=True)
    made = [way for each in begun(ways, list(ways.of_kinds([BUGS["relu6-relu"]]))) for way in each]
    best = min(made, key=lambda way: way.residual)
    assert best.extent.nodes == nodes
    assert best.residual < 1e-3 * ways.before


@pytest.mark.parametrize("ends", ["head.act", "block9.depthwise.act"])
def test_the_block_that_a_mistake_begins_at_is_searched_for_before_all_are_run(ends):
    """Of all mistakes that are everywhere, or in all blocks, in fewer runs than there are blocks for each."""
    acts = [node.name for node in GRAPH.nodes if node.op == "relu6"]
    nodes = tuple(acts[acts.index("block5.expand.act") : acts.index(ends) + 1])
    y = changed("relu6-relu", "relu", *nodes)
    segment = cut(Parts(GRAPH), NET.params, GRAPH.output, {SOURCE: X, GRAPH.output: y})
    ways = Ways(segment, SearchBudget(), long=True)
    whole = list(ways.everywhere(EXACT))
    before = len(ways.looked)
    made = [way for each in begun_soon(ways, whole) for way in each]
    best = min(made, key=lambda way: way.residual)
    assert (best.mistake.bug, best.extent.nodes) == ("relu6-relu", nodes)
    assert best.residual < 1e-3 * ways.before
    assert len(ways.looked) - before < 9 * len(made)


def test_the_input_comes_first_where_a_whole_network_has_a_narrow_bound():
    segment = cut(Parts(GRAPH), NET.params, GRAPH.output, {SOURCE: X, GRAPH.output: logits(x=X[::-1].copy())})
    one = Diagnosis(segment, Precision.of("float32"), SearchBudget(), "bound")
    next(one.steps())
    assert [cause.ids for cause in one.found] == [("input-batch",)]
    assert not one.ways.looked  # none of the changes at each place was run before


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda z: 100 * softmax(z), "the probabilities are given in percent"),
        (lambda z: log_softmax(z) / np.log(10), "to the base 10"),
        (lambda z: -np.sort(-softmax(z), axis=1), "the answers are sorted, the largest first"),
    ],
)
def test_what_was_made_of_the_logits_is_named(pack, answer, words):
    (cause, *_) = said(compare(pack, {"y": answer(logits()).astype(np.float32)}))
    assert words in cause


@pytest.mark.parametrize(
    ("answer", "kind", "where"),
    [
        (lambda z: np.concatenate([z[:, :1] - 3, z], axis=1), "more-channels", "before"),
        (lambda z: np.concatenate([z, z[:, :1] - 3], axis=1), "more-channels", "behind"),
        (lambda z: softmax(np.concatenate([z[:, :1] - 3, z], axis=1)), "more-channels", "before"),
        (lambda z: z[:, 1:], "fewer-channels", "before"),
        (lambda z: softmax(z[:, :5]), "fewer-channels", "behind"),
    ],
)
def test_which_classes_are_more_or_fewer_is_told(pack, answer, kind, where):
    found = compare(pack, {"y": answer(logits())})
    (feature,) = next(iter(found.judged.features.values()))
    assert not found.holds
    assert (feature.kind, feature.facts["where"]) == (kind, where)


def test_other_numbers_of_more_classes_are_not_called_right(pack):
    y = np.concatenate([logits()[:, :1], 1.01 * logits()], axis=1)
    assert not compare(pack, {"y": y}).judged.features


def test_a_sum_of_the_right_size_whose_terms_are_not_is_no_answer_of_other_channels(pack):
    t = NET.trace(X)
    names = ("block2.project.bn", "block3.project.bn", "block3.add")
    dump = {name: t[name] for name in names} | {"block2.project.bn": t["block2.project.bn"][:, :, :-2]}
    found = compare(pack, dump, names={name: name for name in names})
    assert [each.kind for each in found.judged.features["block3.add"]] == ["size-follows"]


@pytest.fixture(scope="module")
def of_probabilities(tmp_path_factory):
    """A pack of the same network with a softmax behind it."""
    folder = tmp_path_factory.mktemp("probabilities") / "pack"
    graph = dataclasses.replace(GRAPH, nodes=(*GRAPH.nodes, Node("output", "softmax", ("head.flatten",))))
    write_pack(Network(graph, NET.params), X, folder, origin={"input": "probe"})
    return folder


@pytest.mark.parametrize("end", ["head.flatten", "head.logits"])
def test_a_port_that_ends_before_the_softmax_holds_with_a_sentence(of_probabilities, end):
    tensors = {name: y for name, y in NET.trace(X).items() if end == "head.flatten" or name != "head.flatten"}
    found = compare(of_probabilities, tensors)
    assert found.holds
    assert any(note.startswith("output: the port ends before this softmax") for note in comparison_notes(found))


def test_a_port_that_ends_before_the_logits_lacks_the_softmax(of_probabilities):
    tensors = {name: y for name, y in NET.trace(X).items() if name not in ("head.flatten", "head.logits")}
    found = compare(of_probabilities, tensors)
    assert [each.name for each in found.findings if each.judgement.verdict == "missing"][-1] == "output"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A network of plain layers, and its pack."""
    graph = build("timm/mobilenetv1_100", width=0.25, size=(32, 32), classes=12)
    net, folder = Network(graph, random_params(graph)), tmp_path_factory.mktemp("plain") / "pack"
    write_pack(net, probe(graph, 1), folder, origin={"input": "probe"})
    return net, folder


def test_folded_weights_in_a_short_format_are_told(plain):
    net, folder = plain
    graph, params = fold_batch_norm(net.graph, net.params)  # in float32: some of them lie beyond a tie
    short = {name: rounded(y, "float16") if name.endswith(".w") else y for name, y in params.items()}
    found = compare(folder, {"logits": logits(Network(graph, short), probe(graph, 1))})
    assert said(found) == ["its folded weights are rounded to float16, everywhere"]


def test_convolutions_alone_in_a_short_format_are_told(plain):
    net, folder = plain
    own = [f"{node.name}.{slot}" for node in net.graph.nodes if node.op in CONVOLUTIONS for slot in node.params]
    short = {name: rounded(net.params[name], "bfloat16") for name in own}
    found = compare(folder, {"logits": logits(Network(net.graph, net.params | short), probe(net.graph, 1))})
    assert said(found) == ["its weights are rounded to bfloat16, in all convolutions"]


def test_classes_alone_are_refused_with_how_many_are_the_packs(pack):
    classes = logits().argmax(axis=1)
    with pytest.raises(RequestError, match=r"best: holds the likeliest class of each image, of which 50 % are"):
        compare(pack, {"best": np.array([classes[0], (classes[1] + 1) % 12])})


@pytest.mark.parametrize("store", ["float16", "bfloat16"])
def test_what_is_stored_in_a_short_format_on_the_way_is_told_by_the_numbers_of_the_end(plain, store):
    net, folder = plain
    y = interpret(net.graph, short_rules(fast, store), net.params, {SOURCE: probe(net.graph, 1)})
    found = compare(folder, {"logits": y})
    assert said(found) == [f"its values are rounded to {store}"]
    assert not found.judged.evidence


@pytest.mark.parametrize("name", ["log_probs", "y"])
def test_honest_logarithms_of_probabilities_hold_beside_all_other_tensors(pack, name):
    tensors = NET.trace(X)
    z = tensors.pop("head.flatten")
    del tensors["head.logits"]
    assert compare(pack, {**tensors, name: log_softmax(z)}).holds


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_probabilities_are_the_answer_of_a_network_that_ends_in_them_whatever_their_name(temperature, tmp_path):
    graph = build("keras/MobileNetV2", width=0.25, size=(32, 40), classes=12)
    params = random_params(graph)
    params["head.logits.w"] *= np.float32(0.02)  # of larger logits one probability is 1
    net = Network(graph, params)
    write_pack(net, X, tmp_path / "pack", origin={"input": "probe"})
    tensors = net.trace(X)
    z, _, _ = (tensors.pop(name) for name in ("head.flatten", "head.logits", "output"))
    found = compare(tmp_path / "pack", {**tensors, "predictions": softmax(z / np.float32(temperature))})
    assert found.matching.tensors["output"].source == "predictions"
    assert found.holds == (temperature == 1)
    assert ("the numbers are multiplied by 1/4 before the end" in said(found)) == (temperature == 4)


def test_a_copy_beside_few_tensors_is_not_the_tensor_of_another_node(pack):
    tensors = NET.trace(X)
    pooled = tensors["head.pool"]
    found = compare(pack, {"logits": tensors["head.flatten"], "head.pool": pooled, "dropout": pooled[..., 0, 0]})
    assert found.holds
    assert [(each.source, each.node) for each in found.matching.extras] == [("dropout", "head.pool")]


def test_logits_under_a_name_of_probabilities_are_no_copy(pack):
    found = compare(pack, {"logits": logits(), "probs": logits()})
    assert not found.holds
    assert found.judged.findings[-1].name == "output"
