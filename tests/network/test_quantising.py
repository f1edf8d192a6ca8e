"""Networks of floats made networks of integers: TensorFlow Lite's 8-bit specification."""

from __future__ import annotations

import json

import numpy as np
import pytest

import refnet
from refnet.cli import main
from refnet.errors import FormatError, RequestError
from refnet.files.digits import digits
from refnet.graph import SOURCE
from refnet.network.quantised import QuantisedNetwork
from refnet.network.quantising import RANGES, Ranges, calibrated, quantise, signal_to_noise
from refnet.pack.integers import read_integer_pack
from refnet.readings.integer import loops
from refnet.readings.integer.quantisation import QuantisedTensor


@pytest.fixture(scope="module")
def images():
    return digits().inputs()[:96]


@pytest.fixture(scope="module")
def integers(images):
    return quantise(refnet.load(), [images[:64]])


def test_weights_are_symmetric_by_filter_and_the_largest_is_127(integers):
    weights = [each for each in integers.params.values() if isinstance(each, QuantisedTensor) and each.values.ndim > 1]
    filters = [w for w in weights if w.quantisation.axis == 0]
    assert len(filters) > 20
    for w in filters:
        assert w.values.dtype == np.int8
        assert not w.quantisation.zero_point.any()
        assert set(np.abs(w.values.astype(int)).reshape(len(w.values), -1).max(axis=1)) <= {0, 127}


def test_a_bias_is_in_steps_of_input_times_weight(integers):
    folded = refnet.load().fold()
    node = integers.graph["block1.project"]
    step = integers.quantised[node.inputs[0]].scale * integers.params["block1.project.w"].quantisation.scale
    b = integers.params["block1.project.b"]
    assert b.dtype == np.int32
    assert np.abs(b * step.astype(np.float64) - folded.params["block1.project.b"]).max() <= step.max() / 2 * (1 + 1e-6)


def test_ranges_hold_zero_and_what_calibration_saw(images):
    net = refnet.load().fold()
    ranges = calibrated(net, [images[:32], images[32:64]])
    trace = net.trace(images[:64])
    assert ranges.high["head.logits"] == trace["head.logits"].max()
    q = ranges.quantisation("head.logits")
    low, high = (float(q.scale) * (end - int(q.zero_point)) for end in (-128, 127))
    assert low <= 0 <= high
    assert abs(high - trace["head.logits"].max()) <= float(q.scale)


def test_a_tensor_of_nothing_but_zeros_has_a_scale():
    assert Ranges({"a": 0.0}, {"a": 0.0}).quantisation("a").single() == (1, 0)


@pytest.mark.parametrize("ranges", RANGES)
@pytest.mark.parametrize("by_filter", [True, False])
def test_the_digits_are_read_as_well_in_integers(images, ranges, by_filter):
    net = refnet.load()
    made = quantise(net, [images[:64]], ranges=ranges, by_filter=by_filter)
    agree = made(images[64:]).argmax(1) == net(images[64:]).argmax(1)
    assert agree.mean() >= 0.9


def test_by_filter_is_nearer_than_by_tensor(images, integers):
    net = refnet.load()
    one = quantise(net, [images[:64]], by_filter=False)
    far, near = (signal_to_noise(each, net.fold(), images[:32])["head.logits"] for each in (one, integers))
    assert near > far


def test_loops_make_the_same_integers(integers, images):
    fast = integers.trace(images[:1])
    slow = {node.name: y.values for node, y in integers.steps(images[:1], loops)}
    assert all(np.array_equal(fast[name], slow[name]) for name in fast)


def test_the_twin_has_the_weights_that_the_integers_stand_for(integers):
    w = integers.params["stem.conv.w"] if "stem.conv.w" in integers.params else integers.params["stem.act.w"]
    real = integers.dequantised().params["stem.conv.w"]
    scale = w.quantisation.scale.reshape(-1, 1, 1, 1)
    assert np.array_equal(real, w.values.astype(np.float32) * scale)


@pytest.mark.parametrize(
    "model",
    ["torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small", "keras/MobileNet", "timm/mobilenetv3_large_100"],
)
def test_every_family_can_be_quantised(model):
    graph = refnet.build(model, width=0.35 if "V3" not in model else 1.0, size=32, classes=5)
    net = refnet.Network(graph, refnet.random_params(graph))
    x = refnet.random_input(graph, batch=2).astype(np.float32)
    made = quantise(net, [x])
    assert made.trace(x).keys() >= {"head.logits", "head.pool"}
    assert (
        signal_to_noise(made, net.fold(), x)[
            "block1.project" if "block1.project" in made.graph else "block1.project.act"
        ]
        > 5
    )


def test_a_network_of_integers_is_written_and_read_again(integers, images, tmp_path, capsys):
    file = str(tmp_path / "digits.npz")
    np.save(tmp_path / "x.npy", images[:64])
    assert main(["quantise", "--calibrate", str(tmp_path / "x.npy"), "-o", file, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["same_class"] >= 60
    again = refnet.load(file)
    assert isinstance(again, QuantisedNetwork)
    assert np.array_equal(again(images[:8]), integers(images[:8]))
    assert again.graph.recipe == integers.graph.recipe


def test_a_pack_of_the_integers_is_written(images, tmp_path):
    np.save(tmp_path / "x.npy", images[:8])
    pack = tmp_path / "pack"
    assert main(["quantise", "--calibrate", str(tmp_path / "x.npy"), "-o", str(pack), "--accumulators"]) == 0
    found = read_integer_pack(pack)
    trace = found.net.trace(found.tensor(SOURCE))
    assert all(np.array_equal(found.tensor(name), y) for name, y in trace.items())


def test_what_no_images_say_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["quantise", "--calibrate", str(tmp_path / "empty"), "-o", str(tmp_path / "q.npz")]) == 2
    assert "no folder with images in it" in capsys.readouterr().err
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    assert main(["quantise", "--calibrate", str(tmp_path / "broken"), "-o", str(tmp_path / "q.npz")]) == 2
    said = capsys.readouterr().err
    assert (said.count("a.png"), said.count("\n")) == (1, 1)
    assert not (tmp_path / "q.npz").exists()
    with pytest.raises(RequestError, match="no images to calibrate on"):
        quantise(refnet.load(), [])
    with pytest.raises(RequestError, match="take one of minmax, percentile, mse"):
        quantise(refnet.load(), [np.zeros((1, 3, 32, 32), np.float32)], ranges="all")


def test_a_file_that_was_changed_is_refused(integers, tmp_path):
    from refnet.files.integers_npz import ABOUT, write_integers_npz

    path = tmp_path / "digits.npz"
    write_integers_npz(path, integers.graph, integers.params, integers.quantised, integers.kernels)
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    text = arrays[ABOUT].tobytes().replace(b'"zero_point": -128', b'"zero_point": -1280', 1)
    arrays[ABOUT] = np.frombuffer(text, np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(FormatError, match="a zero point of -1280: int8 does not hold it"):
        refnet.load(path)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [3e38, -3e38])
def test_images_whose_numbers_leave_float32_on_their_way_are_refused(value):
    net = refnet.load()
    with pytest.raises(RequestError, match="calibrate on images as the network takes them"):
        refnet.quantise(net, [np.full((1, 3, 32, 32), value, np.float32)])
