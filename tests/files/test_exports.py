"""The vendors' own files of every kind: which network each is, its weights, its logits, its tensors.

tests/data/exports/make_exports.py says where the files and the expected numbers are from.
"""

from __future__ import annotations

import json
import shutil
from functools import cache

import numpy as np
import pytest
from support import DATA

from refnet import Network, build, load, random_input, random_params
from refnet.files.checkpoint import identify
from refnet.files.containers import npz
from refnet.judge.compare import compare
from refnet.pack.pack import write_pack
from refnet.report.differences import what

FOLDER = DATA / "exports"
EXPECTED = npz.read(FOLDER / "expected.npz")
META = json.loads(str(EXPECTED["meta"]))
FILES = META["files"]

# Networks that a file cannot tell apart. By its names: timm's own V3 and the one converted from TensorFlow, Keras' V3
# that rescales its input and the one that does not. By its structure: those that compute alike.
TWINS = {
    "timm/mobilenetv3_small_100": {"timm/tf_mobilenetv3_small_100"},
    "timm/tf_mobilenetv3_small_100": {"timm/mobilenetv3_small_100"},
    "keras/MobileNetV3Small": {"keras/MobileNetV3Small@raw"},
    "keras/MobileNetV3Large": {"keras/MobileNetV3Large@raw"},
}
ALIKE = {
    "torchvision/mobilenet_v2": {"timm/mobilenetv2_100", "d-li14/mobilenetv2"},
    "torchvision/mnasnet1_0": {"timm/mnasnet_100"},
}
NAMES_ONLY = ("pth", "legacy", "channels_last", "safetensors", "weights", "tf_keras_weights")
RUNS = sorted({tuple(name.split("|")[:2]) for name in EXPECTED if "|float32" in name})
WITH_TENSORS = sorted({name for name, _ in RUNS})
GRAPHS = [name for name, file in FILES.items() if file["how"] not in NAMES_ONLY]
ORIGINAL = [name for name, file in FILES.items() if not file["folded"] and file["biases"]]
ZEROS = "v3_small-new20-zeros.onnx"

every_file = pytest.mark.parametrize("name", FILES)


def network(name):
    """The network that was exported, as refnet builds it."""
    file = FILES[name]
    return build(file["model"], width=file["width"], size=tuple(file["size"]), classes=file["classes"])


@cache
def found(exports, name):
    """What the file says by itself; only names and shapes cannot tell the size of the images."""
    if FILES[name]["how"] not in NAMES_ONLY:
        return identify(exports / name)
    alone = exports.with_name(f"{exports.name}-alone") / name  # where no model of the same name stands beside it
    alone.parent.mkdir(exist_ok=True)
    if not alone.exists():
        shutil.copy(exports / name, alone)
    return identify(alone, size=tuple(FILES[name]["size"]))


@cache
def read(exports, name):
    file, checkpoint = FILES[name], found(exports, name)
    if name == ZEROS or checkpoint.models == (file["model"],):  # lost biases are differences
        return Network(checkpoint.graph, checkpoint.params)
    return load(exports / name, model=file["model"], size=tuple(file["size"]))


def logits(net, x):
    return net.trace(x)["head.flatten"]


def test_all_files_are_there_and_small(exports):
    archives = (FOLDER / "exports.tar.xz", FOLDER / "expected.npz")
    assert sum(path.stat().st_size for path in archives) < 6_000_000
    assert {path.name for path in exports.iterdir()} == {*FILES, "v3_small-external.onnx.data"}
    assert META["format"] == "refnet exports 1"
    assert {"versions", "origin", "script"} <= set(META)


@every_file
def test_the_network_is_recognised(exports, name):
    file, checkpoint = FILES[name], found(exports, name)
    recipe = checkpoint.graph.recipe
    assert (recipe.width, recipe.classes, list(recipe.size)) == (file["width"], file["classes"], file["size"])
    assert set(checkpoint.stored.values()) == {file["dtype"]}
    assert checkpoint.folded is file["folded"]
    assert checkpoint.standing.kind == ("almost" if name == ZEROS else "known")
    assert bool(checkpoint.differences) is (name == ZEROS)


@every_file
def test_the_model_is_named_and_so_are_those_that_the_file_cannot_tell_from_it(exports, name):
    file = FILES[name]
    twins = (TWINS if file["how"] in NAMES_ONLY else ALIKE).get(file["model"], set())
    models = found(exports, name).models
    assert set(models) == {file["model"], *twins} or (file["how"] in NAMES_ONLY and models == (file["model"],))
    assert bool(twins) is (len(models) > 1)


@pytest.mark.parametrize("name", ORIGINAL)
def test_the_weights_are_those_that_the_vendor_was_given_bit_for_bit(exports, name):
    net = read(exports, name)
    expected = random_params(network(name))
    assert net.params.keys() == expected.keys()
    assert all(np.array_equal(array, expected[key]) for key, array in net.params.items())


@every_file
def test_logits_in_float64_are_those_of_the_vendor_or_of_the_files_own_arrays(exports, name):
    """Where the file holds folded or rounded arrays, another reading of it ran them."""
    net = read(exports, name).astype(np.float64)
    expected = EXPECTED[f"{name}|logits64"]
    made = logits(net, random_input(network(name), len(expected), np.float64))
    assert np.abs(made - expected).max() <= 1e-11 * np.abs(expected).max()


@pytest.mark.parametrize(("name", "run"), RUNS)
def test_the_vendors_tensors_are_within_bounds_node_by_node(exports, tmp_path, name, run):
    judged = judged_by(read(exports, name), name, saved(name, run), tmp_path)
    assert judged.wrong() == []
    assert judged.holds


@pytest.mark.parametrize("name", WITH_TENSORS)
def test_a_weight_that_is_wrong_would_be_seen_at_its_node(exports, tmp_path, name):
    net = read(exports, name)
    params = dict(net.params)
    params["block3.depthwise.w"] = params["block3.depthwise.w"] * np.float32(1.001)
    judged = judged_by(Network(net.graph, params), name, saved(name, "float32"), tmp_path)
    wrong = judged.wrong()
    assert len(wrong) == 1
    assert wrong[0].startswith("block3.depthwise")


def saved(name, run):
    start = f"{name}|{run}|"
    return {key.removeprefix(start): y for key, y in EXPECTED.items() if key.startswith(start)}


def judged_by(net, name, tensors, folder):
    x = random_input(network(name), 2)[:1]
    write_pack(net, x, folder / "golden", origin={})
    return compare(folder / "golden", tensors, explain=False)


@pytest.mark.parametrize("name", [name for name in GRAPHS if not FILES[name]["folded"]])
def test_eps_is_read_as_the_decimal_that_was_meant(exports, name):
    known = network(name)
    graph = found(exports, name).graph
    eps = {node.name: node.attrs["eps"] for node in graph.nodes if node.op == "batch_norm"}
    assert eps == {node.name: node.attrs["eps"] for node in known.nodes if node.op == "batch_norm"}
    assert set(eps.values()) <= {1e-3, 1e-5}


@pytest.mark.parametrize("name", [name for name in GRAPHS if "v3" in name and "float16" not in name])
def test_the_slope_of_a_hard_sigmoid_is_read_as_a_sixth(exports, name):
    gates = [node for node in found(exports, name).graph.nodes if node.op == "hard_sigmoid"]
    assert gates
    assert {(node.attrs["slope"], node.attrs["offset"]) for node in gates} == {(1 / 6, 0.5)}


def test_biases_that_the_newer_exporter_dropped_are_reported_and_nothing_else(exports):
    """A file cannot tell a bias that was zero from one that was lost."""
    differences = found(exports, ZEROS).differences
    assert {what(difference) for difference in differences} == {"has no bias"}
    lost = {difference.node for difference in differences}
    known = network(ZEROS)
    norms = {node.inputs[0] for node in known.nodes if node.op == "batch_norm"}
    assert lost <= {node.name for node in known.nodes if "b" in node.params and node.name not in norms}
