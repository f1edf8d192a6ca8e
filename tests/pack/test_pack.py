"""Golden packs: what is written is read back, and is rounded once."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import tracemalloc

import numpy as np
import pytest
from packs import NET, ORIGIN, X, network

from refnet import Network, random_input
from refnet.networks.preprocessing import TORCHVISION_V1
from refnet.pack.pack import FORMATS, read_pack, write_pack
from refnet.readings.shapes import shapes

READABLE = [form for form in FORMATS if form != "c"]
TRACE = {"input": X.astype(np.float64), **NET.astype(np.float64).trace(X.astype(np.float64))}


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
    write_pack(net, x, tmp_path / "before", format=form, origin=ORIGIN)
    names = {sys.intern(path.name) for path in (tmp_path / "before").rglob("*")}  # Python's table of them may grow here
    assert names
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
