"""Tensors find their nodes by what the network makes of the candidate's own: whatever their names, however wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from refnet import Network, build, random_params
from refnet.files.schemes import SCHEMES
from refnet.graph import SOURCE, Graph, Node, Recipe, interpret
from refnet.networks.rewrite import norms
from refnet.pack.matching import walks as walks_of
from refnet.pack.matching.extras import extras
from refnet.pack.matching.match import match_tensors
from refnet.pack.matching.modules import made_by_modules
from refnet.pack.matching.vendors import by_vendor
from refnet.pack.probe import probe
from refnet.readings import fast
from refnet.readings.shapes import shapes


@cache
def network(model="torchvision/mobilenet_v2", width=0.35):
    graph = build(model, width=width, size=(48, 64), classes=10)
    net = Network(graph, random_params(graph))
    x = probe(graph, 1)
    return net, x, {SOURCE: x, **net.trace(x)}


def matched(net, golden, candidate):
    full = {name: (1, *shape) for name, shape in shapes(net.graph).items()}
    return match_tensors(candidate, full, golden.__getitem__, network=net)


def nameless(tensors):
    return {f"t{index}": y for index, y in enumerate(tensors.values())}


def mistaken(found, tensors):
    """Nodes for which another tensor was taken."""
    names = list(tensors)
    return {
        node: names[int(each.source[1:])] for node, each in found.tensors.items() if node != names[int(each.source[1:])]
    }


def wrong_everywhere(net, **ops):
    """ReLU where there should be another activation, and colours reversed: wrong from the first layer on."""
    nodes = tuple(replace(node, op=ops.get(node.op, node.op)) for node in net.graph.nodes)
    params = {**net.params, "stem.conv.w": net.params["stem.conv.w"][:, ::-1].copy()}
    return Network(replace(net.graph, nodes=nodes), params)


@pytest.mark.parametrize(
    "model", ["torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small", "timm/mobilenetv1_100"]
)
def test_a_port_that_is_wrong_from_the_first_layer_on_is_matched_without_names(model):
    net, x, golden = network(model)
    tensors = wrong_everywhere(net, relu6="relu", hard_swish="relu").trace(x)
    found = matched(net, golden, nameless(tensors))
    assert mistaken(found, tensors) == {}
    assert len(found.tensors) >= 0.9 * len(tensors)


@pytest.mark.parametrize(("without", "more", "walks"), [("", "", 0), ("one", "", 1), ("", "beside", 1)])
def test_a_port_with_a_tensor_of_each_name_and_no_other_is_not_run(without, more, walks, monkeypatch):
    net, _, golden = network("timm/mobilenetv1_100", 0.25)
    without = without and net.graph.nodes[5].name
    tensors = {name: y for name, y in golden.items() if name not in (without, SOURCE)}
    tensors |= {more: np.ones((1, 3, 2, 2), np.float32)} if more else {}
    seen, walk_along = [], walks_of.walk_along

    def walk(*arguments, **options):
        seen.append(1)
        return walk_along(*arguments, **options)

    monkeypatch.setattr(walks_of, "walk_along", walk)
    found = matched(net, golden, tensors)
    assert {node: each.source for node, each in found.tensors.items()} == {
        name: name for name in tensors if name != more
    }
    assert len(seen) == walks


def test_what_a_fusing_runtime_has_is_matched_without_names():
    net, x, golden = network()
    ends = {unit.output for unit in net.graph.units()}
    tensors = {name: y for name, y in net.trace(x).items() if name in ends}
    found = matched(net, golden, nameless(tensors))
    assert mistaken(found, tensors) == {}
    assert len(found.tensors) == len(tensors)


def test_a_product_without_its_bias_is_not_taken_for_the_layer():
    net, _, golden = network()
    tensors = {name: y for name, y in golden.items() if name not in ("head.logits", "head.flatten")}
    product = golden["head.flatten"] - net.params["head.logits.b"]
    for candidate in (
        {**tensors, "MatMul": product, "BiasAdd": golden["head.flatten"]},
        nameless({**tensors, "MatMul": product, "BiasAdd": golden["head.flatten"]}),
    ):
        found = matched(net, golden, candidate)
        (other,) = found.unmatched
        np.testing.assert_array_equal(candidate[other], product)
        np.testing.assert_array_equal(found.tensors["head.flatten"].array, golden["head.flatten"])


def before_bias(net, golden, unit):
    """What a convolution makes whose batch norm is folded, before the bias is added."""
    gamma, var = (net.params[f"{unit.norm.name}.{slot}"] for slot in ("gamma", "var"))
    return golden[unit.conv.name] * (gamma / np.sqrt(var + np.float32(unit.norm.attrs["eps"]))).reshape(-1, 1, 1)


def test_sums_of_folded_layers_before_their_biases_are_not_taken_for_the_convolutions():
    """A frozen graph of TensorFlow has Conv2D, BiasAdd and Relu6."""
    net, _, golden = network()
    tensors = {}
    for unit in net.graph.units():
        if unit.norm is not None:
            tensors[f"{unit.conv.name}/Conv2D"] = before_bias(net, golden, unit)
            tensors[f"{unit.conv.name}/BiasAdd"] = golden[unit.norm.name]
    found = matched(net, golden, tensors)
    assert {each.source.partition("/")[2] for each in found.tensors.values()} == {"BiasAdd"}
    assert {name.partition("/")[2] for name in found.unmatched} == {"Conv2D"}


@pytest.mark.parametrize("left_out", [False, True])
def test_a_sum_before_its_bias_beside_a_fused_layer_is_the_layers_only_if_the_bias_is_left_out(left_out):
    """Of squeeze-and-excite a port has the product and, fused with its activation, what has the bias."""
    net, x, golden = network("torchvision/mobilenet_v3_small", 0.5)
    reduced = [node.name for node in net.graph.nodes if node.name.endswith(".se.reduce")]
    own = {f"{name}.b": np.zeros_like(net.params[f"{name}.b"]) for name in reduced} if left_out else {}
    tensors = Network(net.graph, {**net.params, **own}).trace(x)
    products = {}
    for name in reduced:
        y = tensors.pop(name)
        products[f"product_{len(products)}"] = y if left_out else y - net.params[f"{name}.b"].reshape(1, -1, 1, 1)
    found = matched(net, golden, {**tensors, **products})
    assert {name for name in reduced if name in found.tensors} == ({*reduced} if left_out else set())
    assert [(each.source, each.kind, each.node) for each in found.extras] == (
        [] if left_out else [(source, "before-bias", name) for source, name in zip(products, reduced, strict=True)]
    )


def test_rows_of_sums_before_their_biases_take_no_tensor_from_an_activation_that_content_tells():
    """With the pools and products of their blocks the sums are in order one layer of each, too."""
    net, _, golden = network("torchvision/mobilenet_v3_small", 0.5)
    squeezed = [node for node in net.graph.nodes if ".se." in node.name]
    names = {node.name: f"act_{index}" for index, node in enumerate(squeezed) if node.name.endswith((".act", ".gate"))}
    rows = {name: name.replace(".", "_") for name in golden if name.endswith((".se.pool", ".se.scale", ".add"))}
    tensors = {{**names, **rows}.get(node.name, node.name): golden[node.name] for node in net.graph.nodes}
    for node in squeezed:
        if (bias := net.params.get(f"{node.name}.b")) is not None:
            tensors[f"{node.name.replace('.', '_')}/Conv2D"] = golden[node.name] - bias.reshape(1, -1, 1, 1)
    found = matched(net, golden, tensors)
    assert {node: each.source for node, each in found.tensors.items() if node in names} == names


def test_a_sum_before_its_bias_under_a_layers_name_is_not_its_batch_norm_where_that_is_there():
    net, _, golden = network()
    unit = next(unit for unit in net.graph.units() if unit.norm is not None)
    tensors = {**golden, unit.conv.name: before_bias(net, golden, unit), "sum/BiasAdd": golden[unit.norm.name]}
    del tensors[unit.norm.name]
    assert matched(net, golden, tensors).tensors[unit.norm.name].source == "sum/BiasAdd"


@pytest.mark.parametrize(("dtype", "bias"), [(np.float32, 1.0), (np.float16, 1.0), (np.float32, 3.0)])
def test_of_as_many_tensors_as_nodes_those_without_biases_are_not_layers(dtype, bias):
    """There is a sum before a bias for each convolution, and none that is flattened: a right bias and a wrong one."""
    net, _, golden = network()
    tensors = {unit.conv.name: before_bias(net, golden, unit) for unit in net.graph.units() if unit.norm is not None}
    product = golden["head.flatten"] - net.params["head.logits.b"]
    whole = product + np.float32(bias) * net.params["head.logits.b"]
    tensors = {**golden, **tensors, "head.logits": product, "head.flatten": whole}
    candidate = {name: y.astype(dtype) for name, y in nameless(tensors).items()}
    found = matched(net, golden, candidate)
    assert mistaken(found, tensors) == {}
    assert not found.tensors.keys() & {unit.conv.name for unit in net.graph.units() if unit.norm is not None}


def test_what_is_not_the_last_layers_is_not_what_flattens_it():
    net, _, golden = network()
    tensors = {name: y for name, y in golden.items() if name not in ("head.logits", "head.flatten")}
    product = golden["head.logits"] - net.params["head.logits.b"].reshape(1, -1, 1, 1)
    found = matched(net, golden, {**tensors, "MatMul": product, "BiasAdd": golden["head.logits"]})
    assert found.unmatched == ["MatMul"]


@pytest.mark.parametrize("wrong", [False, True])
def test_of_a_network_of_ones_own_that_is_folded_the_batch_norm_is_what_the_convolution_makes(wrong):
    """Both have the convolution's name in the same file, exported with its batch norm and without."""
    net = network()[0].fold()
    net = Network(replace(net.graph, recipe=replace(net.graph.recipe, model="")), net.params)
    unfolded, x, tensors = network()
    if wrong:  # a batch norm whose eps is another one
        nodes = (
            replace(each, attrs={"eps": 1e-3}) if each.op == "batch_norm" else each for each in unfolded.graph.nodes
        )
        tensors = {SOURCE: x, **Network(replace(unfolded.graph, nodes=tuple(nodes)), unfolded.params).trace(x)}
    found = matched(net, {SOURCE: x, **net.trace(x)}, tensors)
    folded = {conv: norm.name for conv, norm in norms(unfolded.graph).items() if tensors[conv][0, 0].size >= 4}
    assert {conv: found.tensors[conv].source for conv in folded} == folded


def test_a_folded_convolution_is_its_batch_norm_under_any_name():
    net, x, golden = network()
    folded = net.fold().trace(x)
    names = {conv: norm.name for conv, norm in norms(net.graph).items()}
    for candidate in (folded, nameless(folded)):
        found = matched(net, golden, candidate)
        assert not found.unmatched
        for name, source in zip(folded, candidate, strict=True):
            assert found.tensors[names.get(name, name)].source == source


def test_what_is_called_as_a_layer_and_holds_its_batch_norm_is_told():
    net, _, golden = network()
    held = {conv: golden[norm.name] for conv, norm in norms(net.graph).items()}
    rest = {name: y for name, y in golden.items() if not name.endswith(".bn")}
    assert matched(net, golden, {**rest, **held}).fused == tuple(held)
    assert matched(net, golden, {name: y for name, y in golden.items() if name != "stem.bn"}).fused == ()


def exported(module):
    """A module's name as an ONNX file of PyTorch's has it: 'conv.1.0' as '/conv/conv.1/conv.1.0'."""
    steps = [""]
    for part in module.split("."):
        steps.append(f"{steps[-1]}.{part}" if part.isdecimal() else part)
    return "/".join(steps)


def test_a_folded_onnx_file_whose_kernels_are_all_wrong_is_matched_by_the_modules_in_its_names():
    net, x, golden = network(width=0.5)
    kernels = {name: w.swapaxes(-1, -2).copy() for name, w in net.params.items() if w.ndim > 2 and w.shape[-1] == 3}
    tensors = Network(net.graph, {**net.params, **kernels}).trace(x)
    modules, names = SCHEMES["torchvision"].modules(net.graph), dict[str, str]()
    for unit in (unit for unit in net.graph.units() if unit.norm is not None):
        layer, dot, number = modules[unit.norm.name].rpartition(".")
        names[unit.norm.name] = f"{exported(modules[unit.conv.name])}/Conv_output_0"
        if unit.act is not None:
            names[unit.act.name] = f"{exported(f'{layer}{dot}{int(number) + 1}')}/Clip_output_0"
    found = matched(net, golden, {name: tensors[node] for node, name in names.items()})
    assert {node: each.source for node, each in found.tensors.items() if node in names} == names


def test_what_a_module_holds_is_not_taken_for_the_module_of_another_networks_names():
    """In 'model.1.1.0' a convolution is the first of what 'model.1.1' holds, which is a batch norm elsewhere."""
    net, x, golden = network("timm/mobilenetv1_100", 0.25)
    other = Network(net.graph, {n: y * np.float32(1.02) for n, y in net.params.items()}).trace(x)
    ops, names = {"batch_norm": "BatchNormalization", "relu6": "Clip"}, dict[str, str]()
    for unit in (unit for unit in net.graph.units() if unit.norm is not None and unit.act is not None):
        block, _, layer = unit.conv.name.partition(".")
        held = "model.0" if block == "stem" else f"model.{block[5:]}.{int(layer == 'project')}"
        for number, node in enumerate((unit.conv, unit.norm, unit.act)):
            names[node.name] = f"{exported(f'{held}.{number}')}/{ops.get(node.op, 'Conv')}_output_0"
    for spelt in (lambda name: name, lambda name: name.strip("/").replace("/", ".")):
        dumped = {spelt(name): other[node] for node, name in names.items()}
        found = matched(net, golden, dumped)
        assert {node: found.tensors[node].source for node in names} == {n: spelt(name) for n, name in names.items()}


@pytest.mark.parametrize("behind", ["_QuantizeLinear_Output", "_DequantizeLinear_Output", "_quantized"])
def test_tensors_of_a_quantised_onnx_file_are_matched_by_the_modules_in_their_names_whatever_they_hold(behind):
    net, x, golden = network(width=0.5)
    modules = SCHEMES["torchvision"].modules(net.graph)
    made = {node: "BatchNormalization" if net.graph[node].op == "batch_norm" else "Conv" for node in modules}
    names = {node: f"{exported(module)}/{made[node]}_output_0{behind}" for node, module in modules.items()}
    other = Network(net.graph, {n: y * np.float32(1.5) for n, y in random_params(net.graph).items()}).trace(x)
    dumped = {name: other[node] for node, name in names.items()}
    first = names["stem.bn"]
    dumped[first.removesuffix(behind)] = other["stem.bn"]  # the tensor itself comes before what is made of it
    found = matched(net, golden, dumped)
    assert {node: each.source for node, each in found.tensors.items() if node in names} == {
        **names,
        "stem.bn": first.removesuffix(behind),
    }


def test_of_the_operations_of_an_activation_none_is_taken_for_it_by_its_name():
    graph = network("torchvision/mobilenet_v3_small", 0.5)[0].graph
    names = [f"/features/features.0/features.0.{n}" for n in ("0/Conv_output_0", "1/BatchNormalization_output_0")]
    names += [f"/features/features.{i}/block/block.1/block.1.0/Conv_output_0" for i in range(2, 12)]
    for made, parts in (("Clip",), {"Clip"}), (("Add", "Clip", "Mul", "Div"), set()):
        act = [f"/features/features.0/features.0.2/{op}_output_0" for op in made]
        found = {
            name.split("/")[-1].split("_")[0]
            for name, node in by_vendor(graph, [*names, *act]).items()
            if node == "stem.act"
        }
        assert found == parts


def test_names_of_an_onnx_file_are_the_same_with_dots_for_slashes():
    graph = network("torchvision/mobilenet_v3_small", 0.5)[0].graph
    names = [f"/features/features.0/features.0.{n}" for n in ("0/Conv_output_0", "1/BatchNormalization_output_0")]
    names += [f"/features/features.{i}/block/block.1/block.1.0/Conv_output_0" for i in range(2, 12)]
    found = by_vendor(graph, names)
    assert {name.replace("/", ".").strip("."): node for name, node in found.items()} == by_vendor(
        graph, [name.replace("/", ".").strip(".") for name in names]
    )
    assert found[names[1]] == "stem.bn"


def test_a_folded_convolution_that_lost_its_bias_is_its_batch_norm():
    """All factors are right and all that is added is gone: nothing is near, but every channel's slope tells."""
    net, x, _ = network()
    zeros = {n: np.zeros_like(y) for n, y in net.params.items() if n.endswith((".beta", ".mean"))}
    own = Network(net.graph, {**net.params, **zeros}).trace(x)
    folds = norms(net.graph)
    dumped = {
        (unit.conv.name if unit.norm else unit.output): own[(unit.norm or unit.conv).name] for unit in net.graph.units()
    }
    dumped |= {unit.act.name: own[unit.act.name] for unit in net.graph.units() if unit.act}
    found = matched(net, {SOURCE: x, **net.trace(x)}, dumped).tensors
    assert [conv for conv, norm in folds.items() if conv in found or norm.name not in found] == []


def test_a_batch_norm_that_is_dumped_with_its_activation_is_that_where_its_layer_is_wrong():
    """timm's BatchNormAct2d; one layer makes another number of points, so that its tensors have no node's shape."""
    net, _, golden = network("timm/mobilenetv1_100", 0.25)
    wrong = dict(golden)
    wrong["block5.depthwise"] = golden["block5.depthwise"][:, :, ::-1].copy()
    again = {unit.conv.name: unit for unit in net.graph.units()}["block5.depthwise"]
    for node in again.nodes[1:]:
        params = {f"{node.name}.{slot}": net.params[f"{node.name}.{slot}"] for slot in node.params}
        wrong[node.name] = interpret(
            Graph(net.graph.recipe, (node,)), fast, params, {node.inputs[0]: wrong[node.inputs[0]]}
        )
    wrong["block7.depthwise.act"] = golden["block7.depthwise.act"][:, :, 1:]
    acts = {unit.act.name: unit.norm.name for unit in net.graph.units() if unit.act and unit.norm}
    skipped = {*acts.values()}
    found = matched(net, golden, {acts.get(n, n): y for n, y in wrong.items() if n not in skipped}).tensors
    assert [act for act in acts if act not in found] == []


def test_an_unfolded_port_beside_a_folded_network_is_matched_by_its_batch_norms():
    net, x, _ = network()
    folded = net.fold()
    found = matched(folded, {SOURCE: x, **folded.trace(x)}, net.trace(x))
    names = {conv: norm.name for conv, norm in norms(net.graph).items()}
    assert {conv: found.tensors[conv].source for conv in names} == names
    assert {each.source for each in found.extras if each.kind == "before-norm"} == set(names)


def test_a_layer_under_its_own_name_stays_that_layer_while_the_others_have_theirs():
    net, _, golden = network()
    found = matched(net, golden, {**golden, "block3.expand": golden["block3.expand.bn"]})
    assert found.tensors["block3.expand"].source == "block3.expand"


def test_behind_a_relu_nothing_is_below_zero():
    """An int8 store of a map that is almost entirely positive is near to what goes into its ReLU too."""
    net, x, _ = network()
    act = "block2.depthwise.act"
    lifted = {**net.params, "block2.depthwise.bn.beta": net.params["block2.depthwise.bn.beta"] + np.float32(2.5)}
    other = Network(net.graph, lifted)
    tensors = other.trace(x)
    step = np.float32(tensors[act].max() / 255)
    stored = {name: (np.rint(y / step) * step).astype(np.float32) for name, y in tensors.items() if name == act}
    rest = {name: y for name, y in tensors.items() if name not in (act, "block2.depthwise.bn")}
    found = matched(other, {SOURCE: x, **tensors}, {**rest, "unnamed": stored[act]})
    assert found.tensors[act].source == "unnamed"


def test_only_the_logits_are_there_and_so_is_what_flattens_them():
    net, _, golden = network()
    found = matched(net, golden, {name: y for name, y in golden.items() if name != "head.flatten"})
    np.testing.assert_array_equal(found.tensors["head.flatten"].array, golden["head.flatten"])


VENDORS = [
    ("torchvision/mobilenet_v2", "torchvision", "model."),
    ("torchvision/mobilenet_v2", "keras", ""),
    ("torchvision/mobilenet_v3_small", "torchvision", "backbone/"),
    ("paper/mobilenet_v1", "transformers", ""),
    ("keras/MobileNetV3Small", "keras", ""),
]


@pytest.mark.parametrize(("model", "scheme", "prefix"), VENDORS)
def test_vendors_names_of_layers_are_known(model, scheme, prefix):
    graph = network(model, 0.5)[0].graph
    names = SCHEMES[scheme].modules(graph)
    called = {f"{prefix}{name}": node for node, name in names.items() if node in graph}
    found = by_vendor(graph, called)
    assert {name: found.get(name) for name in called} == called
    behind = {f"{name}/Conv2D:0" if scheme == "keras" else f"{name}.output": node for name, node in called.items()}
    found = by_vendor(graph, behind)
    assert {name: found.get(name) for name in behind} == behind


@pytest.mark.parametrize(
    ("model", "scheme", "ops"),
    [
        ("keras/MobileNetV2", "keras", ("Conv2D", "BiasAdd")),
        ("torchvision/mnasnet0_5", "torchvision", ("MatMul_output_0", "Add_output_0")),
    ],
)
def test_of_the_operations_of_a_layer_the_one_with_its_bias_is_its_output(model, scheme, ops):
    graph = network(model, 0.5)[0].graph
    convs = {node: name for node, name in SCHEMES[scheme].modules(graph).items() if "conv" in graph[node].op}
    names = [f"model/{name}/{op}" for name in convs.values() for op in ops]
    assert by_vendor(graph, names) == {f"model/{name}/{ops[1]}": node for node, name in convs.items()}


def test_names_with_other_separators_are_a_vendors():
    graph = build("torchvision/mobilenet_v2")
    names = [f"features_{i}_conv_{j}_0" for i in range(2, 18) for j in (0, 1)] + ["features_0_0", "features_18_0"]
    assert by_vendor(graph, names)["features_3_conv_1_0"] == "block3.depthwise"


def test_a_few_activations_are_told_by_keras_names():
    graph = build("keras/MobileNetV2")
    nodes = {"block_13_expand_relu": "block14.expand.act", "out_relu": "head.act", "predictions": "head.logits"}
    assert by_vendor(graph, list(nodes), lambda name, node: True) == nodes


def test_other_names_are_no_vendors():
    graph = network()[0].graph
    assert by_vendor(graph, [f"{name}.copy" for name in ("stem.conv", "x", "1")]) == {}


def test_modules_of_the_head_for_masks_make_what_they_read_or_make_themselves_joined():
    graph = build("torchvision/lraspp_mobilenet_v3_large", width=0.25, size=(32, 48), classes=3)
    layers = SCHEMES["torchvision"].modules(graph)
    made = made_by_modules(graph, layers)
    names = ("classifier.cbr", "classifier.scale", "classifier", "backbone.4.block.2")
    assert [made[name] for name in names] == ["head.reduce.act", "head.gate", "head.add", "block4.se.scale"]
    pool = "classifier.scale.0"  # beside a convolution that is numbered 1
    assert pool not in by_vendor(graph, [*layers.values(), pool])


@pytest.mark.parametrize("order", ["nchw", "nhwc"])
def test_what_is_called_as_a_module_of_an_onnx_file_is_what_that_makes_whatever_its_size(order):
    names = ["down.MaxPool_output_0", "act.Clip_output_0", "head.fc.Gemm_output_0", "mean.1.AveragePool_output_0"]
    pool = {"kernel": (2, 2), "stride": (2, 2), "pad": ((0, 0), (0, 0))}
    nodes = [Node(names[0], "max_pool2d", (SOURCE,), {}, pool), Node(names[1], "relu6", (names[0],))]
    nodes.append(Node(names[2], "pointwise_conv2d", (names[1],), {"w": (6, 3), "b": (6,)}))
    nodes.append(Node(names[3], "avg_pool2d", (names[2],), {}, pool))
    net = Network(graph := Graph(Recipe("", 1.0, (16, 20), 6), tuple(nodes)), random_params(graph))
    golden = {SOURCE: (x := probe(graph, 1)), **net.trace(x)}
    sides = {"m.down": (3, 9, 10), "act": (3, 9, 10), "fc": (6, 9, 10), "1": (6, 4, 6), "other": (3, 7, 7)}
    rng = np.random.default_rng(0)
    tensors = {name: rng.random((1, *side)) for name, side in sides.items()}
    last = {name: y.transpose(0, 2, 3, 1) if order == "nhwc" else y for name, y in tensors.items()}
    found = matched(net, golden, last)
    assert {node: each.source for node, each in found.tensors.items()} == {names[0]: "m.down", names[1]: "act"}
    assert [each.layout for each in found.tensors.values()] == ["unknown"] * 2


# Beside the nodes' tensors


def test_what_adds_nothing_is_told_apart():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((1, 4, 6, 8)).astype(np.float32)
    beside = {
        "copy": y.copy(),
        "last": y.transpose(0, 2, 3, 1),
        "padded": np.pad(y, ((0, 0), (0, 0), (0, 1), (1, 1))),
        "cropped": y[:, :, 1:-1, 2:-2],
        "every other": y[:, :, ::2, ::2],
        "flat": y.reshape(1, 4, 48),
        "other": rng.standard_normal((1, 4, 6, 8)).astype(np.float32),
        "mixed": y[:, ::-1],
    }
    found = {each.source: (each.kind, each.node) for each in extras(beside, beside, {"a": lambda: y}, {"a": y.shape})}
    assert found == {
        "copy": ("copy", "a"),
        "last": ("copy", "a"),
        "padded": ("padded", "a"),
        "cropped": ("part", "a"),
        "every other": ("part", "a"),
        "flat": ("reshaped", "a"),
        "other": ("unknown", ""),
        "mixed": ("unknown", ""),
    }


def test_a_vendors_names_are_known_where_a_file_has_one_sign_between_their_parts():
    net, _, _ = network()
    scopes = {node: name for node, name in SCHEMES["slim"].modules(net.graph).items() if node in net.graph}
    tensors = {
        node: f"{name}/{'Conv2D' if 'conv' in net.graph[node].op else 'FusedBatchNormV3'}:0"
        for node, name in scopes.items()
    }
    tensors |= {"block3.expand.act": "MobilenetV2/expanded_conv_2/expand/Relu6:0"}
    for sign in ("_", "__", "."):
        found = by_vendor(net.graph, [name.replace("/", sign).replace(":", sign) for name in tensors.values()])
        told = {node: name for name, node in found.items()}
        assert told == {node: name.replace("/", sign).replace(":", sign) for node, name in tensors.items()}


def test_logits_without_their_bias_are_no_tensor_of_the_network():
    net, _, golden = network()
    tensors = {name: y for name, y in golden.items() if name not in ("head.logits", "head.flatten")}
    made = {**nameless(tensors), "matmul": golden["head.flatten"] - net.params["head.logits.b"]}
    found = matched(net, golden, {**made, "sum": golden["head.flatten"]})
    assert found.unmatched == ["matmul"]
    assert found.tensors["head.flatten"].source == "sum"


def test_what_a_softmax_makes_of_a_tensor_tells_no_logits():
    graph = network()[0].graph
    graph = replace(graph, nodes=(*graph.nodes, Node("output", "softmax", ("head.flatten",))))
    params = network()[0].params
    net = Network(graph, {**params, **{f"head.logits.{slot}": params[f"head.logits.{slot}"] / 99 for slot in "wb"}})
    golden = {SOURCE: network()[1], **net.trace(network()[1])}
    tensors = {name: golden[name] for name in ("stem.act", "output")}  # all classes are nearly as likely
    found = matched(net, golden, {**tensors, "gate": np.full((1, 1, 1, 10), 0.5, np.float32)})
    assert found.unmatched == ["gate"]


def test_a_point_between_two_of_a_wrong_layer_is_not_looked_for_among_what_follows():
    """Kernels turned round; batch norms are not dumped, and the next expansion is near to one."""
    net, x, golden = network("torchvision/mnasnet0_5", 0.5)
    turned = {n.name: n for n in net.graph.nodes if n.op == "depthwise_conv2d" and n.attrs["stride"] == (1, 1)}
    kernels = {f"{name}.w": net.params[f"{name}.w"][:, ::-1, ::-1].copy() for name in turned}
    tensors = Network(net.graph, {**net.params, **kernels}).trace(x)
    tensors = {name: y for name, y in tensors.items() if not name.endswith(("expand.bn", "depthwise.bn"))}
    found = matched(net, golden, nameless(tensors))
    assert mistaken(found, tensors) == {}


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("timm/mobilenetv1_100", ("stem.act", "block5.project.bn", "block5.project.act", "block9.project.act")),
        ("torchvision/mobilenet_v2", ("stem.act", "block5.expand.bn", "block5.expand.act", "block9.add")),
        ("torchvision/mnasnet1_0", ("block10.expand", "block11.project.bn", "block15.expand", "block17.project")),
    ],
)
def test_a_few_tensors_in_8_bits_are_not_taken_for_what_only_looks_right_behind_a_batch_norm(model, kept):
    """Behind that of another block of the same channels half of a ReLU's zeros are where they should be.

    Nor is a batch norm's taken for its convolution's, since all others are convolutions': numbers are no kind.
    """
    net, x, golden = network(model)
    made = {SOURCE: x}
    for node in net.graph.nodes:
        y = interpret(Graph(net.graph.recipe, (node,)), fast, net.params, made)
        step = np.ptp(y) / 255 if node.name in kept else 0
        made[node.name] = (np.rint(y / step) * step).astype(np.float32) if step else y
    tensors = {name: made[name] for name in kept}
    found = matched(net, golden, nameless(tensors))
    assert mistaken(found, tensors) == {}
    assert not found.unmatched
