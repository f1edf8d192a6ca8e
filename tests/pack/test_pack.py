"""Golden packs: what is written is read back, is rounded once, and no broken pack is believed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import own_graphs

from refnet import FormatError, Graph, Network, Node, Recipe, RequestError, build, random_input, random_params
from refnet.networks.preprocessing import TORCHVISION_V1
from refnet.pack import formats as pack_formats
from refnet.pack.pack import FORMATS, read_pack, write_pack
from refnet.readings.shapes import shapes

READABLE = [form for form in FORMATS if form != "c"]
ORIGIN = {"weights": "random"}


def network(size=(33, 48), width=0.35, classes=10) -> Network:
    graph = build("torchvision/mobilenet_v3_small", width=width, size=size, classes=classes)
    return Network(graph, random_params(graph))


NET = network()
X = random_input(NET.graph, 2)
TRACE = {"input": X.astype(np.float64), **NET.astype(np.float64).trace(X.astype(np.float64))}


@pytest.fixture
def pack(tmp_path):
    write_pack(NET, X, tmp_path / "pack", origin=ORIGIN, only="block1.*")
    return tmp_path / "pack"


def edited(pack, change):
    """Write the manifest again after a change to it."""
    manifest = json.loads((pack / "manifest.json").read_text())
    change(manifest)
    (pack / "manifest.json").write_text(json.dumps(manifest))


def complaint(act) -> str:
    """The one line of a FormatError."""
    with pytest.raises(FormatError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- what is written is read back


@pytest.mark.parametrize("form", READABLE)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_tensor_is_the_float64_one_rounded_once(tmp_path, form, layout, dtype):
    write_pack(NET, X, tmp_path / "pack", dtype=dtype, layout=layout, format=form, origin=ORIGIN)
    pack = read_pack(tmp_path / "pack")
    assert pack.names == tuple(TRACE)
    for name, y in TRACE.items():
        assert pack.tensor(name).dtype == dtype
        np.testing.assert_array_equal(pack.tensor(name), y.astype(dtype), strict=True)


@pytest.mark.parametrize("form", READABLE)
def test_the_network_itself_is_read_back(tmp_path, form):
    write_pack(NET.fold(), X, tmp_path / "pack", format=form, origin=ORIGIN)
    pack = read_pack(tmp_path / "pack")
    assert pack.graph == NET.fold().graph
    np.testing.assert_array_equal(Network(pack.graph, pack.params)(X), NET.fold()(X), strict=True)


def test_a_pack_alone_gives_its_own_tensors_again(tmp_path):
    """Also where weights and input had more digits than the pack keeps."""
    rng = np.random.default_rng(1)
    net = NET.astype(np.float64)
    net = Network(net.graph, {name: a * rng.uniform(0.9, 1.1, a.shape) for name, a in net.params.items()})
    write_pack(net, X * rng.uniform(0.9, 1.1, X.shape), tmp_path / "pack", origin=ORIGIN)
    pack = read_pack(tmp_path / "pack")
    again = Network(pack.graph, pack.params).astype(np.float64).trace(pack.tensor("input").astype(np.float64))
    for name, y in again.items():
        np.testing.assert_array_equal(pack.tensor(name), y.astype(np.float32))


def test_nhwc_stores_channels_last_and_params_as_ever(tmp_path):
    write_pack(NET, X, tmp_path / "pack", layout="nhwc", origin=ORIGIN)
    assert np.load(tmp_path / "pack/tensors/input.npy").shape == (2, 33, 48, 3)
    assert np.load(tmp_path / "pack/tensors/head.flatten.npy").shape == (2, 10)
    np.testing.assert_array_equal(np.load(tmp_path / "pack/params/stem.conv.w.npy"), NET.params["stem.conv.w"])


def test_raw_is_the_numbers_and_nothing_else(tmp_path):
    write_pack(NET, X, tmp_path / "pack", format="raw", origin=ORIGIN)
    assert (tmp_path / "pack/tensors/input.bin").read_bytes() == X.astype("<f4").tobytes()


def test_the_safetensors_library_reads_a_pack(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    write_pack(NET, X, tmp_path / "pack", format="safetensors", origin=ORIGIN)
    tensors = library.load_file(tmp_path / "pack/tensors.safetensors")
    assert set(tensors) == set(TRACE)
    np.testing.assert_array_equal(tensors["stem.conv"], TRACE["stem.conv"].astype(np.float32))
    np.testing.assert_array_equal(
        library.load_file(tmp_path / "pack/params.safetensors")["stem.conv.w"], NET.params["stem.conv.w"]
    )


def test_only_some_tensors_keep_the_whole_network(pack):
    read = read_pack(pack)
    assert read.names == ("input", *(name for name in TRACE if name.startswith("block1.")))
    assert read.graph == NET.graph
    assert set(read.params) == set(NET.params)


def test_the_manifest_says_what_is_where_from(pack):
    manifest = json.loads((pack / "manifest.json").read_text())
    assert manifest["format"] == "refnet pack 1"
    assert manifest["recipe"] == {
        "model": "torchvision/mobilenet_v3_small",
        "width": 0.35,
        "size": [33, 48],
        "classes": 10,
        "channels": 3,
        "preprocessing": {
            "origin": TORCHVISION_V1.origin,
            "resize": [256, 224],
            "interpolation": "bilinear",
            "scale": 255.0,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "keep": [1, 1],
        },
        "labels": "imagenet",
    }
    assert manifest["returns"] == ["head.flatten"]
    assert manifest["dialect"]["vendor"] == "torchvision"
    assert manifest["origin"] == ORIGIN
    entry = manifest["tensors"]["block1.depthwise"]
    assert entry["op"] == "depthwise_conv2d"
    assert entry["sha256"] == hashlib.sha256((pack / entry["file"]).read_bytes()).hexdigest()


def test_each_tensor_has_a_line_of_its_own(pack):
    lines = (pack / "manifest.json").read_text().splitlines()
    begin = lines.index(' "tensors": {')
    assert lines[begin + 1].startswith('  "input": {"file": "tensors/input.npy", "shape": [2, 3, 33, 48], "dtype": ')
    assert lines[begin + 1 + len(read_pack(pack).names)] == " }"


def test_further_entries_go_into_the_manifest(tmp_path):
    write_pack(NET, X, tmp_path / "pack", origin=ORIGIN, extra={"detectability": {"pad-same": True}})
    assert read_pack(tmp_path / "pack").manifest["detectability"] == {"pad-same": True}


@pytest.mark.parametrize("form", [*READABLE, "narrow"])
def test_memory_stays_below_three_of_the_largest_tensor_and_the_params(tmp_path, form):
    """The largest tensor in float64, as it is computed. In a narrow network the windows of the stem are larger."""
    net = network((160, 160), 0.35) if form == "narrow" else network((64, 64), 1.0)
    form = "npy" if form == "narrow" else form
    x = random_input(net.graph, 8)
    bar = 3 * 8 * len(x) * max(map(math.prod, shapes(net.graph).values()))
    bar += sum(array.nbytes for array in net.params.values())
    tracemalloc.start()
    try:
        write_pack(net, x, tmp_path / "pack", format=form, origin=ORIGIN)
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        pack = read_pack(tmp_path / "pack")
        for name in pack.names:
            pack.tensor(name)
        for name in pack.params:
            pack.params[name]
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert written < bar
    assert read < bar


# ---- whole or not at all


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, form, error):
    chunks = pack_formats._chunks

    def interrupted(name, array, dtype):
        if name == "block3.add":
            raise error
        return chunks(name, array, dtype)

    monkeypatch.setattr(pack_formats, "_chunks", interrupted)
    with pytest.raises(error):
        write_pack(NET, X, tmp_path / "pack", format=form, origin=ORIGIN)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["pack", "file", "empty folder", "dangling link"])
def test_nothing_is_overwritten(tmp_path, pack, kind):
    path = tmp_path / "there"
    match kind:
        case "pack":
            path = pack
        case "file":
            path.write_text("mine")
        case "empty folder":
            path.mkdir()
        case "dangling link":
            path.symlink_to("nowhere")
    with pytest.raises(RequestError, match="exists already; remove it or choose another"):
        write_pack(NET, X, path, origin=ORIGIN)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": "float16"}, "dtype 'float16': take one of float32, float64"),
        ({"layout": "chw"}, "layout 'chw'"),
        ({"format": "pickle"}, "format 'pickle'"),
        ({"only": "blok*"}, "no tensor matches 'blok*'"),
        ({"extra": {"graph": 1}}, "'graph' is an entry of every manifest"),
        ({"x": np.full_like(X, np.nan)}, "NaN"),
        ({"x": np.full(X.shape, 1e300)}, "NaN or infinity"),
        ({"x": X.astype(np.uint8)}, "uint8"),
        ({"x": X[:, :, 1:]}, "images of"),
        ({"x": X.transpose(0, 2, 3, 1)}, "channels last"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_a_bad_request_is_refused_and_leaves_nothing(tmp_path, change, words):
    with pytest.raises(RequestError) as caught:
        write_pack(**{"net": NET, "x": X, "path": tmp_path / "pack", "origin": ORIGIN, **change})
    assert words in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_value_beyond_float32_is_no_golden_tensor(tmp_path):
    params = {**NET.params, "stem.bn.gamma": np.full_like(NET.params["stem.bn.gamma"], 3e38)}
    with pytest.raises(RequestError, match=r"stem\.bn: holds NaN or infinity in float32"):
        write_pack(Network(NET.graph, params), X, tmp_path / "pack", origin=ORIGIN)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RequestError, match="no folder"):
        write_pack(NET, X, tmp_path / "no" / "pack", origin=ORIGIN)


@settings(max_examples=20)
@given(own_graphs())
def test_a_network_of_ones_own_comes_back_with_its_names_and_outputs(tmp_path_factory, made):
    graph, params = made
    net, path = Network(graph, params), tmp_path_factory.mktemp("own") / "pack"
    x = np.random.default_rng(0).uniform(-1, 1, (1, *graph.input_shape))
    write_pack(net, x, path, origin=ORIGIN, dtype="float64")
    pack = read_pack(path)
    assert pack.graph == graph
    assert pack.graph.outputs == graph.outputs
    for name, y in net.trace(x).items():
        assert np.array_equal(pack.tensor(name), y)


def test_the_recipe_comes_back_as_it_was(pack):
    assert read_pack(pack).graph.recipe == NET.graph.recipe
    assert read_pack(pack).graph.recipe.preprocessing == TORCHVISION_V1


def test_an_older_pack_has_one_output_and_says_nothing_of_images(pack):
    for change in (without("returns"), without("recipe", "preprocessing"), without("recipe", "labels")):
        edited(pack, change)
    graph = read_pack(pack).graph
    assert graph.outputs == ("head.flatten",)
    assert (graph.recipe.preprocessing, graph.recipe.labels) == (None, "")


# ---- no broken pack is believed


def set_in(*keys, to):
    """A change to a manifest: what lies under some keys becomes something else."""

    def change(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = to

    return change


def without(*keys):
    def change(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        del manifest[keys[-1]]

    return change


STRANGER = {"file": "tensors/input.npy", "shape": [1], "dtype": "float32", "sha256": ""}
FILE = ("tensors", "block1.depthwise", "file")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_in("format", to="refnet pack 2"), "'refnet pack 2'; this refnet reads 'refnet pack 1'"),
        (without("format"), "this refnet reads 'refnet pack 1'"),
        (without("graph"), "'graph' is missing"),
        (without("params"), "'params' is missing"),
        (without("recipe"), "'recipe' is missing"),
        (set_in("recipe", "size", to=[33]), "size"),
        (set_in("recipe", "width", to=True), "'width'"),
        (set_in("recipe", "labels", to=None), "recipe: 'labels'"),
        (set_in("recipe", "preprocessing", to="torchvision"), "recipe: preprocessing: 'scale'"),
        (set_in("recipe", "preprocessing", "scale", to=0), "preprocessing: divides by zero"),
        (set_in("recipe", "preprocessing", "std", to=[1, 0, 1]), "preprocessing: divides by zero"),
        (set_in("recipe", "preprocessing", "mean", to=[1, 1]), "preprocessing: 'mean' is not 3 numbers"),
        (set_in("recipe", "preprocessing", "mean", to=[1, 1, True]), "preprocessing: 'mean' is not 3 numbers"),
        (set_in("recipe", "preprocessing", "resize", to=[256]), "preprocessing: 'resize' is not two whole"),
        (set_in("recipe", "preprocessing", "keep", to=[0, 1]), "preprocessing: 'keep' is not two whole"),
        (set_in("recipe", "preprocessing", "interpolation", to="lanczos"), "no interpolation is called 'lanczos'"),
        (set_in("recipe", "preprocessing", "origin", to=1), "preprocessing: 'origin'"),
        (set_in("returns", to="head.flatten"), "'returns' is missing or malformed"),
        (set_in("returns", to=[0]), "returns: is not a list of names"),
        (set_in("returns", to=["head.tail"]), "the graph returns 'head.tail', which no node makes"),
        (set_in("returns", to=["input"]), "the graph returns 'input', which no node makes"),
        (set_in("returns", to=["stem.act", "stem.act"]), "the graph returns 'stem.act' twice"),
        (set_in("storage", to="zip"), "storage is 'zip'"),
        (set_in("storage", to=[]), "storage is '[]'"),
        (set_in("dtype", to="int8"), "dtype is 'int8'"),
        (set_in("layout", to="chwn"), "layout is 'chwn'"),
        (set_in("graph", 0, "op", to="conv3d"), "stem.conv: no operation is called 'conv3d'"),
        (set_in("graph", 0, "inputs", to=["later"]), "reads 'later'"),
        (set_in("graph", 0, "inputs", to=[1]), "stem.conv: 'inputs'"),
        (set_in("graph", 0, "attrs", "stride", to=[0, 0]), "stem.conv: stride is (0, 0): conv2d does not"),
        (set_in("graph", 0, "attrs", "pad", to=[[-1, 1], [1, 1]]), "stem.conv: pad is ((-1, 1), (1, 1))"),
        (set_in("graph", 0, "attrs", "pad", to=[[10**6, 0], [10**6, 0]]), "block1.se.scale: a gate of shape"),
        (set_in("graph", 1, "attrs", "eps", to="small"), "stem.bn: eps is small"),
        (set_in("graph", 0, "params", "w", to=[8, 4, 3, 3]), "stem.conv: filters of 4 channels for a map of 3"),
        (set_in("graph", 0, "params", "w", to=[8, 3, 99, 99]), "stem.conv: nothing is left of the map"),
        (set_in("graph", 0, "attrs", "stride", to={}), "stem.conv: an attribute"),
        (set_in("graph", 0, "attrs", "stride", to=float("nan")), "holds the number NaN"),
        (set_in("graph", 0, to=None), "graph: 'name'"),
        (without("params", "stem.conv.w"), "stem.conv.w is missing"),
        (set_in("params", "stem.conv.w", "shape", to=[1]), "stem.conv.w has shape (1,)"),
        (without("tensors", "input"), "the input is not among the tensors"),
        (set_in("tensors", "stranger", to=STRANGER), "stranger belongs to no node"),
        (set_in("tensors", "input", "shape", to=[2, 3, 48, 33]), "input has shape"),
        (set_in("tensors", "input", "shape", to=[2.0, 3, 33, 48]), "shape is malformed"),
        (set_in("tensors", "input", "shape", to=[-2, 3, 33, 48]), "shape is malformed"),
        (set_in("tensors", "input", "dtype", to="float64"), "input: is of 'float64' in a pack of float32"),
        (set_in("tensors", "input", "sha256", to=5), "input: 'sha256'"),
        (set_in("tensors", "input", to="input.npy"), "input: 'file'"),
        (set_in(*FILE, to="tensors/none.npy"), "'tensors/none.npy' is missing"),
        (set_in(*FILE, to="tensors"), "'tensors' is missing"),
        (set_in(*FILE, to="../outside.npy"), "leads out of the pack"),
        (set_in(*FILE, to="tensors/../../outside.npy"), "leads out of the pack"),
        (set_in(*FILE, to="/etc/hostname"), "leads out of the pack"),
        (set_in(*FILE, to="..\\outside.npy"), "leads out of the pack"),
        (set_in(*FILE, to="a\0b"), "no file can be called"),
        (set_in(*FILE, to="a" * 5000), "aaa"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_malformed_manifest_is_refused(pack, change, words):
    (pack.parent / "outside.npy").write_bytes((pack / "tensors/block1.depthwise.npy").read_bytes())
    edited(pack, change)
    line = complaint(lambda: read_pack(pack))
    assert words in line
    assert str(pack / "manifest.json") in line


def test_a_manifest_that_asks_for_an_enormous_array_is_refused(tmp_path):
    border = Node("border", "pad", ("input",), {}, {"pad": ((1, 0), (1, 0)), "mode": "constant", "value": 0.0})
    mix = Node("mix", "pointwise_conv2d", ("border",), {"w": (1, 3)})
    net = Network(Graph(Recipe("", 1.0, (4, 4), 1), (border, mix)), {"mix.w": np.ones((1, 3), np.float32)})
    write_pack(net, np.ones((1, 3, 4, 4), np.float32), tmp_path / "pack", origin=ORIGIN)
    edited(tmp_path / "pack", set_in("graph", 0, "attrs", "pad", to=[[10**6, 0], [10**6, 0]]))
    assert "border: makes 3000024000048 numbers of one image" in complaint(lambda: read_pack(tmp_path / "pack"))


@pytest.mark.parametrize("name", ["tensors/input.npy", "manifest.json"])
def test_a_link_that_leads_out_is_refused(pack, name):
    outside = pack.parent / "outside"
    (pack / name).rename(outside)
    (pack / name).symlink_to(outside)
    assert "leads out of the pack" in complaint(lambda: read_pack(pack))


def test_a_pack_without_its_manifest_was_never_finished(pack):
    (pack / "manifest.json").unlink()
    assert "manifest.json: is missing" in complaint(lambda: read_pack(pack))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe", b"null", b'{"format": 1, "format": 2}', b"9" * 5000],
    ids=["empty", "half", "list", "deep", "binary", "null", "twice", "digits"],
)
def test_a_manifest_that_is_none_is_refused(pack, content):
    (pack / "manifest.json").write_bytes(content)
    assert str(pack / "manifest.json") in complaint(lambda: read_pack(pack))


def test_a_half_written_manifest_is_refused(pack):
    text = (pack / "manifest.json").read_bytes()
    for part in range(1, 16):
        (pack / "manifest.json").write_bytes(text[: len(text) * part // 16])
        assert "is not JSON, or cut short" in complaint(lambda: read_pack(pack))


@pytest.mark.parametrize("path", ["none", "file"])
def test_what_is_no_folder_is_no_pack(tmp_path, path):
    (tmp_path / "file").write_bytes(b"junk")
    assert str(tmp_path / path) in complaint(lambda: read_pack(tmp_path / path))


def save(path, array, **how):
    with open(path, "wb") as file:
        np.lib.format.write_array(file, array, **how)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path, y: save(path, y + 1), "does not have the hash"),
        (lambda path, y: save(path, y.astype(np.float64)), "holds <f8"),
        (lambda path, y: save(path, y.astype(">f4")), "holds >f4"),
        (lambda path, y: save(path, np.asfortranarray(y)), "Fortran order"),
        (lambda path, y: save(path, y.reshape(-1)), "has shape"),
        (lambda path, y: save(path, np.array([{}]), allow_pickle=True), "has shape"),
        (lambda path, y: path.write_bytes(path.read_bytes()[:-1]), "cut short"),
        (lambda path, y: path.write_bytes(path.read_bytes() + b"\0"), "cut short or changed"),
        (lambda path, y: path.write_bytes(b""), "no .npy header"),
        (lambda path, y: path.write_bytes(b"junk" * 100), "no .npy header"),
    ],
    ids=["hash", "dtype", "bytes", "order", "shape", "pickle", "short", "long", "empty", "junk"],
)
def test_a_changed_file_is_refused_when_it_is_read(pack, change, words):
    opened = read_pack(pack)
    path = pack / "tensors/block1.depthwise.npy"
    change(path, np.load(path))
    line = complaint(lambda: opened.tensor("block1.depthwise"))
    assert words in line
    assert str(path) in line


def test_nan_is_refused_even_with_the_right_hash(pack):
    path = pack / "tensors/block1.depthwise.npy"
    y = np.load(path)
    y[0, 0, 0, 0] = np.nan
    save(path, y)
    edited(pack, set_in("tensors", "block1.depthwise", "sha256", to=hashlib.sha256(path.read_bytes()).hexdigest()))
    assert "holds NaN" in complaint(lambda: read_pack(pack).tensor("block1.depthwise"))


def test_params_are_verified_when_they_are_read(pack):
    opened = read_pack(pack)
    save(pack / "params/stem.conv.w.npy", NET.params["stem.conv.w"] + 1)
    assert "stem.conv.w does not have the hash" in complaint(lambda: opened.params["stem.conv.w"])


def test_a_tensor_that_is_not_stored_is_a_bad_request(pack):
    with pytest.raises(RequestError, match=r"stores no tensor 'stem\.conv'; the first are input"):
        read_pack(pack).tensor("stem.conv")


@pytest.mark.parametrize("form", ["raw", "safetensors"])
@pytest.mark.parametrize("change", [lambda b: b[:-4], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:5]])
def test_other_formats_are_refused_when_changed(tmp_path, form, change):
    write_pack(NET, X, tmp_path / "pack", format=form, origin=ORIGIN)
    file = tmp_path / "pack" / ("tensors/head.flatten.bin" if form == "raw" else "tensors.safetensors")
    file.write_bytes(change(file.read_bytes()))
    assert str(file) in complaint(lambda: read_pack(tmp_path / "pack").tensor("head.flatten"))


@pytest.mark.parametrize("offsets", [[-4, 0], [0], "ab", [0, 10**12], [8, 4], [0.0, 4.0]])
def test_offsets_that_lead_elsewhere_are_refused(tmp_path, offsets):
    write_pack(NET, X, tmp_path / "pack", format="safetensors", origin=ORIGIN)
    file = tmp_path / "pack/tensors.safetensors"
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["input"]["data_offsets"] = offsets
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    assert str(file) in complaint(lambda: read_pack(tmp_path / "pack").tensor("input"))


def test_c_source_is_not_read_back(tmp_path):
    write_pack(NET, X, tmp_path / "pack", format="c", only="head.flatten", origin=ORIGIN)
    assert "C source" in complaint(lambda: read_pack(tmp_path / "pack"))
