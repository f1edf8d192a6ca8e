"""Rules of importers by themselves, beside a builder that notes what it is asked for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from refnet import FormatError
from refnet.files.containers import torch_modules
from refnet.files.containers.structure import Contents, IntegerScale, Operation, Structure
from refnet.files.importers import keras, ncnn, onnx, onnx_real, openvino, tflite_integers, tflite_moves
from refnet.files.importers.builder import Map


def asked(method):
    """A builder with one method, which gives back what it is given."""
    return SimpleNamespace(batch=2, **{method: lambda *given, **options: (given, options)})


def image(height, width, axes="NCHW"):
    return Map("x", (3, height, width), axes)


def operation(**attrs):
    return Operation("", ("x",), ("y",), attrs)


# ----------------------------------------------------------------------------------------------------------------- ncnn


def test_a_window_of_ncnn_that_adapts_is_refused():
    with pytest.raises(FormatError, match="adaptive"):
        ncnn._pooling(asked("pool"), operation(**{"7": 1, "1": 2, "2": 2}), image(4, 4))


def test_a_reduction_of_ncnn_is_the_mean_over_the_axes_that_it_names():
    given, options = ncnn._reduction(asked("mean"), operation(**{"0": 3, "1": 0, "3": (1, 2), "4": 1}), "map")
    assert (given, options) == (("y", "map", "HW"), {"keep": True})


def test_a_shape_of_ncnn_has_the_sizes_that_are_said_channels_first():
    assert ncnn._reshape(asked("reshape"), operation(**{"0": 5, "2": 7}), "map") == (("map", (2, 7, 5)), {})


# --------------------------------------------------------------------------------------- windows beyond the last column


@pytest.mark.parametrize(("side", "beyond"), [(7, False), (8, True), (11, False)])
def test_windows_are_refused_only_where_they_reach_beyond_the_padding(side, beyond):
    """A kernel of 3 at stride 4: 7 and 11 end with a whole window, 8 is rounded up beyond it."""
    of_onnx = operation(kernel_shape=(3, 3), strides=(4, 4), ceil_mode=1)
    of_openvino = operation(kernel="3,3", strides="4,4", pads_begin="0,0", pads_end="0,0", rounding_type="ceil")
    for pool, one in ((onnx._pool("max_pool2d"), of_onnx), (openvino._pool("max_pool2d"), of_openvino)):
        if beyond:
            with pytest.raises(FormatError, match="beyond the padding"):
                pool(asked("pool"), one, image(side, side))
        else:
            assert pool(asked("pool"), one, image(side, side))[1]["stride"] == (4, 4)


# ---------------------------------------------------------------------------------------------------------------- keras


def test_a_mean_of_keras_written_as_a_function_is_over_the_axes_of_its_input():
    function = operation(function="math.reduce_mean", keywords={"axis": (1, 2)})
    given, options = keras._KerasModel.lambda_operation(None, asked("mean"), function, image(4, 4, "NHWC"))
    assert (given[2], options) == ("HW", {"keep": False})


# ------------------------------------------------------------------------------------------------------------- integers


def test_a_mean_of_integers_reads_one_tensor_in_floats():
    pool = Operation("com.microsoft.QLinearAveragePool", ("x", "xs", "xz", "ys", "yz"), ("y",))
    made = onnx_real.real_operations(Contents("onnx", {}, Structure("", (pool,), {"x": ()}, ("y",))))
    assert [(op.op, op.inputs) for op in made.structure.operations] == [("AveragePool", ("x",))]


@pytest.mark.parametrize("place", [0, 1])
def test_an_operation_computes_in_integers_whichever_of_its_outputs_is_of_them(place):
    scale = IntegerScale(np.ones(1), np.zeros(1), 0)
    scales, dtypes = {"ab"[place]: scale}, {"a": "int8", "b": "int8"}
    structure = Structure("", (Operation("SPLIT", (), ("a", "b")),), {}, (), scales, dtypes)
    assert tflite_integers.is_quantised(structure)


# ----------------------------------------------------------------------------------------------------------------- pads


@pytest.mark.parametrize("pads", [[(1, 0), (0, 0), (0, 0), (0, 0)], [(0, 0), (0, 0), (0, -1), (0, 0)]])
def test_pads_along_the_batch_and_by_less_than_nothing_are_refused_each_alone(pads):
    with pytest.raises(FormatError, match="not along the batch"):
        tflite_moves.image_pads(image(4, 5, "NHWC"), SimpleNamespace(array=np.array(pads)))


# ---------------------------------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize(("count", "kept"), [(torch_modules._LONGEST, 1), (torch_modules._LONGEST + 1, 0)])
def test_a_set_of_texts_is_read_up_to_the_most_that_it_may_have(count, kept):
    assert len(torch_modules._texts(("a",) * count)) == kept
