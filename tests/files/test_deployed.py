"""OpenVINO's and ncnn's own files: which network, its weights, its tensors; and what is refused of hand-made ones.

tests/data/deployed/make_deployed.py says where the files and the expected tensors are from.
"""

from __future__ import annotations

import json
import re
import struct

import numpy as np
import pytest
from support import DATA, unpack

from refnet import Network, build, random_input, random_params
from refnet.errors import FormatError
from refnet.files import importers
from refnet.files.checkpoint import identify
from refnet.files.containers import ncnn, npz, openvino, read
from refnet.judge.compare import compare
from refnet.pack.pack import write_pack

FOLDER = DATA / "deployed"
EXPECTED = npz.read(FOLDER / "expected.npz")
META = json.loads(str(EXPECTED["meta"]))
FILES = ("openvino.xml", "openvino-float16.xml", "ncnn.param", "ncnn-float16.param")
RUN = ("openvino.xml", "ncnn.param")

every_file = pytest.mark.parametrize("name", FILES)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return unpack(FOLDER / "networks.tar.xz", tmp_path_factory.mktemp("deployed"))


def network():
    made = META["network"]
    return build(made["model"], width=made["width"], size=tuple(made["size"]), classes=made["classes"])


def found(networks, name):
    return identify(networks / name, size=tuple(META["network"]["size"]))


def test_all_files_are_there_and_small():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.*z")) < 400_000
    assert META["format"] == "refnet deployed 1"
    assert {"versions", "origin", "script"} <= set(META)


@every_file
def test_the_network_is_recognised(networks, name):
    checkpoint = found(networks, name)
    assert checkpoint.kind == name.partition(".")[0].partition("-")[0]
    assert checkpoint.models == (META["network"]["model"],)
    assert (checkpoint.folded, checkpoint.differences) == (True, ())
    assert checkpoint.graph.recipe.size == tuple(META["network"]["size"])


@every_file
def test_in_float64_it_is_the_network_within_the_rounding_of_its_weights(networks, name):
    checkpoint, known = found(networks, name), network()
    x = random_input(known, 2, np.float64)
    expected = Network(known, random_params(known, np.float64))(x)
    made = Network(checkpoint.graph, checkpoint.params).astype(np.float64)(x)
    u = 2.0**-11 if "float16" in name else 2.0**-24
    assert np.abs(made - expected).max() <= 30 * u * np.abs(expected).max()


@pytest.mark.parametrize("name", RUN)
def test_the_runtimes_tensors_are_within_bounds_node_by_node(networks, tmp_path, name):
    imported = importers.import_graph(read(networks / name), tuple(META["network"]["size"]))
    x = random_input(network(), 2)[:1]
    write_pack(Network(imported.graph, imported.params), x, tmp_path / "golden", origin={})
    start = f"{name}|float32|"
    saved = {key.removeprefix(start): y for key, y in EXPECTED.items() if key.startswith(start)}
    names = {re.sub(r"[^A-Za-z0-9_.-]+", ".", tensor).strip(".")[-80:].strip("."): tensor for tensor in saved}
    tensors = {tensor: saved[tensor] for node, tensor in names.items() if node in imported.graph}
    assert len(tensors) > 0.8 * len(saved)
    judged = compare(tmp_path / "golden", tensors, explain=False)
    assert judged.wrong() == []


@pytest.mark.parametrize(("half", "whole"), [(FILES[1], FILES[0]), (FILES[3], FILES[2])])
def test_halves_are_the_whole_weights_in_half_the_bits(networks, half, whole):
    """Converters round or cut off: either way less than one step of float16; pnnx makes zeros of its subnormals."""
    halves, wholes = found(networks, half), found(networks, whole)
    rounded = [name for name, dtype in halves.stored.items() if dtype == "float16"]
    assert len(rounded) > len(halves.stored) / 3
    for name, array in halves.params.items():
        whole_ones = np.abs(wholes.params[name])
        step = np.where(whole_ones < 2.0**-14, 2.0**-14, np.spacing(whole_ones.astype(np.float16)))
        assert np.all(np.abs(array - wholes.params[name]) <= (step if name in rounded else 0)), name


# ------------------------------------------------------------------------------------------------------------- OpenVINO

XML = """<?xml version="1.0"?><net name="n" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1,3,4,5" element_type="f32"/>
<output><port id="0"/></output></layer>
<layer id="1" name="w" type="Const" version="opset1"><data element_type="f32" shape="2,3,1,1" offset="0" size="24"/>
<output><port id="0"/></output></layer>
<layer id="2" name="y" type="Convolution" version="opset1"><data strides="1,1" dilations="1,1" pads_begin="0,0"
pads_end="0,0" auto_pad="explicit"/><input><port id="0"/><port id="1"/></input><output><port id="2"/></output></layer>
<layer id="3" name="r" type="Result" version="opset1"><input><port id="0"/></input></layer></layers><edges>
<edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
<edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>
<edge from-layer="2" from-port="2" to-layer="3" to-port="0"/></edges></net>"""
WEIGHTS = np.arange(6, dtype=np.float32)


def written(folder, text=XML):
    (folder / "n.xml").write_text(text)
    (folder / "n.bin").write_bytes(WEIGHTS.tobytes())
    return folder / "n.xml"


def test_a_network_made_by_hand_is_read(tmp_path):
    contents = openvino.read(written(tmp_path))
    assert np.array_equal(contents.arrays["w"], WEIGHTS.reshape(2, 3, 1, 1))
    assert [node.op for node in importers.import_graph(contents).graph.nodes] == ["pointwise_conv2d"]


BOMB = '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('<net name="n"', BOMB + '<net name="&b;"', "a document type or entities"),
        ("<net name", '<!DOCTYPE net SYSTEM "file:///etc/hostname"><net name', "a document type or entities"),
        ('version="11"', 'version="7"', "a network of format '7'"),
        ("</net>", "", "no XML, or damaged"),
        ("<net ", "<svg ", "XML of 'svg'"),
        ('name="w"', 'name="x"', "two of its layers have one name"),
        ('id="1" name', 'id="0" name', "layer '0' is there twice"),
        ('offset="0"', 'offset="8"', "ends before 'w' does"),
        ('size="24"', 'size="25"', "has 25 bytes, its shape and type say 24"),
        ('size="24"', 'size="x"', "the size of 'w' is 'x'"),
        ('shape="2,3,1,1"', f'shape="{10**18},{10**18}"', "impossible shape"),
        ('element_type="f32" shape="2', 'element_type="u4" shape="2', "is of type 'u4'"),
        ('from-layer="1"', 'from-layer="2" ', "reads its own output"),
        ('from-layer="1"', 'from-layer="9"', "a layer that is not there"),
        ('from-layer="1" from-port="0"', 'from-layer="1" from-port="7"', "has no port '7'"),
        ('<edge from-layer="2" from-port="2" to-layer="3" to-port="0"/>', "", "no edge leads to"),
        ("<input>", "<body></body><input>", "a network of its own"),
        ("<layers>", "<layers>" + "<a>" * 60 + "</a>" * 60, "more than 40 deep"),
    ],
)
def test_an_openvino_network_that_is_not_as_it_should_be_is_refused(tmp_path, old, new, reason):
    assert old in XML
    with pytest.raises(FormatError, match=re.escape(reason)) as error:
        openvino.read(written(tmp_path, XML.replace(old, new, 1)))
    assert "\n" not in str(error.value)


def test_numbers_elsewhere_are_not_opened(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside.bin"
    inside.mkdir()
    outside.write_bytes(WEIGHTS.tobytes())
    path = written(inside)
    (inside / "n.bin").unlink()
    with pytest.raises(FormatError, match="cannot be read"):
        openvino.read(path)
    (inside / "n.bin").symlink_to(outside)
    with pytest.raises(FormatError, match="leads out of the model's folder"):
        openvino.read(path)


# ----------------------------------------------------------------------------------------------------------------- ncnn

PARAM = """7767517
3 3
Input in0 0 1 in0
Convolution conv 1 1 in0 1 0=2 1=1 5=1 6=6 9=1
Softmax out 1 1 1 out0
"""
BODY = struct.pack("<I", 0) + WEIGHTS.tobytes() + np.ones(2, np.float32).tobytes()


def words(folder, text=PARAM, numbers=BODY):
    (folder / "n.param").write_text(text)
    (folder / "n.bin").write_bytes(numbers)
    return folder / "n.param"


def test_a_net_made_by_hand_is_read(tmp_path):
    contents = ncnn.read(words(tmp_path))
    assert np.array_equal(contents.arrays["conv.weight"], WEIGHTS.reshape(2, 3, 1, 1))
    assert contents.structure.inputs == {"in0": (None, 3, None, None)}
    nodes = importers.import_graph(contents, (4, 5)).graph.nodes
    assert [node.op for node in nodes] == ["pointwise_conv2d", "relu", "softmax"]


def test_weights_with_a_table_are_looked_up(tmp_path):
    table = np.linspace(-1, 1, 256, dtype=np.float32)
    body = struct.pack("<I", 1) + table.tobytes() + bytes([0, 255, 1, 2, 3, 4, 0, 0]) + bytes(8)
    arrays = ncnn.read(words(tmp_path, numbers=body)).arrays
    assert np.array_equal(arrays["conv.weight"].ravel(), table[[0, 255, 1, 2, 3, 4]])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("3 3", "4 3", "does not say so"),
        ("1 1 in0 1", "1 1 in9 1", "reads 'in9', which nothing before it makes"),
        ("1 1 in0 1 0=2", "1 1 in0 in0 0=2", "two layers make 'in0'"),
        ("Softmax out", "Softmax conv", "two of its layers have one name"),
        ("Softmax out", "LSTM out", "whose weights are not known"),
        ("6=6", "6=7", "has 7 weights for 2 filters"),
        ("6=6", "6=60", "the weights end before"),
        ("6=6", "6=-6", "for parameter 6"),
        ("6=6", "6=6 6=6", "has parameter 6 twice"),
        ("6=6", "6=nan", "has the value 'nan'"),
        ("6=6", "-23306=5,1", "not as long as it says"),
        ("9=1", "8=1", "weights of int8"),
        ("5=1", "5=0", "not of one net"),
        ("1 1 in0 1", "9999 1 in0 1", "ends early"),
    ],
)
def test_a_net_that_is_not_as_it_should_be_is_refused(tmp_path, old, new, reason):
    assert old in PARAM
    with pytest.raises(FormatError, match=re.escape(reason)) as error:
        ncnn.read(words(tmp_path, PARAM.replace(old, new, 1)))
    assert "\n" not in str(error.value)
