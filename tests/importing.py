"""Structures of vendors' files made by hand, and what refnet makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.errors import FormatError
from refnet.files.containers.structure import Contents, Operation, Structure
from refnet.files.importers import import_graph
from refnet.graph import interpret
from refnet.readings import fast

RNG = np.random.default_rng(5)
X = RNG.uniform(-6, 6, (2, 4, 6, 5)).astype(np.float32)
W = RNG.standard_normal((4, 4)).astype(np.float32)
FILTERS = RNG.standard_normal((4, 1, 3, 3)).astype(np.float32)
DENSE = RNG.standard_normal((3, 4, 3, 3)).astype(np.float32)
VECTOR = RNG.standard_normal(4).astype(np.float32)


def onnx(*operations, shape=(None, 4, 6, 5), outputs=("y",), **arrays):
    return Contents("onnx", arrays, Structure("", tuple(operations), {"x": shape}, outputs))


def tflite(*operations, scales=None, shape=(None, 6, 5, 4), outputs=("y",), **arrays):
    return Contents("tflite", arrays, Structure("", tuple(operations), {"x": shape}, outputs, scales or {}))


def keras(*operations, version="Keras 3.15", shape=(None, 6, 5, 4), outputs=("y",), arrays=()):
    return Contents("hdf5", dict(arrays), Structure(version, tuple(operations), {"x": shape}, outputs))


def op(kind, inputs, outputs="y", **attrs):
    return Operation(kind, tuple(inputs.split()), tuple(outputs.split()), attrs, outputs)


def scalar(value, dtype=np.float32):
    return np.array(value, dtype)


def run(imported, x=X):
    params = {name: array.astype(np.float64) for name, array in imported.params.items()}
    return interpret(imported.graph, fast, params, {"input": x.astype(np.float64)})


def ops(imported):
    return [node.op for node in imported.graph.nodes]


def only(imported):
    (node,) = imported.graph.nodes
    return node


def refused(contents, reason, size=None):
    with pytest.raises(FormatError) as error:
        import_graph(contents, size)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def x64():
    return X.astype(np.float64)
