"""The vendors' own readers: what they make of a damaged file, so must refnet, or refuse it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["VENDORS", "no_vendor"]

Arrays = dict[str, np.ndarray]


def _onnx(path: Path) -> Arrays:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return {
        name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array for name, array in arrays.items()
    }


def _tflite(path: Path) -> Arrays:
    import tflite

    from refnet.files.containers.tflite import _DTYPES, _distinct

    model = tflite.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
    arrays = {}
    names = _distinct([(tensor.Name() or b"").decode("utf-8", "replace") for tensor in tensors])
    for name, tensor in zip(names, tensors, strict=True):
        body = model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(body, np.ndarray) and body.size:
            shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
            array = np.frombuffer(body.tobytes(), _DTYPES[tensor.Type()]).reshape(shape)
            arrays[name] = array.view(np.uint8) != 0 if array.dtype == bool else array
    return arrays


def _npz(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def _safetensors(path: Path) -> Arrays:
    from safetensors.numpy import load_file

    return load_file(path)


def no_vendor(path: Path) -> Arrays | None:
    """No reader to compare with: only that nothing bad happens."""
    return None


VENDORS: dict[str, Callable[[Path], Arrays | None]] = {
    "onnx": _onnx,
    "tflite": _tflite,
    "npz": _npz,
    "safetensors": _safetensors,
}
