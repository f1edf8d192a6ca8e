"""Vendors' numbers, and activations that they write out, in refnet's operations."""

from __future__ import annotations

import numpy as np
import pytest
from importing import VECTOR, W, only, onnx, op, ops, refused, run, scalar, tflite, x64

from refnet.errors import FormatError
from refnet.files.containers.structure import Operation
from refnet.files.importers import import_graph
from refnet.files.importers.builder import decimal


@pytest.mark.parametrize("value", [0.001, 1e-5, 0.2, 0.5, 3.0, 0.16667, 0.0])
def test_a_float32_is_read_as_the_decimal_that_was_meant(value):
    assert decimal(float(np.float32(value))) == value


def test_one_sixth_is_one_sixth():
    assert decimal(float(np.float32(1 / 6))) == 1 / 6


def test_a_float32_that_no_short_decimal_means_is_itself():
    rescale = float(np.float32(1 / 127.5))
    assert decimal(rescale) == rescale
    assert decimal(float(np.float16(1 / 6))) == float(np.float16(1 / 6)) != 1 / 6


# ---------------------------------------------------------------------------------------------- activations written out


SIXTH, SIX, THREE = scalar(1 / 6), scalar(6), scalar(3)
SPELLINGS = {
    "operation": [op("HardSwish", "x")],
    "gate": [op("HardSigmoid", "x", "g", alpha=float(np.float32(1 / 6))), op("Mul", "x g")],
    "gate first": [op("HardSigmoid", "x", "g", alpha=float(np.float32(1 / 6)), beta=0.5), op("Mul", "g x")],
    "x (relu6(x + 3) / 6)": [op("Add", "x three", "a"), op("Clip", "a zero six", "b"), op("Div", "b six", "g"),
                             op("Mul", "x g")],
    "x (relu6(3 + x) 1/6)": [op("Add", "three x", "a"), op("Clip", "a", "b", min=0.0, max=6.0),
                             op("Mul", "b sixth", "g"), op("Mul", "g x")],
    "(x relu6(x + 3)) / 6": [op("Add", "x three", "a"), op("Clip", "a zero six", "b"), op("Mul", "x b", "p"),
                             op("Div", "p six")],
    "x clip(x / 6 + 1/2, 0, 1)": [op("Div", "x six", "a"), op("Add", "a half", "b"), op("Clip", "b zero one", "g"),
                                  op("Mul", "x g")],
}  # fmt: skip
NUMBERS = {"zero": scalar(0), "half": scalar(0.5), "one": scalar(1), "three": THREE, "six": SIX, "sixth": SIXTH}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_hard_swish_in_every_spelling_is_one_node(spelling):
    imported = import_graph(onnx(*SPELLINGS[spelling], **NUMBERS))
    assert only(imported).op == "hard_swish"
    assert imported.graph.output == "y"
    assert np.abs(run(imported) - x64() * np.clip(x64() / 6 + 0.5, 0, 1)).max() < 1e-15


def test_swish_is_one_node():
    assert only(import_graph(onnx(op("Sigmoid", "x", "g"), op("Mul", "x g")))).op == "swish"


def test_hard_sigmoid_without_alpha_is_0_2():
    node = only(import_graph(onnx(op("HardSigmoid", "x"))))
    assert node.attrs == {"slope": 0.2, "offset": 0.5}


def test_a_gate_of_another_tensor_is_no_swish():
    gate = [op("GlobalAveragePool", "x", "p"), op("HardSigmoid", "p", "g", alpha=1 / 6), op("Mul", "x g")]
    assert ops(import_graph(onnx(*gate))) == ["avg_pool2d", "hard_sigmoid", "scale"]


def test_an_activation_that_something_else_reads_too_stays():
    parts = [op("Sigmoid", "x", "g"), op("GlobalAveragePool", "g", "p"), op("Mul", "x p", "z"), op("Add", "z g")]
    assert ops(import_graph(onnx(*parts))) == ["sigmoid", "avg_pool2d", "scale", "add"]


def test_two_maps_of_one_size_are_multiplied_point_by_point():
    imported = import_graph(onnx(op("Relu", "x", "a"), op("Mul", "x a")))
    assert ops(imported) == ["relu", "scale"]
    assert np.array_equal(run(imported), x64() * np.maximum(x64(), 0))


def test_maps_of_two_sizes_are_not_multiplied():
    pool = op("MaxPool", "x", "a", kernel_shape=(3, 1), strides=(1, 1))
    refused(onnx(pool, op("Mul", "x a")), "mul of tensors of the shapes (4, 6, 5) and (4, 4, 5)")


def test_axes_that_the_vendor_would_broadcast_otherwise_are_not_joined():
    """(N, C, H, W) times (N, C) is not a gate."""
    gate = [op("GlobalAveragePool", "x", "p"), op("Flatten", "p", "g"), op("Mul", "x g")]
    refused(onnx(*gate), "joins tensors of the axes NCHW and NC")


def test_the_bias_of_a_single_class_is_a_bias():
    head = [op("GlobalAveragePool", "x", "p"), op("Flatten", "p", "f"), op("MatMul", "f w", "z"), op("Add", "z b")]
    imported = import_graph(onnx(*head, w=W[:, :1], b=VECTOR[:1]))
    assert ops(imported) == ["avg_pool2d", "pointwise_conv2d", "flatten"]
    assert imported.keys == {"y.w": "w", "y.b": "b"}


@pytest.mark.parametrize(("low", "high", "name"), [(0, 6, "relu6"), (0, np.inf, "relu"), (0, 1, "hard_sigmoid")])
def test_clip_is_the_activation_of_its_bounds(low, high, name):
    node = only(import_graph(onnx(op("Clip", "x low high"), low=scalar(low), high=scalar(high))))
    assert node.op == name


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("clip", "arrays", "ends"),
    [
        (op("Clip", "x", min=-1.0, max=1.0), {}, (-1.0, 1.0)),
        (op("Clip", "x", max=6.0), {}, (-LARGEST, 6.0)),
        (op("Clip", "x low high"), {"low": scalar(-1), "high": scalar(0.5)}, (-1.0, 0.5)),
        (Operation("Clip", ("x", "", "high"), ("y",), {}), {"high": scalar(2)}, (-LARGEST, 2.0)),
        (Operation("Clip", ("x", "low"), ("y",), {}), {"low": scalar(-2)}, (-2.0, LARGEST)),
        (op("Min", "x high"), {"high": scalar(2)}, (-LARGEST, 2.0)),
        (op("Max", "low x"), {"low": scalar(-2)}, (-2.0, LARGEST)),
    ],
)
def test_other_bounds_are_a_clip(clip, arrays, ends):
    node = only(import_graph(onnx(clip, **arrays)))
    assert (node.op, node.attrs) == ("clip", dict(zip(("low", "high"), ends, strict=True)))


def test_a_clip_between_infinities_is_none_and_one_between_nothing_is_refused():
    assert ops(import_graph(onnx(op("Clip", "x", "a"), op("Relu", "a")))) == ["relu"]
    refused(onnx(op("Clip", "x", min=1.0, max=-1.0)), "Clip, which makes 'y': clips to between 1 and -1")
    refused(onnx(op("Clip", "x", min=float("nan"), max=1.0)), "clips to between nan and 1")


def test_a_sixth_in_float16_stays_behind_as_a_factor():
    """As TFLite computes it: the gate ends at 0.99976."""
    half = scalar(1 / 6, np.float16)
    act = op("RELU6", "x", "a")
    imported = import_graph(tflite(act, op("MUL", "a sixth", fused_activation_function="NONE"), sixth=half))
    assert ops(imported) == ["hard_sigmoid", "affine"]
    assert np.abs(run(imported) - np.clip(x64(), 0, 6) * float(half)).max() < 1e-15


def test_three_comes_back_from_the_bias_only_where_nothing_is_lost():
    def gate(b):
        conv = op("CONV_2D", "x w b", "a", padding="SAME", stride_w=1, stride_h=1, fused_activation_function="RELU6",
                  dilation_w_factor=1, dilation_h_factor=1)  # fmt: skip
        mul = op("MUL", "a sixth", fused_activation_function="NONE")
        return import_graph(tflite(conv, mul, w=W.reshape(4, 1, 1, 4), b=b, sixth=SIXTH))

    b = VECTOR + np.float32(3)
    moved = gate(b)
    assert moved.graph.nodes[-1].attrs["offset"] == 0.5
    assert np.array_equal(moved.params["a.linear.b"] + np.float32(3), b)
    assert moved.keys["a.linear.b"] == "b"
    fine = np.array([1e-9, 3, 3, 3], np.float32)
    kept = gate(fine)
    assert kept.graph.nodes[-1].attrs["offset"] == 0.0
    assert np.array_equal(kept.params["a.linear.b"], fine)
    for imported, bias in ((moved, b), (kept, fine)):
        a = np.einsum("kc,nchw->nkhw", W.astype(float), x64()) + bias.astype(float).reshape(-1, 1, 1)
        assert np.abs(run(imported) - np.clip(a, 0, 6) / 6).max() < 1e-14


def test_operations_that_stand_before_what_they_read_are_put_behind_it():
    """As converters leave them that add operations at the end; those that read one another are refused."""
    made, read = op("Relu", "x", "a"), op("Sigmoid", "a", "y")
    assert ops(import_graph(onnx(read, made))) == ops(import_graph(onnx(made, read))) == ["relu", "sigmoid"]
    with pytest.raises(FormatError, match="which nothing before it makes"):
        import_graph(onnx(op("Add", "x b", "a"), op("Relu", "a", "b"), op("Sigmoid", "a", "y")))
