"""Saved single operations of onnxruntime and PyTorch, run with a table of rules."""

from __future__ import annotations

import numpy as np

from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor


def operations(file):
    """(tag, arrays by name) of every operation of an archive."""
    names = {}
    for key in file.files:
        names.setdefault(key[:4], []).append(key)
    for index, tag in enumerate(file["tags"].tolist()):
        yield tag, {key[4:]: file[key] for key in names.get(f"{index:03d}_", ())}


def quantisation(scale, zero_point, dtype) -> Quantisation:
    scale = np.asarray(scale)
    if scale.size == 1:
        return Quantisation(scale.item(), int(np.asarray(zero_point).flat[0]), None, dtype)
    return Quantisation(scale, np.broadcast_to(zero_point, scale.shape).astype(int), 0, dtype)


def tensor(g, values, scale, zero_point) -> QuantisedTensor:
    return QuantisedTensor(g[values], quantisation(g[scale], g[zero_point], g[values].dtype))


def onnx_op(rules, tag, g):
    op, dtype = tag.split("/")[0], g["y"].dtype
    if op == "QuantizeLinear":
        return rules.quantize(g["x"], to=quantisation(g["s"], g["z"], dtype)).values
    if op in ("QLinearAdd", "QLinearMul"):
        rule = rules.add if op == "QLinearAdd" else rules.scale
        to = quantisation(g["sc"], g["zc"], dtype)
        return rule(tensor(g, "a", "sa", "za"), tensor(g, "b", "sb", "zb"), to=to).values
    if op == "QLinearGlobalAveragePool":
        return whole_map(rules, tensor(g, "x", "sx", "zx"), quantisation(g["sy"], g["zy"], dtype))
    if op == "QLinearSigmoid":
        return rules.sigmoid(tensor(g, "x", "sx", "zx"), to=quantisation(g["sy"], g["zy"], dtype)).values
    assert op == "QLinearConv"
    assert (g["attr_dilations"] == 1).all()
    top, left, bottom, right = g["attr_pads"].tolist()
    places = {"stride": tuple(g["attr_strides"].tolist()), "pad": ((top, bottom), (left, right))}
    w = tensor(g, "w", "ws", "wz")
    return conv(rules, tensor(g, "x", "xs", "xz"), w, g["b"], places, to=quantisation(g["ys"], g["yz"], dtype))


def torch_op(rules, tag, g):
    engine, op, *layout = tag.split("/")
    dtype = g["y"].dtype
    if op == "quantize_per_tensor":
        return rules.quantize(g["x"], to=quantisation(g["s"], g["z"], dtype)).values
    if op == "adaptive_avg_pool2d":
        x = tensor(g, "x", "sx", "zx")
        options = {} if engine == "qnnpack" else {"channels_last": layout == ["nhwc"]}
        return whole_map(rules, x, x.quantisation, **options)
    to = quantisation(g["so"], g["zo"], dtype)
    if op in ("quantized.add", "quantized.mul"):
        rule = rules.add if op == "quantized.add" else rules.scale
        return rule(tensor(g, "a", "sa", "za"), tensor(g, "b", "sb", "zb"), to=to).values
    x = tensor(g, "x", "sx", "zx")
    if op in ("quantized.hardswish", "hardsigmoid"):
        rule = rules.hard_swish if op == "quantized.hardswish" else rules.hard_sigmoid
        return rule(x, to=to).values
    assert op == "conv2d"
    w = QuantisedTensor(g["w"], quantisation(g["sw"], 0, g["w"].dtype))
    pad = int(g["pad"])
    stride = 1 if x.values.shape[2] + 2 * pad - w.values.shape[2] + 1 == g["y"].shape[2] else 2
    places = {"stride": (stride, stride), "pad": ((pad, pad), (pad, pad))}
    return conv(rules, x, w, g["bias"], places, to=to, act="relu" if g["relu"] else "")


def whole_map(rules, x, to, **options):
    pool = {"kernel": x.values.shape[2:], "stride": (1, 1), "pad": ((0, 0), (0, 0))}
    return rules.avg_pool2d(x, **pool, to=to, **options).values


def conv(rules, x, w, b, places, **options):
    """A convolution of any kind: which it is, the shape of its weights says."""
    if w.values.shape[1] < x.values.shape[1]:
        assert w.values.shape[1] == 1
        w = QuantisedTensor(w.values[:, 0], w.quantisation)
        return rules.depthwise_conv2d(x, w, b, **places, **options).values
    if w.values.shape[2:] == (1, 1):
        w = QuantisedTensor(w.values[:, :, 0, 0], w.quantisation)
        return rules.pointwise_conv2d(x, w, b, **options).values
    return rules.conv2d(x, w, b, **places, **options).values
