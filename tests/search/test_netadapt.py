"""NetAdapt's steps: what is proposed, what is chosen, that a run goes on where it was, and what is refused."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet import Network, RequestError, Row, Table, build, netadapt, random_params
from refnet.graph import check
from refnet.readings.shapes import shapes, well_formed
from refnet.search.latency import LatencyTable
from refnet.search.layers import bytes_moved, layers, multiply_adds
from refnet.search.models import LayerClock, latency_model
from refnet.search.netadapt import METRICS, AdaptStep, Scored, best_of
from refnet.search.proposals import largest_count, proposals, shrinkables
from refnet.search.uniform import uniform_graph
from refnet.search.widths import KINDS, channel_widths

ROWS = (Row(3, 8, 16, False, "relu", 2), Row(5, 40, 16, True, "hard_swish", 1), Row(3, 48, 24, True, "relu", 2))


def small_net(rows=ROWS):
    graph = build(Table(stem=8, rows=rows, last=32, hidden=20), size=32, classes=4)
    return Network(graph, random_params(graph), 1)


def size_of(net):
    """An accuracy that needs no images: how much of the weights is left, some of them worth more than others."""
    return sum(float(np.abs(array).sum()) for name, array in net.params.items() if ".project" in name) / 1e4


def untouched(net):
    return net


def run(net, target=0.8, **rest):
    return netadapt(net, target, **{"accuracy": size_of, "fine_tune": untouched, "delta": 0.04, **rest})


@st.composite
def tables(draw):
    """Small networks of inverted residuals, some with shortcuts, of whatever widths; or V1's plain blocks."""
    stem = draw(st.integers(2, 9))
    bottleneck = draw(st.booleans())
    rows, inputs = [], stem
    for _ in range(draw(st.integers(1, 4))):
        out = draw(st.sampled_from([inputs, 3, 6, 12]))
        expanded = draw(st.integers(1, 40)) if bottleneck else inputs
        act = draw(st.sampled_from(["relu", "relu6", "hard_swish"]))
        rows.append(Row(3, expanded, out, bottleneck and draw(st.booleans()), act, draw(st.integers(1, 2))))
        inputs = out
    last, hidden = draw(st.sampled_from([None, 10])), draw(st.sampled_from([None, 7]))
    table = Table(stem=stem, rows=tuple(rows), last=last, hidden=hidden, bottleneck=bottleneck)
    return build(table, size=32, classes=3)


@settings(max_examples=30, deadline=None)
@given(tables(), st.sampled_from([multiply_adds, bytes_moved]), st.sampled_from([0.01, 0.05, 0.3]), st.integers(1, 4))
def test_every_proposal_cuts_delta_and_keeps_the_shapes_of_shortcuts(graph, latency, delta, divisor):
    before, sizes = latency(graph), shapes(graph)
    for each in proposals(graph, latency, (1 - delta) * before, kinds=KINDS, divisor=divisor):
        assert latency(each.graph) == each.latency <= (1 - delta) * before
        assert each.channels % divisor == 0
        well_formed(check(each.graph))
        after = shapes(each.graph)
        assert all(after[name][0] == each.channels for width in each.what.widths for name in [width])
        assert all(after[x] == after[y] for node in each.graph.nodes if node.op == "add" for x, y in [node.inputs])
        assert {name: shape[1:] for name, shape in after.items()} == {n: shape[1:] for n, shape in sizes.items()}
        assert all(after[name][0] <= sizes[name][0] for name in sizes)


@settings(max_examples=20, deadline=None)
@given(tables(), st.sampled_from([0.01, 0.1]), st.integers(1, 3))
def test_the_largest_number_of_channels_that_is_quick_enough_is_found(graph, delta, divisor):
    most = (1 - delta) * multiply_adds(graph)
    for part in shrinkables(graph, KINDS):
        fit = [n for n in range(divisor, part.channels, divisor) if multiply_adds(part.at(graph, n)) <= most]
        for every in (False, True):
            found = largest_count(part, graph, multiply_adds, most, divisor=divisor, every=every)
            assert (found.channels if found else None) == max(fit, default=None)


def test_every_number_is_tried_where_fewer_channels_may_take_longer():
    graph = small_net().graph
    (part,) = (each for each in shrinkables(graph) if each.name == "block2.expand")

    def jumping(smaller):  # as a chip has it that likes multiples of 16
        channels = smaller["block2.expand"].params["w"][0]
        return 10.0 + math.ceil(channels / 16) + 5 * (channels % 16 != 0)

    assert largest_count(part, graph, jumping, 12.5, every=True).channels == 32
    assert largest_count(part, graph, jumping, 12.5, divisor=16).channels == 32


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.5, 1), st.floats(1, 99)), min_size=1, max_size=6),
    st.floats(0.5, 1),
    st.sampled_from(METRICS),
)
def test_the_choice_is_the_formula_s(pairs, accuracy, metric):
    before = AdaptStep(None, 100.0, accuracy)
    scored = [Scored(1, str(i), "expansion", (), 2, 1, latency, each) for i, (each, latency) in enumerate(pairs)]
    best = best_of(scored, before, metric)
    formula = {
        "ratio": lambda one: (one.accuracy - accuracy) / abs(one.latency - 100.0),
        "accuracy": lambda one: one.accuracy,
    }[metric]
    assert formula(best) == max(map(formula, scored))
    equal = [one for one in scored if formula(one) == formula(best)]
    assert best.latency == min(one.latency for one in equal)


@pytest.mark.parametrize("metric", METRICS)
def test_each_step_keeps_the_best_of_all_its_proposals(metric):
    tried = []
    found = run(small_net(), metric=metric, after=lambda scored, done, total: tried.append(scored))
    whole = found.steps[0].latency
    assert len(found.steps) > 3
    for number, (before, after) in enumerate(zip(found.steps, found.steps[1:], strict=False), 1):
        offered = [each for each in tried if each.step == number]
        assert after.kept in offered
        assert all(before.latency - each.latency >= 0.04 * whole for each in offered)
        worth = [
            each.accuracy
            if metric == "accuracy"
            else (each.accuracy - before.accuracy) / (before.latency - each.latency)
            for each in offered
        ]
        assert worth[offered.index(after.kept)] == max(worth)
    assert found.steps[-1].latency <= 0.8 * whole < found.steps[-2].latency
    assert multiply_adds(found.net.graph) == found.steps[-1].latency


def test_fine_tuning_gets_each_proposal_cut_out_of_the_network_before():
    seen = []

    def tuned(net):
        seen.append(net)
        return Network(net.graph, {name: array + 1 for name, array in net.params.items()}, net.threads)

    found = run(small_net(), 0.95, fine_tune=tuned)
    steps = len(found.steps) - 1
    stems = {float(net.params["stem.conv.w"].min()) for net in seen}
    assert len(stems) == steps  # one more has been added after each step that was kept
    assert float(found.net.params["stem.conv.w"].min()) == pytest.approx(min(stems) + steps, abs=1e-5)


def same(one, other):
    return (one.steps, one.tried) == (other.steps, other.tried) and all(
        np.array_equal(one.net.params[n], other.net.params[n]) for n in one.net.params
    )


class OnlyMap:
    """As a pool of multiprocessing is."""

    def map(self, call, items):
        return [call(item) for item in items]


@pytest.mark.parametrize("executor", [ThreadPoolExecutor(3), OnlyMap()], ids=["submit", "map"])
def test_whatever_tries_the_proposals_the_result_is_the_same(executor, tmp_path):
    net = small_net()
    alone = run(net, log=tmp_path / "alone.jsonl")
    assert same(run(net, executor=executor, log=tmp_path / "pool.jsonl"), alone)
    assert (tmp_path / "pool.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


def test_the_log_has_every_proposal_as_a_line(tmp_path):
    found = run(small_net(), log=tmp_path / "log")
    head, first, *lines = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (head["target"], head["metric"], first["step"]) == (0.8, "ratio", 0)
    proposed = [line for line in lines if "proposal" in line]
    assert [{**line, "widths": tuple(line["widths"])} for line in proposed] == [each._asdict() for each in found.tried]
    assert [line["kept"] for line in lines if "kept" in line] == [step.kept.proposal for step in found.steps[1:]]
    assert not (tmp_path / "log.part").exists()


def named_as(call, other):
    """A callable that a log takes for another one."""
    call.__qualname__, call.__module__ = other.__qualname__, other.__module__
    return call


@pytest.mark.parametrize("kept", [True, False], ids=["network-kept", "network-lost"])
def test_a_run_that_was_killed_anywhere_goes_on_to_the_same_bytes(tmp_path, kept):
    net, log = small_net(), tmp_path / "log"
    whole = run(net, 0.9, log=log)
    data = log.read_bytes()
    for number, end in enumerate((10, len(data) // 3, len(data) * 2 // 3, len(data) - 5)):
        part = tmp_path / f"{number}"

        def killed(one, end=end, part=part):
            if part.exists() and part.stat().st_size > end:
                raise KeyboardInterrupt
            return size_of(one)

        with contextlib.suppress(KeyboardInterrupt):
            run(net, 0.9, log=part, accuracy=named_as(killed, size_of))
        part.write_bytes(part.read_bytes()[:-3])  # a line cut short
        if not kept:
            shutil.rmtree(f"{part}.part", ignore_errors=True)
        assert same(run(net, 0.9, log=part, resume=True), whole)
        assert part.read_bytes() == data


def test_what_the_log_has_is_not_computed_again(tmp_path):
    net, log = small_net(), tmp_path / "log"
    whole = run(net, 0.9, log=log)

    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]))
    calls = []

    def counted(one):
        calls.append(one)
        return size_of(one)

    assert same(run(net, 0.9, log=log, resume=True, accuracy=named_as(counted, size_of)), whole)
    assert len(calls) == len(whole.steps) - 1  # the weights of those that were kept


def test_a_log_of_another_run_is_refused(tmp_path):
    run(small_net(), 0.9, log=tmp_path / "log")
    with pytest.raises(RequestError, match="other target"):
        run(small_net(), 0.8, log=tmp_path / "log", resume=True)
    with pytest.raises(RequestError, match="exists already"):
        run(small_net(), 0.9, log=tmp_path / "log")


def test_fine_tuning_that_gives_something_else_each_time_is_told_when_a_run_goes_on(tmp_path):
    rng, log = np.random.default_rng(0), tmp_path / "log"

    def by_chance(_):
        return rng.random()

    run(small_net(), 0.9, log=log, accuracy=by_chance)
    with pytest.raises(RequestError, match=r"step 1: .* -> .*: its accuracy is .* now, and was .*; fine-tuning must"):
        run(small_net(), 0.9, log=log, accuracy=by_chance, resume=True)


WRONG = {
    "nan": (lambda net: math.nan, r"accuracy is nan"),
    "raises": (lambda net: 1 / 0, r"accuracy raised ZeroDivisionError: division by zero"),
    "no number": (lambda net: "good", r"accuracy raised ValueError: could not convert string to float: 'good'"),
}


@pytest.mark.parametrize(("call", "words"), WRONG.values(), ids=WRONG)
def test_an_accuracy_that_is_none_is_told_with_its_proposal_and_the_log_is_kept(call, words, tmp_path):
    def accuracy(net):
        return call(net) if net.graph["block3.expand"].params["w"][0] < 48 else size_of(net)

    with pytest.raises(RequestError, match=rf"step \d+: block3.expand 48 -> \d+: {words}"):
        run(small_net(), accuracy=accuracy, log=tmp_path / "log")
    lines = (tmp_path / "log").read_text().splitlines()
    assert '"proposal": "block2.expand"' in lines[-1]


@pytest.mark.parametrize("latency", [math.nan, math.inf, -1.0, None])
def test_a_latency_that_is_none_is_told_with_its_proposal(latency):
    def model(graph):
        if graph["block2.expand"].params["w"][0] < 40 and graph["block3.expand"].params["w"][0] == 48:
            return latency
        return multiply_adds(graph)

    with pytest.raises(RequestError, match=r"step 1: block2.expand 40 -> \d+: latency (is|raised TypeError)"):
        run(small_net(), latency=model)


def test_fine_tuning_that_returns_another_network_is_told():
    with pytest.raises(
        RequestError, match=r"step 1: block1.project 16 -> \d+: fine_tune returned no network of the wid"
    ):
        run(small_net(), fine_tune=lambda net: small_net())


def test_a_target_below_the_smallest_network_is_refused_at_once():
    asked = []
    with pytest.raises(RequestError, match=r"the target 0.01 cannot be met: .* smallest \d+\.\d% of the latency is le"):
        run(small_net(), 0.01, after=lambda *told: asked.append(told))
    assert not asked


def test_a_delta_that_nothing_cuts_is_told_with_what_cuts_most():
    with pytest.raises(RequestError, match=r"step 1: the target 0.8 .* no proposal cuts .*; block\S+ \d+ -> 1 cuts"):
        run(small_net(), delta=0.7)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"target": 1.2}, "target 1.2: take a share"),
        ({"target": math.nan}, "target nan"),
        ({"delta": 0.0}, "delta 0.0"),
        ({"metric": "speed"}, "no metric is called 'speed': ratio, accuracy"),
        ({"kinds": ["blocks"]}, "no kind of width is called 'blocks'"),
        ({"divisor": 0}, "divisor 0"),
    ],
)
def test_a_request_that_is_none_is_refused(wrong, words):
    with pytest.raises(RequestError, match=words):
        run(small_net(), **{"target": 0.8, **wrong})


def test_a_network_of_other_images_needs_callables_of_its_own():
    with pytest.raises(RequestError, match=r"takes 3x32x32 and tells 4 classes, the digits are 3x32x32 of 10"):
        netadapt(small_net(), 0.8)


def test_a_table_without_a_layer_is_told_with_the_proposal():
    net = small_net()
    chip = LatencyTable("a chip", {layer.name: 1.0 for layer in layers(net.graph)})
    with pytest.raises(RequestError, match=r"step 1: block1.project 16 -> 8: the table of a chip has no time of the l"):
        run(net, latency=LayerClock(chip))


def test_layers_are_measured_once_and_told_so_that_they_can_be_kept(monkeypatch):
    times = iter(np.arange(1, 1000) / 1000)
    monkeypatch.setattr("refnet.search.latency._time_layer", lambda layer: next(times))
    told = {}
    model = LayerClock(grown=lambda table, new: told.update(new))
    graph = small_net().graph
    first = model(graph)
    assert set(told) == {layer.name for layer in layers(graph)}
    assert model(graph) == first == pytest.approx(sum(told.values()))
    again = latency_model("here", told, lambda table, new: pytest.fail("measured again"))
    assert again(graph) == first


def test_a_model_that_is_none_is_refused():
    with pytest.raises(RequestError, match="no such table; latency is one of multiply-adds, bytes, here"):
        latency_model("cycles")


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_uniform_scaling_takes_the_largest_factor_that_is_quick_enough(share):
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=64)
    most = share * multiply_adds(graph)
    smaller = uniform_graph(graph, multiply_adds, most)
    assert 0.95 * most < multiply_adds(smaller) <= most
    factors = {
        (width.channels - 0.5, width.channels + 0.5, before.channels)
        for width, before in zip(channel_widths(smaller), channel_widths(graph), strict=True)
        if width.kind in KINDS
    }
    assert max(low / n for low, _, n in factors) <= min(high / n for _, high, n in factors)


def test_uniform_scaling_that_cannot_be_quick_enough_is_refused():
    with pytest.raises(RequestError, match="uniform scaling: one channel everywhere takes longer"):
        uniform_graph(small_net().graph, multiply_adds, 10)
