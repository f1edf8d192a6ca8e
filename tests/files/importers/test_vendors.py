"""What TFLite and Keras alone have, in refnet's operations."""

from __future__ import annotations

import numpy as np
import pytest
from importing import DENSE, RNG, VECTOR, W, keras, only, onnx, op, ops, refused, run, tflite, x64

from refnet.files.containers.structure import IntegerScale
from refnet.files.importers import import_graph


def test_integer_weights_stand_for_real_numbers():
    steps = RNG.integers(-128, 128, (4, 1, 1, 4)).astype(np.int8)
    scales = {
        "w": IntegerScale(np.float32([0.5, 0.25, 2, 1]), np.int64([0, 1, 2, 3]), 0),
        "b": IntegerScale(np.float32([0.125]), np.int64([0]), 0),
    }
    conv = op("CONV_2D", "x w b", padding="VALID", stride_w=1, stride_h=1, fused_activation_function="NONE",
              dilation_w_factor=1, dilation_h_factor=1)  # fmt: skip
    imported = import_graph(tflite(conv, scales=scales, w=steps, b=np.arange(4, dtype=np.int32)))
    expected = (steps.reshape(4, 4) - np.arange(4).reshape(4, 1)) * scales["w"].scales.reshape(4, 1)
    assert np.array_equal(imported.params["y.w"], expected)
    assert imported.params["y.w"].dtype == np.float32
    assert imported.params["y.b"].tolist() == [0, 0.125, 0.25, 0.375]
    assert imported.stored == {"y.w": "int8", "y.b": "int32"}


def test_integers_without_a_scale_are_no_weights():
    refused(onnx(op("Conv", "x w"), w=DENSE.astype(np.int8)), "weights of int8")


def test_activations_that_tflite_fuses():
    for fused, made in {"TANH": "tanh", "RELU_N1_TO_1": "clip", "RELU6": "relu6"}.items():
        assert ops(import_graph(tflite(op("ADD", "x x", fused_activation_function=fused)))) == ["add", made]


def test_a_float16_weight_behind_dequantize_is_float32():
    halves = W.reshape(4, 1, 1, 4).astype(np.float16)
    conv = op("CONV_2D", "x v", padding="SAME", stride_w=1, stride_h=1, fused_activation_function="RELU6",
              dilation_w_factor=1, dilation_h_factor=1)  # fmt: skip
    imported = import_graph(tflite(op("DEQUANTIZE", "w", "v"), conv, w=halves))
    assert [(node.name, node.op) for node in imported.graph.nodes] == [("y.linear", "pointwise_conv2d"), ("y", "relu6")]
    assert np.array_equal(imported.params["y.linear.w"], halves.reshape(4, 4).astype(np.float32))
    assert (imported.keys, imported.stored) == ({"y.linear.w": "w"}, {"y.linear.w": "float16"})


def test_what_tflite_fuses_that_refnet_does_not_have():
    refused(tflite(op("ADD", "x x", fused_activation_function="SIGN_BIT")), "fused with SIGN_BIT")
    refused(tflite(op("SOFTMAX", "x", beta=2.0)), "the factor 2")


# ---------------------------------------------------------------------------------------------------------------- Keras


@pytest.mark.parametrize(("version", "slope"), [("Keras 3.15.1", 1 / 6), ("Keras 2.21.0", 0.2), ("Keras 2.4.0", 0.2)])
def test_hard_sigmoid_is_another_in_keras_2(version, slope):
    assert only(import_graph(keras(op("Activation", "x", activation="hard_sigmoid"), version=version))).attrs == {
        "slope": slope,
        "offset": 0.5,
    }


def test_a_layer_and_the_activation_in_it():
    arrays = {"y/kernel": DENSE.transpose(2, 3, 1, 0), "y/bias": VECTOR[:3]}
    layer = op("Conv2D", "x", strides=(2, 2), padding="same", dilation_rate=(1, 1), activation="relu6", use_bias=True)
    imported = import_graph(keras(layer, arrays=arrays))
    conv, act = imported.graph.nodes
    assert (conv.name, act.name, act.op) == ("y.linear", "y", "relu6")
    assert conv.attrs["pad"] == ((0, 1), (1, 1))
    assert np.array_equal(imported.params["y.linear.w"], DENSE)
    assert imported.keys == {"y.linear.w": "y/kernel", "y.linear.b": "y/bias"}


def test_hard_swish_by_functions_of_tensorflow():
    layers = [
        op("TFOpLambda", "x", "a", function="__operators__.add", arguments=(None, 3.0)),
        op("ReLU", "a", "b", max_value=6.0, negative_slope=0.0, threshold=0.0),
        op("TFOpLambda", "b", "g", function="math.multiply", arguments=(None, 1 / 6)),
        op("Multiply", "x g"),
    ]
    assert only(import_graph(keras(*layers))).op == "hard_swish"


def test_rescaling_is_in_float32_as_the_layer_casts_it():
    node = only(import_graph(keras(op("Rescaling", "x", scale=1 / 127.5, offset=-1.0))))
    assert node.attrs == {"slope": float(np.float32(1 / 127.5)), "offset": -1.0}


def test_several_filters_for_each_channel_are_groups():
    kernel = RNG.standard_normal((3, 3, 4, 2)).astype(np.float32)
    several = op("DepthwiseConv2D", "x", use_bias=False, depth_multiplier=2)
    imported = import_graph(keras(several, arrays={"y/kernel": kernel}))
    assert (only(imported).op, only(imported).params["w"]) == ("grouped_conv2d", (8, 1, 3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(x64(), (3, 3), axis=(2, 3))
    y = np.einsum("nchwrs,rscm->nchwm", windows, kernel).transpose(0, 1, 4, 2, 3).reshape(2, 8, 4, 3)
    assert np.abs(run(imported) - y).max() < 1e-13


def test_a_separable_convolution_is_two():
    arrays = {"y/depthwise_kernel": np.ones((3, 3, 4, 1), np.float32), "y/pointwise_kernel": W[None, None]}
    imported = import_graph(keras(op("SeparableConv2D", "x", use_bias=False, activation="relu"), arrays=arrays))
    assert ops(imported) == ["depthwise_conv2d", "pointwise_conv2d", "relu"]


@pytest.mark.parametrize("layer", ["RandomFlip", "GaussianNoise", "SpatialDropout2D", "Identity", "RandomZoom"])
def test_what_training_alone_needs_is_passed_over(layer):
    assert ops(import_graph(keras(op(layer, "x", "a"), op("ReLU", "a")))) == ["relu"]


@pytest.mark.parametrize("told", ["config", "arrays"])
def test_a_normalization_has_the_statistics_of_the_data(told):
    mean, var = VECTOR, np.array([4.0, 0.25, 0.0, 1.0], np.float32)
    given = {"mean": tuple(mean.tolist()), "variance": tuple(var.tolist())} if told == "config" else {}
    arrays = {} if given else {"y/mean": mean, "y/variance": var}
    imported = import_graph(keras(op("Normalization", "x", axis=(-1,), **given), arrays=arrays))
    assert only(imported).op == "batch_norm"
    roots = np.maximum(np.sqrt(var.astype(np.float64)), 1e-7).reshape(4, 1, 1)
    found = (x64() - mean.reshape(4, 1, 1)) / roots
    assert np.abs(run(imported) / found - 1).max() < 1e-7
    back = op("Normalization", "x", axis=-1, invert=True, **given)
    assert np.abs(run(import_graph(keras(back, arrays=arrays))) - (x64() * roots + mean.reshape(4, 1, 1))).max() < 1e-6


def test_a_rescaling_may_be_another_for_each_channel():
    imported = import_graph(keras(op("Rescaling", "x", scale=(1.0, 2.0, 0.5, 4.0), offset=-1.0)))
    factors = np.array([1.0, 2.0, 0.5, 4.0]).reshape(4, 1, 1)
    assert only(imported).op == "batch_norm"
    assert np.array_equal(run(imported), x64() * factors - 1)


def test_a_batch_norm_without_scale_has_ones():
    arrays = {f"y/{name}": VECTOR**2 for name in ("beta", "moving_mean", "moving_variance")}
    imported = import_graph(keras(op("BatchNormalization", "x", axis=(3,), scale=False, center=True), arrays=arrays))
    assert np.array_equal(imported.params["y.gamma"], np.ones(4))
    assert "y.gamma" not in imported.keys


def test_layers_that_refnet_does_not_have():
    refused(keras(op("Lambda", "x")), "Lambda, which makes 'y': refnet has no such operation")
    refused(keras(op("Activation", "x", activation="gelu")), "the activation 'gelu'")
    refused(keras(op("TFOpLambda", "x", function="io.read_file")), "the function 'io.read_file'")
    refused(keras(op("Conv2D", "x")), "its kernel is missing")
    refused(keras(op("GlobalAveragePooling2D", "x", data_format="channels_first")), "channels last")
