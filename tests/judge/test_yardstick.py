"""Until when a bound is kept: the table on which the thresholds of `judge.measures.yardstick` are best.

A row is a stretch of a network, from the input of a block to the end of a later one. Its honest runs sum in orders that
refnet's spread does not have; its mistakes are small ones, at the first and the last place where they can be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from refnet import Network, build, probe, random_input, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut, limit, run
from refnet.bugs.systematic import everywhere
from refnet.graph import SOURCE, walk
from refnet.judge.causes.diagnose import diagnose
from refnet.judge.measures import yardstick
from refnet.judge.scorecard import FAMILIES, FLOAT32, false_alarms, subject
from refnet.judge.verdicts import judge
from refnet.readings import fast
from refnet.readings.bounds import Precision
from refnet.readings.orders import ORDERS, rounded, rules, short_rules

WITHIN = 0.97  # of the mistakes that the spread finds, the bound is to find so many
OTHERS = (
    rules(lambda n: [slice(i, n, 3) for i in range(min(3, n))]),
    rules(lambda n: [slice(0, n // 3), slice(n // 3, n)]),
)
MISTAKES = ("bn-eps", "relu6-relu", "bn-fold-bias", "weights-int8", "act-missing")


class Row(NamedTuple):
    """One stretch: what is asked of its bound, and by bound and by spread whether each run would hold."""

    nodes: int
    bound: object
    honest: list[tuple[bool, bool]]
    mistaken: list[tuple[bool, bool]]


def rows(family, store, count=32):
    one, precision = subject(FAMILIES[family], 1), Precision.of(store)
    parts, short = Parts(one.graph), store != "float32"
    place = {name: index for index, name in enumerate([SOURCE, *one.graph.by_name])}
    starts = [SOURCE, *(block.entry for block in parts.blocks)]
    ends = [unit.output for unit in one.graph.units()]
    stretches = [(start, end) for start in starts for end in ends if 3 < place[end] - place[start] < 100]
    orders = [short_rules(each, store) if short else each for each in OTHERS]
    for index in np.random.default_rng(0).permutation(len(stretches))[:count]:
        start, end = stretches[index]
        x = rounded(one.tensors[start], store) if short else one.tensors[start]
        segment = cut(parts, one.net.params, end, {start: x}, judged=False)
        bound = limit(segment, precision)
        spread = yardstick._apart(bound.y, [run() for run in yardstick._runs(segment, precision)])
        params = {name: rounded(array, store) for name, array in one.net.params.items()} if short else one.net.params
        port = replace(segment, params=params)
        made = [run(port, np.float32, order) for order in orders]
        wrong = []
        for bug in MISTAKES:
            changes = list(BUGS[bug].changes(port))
            for change in changes[:1] + changes[-1:]:
                with np.errstate(all="ignore"):
                    wrong.append(run(port.changed(change), np.float32, orders[0]))
        holds = [[(judge(y, bound).holds, judge(y, spread).holds) for y in each] for each in (made, wrong)]
        yield Row(len(segment.graph), bound, *holds)


@pytest.fixture(scope="module")
def table():
    families = ("V2", "MnasNet A1")
    return {store: [row for family in families for row in rows(family, store)] for store in ("float32", "bfloat16")}


def kept(table, store):
    """Of the mistakes that the spread finds, how many are found by the yardstick that is chosen."""
    found, all_ = 0, 0
    for row in table[store]:
        by_bound = yardstick.says(row.nodes, row.bound, Precision.of(store))
        for bound_holds, spread_holds in row.mistaken:
            all_ += not spread_holds
            found += not spread_holds and not (by_bound and bound_holds)
    return found / all_


def test_no_honest_run_is_rejected_by_either_yardstick(table):
    assert all(holds == (True, True) for each in table.values() for row in each for holds in row.honest)


def test_the_bound_finds_nearly_all_that_the_spread_finds_where_it_is_asked(table):
    assert all(kept(table, store) >= WITHIN for store in table)


@pytest.mark.parametrize(("threshold", "next_one"), [("_SHORT", 16), ("_WIDE", 10_000.0), ("_PART", 1.0)])
def test_a_threshold_is_the_largest_for_which_that_is_so(table, threshold, next_one, monkeypatch):
    monkeypatch.setattr(yardstick, threshold, next_one)
    assert any(kept(table, store) < WITHIN for store in table)


@pytest.fixture(scope="module")
def small():
    return subject(FAMILIES["V3 Small"], 2)


def test_what_the_first_image_says_of_a_bound_all_of_it_says(small, monkeypatch):
    """At every depth; where it says nothing on one image, nothing is made of the others."""
    monkeypatch.setattr(yardstick, "_DEEP", yardstick._SHORT)
    precision, parts, without = Precision.of("float32"), Parts(small.graph), set()
    for unit in list(small.graph.units())[::4]:
        given = {SOURCE: small.tensors[SOURCE]}
        segment = cut(parts, small.net.params, unit.output, given, judged=False)
        whole, made = limit(segment, precision), yardstick.useful_limit(segment, precision)
        says = yardstick.says(len(segment.graph), whole, precision)
        assert says == yardstick.says(len(segment.graph), made, precision)
        assert made.rms in (whole.rms, np.inf)
        without.add((bool(says), bool(np.isinf(made.rms))))
    assert without >= {(True, False), (False, True)}
    assert (True, True) not in without


@pytest.mark.parametrize(("off", "runs"), [(1e3, 1), (0.0, 10)])
def test_a_tensor_far_beyond_the_first_honest_run_is_held_to_no_other(off, runs, small, monkeypatch):
    end, made = small.graph.output, []
    candidate = small.tensors[end] + off
    given = {SOURCE: small.tensors[SOURCE], end: candidate.astype(np.float32)}
    segment = cut(Parts(small.graph), small.net.params, end, given)
    widely = yardstick._widely
    monkeypatch.setattr(yardstick, "_widely", lambda *each: made.append(each) or widely(*each))
    assert yardstick.judge_segment(segment, Precision.of("float32")).holds == (runs > 1)
    assert len(made) == runs


def test_what_is_suspect_after_one_honest_run_is_honest_nowhere(monkeypatch):
    """Every block of an honest port, in other orders of sums, folded or not."""
    far, by_runs = [], yardstick._by_runs

    def kept(target, y, runs):
        found = by_runs(target, y, runs)
        if len(runs) == 1:
            far.append(max(found.rms, found.expected))
        return found

    monkeypatch.setattr(yardstick, "_by_runs", kept)
    assert not any(false_alarms(subject(FAMILIES["MnasNet A1"])).values())
    assert yardstick._HOPELESS / 16 < max(far) < yardstick._HOPELESS / 8


class Relus(NamedTuple):
    """The last blocks of a V3 Large, as they are; and honest runs of it with every activation a ReLU, from one on."""

    segment: object
    runs: list[np.ndarray]
    far: list[float]  # of each, beyond the first of them


def relus(order):
    graph = build("torchvision/mobilenet_v3_large", width=0.25, size=(72, 104), classes=12)
    params, x, end = random_params(graph), probe(graph, 1), "block15.add"
    curved = [node for node in graph.nodes if node.op == "hard_swish"]
    wrong = graph.rewritten({node.name: (replace(node, op="relu", attrs={}),) for node in curved})
    made = {node.name: y for node, y in Network(wrong, params).steps(x, ORDERS[order])}
    tensors = {name: made[name].astype(np.float32) for name in ("block12.add", end)}
    own = cut(Parts(wrong), params, end, tensors)
    runs = [one() for one in yardstick._runs(own, FLOAT32)]
    first = yardstick._apart(own.result, runs[:1])
    found = [judge(y.astype(np.float32), first) for y in runs]
    return Relus(cut(Parts(graph), params, end, tensors), runs, [max(each.rms, each.expected) for each in found])


def test_what_is_suspect_after_one_honest_run_is_honest_nowhere_in_a_network_with_a_mistake():
    far = max(max(relus(order).far) for order in ORDERS)
    assert yardstick._HOPELESS / 8 < far < yardstick._HOPELESS / 4


def test_a_mistake_is_named_in_a_run_that_lies_far_beyond_the_first_honest_one():
    seen = relus("backwards")
    candidate = seen.runs[int(np.argmax(seen.far))].astype(np.float32)
    (cause,) = diagnose(replace(seen.segment, candidate=candidate), FLOAT32)
    assert [(each.bug, each.form) for each in cause.mistakes] == [("act-swap", "relu")]
    assert len(cause.nodes) == 6


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "exact"), (0.998, "suspect")])
def test_what_is_exact_holds_where_no_run_vouches_for_it(factor, verdict):
    """A map that is cut off at 6 everywhere, behind more nodes than a bound says anything of, with sums in bfloat16."""
    graph = build("torchvision/mobilenet_v2", width=0.25, size=32, classes=10)
    params = random_params(graph)
    params["head.bn.beta"] = np.full_like(params["head.bn.beta"], 1e4)
    net, x = Network(graph, params), probe(graph, 1)
    y = net.trace(x)["head.pool"] * np.float32(factor)
    segment = cut(Parts(graph), params, "head.pool", {SOURCE: x, "head.pool": y})
    assert yardstick.judge_segment(segment, Precision.of("bfloat16", "bfloat16")).verdict == verdict


@pytest.mark.parametrize(("wrong", "holds"), [(False, True), (True, False)])
def test_sums_in_float16_behind_many_nodes_are_held_to_runs_that_are_summed_so(wrong, holds):
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(33, 45), classes=10)
    params = {name: rounded(array, "float16") for name, array in random_params(graph).items()}
    start = {SOURCE: rounded(probe(graph, 2), "float16")}
    segment = cut(Parts(graph), params, graph.output, start, judged=False)
    change = list(BUGS["relu6-relu"].changes(segment))[-1]
    y = run(segment.changed(change) if wrong else segment, np.float16, OTHERS[0])
    found = yardstick.judge_segment(replace(segment, candidate=y), Precision.of("float16", "float16"))
    assert (found.holds, found.yardstick) == (holds, "spread")


@pytest.mark.parametrize(("inside", "verdict"), [(False, "rounding"), (True, "suspect")])
def test_integers_hold_behind_many_nodes_where_nothing_inside_is_stored_in_8_bits(small, inside, verdict):
    """As an observer has them that quantises what it shows, and not what is computed: saturated ones too."""
    end, step = "block11.add", 0.25
    graph, tensors = small.net.graph, dict(small.tensors)
    if inside:
        held = {**tensors, "block5.add": np.rint(tensors["block5.add"] / 0.1) * np.float32(0.1)}
        given = {name: held[name] for name in (SOURCE, "block5.add")}
        tensors[end] = run(cut(Parts(graph), small.net.params, end, given, judged=False), np.float32)
    low, high = -8.0, 8.0
    stored = (np.rint(tensors[end] / step) * step).clip(low, high)
    assert (np.abs(tensors[end]) > high).any()
    segment = cut(Parts(graph), small.net.params, end, {SOURCE: tensors[SOURCE], end: stored})
    integers = Precision.of("float32")._replace(step=step / 2, span=(low, high))
    assert yardstick.judge_segment(segment, integers).verdict == verdict


def test_statistics_of_a_batch_in_float32_are_those_of_a_batch():
    """Means of squares less squares of means, as Keras has them, move it by more than sums of layers do."""
    graph = build("torchvision/mobilenet_v2", width=0.25, size=(96, 128), classes=10)
    given = {SOURCE: random_input(graph, batch=2)}
    whole = cut(Parts(graph), random_params(graph), "head.act", given, judged=False)
    params, y = dict(whole.params), given[SOURCE]
    readers = {node.inputs[0]: node.name for node in whole.graph.nodes if node.op == "batch_norm"}
    for node, y in walk(whole.graph, fast, params, given):
        if node.name in readers:
            points = np.ascontiguousarray(y.transpose(0, 2, 3, 1)).reshape(-1, y.shape[1])
            mean = np.add.accumulate(points)[-1] / np.float32(len(points))
            var = np.add.accumulate(np.square(points))[-1] / np.float32(len(points)) - np.square(mean)
            params |= {f"{readers[node.name]}.mean": mean, f"{readers[node.name]}.var": var}
    ((done, changed), _) = everywhere(BUGS["bn-batch-stats"], whole)
    own = replace(changed, candidate=y)
    assert len(done) == len(readers)
    assert yardstick.judge_cause(own, FLOAT32, "spread", lambda: None).holds
    assert not yardstick.judge_cause(replace(own, candidate=run(whole)), FLOAT32, "spread", lambda: None).holds
