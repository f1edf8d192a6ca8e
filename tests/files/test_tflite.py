"""TFLite files: what is read of them, and what is refused, with files made by the flatbuffers and tflite packages."""

from __future__ import annotations

import struct
from contextlib import suppress

import flatbuffers
import numpy as np
import pytest
import tflite
from fuzz import fuzz
from fuzz_worker import FINE
from hypothesis import given
from hypothesis import strategies as st

from refnet.errors import FormatError
from refnet.files.containers import flatbuffer, read
from refnet.files.containers import tflite as container

SIX = np.arange(6, dtype=np.float32).reshape(2, 3)
TYPES = {
    "float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9, "float64": 10,
    "uint64": 12, "uint32": 15, "uint16": 16,
}  # fmt: skip


class Tensor:
    """What a file says of a tensor."""

    def __init__(self, name, shape, dtype=0, data=b"", scales=(), zero_points=(), axis=0, signature=None, sparse=False):
        self.name, self.shape, self.dtype, self.data = name, shape, dtype, data
        self.scales, self.zero_points, self.axis = scales, zero_points, axis
        self.signature, self.sparse = signature, sparse
        self.buffer = None

    def write(self, b, buffer):
        name, shape = b.CreateString(self.name), b.CreateNumpyVector(np.array(self.shape, np.int32))
        quantization = self._quantization(b) if len(self.scales) else None
        signature = None if self.signature is None else b.CreateNumpyVector(np.array(self.signature, np.int32))
        sparse = None
        if self.sparse:
            tflite.SparsityParametersStart(b)
            sparse = tflite.SparsityParametersEnd(b)
        tflite.TensorStart(b)
        tflite.TensorAddName(b, name)
        tflite.TensorAddShape(b, shape)
        tflite.TensorAddType(b, self.dtype)
        tflite.TensorAddBuffer(b, buffer if self.buffer is None else self.buffer)
        if quantization is not None:
            tflite.TensorAddQuantization(b, quantization)
        if signature is not None:
            tflite.TensorAddShapeSignature(b, signature)
        if sparse is not None:
            tflite.TensorAddSparsity(b, sparse)
        return tflite.TensorEnd(b)

    def _quantization(self, b):
        scales = b.CreateNumpyVector(np.array(self.scales, np.float32))
        points = b.CreateNumpyVector(np.array(self.zero_points, np.int64)) if len(self.zero_points) else None
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scales)
        if points is not None:
            tflite.QuantizationParametersAddZeroPoint(b, points)
        tflite.QuantizationParametersAddQuantizedDimension(b, self.axis)
        return tflite.QuantizationParametersEnd(b)


def vector(b, start, offsets):
    start(b, len(offsets))
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def model(*weights, op=19, inputs=(0,), outputs=(1,), options=None, graphs=1, custom=None, external=None):
    """A file of one operation, by default x -> RELU -> y, with weights besides."""
    b = flatbuffers.Builder(1024)
    tensors = [Tensor("x", (1, 8, 8, 3), signature=(-1, 8, 8, 3)), Tensor("y", (1, 8, 8, 3)), *weights]
    buffers = []
    for data in [b"", *(tensor.data for tensor in tensors)]:
        body = b.CreateByteVector(data) if data else None
        tflite.BufferStart(b)
        if body is not None:
            tflite.BufferAddData(b, body)
        if external and not data and len(buffers) == len(tensors):
            tflite.BufferAddOffset(b, external[0])
            tflite.BufferAddSize(b, external[1])
        buffers.append(tflite.BufferEnd(b))
    made = [tensor.write(b, index + 1) for index, tensor in enumerate(tensors)]
    code = code_of(b, op, custom)
    kind, table = options(b) if options else (0, None)
    graph = graph_of(b, made, inputs, outputs, kind, table)
    description = b.CreateString("made by hand")
    codes = vector(b, tflite.ModelStartOperatorCodesVector, [code])
    subgraphs = vector(b, tflite.ModelStartSubgraphsVector, [graph] * graphs)
    all_buffers = vector(b, tflite.ModelStartBuffersVector, buffers)
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, codes)
    tflite.ModelAddSubgraphs(b, subgraphs)
    tflite.ModelAddDescription(b, description)
    tflite.ModelAddBuffers(b, all_buffers)
    b.Finish(tflite.ModelEnd(b), b"TFL3")
    return bytes(b.Output())


def code_of(b, op, custom):
    name = b.CreateString(custom) if custom else None
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(op, 127))
    tflite.OperatorCodeAddBuiltinCode(b, op)
    if name is not None:
        tflite.OperatorCodeAddCustomCode(b, name)
    return tflite.OperatorCodeEnd(b)


def graph_of(b, tensors, inputs, outputs, kind, options):
    read, written = b.CreateNumpyVector(np.array(inputs, np.int32)), b.CreateNumpyVector(np.array(outputs, np.int32))
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, 0)
    tflite.OperatorAddInputs(b, read)
    tflite.OperatorAddOutputs(b, written)
    if options is not None:
        tflite.OperatorAddBuiltinOptionsType(b, kind)
        tflite.OperatorAddBuiltinOptions(b, options)
    operation = tflite.OperatorEnd(b)
    first, last = b.CreateNumpyVector(np.array([0], np.int32)), b.CreateNumpyVector(np.array(outputs, np.int32))
    operations = vector(b, tflite.SubGraphStartOperatorsVector, [operation])
    held = vector(b, tflite.SubGraphStartTensorsVector, tensors)
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, held)
    tflite.SubGraphAddInputs(b, first)
    tflite.SubGraphAddOutputs(b, last)
    tflite.SubGraphAddOperators(b, operations)
    return tflite.SubGraphEnd(b)


def weight(array, name="w", **fields):
    return Tensor(name, array.shape, TYPES[array.dtype.name], array.tobytes(), **fields)


def contents(tmp_path, *weights, **options):
    path = tmp_path / "model.tflite"
    path.write_bytes(model(*weights, **options))
    return container.read(path)


def refusal(tmp_path, data):
    path = tmp_path / "bad.tflite"
    path.write_bytes(data)
    with pytest.raises(FormatError) as error:
        container.read(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_file_is_known_by_its_content(tmp_path):
    (tmp_path / "weights.bin").write_bytes(model(weight(SIX)))
    found = read(tmp_path / "weights.bin")
    assert found.kind == "tflite"
    assert np.array_equal(found.arrays["w"], SIX)


@pytest.mark.parametrize("dtype", TYPES)
def test_numbers_of_every_type(tmp_path, dtype):
    array = np.array([[0, 1, 100], [1, 0, 5]]).astype(dtype)
    found = contents(tmp_path, weight(array)).arrays["w"]
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_the_graph_is_told_in_tflites_words(tmp_path):
    def options(b):
        tflite.Conv2DOptionsStart(b)
        tflite.Conv2DOptionsAddPadding(b, tflite.Padding.VALID)
        tflite.Conv2DOptionsAddStrideW(b, 2)
        tflite.Conv2DOptionsAddStrideH(b, 1)
        tflite.Conv2DOptionsAddFusedActivationFunction(b, tflite.ActivationFunctionType.RELU6)
        return tflite.BuiltinOptions.Conv2DOptions, tflite.Conv2DOptionsEnd(b)

    structure = contents(tmp_path, weight(SIX), op=3, inputs=(0, 2, -1), options=options).structure
    (operation,) = structure.operations
    assert operation[:3] == ("CONV_2D", ("x", "w", ""), ("y",))
    assert operation.attrs == {
        "padding": "VALID",
        "stride_w": 2,
        "stride_h": 1,
        "fused_activation_function": "RELU6",
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
    }
    assert structure.inputs == {"x": (None, 8, 8, 3)}
    assert structure.outputs == ("y",)
    assert "made by hand" in structure.producer


def test_the_fields_of_all_options_are_those_of_the_schema(tmp_path):
    """The tflite package, made from the schema, writes each option at its place."""
    for op, fields in container.OPTIONS.items():
        stem = {
            "AVERAGE_POOL_2D": "Pool2D",
            "MAX_POOL_2D": "Pool2D",
            "MEAN": "Reducer",
            "REDUCE_MAX": "Reducer",
            "SUM": "Reducer",
            "REDUCE_PROD": "Reducer",
            "CONV_2D": "Conv2D",
        }.get(op)
        stem = stem or "".join(part.capitalize() for part in op.split("_")).replace("2d", "2D")
        options = getattr(tflite, f"{stem}Options")
        for name, option in fields.items():
            accessor = "".join(part.capitalize() for part in name.split("_"))
            accessor = accessor.replace("WFactor", "WFactor").replace("HFactor", "HFactor")
            asked = []
            table = options()
            table._tab = type("Tab", (), {"Offset": lambda self, slot, asked=asked: asked.append(slot) or 0})()
            getattr(table, f"{accessor}Length" if option.kind == "[i" else accessor)()
            assert asked == [4 + 2 * option.field], (op, name)


def test_scales_of_integers_one_and_many(tmp_path):
    steps = np.array([[1, -2, 3], [4, 5, -6]], np.int8)
    one = weight(steps, "one", scales=[0.5], zero_points=[3])
    many = weight(steps, "many", scales=[0.5, 0.25, 2], axis=1)
    scales = contents(tmp_path, one, many).structure.scales
    assert scales["one"].scales.tolist() == [0.5]
    assert scales["one"].zero_points.tolist() == [3]
    assert scales["many"].scales.tolist() == [0.5, 0.25, 2]
    assert scales["many"].zero_points.tolist() == [0, 0, 0]
    assert scales["many"].axis == 1


def test_names_that_are_used_twice_or_left_out_are_numbered(tmp_path):
    found = contents(tmp_path, weight(SIX, "w"), weight(SIX + 1, "w"), weight(SIX + 2, ""), weight(SIX + 3, "w#2"))
    assert {name: int(array[0, 0]) for name, array in found.arrays.items()} == {"w": 0, "w#3": 1, "tensor": 2, "w#2": 3}


def test_a_buffer_elsewhere_in_the_file(tmp_path):
    size = len(model(Tensor("w", (2, 3)), external=(2**40, 24)))
    path = tmp_path / "model.tflite"
    path.write_bytes(model(Tensor("w", (2, 3)), external=(size, 24)) + SIX.tobytes())
    assert np.array_equal(container.read(path).arrays["w"], SIX)
    assert "outside" in refusal(tmp_path, model(Tensor("w", (2, 3)), external=(size, 24)))


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (model(weight(SIX), op=32, custom="mine"), "custom operation 'mine'"),
        (model(weight(SIX), graphs=2), "2 graphs"),
        (model(weight(SIX, sparse=True)), "sparse"),
        (model(Tensor("w", (2, 4), 0, SIX.tobytes())), "24 bytes"),
        (model(Tensor("w", (-2, -3), 0, SIX.tobytes())), "impossible shape"),
        (model(Tensor("w", (2**31 - 1,) * 3, 0, SIX.tobytes())), "impossible shape"),
        (model(Tensor("w", (1,) * 65, 0, SIX.tobytes())), "impossible shape"),
        (model(Tensor("w", (24,), 5, SIX.tobytes())), "of type 5"),
        (model(weight(SIX, scales=[1, 2], axis=1)), "2 scales"),
        (model(weight(SIX, scales=[1, 2], axis=7)), "2 scales"),
        (model(weight(SIX, scales=[1, 2], zero_points=[0])), "2 scales"),
        (model(weight(SIX), inputs=(9,)), "tensor 9 of 3"),
        (model(weight(SIX), inputs=(-2,)), "tensor -2 of 3"),
        (model(weight(SIX))[:4] + b"TFL2" + model(weight(SIX))[8:], "TFL3"),
    ],
)
def test_what_is_refused(tmp_path, data, reason):
    assert reason in refusal(tmp_path, data)


def test_a_buffer_that_is_not_there(tmp_path):
    lost = weight(SIX)
    lost.buffer = 99
    assert "buffer 99 of 4" in refusal(tmp_path, model(lost))


def test_tensors_that_share_bytes_without_end(tmp_path):
    """Under ever new shapes; under one shape they are one array."""
    zeros = np.zeros(4 << 20, np.uint8)
    shapes = [(1 << place, (4 << 20) >> place) for place in range(1, 22)]
    same, other = [weight(zeros)], [weight(zeros)]
    for shape in shapes:
        for tensors, tensor in ((same, Tensor("w", (4 << 20,), 3)), (other, Tensor("w", shape, 3))):
            tensor.buffer = 3
            tensors.append(tensor)
    assert len({id(array) for array in contents(tmp_path, *same).arrays.values()}) == 1
    assert "more memory" in refusal(tmp_path, model(*other))


def test_tables_that_share_a_vector_are_counted():
    """A hundred tables of one long vector: a small file, four million numbers."""
    b = flatbuffers.Builder(0)
    shape = b.CreateNumpyVector(np.zeros(50_000, np.int32))
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, shape)
    b.Finish(tflite.TensorEnd(b))
    table = flatbuffer.root(flatbuffer.Bytes(bytes(b.Output())))
    for _ in range(79):
        assert table.numbers(0, "<i4").size == 50_000
    with pytest.raises(FormatError, match="no network does"):
        table.numbers(0, "<i4")


# ------------------------------------------------------------------------------------------------------ damaged files


def test_a_file_cut_anywhere_is_refused_or_lacks_nothing(tmp_path):
    good = model(weight(SIX))
    path = tmp_path / "cut.tflite"
    for length in range(1, len(good)):
        path.write_bytes(good[:length])
        with suppress(FormatError):
            assert np.array_equal(container.read(path).arrays["w"], SIX)


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_every_byte_changed_in_turn(tmp_path, change):
    """An error that is no FormatError fails this; so does a file that takes long."""
    good = model(weight(SIX), weight(np.arange(3, dtype=np.int8), "v", scales=[0.5], zero_points=[1]))
    path = tmp_path / "bad.tflite"
    refused = 0
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ change]) + good[at + 1 :])
        try:
            container.read(path)
        except FormatError:
            refused += 1
    assert refused > len(good) / 8


@given(st.data())
def test_offsets_to_anywhere_do_no_harm(tmp_path_factory, data):
    good = bytearray(model(weight(SIX)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(good) // 4 - 1)) * 4
        number = data.draw(st.sampled_from([0, 1, len(good), len(good) - 4, 2**31 - 1, 2**31, 2**32 - 1]))
        good[at : at + 4] = struct.pack("<I", number)
    path = tmp_path_factory.mktemp("offsets") / "bad.tflite"
    path.write_bytes(good)
    try:
        arrays = container.read(path).arrays
    except FormatError:
        return
    assert sum(array.nbytes for array in arrays.values()) <= len(good)


def test_mutants_of_the_converters_files_do_no_harm(exports):
    samples = [exports / name for name in ("keras_v3_small.tflite", "keras_v1-float16.tflite")]
    outcomes = fuzz("tflite", samples, count=40, seed=1)
    assert set(outcomes) <= set(FINE)
    assert outcomes["refused"]
    assert outcomes["as the vendor reads it"]
