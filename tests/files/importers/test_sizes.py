"""Maps that a vendor repeats, resizes or joins, in refnet's operations."""

from __future__ import annotations

import numpy as np
import pytest
from importing import DENSE, keras, only, onnx, op, ops, refused, run, scalar, tflite, x64

from refnet.files.containers.structure import Operation
from refnet.files.importers import import_graph


def upsampled(*, axes=(2, 3), times=((1, 1, 2, 1, 1), (1, 1, 1, 3, 1)), shape=(-1, 12, 15, 4)):
    """Keras 3's UpSampling2D(size=(2, 3)) as TensorFlow writes it."""
    steps = [op("EXPAND_DIMS", "x a", "e"), op("TILE", "e s", "f"), op("RESHAPE", "f h", "r")]
    steps += [op("EXPAND_DIMS", "r b", "g"), op("TILE", "g t", "i"), op("RESHAPE", "i j")]
    arrays = {"a": axes[0], "b": axes[1], "s": times[0], "t": times[1], "h": (1, 12, 5, 4), "j": shape}
    return tflite(*steps, shape=(1, 6, 5, 4), **{name: np.array(value, np.int32) for name, value in arrays.items()})


def test_rows_and_columns_that_are_repeated_are_the_nearest():
    imported = import_graph(upsampled())
    assert ops(imported) == ["resize_nearest"]
    assert np.array_equal(run(imported), x64().repeat(2, axis=2).repeat(3, axis=3))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"times": ((1, 1, 2, 1, 1), (1, 2, 1, 3, 1))}, "of anything but an axis behind"),
        ({"times": ((1, 1, 1, 2, 1), (1, 1, 1, 3, 1))}, "of anything but an axis behind"),
        ({"axes": (4, 3)}, "reshapes"),
        ({"shape": (1, 12, 5, 12)}, "only to [1, 12, 15, 4]"),
    ],
)
def test_what_is_repeated_otherwise_is_refused(how, reason):
    refused(upsampled(**how), reason)


def test_maps_are_joined_at_their_channels_alone():
    joined = [op("Relu", "x", "a"), op("Concat", "x a x", axis=1)]
    imported = import_graph(onnx(*joined))
    assert np.array_equal(run(imported), np.concatenate([x64(), np.maximum(x64(), 0), x64()], axis=1))
    last = op("CONCATENATION", "x x", axis=-1, fused_activation_function="RELU")
    assert ops(import_graph(tflite(last))) == ["concat", "relu"]
    refused(onnx(op("Relu", "x", "a"), op("Concat", "x a", axis=2)), "only channels are joined")
    refused(onnx(op("Concat", "x w", axis=1), w=np.ones((1, 4, 6, 5), np.float32)), "joins constants")


@pytest.mark.parametrize("kind", ["Sub", "sub from"])
def test_what_is_taken_away_is_added_with_a_minus(kind):
    if kind == "Sub":
        imported, found = import_graph(onnx(op("Relu", "x", "a"), op("Sub", "x a"))), np.minimum(x64(), 0)
    else:
        imported, found = import_graph(onnx(op("Sub", "c x"), c=scalar(2.5))), 2.5 - x64()
    assert np.array_equal(run(imported), found)


@pytest.mark.parametrize(
    ("attrs", "made", "flags"),
    [
        ({"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, "resize_nearest", (False, False)),
        ({"nearest_mode": "round_prefer_ceil"}, "resize_nearest", (False, True)),
        ({"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"}, "resize_nearest",
         (False, True)),
        ({"coordinate_transformation_mode": "align_corners", "nearest_mode": "round_prefer_ceil"}, "resize_nearest",
         (True, False)),
        ({"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, "resize_legacy", None),
        ({"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"}, "resize_bilinear",
         (False, None)),
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, "resize_bilinear", (True, None)),
    ],
)  # fmt: skip
def test_a_resize_is_the_operation_that_looks_at_the_same_pixels(attrs, made, flags):
    resized = Operation("Resize", ("x", "", "", "s"), ("y",), attrs, "y")
    node = only(import_graph(onnx(resized, s=np.array([1, 4, 9, 13]))))
    assert node.op == made
    assert flags is None or (node.attrs["align_corners"], node.attrs.get("half_pixel")) == flags


def test_twice_as_large_every_nearest_pixel_is_the_same():
    for how in ({"nearest_mode": "round_prefer_floor"}, {"nearest_mode": "round_prefer_ceil"}):
        resized = Operation("Resize", ("x", "", "s"), ("y",), how, "y")
        imported = import_graph(onnx(resized, s=np.array([1, 1, 2, 2], np.float32)))
        assert np.array_equal(run(imported), x64().repeat(2, 2).repeat(2, 3))
    assert np.array_equal(run(import_graph(onnx(op("Upsample", "x s"), s=np.array([1, 1, 2, 2.0])))), run(imported))


@pytest.mark.parametrize(
    ("attrs", "why"),
    [
        ({"mode": "cubic"}, "only linear and nearest"),
        ({"nearest_mode": "ceil"}, "its pixels lie elsewhere"),
        ({"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear"}, "its pixels lie elsewhere"),
        ({"antialias": 1, "mode": "linear"}, "smoothed"),
    ],
)
def test_a_resize_that_refnet_has_not_is_refused(attrs, why):
    refused(onnx(Operation("Resize", ("x", "", "", "s"), ("y",), attrs, "y"), s=np.array([1, 4, 9, 13])), why)


def test_tflites_sizes():
    sizes = np.array([9, 13], np.int32)
    for corners, centres, made in ((False, False, "resize_legacy"), (False, True, "resize_bilinear")):
        flags = {"align_corners": corners, "half_pixel_centers": centres}
        assert only(import_graph(tflite(op("RESIZE_BILINEAR", "x s", **flags), s=sizes))).op == made
        node = only(import_graph(tflite(op("RESIZE_NEAREST_NEIGHBOR", "x s", **flags), s=sizes)))
        assert (node.op, node.attrs["half_pixel"]) == ("resize_nearest", centres)
    flags = {"align_corners": True, "half_pixel_centers": True}
    refused(tflite(op("RESIZE_BILINEAR", "x s", **flags), s=sizes), "both corners and centres")


def test_keras_enlarges_by_whole_factors():
    imported = import_graph(keras(op("UpSampling2D", "x", size=(2, 3))))
    assert np.array_equal(run(imported), x64().repeat(2, 2).repeat(3, 3))
    assert only(import_graph(keras(op("UpSampling2D", "x", interpolation="bilinear")))).op == "resize_bilinear"
    refused(keras(op("UpSampling2D", "x", interpolation="lanczos3")), "the interpolation 'lanczos3'")


def test_a_map_of_one_channel_is_transposed_by_a_reshape():
    there = [op("Reshape", "x s", "r"), op("Conv", "r w")]
    arrays = {"s": np.array([1, 1, 6, 5]), "w": DENSE[:, :1]}
    imported = import_graph(onnx(*there, shape=(1, 6, 5, 1), **arrays))
    assert (only(imported).op, imported.graph.input_shape) == ("conv2d", (1, 6, 5))
