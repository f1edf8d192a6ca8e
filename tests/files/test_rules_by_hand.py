"""Rules of readers, importers and of recognising, each by an example small enough to be reckoned by hand."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from refnet import FormatError, build
from refnet.alignment.differences import Difference
from refnet.files import containers
from refnet.files.containers import atomic, torch_modules
from refnet.files.containers.beside import Beside
from refnet.files.containers.structure import Contents, Operation, Structure
from refnet.files.identify import structure
from refnet.files.identify.names import WIDTHS
from refnet.files.importers import import_graph, ncnn, onnx_constants, onnx_integers, tensorflow_constants
from refnet.files.importers import tflite_integers as tflite
from refnet.files.importers.blocks import cut_into_blocks
from refnet.files.importers.builder import Const, Map
from refnet.graph import SOURCE, interpret
from refnet.readings import fast

# --------------------------------------------------------------------------------------------------------------- files


def test_a_file_is_what_it_holds_though_an_index_of_its_name_lies_beside_it(tmp_path):
    """TensorFlow's checkpoints are called by the beginning of their files' names; only where no file has that name."""
    np.savez(tmp_path / "model.npz", w=np.ones(1))
    (tmp_path / "model.npz.index").write_bytes(b"")
    assert containers.kind(tmp_path / "model.npz") == "npz"


def test_a_folder_that_another_process_takes_away_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    made, real = [], atomic._locked

    def locked(folder):
        made.append(folder)
        if len(made) == 1:
            shutil.rmtree(folder)
            return None
        return real(folder)

    monkeypatch.setattr(atomic, "_locked", locked)
    with atomic._beside(tmp_path / "target.npz") as folder:
        assert folder.is_dir()
        assert folder == made[1]
    assert not any(tmp_path.iterdir())


def test_where_a_system_cannot_open_without_waiting_files_are_opened_all_the_same(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_NONBLOCK")
    (tmp_path / "weights.bin").write_bytes(b"12345678")
    assert Beside(tmp_path).read("weights.bin", 2, 3, "w") == b"345"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("zeros", True),
        ("x" * torch_modules._LONGEST, True),
        ("x" * (torch_modules._LONGEST + 1), False),
        ((1, 2, 3, 4), True),
        ((1, 2, 3, 4, 5), False),
        ((1, 2.5), False),
        (1e-5, True),
        (True, True),
        (None, False),
        ([1], False),
    ],
)
def test_a_modules_settings_are_numbers_short_texts_and_pairs(value, plain):
    assert torch_modules._is_plain(value) is plain


# --------------------------------------------------------------------------------------------------------- recognising


def test_widths_that_are_tried_are_all_whole_percents_from_5_to_200():
    assert {percent / 100 for percent in range(5, 201)} <= set(WIDTHS)
    assert min(WIDTHS) == 0.05
    assert max(WIDTHS) == 2.0


def test_a_graph_of_far_more_nodes_than_any_network_has_is_near_to_none(monkeypatch):
    graph = build("torchvision/mobilenet_v2", width=0.35, size=32, classes=10)
    monkeypatch.setattr(structure, "_MOST_NODES", len(graph.nodes) - 1)
    assert structure._nearest(graph, (), None, None) == []


def test_each_convolution_that_is_another_counts_and_each_habit_once():
    conv, norm = {"op": "conv2d"}, {"op": "batch_norm"}
    found = [
        Difference("a", "channels", 8, 16),
        Difference("a", "filter", (3, 3), (5, 5)),
        Difference(SOURCE, "channels", 3, 1),  # of the image, no convolution
        Difference("b", "missing", conv, None),
        Difference("c", "extra", None, conv),
        Difference("d", "extra", None, norm),
        Difference("e", "extra", None, norm),  # the same habit
        Difference("f", "eps", 1e-5, 1e-3),
        Difference("g", "eps", 1e-5, 1e-3),
        Difference("g", "eps", 1e-3, 1e-5),  # another one
    ]
    assert structure._unlike(found) == 4 + 3


def test_a_beginning_goes_on_to_the_activation_before_the_next_convolution():
    cut = build("torchvision/mobilenet_v2", width=0.35, size=32).leading_to("stem.act")
    found = structure._beginning(cut, "torchvision/mobilenet_v2", 0.35, 1)
    assert (found.until, found.beyond) == ("stem.act", ())


# ----------------------------------------------------------------------------------------------------------- importers


def fake(shape=(2, 5, 4), axes="NCHW", node="x"):
    """A map for `BUILDER`, which says what it was asked to append."""
    return Map(node, shape, axes)


def asked(name, rule, *inputs, **how):
    return rule, how


BUILDER = SimpleNamespace(put=asked, pool=asked, quantised={}, structure=None)


def op(kind, inputs="x", outputs="y", **attrs):
    return Operation(kind, tuple(inputs.split()), tuple(outputs.split()), attrs, "y")


@pytest.mark.parametrize(
    ("axes", "block", "pads", "fine"),
    [
        ("NHWC", [1, 2], [[0, 0], [0, 1]], True),
        ("NHWC", [0, 2], [[0, 0], [0, 1]], False),
        ("NHWC", [2, 2], [[0, -1], [0, 1]], False),
        ("NCHW", [2, 2], [[0, 0], [0, 0]], False),
    ],
)
def test_a_map_is_cut_into_blocks_of_some_points_padded_by_no_less_than_nothing(axes, block, pads, fine):
    x = fake(axes=axes)
    if fine:
        made = cut_into_blocks(x, Const(np.array(block)), Const(np.array(pads)))
        assert (made.block, made.pad) == ((1, 2), ((0, 0), (0, 1)))
    else:
        with pytest.raises(FormatError, match="blocks of no points, or a negative padding"):
            cut_into_blocks(x, Const(np.array(block)), Const(np.array(pads)))


def test_a_map_may_be_padded_along_one_axis_alone():
    pads = np.array([1, 2])
    for axis, pad in ((3, ((0, 0), (1, 2))), (2, ((1, 2), (0, 0)))):
        contents = Contents(
            "onnx",
            {"p": pads, "v": np.float32(0), "a": np.array([axis])},
            Structure("", (op("Pad", "x p v a"),), {"x": (None, 4, 6, 5)}, ("y",)),
        )
        (node,) = import_graph(contents, None).graph.nodes
        assert node.attrs["pad"] == pad


def test_keras_adds_any_number_of_tensors():
    """x + relu(x) + x + x of -1 and 2 is -3 and 8."""
    operations = (op("ReLU", "x", "a"), op("Add", "x a x x"))
    contents = Contents("hdf5", {}, Structure("Keras 3.15", operations, {"x": (None, 1, 2, 1)}, ("y",)))
    imported = import_graph(contents, None)
    y = interpret(imported.graph, fast, {}, {"input": np.array([[[[-1.0, 2.0]]]])})
    assert y.ravel().tolist() == [-3, 8]


def test_ncnns_window_and_stride_are_two_things():
    """A kernel of 3 in height and 2 in width, strides of 1 and 2; a height that is left out is the width."""
    rule, how = ncnn._pooling(BUILDER, op("Pooling", **{"0": 0, "1": 2, "11": 3, "2": 2, "12": 1, "5": 1}), fake())
    assert (rule, how["kernel"], how["stride"]) == ("max_pool2d", (3, 2), (1, 2))
    rule, how = ncnn._pooling(BUILDER, op("Pooling", **{"0": 1, "1": 2, "2": 1, "5": 1}), fake())
    assert (rule, how["kernel"], how["stride"]) == ("avg_pool2d", (2, 2), (1, 1))


def test_a_slice_has_its_ends_in_attributes_or_in_tensors():
    x = np.arange(12).reshape(3, 4)
    old = onnx_constants._slice({"starts": (1, 0), "ends": (3, 2)}, x)
    new = onnx_constants._slice({}, x, np.array([1]), np.array([3]))
    assert old.tolist() == [[4, 5], [8, 9]]
    assert new.tolist() == x[1:3].tolist()
    back = onnx_constants._slice({}, x, np.array([-1]), np.array([-99]), np.array([1]), np.array([-1]))
    assert back.tolist() == x[:, ::-1].tolist()


def test_a_stretch_or_one_element_of_a_vector_is_taken():
    x, one = np.arange(5), np.array([1])
    ends = np.array([2]), np.array([4])
    assert tensorflow_constants._strided_slice({}, x, *ends, one).tolist() == [2, 3]
    assert tensorflow_constants._strided_slice({"begin_mask": 1}, x, *ends, one).tolist() == [0, 1, 2, 3]
    assert tensorflow_constants._strided_slice({"end_mask": 1}, x, *ends, one).tolist() == [2, 3, 4]
    element = tensorflow_constants._strided_slice({"shrink_axis_mask": 1}, x, *ends, one)
    assert (element.shape, int(element)) == ((), 2)


@pytest.mark.parametrize(
    ("pad", "rule"),
    [
        (((0, 0), (0, 0)), "pointwise_conv2d"),
        (((1, 0), (0, 0)), "conv2d"),
        (((0, 0), (0, 1)), "conv2d"),
        (((1, 1), (1, 1)), "conv2d"),
    ],
)
def test_a_window_of_one_point_is_pointwise_unless_it_is_padded(pad, rule, monkeypatch):
    monkeypatch.setattr(onnx_integers, "onnx_pads", lambda *_: pad)
    w = np.ones((3, 2, 1, 1), np.float32)
    made, how = onnx_integers._convolved(BUILDER, op("Conv"), fake(), w, None, None)
    assert made == rule
    assert how["shape"] == (3, 5 + sum(pad[0]), 4 + sum(pad[1]))


@pytest.mark.parametrize("b", [np.ones(3, np.float32), np.ones(4, np.int32)])
def test_a_bias_is_as_many_integers_as_there_are_channels(b):
    assert onnx_integers._bias(None, 3) is None
    assert onnx_integers._bias(Const(np.array([1, 2, 3], np.int32)), 3).tolist() == [1, 2, 3]
    with pytest.raises(FormatError, match="for 3 channels"):
        onnx_integers._bias(Const(b), 3)


def test_integer_tensors_are_joined_where_their_axes_are_the_same():
    attrs = {"fused_activation_function": "NONE"}
    rule, how = tflite._join("add")(BUILDER, op("ADD", "x z", **attrs), fake(), fake((2, 1, 1), node="z"))
    assert (rule, how["shape"]) == ("add", (2, 5, 4))
    with pytest.raises(FormatError, match="joins tensors of the axes NCHW and NHWC"):
        tflite._join("add")(BUILDER, op("ADD", "x z", **attrs), fake(), fake(axes="NHWC", node="z"))
