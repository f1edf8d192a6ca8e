"""Commands on networks that no vendor built: of grey images, of one number, of maps, of several outputs."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refnet import Graph, Node, Recipe, load, write_weights
from refnet.bench.peers import timed_network
from refnet.cli import main
from refnet.files.checkpoint import identify
from refnet.networks.preprocessing import RAW, UNIT

NO_PAD = ((0, 0), (0, 0))
HALVING = {"stride": (2, 2), "pad": ((1, 1), (1, 1)), "dilation": (1, 1)}
FEATURES = (
    Node("conv1/BiasAdd", "conv2d", ("input",), {"w": (8, 1, 3, 3), "b": (8,)}, HALVING),
    Node("relu1", "relu", ("conv1/BiasAdd",)),
    Node("conv2", "conv2d", ("relu1",), {"w": (16, 8, 3, 3), "b": (16,)}, HALVING),
    Node("relu2", "relu", ("conv2",)),
)
POOL = Node("pool", "avg_pool2d", ("relu2",), attrs={"kernel": (7, 7), "stride": (1, 1), "pad": NO_PAD})


def linear(classes: int, *behind: Node) -> tuple[Node, ...]:
    fc = Node("fc", "pointwise_conv2d", ("pool",), {"w": (classes, 16), "b": (classes,)})
    return (*FEATURES, POOL, fc, Node("flat", "flatten", ("fc",)), *behind)


def mask(classes: int, *behind: Node) -> tuple[Node, ...]:
    size = {"size": (28, 28), "align_corners": False}
    logits = Node("mask", "pointwise_conv2d", ("relu2",), {"w": (classes, 16), "b": (classes,)})
    return (*FEATURES, logits, Node("up", "resize_bilinear", ("mask",), attrs=size), *behind)


NETWORKS = {
    "classes": (linear(3, Node("prob", "softmax", ("flat",))), ()),
    "logits": (linear(3), ()),
    "independent": (linear(3, Node("prob", "sigmoid", ("flat",))), ()),
    "one": (linear(1, Node("prob", "sigmoid", ("flat",))), ()),
    "number": (linear(1), ()),
    "vector": ((*FEATURES, POOL, Node("flat", "flatten", ("pool",))), ()),
    "map": (mask(4)[:-1], ()),
    "mask": (mask(4, Node("prob", "softmax", ("up",))), ()),
    "two": (linear(3, Node("prob", "softmax", ("flat",))), ("prob", "relu2")),
}


def saved(folder: Path, nodes: tuple[Node, ...], returns: tuple[str, ...] = (), name: str = "net.npz") -> Path:
    graph = Graph(Recipe("", 1.0, (28, 28), classes_of(nodes), 1), nodes, returns)
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal(shape).astype(np.float32) / 3 for name, shape in graph.params().items()}
    write_weights(graph, params, folder / name)
    return folder / name


def classes_of(nodes: tuple[Node, ...]) -> int:
    return next((node.params["w"][0] for node in reversed(nodes) if node.params), 1)


def document(capsys, *argv: object) -> dict:
    assert main([*map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    path = tmp_path / "image.png"
    pytest.importorskip("PIL.Image").fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_run_says_what_each_output_is(capsys, tmp_path, image, name):
    path = saved(tmp_path, *NETWORKS[name])
    answer = document(capsys, "run", image, "--weights", path)
    kinds = [output["kind"] for output in answer["outputs"]]
    assert kinds == {"one": ["independent"], "two": ["classes", "map"]}.get(name, [name])
    assert answer["prepared"].startswith("assumed: pixels from 0 to 1")
    assert main(["run", str(image), "--weights", str(path)]) == 0
    assert capsys.readouterr().out.startswith("a network of its own, 1 x 1 x 28 x 28: image.png\nprepared: assumed")


def test_probabilities_are_those_of_the_outputs_kind(capsys, tmp_path, image):
    found = {}
    for name in ("classes", "logits", "independent", "one"):
        (entries,) = document(capsys, "run", image, "--weights", saved(tmp_path, *NETWORKS[name]))["images"]
        found[name] = {entry["class"]: entry["probability"] for entry in entries}
    assert found["classes"] == pytest.approx(found["logits"])
    assert sum(found["classes"].values()) == pytest.approx(1)
    assert sum(found["independent"].values()) != pytest.approx(1)
    assert 0 < found["one"][0] < 1


@pytest.mark.parametrize("name", ["number", "vector", "map", "mask"])
def test_what_is_no_classifier_names_no_classes(capsys, tmp_path, image, name):
    assert document(capsys, "run", image, "--weights", saved(tmp_path, *NETWORKS[name]))["images"] == []


def test_outputs_are_written_as_arrays_or_as_a_picture(capsys, tmp_path, image):
    path = saved(tmp_path, *NETWORKS["mask"])
    for target in ("y.npy", "y.npz", "y.png"):
        assert main(["run", str(image), "--weights", str(path), "-o", str(tmp_path / target)]) == 0
    y = np.load(tmp_path / "y.npy")
    assert y.shape == (1, 4, 28, 28)
    assert np.array_equal(np.load(tmp_path / "y.npz")["prob"], y)
    with pytest.importorskip("PIL.Image").open(tmp_path / "y.png") as picture:
        colours = {tuple(pixel) for pixel in np.array(picture).reshape(-1, 3).tolist()}
    assert len(colours) == len(np.unique(y[0].argmax(axis=0)))
    two = saved(tmp_path, *NETWORKS["two"], name="two.npz")
    assert main(["run", str(image), "--weights", str(two), "-o", str(tmp_path / "z.npy")]) == 2
    assert "has 2 outputs: write an .npz, or take one with --output" in capsys.readouterr().err


def test_a_mask_lies_over_the_colours_of_its_image(tmp_path, image):
    Image = pytest.importorskip("PIL.Image")
    nodes = (replace(FEATURES[0], params={**FEATURES[0].params, "w": (8, 3, 3, 3)}), *mask(4)[1:])
    graph = Graph(Recipe("", 1.0, (28, 28), 4), nodes)
    rng = np.random.default_rng(0)
    params = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in graph.params().items()}
    write_weights(graph, params, tmp_path / "net.npz")
    asked = ["run", str(image), "--weights", str(tmp_path / "net.npz"), "--preprocess", "raw"]
    for target in ("y.npy", "y.png"):
        assert main([*asked, "-o", str(tmp_path / target)]) == 0
    said = np.load(tmp_path / "y.npy")[0].argmax(axis=0)
    pixels = np.asarray(Image.open(image).resize((28, 28), Image.Resampling.BILINEAR)).astype(int)
    colours = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)])  # PASCAL VOC's first
    expected = np.where(said[..., None] == 0, pixels, (pixels + colours[said] + 1) // 2)
    assert len(np.unique(said)) > 1
    assert np.array_equal(np.asarray(Image.open(tmp_path / "y.png")), expected)


def test_a_path_that_cannot_be_written_is_refused_before_anything_is_run(capsys, tmp_path):
    assert main(["run", "--weights", "no-such-file.npz", "-o", str(tmp_path / "none" / "y.npy")]) == 2
    assert "is no folder to write into" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------- pixels, names


def test_pixels_are_those_that_the_networks_own_rescaling_takes(tmp_path):
    for slope, offset, taken in (
        (1 / 255, 0.0, RAW),
        (1 / 127.5, -1.0, RAW),
        (2.0, -1.0, UNIT),
        (1 / 0.25, -2.0, UNIT),
    ):
        scaling = Node("scaling", "affine", ("input",), attrs={"slope": slope, "offset": offset})
        first, *rest = linear(3)
        nodes = (scaling, Node(first.name, first.op, ("scaling",), first.params, first.attrs), *rest)
        assert identify(saved(tmp_path, nodes)).graph.recipe.preprocessing == taken


def test_preprocess_says_otherwise(capsys, tmp_path, image):
    path = saved(tmp_path, *NETWORKS["logits"])
    made = {way: document(capsys, "run", image, "--weights", path, "--preprocess", way) for way in ("raw", "unit")}
    assert made["raw"]["prepared"] == RAW.origin
    assert made["raw"]["outputs"] != made["unit"]["outputs"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "0 ant\n1 big bee\n2 cow\n"),
        ("net_labels.txt", "ant\nbig bee\ncow\n"),
        ("net.labels.txt", "['ant', 'big bee', 'cow']"),
        ("classes.txt", "ant, big bee, cow"),
    ],
)
def test_names_of_classes_beside_the_file_are_used(capsys, tmp_path, image, name, text):
    path = saved(tmp_path, *NETWORKS["logits"])
    (tmp_path / name).write_text(text)
    (entries,) = document(capsys, "run", image, "--weights", path)["images"]
    assert {entry["name"] for entry in entries} == {"ant", "big bee", "cow"}


def test_names_that_are_not_as_many_as_the_classes_are_not_used(capsys, tmp_path, image):
    path = saved(tmp_path, *NETWORKS["logits"])
    (tmp_path / "labels.txt").write_text("ant\nbee\n")
    (entries,) = document(capsys, "run", image, "--weights", path)["images"]
    assert {entry["name"] for entry in entries} == {"class 0", "class 1", "class 2"}
    assert main(["run", str(image), "--weights", str(path), "--labels", str(tmp_path / "labels.txt")]) == 2
    assert "names 2 classes, the network has 3" in capsys.readouterr().err


def test_names_in_onnx_metadata_are_used(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = saved(tmp_path, *NETWORKS["logits"], name="net.onnx")
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {"names": "{0: 'ant', 1: 'bee', 2: 'cow'}"})
    onnx.save(model, str(path))
    assert load(path).graph.recipe.labels == ("ant", "bee", "cow")


def test_names_in_the_archive_behind_a_tflite_file_are_used(tmp_path, exports):
    source = next(path for path in sorted(exports.iterdir()) if path.suffix == ".tflite")
    classes = identify(source).graph.recipe.classes
    path = tmp_path / "net.tflite"
    path.write_bytes(source.read_bytes())
    names = [f"thing {k}" for k in range(classes)]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "\n".join(names))
    assert identify(path).graph.recipe.labels == tuple(names)


# ------------------------------------------------------------------------------------- packs, files, ends, other names


@pytest.mark.parametrize("name", ["map", "two", "one", "vector"])
def test_golden_compare_and_verify_hold(capsys, tmp_path, name):
    path = saved(tmp_path, *NETWORKS[name])
    assert main(["golden", str(path), "-o", str(tmp_path / "pack"), "--no-detectability"]) == 0
    assert main(["compare", str(tmp_path / "pack"), str(tmp_path / "pack" / "tensors")]) == 0
    assert main(["convert", str(path), str(tmp_path / "other.safetensors")]) == 0
    assert main(["verify", str(path), "--against", str(tmp_path / "other.safetensors")]) == 0
    assert capsys.readouterr().out.rstrip().endswith("same network")


def test_verify_calls_networks_of_their_own_alike_and_finds_the_wrong_layer(capsys, tmp_path):
    net = load(saved(tmp_path, *NETWORKS["two"]))
    names = {node.name: f"t{place}" for place, node in enumerate(net.graph.nodes)}
    slots = {f"{node.name}.{slot}": f"{names[node.name]}.{slot}" for node in net.graph.nodes for slot in node.params}
    params = {slots[name]: array for name, array in net.params.items()}
    for file, factor in (("same.npz", 1), ("wrong.npz", 1.01)):
        changed = {**params, slots["conv2.w"]: params[slots["conv2.w"]] * np.float32(factor)}
        write_weights(net.graph.renamed(names), changed, tmp_path / file)
    path = str(tmp_path / "net.npz")
    assert main(["verify", path, "--against", str(tmp_path / "same.npz")]) == 0
    assert main(["verify", path, "--against", str(tmp_path / "wrong.npz")]) == 1
    assert "conv2.w is scaled (it is 1.01 times what it should be)" in capsys.readouterr().out


def test_a_network_ends_at_the_outputs_that_are_asked_for(capsys, tmp_path, image):
    path = saved(tmp_path, *NETWORKS["classes"])
    whole, cut = load(path), load(path, output=("relu1", "pool"))
    x = np.random.default_rng(2).standard_normal((1, 1, 28, 28)).astype(np.float32)
    found, traced = cut(x), whole.trace(x)
    assert list(found) == ["relu1", "pool"]
    assert all(np.allclose(y, traced[name], atol=1e-5) for name, y in found.items())
    assert not {name for name in cut.params if name.startswith("fc")}
    answer = document(capsys, "run", image, "--weights", path, "--output", "relu1")
    assert [output["node"] for output in answer["outputs"]] == ["relu1"]
    assert main(["run", "--weights", str(path), "--output", "relu3"]) == 2
    assert "has no node 'relu3'; nearest: relu2, relu1" in capsys.readouterr().err


def test_names_of_a_file_become_names_of_files(tmp_path):
    pytest.importorskip("onnx")
    nodes = load(saved(tmp_path, *NETWORKS["classes"], name="net.onnx")).graph.nodes
    assert [node.name for node in nodes][:3] == ["conv1.BiasAdd", "relu1", "conv2"]


def test_strict_refuses_a_network_of_its_own(tmp_path, capsys):
    path = saved(tmp_path, *NETWORKS["classes"])
    assert main(["run", "--weights", str(path), "--strict"]) == 2
    assert "is a network of its own; it is taken as it is without strict=" in capsys.readouterr().err


def test_what_is_timed_of_a_file_is_its_network_up_to_its_first_output(tmp_path):
    path = saved(tmp_path, *NETWORKS["two"])
    graph, params = timed_network(str(path), 1.0, None)
    assert graph.outputs == ("prob",)
    assert params.keys() == graph.params().keys()
    assert np.array_equal(params["fc.w"], load(path).params["fc.w"])


def test_an_end_that_is_left_out_is_said_by_every_command_that_reads_the_file(tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    path = saved(tmp_path, *NETWORKS["classes"], name="net.onnx")
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("Erf", [model.graph.output[0].name], ["e"]))
    model.graph.output[0].name = "e"
    onnx.save(model, path)
    size = ("--input", str(tmp_path / "x.npy"))
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 28, 28), np.float32))
    for command in (
        ("run", str(tmp_path / "x.npy"), "--weights", str(path)),
        ("golden", str(path), "-o", str(tmp_path / "pack"), "--no-detectability", *size),
        ("convert", str(path), str(tmp_path / "net.npz")),
    ):
        assert main([*command, "--json"]) == 0
        said = capsys.readouterr()
        assert (
            said.err
            == "note: the network ends before Erf: operations behind its last layer that refnet does not read\n"
        )
        json.loads(said.out)


def test_a_comparison_of_a_network_without_a_name_says_so_at_its_head(tmp_path, capsys):
    path, pack = saved(tmp_path, *NETWORKS["classes"]), str(tmp_path / "pack")
    assert main(["golden", str(path), "-o", pack, "--no-detectability"]) == 0
    capsys.readouterr()
    assert main(["compare", pack, pack, "--junit", str(tmp_path / "j.xml")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{pack} against {pack}: a network of its own, as stored"
    assert 'classname="a network of its own' in (tmp_path / "j.xml").read_text()
