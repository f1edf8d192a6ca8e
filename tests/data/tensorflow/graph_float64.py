"""A TensorFlow.js graph model run by TensorFlow's own kernels, in float64 or float32, node by node.

The weights are read by `tensorflowjs` itself; the kernels are TensorFlow's, fused operations written as their parts.
In float64 a sixth that float32 rounded is a sixth again.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflowjs import read_weights

__all__ = ["run"]

Array = npt.NDArray[Any]

_ACTIVATIONS = {"Relu": tf.nn.relu, "Relu6": tf.nn.relu6}


def run(folder: Path, x: Array, dtype: str) -> dict[str, Array]:
    """Every tensor of the graph, by the node that makes it.

    Parameters
    ----------
    x : (N, C, H, W)
    """
    model = json.loads((folder / "model.json").read_text())
    groups = read_weights.read_weights(model["weightsManifest"], str(folder), flatten=True)
    values = {entry["name"]: entry["data"] for entry in groups}
    values = {name: _meant(y, dtype) if y.dtype.kind == "f" else y for name, y in values.items()}
    waiting = [node for node in model["modelTopology"]["node"] if node["op"] != "Const"]
    while waiting:
        ready = [node for node in waiting if set(node.get("input", ())) <= values.keys()]
        if not ready:
            raise SystemExit(f"{folder.name}: nodes wait for each other")
        for node in ready:
            inputs = [values[name] for name in node.get("input", ())]
            given = tf.constant(x.transpose(0, 2, 3, 1).astype(dtype))
            values[node["name"]] = given if node["op"] == "Placeholder" else _made(node, inputs)
        waiting = [node for node in waiting if node["name"] not in values]
    names = [node["name"] for node in model["modelTopology"]["node"] if node["op"] not in ("Const", "Placeholder")]
    return {name: np.asarray(values[name]) for name in names}


def _meant(y: Array, dtype: str) -> Array:
    return np.array(1 / 6) if dtype == "float64" and not y.ndim and y == np.float32(1 / 6) else y.astype(dtype)


def _made(node: dict[str, Any], inputs: list[Any]) -> Any:
    attrs, op = node.get("attr", {}), node["op"]
    if "Conv2" in op or "Conv2d" in op:
        x, w, *rest = inputs
        strides = [int(i) for i in attrs["strides"]["list"]["i"]]
        padding = base64.b64decode(attrs["padding"]["s"]).decode()
        function = tf.nn.depthwise_conv2d if "Depthwise" in op else tf.nn.conv2d
        y = function(x, w, strides, padding)
        for name in [
            base64.b64decode(word).decode() for word in attrs.get("fused_ops", {}).get("list", {}).get("s", ())
        ]:
            y = y + rest.pop(0) if name == "BiasAdd" else _ACTIVATIONS[name](y)
        if rest:
            raise SystemExit(f"{node['name']}: {len(rest)} arrays too many")
        return y
    match op:
        case "Mul":
            return inputs[0] * inputs[1]
        case "AddV2" | "Add":
            return inputs[0] + inputs[1]
        case "Relu6" | "Relu":
            return _ACTIVATIONS[op](inputs[0])
        case "Mean":
            return tf.reduce_mean(inputs[0], inputs[1], keepdims=attrs["keep_dims"]["b"])
        case "Pad":
            return tf.pad(*inputs)
        case "Reshape":
            return tf.reshape(*inputs)
        case "Shape":
            return tf.shape(inputs[0])
        case "StridedSlice":
            masks = {name: int(attrs[name]["i"]) for name in attrs if name.endswith("_mask")}
            return tf.strided_slice(*inputs, **masks)
        case "Pack":
            return tf.stack(inputs, axis=int(attrs["axis"]["i"]))
        case "Softmax":
            return tf.nn.softmax(inputs[0])
        case "Identity":
            return inputs[0]
    raise SystemExit(f"{node['name']}: no kernel for {op}")
