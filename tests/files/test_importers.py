"""Vendors' operations in refnet's: each by itself, and real networks as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network
from refnet.errors import FormatError, RequestError
from refnet.files import containers
from refnet.files.containers.structure import Contents, IntegerScale, Operation, Structure
from refnet.files.importers import import_graph
from refnet.files.importers.builder import decimal
from refnet.files.importers.onnx_integers import import_onnx_integers
from refnet.files.importers.onnx_quantised import integer_operations
from refnet.graph import interpret
from refnet.judge.compare import compare
from refnet.pack.pack import write_pack
from refnet.readings import fast
from refnet.readings.quantised import run_integers

RNG = np.random.default_rng(5)
X = RNG.uniform(-6, 6, (2, 4, 6, 5)).astype(np.float32)
W = RNG.standard_normal((4, 4)).astype(np.float32)
FILTERS = RNG.standard_normal((4, 1, 3, 3)).astype(np.float32)
DENSE = RNG.standard_normal((3, 4, 3, 3)).astype(np.float32)
VECTOR = RNG.standard_normal(4).astype(np.float32)


def onnx(*operations, shape=(None, 4, 6, 5), outputs=("y",), **arrays):
    return Contents("onnx", arrays, Structure("", tuple(operations), {"x": shape}, outputs))


def tflite(*operations, scales=None, shape=(None, 6, 5, 4), outputs=("y",), **arrays):
    return Contents("tflite", arrays, Structure("", tuple(operations), {"x": shape}, outputs, scales or {}))


def keras(*operations, version="Keras 3.15", shape=(None, 6, 5, 4), outputs=("y",), arrays=()):
    return Contents("hdf5", dict(arrays), Structure(version, tuple(operations), {"x": shape}, outputs))


def op(kind, inputs, outputs="y", **attrs):
    return Operation(kind, tuple(inputs.split()), tuple(outputs.split()), attrs, outputs)


def scalar(value, dtype=np.float32):
    return np.array(value, dtype)


def run(imported, x=X):
    params = {name: array.astype(np.float64) for name, array in imported.params.items()}
    return interpret(imported.graph, fast, params, {"input": x.astype(np.float64)})


def ops(imported):
    return [node.op for node in imported.graph.nodes]


def only(imported):
    (node,) = imported.graph.nodes
    return node


def refused(contents, reason, size=None):
    with pytest.raises(FormatError) as error:
        import_graph(contents, size)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def x64():
    return X.astype(np.float64)


# -------------------------------------------------------------------------------------------------------------- numbers


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


# ---------------------------------------------------------------------------------------------- activations of integers


def qdq(name, scale, source=None):
    """A tensor of integers and back in floats, as onnxruntime's quantiser writes it."""
    scales = f"{scale}_s {scale}_z"
    return [
        *([op("QuantizeLinear", f"{source or name} {scales}", f"{name}_q")] if source is not None else []),
        op("DequantizeLinear", f"{name}_q {scales}", f"{name}_r"),
    ]


def number_of_integers(name, q, scale):
    return {f"{name}_q": scalar(q, np.uint8), f"{name}_s": scalar(scale), f"{name}_z": scalar(0, np.uint8)}


STEPS = {"x": (0.05, 128), "c": (6 / 255, 0), "p": (0.15, 10), "y": (0.025, 10)}
IN_STEPS = {f"{name}_s": scalar(step) for name, (step, _) in STEPS.items()}
IN_STEPS |= {f"{name}_z": scalar(zero, np.uint8) for name, (_, zero) in STEPS.items()}
SWISHES_IN_STEPS = {
    "(x relu6(x + 3)) / 6": [op("Add", "x_r three_r", "a"), *qdq("c", "c", "a"), op("Mul", "x_r c_r", "p"),
                             *qdq("p", "p", "p"), op("Div", "p_r six_r", "h")],
    "(x relu6(3 + x)) / 6": [op("Add", "three_r x_r", "a"), *qdq("c", "c", "a"), op("Mul", "x_r c_r", "p"),
                             *qdq("p", "p", "p"), op("Div", "p_r six_r", "h")],
    "x (clip(x + 3, 0, 6) / 6)": [op("Add", "x_r three_r", "a"), op("Clip", "a zero_r six_r", "b"),
                                  *qdq("c", "c", "b"), op("Div", "c_r six_r", "g"), op("Mul", "x_r g", "h")],
}  # fmt: skip


@pytest.mark.parametrize("spelling", SWISHES_IN_STEPS)
@pytest.mark.parametrize("six", [(255, 6 / 255), (249, 6 / 249.4)])  # the six itself; 5.990, nearly half a step off
def test_constants_behind_dequantize_linear_are_constants(spelling, six):
    """Both in floats, where the function is told, and in integers, where each step is."""
    constants = number_of_integers("three", 255, 3 / 255) | number_of_integers("six", *six)
    constants |= number_of_integers("zero", 0, 6 / 255)
    numbers = [each for name in ("zero", "three", "six") for each in qdq(name, name)]
    operations = [*numbers, *qdq("x", "x", "x"), *SWISHES_IN_STEPS[spelling], *qdq("y", "y", "h"),
                  op("Identity", "y_r")]  # fmt: skip
    contents = onnx(*operations, **constants, **IN_STEPS)
    real = import_graph(contents)
    assert ops(real) == ["hard_swish"]
    made = import_onnx_integers(contents, None)
    *_, (_, y) = run_integers(made.graph, made.params, made.quantised, {"input": X}, "onnxruntime")
    assert np.abs(y - run(real)).max() < 0.2  # three roundings to steps of 0.05, 0.15 / 6 and 0.025


@pytest.mark.parametrize(("high", "implied"), [("six_r", True), ("two_r", False)])
def test_a_clip_is_left_to_the_range_of_integers_only_where_its_bounds_are_that_range(high, implied):
    constants = number_of_integers("six", 255, 6 / 255) | number_of_integers("two", 255, 2 / 255)
    constants |= number_of_integers("zero", 0, 6 / 255)
    numbers = [each for name in ("zero", "two", "six") for each in qdq(name, name)]
    operations = [*numbers, *qdq("x", "x", "x"), op("Add", "x_r x_r", "a"), op("Clip", f"a zero_r {high}", "b"),
                  *qdq("c", "c", "b"), op("Identity", "c_r")]  # fmt: skip
    kept = integer_operations(onnx(*operations).structure, constants | IN_STEPS)
    assert ("com.microsoft.QLinearAdd" in [each.op for each in kept.operations]) == implied


def test_a_mean_of_floats_over_columns_then_rows_is_one_in_a_graph_of_integers():
    means = [op("ReduceMean", "x_r", "m", axes=(3,), keepdims=0), op("ReduceMean", "m", "n", axes=(2,), keepdims=0)]
    contents = onnx(*qdq("x", "x", "x"), *means, *qdq("y", "y", "n"), op("Identity", "y_r"), **IN_STEPS)
    made = import_onnx_integers(contents, None)
    *_, (_, y) = run_integers(made.graph, made.params, made.quantised, {"input": X}, "onnxruntime")
    assert np.abs(y.reshape(2, 4) - np.clip(x64().mean((2, 3)), -0.25, 6.125)).max() < 0.025 + 0.0125


# --------------------------------------------------------------------------------------------------------- convolutions


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
    ],
)
def test_the_mean_over_the_map_is_one_node(pool):
    node = only(import_graph(onnx(*pool, axes=np.array([-1, -2]))))
    assert (node.op, node.attrs["kernel"], node.attrs["stride"]) == ("avg_pool2d", (6, 5), (1, 1))


def test_pools_that_refnet_does_not_have():
    window = {"kernel_shape": (2, 2), "strides": (2, 2)}
    refused(onnx(op("AveragePool", "x", pads=(1, 1, 1, 1), count_include_pad=1, **window)), "the padding too")
    refused(onnx(op("MaxPool", "x", ceil_mode=1, **window)), "ceil_mode")
    refused(onnx(op("ReduceMean", "x", axes=(1,))), "only that over H and W")


def test_the_mean_over_width_and_then_over_height_is_that_over_the_map():
    twice = [op("ReduceMean", "x", "a", axes=(3,), keepdims=0), op("ReduceMean", "a", axes=(2,), keepdims=0)]
    imported = import_graph(onnx(*twice))
    assert ops(imported) == ["avg_pool2d", "flatten"]
    assert imported.graph.nodes[0].attrs["kernel"] == (6, 5)
    assert np.abs(run(imported) - x64().mean((2, 3))).max() < 1e-14


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


# ------------------------------------------------------------------------------------- slopes, joined maps, other sizes


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


HEAD = {
    "flatten, gemm": [op("Flatten", "p", "f"), op("Gemm", "f w b", transB=1)],
    "reshape, matmul, add": [op("Reshape", "p two", "f"), op("Transpose", "w", "t", perm=(1, 0)),
                             op("MatMul", "f t", "z"), op("Add", "z b")],
    "computed shape": [op("Shape", "p", "s"), op("Slice", "s i j", "n"), op("Concat", "n rest", "t", axis=0),
                       op("Reshape", "p t", "f"), op("Gemm", "f w b", transB=1)],
    "squeeze": [op("Squeeze", "p axes", "f"), op("Gemm", "f w b", transB=1)],
    "convolution": [op("Unsqueeze", "w axes", "v"), op("Conv", "p v b", "z"), op("Flatten", "z")],
}  # fmt: skip
HEAD_ARRAYS = {
    "w": W, "b": VECTOR, "two": np.array([0, -1]), "i": np.array([0]), "j": np.array([1]), "rest": np.array([-1]),
    "axes": np.array([2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("head", HEAD)
def test_a_linear_layer_is_pointwise_and_flat_at_the_end(head):
    imported = import_graph(onnx(op("GlobalAveragePool", "x", "p"), *HEAD[head], **HEAD_ARRAYS))
    assert ops(imported) == ["avg_pool2d", "pointwise_conv2d", "flatten"]
    assert imported.graph.recipe.classes == 4
    expected = x64().mean((2, 3)) @ W.T.astype(float) + VECTOR.astype(float)
    assert np.abs(run(imported) - expected).max() < 1e-13
    assert set(imported.keys.values()) == {"w", "b"}


def test_a_softmax_is_of_the_flat_logits():
    head = [op("GlobalAveragePool", "x", "p"), op("Flatten", "p", "f"), op("Softmax", "f", axis=1)]
    imported = import_graph(onnx(*head))
    assert ops(imported) == ["avg_pool2d", "flatten", "softmax"]
    assert np.abs(run(imported).sum(axis=1) - 1).max() < 1e-15


WHOLE = RNG.standard_normal((3, 120)).astype(np.float32)


def test_a_linear_layer_on_a_whole_map_is_a_convolution_whose_kernel_is_the_map():
    imported = import_graph(onnx(op("Flatten", "x", "f"), op("Relu", "f", "r"), op("Gemm", "r w", transB=1), w=WHOLE))
    assert ops(imported) == ["relu", "conv2d", "flatten"]
    assert np.abs(run(imported) - np.maximum(x64(), 0).reshape(2, -1) @ WHOLE.T).max() < 1e-13


def test_where_channels_lie_last_its_weights_are_permuted():
    filters = keras(op("Flatten", "x", "f"), op("Dense", "f", use_bias=False), arrays={"y/kernel": WHOLE.T})
    imported = import_graph(filters)
    assert ops(imported) == ["conv2d", "flatten"]
    assert np.abs(run(imported) - x64().transpose(0, 2, 3, 1).reshape(2, -1) @ WHOLE.T).max() < 1e-13


def test_a_linear_layer_of_other_inputs_is_refused():
    refused(onnx(op("Flatten", "x", "f"), op("Gemm", "f w", transB=1), w=np.ones((3, 119), np.float32)), "linear layer")
    refused(onnx(op("MatMul", "x w"), w=np.ones((5, 3), np.float32)), "linear layer")


def test_a_linear_layer_on_each_point_is_pointwise():
    rows, back = np.array([60, 4]), np.array([2, 6, 5, 3])
    fused = {"fused_activation_function": "NONE", "weights_format": 0, "keep_num_dims": False}
    over_rows = [op("RESHAPE", "x rows", "r"), op("FULLY_CONNECTED", "r w", "z", **fused), op("RESHAPE", "z back")]
    for imported in (
        import_graph(keras(op("Dense", "x", use_bias=False), arrays={"y/kernel": W[:3].T})),
        import_graph(tflite(*over_rows, shape=(2, 6, 5, 4), w=W[:3], rows=rows, back=back)),
        import_graph(onnx(op("Transpose", "x", "t", perm=(0, 2, 3, 1)), op("MatMul", "t w"), w=W[:3].T)),
    ):
        assert only(imported).op == "pointwise_conv2d"
        assert np.abs(run(imported) - np.einsum("nchw,kc->nkhw", x64(), W[:3])).max() < 1e-13


def test_squeeze_and_excite_may_be_linear_over_points_whose_channels_lie_last():
    pool = op("ReduceMean", "x", "p", axes=(2, 3), keepdims=1)
    gate = [pool, op("Transpose", "p", "t", perm=(0, 2, 3, 1)), op("MatMul", "t w", "m"), op("Sigmoid", "m", "s"),
            op("Transpose", "s", "g", perm=(0, 3, 1, 2)), op("Mul", "x g")]  # fmt: skip
    assert ops(import_graph(onnx(*gate, w=W))) == ["avg_pool2d", "pointwise_conv2d", "sigmoid", "scale"]


def test_transposes_end_here():
    there, back = op("Transpose", "x", "a", perm=(0, 3, 1, 2)), op("Transpose", "b", perm=(0, 2, 3, 1))
    channels = np.ones((3, 3, 1, 1), np.float32)
    imported = import_graph(onnx(there, op("Conv", "a w", "b"), back, shape=(1, 6, 5, 3), w=channels))
    assert only(imported).op == "pointwise_conv2d"
    assert imported.graph.input_shape == (3, 6, 5)
    refused(onnx(op("Conv", "x w"), shape=(1, 6, 5, 3), w=channels), "of 6 channels to 3")


def test_what_leads_nowhere_is_not_read():
    imported = import_graph(onnx(op("Mystery", "x", "z"), op("Identity", "x", "i"), op("Relu", "i")))
    assert ops(imported) == ["relu"]


def test_an_operation_that_refnet_does_not_have_is_named_with_its_place():
    refused(onnx(op("Erf", "x")), "Erf, which makes 'y': refnet has no such operation")
    refused(onnx(op("Erf\nforged", "x")), "Erf\\nforged")


def test_names_are_made_fit_and_distinct():
    chain = [
        op("Relu", "x", "input"),
        op("Relu", "input", "/a/b;c"),
        op("Relu", "/a/b;c", "a.b"),
        op("Relu", "a.b", "y"),
    ]
    assert [node.name for node in import_graph(onnx(*chain)).graph.nodes] == ["input.2", "a.b", "a.b.2", "y"]


def test_the_size_is_the_files_or_the_callers():
    contents = onnx(op("Relu", "x"), shape=(None, 3, None, None))
    with pytest.raises(RequestError, match="leaves the size"):
        import_graph(contents)
    assert import_graph(contents, (48, 192)).graph.input_shape == (3, 48, 192)
    with pytest.raises(RequestError, match="made for images of 6,5"):
        import_graph(onnx(op("Relu", "x")), (7, 5))


TWO = {
    "onnx": lambda outputs: onnx(op("Relu", "x", "r"), op("Sigmoid", "x", "s"), op("Neg", "x"), outputs=outputs),
    "tflite": lambda outputs: tflite(op("RELU", "x", "r"), op("LOGISTIC", "x", "s"), op("COS", "x"), outputs=outputs),
    "keras": lambda outputs: keras(
        op("ReLU", "x", "r"), op("Activation", "x", "s", activation="sigmoid"), op("Lambda", "x"), outputs=outputs
    ),
}


@pytest.mark.parametrize("vendor", TWO)
def test_a_file_of_two_outputs_is_a_graph_that_returns_both_in_its_order(vendor):
    imported = import_graph(TWO[vendor](("s", "r")))
    assert imported.graph.outputs == ("s", "r")
    found = run(imported)
    assert list(found) == ["s", "r"]
    assert np.array_equal(found["r"], fast.relu(x64()))
    assert np.array_equal(found["s"], fast.sigmoid(x64()))


def test_one_tensor_returned_twice_is_one_output():
    assert import_graph(onnx(op("Relu", "x", "r"), op("Identity", "r"), outputs=("r", "y"))).graph.outputs == ("r",)


def test_an_output_is_not_joined_with_what_reads_it():
    """The sum would be the convolution's bias if only the end were returned; of the swish its gate stays."""
    pieces = [op("Conv", "x w", "c"), op("Add", "c b", "s"), op("Sigmoid", "s", "g"), op("Mul", "s g")]
    arrays = {"w": DENSE, "b": VECTOR[:3].reshape(1, 3, 1, 1)}
    whole = import_graph(onnx(*pieces, **arrays))
    assert ops(whole) == ["conv2d", "swish"]
    apart = import_graph(onnx(*pieces, outputs=("c", "g", "y"), **arrays))
    assert ops(apart) == ["conv2d", "batch_norm", "sigmoid", "swish"]
    assert apart.graph.outputs == ("c", "g", "y")
    assert np.allclose(run(apart)["y"], run(whole), rtol=1e-13, atol=0)


def test_two_vectors_at_the_end_are_both_flat():
    head = [op("GlobalAveragePool", "x", "p"), op("Flatten", "p", "f")]
    heads = [*head, op("Gemm", "f w", "a", transB=1), op("Gemm", "f v", "b", transB=1)]
    imported = import_graph(onnx(*heads, outputs=("a", "b"), w=W, v=W[:2]))
    assert imported.graph.outputs == ("a.flatten", "b.flatten")
    assert {name: y.shape for name, y in run(imported).items()} == {"a.flatten": (2, 4), "b.flatten": (2, 2)}


def test_a_chain_of_numbers_is_one_affine_map():
    chain = [op("Mul", "x six", "a"), op("Add", "a three", "b"), op("Mul", "b six", "c"), op("Sub", "c three")]
    assert only(import_graph(onnx(*chain, six=SIX, three=THREE))).attrs == {"slope": 36.0, "offset": 15.0}


def test_graphs_that_are_no_network():
    refused(onnx(op("Relu", "x"), outputs=()), "returns nothing")
    refused(onnx(op("Relu", "x"), outputs=("y", "x")), "returns its input")
    refused(onnx(op("Relu", "z")), "reads 'z', which nothing before it makes")
    refused(onnx(op("Relu", "x"), outputs=("q",)), "nothing makes its output")
    refused(onnx(op("Relu", "x", "x"), op("Relu", "x")), "two tensors of this name")
    refused(onnx(op("Relu", "x"), shape=(None, None, 6, 5)), "number of channels open")
    refused(onnx(op("Relu", "x"), shape=(4, 6)), "2 axes")
    refused(Contents("npz", {}), "does not say how")


@pytest.mark.parametrize(
    "odd",
    [
        op("Conv", "x w", strides=(0, 1)),
        op("Conv", "x w", strides="much"),
        op("Conv", "x w", dilations=(2**40, 1)),
        op("Conv", "x w", pads=(-1, 0, 0, 0)),
        op("Conv", "x w", kernel_shape=(5, 5)),
        op("Conv", "x"),
        op("Conv", "x x"),
        op("Relu", "x x"),
        op("Reshape", "x n"),
        op("Transpose", "x", perm=(0, 0, 0, 0)),
        op("AveragePool", "x", kernel_shape=(9, 9)),
        op("Resize", "x", mode="cubic"),
    ],
)
def test_an_operation_that_is_not_as_its_vendor_defines_it_is_refused(odd):
    refused(onnx(odd, w=DENSE, n=np.array([2, -1, -1])), odd.op)


def test_a_computed_constant_may_not_be_huge():
    huge = [op("ConstantOfShape", "n", "c"), op("Add", "x c")]
    refused(onnx(*huge, n=np.array([2**40])), "would make 1099511627776 numbers")


def test_constants_that_grow_without_end_are_refused():
    doubling = [op("Concat", f"c{i} c{i}", f"c{i + 1}", axis=0) for i in range(40)]
    refused(onnx(*doubling, op("Add", "x c40"), c0=np.ones(4, np.float32)), "numbers: refused")
    refused(
        onnx(op("Range", "a b c", "r"), op("Add", "x r"), a=scalar(0), b=scalar(1e30), c=scalar(1)), "numbers: refused"
    )
    refused(onnx(op("Mul", "a b", "c"), op("Add", "x c"), a=np.ones((9000, 1)), b=np.ones(9000)), "numbers: refused")


def test_one_array_that_everything_reads_is_refused_before_memory_ends():
    wide = np.ones((1000, 1000, 1, 1), np.float32)
    chain = [op("Conv", f"{'x' if not i else f't{i}'} w", f"t{i + 1}") for i in range(30)]
    refused(onnx(*chain, op("Relu", "t30"), shape=(1, 1000, 2, 2), w=wide), "again and again")
    refused(onnx(op("Conv", "x w", pads=(2**20,) * 4), w=DENSE), "makes a map of the shape")
    refused(
        onnx(*(op("Relu", f"t{i}" if i else "x", f"t{i + 1}") for i in range(10_001)), outputs=("t10001",)),
        "no network",
    )


# --------------------------------------------------------------------------------------------------------------- TFLite


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


# -------------------------------------------------------------------------------------------------------- real networks


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
