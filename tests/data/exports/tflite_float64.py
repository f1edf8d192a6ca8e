"""Run a float TFLite file's own arrays in float64: a small interpreter in PyTorch, one branch for each operation.

It knows what the files of make_exports.py hold and refuses the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite
import torch
from onnx_float64 import meant
from torch.nn import functional

__all__ = ["run"]

Array = npt.NDArray[Any]
Tensor = torch.Tensor
_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 4: np.int64}  # by the number of the type in the schema
_OPTIONS = {
    "CONV_2D": tflite.Conv2DOptions,
    "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
    "FULLY_CONNECTED": tflite.FullyConnectedOptions,
    "ADD": tflite.AddOptions,
    "MUL": tflite.MulOptions,
    "SUB": tflite.SubOptions,
    "AVERAGE_POOL_2D": tflite.Pool2DOptions,
    "MEAN": tflite.ReducerOptions,
}
_ACTIVATIONS = {
    0: lambda y: y,
    1: torch.relu,
    3: lambda y: y.clamp(0, 6),
}


def run(path: Path, x: Array) -> Array:
    """The logits, (N, classes) in float64: what the softmax at the end reads.

    Parameters
    ----------
    x : (N, C, H, W); the file takes one image at a time, channels last
    """
    model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    images = torch.from_numpy(x.astype(np.float64)).permute(0, 2, 3, 1)
    return np.concatenate([_run(model, image[None]) for image in images])


def _run(model: Any, image: Tensor) -> Array:
    graph = model.Subgraphs(0)
    names = {number: name for name, number in vars(tflite.BuiltinOperator).items() if not name.startswith("_")}
    values = {index: _constant(model, graph.Tensors(index)) for index in range(graph.TensorsLength())}
    values[graph.Inputs(0)] = image
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        code = model.OperatorCodes(operator.OpcodeIndex())
        op = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        read = [values[index] if index >= 0 else None for index in operator.InputsAsNumpy()]
        if op == "SOFTMAX":
            return np.asarray(read[0])
        values[operator.Outputs(0)] = _made(op, read, _options(op, operator), tuple(_shape(graph, operator)))
    raise SystemExit("no softmax at the end")


def _shape(graph: Any, operator: Any) -> Any:
    return graph.Tensors(operator.Outputs(0)).ShapeAsNumpy().tolist()


def _constant(model: Any, tensor: Any) -> Tensor | None:
    data = model.Buffers(tensor.Buffer())
    if not data.DataLength():
        return None
    shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
    array = data.DataAsNumpy().view(_DTYPES[tensor.Type()]).reshape(shape)
    if array.dtype.kind != "f":
        return torch.from_numpy(array.astype(np.int64))
    if array.size == 1 and np.float32(1 / 6) == array.astype(np.float32).ravel()[0]:
        return torch.full(tuple(array.shape), meant(float(array.ravel()[0])), dtype=torch.float64)
    return torch.from_numpy(array.astype(np.float64))


def _options(op: str, operator: Any) -> Any:
    if op not in _OPTIONS:
        return None
    options = _OPTIONS[op]()
    table = operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    return options


def _made(op: str, read: list[Any], options: Any, shape: tuple[int, ...]) -> Tensor:
    """What one operation makes of what it reads."""
    match op:
        case "CONV_2D" | "DEPTHWISE_CONV_2D":
            y = _convolved(op, *read, options)
        case "FULLY_CONNECTED":
            y = functional.linear(read[0].flatten(1), read[1], read[2])
        case "ADD":
            y = read[0] + read[1]
        case "SUB":
            y = read[0] - read[1]
        case "MUL":
            y = read[0] * read[1]
        case "MEAN":
            return read[0].mean(tuple(read[1].ravel().tolist()), keepdim=bool(options.KeepDims()))
        case "AVERAGE_POOL_2D":
            if (options.FilterHeight(), options.FilterWidth()) != tuple(read[0].shape[1:3]):
                raise SystemExit("AVERAGE_POOL_2D: not over the whole map")
            y = read[0].mean((1, 2), keepdim=True)
        case "PAD":
            pads = read[1].flip(0).ravel().tolist()  # torch begins with the last axis
            return functional.pad(read[0], pads)
        case "SHAPE" | "STRIDED_SLICE" | "PACK":
            return torch.tensor(())  # of the batch; what reads it says its own shape too
        case "RESHAPE":
            return read[0].reshape(shape)
        case "DEQUANTIZE":
            return read[0]
        case "HARD_SWISH":
            return read[0] * (read[0] + 3).clamp(0, 6) / 6
        case "RELU6" | "RELU":
            return _ACTIVATIONS[{"RELU": 1, "RELU6": 3}[op]](read[0])
        case _:
            raise SystemExit(f"{op}: not known here")
    return _ACTIVATIONS[options.FusedActivationFunction()](y)


def _convolved(op: str, x: Tensor, w: Tensor, b: Tensor | None, options: Any) -> Tensor:
    depthwise = op == "DEPTHWISE_CONV_2D"
    w = w.permute(3, 0, 1, 2) if depthwise else w.permute(0, 3, 1, 2)  # (1, R, S, C) or (K, R, S, C)
    stride = (options.StrideH(), options.StrideW())
    x = x.permute(0, 3, 1, 2)
    if options.Padding() == tflite.Padding.SAME:
        pads = []
        for size, kernel, step in reversed(list(zip(x.shape[2:], w.shape[2:], stride, strict=True))):
            missing = max((-(-size // step) - 1) * step + kernel - size, 0)
            pads += [missing // 2, missing - missing // 2]
        x = functional.pad(x, pads)
    groups = x.shape[1] if depthwise else 1
    return functional.conv2d(x, w, b, stride=stride, groups=groups).permute(0, 2, 3, 1)
