"""A network as an ONNX model, in onnxruntime and in ONNX's own reference evaluator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from refnet.files.exporters.onnx import export_onnx
from refnet.graph import SOURCE, Graph

__all__ = ["reference", "runtime"]

Array = npt.NDArray[Any]


def runtime(graph: Graph, params: Mapping[str, Array], threads: int) -> Callable[[Array], Callable[[], Array]]:
    """The model in onnxruntime, with all its optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(
        export_onnx(graph, params).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: lambda: session.run(None, {SOURCE: x})[0]


def reference(graph: Graph, params: Mapping[str, Array], threads: int) -> Callable[[Array], Callable[[], Array]]:
    """The model in ONNX's reference evaluator, which is NumPy."""
    from onnx.reference import ReferenceEvaluator

    evaluator: Any = ReferenceEvaluator(export_onnx(graph, params))
    return lambda x: lambda: evaluator.run(None, {SOURCE: x})[0]
