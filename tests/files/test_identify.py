"""Which network a graph is, whatever its nodes are called."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from edits import changed, disguised
from recognising import SMALL, found_in

from refnet import FormatError, build, models
from refnet.alignment.differences import Difference
from refnet.files.identify import nearest
from refnet.files.identify.structure import recognise
from refnet.graph import Graph, Node, Recipe, check
from refnet.networks.dialects import MODELS
from refnet.networks.plan import WidthRule
from refnet.networks.rewrite import fold_graph
from refnet.report.differences import line, matters, what, words


@pytest.mark.parametrize("folded", [False, True], ids=["unfolded", "folded"])
@pytest.mark.parametrize("model", models())
def test_every_network_is_recognised_without_its_names(model, folded):
    graph = build(model, width=0.5 if MODELS[model].width == 1 else 1.0, size=(65, 96), classes=7)
    known = fold_graph(graph) if folded else graph
    found = found_in(known)
    assert not found.differences
    assert found.named.graph.nodes == known.nodes
    assert found.named.folded == folded
    recipe = found.named.graph.recipe
    assert (recipe.size, recipe.classes, recipe.model) == ((65, 96), 7, found.models[0])
    computing = build(recipe.model, width=recipe.width, size=(65, 96), classes=7)
    assert (fold_graph(computing) if folded else computing).nodes == known.nodes


@pytest.mark.parametrize("divisor", [0, 1, 4, 16, WidthRule(8, "plain"), WidthRule(8, "down")])
@pytest.mark.parametrize("model", ["torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small"])
def test_of_a_structure_too_widths_that_are_rounded_otherwise_are_solved_for(model, divisor):
    graph = build(model, width=0.55 if isinstance(divisor, int) else 0.35, size=(64, 48), classes=7, divisor=divisor)
    found = found_in(fold_graph(graph))
    assert found.standing.kind == "almost"
    again = build(model, width=found.standing.width, size=(64, 48), classes=7, divisor=found.divisor)
    assert again.nodes == graph.nodes  # the first of those that give the same channels


@pytest.mark.parametrize(
    ("model", "width"),
    [
        ("torchvision/mobilenet_v3_small", 0.6),
        ("torchvision/mobilenet_v3_large@reduced_tail", 1.0),
        ("timm/mobilenetv3_rw", 1.0),
        ("timm/tf_mobilenetv3_large_minimal_100", 1.0),
        ("keras/MobileNet", 0.25),
        ("keras/MobileNetV2", 0.35),
        ("d-li14/mobilenetv2", 0.1),
        ("kuan-wang/mobilenetv3_large", 0.75),
    ],
)
def test_the_width_is_found(model, width):
    recipe = found_in(build(model, width=width)).named.graph.recipe
    assert (recipe.model, recipe.width) == (model, width)


@pytest.mark.parametrize("width", [0.2, 0.3, 0.45])
def test_of_a_narrow_network_too_most_layers_of_which_have_other_channels(width):
    model = "torchvision/mobilenet_v2"
    graph = build(model, width=width, size=(64, 48), classes=7, divisor=0)
    assert sum(a.params["w"][0] != b.params["w"][0] for a, b in both(graph, build(model, width=width, classes=7))) > 30
    found = found_in(graph)
    assert (found.standing.kind, found.standing.model) == ("almost", model)
    assert (
        build(model, width=found.standing.width, size=(64, 48), classes=7, divisor=found.divisor).nodes == graph.nodes
    )


def both(one, other):
    """The convolutions of two networks, side by side."""
    return zip(*([node for node in each.nodes if "w" in node.params] for each in (one, other)), strict=True)


def test_vendors_who_build_the_same_are_all_listed_and_one_vendors_synonyms_are_not():
    found = found_in(build("torchvision/mobilenet_v2", size=64))
    assert set(found.models) == {"torchvision/mobilenet_v2", "timm/mobilenetv2_100", "d-li14/mobilenetv2"}
    assert found_in(build("timm/mnasnet_100", width=0.5)).models == ("torchvision/mnasnet0_5", "timm/mnasnet_050")


def test_names_that_a_vendor_gives_decide_among_equals():
    graph = disguised(build("timm/mobilenetv2_100", size=64))
    assert recognise(graph, ("conv_stem.weight", "bn1.bias"), None, None).models[0] == "timm/mobilenetv2_100"
    assert recognise(graph, ("features.0.0.weight",), None, None).models[0] != "timm/mobilenetv2_100"


def test_folded_timms_twins_are_told_apart_by_their_paddings_and_are_one_where_these_agree():
    def folded(model: str, size: int) -> Graph:
        return fold_graph(build(f"timm/{model}", size=size))

    assert found_in(folded("mobilenetv3_small_075", 224)).models == ("timm/mobilenetv3_small_075",)
    assert found_in(folded("tf_mobilenetv3_small_075", 224)).models[0] == "timm/tf_mobilenetv3_small_075"
    # Of odd sizes only, every map from 193 on down to 7 being odd, both pad alike.
    both = {"timm/mobilenetv3_small_075", "timm/tf_mobilenetv3_small_075"}
    assert both <= set(found_in(folded("mobilenetv3_small_075", 193)).models)


def test_another_kind_of_network_is_one_of_its_own():
    nodes = [Node("c0", "conv2d", ("input",), {"w": (16, 3, 3, 3)}, _dense())]
    nodes += [Node(f"c{i}", "conv2d", (f"c{i - 1}",), {"w": (16, 16, 3, 3)}, _dense()) for i in range(1, 9)]
    long = [Node("a0", "relu", ("input",)), *(Node(f"a{i}", "relu", (f"a{i - 1}",)) for i in range(1, 1001))]
    for own in (nodes, [Node("a", "relu", ("input",))], long):
        graph = Graph(Recipe("", 1.0, (32, 32), 16), tuple(own))
        found = recognise(graph, (), None, None)
        assert (found.standing.kind, found.standing.model, found.models) == ("own", "", ())
        assert found.named.graph == graph
        assert found.differences == ()
        with pytest.raises(FormatError, match="is no torchvision/mobilenet_v2"):
            recognise(graph, (), "torchvision/mobilenet_v2", None)


def test_a_network_is_almost_a_known_one_if_most_of_its_convolutions_are():
    known = disguised(build("keras/MobileNet", width=0.25, size=96))
    convolutions = [node for node in known.nodes if "conv2d" in node.op]
    for most, kind, model in ((8, "almost", "keras/MobileNet"), (20, "own", ""), (27, "own", "")):
        other = {}
        for node in convolutions[1 : most + 1]:
            w = node.params["w"]
            other[node.name] = {"w": (w[0], 5, 5) if node.op == "depthwise_conv2d" else (w[0] + 1, *w[1:])}
        nodes = tuple(replace(node, params=other.get(node.name, node.params)) for node in known.nodes)
        standing = recognise(replace(known, nodes=nodes), (), None, None).standing
        assert (standing.kind, standing.model) == (kind, model), standing


@pytest.mark.parametrize("others", [(), ("relu",), ("pointwise", "batch_norm", "relu6")])
def test_a_graph_of_nearly_a_thousand_nodes_is_compared_in_time(others):
    nodes, source = [], "input"
    while len(nodes) < 985:
        for op in ("depthwise", *others):
            name = f"n{len(nodes)}"
            vectors = {"batch_norm": dict.fromkeys(("gamma", "beta", "mean", "var"), (3,))}
            params = {"depthwise": {"w": (3, 3, 3)}, "pointwise": {"w": (3, 3)}, **vectors}
            attrs = {"depthwise": _dense(), "batch_norm": {"eps": 1e-3}}
            full = f"{op}_conv2d" if op in ("depthwise", "pointwise") else op
            nodes.append(Node(name, full, (source,), params.get(op, {}), attrs.get(op, {})))
            source = name
    graph = check(Graph(Recipe("", 1.0, (32, 32), 3), tuple(nodes)))
    recognise(SMALL, (), None, None)
    start = time.process_time()
    recognise(graph, (), None, None)
    assert time.process_time() - start < 5


def _dense():
    return {"stride": (1, 1), "pad": ((1, 1), (1, 1)), "dilation": (1, 1)}


def test_a_model_that_was_named_is_what_it_is_compared_with():
    graph = build("timm/mobilenetv3_small_100", size=64)
    found = found_in(graph, "torchvision/mobilenet_v3_small")
    assert found.models == ("torchvision/mobilenet_v3_small",)
    assert {what(one) for one in found.differences} == {"has eps 1e-05, not 0.001"}
    assert len(found.differences) == sum(node.op == "batch_norm" for node in graph.nodes)


def test_a_width_that_was_named_is_what_it_is_compared_at():
    found = found_in(build("torchvision/mobilenet_v2", width=0.5, size=64), width=0.75)
    assert found.named.graph.recipe.width == 0.75
    assert {words(one).kind for one in found.differences} == {"shape"}


def test_recognition_is_quick():
    graph = disguised(build("torchvision/mobilenet_v3_large"))
    recognise(graph, (), None, None)
    start = time.process_time()  # of this process: other programs do not count
    recognise(changed(graph, "tensor_5", eps=0.5) if graph["tensor_5"].op == "batch_norm" else graph, (), None, None)
    assert time.process_time() - start < 1


def test_differences_read_as_sentences():
    assert line(Difference("a.act", "op", {"op": "relu6"}, {"op": "relu"})) == "a.act is relu, not relu6"
    assert line(Difference("a", "channels", 192, 200)) == "a has 200 channels, not 192"
    assert line(Difference("a", "bias", False, True)) == "a has a bias"
    assert line(Difference("a", "bias", True, False)) == "a has no bias"
    assert line(Difference("a", "kernel", "global", (2, 2))) == "a has kernel (2, 2), not global"


def test_matters_are_named_once_each():
    one, two = (Difference(f"block{i}.depthwise.bn", "eps", 1e-3, 1e-5) for i in (1, 2))
    extra = [Difference(f"block{i}.act", "extra", None, {"op": "relu"}) for i in (1, 2)]
    assert matters([one, two, *extra, Difference("output", "missing", {"op": "softmax"})]) == ("eps", "act", "output")


def test_an_own_head_of_two_layers_with_all_between_them_is_no_end_of_its_own():
    """What a whole network with a changed head differs in, and what the beginning of one with an own end counts."""
    known = build("torchvision/mobilenet_v2", width=0.35, size=96)
    vectors = dict.fromkeys(("gamma", "beta", "mean", "var"), (40,))
    head = (
        Node("hidden", "pointwise_conv2d", ("head.pool",), {"w": (40, 1280), "b": (40,)}),
        Node("hidden.bn", "batch_norm", ("hidden",), vectors, {"eps": 1e-5}),
        Node("hidden.act", "relu", ("hidden.bn",)),
        Node("classes", "pointwise_conv2d", ("hidden.act",), {"w": (7, 40), "b": (7,)}),
        Node("end", "flatten", ("classes",)),
    )
    body = [node for node in known.nodes if node.name not in ("head.logits", "head.flatten")]
    graph = disguised(Graph(replace(known.recipe, classes=7), (*body, *head)))
    assert recognise(graph, (), None, None).standing.kind == "almost"


def _family(name):
    found = [word for word in ("v1", "v2", "v3", "mnas") if word in name.lower().replace("_", "")]
    return found[0] if found else {"keras": "v1", "refnet": "v3", "article": "v3"}[name.partition("/")[0]]


@pytest.mark.parametrize(
    ("count", "confused"),
    [
        (3, {"mnas v1 v2 v3", "mnas v2 v3", "mnas v3", "v1 v3"}),
        (nearest._FEWEST, {"mnas v2", "mnas v3", "v1 v3"}),
        (10, {"mnas v3"}),
        (11, set()),
    ],
)
def test_how_many_convolutions_tell_a_family_from_the_others(count, confused):
    """The table that the least beginning is tuned on: which families begin alike, at any width."""
    alike = {}
    for name in MODELS:
        for width in nearest._widths(name, None):
            alike.setdefault(nearest.convolution_rows(name, width)[:count], set()).add(_family(name))
    assert {" ".join(sorted(families)) for families in alike.values() if len(families) > 1} == confused
