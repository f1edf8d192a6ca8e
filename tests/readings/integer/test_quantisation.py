"""What an integer stands for: what is refused, in one line."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.errors import RequestError
from refnet.readings.integer import fast, loops
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

EXECUTIONS = pytest.mark.parametrize("execution", [loops, fast], ids=["loops", "fast"])
PLACES = {"stride": (1, 1), "pad": ((0, 0), (0, 0))}


def one(scale=0.5, zero_point=0, dtype="int8"):
    return Quantisation(scale, zero_point, None, dtype)


def tensor(shape, scale=0.5, zero_point=0, dtype="int8", value=1):
    return QuantisedTensor(np.full(shape, value, dtype), one(scale, zero_point, dtype))


@pytest.mark.parametrize("scale", [0.0, -0.5, np.nan, np.inf, 1e-60, 1e60])
def test_scales_that_float32_cannot_divide_by_are_refused(scale):
    with pytest.raises(RequestError, match="scales are finite and above zero"):
        one(scale)


@pytest.mark.parametrize(("zero_point", "dtype"), [(128, "int8"), (-129, "int8"), (-1, "uint8"), (2**40, "int16")])
def test_zero_points_that_the_type_does_not_hold_are_refused(zero_point, dtype):
    with pytest.raises(RequestError, match="does not hold it"):
        one(0.5, zero_point, dtype)


def test_a_zero_point_that_is_no_whole_number_is_refused():
    with pytest.raises(RequestError, match="whole numbers"):
        one(0.5, 0.5)


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint16"])
def test_types_that_no_kernel_has_are_refused(dtype):
    with pytest.raises(RequestError, match="quantised tensors are"):
        one(0.5, 0, dtype)


@pytest.mark.parametrize(("scales", "zeros", "axis"), [([0.5, 0.5], [0], 0), ([0.5, 0.5], [0, 0], None), (0.5, 0, 0)])
def test_scales_and_zero_points_that_do_not_match_are_refused(scales, zeros, axis):
    with pytest.raises(RequestError, match="scales"):
        Quantisation(scales, zeros, axis, "int8")


@pytest.mark.parametrize(("axis", "words"), [(1, "another"), (4, "axes"), (-1, "axes")])
def test_scales_of_an_axis_that_is_not_theirs_are_refused(axis, words):
    q = Quantisation([0.5, 0.5], [0, 0], axis, "int8")
    with pytest.raises(RequestError, match=words):
        QuantisedTensor(np.zeros((2, 3, 1, 1), np.int8), q)


def test_scales_of_the_channels_instead_of_the_filters_are_refused():
    q = Quantisation([0.5, 0.5], [0, 0], 1, "int8")
    with pytest.raises(RequestError, match="filters are the first axis"):
        QuantisedTensor(np.zeros((3, 2, 1, 1), np.int8), q)


def test_an_array_of_another_type_than_its_quantisation_is_refused():
    with pytest.raises(RequestError, match="uint8"):
        QuantisedTensor(np.zeros(3, np.uint8), one())


@EXECUTIONS
def test_activations_with_many_scales_are_refused(execution):
    q = Quantisation([0.5, 0.5], [0, 0], 0, "int8")
    x = QuantisedTensor(np.zeros((2, 1, 1, 1), np.int8), q)
    with pytest.raises(RequestError, match="activations have one"):
        execution.KERNELS["tflite"].requantize(x, to=one())


@EXECUTIONS
@pytest.mark.parametrize(
    ("op", "shape", "bias"),
    [
        ("pointwise_conv2d", (2, 4), None),
        ("conv2d", (2, 4, 1, 1), None),
        ("conv2d", (2, 3), None),
        ("depthwise_conv2d", (4, 1, 1), None),
        ("pointwise_conv2d", (2, 3), np.zeros(3, int)),
        ("pointwise_conv2d", (2, 3), np.zeros(2, np.float32)),
    ],
)
def test_weights_and_biases_that_do_not_fit_are_refused(execution, op, shape, bias):
    attrs = {} if op == "pointwise_conv2d" else PLACES
    with pytest.raises(RequestError, match=r"fit|channels|bias"):
        getattr(execution.KERNELS["tflite"], op)(tensor((1, 3, 2, 2)), tensor(shape), bias, **attrs, to=one())


@EXECUTIONS
def test_a_kernel_larger_than_the_map_is_refused(execution):
    x = tensor((1, 1, 2, 2))
    with pytest.raises(RequestError, match="does not fit in"):
        execution.KERNELS["tflite"].conv2d(x, tensor((1, 1, 3, 1)), None, **PLACES, to=one())
    with pytest.raises(RequestError, match="does not fit in"):
        execution.KERNELS["tflite"].max_pool2d(x, kernel=(1, 3), **PLACES, to=one())


@EXECUTIONS
def test_an_activation_that_no_kernel_fuses_is_refused(execution):
    x = tensor((1, 1, 1, 1), dtype="uint8")
    for kernels in ("tflite", "fbgemm"):
        with pytest.raises(RequestError, match="hard_swish"):
            execution.KERNELS[kernels].add(x, x, to=x.quantisation, act="hard_swish")


@EXECUTIONS
def test_ratios_that_no_shift_makes_up_for_are_refused(execution):
    x, w = tensor((1, 1, 1, 1), 1e18), tensor((1, 1), 1e18)
    with pytest.raises(RequestError, match="ratio"):
        execution.KERNELS["tflite"].pointwise_conv2d(x, w, None, to=one(1e-18))


@EXECUTIONS
def test_what_makes_kernels_abort_is_refused(execution):
    rules = execution.KERNELS["tflite"]
    x = tensor((1, 600), 0.1)
    with pytest.raises(RequestError, match="512"):
        rules.softmax(x, to=one(1 / 256, -128))
    with pytest.raises(RequestError, match="1/256"):
        rules.softmax(x, to=one(1 / 128, -128))
    with pytest.raises(RequestError, match="abort"):
        rules.hard_swish(x, to=one(1e-5))
    with pytest.raises(RequestError, match="abort"):
        rules.add(x, x, to=one(1e-8))


@EXECUTIONS
def test_a_pool_of_part_of_a_map_is_not_pytorch_s_nor_onnxruntime_s(execution):
    x = tensor((1, 1, 3, 3), dtype="uint8")
    for kernels in ("onnxruntime", "fbgemm", "qnnpack"):
        with pytest.raises(RequestError, match="whole maps"):
            execution.KERNELS[kernels].avg_pool2d(x, kernel=(2, 2), **PLACES, to=x.quantisation)
