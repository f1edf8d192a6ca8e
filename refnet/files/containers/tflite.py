"""TensorFlow Lite's files: tensors, how operations use them, and what their integers stand for.

A file is a FlatBuffer (`flatbuffer`) after the schema of TensorFlow Lite 3, whose tables are read here by the order of
their fields. Reads one graph. Refuses several, custom operations, sparse tensors, and tensors whose bytes are not as
many as shape and type say.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import FormatError
from refnet.files.containers.archive import least_elements, opened, shown
from refnet.files.containers.flatbuffer import Bytes, FlatTable, root
from refnet.files.containers.structure import Contents, IntegerScale, Operation, Structure

__all__ = ["OPTIONS", "read"]

Array = npt.NDArray[Any]

_DTYPES = {
    0: "<f4",
    1: "<f2",
    2: "<i4",
    3: "|u1",
    4: "<i8",
    6: "|b1",
    7: "<i2",
    9: "|i1",
    10: "<f8",
    12: "<u8",
    15: "<u4",
    16: "<u2",
}
_MOST_AXES = 64  # NumPy's limit
_SHARED = 16 << 20  # bytes that tensors may have in common, under several shapes or types

# The builtin operations by their number in the schema.
_NAMES = tuple(
    """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH
SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE
TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK
LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL
FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL
REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND
HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE
ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE
STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE
STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE
STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG
STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT
STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL
STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE
STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE
""".split()  # noqa: SIM905 - a table of words
)
_CUSTOM = (32, 51)  # CUSTOM, DELEGATE: code of somebody's own
_ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
_PADDINGS = ("SAME", "VALID")


class _Option(NamedTuple):
    """A field of an operation's options: its place in the table, how it is read, what it is when left out."""

    field: int
    kind: str  # of the struct module; or the names of an enumeration; or '[i' for a vector
    default: Any = 0


def _window(*rest: str) -> dict[str, _Option]:
    """The options that convolutions and pools begin with, then others."""
    fields = {"padding": _Option(0, "padding"), "stride_w": _Option(1, "i"), "stride_h": _Option(2, "i")}
    for place, name in enumerate(rest, 3):
        kind = "activation" if name == "fused_activation_function" else "i"
        fields[name] = _Option(place, kind, int(name.startswith("dilation")))
    return fields


_FUSED = "fused_activation_function"
_POOL = _window("filter_width", "filter_height", _FUSED)
OPTIONS: Mapping[str, Mapping[str, _Option]] = {
    "CONV_2D": _window(_FUSED, "dilation_w_factor", "dilation_h_factor"),
    "DEPTHWISE_CONV_2D": _window("depth_multiplier", _FUSED, "dilation_w_factor", "dilation_h_factor"),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "FULLY_CONNECTED": {
        _FUSED: _Option(0, "activation"),
        "weights_format": _Option(1, "b"),
        "keep_num_dims": _Option(2, "?", False),
        "asymmetric_quantize_inputs": _Option(3, "?", False),
    },
    **{op: {_FUSED: _Option(0, "activation")} for op in ("ADD", "SUB", "MUL", "DIV")},
    "CONCATENATION": {"axis": _Option(0, "i"), _FUSED: _Option(1, "activation")},
    "LEAKY_RELU": {"alpha": _Option(0, "f", 0.0)},
    "RESIZE_NEAREST_NEIGHBOR": {"align_corners": _Option(0, "?", False), "half_pixel_centers": _Option(1, "?", False)},
    "MIRROR_PAD": {"mode": _Option(0, "b")},
    "SOFTMAX": {"beta": _Option(0, "f", 0.0)},
    "RESHAPE": {"new_shape": _Option(0, "[i")},
    "SQUEEZE": {"squeeze_dims": _Option(0, "[i")},
    **{op: {"keep_dims": _Option(0, "?", False)} for op in ("MEAN", "REDUCE_MAX", "REDUCE_PROD", "SUM")},
    "DEPTH_TO_SPACE": {"block_size": _Option(0, "i")},
    "PACK": {"values_count": _Option(0, "i"), "axis": _Option(1, "i")},
    "RESIZE_BILINEAR": {"align_corners": _Option(2, "?", False), "half_pixel_centers": _Option(3, "?", False)},
    "STRIDED_SLICE": {
        name: _Option(place, "i")
        for place, name in enumerate(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"))
    },
}


def read(path: str | os.PathLike[str]) -> Contents:
    """Read the tensors that hold values, and the graph that uses them.

    Returns
    -------
    contents : arrays in the order of the file; a name that the file uses twice, or leaves out, is numbered

    Raises
    ------
    FormatError
        if the file is not as the schema asks, or holds what this module refuses. One line: the file, what is wrong.
    """
    with opened(path) as file:
        source = Bytes(file.read())
        if source.data[4:8] != b"TFL3":
            raise FormatError("no TFLite file: it does not say TFL3 at the start")
        model = root(source)
        graphs = model.tables(2)
        if len(graphs) != 1:
            raise FormatError(f"holds {len(graphs)} graphs; only files of one are read")
        return _ModelReader(source, model, graphs[0], len(source.data) + _SHARED).contents()


class _ModelReader:
    """Reads one graph; `budget` bytes may be made into arrays."""

    def __init__(self, source: Bytes, model: FlatTable, graph: FlatTable, budget: int) -> None:
        self.source, self.model, self.graph, self.budget = source, model, graph, budget
        self.codes = [_code(table) for table in model.tables(1)]
        self.buffers = model.tables(4)
        self.tensors = graph.tables(0)
        self.names = _distinct([table.text(3) for table in self.tensors])
        self.shared: dict[tuple[int, str, tuple[int, ...]], Array] = {}

    def contents(self) -> Contents:
        arrays: dict[str, Array] = {}
        scales: dict[str, IntegerScale] = {}
        for name, tensor in zip(self.names, self.tensors, strict=True):
            array = self._array(tensor, name)
            if array is not None:
                arrays[name] = array
            scale = _scale(tensor, name)
            if scale is not None:
                scales[name] = scale
        inputs = self.graph.numbers(1, "<i4").tolist()
        structure = Structure(
            producer=self._producer(),
            operations=tuple(self._operation(table) for table in self.graph.tables(3)),
            inputs={self._name(index): _open_shape(self.tensors[index]) for index in inputs if self._name(index)},
            outputs=tuple(map(self._name, self.graph.numbers(2, "<i4").tolist())),
            scales=scales,
            dtypes={name: _type_name(tensor) for name, tensor in zip(self.names, self.tensors, strict=True)},
            shapes={name: _open_shape(tensor) for name, tensor in zip(self.names, self.tensors, strict=True)},
        )
        return Contents("tflite", arrays, structure)

    def _producer(self) -> str:
        return f"TFLite {self.model.number(0, 'I')}: {self.model.text(3)[:100]}"

    def _name(self, index: int) -> str:
        if index == -1:  # an optional input that is absent
            return ""
        if not 0 <= index < len(self.names):
            raise FormatError(f"names tensor {index} of {len(self.names)}: the file is damaged")
        return self.names[index]

    def _operation(self, table: FlatTable) -> Operation:
        index = table.number(0, "I")
        if index >= len(self.codes):
            raise FormatError(f"names kind {index} of {len(self.codes)} of operations: the file is damaged")
        op = self.codes[index]
        inputs, outputs = (tuple(map(self._name, table.numbers(side, "<i4").tolist())) for side in (1, 2))
        fields = OPTIONS.get(op, {})
        options = table.table(4) if fields else None
        attrs = {name: _option(options, option, op) for name, option in fields.items()}
        return Operation(op, inputs, outputs, attrs)

    def _array(self, tensor: FlatTable, name: str) -> Array | None:
        """The numbers of a tensor, None where it is made when the network runs."""
        index = tensor.number(2, "I")
        if index == 0 and not self.buffers:
            return None
        if index >= len(self.buffers):
            raise FormatError(f"tensor {shown(name)} lies in buffer {index} of {len(self.buffers)}: damaged")
        if tensor.has(6):
            raise FormatError(f"tensor {shown(name)} is sparse: only dense ones are read")
        body = self._body(self.buffers[index])
        if not len(body):
            return None
        dtype = _DTYPES.get(tensor.number(1, "b"))
        if dtype is None:
            raise FormatError(f"tensor {shown(name)} is of type {tensor.number(1, 'b')}: only numbers are read")
        shape = tuple(tensor.numbers(0, "<i4").tolist())
        if len(shape) > _MOST_AXES or min(shape, default=1) < 0 or least_elements(shape) >= 2**62:
            raise FormatError(f"tensor {shown(name)} has an impossible shape: the file is damaged")
        if math.prod(shape) * np.dtype(dtype).itemsize != len(body):
            raise FormatError(f"tensor {shown(name)} has {len(body)} bytes, its shape and type say otherwise: damaged")
        key = (index, dtype, shape)
        if key not in self.shared:
            self.budget -= len(body)
            if self.budget < 0:
                raise FormatError("its tensors share bytes and would need more memory than the file is worth: refused")
            self.shared[key] = _numbers(body, dtype, shape)
        return self.shared[key]

    def _body(self, buffer: FlatTable) -> memoryview:
        """A buffer's bytes: in it, or, in files over 2 GB, elsewhere in the file."""
        offset, size = buffer.number(1, "Q"), buffer.number(2, "Q")
        return self.source.part(offset, size) if offset > 1 else buffer.part(0)


def _numbers(body: memoryview, dtype: str, shape: tuple[int, ...]) -> Array:
    if dtype == "|b1":  # whose bytes may be any, but a NumPy bool must be 0 or 1
        return np.array(np.frombuffer(body, np.uint8).reshape(shape) != 0)
    return np.array(np.frombuffer(body, dtype).reshape(shape), np.dtype(dtype).newbyteorder("="))


def _type_name(tensor: FlatTable) -> str:
    code = tensor.number(1, "b")
    return np.dtype(_DTYPES[code]).name if code in _DTYPES else f"type {code}"


def _code(table: FlatTable) -> str:
    # Numbers up to 126 lie in the first field too, where old files have them only.
    code = max(table.number(0, "b"), table.number(3, "i"))
    if code in _CUSTOM:
        raise FormatError(f"uses the custom operation {shown(table.text(1))}: only TFLite's own are read")
    return _NAMES[code] if 0 <= code < len(_NAMES) else f"operation {code}"


def _option(table: FlatTable | None, option: _Option, op: str) -> Any:
    kind = {"activation": "b", "padding": "b"}.get(option.kind, option.kind)
    if kind == "[i":
        return () if table is None else tuple(table.numbers(option.field, "<i4").tolist())
    value = option.default if table is None else table.number(option.field, kind, option.default)
    names = {"activation": _ACTIVATIONS, "padding": _PADDINGS}.get(option.kind)
    if names is None:
        return value
    if not 0 <= value < len(names):
        raise FormatError(f"{op} with the unknown {option.kind} {value}: the file is damaged, or newer than refnet")
    return names[value]


def _scale(tensor: FlatTable, name: str) -> IntegerScale | None:
    table = tensor.table(4)
    scales = None if table is None else table.numbers(2, "<f4")
    if table is None or scales is None or not len(scales):
        return None
    zero_points, axis = table.numbers(3, "<i8"), table.number(6, "i")
    shape = tensor.numbers(0, "<i4")
    if not len(zero_points):
        zero_points = np.zeros(len(scales), np.int64)
    axis = 0 if len(shape) == 1 else axis  # biases of old files name the axis of their weights
    fits = len(scales) == 1 or (0 <= axis < len(shape) and shape[axis] == len(scales))
    if not fits or len(zero_points) != len(scales):
        raise FormatError(f"tensor {shown(name)} has {len(scales)} scales, which do not fit its shape: damaged")
    return IntegerScale(scales.astype(np.float32), zero_points.astype(np.int64), int(axis))


def _open_shape(tensor: FlatTable) -> tuple[int | None, ...]:
    """A shape; lengths that the network leaves open are None."""
    signature = tensor.numbers(7, "<i4")
    shape = signature if len(signature) else tensor.numbers(0, "<i4")
    return tuple(int(side) if side >= 0 else None for side in shape)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names, numbered where one is used twice; 'tensor' where there is none."""
    seen: dict[str, int] = {}
    made: list[str] = []
    taken = set(names)
    for name in names:
        name = name or "tensor"
        count = seen[name] = seen.get(name, 0) + 1
        new = name if count == 1 else f"{name}#{count}"
        while count > 1 and new in taken:
            count = seen[name] = seen[name] + 1
            new = f"{name}#{count}"
        taken.add(new)
        made.append(new)
    return made
