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
from refnet.graph import interpret
from refnet.judge.compare import compare
from refnet.pack.pack import write_pack
from refnet.readings import fast

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


def test_maps_are_not_multiplied():
    refused(onnx(op("Relu", "x", "a"), op("Mul", "x a")), "multiplies two maps")


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


def test_other_bounds_are_refused():
    refused(onnx(op("Clip", "x", min=-1.0, max=1.0)), "Clip, which makes 'y': clips to between -1 and 1")


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


def test_other_groups_are_refused():
    refused(onnx(op("Conv", "x w", group=2), w=DENSE[:2, :2]), "2 groups of 4 channels to 2")


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


def test_a_linear_layer_on_a_whole_map_is_refused():
    refused(onnx(op("Flatten", "x", "f"), op("Gemm", "f w", transB=1), w=np.ones((3, 120), np.float32)), "linear layer")


def test_transposes_end_here():
    there, back = op("Transpose", "x", "a", perm=(0, 3, 1, 2)), op("Transpose", "b", perm=(0, 2, 3, 1))
    channels = np.ones((3, 3, 1, 1), np.float32)
    imported = import_graph(onnx(there, op("Conv", "a w", "b"), back, shape=(1, 6, 5, 3), w=channels))
    assert only(imported).op == "pointwise_conv2d"
    assert imported.graph.input_shape == (3, 6, 5)
    refused(onnx(op("Conv", "x w"), shape=(1, 6, 5, 3), w=channels), "only of NCHW")


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


def test_a_float16_weight_behind_dequantize_is_float32():
    halves = W.reshape(4, 1, 1, 4).astype(np.float16)
    conv = op("CONV_2D", "x v", padding="SAME", stride_w=1, stride_h=1, fused_activation_function="RELU6",
              dilation_w_factor=1, dilation_h_factor=1)  # fmt: skip
    imported = import_graph(tflite(op("DEQUANTIZE", "w", "v"), conv, w=halves))
    assert [(node.name, node.op) for node in imported.graph.nodes] == [("y.linear", "pointwise_conv2d"), ("y", "relu6")]
    assert np.array_equal(imported.params["y.linear.w"], halves.reshape(4, 4).astype(np.float32))
    assert (imported.keys, imported.stored) == ({"y.linear.w": "w"}, {"y.linear.w": "float16"})


def test_what_tflite_fuses_that_refnet_does_not_have():
    refused(tflite(op("ADD", "x x", fused_activation_function="TANH")), "fused with TANH")
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


def test_a_batch_norm_without_scale_has_ones():
    arrays = {f"y/{name}": VECTOR**2 for name in ("beta", "moving_mean", "moving_variance")}
    imported = import_graph(keras(op("BatchNormalization", "x", axis=(3,), scale=False, center=True), arrays=arrays))
    assert np.array_equal(imported.params["y.gamma"], np.ones(4))
    assert "y.gamma" not in imported.keys


def test_layers_that_refnet_does_not_have():
    refused(keras(op("Lambda", "x")), "Lambda, which makes 'y': refnet has no such operation")
    refused(keras(op("Activation", "x", activation="gelu")), "the activation 'gelu'")
    refused(keras(op("TFOpLambda", "x", function="io.read_file")), "the function 'io.read_file'")
    refused(keras(op("ReLU", "x", negative_slope=0.1)), "negative slope")
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
