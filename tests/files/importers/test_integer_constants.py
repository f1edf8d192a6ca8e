"""Weights that ONNX files hold as integers, wherever a DequantizeLinear makes floats of them."""

from __future__ import annotations

import numpy as np
import pytest
from importing import onnx, op, refused

from refnet.files.importers import import_graph, onnx_real, readings_of

Q = np.random.default_rng(2).integers(-127, 128, (3, 4, 3, 3)).astype(np.int8)
S = np.float32([0.5, 0.25, 2])
REAL = Q * S.reshape(3, 1, 1, 1)
CONV = op("Conv", "x w")
WAYS = {
    "by filter": ([op("DequantizeLinear", "q s", "w", axis=0)], {"q": Q, "s": S}, REAL),
    "as a whole, with a zero point": (
        [op("DequantizeLinear", "q s z", "w")],
        {"q": (Q.astype(np.int16) + 128).astype(np.uint8), "s": S[0], "z": np.uint8(128)},
        Q * S[0],
    ),
    "behind a transposition": (
        [op("Transpose", "q", "t", perm=(3, 2, 1, 0)), op("DequantizeLinear", "t s", "w", axis=0)],
        {"q": Q.T, "s": S},
        REAL,
    ),
    "ahead of a transposition": (
        [op("DequantizeLinear", "q s", "t", axis=-1), op("Transpose", "t", "w", perm=(3, 2, 1, 0))],
        {"q": Q.T, "s": S},
        REAL,
    ),
    "by a scale of another name": (
        [op("Identity", "s", "i"), op("DequantizeLinear", "q i", "w", axis=0)],
        {"q": Q, "s": S},
        REAL,
    ),
    "quantised as they are loaded": (
        [op("QuantizeLinear", "r s z", "q", axis=0), op("DequantizeLinear", "q s z", "w", axis=0)],
        {"r": (REAL + 0.4 * S.reshape(3, 1, 1, 1)).astype(np.float32), "s": S, "z": np.zeros(3, np.int8)},
        REAL,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_weights_of_integers_are_what_these_stand_for(way):
    operations, arrays, real = WAYS[way]
    imported = import_graph(onnx(*operations, CONV, **arrays))
    ((name, w),) = imported.params.items()
    np.testing.assert_array_equal(w, real)
    assert imported.stored[name] in ("int8", "uint8")


def test_scales_that_are_not_one_for_each_index_of_the_axis_are_refused():
    moved = op("DequantizeLinear", "q s", "w")
    refused(onnx(moved, CONV, q=Q, s=S), "integers of shape (3, 4, 3, 3) have scales of shape (3,) along axis 1")


def test_reals_are_not_made_of_the_same_integers_again_and_again(monkeypatch):
    monkeypatch.setattr(onnx_real, "made_of", lambda arrays: 6 * Q.size)
    moves = [op("DequantizeLinear", "q s", each, axis=0) for each in ("w", "v")]
    refused(onnx(*moves, CONV, q=Q, s=S), "again and again")


@pytest.mark.parametrize(("step", "found"), [(5 / 255, ["relu", "relu6"]), (6 / 255, ["relu6"]), (7 / 255, ["relu"])])
def test_a_range_that_ends_before_six_may_hide_a_relu6(step, found):
    """Calibrated on images that drive no number to 6; the quantiser drops the clamp that the range implies."""
    convolution = op("Conv", "x w", "c"), op("QuantizeLinear", "c s z", "q"), op("DequantizeLinear", "q s z", "y")
    arrays = {"w": REAL, "s": np.float32(step), "z": np.int8(-128)}
    readings = readings_of(onnx(*convolution, **{name: np.asarray(array) for name, array in arrays.items()}))
    assert [import_graph(each).graph.nodes[-1].op for each in readings] == found


@pytest.mark.parametrize("layer", [op("Conv", "m w", "c"), op("Gemm", "f v", "c", transB=1)])
def test_an_answer_of_no_class_below_zero_is_no_relu(layer):
    """Its range begins at 0 since all that was calibrated on did."""
    pooled = op("GlobalAveragePool", "x", "m"), op("Flatten", "m", "f", axis=1)
    stored = op("QuantizeLinear", "c s z", "q"), op("DequantizeLinear", "q s z", "r"), op("Softmax", "r", axis=1)
    arrays = {"w": REAL[:, :, :1, :1], "v": REAL[:, :, 0, 0], "s": np.float32(0.1), "z": np.int8(-128)}
    made = import_graph(onnx(*pooled, layer, *stored, **{name: np.asarray(array) for name, array in arrays.items()}))
    assert "relu" not in [node.op for node in made.graph.nodes]
