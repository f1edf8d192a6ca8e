"""TensorFlow's and TensorFlow.js' own models of every kind: which network each is, its weights, what it makes.

tests/data/tensorflow/make_tensorflow.py says where the models and the expected numbers are from.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from support import DATA, unpack

from refnet import Network, build, random_input, random_params
from refnet.files import importers
from refnet.files.checkpoint import identify
from refnet.files.containers import npz, read
from refnet.files.containers.structure import Contents, Operation, Structure
from refnet.files.schemes import entries
from refnet.graph import interpret
from refnet.judge.compare import compare
from refnet.pack.pack import write_pack
from refnet.readings import fast
from refnet.report.differences import line
from refnet.verification.verify import verify

FOLDER = DATA / "tensorflow"
EXPECTED = npz.read(FOLDER / "expected.npz")
META = json.loads(str(EXPECTED["meta"]))
MODELS = META["models"]
PREFIX = {"keras_v2-checkpoint": "weights", "slim_v1-checkpoint": "model.ckpt", "slim_v1-average": "model.ckpt-1234"}
ORIGINAL = [name for name, model in MODELS.items() if model["original"]]
WITH_TENSORS = sorted({name.split("|")[0] for name in EXPECTED if "|float32|" in name})
KINDS = {
    "SavedModel": "tensorflow",
    "frozen": "tensorflow",
    "checkpoint": "checkpoint",
    "layers": "tfjs-layers",
    "graph": "tfjs-graph",
}
# What the models are apart from the known network: TF-slim ends in logits, and one has dilation for strides.
DIFFERENCES = {"output is extra: softmax"}

every_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return unpack(FOLDER / "models.tar.xz", tmp_path_factory.mktemp("tensorflow"))


def place(models, name):
    """The path that a user would give."""
    return models / name / PREFIX[name] if name in PREFIX else models / name


def network(name):
    model = MODELS[name]
    return build(model["model"], width=model["width"], size=tuple(model["size"]), classes=model["classes"])


def found(models, name):
    size = tuple(MODELS[name]["size"]) if MODELS[name]["how"] == "checkpoint" else None
    return identify(place(models, name), size=size)


def probabilities(net, x):
    y = net(x)
    if "output" in net.graph:
        return y
    e = np.exp(y - y.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_all_models_are_there_and_small(models):
    assert sum(path.stat().st_size for path in FOLDER.glob("*.*z")) < 1_150_000
    assert {path.name for path in models.iterdir()} == {*MODELS}
    assert META["format"] == "refnet tensorflow 1"
    assert {"versions", "origin", "script"} <= set(META)


@every_model
def test_the_kind_is_told_by_what_the_files_hold(models, name):
    assert read(place(models, name)).kind == KINDS[MODELS[name]["how"]]


@every_model
def test_the_network_is_recognised(models, name):
    model, checkpoint = MODELS[name], found(models, name)
    recipe = checkpoint.graph.recipe
    assert (checkpoint.models, recipe.width, recipe.classes) == ((model["model"],), model["width"], model["classes"])
    assert recipe.size == tuple(model["size"])
    if name != "slim_v1-dilated-frozen.pb":
        assert {line(difference) for difference in checkpoint.differences} <= DIFFERENCES


@pytest.mark.parametrize("name", ORIGINAL)
def test_the_weights_are_those_that_were_given_bit_for_bit(models, name):
    params, expected = found(models, name).params, random_params(network(name))
    assert params.keys() == expected.keys()
    assert all(np.array_equal(array, expected[key]) for key, array in params.items())


@every_model
def test_what_it_makes_in_float64_is_what_tensorflow_makes(models, name):
    checkpoint = found(models, name)
    net = Network(checkpoint.graph, checkpoint.params).astype(np.float64)
    expected = EXPECTED[f"{name}|y64"]
    made = probabilities(net, random_input(network(name), len(expected), np.float64))
    assert np.abs(made - expected).max() <= 1e-11 * np.abs(expected).max()


@pytest.mark.parametrize("name", WITH_TENSORS)
def test_tensorflows_float32_tensors_are_within_bounds_node_by_node(models, tmp_path, name):
    imported = importers.import_graph(read(place(models, name)))
    x = random_input(network(name), 2)[:1]
    write_pack(Network(imported.graph, imported.params), x, tmp_path / "golden", origin={})
    start = f"{name}|float32|"
    saved = {key.removeprefix(start): y for key, y in EXPECTED.items() if key.startswith(start)}
    # Paddings and biases are parts of convolutions here, and reshapes are none; the flat tensor has another name.
    tensors = {node: y for node, y in saved.items() if node.replace("/", ".")[-80:].strip(".") in imported.graph}
    tensors |= {node: y for node, y in saved.items() if node.endswith("Squeeze")}
    assert len(tensors) > 0.8 * len(saved)
    judged = compare(tmp_path / "golden", tensors, explain=False)
    assert judged.wrong() == []
    assert judged.holds


def test_dilation_between_rearrangements_is_read_as_dilation(models):
    graph = found(models, "slim_v1-dilated-frozen.pb").graph
    dilations = [node.attrs["dilation"] for node in graph.nodes if node.op == "depthwise_conv2d"]
    assert dilations == [(1, 1)] * 6 + [(2, 2)] * 6 + [(4, 4)]


def test_batch_norms_written_out_are_batch_norms_with_the_files_own_arrays(models):
    checkpoint = found(models, "slim_v1-unfused-frozen.pb")
    norms = [node for node in checkpoint.graph.nodes if node.op == "batch_norm"]
    assert len(norms) == 27
    assert {node.attrs["eps"] for node in norms} == {1e-3}
    assert checkpoint.keys["stem.bn.var"] == "MobilenetV1/Conv2d_0/BatchNorm/moving_variance"


def test_arrays_of_a_checkpoint_are_called_as_their_variables(models):
    arrays = read(place(models, "keras_v2-checkpoint")).arrays
    expected = entries(network("keras_v2-checkpoint"), "keras")
    assert arrays.keys() == {entry.key for entry in expected.values()}


def test_what_training_leaves_in_a_checkpoint_is_left_out(models):
    arrays = read(place(models, "slim_v1-average")).arrays
    assert not [name for name in arrays if "RMSProp" in name or "global_step" in name]
    assert len(arrays) == 2 * len(entries(network("slim_v1-average"), "slim"))


def test_of_a_variable_and_its_average_the_average_is_run(models):
    assert found(models, "slim_v1-average").scheme == "slim-average"
    assert found(models, "slim_v1-checkpoint").scheme == "slim"


@pytest.mark.parametrize("dtype", ["float16", "uint8", "uint16"])
def test_quantised_weights_are_what_the_converter_made_of_the_original_ones(models, dtype):
    held = read(models / f"keras_v1-layers-{dtype}").arrays
    original = read(models / "keras_v1-layers").arrays
    assert held.keys() == original.keys()
    for name, array in held.items():
        if dtype == "float16":
            assert array.dtype == np.float16
            assert np.array_equal(array, original[name].astype(np.float16))
        else:
            steps = np.iinfo(dtype).max
            assert array.dtype == np.float32
            assert np.abs(array - original[name]).max() <= 0.51 * np.ptp(original[name]) / steps + 1e-7


@pytest.mark.parametrize("dtype", ["float16", "uint8", "uint16"])
def test_what_the_file_has_weights_in_is_told(models, dtype):
    assert set(found(models, f"keras_v1-layers-{dtype}").stored.values()) == {dtype}


def test_verifying_a_quantised_model_finds_it_quantised(models):
    """But for arrays whose ends the converter cuts off, to have a zero among its steps."""
    made = verify(models / "keras_v1-layers", models / "keras_v1-layers-uint8")
    quantised = [value for value in made.values if value.kind == "int8"]
    assert len(quantised) > 0.95 * len(made.values)


def test_a_folder_and_the_file_in_it_are_the_same(models):
    for name, file in (("keras_v1-layers", "model.json"), ("keras_v2-saved", "saved_model.pb")):
        folder, inside = read(models / name), read(models / name / file)
        assert folder.structure == inside.structure
        assert folder.arrays.keys() == inside.arrays.keys()


# ---------------------------------------------------------------------------------------------------------- operations

X = np.random.default_rng(5).uniform(-6, 9, (2, 4, 6, 5))


def graph(*operations, **arrays):
    held = {name: np.asarray(array) for name, array in arrays.items()}
    return Contents("tensorflow", held, Structure("", tuple(operations), {"x": (None, 6, 5, 4)}, ("y",)))


def op(kind, inputs, outputs="y", **attrs):
    return Operation(kind, tuple(inputs.split()), (outputs,), attrs, outputs)


def made(contents):
    imported = importers.import_graph(contents)
    params = {name: array.astype(np.float64) for name, array in imported.params.items()}
    return imported, interpret(imported.graph, fast, params, {"input": X})


def refused(contents, reason):
    with pytest.raises(ValueError, match=reason) as error:
        importers.import_graph(contents)
    assert "\n" not in str(error.value)


ZERO, SIX = np.float32(0), np.float32(6)


@pytest.mark.parametrize(
    "operations",
    [
        [op("Minimum", "x six", "a"), op("Maximum", "a zero")],
        [op("Maximum", "x zero", "a"), op("Minimum", "a six")],
        [op("Relu", "x", "a"), op("Minimum", "six a")],
        [op("ClipByValue", "x zero six")],
    ],
)
def test_a_clip_in_every_spelling_is_one_node(operations):
    imported, y = made(graph(*operations, zero=ZERO, six=SIX))
    assert [node.op for node in imported.graph.nodes] == ["relu6"]
    assert np.array_equal(y, np.clip(X, 0, 6))


def test_half_a_clip_is_a_clip_with_one_end():
    imported, y = made(graph(op("Minimum", "x six", "a"), op("Sigmoid", "a"), six=SIX))
    assert [node.op for node in imported.graph.nodes] == ["clip", "sigmoid"]
    assert np.abs(y - 1 / (1 + np.exp(-np.minimum(X, 6)))).max() < 1e-15


def test_a_map_in_blocks_is_refused_but_for_one_convolution():
    blocks = op("SpaceToBatchND", "x block pads", "a")
    arrays = {"block": np.array([2, 2]), "pads": np.array([[2, 2], [2, 3]])}
    refused(graph(blocks, op("Relu", "a"), **arrays), "a map cut into blocks")
    refused(graph(blocks, op("BatchToSpaceND", "a block pads"), **arrays), "one convolution of a map in such blocks")


def test_an_activation_fused_with_a_convolution_is_a_node_of_its_own():
    w = np.random.default_rng(6).standard_normal((1, 1, 4, 3)).astype(np.float32)
    attrs = {"strides": (1, 1, 1, 1), "padding": "VALID", "fused_ops": ("BiasAdd", "Relu6")}
    imported, y = made(graph(op("_FusedConv2D", "x w b", **attrs), w=w, b=np.ones(3, np.float32)))
    assert [node.op for node in imported.graph.nodes] == ["pointwise_conv2d", "relu6"]
    expected = np.clip(np.einsum("nchw,ck->nkhw", X, w[0, 0].astype(np.float64)) + 1, 0, 6)
    assert np.abs(y - expected).max() < 1e-12


def test_several_filters_for_each_channel_are_groups():
    w = np.random.default_rng(8).standard_normal((3, 3, 4, 2)).astype(np.float32)
    attrs = {"strides": (1, 1, 1, 1), "padding": "VALID"}
    imported, y = made(graph(op("DepthwiseConv2dNative", "x w", **attrs), w=w))
    assert [node.op for node in imported.graph.nodes] == ["grouped_conv2d"]
    windows = np.lib.stride_tricks.sliding_window_view(X, (3, 3), axis=(2, 3))
    expected = np.einsum("nchwrs,rscm->ncmhw", windows, w).reshape(y.shape)
    assert np.abs(y - expected).max() < 1e-12


@pytest.mark.parametrize(
    ("fused", "more", "act"),
    [
        (("BiasAdd", "LeakyRelu"), {"leakyrelu_alpha": float(np.float32(0.1))}, "leaky_relu"),
        (("BiasAdd", "Prelu"), {}, "prelu"),
        (("Relu",), {}, "relu"),
        (("BiasAdd", "Tanh"), {}, "tanh"),
    ],
)
def test_what_is_fused_with_a_convolution(fused, more, act):
    arrays = {"w": np.ones((1, 1, 4, 3), np.float32), "b": np.ones(3, np.float32), "s": np.full(3, 0.5, np.float32)}
    names = "x w" + " b" * ("BiasAdd" in fused) + " s" * ("Prelu" in fused)
    attrs = {"strides": (1, 1, 1, 1), "padding": "VALID", "fused_ops": fused, **more}
    imported, _ = made(graph(op("_FusedConv2D", names, **attrs), **arrays))
    assert [node.op for node in imported.graph.nodes] == ["pointwise_conv2d", act]


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (op("Conv2D", "x w", strides=(1, 1, 1, 1), padding="SAME", data_format="NCHW"), "channels first"),
        (op("Conv2D", "x w", strides=(2, 1, 1, 1), padding="SAME"), "strides over images or channels"),
        (op("Conv2D", "x w", strides=(1, 1, 1, 1), padding="LEFT"), "the padding 'LEFT'"),
        (op("FusedBatchNormV3", "x v v v v", epsilon=1e-3, is_training=True), "training mode"),
        (op("Mean", "x axes", keep_dims=True), "only that over H and W"),
        (op("MatMul", "x w"), "only of vectors"),
        (op("Elu", "x"), "refnet has no such operation"),
        (op("_FusedConv2D", "x w", strides=(1, 1, 1, 1), padding="SAME", fused_ops=("Elu",)), "only with BiasAdd"),
    ],
)
def test_what_refnet_cannot_say_is_refused_by_name(operation, reason):
    w, v = np.ones((3, 3, 4, 4), np.float32), np.ones(4, np.float32)
    refused(graph(operation, w=w, v=v, axes=np.array([3])), reason)
