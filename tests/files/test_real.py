"""Trained networks from others' hands: Keras' and TFLite's visual wake words, PaddleOCR's text direction classifier.

Visual wake words lies in shared/real and its README says where it is from; the classifier is in the package of
tests/ppocr.txt, and what onnxruntime makes of the start of a text line in tests/data/ppocr.npz.
"""

from __future__ import annotations

import numpy as np
import pytest
from support import DATA

from refnet import FormatError, Network, load
from refnet.cli import main
from refnet.files import containers
from refnet.files.checkpoint import identify
from refnet.files.containers import npz
from refnet.judge.compare import TensorScale, compare
from refnet.pack.pack import write_pack
from refnet.report.differences import line, what

PHOTOGRAPHS = ("cat", "grace_hopper", "sunflower")
FLOAT = ("vww_96.h5", "vww_96_float.tflite")
PERSON = {"cat": 0, "grace_hopper": 1, "sunflower": 0}
RUNS = ("optimised", "plain")


def channels_first(array):
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.ndim == 4 else array


def judged_by(net, x, tensors, folder, **options):
    write_pack(net, x, folder / "golden", origin={})
    return compare(folder / "golden", tensors, explain=False, **options)


# ---------------------------------------------------------------- visual wake words


@pytest.fixture(scope="module")
def vww(real):
    return real / "vww_96"


@pytest.fixture(scope="module")
def layers(vww):
    arrays = npz.read(vww / "grace_hopper_keras_layers.npz")
    return {name: channels_first(y) for name, y in arrays.items() if name != "flatten"}


@pytest.mark.parametrize("name", [*FLOAT, "vww_96_int8.tflite"])
def test_visual_wake_words_is_a_narrow_v1_with_relu(vww, name):
    found = identify(vww / name)
    recipe = found.graph.recipe
    assert (recipe.width, recipe.size, recipe.classes) == (0.25, (96, 96), 2)
    assert found.models == ("keras/MobileNet",)
    assert found.folded is name.endswith(".tflite")
    whats = {what(difference) for difference in found.differences}
    assert whats == ({"is relu, not relu6"} if found.folded else {"is relu, not relu6", "has a bias"})


def test_what_is_only_almost_known_is_refused_only_where_it_must_be_known(vww):
    with pytest.raises(FormatError, match=r"54 differences, first: stem.conv has a bias; .* without strict="):
        load(vww / "vww_96.h5", strict=True)
    assert load(vww / "vww_96.h5").graph["stem.act"].op == "relu"


def test_every_layer_of_keras_is_exact_or_rounding(vww, layers, tmp_path):
    tensors = {name: y for name, y in layers.items() if name != "input_1"}
    judged = judged_by(load(vww / "vww_96.h5"), layers["input_1"], tensors, tmp_path)
    assert judged.matching.unmatched == []
    assert {finding.judgement.verdict for finding in judged.findings} <= {"exact", "rounding", "inside"}


def test_the_float_export_is_an_honest_port_of_the_original(vww, layers, tmp_path):
    original, export = (load(vww / name) for name in FLOAT)
    norms = {node.inputs[0]: node.name for node in original.graph.nodes if node.op == "batch_norm"}
    tensors = {norms.get(name, name): y for name, y in export.trace(layers["input_1"]).items()}
    judged = judged_by(original, layers["input_1"], tensors, tmp_path)
    assert {finding.judgement.verdict for finding in judged.findings} <= {"exact", "rounding", "inside"}


def test_a_layer_of_another_network_would_be_wrong(vww, layers, tmp_path):
    net = load(vww / "vww_96.h5")
    params = dict(net.params)
    params["block5.project.w"] = params["block5.project.w"].astype(np.float16).astype(np.float32)
    tensors = {name: y for name, y in layers.items() if name != "input_1"}
    judged = judged_by(Network(net.graph, params), layers["input_1"], tensors, tmp_path)
    assert judged.wrong() == ["block5.project"]


@pytest.mark.parametrize("name", [*FLOAT, "vww_96_int8.tflite"])
@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
def test_a_person_is_seen_where_one_is(vww, name, photograph):
    saved = npz.read(vww / "golden_outputs.npz")
    (made,) = load(vww / name)(channels_first(saved[f"{photograph}/input"]))
    assert made.argmax() == PERSON[photograph]
    assert made.argmax() == saved[f"{photograph}/keras_output"].argmax()
    assert made.argmax() == saved[f"{photograph}/int8_output_reference_kernels"].argmax()


def test_every_integer_tensor_is_rounding(vww, tmp_path):
    tflite = pytest.importorskip("tflite")
    path = vww / "vww_96_int8.tflite"
    structure = containers.read(path).structure
    subgraph = tflite.Model.GetRootAsModel(path.read_bytes(), 0).Subgraphs(0)
    names = [subgraph.Tensors(index).Name().decode() for index in range(subgraph.TensorsLength())]
    saved = npz.read(vww / "grace_hopper_int8_tensors_reference_kernels.npz")
    stored = {name: channels_first(saved[f"t{index:03d}"]) for index, name in enumerate(names)}
    scales = {
        name: TensorScale(float(scale.scales[0]), int(scale.zero_points[0])) for name, scale in structure.scales.items()
    }
    (source,) = structure.inputs
    x = np.float32(scales[source].scale) * (stored[source].astype(np.float32) - scales[source].zero_point)
    made = {name for operation in structure.operations for name in operation.outputs}
    tensors = {name: y for name, y in stored.items() if name in made}
    used = {name: scales[name] for name in tensors}
    judged = judged_by(load(path).dequantised(), x, tensors, tmp_path, scales=used)
    assert len(judged.matching.tensors) == 30
    assert {finding.judgement.verdict for finding in judged.findings} == {"rounding", "inside"}


def test_verify_says_that_the_float_export_is_the_same_network(vww, capsys):
    assert main(["verify", str(vww / FLOAT[0]), "--against", str(vww / FLOAT[1])]) == 0
    assert "same network, batch norm folded" in capsys.readouterr().out


# ---------------------------------------------------------------- PaddleOCR


def test_the_direction_classifier_is_a_v3_small_with_these_differences(ppocr):
    found = identify(ppocr, size=(48, 192))
    recipe = found.graph.recipe
    assert (recipe.model, recipe.width, recipe.classes) == ("torchvision/mobilenet_v3_small", 0.35, 2)
    assert not found.folded
    lines = {line(difference) for difference in found.differences}
    assert {f"block{i}.depthwise has stride (2, 1), not (2, 2)" for i in (1, 2, 4, 9)} <= lines
    assert "block1.se.gate has slope 0.2, not 0.166667" in lines
    assert "head.conv has 200 channels, not 192" in lines
    assert "head.max_pool is extra: max_pool2d kernel (2, 2)" in lines


def test_every_text_line_is_turned_as_it_is(ppocr, real):
    with np.load(real / "ppocr_direction" / "golden_outputs.npz", allow_pickle=False) as saved:
        x, outputs, labels = saved["input"], saved["onnxruntime_output"], saved["label"]
    made = load(ppocr, size=(48, 192))(x).argmax(axis=1)
    assert made.tolist() == labels.tolist()
    assert made.tolist() == outputs.argmax(axis=1).tolist()


def onnxruntimes(run):
    arrays = npz.read(DATA / "ppocr.npz")
    tensors = {key.removeprefix(f"{run}|"): y for key, y in arrays.items() if key.startswith(f"{run}|")}
    return arrays["input"], tensors


@pytest.mark.parametrize("run", RUNS)
def test_every_tensor_of_onnxruntime_is_exact_or_rounding(ppocr, tmp_path, run):
    x, tensors = onnxruntimes(run)
    judged = judged_by(load(ppocr, size=x.shape[2:]), x, tensors, tmp_path)
    assert {finding.judgement.verdict for finding in judged.findings} <= {"exact", "rounding", "inside"}
    assert len(judged.matching.tensors) == 82


def test_another_slope_of_one_gate_would_be_seen(ppocr, tmp_path):
    """The bounds can fail: 0.2 read as 1/6, as a reader does that knows only MobileNets."""
    x, tensors = onnxruntimes("optimised")
    net = load(ppocr, size=x.shape[2:])
    gate = net.graph["block4.se.gate"]
    nodes = tuple(
        type(node)(node.name, node.op, node.inputs, node.params, {**node.attrs, "slope": 1 / 6})
        if node.name == gate.name
        else node
        for node in net.graph.nodes
    )
    graph = type(net.graph)(net.graph.recipe, nodes)
    assert judged_by(Network(graph, net.params), x, tensors, tmp_path).wrong() == ["block4.se.gate"]
