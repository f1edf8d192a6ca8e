"""A TFLite file of one operation, run by a table of rules: whole networks are for `network.QuantisedNetwork`.

Files of one operation have inputs of any number and shape. Arrays lie as in the file (N, H, W, C); rules get
(N, C, H, W).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from refnet.files import containers
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

ACTS = {"NONE": "", "RELU": "relu", "RELU6": "relu6", "RELU_N1_TO_1": "relu_n1_to_1"}


class Tensor(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    scales: np.ndarray
    zero_points: np.ndarray
    data: np.ndarray | None


class Operation(NamedTuple):
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict


class File(NamedTuple):
    tensors: dict[str, Tensor]
    operations: list[Operation]
    inputs: tuple[str, ...]


def read(data: bytes) -> File:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "one.tflite")
        path.write_bytes(data)
        contents = containers.read(path)
    structure = contents.structure
    tensors = {}
    for name, dtype in structure.dtypes.items():
        scale = structure.scales.get(name)
        scales, zeros = (np.zeros(0),) * 2 if scale is None else scale[:2]
        tensors[name] = Tensor(dtype, structure.shapes[name], scales, zeros, contents.arrays.get(name))
    operations = [Operation(o.op, o.inputs, o.outputs, dict(o.attrs)) for o in structure.operations]
    return File(tensors, operations, tuple(structure.inputs))


def quantisation(tensor: Tensor) -> Quantisation:
    """Of a tensor; scales by channel are those of the first axis, as rules have the weights."""
    if len(tensor.scales) == 1:
        return Quantisation(tensor.scales[0], tensor.zero_points[0], None, tensor.dtype)
    return Quantisation(tensor.scales, tensor.zero_points, 0, tensor.dtype)


def first(array: np.ndarray) -> np.ndarray:
    """Channels first: (N, H, W, C) -> (N, C, H, W)."""
    return np.moveaxis(array, -1, 1) if array.ndim > 2 else array


def last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array


def pads(attrs: dict, size, kernel) -> dict:
    """Stride, pad and dilation of a window, (height, width)."""
    stride = (attrs["stride_h"], attrs["stride_w"])
    dilation = (attrs.get("dilation_h_factor", 1), attrs.get("dilation_w_factor", 1))
    pad = []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n) if attrs["padding"] == "SAME" else 0
        pad.append((total // 2, total - total // 2))
    return {"stride": stride, "pad": tuple(pad), "dilation": dilation}


def run(file: File, rules, given: dict[str, np.ndarray]):
    """Yield each operation and what a rule makes of its inputs, in the file's layout."""
    values = dict(given)
    for operation in file.operations:
        (out,) = operation.outputs
        values[out] = step(file, rules, operation, values)
        yield operation, values[out]


def step(file: File, rules, operation: Operation, values: dict[str, np.ndarray]) -> np.ndarray:
    op, attrs = operation.op, operation.attrs
    tensors = [file.tensors[i] for i in operation.inputs if i]
    arrays = [t.data if t.data is not None else values[i] for t, i in zip(tensors, operation.inputs, strict=False)]
    target = file.tensors[operation.outputs[0]]
    if op == "DEQUANTIZE":
        return last(rules.dequantize(_flowing(tensors[0], arrays[0])))
    if tensors[0].dtype == target.dtype == "float32":  # of a dynamic-range file
        return _hybrid(rules, op, tensors, arrays, attrs)
    to = quantisation(target)
    if op == "QUANTIZE" and tensors[0].dtype == "float32":
        return last(rules.quantize(first(arrays[0]), to=to).values)
    return _CALLS[op](rules, tensors, arrays, to, attrs, target)


def _flowing(tensor, array):
    return QuantisedTensor(first(array), quantisation(tensor))


def _act(attrs):
    return ACTS[attrs["fused_activation_function"]]


def _conv(rules, tensors, arrays, to, attrs, target):
    x, w = _flowing(tensors[0], arrays[0]), np.moveaxis(arrays[1], -1, 1)  # (K, C, R, S)
    b = arrays[2] if len(arrays) > 2 else None
    places = pads(attrs, x.values.shape[2:], w.shape[2:])
    if w.shape[2:] == (1, 1) and places["stride"] == (1, 1):
        w = QuantisedTensor(w[:, :, 0, 0], quantisation(tensors[1]))
        return last(rules.pointwise_conv2d(x, w, b, to=to, act=_act(attrs)).values)
    w = QuantisedTensor(w, quantisation(tensors[1]))
    return last(rules.conv2d(x, w, b, **places, to=to, act=_act(attrs)).values)


def _depthwise(rules, tensors, arrays, to, attrs, target):
    x, w = _flowing(tensors[0], arrays[0]), np.moveaxis(arrays[1][0], -1, 0)
    places = pads(attrs, x.values.shape[2:], w.shape[1:])
    w = QuantisedTensor(w, quantisation(tensors[1]))
    b = arrays[2] if len(arrays) > 2 else None
    return last(rules.depthwise_conv2d(x, w, b, **places, to=to, act=_act(attrs)).values)


def _linear(rules, tensors, arrays, to, attrs, target):
    w = QuantisedTensor(arrays[1], quantisation(tensors[1]))
    x = QuantisedTensor(arrays[0].reshape(-1, w.values.shape[1], 1, 1), quantisation(tensors[0]))
    b = arrays[2] if len(arrays) > 2 else None
    y = rules.fully_connected(x, w, b, to=to, act=_act(attrs)).values
    return y.reshape(*arrays[0].shape[:-1], -1) if attrs["keep_num_dims"] else y.reshape(len(y), -1)


def _hybrid(rules, op, tensors, arrays, attrs):
    x, w, b = arrays
    if op == "FULLY_CONNECTED":
        w = QuantisedTensor(w, quantisation(tensors[1]))
        asymmetric = attrs["asymmetric_quantize_inputs"]
        return rules.fully_connected(x[:, :, None, None], w, b, act=_act(attrs), asymmetric_inputs=asymmetric)[
            :, :, 0, 0
        ]
    x = first(x)
    if op == "DEPTHWISE_CONV_2D":
        w = np.moveaxis(w[0], -1, 0)
        places, rule = pads(attrs, x.shape[2:], w.shape[1:]), rules.depthwise_conv2d
    else:
        w = np.moveaxis(w, -1, 1)
        places, rule = pads(attrs, x.shape[2:], w.shape[2:]), rules.conv2d
    return last(rule(x, QuantisedTensor(w, quantisation(tensors[1])), b, **places, act=_act(attrs)))


def _join(rule):
    def call(rules, tensors, arrays, to, attrs, target):
        x, y = (QuantisedTensor(a, quantisation(t)) for a, t in zip(arrays, tensors, strict=True))
        return getattr(rules, rule)(x, y, to=to, act=_act(attrs)).values

    return call


def _plain(rule):
    def call(rules, tensors, arrays, to, attrs, target):
        return last(getattr(rules, rule)(_flowing(tensors[0], arrays[0]), to=to).values)

    return call


def _pool(rule):
    def call(rules, tensors, arrays, to, attrs, target):
        x = _flowing(tensors[0], arrays[0])
        kernel = (attrs["filter_height"], attrs["filter_width"])
        places = pads(attrs, x.values.shape[2:], kernel)
        del places["dilation"]
        return last(getattr(rules, rule)(x, kernel=kernel, **places, to=to, act=_act(attrs)).values)

    return call


def _mean(rules, tensors, arrays, to, attrs, target):
    axes, keep = [axis % arrays[0].ndim for axis in arrays[1].ravel().tolist()], attrs["keep_dims"]
    if arrays[0].ndim != 4:
        x = QuantisedTensor(arrays[0], quantisation(tensors[0]))
        return rules.mean(x, axes=axes, keepdims=keep, to=to).values
    moved = (0, 2, 3, 1)  # where the file's axes are in (N, C, H, W)
    y = rules.mean(_flowing(tensors[0], arrays[0]), axes=[moved[axis] for axis in axes], keepdims=keep, to=to).values
    left = [moved[axis] for axis in range(4) if keep or axis not in axes]
    return y.transpose([sorted(left).index(axis) for axis in left])


def _softmax(rules, tensors, arrays, to, attrs, target):
    x = QuantisedTensor(arrays[0].reshape(-1, arrays[0].shape[-1]), quantisation(tensors[0]))
    return rules.softmax(x, beta=attrs["beta"], to=to).values.reshape(arrays[0].shape)


def _pad(rules, tensors, arrays, to, attrs, target):
    (top, bottom), (left, right) = arrays[1][1:3].tolist()
    assert not arrays[1][[0, 3]].any()
    return last(rules.pad(_flowing(tensors[0], arrays[0]), pad=((top, bottom), (left, right)), to=to).values)


def _resize(rules, tensors, arrays, to, attrs, target):
    size = tuple(arrays[1].tolist())
    ways = {"align_corners": attrs["align_corners"], "half_pixel": attrs["half_pixel_centers"]}
    return last(rules.resize_bilinear(_flowing(tensors[0], arrays[0]), size=size, **ways, to=to).values)


def _blocks(rules, tensors, arrays, to, attrs, target):
    pad = tuple((before, after) for before, after in arrays[2].tolist())
    return last(rules.space_to_batch(_flowing(tensors[0], arrays[0]), block=arrays[1].tolist(), pad=pad, to=to).values)


def _concat(rules, tensors, arrays, to, attrs, target):
    xs = [QuantisedTensor(a, quantisation(t)) for a, t in zip(arrays, tensors, strict=True)]
    return rules.concatenation(*xs, axis=attrs["axis"], to=to).values


def _reshape(rules, tensors, arrays, to, attrs, target):
    return arrays[0].reshape([-1 if i == 0 else n for i, n in enumerate(target.shape)])


_CALLS = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _linear,
    "ADD": _join("add"),
    "SUB": _join("sub"),
    "MUL": _join("scale"),
    "RELU": _plain("relu"),
    "RELU6": _plain("relu6"),
    "HARD_SWISH": _plain("hard_swish"),
    "LOGISTIC": _plain("sigmoid"),
    "QUANTIZE": _plain("requantize"),
    "AVERAGE_POOL_2D": _pool("avg_pool2d"),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "MEAN": _mean,
    "SOFTMAX": _softmax,
    "PAD": _pad,
    "RESIZE_BILINEAR": _resize,
    "CONCATENATION": _concat,
    "RESHAPE": _reshape,
    "SPACE_TO_BATCH_ND": _blocks,
}
