"""ONNX files that onnxruntime quantised, against the floats that they are of: honest ones, and edited ones."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from integer_files import INTEGERS
from onnx import numpy_helper

import refnet
from refnet.cli import main
from refnet.readings.orders import rounded
from refnet.report.mistakes.arrays import detail
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


@pytest.mark.parametrize(
    ("kind", "by"),
    [(2, lambda s: s[0]), (2, lambda s: 1.3 * s.max()), (1, lambda s: s.max()), (1, lambda s: 1.3 * s.max())],
)
def test_integers_that_one_scale_made_for_all_channels_are_told_from_it(floats, tmp_path, kind, by):
    model = onnx.load(INTEGERS / QDQ)
    made = {name: node for node in model.graph.node for name in node.output}
    conv = [node for node in model.graph.node if node.op_type == "Conv"][4]
    held = {each.name: each for each in model.graph.initializer}
    q, steps = (numpy_helper.to_array(held[name]) for name in made[conv.input[kind]].input[:2])
    real = q * steps.reshape(-1, *(1,) * (q.ndim - 1)).astype(np.float64)
    again = np.rint(real / by(steps)).astype(q.dtype)
    held[made[conv.input[kind]].input[0]].CopyFrom(numpy_helper.from_array(again, made[conv.input[kind]].input[0]))
    onnx.save(model, tmp_path / "edited.onnx")
    (fault,) = verify(floats, tmp_path / "edited.onnx", model=MODEL, allow=MEANT).faults
    channel = int(np.abs(steps - by(steps)).argmin())
    words = f"by the scale of channel {channel}" if by(steps) in steps else "by one scale for all channels"
    assert fault.kind == "scales"
    assert words in detail(fault)


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


_MIXED = np.random.default_rng(1).permutation


@pytest.mark.parametrize(
    ("kind", "place", "change", "found", "words"),
    [
        (1, 1, lambda s: np.roll(s, 1), "scales", "the scales of its channels are rolled by 1"),
        (1, 1, lambda s: s[::-1].copy(), "scales", "the scales of its channels are in reverse order"),
        (1, 1, lambda s: s[_MIXED(len(s))], "scales", "scales of its channels are in another order"),
        (1, 1, lambda s: np.full_like(s, s.max()), "scales", "all channels have one scale"),
        (1, 0, lambda w: np.roll(w, 1, axis=0), "permuted", "the channels are rolled by 1"),
        (1, 0, lambda w: w[_MIXED(len(w))], "permuted", "channels are in another order"),
        (1, 0, lambda w: w[:, ::-1].copy(), "permuted", "the input channels are in reverse order"),
        (1, 0, lambda w: w ^ np.int8(-128), "misread", "signed bytes are taken for unsigned ones moved by 128"),
        (2, 1, lambda s: np.roll(s, 1), "scales", "the scales of its channels are rolled by 1"),
    ],
)
def test_what_became_of_integers_and_their_scales_is_told(floats, tmp_path, kind, place, change, found, words):
    (fault,) = verify(floats, edited(tmp_path, change, kind, place), model=MODEL, allow=MEANT).faults
    assert fault.kind == found
    assert words in detail(fault)
    assert fault.rounding.form == "integers"


@pytest.mark.parametrize(
    ("place", "store", "half", "words"),
    [
        (1, np.int8, 0.0, "cut off toward zero instead of rounded"),
        (2, np.int32, 0.0, "cut off toward zero instead of rounded"),
        (1, np.int8, 0.5, "cut off toward zero once half is added"),
    ],
)
def test_integers_that_are_cut_off_toward_zero_are_told_from_a_factor(floats, tmp_path, place, store, half, words):
    """Weights and biases."""
    name, path = requantised(floats, tmp_path, place, lambda real, steps: np.trunc(real / steps + half).astype(store))
    (fault,) = verify(floats, path, model=MODEL, allow=MEANT).faults
    assert (fault.name, fault.kind) == (name, "cut-off")
    assert words in detail(fault)


def test_a_bias_that_was_rounded_to_a_short_format_before_it_was_made_integers_is_told(floats, tmp_path):
    """Its integers are some steps off where it is thousands of steps large."""
    name, path = requantised(
        floats, tmp_path, 2, lambda real, steps: np.rint(rounded(real, "bfloat16") / steps).astype(np.int32)
    )
    (fault,) = verify(floats, path, model=MODEL, allow=MEANT).faults
    assert (fault.name, fault.kind) == (name, "short-first")
    assert "rounded to bfloat16 before" in detail(fault)


def requantised(floats, tmp_path, place, make):
    """A file in which one layer's weights or bias were made integers otherwise: the array's name, and the file."""
    model = onnx.load(INTEGERS / QDQ)
    made = {name: node for node in model.graph.node for name in node.output}
    conv = [node for node in model.graph.node if node.op_type == "Conv"][4]
    held = {each.name: each for each in model.graph.initializer}
    name, scale = made[conv.input[place]].input[:2]
    known = verify(floats, INTEGERS / QDQ, model=MODEL, allow=MEANT)
    (ours,) = [value.name for value in known.values if value.copy == f"{name}.real"]
    real = refnet.load(floats).fold().params[ours].reshape(numpy_helper.to_array(held[name]).shape)
    steps = numpy_helper.to_array(held[scale]).reshape(-1, *(1,) * (real.ndim - 1))
    held[name].CopyFrom(numpy_helper.from_array(make(real, steps), name))
    onnx.save(model, tmp_path / "edited.onnx")
    return ours, tmp_path / "edited.onnx"


def test_integers_that_cannot_be_run_are_judged_by_what_they_stand_for(floats, capsys, monkeypatch):
    def refuse(*_):
        raise refnet.FormatError("a bias beside int16")

    monkeypatch.setattr("refnet.cli.verify._integers", refuse)
    argv = ["verify", str(floats), "--against", str(INTEGERS / QDQ), "--model", MODEL, "--allow", ",".join(MEANT)]
    assert main(argv) == 0
    assert "not run: a bias beside int16" in capsys.readouterr().out
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["integers"] == {"remark": "a bias beside int16"}


def test_of_two_quantisations_of_one_network_the_weights_are_no_nearest_integers_of_each_other(capsys):
    """One has a scale for each filter, the other one for all."""
    files = [str(INTEGERS / name) for name in (QDQ, "v3_small_qoperator.onnx")]
    for first, second in (files, files[::-1]):
        assert main(["verify", first, "--against", second, "--model", MODEL, "--allow", ",".join(MEANT), "--json"]) == 0
        integers = json.loads(capsys.readouterr().out)["integers"]
        assert integers["holds"]
        assert not {"weights", "bias"} & {each["kind"] for each in integers["findings"]}
