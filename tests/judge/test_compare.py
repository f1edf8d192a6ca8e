"""A port against a pack, through the front: what is read of it, in which precision it is judged, what is refused."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from refnet import Network, RequestError, build, random_params, write_pack, write_weights
from refnet.graph import SOURCE
from refnet.judge import compare as module
from refnet.judge import declared as arithmetic
from refnet.judge.compare import Comparison, TensorScale, compare
from refnet.judge.dumps.real_tensors import RealTensors
from refnet.pack.matching.match import MatchedTensor
from refnet.pack.pack import read_pack
from refnet.pack.probe import probe
from refnet.readings.precision import WEIGHTS
from refnet.runtimes.models import Ran

GRAPH = build("timm/mobilenetv1_100", width=0.25, size=(32, 40), classes=5)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 1)
TRACE = NET.trace(X)
ACT = "stem.act"
SCALE = float(TRACE[ACT].max()) / 250  # of uint8, wide enough


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("packs") / "golden"
    write_pack(NET, X, path, origin={})
    return read_pack(path)


@pytest.fixture(scope="module")
def partial_pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("packs") / "some"
    write_pack(NET, X, path, origin={}, only="stem.*")
    return read_pack(path)


@pytest.fixture
def declared(monkeypatch):
    """What `judge_tensors` is asked: the precision of each tensor and all else."""
    asked = {}
    real = module.judge_tensors

    def judged(reference, tensors, **how):
        asked.update(how, tensors=tensors)
        return real(reference, tensors, **how)

    monkeypatch.setattr(module, "judge_tensors", judged)
    return asked


def some(**changed):
    """The first three tensors of the stem, some changed."""
    return {name: TRACE[name] for name in ("stem.conv", "stem.bn", ACT)} | changed


def stored(scale=SCALE, zero=0, dtype=np.uint8):
    limits = np.iinfo(dtype)
    return np.clip(np.rint(TRACE[ACT] / scale) + zero, limits.min, limits.max).astype(dtype)


def test_a_comparison_has_a_finding_for_each_golden_tensor_and_causes_for_the_wrong_ones(pack):
    found = compare(pack, {**TRACE, "stem.bn": TRACE["stem.bn"][:, ::-1].copy()})
    assert isinstance(found, Comparison)
    assert [each.name for each in found.findings] == [SOURCE, *TRACE]
    assert not found.holds
    assert found.wrong() == ["stem.bn"]  # what reads it goes on with the numbers that were right
    assert set(found.causes) == {"stem.bn"}


def test_a_pack_may_be_given_as_a_path(tmp_path):
    write_pack(NET, X, tmp_path / "pack", origin={}, only="stem.*")
    for path in (tmp_path / "pack", str(tmp_path / "pack")):
        assert compare(path, TRACE).holds


def test_no_causes_are_looked_for_unless_asked(pack):
    found = compare(pack, some(**{ACT: TRACE[ACT] + 1}), partial=True, explain=False)
    assert found.wrong() == [ACT]
    assert found.causes == {}


def test_a_tensor_of_another_name_is_matched_by_a_map(pack):
    found = compare(pack, {"a": TRACE[ACT]}, names={"a": ACT}, partial=True)
    assert {node: each.source for node, each in found.matching.tensors.items()} == {ACT: "a"}


def test_a_tensor_that_the_pack_does_not_store_is_matched_by_content_too(partial_pack):
    name = "block3.depthwise"
    found = compare(partial_pack, {**some(), "mine": TRACE[name]})
    assert found.matching.tensors[name].source == "mine"
    assert found.holds


def test_what_a_pack_does_not_store_is_computed_once(partial_pack, monkeypatch):
    runs = []
    trace = Network.trace
    monkeypatch.setattr(Network, "trace", lambda net, x: runs.append(x.dtype) or trace(net, x))
    golden = module._Golden(partial_pack, partial_pack.graph)
    assert golden.tensor(ACT) is not None
    assert runs == []
    for name in list(TRACE)[5:8]:
        exact = TRACE[name].astype(np.float64)
        assert np.abs(golden.tensor(name) - exact).max() <= 1e-5 * np.abs(exact).max()
        assert golden.tensor(name).dtype == np.float32
    assert runs == [np.float64]
    assert not set(golden.computed) & set(partial_pack.names)


# ---------------------------------------------------------------------------------------------------- integers, floats


def test_an_integer_stands_for_scale_times_its_distance_from_the_zero_point(pack):
    real = RealTensors({"q": np.array([0, 10, 255], np.uint8)}, {"q": TensorScale(0.5, 10)})
    np.testing.assert_array_equal(real["q"], np.array([-5, 0, 122.5], np.float32), strict=True)
    assert (list(real), len(real), real.shapes) == (["q"], 1, {"q": (3,)})


@pytest.mark.parametrize(
    ("dtype", "span"),
    [(np.uint8, (-5.0, 122.5)), (np.int8, (-69.0, 58.5)), (np.int16, (-16389.0, 16378.5)), (np.float32, None)],
)
def test_an_integer_type_has_a_span(dtype, span):
    real = RealTensors({"q": np.zeros(1, dtype)}, {"q": TensorScale(0.5, 10)})
    assert real.span("q") == (span or (-math.inf, math.inf))


def test_half_a_step_and_the_span_join_the_precision_of_integers_and_of_nothing_else(pack, declared):
    found = compare(pack, some(**{ACT: stored()}), scales={ACT: TensorScale(SCALE)}, partial=True)
    assert found.holds
    precision = declared["precision"]
    assert precision[ACT].step == SCALE / 2
    assert precision[ACT].span == (0.0, 255 * SCALE)
    assert precision["stem.bn"].step == 0
    assert math.inf in precision["stem.bn"].span


def test_integers_under_names_that_a_map_gives_are_read(pack):
    dump = {{ACT: "t07"}.get(name, name): y for name, y in some(**{ACT: stored()}).items()}
    assert compare(pack, dump, names={"t07": ACT}, scales={"t07": TensorScale(SCALE)}, partial=True).holds


def test_integers_without_a_scale_are_refused(pack):
    with pytest.raises(RequestError, match=r"stem\.act: holds uint8; give its scale"):
        compare(pack, some(**{ACT: stored()}), partial=True)


def test_a_scale_of_a_tensor_that_is_not_there_is_refused(pack):
    with pytest.raises(RequestError, match=r"no tensor 'stem\.axt'; it has stem\.conv, stem\.bn, stem\.act$"):
        compare(pack, some(), scales={"stem.axt": TensorScale(1.0)}, partial=True)


@pytest.mark.parametrize(
    ("how", "u", "u_store"),
    [
        ({}, 2**-24, 2**-24),
        ({"precision": "bfloat16"}, 2**-24, 2**-8),
        ({"accumulate": "float16"}, 2**-11, 2**-24),
        ({"precision": "float16", "accumulate": "bfloat16"}, 2**-8, 2**-11),
    ],
)
def test_precision_is_of_what_is_stored_and_accumulate_of_sums(pack, declared, how, u, u_store):
    compare(pack, some(), partial=True, **how)
    for each in declared["precision"].values():
        assert (each.u, each.u_store) == pytest.approx((u, u_store), rel=1e-6)  # float64's own comes on top
    assert {each.levels for each in declared["precision"].values()} == {0}


def test_by_default_each_tensor_has_the_precision_that_it_is_stored_in(pack, declared):
    assert compare(pack, some(**{ACT: TRACE[ACT].astype(np.float16)}), partial=True).holds
    units = {name: each.u_store for name, each in declared["precision"].items()}
    assert units == pytest.approx({"stem.conv": 2**-24, "stem.bn": 2**-24, ACT: 2**-11}, rel=1e-6)


def test_weights_that_are_declared_as_integers_have_their_levels(pack, declared):
    compare(pack, some(), weights="int8", partial=True)
    assert {each.levels for each in declared["precision"].values()} == {WEIGHTS["int8"]} == {127}


# ------------------------------------------------------------------------------------------------------------- a model


def ran(monkeypatch, tensors, own, weights):
    """Let a runtime have run any model, and say what it was given."""
    given = []
    monkeypatch.setattr(module, "run_model", lambda path, x: given.append((path, x)) or (tensors, own, weights))
    return given


def test_a_model_is_run_on_the_packs_input(pack, monkeypatch, tmp_path):
    (tmp_path / "port.onnx").write_bytes(b"")
    given = ran(monkeypatch, TRACE, {}, None)
    assert compare(pack, tmp_path / "port.onnx").holds
    ((path, x),) = given
    assert path == tmp_path / "port.onnx"
    np.testing.assert_array_equal(x, X)


def test_inner_tensors_of_a_model_need_no_match_and_those_of_a_folder_do(pack, monkeypatch, tmp_path):
    inner = {"runtime/reorder": np.arange(7, dtype=np.float32)}
    (tmp_path / "port.onnx").write_bytes(b"")
    ran(monkeypatch, TRACE | inner, {}, None)
    assert compare(pack, tmp_path / "port.onnx").matching.unmatched == []
    beside = compare(pack, TRACE | inner).matching
    assert beside.unmatched == []
    assert [(extra.source, extra.kind) for extra in beside.extras] == [("runtime/reorder", "unknown")]


def test_inner_tensors_of_a_model_whose_output_alone_is_judged_are_told(pack, monkeypatch, tmp_path):
    """They add nothing."""
    last, inner = list(TRACE)[-1], {"runtime/reorder": np.arange(7, dtype=np.float32)}
    (tmp_path / "port.onnx").write_bytes(b"")
    ran(monkeypatch, {last: TRACE[last]} | inner, {}, None)
    assert [extra.source for extra in compare(pack, tmp_path / "port.onnx").matching.extras] == ["runtime/reorder"]


def test_scales_and_weights_of_a_model_are_its_own_unless_given(pack, declared, monkeypatch, tmp_path):
    (tmp_path / "port.tflite").write_bytes(b"")
    ran(monkeypatch, some(**{ACT: stored()}), {ACT: (SCALE, 0)}, "int8")
    assert compare(pack, tmp_path / "port.tflite", partial=True).holds
    assert (declared["precision"][ACT].step, declared["precision"][ACT].levels) == (SCALE / 2, 127)
    compare(pack, tmp_path / "port.tflite", scales={ACT: TensorScale(2 * SCALE)}, partial=True)
    assert declared["precision"][ACT].step == SCALE


# ------------------------------------------------------------------------------------------------- shapes and refusals


@pytest.mark.parametrize(("times", "is_read"), [(16, True), (17, False)])
def test_a_tensor_more_than_sixteen_times_its_node_is_not_read(times, is_read):
    reads = []
    found = MatchedTensor(lambda: reads.append(1) or np.ones((times, 6), np.float32), "a", "unknown", "map")
    y = module._read(found, (times, 6), (2, 3))
    assert (y.shape, bool(reads)) == ((times, 6), is_read)
    assert y.dtype == np.float32


def test_a_candidate_of_which_nothing_matches_is_refused_by_its_first_names(pack):
    strangers = {name: np.ones((2, 7, 3), np.float32) for name in "abcdef"}
    with pytest.raises(RequestError, match=r"\(a, b, c, d \.\.\.\); name them with --map"):
        compare(pack, strangers)


def test_tensors_of_a_recognised_file_are_told_by_its_structure(pack, tmp_path, monkeypatch):
    """A model whose weights are others and whose names say nothing: neither names nor values tell a tensor."""
    onnx = pytest.importorskip("onnx")
    rng, path = np.random.default_rng(0), tmp_path / "port.onnx"
    other = {name: rng.permutation(y.ravel()).reshape(y.shape) for name, y in NET.params.items()}
    write_weights(GRAPH, other, path)
    model = onnx.load(str(path))
    names = {output: f"t{index}" for index, node in enumerate(model.graph.node) for output in node.output}
    for node in model.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(name, name) for name in ends]
    for output in model.graph.output:
        output.name = names[output.name]
    onnx.save(model, str(path))
    made = {names[name]: y for name, y in Network(GRAPH, other).trace(X).items()}
    monkeypatch.setattr(module, "run_model", lambda *_: Ran(made, {}))
    found = compare(pack, path, explain=False).matching
    assert {each.how for each in found.tensors.values()} == {"structure"}
    assert {node: each.source for node, each in found.tensors.items()} == {node: names[node] for node in TRACE}


@pytest.mark.parametrize(("wrong", "judged", "better"), [((0, 0), 1, False), ((4, 1), 2, True), ((4, 2), 2, False)])
def test_where_nothing_is_wrong_no_other_precision_is_tried(wrong, judged, better, monkeypatch):
    counts = iter(wrong)
    asked = []

    def judge(*_, precision, **__):
        asked.append(precision)
        names = ["y"] * next(counts)
        return SimpleNamespace(wrong=lambda: names)

    monkeypatch.setattr(arithmetic, "judge_tensors", judge)
    assert arithmetic._is_better(None, {}, "one", "other") == better
    assert asked == ["one", "other"][:judged]
