"""Which network a graph is, whatever its nodes are called, and every way in which it is another: no more, no less."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from edits import changed, disguised, edited, inserted, settled, without
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from refnet import FormatError, Network, build, models, random_input, random_params
from refnet.alignment.differences import Difference, Standing
from refnet.errors import GraphError
from refnet.files.identify import nearest
from refnet.files.identify.structure import recognise
from refnet.graph import Graph, Node, Recipe, check
from refnet.networks.dialects import MODELS
from refnet.networks.rewrite import fold_graph
from refnet.report.differences import grouped, line, matters, what, words

SMALL = build("torchvision/mobilenet_v3_small", width=0.35, size=(48, 192), classes=2)


def found_in(graph: Graph, model: str | None = None, width: float | None = None):
    return recognise(disguised(graph), (), model, width)


def told(graph: Graph, model: str | None = None) -> list[tuple[str, ...]]:
    return [(one.node, *words(one)) for one in found_in(graph, model).differences]


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


@pytest.mark.parametrize("divisor", [0, 1, 4, 16])
@pytest.mark.parametrize("model", ["torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small"])
def test_of_a_structure_too_widths_that_are_rounded_otherwise_are_solved_for(model, divisor):
    graph = build(model, width=0.55, size=(64, 48), classes=7, divisor=divisor)
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


# ------------------------------------------------------------------------------------------------- one thing is changed

SYMMETRIC = [name for name in models() if MODELS[name].dialect.pad == "symmetric" and "@" not in name]


def attribute(key, value_of):
    """A change of one attribute of one depthwise convolution."""

    def change(graph, node):
        was = node.attrs[key]
        value = value_of(was)
        return changed(graph, node.name, **{key: value}), (node.name, "attribute", f"{key} {was}", f"{key} {value}")

    return change, ("depthwise_conv2d",)


def another_eps(graph, node):
    was = node.attrs["eps"]
    return changed(graph, node.name, eps=2e-3), (node.name, "attribute", f"eps {was:.6g}", "eps 0.002")


def another_slope(graph, node):
    return changed(graph, node.name, slope=0.2), (node.name, "attribute", "slope 0.166667", "slope 0.2")


def another_activation(graph, node):
    other = "swish" if node.op == "relu" else "relu"
    return edited(graph, node.name, op=other), (node.name, "operation", node.op, other)


def another_kernel(graph, node):
    C, R, S = node.params["w"]
    kernel = (8 - R, S)  # 3 for 5 and 5 for 3, in one direction
    graph = edited(graph, node.name, params={**node.params, "w": (C, *kernel)})
    return graph, (node.name, "shape", f"kernel {(R, S)}", f"kernel {kernel}")


def another_squeeze(graph, node):
    name = node.inputs[0].replace("pool", "reduce")
    if not name.endswith("se.reduce"):
        return None
    expand = name.replace("reduce", "expand")
    K, C = graph[name].params["w"]
    vector = {"b": (K + 1,)} if "b" in graph[name].params else {}
    graph = edited(graph, name, params={"w": (K + 1, C), **vector})
    graph = edited(graph, expand, params={**graph[expand].params, "w": (C, K + 1)})
    return graph, (name, "shape", f"{K} channels", f"{K + 1} channels")


def no_shortcut(graph, node):
    return without(graph, node.name), (node.name, "missing", "add", "")


def a_bias_too_many_or_few(graph, node):
    """Of a convolution in front of a batch norm: the vendors differ."""
    if not any(reader.op == "batch_norm" and node.name in reader.inputs for reader in graph.nodes):
        return None  # folded: there a bias says nothing
    if "b" in node.params:
        return edited(graph, node.name, params={"w": node.params["w"]}), (node.name, "missing", "bias", "")
    params = {"w": node.params["w"], "b": node.params["w"][:1]}
    return edited(graph, node.name, params=params), (node.name, "extra", "", "bias")


def a_pool_before_the_last(graph, node):
    last = graph["head.pool"].inputs[0]
    graph = inserted(graph, last, "max_pool2d", kernel=(2, 2), stride=(2, 2), pad=((0, 0), (0, 0)))
    return graph, (f"{last.partition('.')[0]}.max_pool", "extra", "", "max_pool2d kernel (2, 2)")


CHANGES = {
    "stride": attribute("stride", lambda was: (was[0], 3 - was[1])),
    "pad": attribute("pad", lambda was: (was[0], (was[1][0] + 1, was[1][1]))),
    "dilation": attribute("dilation", lambda was: (was[0], was[1] + 1)),
    "kernel": (another_kernel, ("depthwise_conv2d",)),
    "bias": (a_bias_too_many_or_few, ("depthwise_conv2d",)),
    "eps": (another_eps, ("batch_norm",)),
    "activation": (another_activation, ("relu", "relu6", "hard_swish")),
    "slope": (another_slope, ("hard_sigmoid",)),
    "squeeze": (another_squeeze, ("pointwise_conv2d", "relu")),
    "shortcut": (no_shortcut, ("add",)),
    "pool": (a_pool_before_the_last, ("flatten",)),
}


@st.composite
def planted(draw, kinds=tuple(CHANGES)):
    """(graph, the one difference that was made in it)."""
    change, ops = CHANGES[draw(st.sampled_from(kinds))]
    name = draw(st.sampled_from(SYMMETRIC))
    width = 1.0 if MODELS[name].width != 1 else draw(st.sampled_from([0.35, 0.5, 1.0]))
    graph = build(name, width=width, size=(96, 128), classes=draw(st.integers(2, 9)))
    if draw(st.booleans()):
        graph = fold_graph(graph)
    nodes = [node for node in graph.nodes if node.op in ops]
    assume(nodes)
    try:
        case = change(graph, draw(st.sampled_from(nodes)))
    except GraphError:  # a map that has become smaller cannot be added to one that has not
        case = None
    assume(case is not None)
    return case


@settings(deadline=None, max_examples=60)
@given(planted())
def test_one_change_is_one_difference_at_its_node(case):
    graph, expected = case
    check(graph)
    assert told(graph, graph.recipe.model) == [expected]
    assert len(told(graph)) == 1, "without being told the model, what comes nearest is no further away"


@settings(deadline=None, max_examples=20)
@given(planted(("stride", "activation", "slope", "shortcut", "pool", "squeeze")))
def test_the_graph_that_comes_back_computes_what_the_files_does(case):
    graph, _ = case
    file = disguised(graph)
    named = recognise(file, (), graph.recipe.model, None).named
    params = random_params(file)
    theirs = {new: old for old, new in named.names.items()}
    ours = {
        f"{node.name}.{slot}": params[f"{theirs[node.name]}.{slot}"]
        for node in named.graph.nodes
        for slot in node.params
    }
    x = random_input(file, 1)
    net = Network(check(named.graph), ours)
    assert np.array_equal(net(x), Network(file, params)(x))
    exact, x = net.astype(np.float64), x.astype(np.float64)
    assert np.allclose(exact.fold()(x), exact(x), rtol=0, atol=1e-11 * abs(exact(x)).max())


# ------------------------------------------------------------------------------------------------- whole habits changed


def test_a_head_without_its_hidden_layer():
    graph = without(SMALL, "head.hidden", "head.hidden.act")
    graph = edited(graph, "head.logits", params={"w": (2, 192), "b": (2,)})
    lines = [line(one) for one in found_in(graph).differences]
    assert lines == [
        "head.hidden is missing: pointwise_conv2d with 360 channels",
        "head.hidden.act is missing: hard_swish",
    ]


def test_a_network_without_any_head_is_the_beginning_of_one():
    graph = without(SMALL, "head.hidden", "head.hidden.act", "head.logits")
    found = found_in(graph)
    assert found.standing == Standing("beginning", "torchvision/mobilenet_v3_small", 0.35, until="head.flatten")
    assert found.differences == ()


@pytest.mark.parametrize("folded", [False, True], ids=["unfolded", "folded"])
@pytest.mark.parametrize(
    ("model", "width", "until"),
    [
        ("torchvision/mobilenet_v2", 0.35, "block6.expand.act"),
        ("torchvision/mobilenet_v2", 0.35, "block13.project.bn"),
        ("keras/MobileNetV2", 0.35, "block13.expand.act"),
        ("keras/MobileNet", 0.25, "block6.depthwise.act"),
        ("torchvision/mobilenet_v3_small", 1.0, "block8.add"),
        ("torchvision/mobilenet_v3_large", 0.75, "head.act"),
    ],
)
def test_a_network_that_ends_early_is_the_beginning_of_a_known_one(model, width, until, folded):
    known = build(model, width=width, size=96)
    cut = known.leading_to(until)
    found = found_in(fold_graph(cut) if folded else cut)
    assert (found.standing.kind, found.standing.width) == ("beginning", width)
    assert found.models[0] == model
    assert found.standing.until == until
    assert found.differences == ()
    assert found.named.graph.nodes == (fold_graph(cut) if folded else cut).nodes


def test_what_goes_on_behind_a_beginning_keeps_its_own_names():
    """FOMO: object detection by a grid of classes, on the first blocks of V2."""
    cut = build("keras/MobileNetV2", width=0.35, size=96).leading_to("block6.expand.act")
    wide = cut["block6.expand"].params["w"][0]
    head = (
        Node("head", "pointwise_conv2d", (cut.output,), {"w": (32, wide), "b": (32,)}),
        Node("head.relu", "relu", ("head",)),
        Node("stem.conv", "pointwise_conv2d", ("head.relu",), {"w": (3, 32), "b": (3,)}),
        Node("softmax", "softmax", ("stem.conv",)),
    )
    file = cut.renamed({node.name: f"x{i}" for i, node in enumerate(cut.nodes)})
    own = tuple(replace(n, inputs=(file.output,)) if n.name == "head" else n for n in head)
    found = recognise(replace(file, nodes=(*file.nodes, *own)), (), None, None)
    assert (found.standing.kind, found.standing.until) == ("beginning", "block6.expand.act")
    assert found.standing.beyond == ("head", "head.relu", "stem.conv_2", "softmax")
    assert found.differences == ()
    names = [node.name for node in found.named.graph.nodes]
    assert names == [*(node.name for node in cut.nodes), *found.standing.beyond]


@pytest.mark.parametrize(
    "name",
    ["torchvision/lraspp_mobilenet_v3_large", "paper/lraspp_mobilenet_v3_large", "paper/lraspp_mobilenet_v3_small"],
)
@pytest.mark.parametrize("folded", [False, True])
def test_a_segmentation_head_is_recognised_without_names(name, folded):
    known = build(name, width=0.5, size=(64, 96), classes=4)
    file = fold_graph(known) if folded else known
    found = recognise(file.renamed({node.name: f"x{i}" for i, node in enumerate(file.nodes)}), (), None, None)
    assert (found.standing.kind, found.models[0], found.standing.width) == ("known", name, 0.5)
    assert found.named.graph.nodes == file.nodes


def test_strides_of_its_own_do_not_make_another_network_of_it():
    graph = build("torchvision/mobilenet_v2", width=0.35, size=96)
    for index in (2, 4, 7, 14):
        graph = changed(graph, f"block{index}.depthwise", stride=(1, 1))
    found = found_in(graph)
    assert (found.standing.kind, found.models[0]) == ("almost", "torchvision/mobilenet_v2")
    assert len(found.differences) == 4


def test_a_squeeze_and_excite_before_its_activation_is_one_difference():
    known = build("torchvision/mobilenet_v3_small", size=64)
    first = {"block4.depthwise.act": ("block4.se.scale",)}
    order = [node for node in known.nodes if node.name != "block4.depthwise.act"]
    scale = [node.name for node in order].index("block4.se.scale")
    order.insert(scale + 1, known["block4.depthwise.act"])
    reads = first | {
        "block4.se.pool": ("block4.depthwise.bn",),
        "block4.se.scale": ("block4.depthwise.bn", "block4.se.gate"),
        "block4.project": ("block4.depthwise.act",),
    }
    graph = check(replace(known, nodes=tuple(replace(n, inputs=reads.get(n.name, n.inputs)) for n in order)))
    assert told(graph) == [
        ("block4.depthwise.act", "attribute", "input block4.depthwise.bn", "input block4.se.scale"),
    ]
    assert found_in(graph).named.graph.nodes == graph.nodes


def test_a_shortcut_from_elsewhere_is_seen():
    known = build("torchvision/mobilenet_v2", size=64)
    graph = edited(known, "block6.add", inputs=("block4.project.bn", "block6.project.bn"))
    ((node, kind, was, now),) = told(graph)
    assert (node, kind) == ("block6.add", "attribute")
    assert (was, now) == ("input block5.add and block6.project.bn", "input block4.project.bn and block6.project.bn")


def test_softmax_at_the_end_and_pixels_rescaled_at_the_start():
    graph = inserted(SMALL, SMALL.output, "softmax")
    assert told(graph) == [("output", "extra", "", "softmax")]
    raw = build("keras/MobileNetV3Small@raw", size=64)
    rescaled = Node("stem.rescale", "affine", ("input",), {}, {"slope": 1 / 255, "offset": 0.0})
    nodes = (rescaled, replace(raw.nodes[0], inputs=("stem.rescale",)), *raw.nodes[1:])
    assert told(replace(raw, nodes=nodes), "keras/MobileNetV3Small@raw") == [
        ("stem.rescale", "extra", "", "affine slope 0.00392157 offset 0"),
    ]
    assert [where for where, *_ in told(replace(raw, nodes=nodes), "keras/MobileNetV3Small")] == ["stem.rescale"] * 2


def test_where_a_vector_is_flattened_is_no_difference():
    assert told(without(SMALL, "head.flatten")) == []


def test_a_number_that_float32_cannot_tell_from_the_known_one_is_the_known_one():
    slope = float(np.float32(1 / 6))
    assert slope != 1 / 6
    graph = SMALL
    for node in SMALL.nodes:
        if node.op == "hard_sigmoid":
            graph = changed(graph, node.name, slope=slope)
        if node.op == "batch_norm":
            graph = changed(graph, node.name, eps=float(np.float32(1e-3)))
    assert found_in(graph).named.graph.nodes == SMALL.nodes
    assert told(graph) == []


def test_a_number_beyond_float32_is_only_another_number(recwarn):
    graph = changed(SMALL, "stem.bn", eps=1e300)
    assert told(graph) == [("stem.bn", "attribute", "eps 0.001", "eps 1e+300")]
    assert not recwarn


def test_images_of_another_number_of_channels():
    stem = replace(SMALL.nodes[0], params={"w": (8, 1, 3, 3)})
    grey = replace(SMALL, recipe=replace(SMALL.recipe, channels=1), nodes=(stem, *SMALL.nodes[1:]))
    assert [line(one) for one in found_in(grey).differences] == ["input has 1 channels, not 3"]


def test_a_classifier_of_text_direction_is_v3_small_with_what_makes_it_another():
    """PaddleOCR's, as far as its structure goes: shared by hand here, run as a file in the tests of real exports."""
    graph = SMALL
    for name in ("block1", "block2", "block4", "block9"):
        graph = changed(graph, f"{name}.depthwise", stride=(2, 1))
    for node in graph.nodes:
        if node.op == "hard_sigmoid":
            graph = changed(graph, node.name, slope=0.2)
    graph = inserted(graph, "head.act", "max_pool2d", kernel=(2, 2), stride=(2, 2), pad=((0, 0), (0, 0)))
    graph = without(graph, "head.hidden", "head.hidden.act")
    graph = edited(graph, "head.logits", params={"w": (2, 192), "b": (2,)})
    found = found_in(settled(graph, SMALL))
    assert found.models == ("torchvision/mobilenet_v3_small",)
    assert found.named.graph.recipe == SMALL.recipe
    lines = grouped(found.differences, most=2)
    assert lines == [
        "has stride (2, 1), not (2, 2): block1.depthwise, block2.depthwise and 2 more",
        "has slope 0.2, not 0.166667: block1.se.gate, block4.se.gate and 7 more",
        "head.max_pool is extra: max_pool2d kernel (2, 2)",
        "head.hidden is missing: pointwise_conv2d with 360 channels",
        "head.hidden.act is missing: hard_swish",
    ]


# ------------------------------------------------------------------------------------------------------------- the rest


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
