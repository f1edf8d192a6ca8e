"""The vendors' own modules, in float64 and float32, against refnet."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support import FACTS

from refnet import FormatError, Network, RequestError, build, random_input, random_params
from refnet.files import shipped
from refnet.judge.measures.spread import spread
from refnet.judge.saved import AGREEMENT, _read, check_saved, end_of, judge_nodes, saved
from refnet.judge.verdicts import Judgement
from refnet.readings.bounds import Precision, bound

CASES = list(saved())
SMALL = [case for case in CASES if case.size != (224, 224)] + [case for case in CASES if "article/keras" in case.model]
FILES = ("torchvision", "timm", "keras", "others")
TRACES = ("v1", "v2", "mnasnet_a1", "mnasnet_b1", "v3_large", "v3_small", "v3_small_minimal", "v3_small_keras")


# Its first image drives a gate so far that even float64 runs of one library, summed in other orders, lie 4e-11 apart.
ILL_CONDITIONED = "torchvision/mobilenet_v3_large-0.5-97x131"


def case_id(case):
    return f"{case.model}-{case.width:g}-{case.size[0]}x{case.size[1]}"


def read_trace(name):
    """(network, float64 tensors, float32 tensors) of a configuration whose every tensor the vendor's module gave."""
    with np.load(shipped.path(f"trace_{name}.npz"), allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    meta = json.loads(str(arrays.pop("meta")))
    assert meta["format"] == "refnet trace 1"
    graph = build(meta["model"], width=meta["width"], size=tuple(meta["size"]), classes=meta["classes"])
    split = [{k.removeprefix(p): v for k, v in arrays.items() if k.startswith(p)} for p in ("float64|", "float32|")]
    return Network(graph, random_params(graph)), *split


@pytest.fixture(scope="module", params=TRACES)
def trace(request):
    return read_trace(request.param)


def test_every_public_model_is_covered():
    covered = {(case.model, case.width) for case in CASES}
    published = {(fact["name"], fact["width"]) for fact in FACTS}
    # Of d-li14's MobileNetV2 three of six widths were run.
    assert published - covered <= {("d-li14/mobilenetv2", width) for width in (0.25, 0.5, 0.75)}


def test_two_images_and_two_sizes_each():
    for case in CASES:
        assert len(case.logits64) == (1 if case.model.startswith("article/keras") else 2)
    for model in {case.model for case in CASES if not case.model.startswith("article/keras")}:
        sizes = {case.size for case in CASES if case.model == model}
        assert any(h % 2 and w % 2 and h != w for h, w in sizes)
        assert len(sizes) == 2


@pytest.mark.parametrize("file", FILES)
def test_saved_outputs_say_what_they_are_and_where_from(file):
    with np.load(shipped.path(f"outputs_{file}.npz"), allow_pickle=False) as archive:
        meta = json.loads(str(archive["meta"]))
    assert {"format", "versions", "origin", "script"} <= set(meta)


@pytest.mark.parametrize("case", SMALL, ids=case_id)
def test_float64_logits_are_the_vendors(case):
    graph = build(case.model, width=case.width, size=case.size)
    net = Network(graph, random_params(graph, np.float64))
    x = random_input(graph, 2, np.float64)[: len(case.logits64)]
    end, shown = end_of(graph)
    error = np.abs(net.trace(x)[end][shown] - case.logits64).max() / np.abs(case.logits64).max()
    if case_id(case) == ILL_CONDITIONED:  # how far it is off depends on the processor's order of summation
        assert error <= max(AGREEMENT, spread(net, x, end) / np.abs(case.logits64).max())
    else:
        assert error <= AGREEMENT


@pytest.mark.parametrize("model", ["torchvision/mobilenet_v3_small", "timm/semnasnet_050", "keras/MobileNetV2"])
def test_float64_logits_are_the_vendors_at_224(model):
    """A sample; `refnet check --all` does every one."""
    case = min((c for c in saved(model) if c.size == (224, 224)), key=lambda c: c.width)
    assert check_saved(case).verdict == "agrees"


@pytest.fixture(scope="module")
def small():
    """A saved configuration, with refnet's own logits in place of the vendor's."""
    case = next(case for case in saved("timm/mobilenetv3_small_050") if case.size != (224, 224))
    graph = build(case.model, width=case.width, size=case.size)
    params, x = random_params(graph), random_input(graph, 2)
    exact = Network(graph, params).astype(np.float64).trace(x.astype(np.float64))["head.flatten"]
    return case._replace(logits64=exact, logits32=exact.astype(np.float32))


def test_errors_are_the_largest_of_any_logit_relative_to_the_largest_logit(small):
    """The vendor's float64 logits a thousandth off in one place, its float32 ones a hundredth in another."""
    off64, off32, largest = small.logits64.copy(), small.logits64.copy(), np.abs(small.logits64).max()
    off64[1, 3] += 1e-3 * largest
    off32[0, 2] -= 1e-2 * largest
    found = check_saved(small._replace(logits64=off64, logits32=off32.astype(np.float32)))
    assert (found.model, found.width, found.size) == (small.model, small.width, small.size)
    largest = np.abs(off64).max() / largest
    assert found.error64 == pytest.approx(1e-3 / largest)
    assert found.vendor32 == pytest.approx(1e-2 / largest, rel=1e-4)
    assert 0 < found.error32 < 1e-4
    assert found.verdict == "differs"


@pytest.mark.parametrize(("times", "verdict"), [(1.0, "agrees"), (0.999, "differs")])
def test_what_is_farther_off_than_a_network_agrees_to_is_held_to_its_own_spread(small, monkeypatch, times, verdict):
    """Just as far apart as its own runs are, which sum in other orders than the one that is checked, is not too far."""
    asked = []
    off = small.logits64 + 1e-9

    def own(net, x, last, orders):
        asked.append((x.dtype, last, set(orders)))
        return times * np.abs(small.logits64 - off).max()

    monkeypatch.setattr("refnet.judge.saved.spread", own)
    found = check_saved(small._replace(logits64=off))
    assert found.verdict == verdict
    assert asked == [(np.float64, "head.flatten", {"sequential", "backwards", "pairwise", "lanes"})]


def test_logits_that_agree_are_held_to_the_constant_and_every_node_to_its_bound(small, monkeypatch):
    assert (check_saved(small).asked64, check_saved(small).verdict) == (AGREEMENT, "agrees")
    wrong = [("stem.conv", Judgement("exact")), ("stem.bn", Judgement("suspect")), ("stem.act", Judgement("wrong"))]
    monkeypatch.setattr("refnet.judge.saved.judge_nodes", lambda *args: iter(wrong))
    assert check_saved(small).verdict == "stem.bn"


def test_nothing_is_saved_of_a_model_that_nobody_ran(monkeypatch):
    with pytest.raises(RequestError, match="no outputs are saved for refnet/digits; see refnet check --list"):
        list(saved("refnet/digits"))


def test_saved_outputs_of_another_format_are_refused(monkeypatch, tmp_path):
    np.savez(tmp_path / "outputs_timm.npz", meta=json.dumps({"format": "refnet outputs 2"}))
    monkeypatch.setattr(shipped, "path", lambda name: tmp_path / name)
    with pytest.raises(FormatError, match="is not of the format 'refnet outputs 1'"):
        _read.__wrapped__("timm")


def test_stage_by_stage_means_of_vendors_without_a_package():
    """d-li14, kuan-wang and the article's listing: mean, deviation and six values of each block's float64 output."""
    with np.load(shipped.path("outputs_others.npz"), allow_pickle=False) as archive:
        stages = {key: archive[key] for key in archive.files if key.endswith("|stages64")}
    assert stages
    for key, rows in stages.items():
        model, width, size, _ = key.split("|")
        graph = build(model, width=float(width), size=tuple(map(int, size.split("x"))))
        tensors = Network(graph, random_params(graph, np.float64)).trace(random_input(graph, 2, np.float64))
        figures = [np.array([y.mean(), y.std(), *y.ravel()[:6]]) for y in tensors.values()]
        for index, row in enumerate(rows):
            nearest = min(np.abs(figure - row).max() for figure in figures)
            assert nearest <= AGREEMENT * np.abs(row).max(), f"{key}: stage {index}"


def test_other_weights_would_be_noticed():
    """The comparison can fail: one wrong eps moves the logits far beyond what is asked."""
    case = next(iter(saved("torchvision/mobilenet_v3_small")))
    graph = build(case.model, width=case.width, size=case.size)
    params = random_params(graph, np.float64)
    params["block9.depthwise.bn.var"] = params["block9.depthwise.bn.var"] + 1e-3
    logits = Network(graph, params)(random_input(graph, 2, np.float64))
    assert np.abs(logits - case.logits64).max() > 1e5 * AGREEMENT * np.abs(case.logits64).max()


def test_every_node_of_the_vendors_float64_run_is_explained_by_rounding(trace):
    net, tensors, _ = trace
    assert set(tensors) == {"input", *(node.name for node in net.graph.nodes)}
    for name, judged in judge_nodes(net.graph, net.params, tensors):
        assert judged.verdict in ("exact", "rounding"), f"{name}: {judged}"


def test_every_node_of_the_vendors_float32_run_is_explained_by_rounding(trace):
    net, _, tensors = trace
    for name, judged in judge_nodes(net.graph, net.params, tensors):
        assert judged.verdict in ("exact", "rounding"), f"{name}: {judged}"


def test_refnets_own_tensors_are_the_vendors(trace):
    """Not node by node but from the input on, in float64."""
    net, tensors, _ = trace
    for name, y in net.astype(np.float64).trace(tensors["input"]).items():
        assert np.abs(y - tensors[name]).max() <= AGREEMENT * np.abs(tensors[name]).max(), name


def test_one_wrong_node_is_found_and_its_neighbours_stay_innocent(trace):
    net, _, tensors = trace
    name = next(node.name for node in net.graph.nodes if node.name.endswith("project.bn"))
    spoiled = tensors | {name: tensors[name] * np.float32(1.001)}
    verdicts = {n: j.verdict for n, j in judge_nodes(net.graph, net.params, spoiled)}
    readers = {node.name for node in net.graph.readers()[name]}
    assert {n for n, v in verdicts.items() if v not in ("exact", "rounding")} <= {name, *readers}
    assert verdicts[name] == "wrong"


def test_through_a_whole_network_a_worst_case_says_nothing():
    """It would be true, and larger than any logit: so it is never printed."""
    graph = build("torchvision/mobilenet_v2", width=0.35, size=(48, 48), classes=4)
    limit = bound(graph, random_params(graph), {"input": random_input(graph)}, Precision.of("float32"))
    assert limit.worst.min() > 1e3 * np.abs(limit.y).max()


def test_shipped_data_stays_small():
    folder = shipped.path("imagenet_classes.txt").parent
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10_000_000


def test_no_tensor_with_an_element_beyond_its_bound_is_left_out_as_sure():
    graph = build("torchvision/mobilenet_v3_small", width=0.25, size=(32, 32), classes=10)
    net, x = Network(graph, random_params(graph)), random_input(graph, 1)
    tensors = {"input": x, **net.trace(x)}
    assert len(list(judge_nodes(graph, net.params, tensors, True))) < len(graph) / 4  # most are left out
    for node in graph.nodes:
        one = graph.leading_to(node.name, starts={*tensors} - {node.name})
        limits = bound(one, net.params, {name: tensors[name] for name in node.inputs}, Precision.of("float32"))
        wrong = tensors[node.name].copy()
        y, most = limits.y.flat[-1], limits.expected.flat[-1]
        wrong.flat[-1] = y + most
        while abs(wrong.flat[-1] - y) <= most:
            wrong.flat[-1] = np.nextafter(wrong.flat[-1], np.float32(np.inf))
        assert node.name in dict(judge_nodes(one, net.params, {**tensors, node.name: wrong}, True))
