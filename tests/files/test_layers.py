"""Networks of many layers as vendors write them: nested Keras models, TFLite, TensorFlow.js, ONNX by two exporters.

tests/data/layers/make_layers.py says where the files and the expected tensors are from.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support import DATA, unpack

from refnet import Network, convert, load, verify
from refnet.files import importers
from refnet.files.checkpoint import identify
from refnet.files.containers import npz, read
from refnet.graph import SOURCE, interpret
from refnet.judge.compare import compare
from refnet.pack.pack import write_pack
from refnet.readings import fast

FOLDER = DATA / "layers"
EXPECTED = npz.read(FOLDER / "expected.npz")
META = json.loads(str(EXPECTED["meta"]))
SIZES = {"teachable": (37, 45), "shared": (19, 26), "layers": (21, 30), "deep": (17, 22), "heatmap": (33, 41)}
EXACT = sorted(key.partition("|")[0] for key in EXPECTED if key.endswith("|y64"))
ROUNDED = sorted(key.partition("|")[0] for key in EXPECTED if key.endswith("|rounded"))
NODES = sorted({key.partition("|")[0] for key in EXPECTED if "|float32|" in key})


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(FOLDER / "networks.tar.xz", tmp_path_factory.mktemp("layers"))


def imported(networks: Path, file: str) -> importers.ImportedGraph:
    contents = read(networks / file)
    assert contents.structure is not None
    (shape,) = contents.structure.inputs.values()
    is_open = None in shape[1:3] or None in shape[2:]
    return importers.import_graph(contents, SIZES[kind(file)] if is_open else None)


def kind(file: str) -> str:
    return re.split(r"[-.]", file)[0]


def pixels(file: str) -> np.ndarray:
    if f"{file}|x" in EXPECTED:
        return EXPECTED[f"{file}|x"]
    rng = np.random.default_rng(len(kind(file)))  # as keras_networks.pixels
    return rng.uniform(-1, 1, (2, 3, *SIZES[kind(file)])).astype(np.float32)


def in_float64(made: importers.ImportedGraph, x: np.ndarray) -> np.ndarray:
    params = {name: array.astype(np.float64) for name, array in made.params.items()}
    return interpret(made.graph, fast, params, {SOURCE: x.astype(np.float64)})


def test_all_files_are_there_and_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.*z")) < 1_500_000
    assert META["format"] == "refnet layers 1"
    assert {"versions", "origin", "script"} <= set(META)
    assert {file.rpartition(".")[2].partition("-")[0] for file in EXACT} >= {"h5", "keras", "onnx"}


@pytest.mark.parametrize("file", EXACT)
def test_in_float64_it_computes_what_its_vendor_does(networks: Path, file: str) -> None:
    y, expected = in_float64(imported(networks, file), pixels(file)), EXPECTED[f"{file}|y64"]
    assert y.shape == expected.shape
    # TensorFlow resizes in float32, whatever the precision of the network: one rounding of one of its maps.
    limit = 2.0**-24 if kind(file) == "layers" and "torch" not in file else 1e-11
    assert np.abs(y - expected).max() <= limit * np.abs(expected).max()


@pytest.mark.parametrize("file", NODES)
def test_the_runtimes_tensors_are_within_bounds_node_by_node(networks: Path, tmp_path: Path, file: str) -> None:
    made = imported(networks, file)
    write_pack(Network(made.graph, made.params), pixels(file)[:1], tmp_path / "golden", origin={})
    start = f"{file}|float32|"
    saved = {key.removeprefix(start): y for key, y in EXPECTED.items() if key.startswith(start)}
    names = {
        re.sub(r"[^A-Za-z0-9_.-]+", ".", tensor.split(";")[0]).strip(".")[-80:].strip("."): tensor for tensor in saved
    }
    tensors = {node: saved[names[node]] for node in names if node in made.graph}
    assert len(tensors) >= 5
    judged = compare(tmp_path / "golden", tensors, explain=False)
    assert judged.wrong() == []


@pytest.mark.parametrize("name", ["teachable", "shared", "deep", "heatmap"])
def test_counterparts_made_by_other_frameworks_and_exporters_are_the_same_network(networks: Path, name: str) -> None:
    """What was folded lies within the rounding of a fold, array by array; what was not computes the same numbers."""
    files = [file for file in (*EXACT, *ROUNDED, *NODES) if kind(file) == name]
    assert len(files) >= 5
    first = f"{name}-keras3.keras"
    expected = in_float64(imported(networks, first), pixels(first))
    opened = identify(networks / first, size=SIZES[name])
    for file in files:
        found = verify(opened, against=networks / file, size=SIZES[name])
        assert found.holds, (file, found.structure, found.faults, found.unhealthy)
        assert set(found.needs) <= {"folded"}
        if not found.needs:
            y = in_float64(imported(networks, file), pixels(first))
            assert np.abs(y.ravel() - expected.ravel()).max() <= 1e-11 * np.abs(expected).max(), file


def test_nested_layers_keep_their_names(networks: Path) -> None:
    for file in ("teachable-keras2.h5", "teachable-keras3.keras", "teachable-tfjs"):
        made = imported(networks, file)
        assert "sequential_1.model1.Conv1" in made.graph
        assert made.keys["sequential_3.dense_Dense1.linear.w"] == "sequential_3/dense_Dense1/kernel"
    calls = imported(networks, "shared-keras3.h5")
    assert {"block.conv", "block.1.conv"} <= set(calls.graph.by_name)
    assert calls.keys["block.conv.w"] == calls.keys["block.1.conv.w"] == "block/conv/kernel"


# ------------------------------------------------------------------------------------------------------ all of refnet


@pytest.mark.parametrize("file", ["layers-keras2.h5", "shared-keras3.keras", "deep.tflite", "layers-torch13.onnx"])
def test_a_pack_of_it_and_its_own_tensors_in_float32_hold(networks: Path, tmp_path: Path, file: str) -> None:
    net = load(networks / file)
    x = pixels(file)[:1]
    write_pack(net, x, tmp_path / "golden", origin={})
    judged = compare(tmp_path / "golden", dict(net.trace(x)), explain=False)
    assert judged.holds


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("layers-keras2.h5", "layers-keras2.keras"),
        ("shared-keras3.h5", "shared-keras3.keras"),
        ("heatmap-keras2.h5", "heatmap-keras3.keras"),
        ("teachable-keras2.h5", "teachable-tfjs"),
        ("layers-torch11.onnx", "layers-torch17.onnx"),
    ],
)
def test_counterparts_are_verified(networks: Path, one: str, other: str) -> None:
    assert verify(networks / one, against=networks / other).holds


def test_what_is_written_as_onnx_comes_back(networks: Path, tmp_path: Path) -> None:
    for file in ("layers-keras3.h5", "sizes-torch18.onnx", "tensorflow1.tflite"):
        net, x = load(networks / file), pixels(file)[:1]
        convert(networks / file, tmp_path / f"{file}.onnx")
        back = load(tmp_path / f"{file}.onnx")
        assert np.array_equal(back(x), net(x)), file
