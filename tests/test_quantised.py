"""Networks of integers against what runtimes made of the same files: every tensor, bit for bit."""

from __future__ import annotations

import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from support import CHECKOUT, DATA

import refnet
from refnet.cli import main
from refnet.errors import RequestError
from refnet.files import containers
from refnet.files.quantised import read_quantised
from refnet.graph import Node
from refnet.inputs import input_of
from refnet.readings.integer import fast, loops
from refnet.readings.integer.quantisation import QuantisedTensor
from refnet.readings.quantised import run_node

INTEGERS = DATA / "integers"
SHARED = CHECKOUT.parent / "shared"

# The runtime's golden integers of a file, the file, and the kernels that made them.
NETWORKS = {
    "vww_96_int8": ("vww_96/vww_96_int8.tflite", "tflite"),
    "coral_mobilenet_v1_0.25_128_quant": ("integers/v1_025_128_uint8.tflite", "tflite"),
    "weilly_v3small_int8": ("integers/v3_small_224_int8.tflite", "tflite"),
    "tflm_person_detect": ("integers/person_detect_int8.tflite", "tflite_micro"),
}


def shared(*names: str) -> Path:
    path = SHARED.joinpath(*names)
    if not path.exists():
        pytest.skip("needs the shared folder beside the repository")
    return path


def layout(y) -> np.ndarray:
    """A tensor as the file has it, channels last."""
    values = y.values if isinstance(y, QuantisedTensor) else np.asarray(y)
    return np.ascontiguousarray(np.moveaxis(values, 1, -1) if values.ndim > 2 else values)


def numbers(path) -> dict[str, int]:
    """The number of each tensor of a file, by its name."""
    return {name: index for index, name in enumerate(containers.read(path).structure.dtypes)}


def checksums(path, net, golden, image):
    """Of every tensor that the network makes of a golden input, and the runtime's."""
    number = numbers(path)
    crc = dict(zip(golden["op_output_tensor"].tolist(), golden[f"crc32_{image}"].tolist(), strict=True))
    made = [
        (number[net.keys[node.name]], zlib.crc32(layout(y).tobytes()))
        for node, y in net.steps(np.moveaxis(golden[f"input{image}"], -1, 1))
    ]
    return made, [(index, crc[index]) for index, _ in made]


@pytest.fixture(scope="module")
def vww(tmp_path_factory):
    """The network of MLPerf Tiny that ships with the tests, and what the reference kernels made of it."""
    with np.load(INTEGERS / "vww_96.npz", allow_pickle=False) as archive:
        golden = {name: archive[name] for name in archive.files}
    path = tmp_path_factory.mktemp("vww") / "vww.tflite"
    path.write_bytes(golden["model"].tobytes())
    return path, refnet.load(path), golden


@pytest.mark.parametrize("image", [0, 1])
def test_every_tensor_of_a_network_has_the_runtime_s_checksum(vww, image):
    path, net, golden = vww
    made, known = checksums(path, net, golden, image)
    assert made == known
    assert len(made) == 31


def test_a_network_of_integers_has_the_names_of_the_known_one(vww):
    _, net, _ = vww
    assert [node.name for node in net.graph.nodes][:3] == ["stem.act", "block1.depthwise.act", "block1.project.act"]
    assert net.graph["stem.act"].op == "conv2d"
    assert net.graph["stem.act"].attrs["act"] == "relu"
    assert [node.name for node in net.graph.nodes][-2:] == ["head.flatten", "output"]
    assert net.graph.recipe.model == "keras/MobileNet"


def test_real_numbers_make_real_ones_and_integers_make_integers(vww):
    _, net, golden = vww
    x = np.moveaxis(golden["input0"], -1, 1)
    y, real = net(x), net(net.reals(x))
    assert y.dtype == np.int8
    assert real.dtype == np.float32
    assert np.array_equal(real, (y.astype(np.float32) + 128) / 256)


def test_a_trace_holds_the_integers_that_steps_make(vww):
    _, net, golden = vww
    x = np.moveaxis(golden["input0"], -1, 1)
    trace = net.trace(x)
    assert list(trace) == [node.name for node in net.graph.nodes]
    assert trace["stem.act"].dtype == np.int8
    assert all(np.array_equal(trace[node.name], y.values) for node, y in net.steps(x))


def test_loops_make_the_same_integers(vww):
    _, net, golden = vww
    x = np.moveaxis(golden["input0"], -1, 1)
    trace = {name: QuantisedTensor(y, net.quantised[name]) for name, y in net.trace(x).items()}
    for name in ("block13.project.act", "head.pool", "head.logits", "output"):
        node = net.graph[name]
        inputs = [trace[each] for each in node.inputs]
        y = run_node(node, inputs, net.params, net.quantised[name], net.kernels, loops)
        assert np.array_equal(y.values, trace[name].values)


def test_the_twin_in_floats_stays_within_a_few_steps_of_the_integers(vww):
    _, net, golden = vww
    x = np.moveaxis(golden["input0"], -1, 1)
    real = net.dequantised()(net.reals(x))
    assert np.abs(net(net.reals(x)) - real).max() < 4 / 256


def test_other_kernels_make_other_integers_of_the_same_network(vww):
    _, net, golden = vww
    x = np.moveaxis(golden["input0"], -1, 1)
    mine, others = net.trace(x), net.under("xnnpack").trace(x)
    assert any(not np.array_equal(mine[name], others[name]) for name in mine)
    with pytest.raises(RequestError, match="no kernels are called 'nonsense'"):
        net.under("nonsense")


def test_a_network_of_integers_is_made_for_one_size(vww):
    _, net, _ = vww
    assert net.at(96) is net
    with pytest.raises(RequestError, match="made for one size of images"):
        net.at(128)


def test_a_network_of_integers_refuses_other_integers_than_its_own(vww):
    _, net, golden = vww
    x = np.moveaxis(golden["input0"], -1, 1)
    with pytest.raises(RequestError, match="uint8 for a network that takes float32 or int8"):
        net(x.view(np.uint8))
    with pytest.raises(RequestError, match="channels last"):
        net(golden["input0"])


def test_a_network_of_integers_can_be_pickled(vww):
    _, net, golden = vww
    x = np.moveaxis(golden["input0"], -1, 1)
    assert np.array_equal(pickle.loads(pickle.dumps(net))(x), net(x))


def test_images_are_prepared_for_the_range_of_the_input_s_integers(vww):
    _, net, _ = vww
    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[:48] = 255
    x = input_of(net, pixels)
    assert (x.min(), x.max()) == (0, 1)


@pytest.mark.parametrize("execution", [fast, loops], ids=["fast", "loops"])
def test_every_tensor_of_a_network_of_rarer_operations_has_the_runtime_s_checksum(execution, tmp_path):
    with np.load(INTEGERS / "moves.npz", allow_pickle=False) as golden:
        (tmp_path / "moves.tflite").write_bytes(golden["model"].tobytes())
        known = dict(zip(golden["name"].tolist(), golden["crc32"].tolist(), strict=True))
        x = np.moveaxis(golden["input0"], -1, 1)
    net = refnet.load(tmp_path / "moves.tflite")
    made = {net.keys[node.name]: zlib.crc32(layout(y).tobytes()) for node, y in net.steps(x, execution)}
    assert len(made) == 30
    assert made == {name: known[name] for name in made}


def test_the_engine_that_a_file_of_pytorch_does_not_name_is_said_to_be_assumed(capsys):
    path = str(INTEGERS / "torch_v2_qnnpack.pth")
    for command in (["run", "--weights", path, "--size", "32"], ["summary", path, "--size", "32"]):
        assert main(command) == 0
        assert "arithmetic of qnnpack, assumed: PyTorch's file does not say its engine" in capsys.readouterr().out
    assert main(["run", "--weights", path, "--size", "32", "--kernels", "fbgemm_avx2"]) == 0
    assert "computed: in the arithmetic of fbgemm_avx2\n" in capsys.readouterr().out
    assert main(["run", "--weights", path, "--size", "32", "--kernels", "fbgem"]) == 2
    assert "no kernels are called 'fbgem'; they are" in capsys.readouterr().err


def test_a_hard_swish_of_floats_between_integers_is_rounded_as_the_reference_kernel_does():
    x = np.array([0.7, 1.3, -0.4, 5.0], np.float32)
    y = run_node(Node("act", "hard_swish", ("input",)), [x], {}, None)
    once = [np.float32(v * np.float32(min(max(np.float32(v + np.float32(3)), 0), 6))) for v in x]
    assert y.tolist() == [float(np.float32(v / np.float32(6))) for v in once]


def test_a_file_of_floats_is_no_network_of_integers():
    assert read_quantised(DATA / "ppocr.npz") is None
    assert isinstance(refnet.load(), refnet.Network)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_of_a_shared_network_has_the_runtime_s_checksum(name):
    path, kernels = NETWORKS[name]
    path = shared("real", *path.split("/"))
    net = refnet.load(path).under(kernels)
    with np.load(shared("goldens", "integers", f"{name}.npz"), allow_pickle=False) as golden:
        for image in (0, 1):
            made, known = checksums(path, net, golden, image)
            assert made == known


@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_of_a_shared_network_is_right_on_the_runtime_s_own_inputs(name):
    path, kernels = NETWORKS[name]
    path = shared("real", *path.split("/"))
    net, number = refnet.load(path).under(kernels), numbers(path)
    wrong, judged = [], 0
    with np.load(shared("goldens", "integers", f"{name}.npz"), allow_pickle=False) as golden:
        made = {"input": net.given(np.moveaxis(golden["input0"], -1, 1))}
        for node in net.graph.nodes:
            q = net.quantised.get(node.name)
            y = run_node(node, [made[each] for each in node.inputs], net.params, q, kernels)
            stored = golden.get(f"tensor0_{number[net.keys[node.name]]}")
            if stored is not None:
                judged += 1
                mine = layout(y)
                wrong += (
                    [] if mine.dtype == stored.dtype and np.array_equal(mine.ravel(), stored.ravel()) else [node.name]
                )
                moved = np.moveaxis(stored.reshape(mine.shape), -1, 1) if mine.ndim > 2 else stored.reshape(mine.shape)
                y = QuantisedTensor(np.ascontiguousarray(moved), q) if q is not None else moved
            made[node.name] = y
    assert judged
    assert wrong == []


def test_no_element_of_the_saved_layers_of_a_shared_network_differs():
    folder = shared("real", "vww_96")
    net = refnet.load(folder / "vww_96_int8.tflite")
    with np.load(folder / "grace_hopper_int8_tensors_reference_kernels.npz", allow_pickle=False) as golden:
        saved = {name: golden[name] for name in golden.files}
    x = next(y for y in saved.values() if y.shape == (1, 96, 96, 3) and y.dtype == np.int8)
    made = {layout(y).tobytes() for _, y in net.steps(np.moveaxis(x, -1, 1))}
    assert len(made & {y.tobytes() for y in saved.values()}) == len(made)


@pytest.mark.parametrize(("form", "count"), [("qdq", 110), ("qoperator", 108)])
def test_every_integer_of_a_network_that_onnxruntime_quantised_has_its_checksum(form, count):
    net = refnet.load(INTEGERS / f"v3_small_{form}.onnx")
    assert net.kernels == "onnxruntime"
    assert net.graph.recipe.model == "torchvision/mobilenet_v3_small"
    with np.load(INTEGERS / "onnx_networks.npz", allow_pickle=False) as golden:
        known = {name.partition("|")[2]: int(golden[name]) for name in golden.files if name.startswith(f"{form}|")}
        trace = net.trace(golden["x"])
    made = {net.keys[name]: zlib.crc32(y.tobytes()) for name, y in trace.items() if y.dtype.kind in "iu"}
    both = made.keys() & known.keys()
    assert {name: made[name] for name in both} == {name: known[name] for name in both}
    assert len(both) == count


@pytest.mark.parametrize(("name", "kernels"), [("v2_qnnpack", "qnnpack"), ("v3_small_fbgemm", "fbgemm")])
def test_every_integer_of_a_network_that_pytorch_quantised_is_pytorch_s(name, kernels):
    net = refnet.load(INTEGERS / f"torch_{name}.pth", size=32)
    assert net.kernels == kernels
    with np.load(INTEGERS / "torch_networks.npz", allow_pickle=False) as golden:
        x, y, known = (golden[f"{name}|{key}"] for key in ("x", "y", "crc32"))
        assert np.array_equal(net(x), y)
        made = {node.name: y.values for node, y in net.steps(x) if isinstance(y, QuantisedTensor)}
    moved = {node.name for node in net.graph.nodes if node.op == "flatten"}
    wrong = [at for at, each in made.items() if at not in moved and zlib.crc32(each.tobytes()) not in known]
    assert wrong == []
    assert len(made) > 60


def test_the_twin_of_a_network_that_pytorch_quantised_is_near_it():
    net = refnet.load(INTEGERS / "torch_v2_qnnpack.pth", size=32)
    with np.load(INTEGERS / "torch_networks.npz", allow_pickle=False) as golden:
        x, y = golden["v2_qnnpack|x"], golden["v2_qnnpack|y"]
    real = net.dequantised()
    assert "relu6" not in {node.op for node in real.graph.nodes}
    assert np.corrcoef(real(x).ravel(), y.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", ["dense", "depthwise", "pointwise"])
def test_no_element_of_a_convolution_that_onnxruntime_quantises_dynamically_differs(name, tmp_path):
    with np.load(INTEGERS / "onnx_networks.npz", allow_pickle=False) as golden:
        model, x, y = (golden[f"dynamic_{name}_{key}"] for key in ("model", "x", "y"))
    path = tmp_path / "one.onnx"
    path.write_bytes(model.tobytes())
    net = refnet.load(path)
    assert isinstance(net, refnet.QuantisedNetwork)
    (node,) = net.graph.nodes
    assert node.op == {"dense": "conv2d"}.get(name, f"{name}_conv2d")
    made = net(x)
    assert made.dtype == np.float32
    assert np.array_equal(made, y)
