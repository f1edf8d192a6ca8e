"""ONNX files: what is read of them, and what is refused, with models made by the onnx package."""

from __future__ import annotations

import os
from contextlib import nullcontext

import numpy as np
import onnx
import pytest
from fuzz import fuzz
from fuzz_worker import FINE
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from refnet.errors import FormatError
from refnet.files.containers import onnx as container
from refnet.files.containers import read, wire

SIX = np.arange(6, dtype=np.float32).reshape(2, 3)
BYTES = SIX.tobytes()
TYPES = [
    "float32",
    "float64",
    "float16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
]


def model(*weights, nodes=(), opset=20, **graph):
    """A model of one Relu, with weights besides."""
    own = nodes or [helper.make_node("Relu", ["x"], ["y"], name="act")]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(own, "g", [*given, *graph.pop("inputs", [])], made, list(weights), **graph)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="tests")


def saved(tmp_path, made):
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def contents(tmp_path, *weights, **options):
    return container.read(saved(tmp_path, model(*weights, **options)))


def refusal(tmp_path, made):
    with pytest.raises(FormatError) as error:
        container.read(saved(tmp_path, made) if isinstance(made, onnx.ModelProto) else made)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)
    return str(error.value)


def test_a_file_is_known_by_its_content(tmp_path):
    path = saved(tmp_path, model(numpy_helper.from_array(SIX, "w")))
    path = path.rename(tmp_path / "weights.bin")
    found = read(path)
    assert found.kind == "onnx"
    assert np.array_equal(found.arrays["w"], SIX)


def test_the_graph_is_told_in_onnxs_words(tmp_path):
    conv = helper.make_node("Conv", ["x", "w", ""], ["y"], name="c", strides=[2, 1], auto_pad="VALID")
    structure = contents(tmp_path, numpy_helper.from_array(SIX, "w"), nodes=[conv]).structure
    (operation,) = structure.operations
    assert operation[:3] == ("Conv", ("x", "w", ""), ("y",))
    assert operation.attrs == {"strides": (2, 1), "auto_pad": "VALID"}
    assert structure.inputs == {"x": (None, 3, 8, 8)}
    assert structure.outputs == ("y",)
    assert structure.producer == "tests"


def test_an_operation_of_another_domain_keeps_its_name(tmp_path):
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    assert contents(tmp_path, nodes=[node]).structure.operations[0].op == "com.microsoft.Gelu"


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("raw", [True, False])
def test_numbers_are_read_raw_and_typed(tmp_path, dtype, raw):
    array = np.array([[0, 1, 3], [1, 0, 100]]).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    bits = array.view(np.uint16) if dtype == "float16" else array
    tensor = helper.make_tensor("w", kind, array.shape, array.tobytes() if raw else array.ravel(), raw=raw)
    assert raw or dtype != "float16" or list(tensor.int32_data) == list(bits.ravel())
    found = contents(tmp_path, tensor).arrays["w"]
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


@pytest.mark.parametrize("raw", [True, False])
def test_bfloat16_becomes_float32(tmp_path, raw):
    bits = np.array([0x3F80, 0xC040, 0x7F80], np.uint16)  # 1, -3, inf
    tensor = TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=[3])
    if raw:
        tensor.raw_data = bits.tobytes()
    else:
        tensor.int32_data.extend(bits.tolist())
    found = contents(tmp_path, tensor).arrays["w"]
    assert found.dtype == np.float32
    assert found.tolist() == [1.0, -3.0, np.inf]


def test_negative_integers_and_the_bits_of_a_float_are_kept(tmp_path):
    odd = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    odd.view(np.uint32)[0] = 0x7FC12345
    least = np.array([-128, 127], np.int8)
    arrays = contents(
        tmp_path, numpy_helper.from_array(odd, "odd"), helper.make_tensor("least", TensorProto.INT8, [2], least)
    ).arrays
    assert arrays["odd"].tobytes() == odd.tobytes()
    assert np.array_equal(arrays["least"], least)


def test_constants_and_other_names_of_weights_are_weights(tmp_path):
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(SIX)),
        helper.make_node("Constant", [], ["six"], value_float=6.0),
        helper.make_node("Constant", [], ["axes"], value_ints=[2, 3]),
        helper.make_node("Identity", ["c"], ["twin"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    found = contents(tmp_path, nodes=nodes)
    assert np.array_equal(found.arrays["twin"], SIX)
    assert found.arrays["six"].dtype == np.float32
    assert found.arrays["axes"].tolist() == [2, 3]
    assert [operation.op for operation in found.structure.operations] == ["Relu"]


def test_a_weight_listed_as_an_input_is_none(tmp_path):
    inputs = [helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3])]
    assert list(contents(tmp_path, numpy_helper.from_array(SIX, "w"), inputs=inputs).structure.inputs) == ["x"]


# ------------------------------------------------------------------------------------------------------ what is refused


def changed(**fields):
    tensor = numpy_helper.from_array(SIX, "w")
    for field, value in fields.items():
        if isinstance(value, list):
            del getattr(tensor, field)[:]
            getattr(tensor, field).extend(value)
        else:
            setattr(tensor, field, value)
    return tensor


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"dims": [2, 4]}, "has 24 bytes, its shape and type say 32"),
        ({"dims": [-2, -3]}, "impossible shape"),
        ({"dims": [2**40, 2**40]}, "impossible shape"),
        ({"dims": [1] * 65}, "impossible shape"),
        ({"data_type": TensorProto.STRING}, "only numbers"),
        ({"data_type": TensorProto.COMPLEX64}, "only numbers"),
        ({"float_data": [1.0]}, "stored twice"),
        ({"name": ""}, "no name"),
    ],
)
def test_a_weight_that_is_not_what_it_says(tmp_path, fields, reason):
    assert reason in refusal(tmp_path, model(changed(**fields)))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"int64_data": [1, 2]}, "keeps its numbers in int64_data"),
        ({"int32_data": [1, 300]}, "integers that its type does not"),
        ({"int32_data": [1]}, "has 1 bytes"),
        ({}, "has 0 bytes"),
    ],
)
def test_typed_numbers_that_do_not_fit(tmp_path, fields, reason):
    tensor = TensorProto(name="w", data_type=TensorProto.INT8, dims=[2], **fields)
    assert reason in refusal(tmp_path, model(tensor))


def test_two_weights_of_one_name(tmp_path):
    weight = numpy_helper.from_array(SIX, "w")
    assert "twice" in refusal(tmp_path, model(weight, weight))


def test_sparse_weights_functions_and_graphs_in_graphs(tmp_path):
    sparse = model()
    sparse.graph.sparse_initializer.add()
    assert "sparse" in refusal(tmp_path, sparse)
    function = model()
    function.functions.add()
    assert "functions" in refusal(tmp_path, function)
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "inner", [], [])
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    assert "is a graph" in refusal(tmp_path, model(nodes=[branch]))


def test_operations_of_before_broadcasting(tmp_path):
    assert "opset 7" in refusal(tmp_path, model(opset=6))


def test_a_name_that_is_no_text(tmp_path):
    path = saved(tmp_path, model(numpy_helper.from_array(SIX, "weight")))
    path.write_bytes(path.read_bytes().replace(b"weight", b"\xff\xfeight"))
    assert "UTF-8" in refusal(tmp_path, path)


def test_what_is_no_model_at_all(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x07 this is no protobuf")
    refusal(tmp_path, path)


def field(number, body):
    """A field of a protobuf message: tag, length, bytes."""
    size, length = len(body), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number * 8 + 2]) + length + bytes([size]) + body


def test_a_file_that_describes_far_more_than_its_size_is_refused_before_it_is_parsed():
    """Two bytes make an object of a hundred: two million empty operations."""
    with pytest.raises(FormatError, match="no network does"):
        wire.count_fields(field(7, field(1, b"") * 2_100_000))


def test_packed_integers_count_by_their_bytes():
    numbers = TensorProto(name="w", data_type=TensorProto.INT64, dims=[2_100_000])
    numbers.int64_data.extend([0] * 2_100_000)
    with pytest.raises(FormatError, match="no network does"):
        wire.count_fields(model(numbers).SerializeToString())


def test_typed_integers_have_a_limit_of_their_own():
    """Of thirty-two megabytes, in which whole networks of float16 find room."""
    for size, fits in ((32 << 20, True), (33 << 20, False)):
        with nullcontext() if fits else pytest.raises(FormatError, match="raw bytes"):
            wire.count_fields(field(7, field(5, field(5, bytes(size)))))


# -------------------------------------------------------------------------------------------------------- external data


def external(tmp_path, *, weights=1, size=24, data=BYTES, shape=(2, 3), name="model.data", **entries):
    """A model whose weights lie elsewhere, in `entries['location']`."""
    (tmp_path / name).write_bytes(data)
    made = []
    for index in range(weights):
        tensor = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": name, "length": str(size), **entries}.items():
            tensor.external_data.add(key=key, value=value)
        made.append(tensor)
    return model(*made)


def test_weights_beside_the_model(tmp_path):
    made = external(tmp_path, data=b"----" + SIX.tobytes(), offset="4")
    assert np.array_equal(container.read(saved(tmp_path, made)).arrays["w0"], SIX)


def test_weights_in_a_folder_below_the_model(tmp_path):
    (tmp_path / "data").mkdir()
    made = external(tmp_path, name="data/w")
    assert np.array_equal(container.read(saved(tmp_path, made)).arrays["w0"], SIX)


@pytest.mark.parametrize(
    "location", ["../secret", "data/../../secret", "/etc/hostname", "..\\secret", "C:\\w", "", "a\0b"]
)
def test_a_path_out_of_the_folder_is_not_opened(tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(SIX.tobytes())
    path = saved(folder, external(folder, location=location))
    assert "only files beside the model" in refusal(tmp_path, path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(SIX.tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "there").symlink_to(tmp_path)
    for location in ("link", "there/secret"):
        assert "leads out" in refusal(tmp_path, saved(folder, external(folder, location=location)))


def test_a_pipe_is_not_waited_for(tmp_path):
    made = external(tmp_path, location="pipe")
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path, made)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"offset": "4"}, "ends before"),
        ({"offset": "-4"}, "offset"),
        ({"offset": "1e1"}, "offset"),
        ({"offset": "9" * 30}, "offset"),
        ({"length": "20"}, "24"),
        ({"location": "nowhere"}, "cannot be read"),
        ({"location": "."}, "cannot be read"),
        ({"Offset": "0"}, "keys"),
    ],
)
def test_entries_that_do_not_fit(tmp_path, entries, reason):
    assert reason in refusal(tmp_path, external(tmp_path, **entries))


def test_weights_that_share_bytes_without_end(tmp_path):
    shape, data = (1 << 20,), bytes(4 << 20)
    made = external(tmp_path, weights=3, size=4 << 20, data=data, shape=shape)
    assert len(container.read(saved(tmp_path, made)).arrays) == 3
    made = external(tmp_path, weights=40, size=4 << 20, data=data, shape=shape)
    assert "more memory" in refusal(tmp_path, made)


# ------------------------------------------------------------------------------------------------------ damaged files


@given(st.data())
def test_a_damaged_model_is_refused_or_read_as_the_package_reads_it(tmp_path_factory, data):
    good = model(numpy_helper.from_array(SIX, "w"), numpy_helper.from_array(np.arange(3), "v")).SerializeToString()
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(bad) - 1))
        bad[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path = tmp_path_factory.mktemp("damaged") / "model.onnx"
    path.write_bytes(bad)
    try:
        arrays = container.read(path).arrays
    except FormatError:
        return
    for tensor in onnx.load_model_from_string(bytes(bad)).graph.initializer:
        theirs = numpy_helper.to_array(tensor).astype(arrays[tensor.name].dtype)
        assert arrays[tensor.name].tobytes() == theirs.tobytes()


def test_mutants_of_exporters_files_do_no_harm(exports):
    samples = [exports / name for name in ("v3_small-new20-unfolded.onnx", "v3_small-external.onnx")]
    outcomes = fuzz("onnx", samples, count=40, seed=1)
    assert set(outcomes) <= set(FINE)
    assert outcomes["refused"]
    assert outcomes["as the vendor reads it"]
