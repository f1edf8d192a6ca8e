"""Every tensor that a session of ONNX Runtime makes: the same model with all of them as outputs, not optimised."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError

__all__ = ["session_tensors"]

Array = npt.NDArray[Any]


def session_tensors(module: Any, x: Array) -> dict[str, Array]:
    """Run a session's model on x and return what each of its nodes made; integers are left out."""
    import onnx
    import onnxruntime

    path, data = getattr(module, "_model_path", None), getattr(module, "_model_bytes", None)
    if not (path or data):
        raise RequestError("hook: this session does not tell its model; open it from a path or from bytes")
    model = onnx.load_from_string(data) if data else onnx.load(str(path))
    known = {output.name for output in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name and name not in known]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=module.get_providers())
    (given, *_) = session.get_inputs()
    fed = x.transpose(0, 2, 3, 1) if given.shape[-1] == x.shape[1] != given.shape[1] else x
    outputs = [output.name for output in session.get_outputs()]
    made = session.run(outputs, {given.name: np.ascontiguousarray(fed)})
    floats = {name: y for name, y in zip(outputs, made, strict=True) if np.asarray(y).dtype.kind == "f"}
    return {"input": np.array(x), **floats}
