"""Golden packs: no broken one is believed."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from packs import NET, ORIGIN, X, complaint, edited, without

from refnet import Graph, Network, Node, Recipe, RequestError
from refnet.pack.pack import read_pack, write_pack


def set_in(*keys, to):
    """A change to a manifest: what lies under some keys becomes something else."""

    def change(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = to

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
