"""Damaged files of integers: one line, exit 2, or what the runtime makes of them; the clamps that ranges imply."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from integer_files import write_vww

import refnet
from refnet.cli import main
from refnet.errors import FormatError, RefnetError, RequestError
from refnet.files import containers, importers
from refnet.files.containers.structure import IntegerScale
from refnet.files.importers.tflite_integers import import_tflite_integers
from refnet.readings.integer.quantisation import QuantisedTensor
from refnet.readings.quantised import run_integers


@pytest.fixture(scope="module")
def vww(tmp_path_factory):
    path, golden = write_vww(tmp_path_factory.mktemp("vww"))
    return path, containers.read(path), np.moveaxis(golden["input0"], -1, 1)


def changed(contents, tensor, **fields):
    """A file whose tensor has another scale, zero point or axis."""
    scales = dict(contents.structure.scales)
    scales[tensor] = scales[tensor]._replace(**fields)
    return contents._replace(structure=contents.structure._replace(scales=scales))


def stem(contents):
    """The output of the first convolution, and its weights."""
    first = contents.structure.operations[0]
    return first.outputs[0], first.inputs[1]


@pytest.mark.parametrize(
    ("scale", "said"),
    [(0.0, "a scale of 0.0"), (np.nan, "a scale of nan"), (-0.5, "a scale of -0.5"), (np.inf, "a scale of inf")],
)
def test_a_scale_that_is_none_is_refused(vww, scale, said):
    _, contents, _ = vww
    output, _ = stem(contents)
    broken = changed(contents, output, scales=np.array([scale], np.float32))
    with pytest.raises(FormatError, match=said):
        import_tflite_integers(broken, None)


def test_a_zero_point_out_of_range_is_refused(vww):
    _, contents, _ = vww
    output, _ = stem(contents)
    with pytest.raises(FormatError, match="a zero point of 200: int8 does not hold it"):
        import_tflite_integers(changed(contents, output, zero_points=np.array([200])), None)


def test_scales_along_another_axis_are_refused(vww):
    _, contents, _ = vww
    _, weights = stem(contents)
    with pytest.raises(FormatError, match="8 scales along axis 2, and its 8 filters are axis 0"):
        import_tflite_integers(changed(contents, weights, axis=2), None)


def test_several_scales_of_an_activation_are_refused(vww):
    _, contents, _ = vww
    output, _ = stem(contents)
    broken = changed(contents, output, scales=np.ones(2, np.float32), zero_points=np.zeros(2, np.int64))
    with pytest.raises(FormatError, match="has 2 scales: activations have one"):
        import_tflite_integers(broken, None)


def test_integers_without_a_scale_are_refused(vww):
    _, contents, _ = vww
    output, _ = stem(contents)
    scales = {name: scale for name, scale in contents.structure.scales.items() if name != output}
    broken = contents._replace(structure=contents.structure._replace(scales=scales))
    with pytest.raises(FormatError, match="holds int8 without a scale"):
        import_tflite_integers(broken, None)


def test_absurd_scales_are_refused_where_kernels_have_no_multiplier(vww):
    _, contents, x = vww
    output, _ = stem(contents)
    made = import_tflite_integers(changed(contents, output, scales=np.array([1e-30], np.float32)), None)
    given = QuantisedTensor(x, made.quantised["input"])
    with pytest.raises(RequestError, match="kernels multiply int32 by less than"):
        list(run_integers(made.graph, made.params, made.quantised, {"input": given}))


def test_sums_beyond_int32_wrap_as_registers_do(vww):
    """A bias near the end of int32 pushes sums over it: reference kernels add in int32."""
    _, contents, x = vww
    bias = contents.structure.operations[0].inputs[2]
    arrays = {**contents.arrays, bias: np.full_like(contents.arrays[bias], 2**31 - 5)}
    made = import_tflite_integers(contents._replace(arrays=arrays), None)
    given = QuantisedTensor(x, made.quantised["input"])
    _, y = next(run_integers(made.graph, made.params, made.quantised, {"input": given}))
    assert set(np.unique(y.values)) == {-128, 127}  # those that wrapped, and those that did not


def test_a_file_cut_anywhere_is_refused_in_one_line(vww, tmp_path, capsys):
    path, _, _ = vww
    data = path.read_bytes()
    for part in (0.1, 0.5, 0.9):
        cut = tmp_path / "cut.tflite"
        cut.write_bytes(data[: int(len(data) * part)])
        assert main(["run", "x.npy", "--weights", str(cut)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "Traceback" not in said


def test_bytes_that_were_changed_are_refused_or_run(vww, tmp_path):
    """Whatever a byte becomes, there is a network or one line, and never another exception."""
    path, _, x = vww
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(3)
    target = tmp_path / "changed.tflite"
    said = []
    for _ in range(40):
        other = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            other[place] = int(rng.integers(0, 256))
        target.write_bytes(bytes(other))
        with contextlib.suppress(RefnetError):
            made = import_tflite_integers(containers.read(target), None)
            given = {"input": QuantisedTensor(x, made.quantised["input"])}
            said.append(sum(1 for _ in run_integers(made.graph, made.params, made.quantised, given)))
    assert max(said) == 31


def test_a_clamp_that_a_range_implies_is_in_the_twin(vww):
    _, contents, _ = vww
    output, _ = stem(contents)
    first, *others = contents.structure.operations
    plain = first._replace(attrs={**first.attrs, "fused_activation_function": "NONE"})
    operations = contents.structure._replace(operations=(plain, *others))
    six = IntegerScale(np.array([6 / 255], np.float32), np.array([-128]), 0)
    for scale, op in ((contents.structure.scales[output], "relu"), (six, "relu6")):
        structure = operations._replace(scales={**operations.scales, output: scale})
        graph = importers.import_graph(contents._replace(structure=structure)).graph
        assert [node.op for node in graph.nodes[:2]] == ["conv2d", op]
    signed = IntegerScale(np.array([0.05], np.float32), np.array([0]), 0)
    structure = operations._replace(scales={**operations.scales, output: signed})
    graph = importers.import_graph(contents._replace(structure=structure)).graph
    assert [node.op for node in graph.nodes[:2]] == ["conv2d", "depthwise_conv2d"]


def test_an_answer_of_no_class_below_zero_has_no_clamp_in_the_twin(vww):
    _, contents, _ = vww
    output = next(each.outputs[0] for each in contents.structure.operations if each.op == "FULLY_CONNECTED")
    from_zero = IntegerScale(np.array([0.05], np.float32), np.array([-128]), 0)
    structure = contents.structure._replace(scales={**contents.structure.scales, output: from_zero})
    graphs = [
        importers.import_graph(contents._replace(structure=each)).graph for each in (contents.structure, structure)
    ]
    assert graphs[0].nodes == graphs[1].nodes


def test_run_and_evaluate_take_files_of_integers(vww, tmp_path, capsys):
    path, _, x = vww
    net = refnet.load(path)
    np.save(tmp_path / "integers.npy", x)
    np.save(tmp_path / "real.npy", net.reals(x))
    said = []
    for name in ("integers", "real"):
        assert main(["run", str(tmp_path / f"{name}.npy"), "--weights", str(path), "--json"]) == 0
        said.append(capsys.readouterr().out.replace(name, ""))
    assert said[0] == said[1]
    labels = net(net.reals(x)).argmax(1)
    np.savez(tmp_path / "set.npz", x=net.reals(x), y=labels)
    assert main(["evaluate", str(tmp_path / "set.npz"), "--weights", str(path), "--kernels", "xnnpack"]) == 0
    assert main(["summary", str(path)]) == 0
    assert "arithmetic of tflite, assumed: the reference kernels" in capsys.readouterr().out


def test_kernels_of_a_network_of_floats_are_refused(capsys):
    assert main(["run", "--kernels", "tflite"]) == 2
    assert "--kernels goes with a file of integers" in capsys.readouterr().err


def test_the_path_of_a_file_that_is_refused_is_named(tmp_path):
    path = Path(tmp_path, "empty.tflite")
    path.write_bytes(b"\0" * 64)
    with pytest.raises(FormatError, match=r"empty\.tflite"):
        refnet.load(path)
