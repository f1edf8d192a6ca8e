"""Vendors' convolutions, pools and batch norms, in refnet's operations."""

from __future__ import annotations

import numpy as np
import pytest
from importing import DENSE, FILTERS, RNG, VECTOR, W, only, onnx, op, ops, refused, run, scalar, tflite, x64

from refnet.errors import FormatError
from refnet.files.containers.structure import Contents, Structure
from refnet.files.importers import import_graph
from refnet.readings import fast


def test_a_convolution_is_dense_depthwise_or_pointwise_by_its_weights():
    dense = only(import_graph(onnx(op("Conv", "x w"), w=DENSE)))
    depthwise = only(import_graph(onnx(op("Conv", "x w", group=4), w=FILTERS)))
    pointwise = only(import_graph(onnx(op("Conv", "x w"), w=W.reshape(4, 4, 1, 1))))
    strided = only(import_graph(onnx(op("Conv", "x w", strides=(2, 1)), w=W.reshape(4, 4, 1, 1))))
    assert [node.op for node in (dense, depthwise, pointwise, strided)] == [
        "conv2d",
        "depthwise_conv2d",
        "pointwise_conv2d",
        "conv2d",
    ]
    assert (depthwise.params["w"], pointwise.params["w"], strided.params["w"]) == ((4, 3, 3), (4, 4), (4, 4, 1, 1))
    assert strided.attrs["stride"] == (2, 1)


@pytest.mark.parametrize(("groups", "filters"), [(2, DENSE[:2, :2]), (4, np.concatenate([FILTERS, FILTERS]))])
def test_groups_that_are_neither_one_nor_the_channels(groups, filters):
    imported = import_graph(onnx(op("Conv", "x w", group=groups), w=filters))
    assert (only(imported).op, only(imported).attrs["groups"]) == ("grouped_conv2d", groups)
    parts, each = np.split(x64(), groups, axis=1), np.split(filters, groups)
    convolved = [
        fast.conv2d(x, w.astype(np.float64), None, stride=(1, 1), pad=((0, 0), (0, 0)))
        for x, w in zip(parts, each, strict=True)
    ]
    assert np.abs(run(imported) - np.concatenate(convolved, axis=1)).max() < 1e-13


def test_groups_that_do_not_divide_the_channels_are_refused():
    refused(onnx(op("Conv", "x w", group=2), w=DENSE[:3, :2]), "2 groups of 4 channels to 3")


@pytest.mark.parametrize(
    ("rule", "stride", "pad"),
    [
        ("SAME_UPPER", (2, 2), ((0, 1), (1, 1))),
        ("SAME_LOWER", (2, 2), ((1, 0), (1, 1))),
        ("SAME_UPPER", (1, 1), ((1, 1), (1, 1))),
        ("VALID", (2, 2), ((0, 0), (0, 0))),
    ],
)
def test_padding_by_rule_becomes_numbers(rule, stride, pad):
    node = only(import_graph(onnx(op("Conv", "x w", auto_pad=rule, strides=stride), w=DENSE)))
    assert node.attrs["pad"] == pad


def test_pads_are_in_onnxs_order():
    node = only(import_graph(onnx(op("Conv", "x w", pads=(1, 2, 3, 4)), w=DENSE)))
    assert node.attrs["pad"] == ((1, 3), (2, 4))


def test_zeros_around_a_map_join_the_convolution():
    pads = np.array([0, 0, 0, 1, 0, 0, 1, 0])
    imported = import_graph(onnx(op("Pad", "x p", "a"), op("Conv", "a w", pads=(1, 1, 1, 1)), p=pads, w=DENSE))
    assert only(imported).attrs["pad"] == ((1, 2), (2, 1))
    other = import_graph(onnx(op("Pad", "x p", "a", mode="reflect"), op("Conv", "a w"), p=pads, w=DENSE))
    assert ops(other) == ["pad", "conv2d"]
    ones = import_graph(onnx(op("Pad", "x p v", "a"), op("Conv", "a w"), p=pads, v=scalar(1), w=DENSE))
    assert ops(ones) == ["pad", "conv2d"]


def test_a_bias_added_by_itself_joins_the_convolution():
    imported = import_graph(onnx(op("Conv", "x w", "a"), op("Add", "a b"), w=DENSE, b=VECTOR[:3].reshape(1, 3, 1, 1)))
    assert only(imported).params.keys() == {"w", "b"}
    assert imported.keys == {"y.w": "w", "y.b": "b"}
    assert np.array_equal(imported.params["y.b"], VECTOR[:3])


def test_a_bias_added_behind_a_sum_joins_the_convolution_in_it():
    conv = op("Conv", "x w", "z")
    imported = import_graph(
        onnx(conv, op("Add", "z x", "s"), op("Add", "s b"), w=W.reshape(4, 4, 1, 1), b=VECTOR[:, None, None])
    )
    assert ops(imported) == ["pointwise_conv2d", "add"]
    biased, total = imported.graph.nodes
    assert (total.name, total.inputs) == ("y", (biased.name, "input"))
    assert imported.keys == {f"{biased.name}.w": "w", f"{biased.name}.b": "b"}


def test_a_bias_that_the_exporter_made_up_goes_and_a_stored_one_of_zeros_stays():
    made_up = [op("Shape", "w", "s", start=0, end=1), op("Expand", "zero s", "b"), op("Conv", "x w b")]
    assert only(import_graph(onnx(*made_up, w=DENSE, zero=scalar(0)))).params.keys() == {"w"}
    assert only(import_graph(onnx(op("Conv", "x w b"), w=DENSE, b=np.zeros(3, np.float32)))).params.keys() == {"w", "b"}


def test_a_factor_and_an_addend_a_channel_are_a_batch_norm():
    factor, addend = VECTOR, VECTOR[::-1].copy()
    parts = [
        op("MUL", "x g", "a", fused_activation_function="NONE"),
        op("ADD", "a b", fused_activation_function="RELU"),
    ]
    imported = import_graph(tflite(*parts, g=factor, b=addend))
    assert ops(imported) == ["batch_norm", "relu"]
    expected = np.maximum(x64() * factor.reshape(-1, 1, 1).astype(float) + addend.reshape(-1, 1, 1).astype(float), 0)
    assert np.abs(run(imported) - expected).max() < 1e-14
    assert set(imported.keys.values()) == {"g", "b"}


@pytest.mark.parametrize("eps", [-1.0, np.inf, np.nan])
def test_an_eps_that_no_batch_norm_has_is_refused(eps):
    params = {name: RNG.random(4).astype(np.float32) for name in "gbmv"}
    with pytest.raises(FormatError, match="an eps of"):
        import_graph(onnx(op("BatchNormalization", "x g b m v", epsilon=eps), **params))


def test_batch_norm_has_onnxs_eps_where_none_is_said():
    params = dict(zip("gbmv", [VECTOR, VECTOR, VECTOR, VECTOR**2], strict=True))
    assert only(import_graph(onnx(op("BatchNormalization", "x g b m v"), **params))).attrs["eps"] == 1e-5
    stored = float(np.float32(1e-3))
    assert (
        only(import_graph(onnx(op("BatchNormalization", "x g b m v", epsilon=stored), **params))).attrs["eps"] == 1e-3
    )
    refused(onnx(op("BatchNormalization", "x g b m v", training_mode=1), **params), "training mode")
    refused(onnx(op("BatchNormalization", "x g b m v"), **{**params, "g": VECTOR[:3]}), "3 numbers for 4 channels")


# ------------------------------------------------------------------------------------------ pools, shapes, the two ends


@pytest.mark.parametrize(
    "pool",
    [
        [op("GlobalAveragePool", "x")],
        [op("AveragePool", "x", kernel_shape=(6, 5), strides=(6, 5))],
        [op("ReduceMean", "x", axes=(2, 3))],
        [op("ReduceMean", "x axes", keepdims=1)],
        [op("ReduceSum", "x axes", "s"), op("Div", "s points")],
        [op("ReduceSum", "x axes", "s"), op("Mul", "s one_by_points")],
    ],
)
def test_the_mean_over_the_map_is_one_node(pool):
    points = np.float32(30)
    arrays = {"axes": np.array([-1, -2]), "points": points, "one_by_points": 1 / points}
    node = only(import_graph(onnx(*pool, **arrays)))
    assert (node.op, node.attrs["kernel"], node.attrs["stride"]) == ("avg_pool2d", (6, 5), (1, 1))


def test_a_sum_over_the_map_is_so_many_times_its_mean():
    """Whatever it is divided by."""
    arrays = {"axes": np.array([2, 3]), "points": np.float32(49)}
    imported = import_graph(onnx(op("ReduceSum", "x axes", "s"), op("Div", "s points"), **arrays))
    assert ops(imported) == ["avg_pool2d", "affine"]
    assert np.abs(run(imported) - x64().sum((2, 3), keepdims=True) / 49).max() < 1e-14


SUMS = {
    "one factor before": [op("Mul", "x one_by_points", "a"), op("ReduceSum", "a axes")],
    "two factors before": [op("Mul", "x half", "a"), op("Div", "a fifteen", "b"), op("ReduceSum", "b axes")],
    "a division before": [op("Div", "x points", "a"), op("ReduceSum", "a axes")],
    "one sum after the other": [
        op("ReduceSum", "x height", "a"),
        op("ReduceSum", "a width", "b"),
        op("Mul", "b one_by_points"),
    ],
    "a factor between two sums": [
        op("ReduceSum", "x height", "a"),
        op("Mul", "a one_by_points", "b"),
        op("ReduceSum", "b width"),
    ],
    "a factor for each of two sums": [
        op("Mul", "x half", "a"),
        op("ReduceSum", "a height", "b"),
        op("Div", "b fifteen", "c"),
        op("ReduceSum", "c width"),
    ],
}


@pytest.mark.parametrize("where", SUMS)
@pytest.mark.parametrize("points", [30, 24])
def test_a_factor_of_a_sum_is_one_behind_a_mean_wherever_it_stands(where, points):
    """A map of 6 x 5 points: of the factor of the mean nothing is left."""
    half, rest = np.float32(0.5), np.float32(points / 2)
    arrays = {"points": np.float32(points), "one_by_points": 1 / np.float32(points), "half": half, "fifteen": rest}
    arrays |= {"axes": np.array([2, 3]), "height": np.array([2]), "width": np.array([3])}
    imported = import_graph(onnx(*SUMS[where], **arrays))
    pool, *behind = imported.graph.nodes
    assert (pool.op, pool.attrs["kernel"]) == ("avg_pool2d", (6, 5))
    assert [node.attrs["slope"] for node in behind] == ([] if points == 30 else [pytest.approx(30 / 24, rel=1e-7)])


def vendors_sum(vendor, places, *, keep):
    """A sum over a map as a vendor writes it."""
    axes, shape = np.array(places), (None, 4, 6, 5)
    match vendor:
        case "tflite":
            return tflite(op("SUM", "x axes", keep_dims=keep), axes=axes)
        case "tensorflow":
            return Contents(
                vendor,
                {"axes": axes},
                Structure("", (op("Sum", "x axes", keep_dims=keep),), {"x": (None, 6, 5, 4)}, ("y",)),
            )
        case "openvino":
            layer = op("ReduceSum", "x axes", keep_dims=str(keep).lower())
            return Contents(vendor, {"axes": axes}, Structure("", (layer,), {"x": shape}, ("y",)))
    places = tuple(place - 1 for place in places)
    layer = op("Reduction", "x", **{"0": 0, "1": 0, "2": 1.0, "3": places, "4": int(keep)})
    return Contents("ncnn", {}, Structure("", (layer,), {"x": shape}, ("y",)))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("vendor", "places"),
    [("tflite", (1, 2)), ("tensorflow", (1, 2)), ("openvino", (2, 3)), ("ncnn", (2, 3)), ("tflite", (1,))],
)
def test_every_vendors_sum_over_a_map_adds_up_its_points(vendor, places, keep):
    made = run(import_graph(vendors_sum(vendor, places, keep=keep)))
    whole = x64().sum((2, 3) if len(places) == 2 else 2)
    assert np.abs(made.reshape(whole.shape) - whole).max() < 1e-13


def test_a_reduction_of_ncnn_has_a_factor_of_its_own():
    sums = op("Reduction", "x", **{"0": 0, "1": 0, "2": float(np.float32(1 / 30)), "3": (1, 2), "4": 1})
    imported = import_graph(Contents("ncnn", {}, Structure("", (sums,), {"x": (None, 4, 6, 5)}, ("y",))))
    assert ops(imported) == ["avg_pool2d"]


def test_a_mean_that_counts_its_padding_reads_a_border_of_zeros():
    window = {"kernel_shape": (2, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
    imported = import_graph(onnx(op("AveragePool", "x", count_include_pad=1, **window)))
    assert ops(imported) == ["pad", "avg_pool2d"]
    wide = np.pad(x64(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(wide, (2, 3), axis=(2, 3))[:, :, ::2, ::2]
    assert np.abs(run(imported) - views.mean((4, 5))).max() < 1e-14


def test_pools_that_refnet_does_not_have():
    window = {"kernel_shape": (2, 2), "strides": (2, 2)}
    refused(onnx(op("MaxPool", "x", ceil_mode=1, **window)), "ceil_mode")
    refused(onnx(op("ReduceMean", "x", axes=(1,))), "only that over H and W")


def test_the_mean_over_width_and_then_over_height_is_that_over_the_map():
    twice = [op("ReduceMean", "x", "a", axes=(3,), keepdims=0), op("ReduceMean", "a", axes=(2,), keepdims=0)]
    imported = import_graph(onnx(*twice))
    assert ops(imported) == ["avg_pool2d", "flatten"]
    assert imported.graph.nodes[0].attrs["kernel"] == (6, 5)
    assert np.abs(run(imported) - x64().mean((2, 3))).max() < 1e-14


@pytest.mark.parametrize("first", [(6, 1), (1, 5)])
def test_so_are_two_pools_with_strides_of_their_own_size(first):
    second = (1, 5) if first == (6, 1) else (6, 1)
    pools = [op("AveragePool", *names, kernel_shape=k, strides=k) for *names, k in (("x", "a", first), ("a", second))]
    imported = import_graph(onnx(*pools))
    assert only(imported).attrs["kernel"] == (6, 5)
    assert np.abs(run(imported)[:, :, 0, 0] - x64().mean((2, 3))).max() < 1e-14


def test_pools_of_which_the_second_reads_every_other_row_are_none():
    pools = [op("AveragePool", "x", "a", kernel_shape=(1, 1), strides=(2, 1))]
    pools += [op("AveragePool", "a", kernel_shape=(3, 1), strides=(1, 1))]
    assert [node.attrs["kernel"] for node in import_graph(onnx(*pools)).graph.nodes] == [(1, 1), (3, 1)]


def test_the_mean_over_one_axis_is_a_pool_of_that():
    imported = import_graph(onnx(op("ReduceMean", "x", axes=(2,))))
    assert only(imported).attrs["kernel"] == (6, 1)


def test_the_largest_of_a_map():
    for largest in (op("GlobalMaxPool", "x"), op("ReduceMax", "x", axes=(2, 3))):
        node = only(import_graph(onnx(largest)))
        assert (node.op, node.attrs["kernel"]) == ("max_pool2d", (6, 5))


def test_a_batch_norm_of_vectors_is_one_of_points():
    norm = [op("GlobalAveragePool", "x", "p"), op("Flatten", "p", "f"), op("BatchNormalization", "f v v v v")]
    assert ops(import_graph(onnx(*norm, v=VECTOR**2))) == ["avg_pool2d", "batch_norm", "flatten"]


# --------------------------------------------------------------------------------------------------- dilation in blocks

WINDOW = {"stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1, "padding": "VALID"}
BLOCKS = {"block": np.array([2, 3]), "pads": np.array([[2, 4], [3, 4]]), "crops": np.array([[0, 2], [0, 1]])}


def blocked(**changes):
    cut, join = op("SPACE_TO_BATCH_ND", "x block pads", "b"), op("BATCH_TO_SPACE_ND", "c block crops")
    convolved = op("CONV_2D", "b w v", "c", fused_activation_function="RELU", **{**WINDOW, **changes})
    return [cut, convolved, join]


def test_a_convolution_of_blocks_is_a_dilated_one():
    w = DENSE.transpose(0, 2, 3, 1)
    imported = import_graph(tflite(*blocked(), w=w, v=VECTOR[:3], **BLOCKS))
    assert ops(imported) == ["conv2d", "relu"]
    assert imported.graph.nodes[0].attrs == {"stride": (1, 1), "dilation": (2, 3), "pad": ((2, 2), (3, 3))}
    assert imported.graph.output == "y"


@pytest.mark.parametrize(
    ("operations", "crops", "why"),
    [
        (blocked(stride_h=2), BLOCKS["crops"], "only a plain one"),
        (blocked(), np.array([[0, 5], [0, 1]]), "crops more than was padded"),
        ([*blocked()[:1], op("RELU", "b")], BLOCKS["crops"], "not as its vendor defines it"),
        ([blocked()[0], op("BATCH_TO_SPACE_ND", "b block crops")], BLOCKS["crops"], "of anything but one convolution"),
    ],
)
def test_other_blocks_are_refused(operations, crops, why):
    arrays = {**BLOCKS, "crops": crops, "w": DENSE.transpose(0, 2, 3, 1), "v": VECTOR[:3]}
    refused(tflite(*operations, **arrays), why)


@pytest.mark.parametrize(
    ("act", "numbers", "attrs"),
    [("Relu", (), {}), ("Clip", (0.0, 6.0), {"min": 0.0, "max": 6.0}), ("HardSigmoid", (0.2, 0.5), {})],
)
def test_an_activation_in_a_convolution_of_onnxruntimes_optimiser_stands_behind_it(act, numbers, attrs):
    apart = import_graph(onnx(op("Conv", "x w", "c"), op(act, "c", **attrs), w=DENSE))
    fused = op("com.microsoft.FusedConv", "x w", activation=act, activation_params=numbers)
    imported = import_graph(onnx(fused, w=DENSE))
    assert [(node.op, node.attrs) for node in imported.graph.nodes] == [
        (node.op, node.attrs) for node in apart.graph.nodes
    ]


def test_a_convolution_with_an_activation_that_is_not_known_is_refused():
    refused(onnx(op("com.microsoft.FusedConv", "x w", activation="Erf"), w=DENSE), "with the activation 'Erf'")
