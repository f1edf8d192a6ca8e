"""Candidates that are models: which tensors are asked for, and how a runtime's troubles are reported.

No test needs a runtime: where one is run, it is a few lines of NumPy that stand in for it.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from refnet import FormatError, Network, RequestError
from refnet.bugs.sites import styles
from refnet.cli import main
from refnet.files.containers.structure import Operation
from refnet.judge.compare import compare
from refnet.pack.pack import read_pack
from refnet.runtimes.models import is_model, run_model, segment_ends

X = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5) - 60

ONNX = """
import json
from types import SimpleNamespace as S

def ValueInfoProto(name):
    return S(name=name)

def load(path):
    try:
        model = json.load(open(path))
    except ValueError as error:
        raise RuntimeError(f"cannot\\nparse: {error}")
    dims = [S(dim_value=n or 0) for n in model["input"]]
    inputs = [S(name="x", type=S(tensor_type=S(shape=S(dim=dims))))]
    nodes = [S(op_type=op, input=read, output=made) for op, read, made in model["nodes"]]
    graph = S(initializer=[S(name="w")], sparse_initializer=[], input=inputs, node=nodes,
              output=[S(name=nodes[-1].output[0])])
    return S(graph=graph, SerializeToString=lambda: (model, graph))
"""
ONNXRUNTIME = """
import os, signal
from types import SimpleNamespace as S
import numpy as np

GraphOptimizationLevel = S(ORT_ENABLE_ALL=99)
SessionOptions = S

class InferenceSession:
    def __init__(self, made, options, providers):
        print("a runtime may chatter")
        self.model, graph = made
        assert options.graph_optimization_level == 99
        assert [o.name for o in graph.output][0] == graph.node[-1].output[0]
        if self.model.get("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.model.get("refuse"):
            raise RuntimeError("[ONNXRuntimeError] : 10 : " + self.model["refuse"])

    def get_inputs(self):
        return [S(type=self.model.get("type", "tensor(float)"))]

    def run(self, wanted, fed):
        tensors = dict(fed)
        assert self.model["input"][0] in (0, len(fed["x"]))
        for op, read, made in self.model["nodes"]:
            tensors[made[0]] = RULES[op](*(tensors[name] for name in read if name != "w"))
        return [tensors[name] for name in wanted]

RULES = {
    "Conv": lambda x: 2 * x,
    "Relu": lambda x: np.maximum(x, 0),
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdims=True),
    "Flatten": lambda x: x.reshape(len(x), -1),
    "Shape": lambda x: np.array(x.shape),
}
"""
TFLITE = """
import json
import numpy as np

class Interpreter:
    def __init__(self, model_path, experimental_preserve_all_tensors):
        assert experimental_preserve_all_tensors
        self.model = json.loads(open(model_path).read()[8:])
        self.tensors = {1: np.array(self.model["weights"], self.model["tensors"][1][1])}

    def allocate_tensors(self):
        pass

    def get_tensor_details(self):
        return [self._entry(i, *rest) for i, rest in enumerate(self.model["tensors"])]

    def _entry(self, index, name, dtype, scale, zero_point):
        shape = np.array(self.model["input"])
        return {"index": index, "name": name, "dtype": np.dtype(dtype).type, "quantization": (scale, zero_point),
                "shape": np.maximum(shape, 1), "shape_signature": shape,
                "quantization_parameters": self.model["parameters"] if index == 1 else {}}

    def get_input_details(self):
        return [self.get_tensor_details()[0]]

    def get_output_details(self):
        return [self.get_tensor_details()[-1]]

    def _get_ops_details(self):
        return [{"op_name": op, "inputs": np.array(read), "outputs": np.array(made)}
                for op, read, made in self.model["nodes"]]

    def resize_tensor_input(self, index, shape):
        self.model["input"] = list(shape)

    def set_tensor(self, index, x):
        assert list(x.shape) == list(self.model["input"]), (x.shape, self.model["input"])
        self.tensors[index] = x

    def invoke(self):
        for op, read, made in self.model["nodes"]:
            y = self.tensors[read[0]]
            self.tensors[made[0]] = y if op == "CONV_2D" else y.mean((1, 2), keepdims=True).astype(y.dtype)

    def get_tensor(self, index):
        return self.tensors[index]
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Write Python packages that stand in for runtimes; they are found before any that is installed."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def put(**sources):
        for name, source in sources.items():
            (folder / f"{name}.py").write_text(source)

    return put


@pytest.fixture
def onnx(packages):
    packages(onnx=ONNX, onnxruntime=ONNXRUNTIME)


@pytest.fixture
def tflite(packages):
    packages(
        ai_edge_litert="from types import SimpleNamespace\n"
        + TFLITE
        + "interpreter = SimpleNamespace(Interpreter=Interpreter)"
    )


NODES = [
    ["Conv", ["x", "w"], ["c"]],
    ["Relu", ["c"], ["r"]],
    ["GlobalAveragePool", ["r"], ["p"]],
    ["Flatten", ["p"], ["f"]],
    ["Shape", ["r"], ["s"]],
    ["Conv", ["p", "w"], ["q"]],
    ["Flatten", ["q"], ["y"]],
]


def onnx_file(tmp_path, shape, **more):
    path = tmp_path / "port.onnx"
    path.write_text(json.dumps({"input": shape, "nodes": NODES, **more}))
    return path


def tflite_file(tmp_path, shape, dtype="float32", scale=0.0, zero_point=0, weights=(), **parameters):
    path = tmp_path / "port.tflite"
    tensors = [[name, dtype, scale, zero_point] for name in ("image", "weights", "stem", "stem")]
    nodes = [["CONV_2D", [0, 1, -1], [2]], ["MEAN", [2], [3]]]
    model = {"input": shape, "nodes": nodes, "tensors": tensors, "weights": weights, "parameters": parameters}
    path.write_text("....TFL3" + json.dumps(model))
    return path


def operations(text):
    """`c = Conv x w` on each line."""
    for line in text.strip().splitlines():
        made, op, *read = line.replace("=", " ").split()
        yield Operation(op, tuple(read), (made,))


# Which tensors are asked for


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("c = Conv x w\nb = BatchNormalization c w w w w\nr = Clip b w w\nd = Conv r w\ny = Flatten d", "r d y"),
        ("c = Conv x w\nh = HardSwish c\ny = GlobalAveragePool h", "h y"),
        # hard swish written out
        ("c = Conv x w\na = Add c w\nr = Clip a w w\nd = Div r w\nh = Mul c d\ny = GlobalAveragePool h", "h y"),
        ("c = Conv x w\ns = Sigmoid c\nh = Mul c s\ny = GlobalAveragePool h", "h y"),
        # squeeze-and-excite: the gate is another root than what it scales
        ("r = Conv x w\np = ReduceMean r\ne = Conv p w\ng = HardSigmoid e\ns = Mul r g\ny = Conv s w", "r p g s y"),
        # a residual sum, and one that is activated
        ("a = Conv x w\nb = Conv a w\nn = BatchNormalization b w w w w\ns = Add a n\ny = Conv s w", "a n s y"),
        ("a = Conv x w\nb = Conv a w\ns = Add a b\nr = Relu s\ny = Conv r w", "a b s r y"),
        # a bias of its own, and constants made by operations
        ("k = Constant\nl = Neg k\nm = MatMul x w\ny = Add m l", "y"),
        (
            "c = CONV_2D x w\nq = QUANTIZE c\np = MEAN q w\nf = RESHAPE p w\nd = FULLY_CONNECTED f w\ny = SOFTMAX d",
            "q p d y",
        ),
    ],
)
def test_only_the_ends_of_segments_are_asked_for(text, expected):
    assert segment_ends(operations(text), {"w"}, {"y"}) == expected.split()


# Running


def test_an_onnx_model_is_run(onnx, tmp_path):
    ran = run_model(onnx_file(tmp_path, [0, 3, 4, 5]), X)
    r = np.maximum(2 * X, 0)
    p = r.mean((2, 3), keepdims=True)
    assert list(ran.tensors) == ["r", "p", "q", "y"]
    np.testing.assert_array_equal(ran.tensors["r"], r)
    np.testing.assert_array_equal(ran.tensors["y"], 2 * p.reshape(2, 3))
    assert ran.scales == {}


def test_a_fixed_batch_is_honoured(onnx, tmp_path):
    whole = run_model(onnx_file(tmp_path, [0, 3, 4, 5]), X).tensors
    parts = run_model(onnx_file(tmp_path, [1, 3, 4, 5]), X).tensors
    assert {name: y.shape for name, y in parts.items()} == {name: y.shape for name, y in whole.items()}
    assert all(np.array_equal(parts[name], whole[name]) for name in whole)
    with pytest.raises(RequestError, match="takes 4 images at once, and the pack has 2"):
        run_model(onnx_file(tmp_path, [4, 3, 4, 5]), X)


def test_the_shape_says_the_layout(onnx, tmp_path):
    assert run_model(onnx_file(tmp_path, [0, 4, 5, 3]), X).tensors["r"].shape == (2, 4, 5, 3)
    with pytest.raises(RequestError, match=r"takes \(any, 3, 5, 4\), and the pack's input is \(2, 3, 4, 5\)"):
        run_model(onnx_file(tmp_path, [0, 3, 5, 4]), X)


def test_an_input_that_had_to_be_rounded_is_a_tensor_too(onnx, tmp_path):
    x = X / 3
    ran = run_model(onnx_file(tmp_path, [0, 3, 4, 5], type="tensor(float16)"), x)
    assert np.array_equal(ran.tensors["x"], x.astype(np.float16))
    assert ran.tensors["r"].dtype == np.float16
    with pytest.raises(RequestError, match="take a model that is given float32"):
        run_model(onnx_file(tmp_path, [0, 3, 4, 5], type="tensor(uint8)"), x)


@pytest.mark.parametrize("shape", [[1, 4, 5, 3], [-1, 4, 5, 3], [-1, -1, -1, 3]])
def test_a_tflite_model_is_run_channels_last(tflite, tmp_path, shape):
    ran = run_model(tflite_file(tmp_path, shape), X)
    assert list(ran.tensors) == ["stem", "stem#2"]
    np.testing.assert_array_equal(ran.tensors["stem"], X.transpose(0, 2, 3, 1))
    assert ran.tensors["stem#2"].shape == (2, 1, 1, 3)


def test_quantised_tensors_come_with_their_scale(tflite, tmp_path):
    ran = run_model(tflite_file(tmp_path, [1, 4, 5, 3], "int8", 0.5, -3), X)
    assert ran.scales == dict.fromkeys(("stem", "stem#2", "image"), (0.5, -3))
    expected = np.clip(np.rint(X / 0.5) - 3, -128, 127).astype(np.int8)
    np.testing.assert_array_equal(ran.tensors["image"], expected.transpose(0, 2, 3, 1))
    with pytest.raises(RequestError, match="takes uint8 without a scale"):
        run_model(tflite_file(tmp_path, [1, 4, 5, 3], "uint8"), X)


WHOLE = {"weights": [[127, -3], [5, -127]], "scales": [0.1, 0.2], "zero_points": [0, 0], "quantized_dimension": 0}


@pytest.mark.parametrize(
    ("changed", "weights"),
    [
        ({}, "int8"),
        ({"weights": [[127, -127], [5, -3]], "quantized_dimension": 1}, "int8"),
        ({"weights": [[127, -3], [0, 0]]}, "int8"),
        ({"weights": [[127, -3], [5, -126]]}, ""),  # a scale that its filter does not use up
        ({"scales": [0.1], "zero_points": [0]}, ""),  # one for all filters
        ({"zero_points": [0, 1]}, ""),
    ],
)
def test_weights_of_8_bits_are_known_from_the_file(tflite, tmp_path, changed, weights):
    ran = run_model(tflite_file(tmp_path, [1, 4, 5, 3], "int8", 0.5, -3, **{**WHOLE, **changed}), X)
    assert ran.weights == weights


def test_weights_of_floats_are_no_integers(tflite, tmp_path):
    assert run_model(tflite_file(tmp_path, [1, 4, 5, 3], **WHOLE), X).weights == ""


# Judging


@pytest.fixture
def pack(tmp_path):
    path = tmp_path / "golden"
    name = "torchvision/mobilenet_v3_small"
    assert main(["golden", name, "--width", "0.35", "--size", "40,56", "--classes", "6", "-o", str(path)]) == 0
    return path


def test_compare_runs_a_model_and_does_not_ask_what_its_inner_tensors_are(packages, pack, tmp_path, capsys):
    """A stand-in that has refnet's tensors of a fused runtime, by names of its own, and one that matches nothing."""
    golden = read_pack(pack)
    tensors = Network(golden.graph, dict(golden.params)).trace(golden.tensor("input"))
    names = styles(golden.graph)["fused"]
    np.savez(tmp_path / "made.npz", *[tensors[name] for name in names], -tensors["block2.expand"])
    packages(
        onnx=ONNX,
        onnxruntime=ONNXRUNTIME.replace(
            "tensors = dict(fed)", f"return list(np.load({str(tmp_path / 'made.npz')!r}).values())"
        ),
    )
    x = golden.tensor("input")
    nodes = [["Add", ["x", "x2"], [f"t{index}"]] for index in range(len(names) + 1)]
    path = onnx_file(tmp_path, [*x.shape], nodes=nodes)
    judged = compare(pack, path, explain=False)
    assert judged.holds
    assert judged.matching.unmatched == []
    assert main(["compare", str(pack), str(path)]) == 0
    assert capsys.readouterr().out.rstrip().endswith("holds")


# Troubles


def absent(name):
    return f"raise ModuleNotFoundError('No module named {name}', name={name!r})"


def test_a_missing_runtime_is_one_line_with_the_command(packages, tmp_path):
    names = ("onnx", "ai_edge_litert", "tensorflow")
    packages(**{name: absent(name) for name in names})
    with pytest.raises(RequestError) as raised:
        run_model(onnx_file(tmp_path, [0, 3, 4, 5]), X)
    assert str(raised.value).endswith("port.onnx: running .onnx files needs onnx: pip install onnx onnxruntime")
    with pytest.raises(RequestError, match=r"needs ai-edge-litert or tensorflow: pip install ai-edge-litert$"):
        run_model(tflite_file(tmp_path, [1, 4, 5, 3]), X)


def test_what_a_runtime_says_is_one_line(onnx, tmp_path):
    path = tmp_path / "port.onnx"
    path.write_bytes(b"\x08\x09garbage")
    with pytest.raises(FormatError, match=r"port.onnx: the onnx package refuses it: cannot parse: ") as raised:
        run_model(path, X)
    assert "\n" not in str(raised.value)
    with pytest.raises(FormatError, match=r"onnxruntime refuses it: .* INVALID_GRAPH in two lines$"):
        run_model(onnx_file(tmp_path, [0, 3, 4, 5], refuse="INVALID_GRAPH in\n two lines"), X)
    with pytest.raises(FormatError, match="has 2 axes, not four"):
        run_model(onnx_file(tmp_path, [0, 3]), X)


def test_a_runtime_that_crashes_takes_nothing_with_it(onnx, tmp_path):
    with pytest.raises(
        FormatError, match=r"port.onnx: damaged, or too much for its runtime, which crashed \(SIGSEGV\)"
    ):
        run_model(onnx_file(tmp_path, [0, 3, 4, 5], crash=True), X)


def test_a_runtime_that_breaks_off_is_quoted(packages, tmp_path):
    packages(onnx="import sys; sys.exit('out of luck')")
    with pytest.raises(FormatError, match="which said: out of luck"):
        run_model(onnx_file(tmp_path, [0, 3, 4, 5]), X)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.onnx", b"", "is empty"),
        ("a.tflite", b"", "is empty"),
        ("a.tflite", b"\x1c\0\0\0TFL2" + bytes(100), "is no TFLite model"),
        ("a.tflite", b"TFL3", "is no TFLite model"),
        ("a.tflite", b"PK\x03\x04" + bytes(100), "is no TFLite model"),
    ],
)
def test_garbage_is_refused_without_any_runtime(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=f"{name}: {words}"):
        run_model(tmp_path / name, X)


def test_the_command_line_says_it_in_one_line(pack, tmp_path, capsys):
    capsys.readouterr()
    (tmp_path / "a.tflite").write_bytes(b"hello")
    for name in ("a.tflite", "nowhere.onnx"):
        assert main(["compare", str(pack), str(tmp_path / name)]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert name in err


def test_a_folder_is_no_model(tmp_path):
    (tmp_path / "port.onnx").mkdir()
    assert not is_model(tmp_path / "port.onnx")
    assert is_model("port.onnx")
    assert not is_model("port.npz")
