"""Activations of integers that a vendor writes out, in refnet's operations."""

from __future__ import annotations

import numpy as np
import pytest
from importing import X, onnx, op, ops, run, scalar, x64

from refnet.files.importers import import_graph
from refnet.files.importers.onnx_integers import import_onnx_integers
from refnet.files.importers.onnx_quantised import integer_operations
from refnet.readings.quantised import run_integers


def qdq(name, scale, source=None):
    """A tensor of integers and back in floats, as onnxruntime's quantiser writes it."""
    scales = f"{scale}_s {scale}_z"
    return [
        *([op("QuantizeLinear", f"{source or name} {scales}", f"{name}_q")] if source is not None else []),
        op("DequantizeLinear", f"{name}_q {scales}", f"{name}_r"),
    ]


def number_of_integers(name, q, scale):
    return {f"{name}_q": scalar(q, np.uint8), f"{name}_s": scalar(scale), f"{name}_z": scalar(0, np.uint8)}


STEPS = {"x": (0.05, 128), "c": (6 / 255, 0), "p": (0.15, 10), "y": (0.025, 10)}
IN_STEPS = {f"{name}_s": scalar(step) for name, (step, _) in STEPS.items()}
IN_STEPS |= {f"{name}_z": scalar(zero, np.uint8) for name, (_, zero) in STEPS.items()}
SWISHES_IN_STEPS = {
    "(x relu6(x + 3)) / 6": [op("Add", "x_r three_r", "a"), *qdq("c", "c", "a"), op("Mul", "x_r c_r", "p"),
                             *qdq("p", "p", "p"), op("Div", "p_r six_r", "h")],
    "(x relu6(3 + x)) / 6": [op("Add", "three_r x_r", "a"), *qdq("c", "c", "a"), op("Mul", "x_r c_r", "p"),
                             *qdq("p", "p", "p"), op("Div", "p_r six_r", "h")],
    "x (clip(x + 3, 0, 6) / 6)": [op("Add", "x_r three_r", "a"), op("Clip", "a zero_r six_r", "b"),
                                  *qdq("c", "c", "b"), op("Div", "c_r six_r", "g"), op("Mul", "x_r g", "h")],
}  # fmt: skip


@pytest.mark.parametrize("spelling", SWISHES_IN_STEPS)
@pytest.mark.parametrize("six", [(255, 6 / 255), (249, 6 / 249.4)])  # the six itself; 5.990, nearly half a step off
def test_constants_behind_dequantize_linear_are_constants(spelling, six):
    """Both in floats, where the function is told, and in integers, where each step is."""
    constants = number_of_integers("three", 255, 3 / 255) | number_of_integers("six", *six)
    constants |= number_of_integers("zero", 0, 6 / 255)
    numbers = [each for name in ("zero", "three", "six") for each in qdq(name, name)]
    operations = [*numbers, *qdq("x", "x", "x"), *SWISHES_IN_STEPS[spelling], *qdq("y", "y", "h"),
                  op("Identity", "y_r")]  # fmt: skip
    contents = onnx(*operations, **constants, **IN_STEPS)
    real = import_graph(contents)
    assert ops(real) == ["hard_swish"]
    made = import_onnx_integers(contents, None)
    *_, (_, y) = run_integers(made.graph, made.params, made.quantised, {"input": X}, "onnxruntime")
    assert np.abs(y - run(real)).max() < 0.2  # three roundings to steps of 0.05, 0.15 / 6 and 0.025


@pytest.mark.parametrize(("high", "implied"), [("six_r", True), ("two_r", False)])
def test_a_clip_is_left_to_the_range_of_integers_only_where_its_bounds_are_that_range(high, implied):
    constants = number_of_integers("six", 255, 6 / 255) | number_of_integers("two", 255, 2 / 255)
    constants |= number_of_integers("zero", 0, 6 / 255)
    numbers = [each for name in ("zero", "two", "six") for each in qdq(name, name)]
    operations = [*numbers, *qdq("x", "x", "x"), op("Add", "x_r x_r", "a"), op("Clip", f"a zero_r {high}", "b"),
                  *qdq("c", "c", "b"), op("Identity", "c_r")]  # fmt: skip
    kept = integer_operations(onnx(*operations).structure, constants | IN_STEPS)
    assert ("com.microsoft.QLinearAdd" in [each.op for each in kept.operations]) == implied


def test_a_mean_of_floats_over_columns_then_rows_is_one_in_a_graph_of_integers():
    means = [op("ReduceMean", "x_r", "m", axes=(3,), keepdims=0), op("ReduceMean", "m", "n", axes=(2,), keepdims=0)]
    contents = onnx(*qdq("x", "x", "x"), *means, *qdq("y", "y", "n"), op("Identity", "y_r"), **IN_STEPS)
    made = import_onnx_integers(contents, None)
    *_, (_, y) = run_integers(made.graph, made.params, made.quantised, {"input": X}, "onnxruntime")
    assert np.abs(y.reshape(2, 4) - np.clip(x64().mean((2, 3)), -0.25, 6.125)).max() < 0.025 + 0.0125
