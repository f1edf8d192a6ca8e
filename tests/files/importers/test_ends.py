"""Heads, names, sizes and outputs of vendors' networks; and what is no network."""

from __future__ import annotations

import numpy as np
import pytest
from importing import DENSE, RNG, VECTOR, W, keras, only, onnx, op, ops, refused, run, scalar, tflite, x64

from refnet.errors import RequestError
from refnet.files.containers.structure import Contents
from refnet.files.importers import import_graph
from refnet.readings import fast

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


ROW = {
    "mean": op("ReduceMean", "r", "p", axes=(-1,), keepdims=1),
    "pool": op("GlobalAveragePool", "r", "p"),
}


@pytest.mark.parametrize("pool", ROW)
def test_a_convolution_of_one_dimension_over_a_row_of_points_is_pointwise(pool):
    conv = op("Conv", "p v b", "z", kernel_shape=(1,), strides=(1,), dilations=(1,), pads=(0, 0))
    whole = [op("Reshape", "x row", "r"), ROW[pool], conv]
    arrays = {"row": np.array([0, 0, -1]), "v": W[:, :, None], "b": VECTOR}
    vector = import_graph(onnx(*whole, op("Flatten", "z"), **arrays))
    assert ops(vector) == ["avg_pool2d", "pointwise_conv2d", "flatten"]
    assert np.abs(run(vector) - x64().mean((2, 3)) @ W.T.astype(float) - VECTOR.astype(float)).max() < 1e-13
    gate = [*whole[:2], op("Conv", "p u", "z"), op("Sigmoid", "z", "g"), op("Unsqueeze", "g axis", "q")]
    gated = import_graph(onnx(*gate, op("Mul", "x q"), axis=np.array([3]), u=W[:, :, None], **arrays))
    assert ops(gated) == ["avg_pool2d", "pointwise_conv2d", "sigmoid", "scale"]


def test_a_kernel_of_one_dimension_along_a_row_is_refused():
    row = op("Reshape", "x row", "r")
    refused(onnx(row, op("Conv", "r v"), row=np.array([0, 0, -1]), v=np.ones((4, 4, 3), np.float32)), "one dimension")


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


LENGTH = [op("ReduceL2", "f axes", "n"), op("Clip", "n least", "c"), op("Div", "f c")]


def test_a_network_ends_before_what_has_no_weights_and_is_not_read():
    layer = [op("GlobalAveragePool", "x", "p"), op("Flatten", "p", "f0"), op("Gemm", "f0 w b", "f", transB=1)]
    arrays = {"w": W, "b": VECTOR, "axes": np.array([1]), "least": np.float32(1e-12)}
    for operations in ([*layer, *LENGTH], [*LENGTH, *layer]):
        imported = import_graph(onnx(*operations, **arrays))
        assert imported.left_out == ("ReduceL2", "Clip", "Div")
        assert np.abs(run(imported) - x64().mean((2, 3)) @ W.T.astype(float) - VECTOR).max() < 1e-13
    of_input = import_graph(onnx(*layer, op("ReduceL2", "x", "c"), LENGTH[2], **arrays))
    assert ops(of_input) == ops(imported)
    refused(onnx(*layer, *LENGTH[:2], op("Div", "f c", "d"), op("MatMul", "d v"), v=W, **arrays), "ReduceL2")
    refused(onnx(op("Flatten", "x", "f"), *LENGTH, **arrays), "ReduceL2")


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
    assert only(import_graph(onnx(*chain, six=scalar(6), three=scalar(3)))).attrs == {"slope": 36.0, "offset": 15.0}


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
