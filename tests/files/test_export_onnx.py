"""A network written as ONNX is that network: by ONNX's own reference evaluator, and read back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from strategies import graphs, own_graphs

from refnet import Graph, Network, Node, Recipe, build, random_params
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.errors import RequestError
from refnet.files import containers
from refnet.files.exporters.onnx import OPSET, export_onnx, initialisers
from refnet.files.importers import import_graph
from refnet.graph import SOURCE, is_global
from refnet.judge.verdicts import judge
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.bounds import Precision, bound
from refnet.readings.shapes import shapes

QUICK = [phase for phase in Phase if phase is not Phase.shrink]  # whole networks take minutes to become smaller

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")


def reference_run(graph, params, x):
    """Every output by name, from ONNX's own definition of each operation."""
    model = export_onnx(graph, params)
    onnx.checker.check_model(model, full_check=True)
    found = reference.ReferenceEvaluator(model).run(None, {SOURCE: x})
    return dict(zip(graph.outputs, found, strict=True))


def imported(model, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return import_graph(containers.read(path))


def without_idle_strides(graph):
    """Strides 1 where a pool has only one window: the paper's LR-ASPP on small images."""
    sizes = shapes(graph)
    idle = (node for node in graph.nodes if node.op == "avg_pool2d" and is_global(node, sizes[node.inputs[0]]))
    return graph.rewritten({node.name: [replace(node, attrs={**node.attrs, "stride": (1, 1)})] for node in idle})


@settings(max_examples=60)
@given(own_graphs(), st.booleans())
def test_every_tensor_of_any_graph_is_inside_its_bounds_in_onnx(made, fold):
    graph, params = made
    if fold:
        graph, params = fold_batch_norm(graph, params)
    every = Graph(graph.recipe, graph.nodes, tuple(node.name for node in graph.nodes))
    x = np.random.default_rng(0).standard_normal((2, *graph.input_shape))
    tensors = reference_run(every, params, x)
    for name, y in tensors.items():
        part = cut(Parts(graph), params, name, {SOURCE: x, **tensors})
        judgement = judge(y, bound(part.graph, part.params, part.given, Precision.of("float64")))
        assert judgement.verdict != "wrong", (name, judgement)  # so few elements may be 'suspect' by chance


@settings(max_examples=25, phases=QUICK)
@given(graphs(), st.booleans(), st.sampled_from([np.float32, np.float16]))
def test_a_known_network_is_read_back_as_the_same_nodes_and_arrays(tmp_path_factory, graph, fold, dtype):
    params = random_params(graph)
    if fold:
        graph, params = fold_batch_norm(graph, params)
    params = {name: array.astype(dtype) for name, array in params.items()}
    back = imported(export_onnx(graph, params), tmp_path_factory.mktemp("onnx"))
    # A vector is flattened where it must be: its tensor has its own name if it is returned, not before a softmax.
    flat = {"head.flatten": "head.logits.flatten"} if graph.output == "output" else {}
    assert back.graph.nodes == without_idle_strides(graph).renamed(flat).nodes
    for name, array in params.items():
        assert back.keys[name] == name
        assert back.stored[name] == str(array.dtype)
        assert np.array_equal(back.params[name], array.astype(np.float32))


def test_a_network_of_two_outputs_is_read_back_with_both(tmp_path):
    graph = build("torchvision/mobilenet_v2", width=0.35, size=32, classes=3)
    graph = Graph(graph.recipe, graph.nodes, ("block3.add", "head.flatten"))
    model = export_onnx(graph, random_params(graph))
    assert [output.name for output in model.graph.output] == ["block3.add", "head.flatten"]
    assert imported(model, tmp_path).graph.outputs == graph.outputs


def test_every_node_is_a_tensor_under_its_own_name():
    graph = build("keras/MobileNetV3Small", size=32)
    model = export_onnx(graph, random_params(graph))
    made = [name for node in model.graph.node for name in node.output]
    assert [name for name in made if name in graph] == [node.name for node in graph.nodes]
    assert set(random_params(graph)) <= set(initialisers(model))


def test_the_opset_is_stated_and_the_bytes_are_the_same_each_time():
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=32)
    one, other = (export_onnx(graph, random_params(graph)) for _ in range(2))
    assert [(entry.domain, entry.version) for entry in one.opset_import] == [("", OPSET)]
    assert one.SerializeToString() == other.SerializeToString()


def test_a_node_called_as_a_parameter_of_another_is_kept_apart_from_it():
    nodes = (Node("a", "pointwise_conv2d", (SOURCE,), {"w": (3, 3)}), Node("a.w", "relu", ("a",)))
    graph = Graph(Recipe("", 1.0, (2, 2), 3), nodes)
    net = Network(graph, {"a.w": np.arange(9.0).reshape(3, 3)})
    x = np.ones((1, 3, 2, 2))
    assert np.array_equal(reference_run(graph, net.params, x)["a.w"], net(x))


def test_what_onnx_cannot_say_is_refused():
    border = Node("a", "pad", (SOURCE,), {}, {"pad": ((1, 1), (1, 1)), "mode": "symmetric", "value": 0.0})
    with pytest.raises(RequestError, match="mirrors the edge too: ONNX has none"):
        export_onnx(Graph(Recipe("", 1.0, (4, 4), 1), (border,)), {})
