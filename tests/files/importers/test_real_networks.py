"""Real networks of several vendors as a whole."""

from __future__ import annotations

import numpy as np
import pytest
from importing import RNG, onnx, op, ops, refused, run, x64

from refnet import Network
from refnet.files import containers
from refnet.files.importers import import_graph
from refnet.judge.compare import compare
from refnet.pack.pack import write_pack


def vww(real, name):
    imported = import_graph(containers.read(real / "vww_96" / name))
    with np.load(real / "vww_96" / "golden_outputs.npz") as golden:
        return imported, golden["grace_hopper/input"].transpose(0, 3, 1, 2), golden["grace_hopper/keras_output"]


def test_every_layer_of_a_keras_network_is_within_bounds_on_its_own_inputs(real, tmp_path):
    imported, x, _ = vww(real, "vww_96.h5")
    with np.load(real / "vww_96" / "grace_hopper_keras_layers.npz") as saved:
        layers = {name: saved[name] for name in saved if name not in ("input_1", "flatten")}
    write_pack(Network(imported.graph, imported.params), x, tmp_path / "pack", origin={})
    judged = compare(tmp_path / "pack", {**layers, "input": x}, explain=False)
    assert judged.holds
    layers["activation_7"] = layers["activation_7"] * np.float32(1.001)
    judged = compare(tmp_path / "pack", {**layers, "input": x}, explain=False)
    assert "activation_7" in judged.wrong()


def ends_hold(imported, x, y, folder):
    """Whether what a runtime returned is as near as honest float32 runs are to each other."""
    write_pack(Network(imported.graph, imported.params), x, folder, origin={})
    return compare(folder, {imported.graph.output: y, "input": x}, explain=False, partial=True).holds


@pytest.mark.parametrize("name", ["vww_96.h5", "vww_96_float.tflite"])
def test_exports_of_one_network_answer_alike(real, name, tmp_path):
    imported, x, expected = vww(real, name)
    assert ends_hold(imported, x, expected, tmp_path / "pack")
    assert not ends_hold(imported, x, expected * np.float32(1.0001), tmp_path / "other")


def test_the_integers_of_a_network_are_its_weights_to_half_a_step(real):
    contents = containers.read(real / "vww_96" / "vww_96_int8.tflite")
    integers, (floats, _, _) = import_graph(contents), vww(real, "vww_96_float.tflite")
    assert contents.structure is not None
    compared = 0
    for ours, theirs in zip(integers.graph.nodes, floats.graph.nodes, strict=True):
        assert (ours.op, ours.attrs) == (theirs.op, theirs.attrs)
        for slot in ours.params:
            w, real_w = integers.params[f"{ours.name}.{slot}"], floats.params[f"{theirs.name}.{slot}"]
            scales = contents.structure.scales[integers.keys[f"{ours.name}.{slot}"]].scales
            step = scales.reshape(-1, *(1,) * (w.ndim - 1)).astype(np.float64)
            off = np.abs(w.astype(np.float64) - real_w)
            assert (off <= step / 2 + np.abs(w) * 2.0**-23).all()  # and the two roundings of w itself
            compared += w.size
    assert compared > 200_000


def test_the_text_direction_classifier_labels_every_line_as_onnxruntime_does(real, ppocr, tmp_path):
    imported = import_graph(containers.read(ppocr), (48, 192))
    with np.load(real / "ppocr_direction" / "golden_outputs.npz") as golden:
        x, expected, labels = golden["input"], golden["onnxruntime_output"], golden["label"]
    assert np.array_equal(run(imported, x).argmax(axis=1), labels)
    assert ends_hold(imported, x[:3], expected[:3], tmp_path / "pack")
    assert {node.attrs["slope"] for node in imported.graph.nodes if node.op == "hard_sigmoid"} == {0.2}


@pytest.mark.parametrize("order", ["x g", "g x"])
def test_a_gate_for_each_point_is_one_for_all_its_channels(order):
    w = RNG.standard_normal((1, 4, 1, 1)).astype(np.float32)
    imported = import_graph(onnx(op("Conv", "x w", "c"), op("Sigmoid", "c", "g"), op("Mul", order), w=w))
    gate = 1 / (1 + np.exp(-np.einsum("kc,nchw->nkhw", w[:, :, 0, 0], x64())))
    assert np.abs(run(imported) - x64() * gate).max() < 1e-12


def test_a_point_is_added_to_all_points_of_a_map():
    imported = import_graph(onnx(op("GlobalAveragePool", "x", "p"), op("Add", "p x")))
    assert np.abs(run(imported) - (x64() + x64().mean(axis=(2, 3), keepdims=True))).max() < 1e-12
    refused(onnx(op("MaxPool", "x", "p", kernel_shape=(2, 2)), op("Add", "p x")), "add of tensors of the shapes")


def test_the_mean_over_all_points_may_be_that_of_one_axis():
    shape = np.array([2, 4, -1])
    flat = op("Reshape", "x s", "f")
    imported = import_graph(onnx(flat, op("ReduceMean", "f", axes=(2,), keepdims=0), shape=(2, 4, 6, 5), s=shape))
    assert ops(imported) == ["avg_pool2d", "flatten"]
    assert np.abs(run(imported) - x64().mean(axis=(2, 3))).max() < 1e-12
    refused(onnx(flat, op("Softmax", "f", axis=-1), shape=(2, 4, 6, 5), s=shape), "Softmax, which makes 'y'")
