"""Slopes, masks and maps that are joined, in refnet's operations."""

from __future__ import annotations

import numpy as np
import pytest
from importing import RNG, VECTOR, X, keras, only, onnx, op, ops, refused, run, scalar, tflite, x64

from refnet.files.importers import import_graph


@pytest.mark.parametrize(
    ("slope", "made", "shape"),
    [
        (VECTOR.reshape(4, 1, 1), "prelu", (4,)),
        (VECTOR.reshape(1, 4, 1, 1), "prelu", (4,)),
        (RNG.standard_normal((4, 6, 5)).astype(np.float32), "prelu", (4, 6, 5)),
        (RNG.standard_normal((6, 1)).astype(np.float32), "prelu", (4, 6, 5)),
        (np.array([0.25], np.float32), "leaky_relu", None),
    ],
)
def test_slopes_for_all_for_each_channel_and_for_each_point(slope, made, shape):
    imported = import_graph(onnx(op("PRelu", "x s"), s=slope))
    assert (only(imported).op, only(imported).params.get("alpha")) == (made, shape)
    assert np.array_equal(run(imported), np.where(x64() >= 0, x64(), x64() * slope))


def test_slopes_where_channels_lie_last():
    last = RNG.standard_normal((6, 5, 4)).astype(np.float32)
    for imported in (
        import_graph(tflite(op("PRELU", "x s"), s=last)),
        import_graph(keras(op("PReLU", "x"), arrays={"y/alpha": last})),
    ):
        assert np.array_equal(run(imported), np.where(x64() >= 0, x64(), x64() * last.transpose(2, 0, 1)))


@pytest.mark.parametrize(
    ("slope", "made", "shape"),
    [
        (np.array([0.25], np.float32), "leaky_relu", None),
        (VECTOR.reshape(4, 1, 1), "prelu", (4,)),
        (RNG.standard_normal((4, 6, 5)).astype(np.float32), "prelu", (4, 6, 5)),
        (np.broadcast_to(VECTOR.reshape(4, 1, 1), (4, 6, 5)), "prelu", (4,)),
    ],
)
@pytest.mark.parametrize("subtracted", [False, True])
def test_slopes_written_out_are_read_as_slopes(slope, made, shape, subtracted):
    """relu(x) - s relu(-x), or relu(x) + (-s) relu(-x), as TensorFlow's graphs have a PReLU."""
    held = np.ascontiguousarray(slope if subtracted else -slope)
    written = [op("Relu", "x", "p"), op("Neg", "x", "n"), op("Relu", "n", "r"), op("Mul", "r s", "m")]
    imported = import_graph(onnx(*written, op("Sub" if subtracted else "Add", "p m"), s=held))
    assert (only(imported).op, only(imported).params.get("alpha")) == (made, shape)
    assert np.array_equal(run(imported), np.where(x64() >= 0, x64(), x64() * slope))


def test_slopes_of_anything_but_the_negative_part_are_refused():
    slope = RNG.standard_normal((4, 6, 5)).astype(np.float32)
    refused(onnx(op("Mul", "x s"), s=slope), "only one number a channel")


def test_a_slope_that_is_the_same_at_every_point_is_one_for_the_channel():
    slope = np.ascontiguousarray(np.broadcast_to(VECTOR.reshape(4, 1, 1), (4, 6, 5)))
    assert only(import_graph(onnx(op("PRelu", "x s"), s=slope))).params == {"alpha": (4,)}


def test_slopes_that_do_not_fit_are_refused():
    refused(onnx(op("PRelu", "x s"), s=np.ones((3, 1, 1), np.float32)), "a constant of shape (3, 1, 1)")
    refused(onnx(op("PRelu", "x s"), s=np.ones((2, 1, 1, 1, 1), np.float32)), "a constant of shape")


def test_a_leaky_relu_has_its_vendors_slope():
    assert only(import_graph(onnx(op("LeakyRelu", "x")))).attrs == {"slope": 0.01}
    tenth, fifth, third = (float(np.float32(slope)) for slope in (0.1, 0.2, 0.3))  # as TensorFlow's kernels have them
    assert only(import_graph(tflite(op("LEAKY_RELU", "x", alpha=tenth)))).attrs == {"slope": tenth}
    assert only(import_graph(keras(op("LeakyReLU", "x", alpha=0.2)))).attrs == {"slope": fifth}
    assert only(import_graph(keras(op("LeakyReLU", "x")))).attrs == {"slope": third}
    assert only(import_graph(onnx(op("LeakyRelu", "x", alpha=0.0)))).op == "relu"


def test_a_relu_with_a_slope_and_a_largest_value_is_two_nodes():
    imported = import_graph(keras(op("ReLU", "x", negative_slope=0.1, max_value=4.0)))
    assert ops(imported) == ["leaky_relu", "clip"]
    assert np.array_equal(run(imported), np.minimum(np.where(x64() >= 0, x64(), float(np.float32(0.1)) * x64()), 4))


def keras_relu(x, max_value, negative_slope, threshold):
    """The definition, as keras.layers.ReLU documents it."""
    y = np.where(x >= threshold, x, negative_slope * (x - threshold))
    return y if max_value is None else np.minimum(y, max_value)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("negative_slope", [0.0, 0.25, 2.0])
@pytest.mark.parametrize("max_value", [None, 0.0, 2.5, 6.0])
def test_a_relu_of_keras_in_all_its_forms(max_value, negative_slope, threshold):
    x = np.append(X.ravel()[:119], np.float32(threshold)).reshape(1, 4, 6, 5).astype(np.float64)
    settings = {"max_value": max_value, "negative_slope": negative_slope, "threshold": threshold}
    y = run(import_graph(keras(op("ReLU", "x", **settings))), x)
    if threshold > (max_value if max_value is not None else np.inf):  # then Keras gives min(x, max) above it
        assert np.array_equal(y[x > threshold], np.full((x > threshold).sum(), float(max_value)))
    expected = keras_relu(x, max_value, negative_slope, threshold)
    beside = x == threshold  # where Keras' own kernels give 0
    assert np.abs(np.where(beside, 0, y - expected)).max() < 1e-12


WRITTEN_MASKS = {
    "ONNX, a product": onnx(op("Greater", "x t", "m"), op("Cast", "m", "c", to=1), op("Mul", "c x"), t=scalar(0.5)),
    "ONNX, a choice": onnx(op("Greater", "x t", "m"), op("Where", "m x z"), t=scalar(0.5), z=scalar(0)),
    "ONNX": onnx(op("ThresholdedRelu", "x", alpha=0.5)),
    "TFLite": tflite(op("GREATER", "x t", "m"), op("SELECT_V2", "m x z"), t=scalar(0.5), z=scalar(0)),
    "Keras 2": keras(op("ThresholdedReLU", "x", theta=0.5)),
}


@pytest.mark.parametrize("form", WRITTEN_MASKS)
def test_what_is_above_a_number_is_one_operation(form):
    imported = import_graph(WRITTEN_MASKS[form])
    assert (only(imported).op, only(imported).attrs) == ("thresholded_relu", {"threshold": 0.5})
    assert np.array_equal(run(imported), np.where(x64() > 0.5, x64(), 0))


def test_a_choice_between_other_things_is_refused():
    mask = op("Greater", "x t", "m")
    refused(onnx(mask, op("Neg", "x", "n"), op("Mul", "m n"), t=scalar(0.5)), "only of the tensor itself")
    refused(onnx(mask, op("Where", "m x o"), t=scalar(0.5), o=scalar(1)), "and 0 elsewhere")
    refused(onnx(op("Where", "x x o"), o=scalar(0)), "where it is above a number")
    refused(onnx(op("Greater", "x x", "m"), op("Mul", "m x")), "of anything but a tensor and a number")
    refused(onnx(mask, t=scalar(0.5), outputs=("m",)), "nothing makes its output")
