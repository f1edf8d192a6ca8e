"""ONNX files that onnxruntime quantised, against the floats that they are of: honest ones, and edited ones."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from integer_files import INTEGERS
from onnx import numpy_helper

import refnet
from refnet.verification.verify import verify

MEANT = ("folded", "renamed", "int8")
QDQ = "v3_small_qdq.onnx"  # a scale for each filter
MODEL = "torchvision/mobilenet_v3_small"


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    """The network that they were made of, before batch norm was folded."""
    graph = refnet.build(MODEL, width=0.25, size=32, classes=10)
    path = tmp_path_factory.mktemp("floats") / "one.npz"
    refnet.write_weights(graph, refnet.random_params(graph), path)
    return path


def edited(folder, change, kind, place):
    """The QDQ file with what one input of a convolution's DequantizeLinear holds changed; 0 of x, 1 of w, 2 of b."""
    model = onnx.load(INTEGERS / QDQ)
    made = {name: node for node in model.graph.node for name in node.output}
    conv = [node for node in model.graph.node if node.op_type == "Conv"][4]
    name = made[conv.input[kind]].input[place]
    (array,) = [each for each in model.graph.initializer if each.name == name]
    array.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(array).copy()), name))
    onnx.save(model, folder / "edited.onnx")
    return folder / "edited.onnx"


@pytest.mark.parametrize("name", [QDQ, "v3_small_qoperator.onnx"])
def test_biases_of_integers_lie_within_half_a_step_of_their_own_scale(floats, name):
    found = verify(floats, INTEGERS / name, model=MODEL, allow=MEANT)
    assert not found.faults
    assert {value.rounding.form for value in found.values if value.name.endswith(".b")} == {"integers"}


def test_a_bias_that_is_two_steps_off_is_wrong_alone(floats, tmp_path):
    def more(b):
        b[3] += 2
        return b

    (fault,) = verify(floats, edited(tmp_path, more, 2, 0), model=MODEL, allow=MEANT).faults
    assert fault.name.endswith(".b")
    assert fault.at == (3,)


def test_scales_in_another_order_of_channels_are_factors_of_the_channels(floats, tmp_path):
    def turned(scales):
        return np.roll(scales, 1)

    (fault,) = verify(floats, edited(tmp_path, turned, 1, 1), model=MODEL, allow=MEANT).faults
    assert fault.kind == "channel-scaled"
    assert fault.rounding.form == "integers"
