"""Small rules of the judge, each by numbers that are reckoned by hand, or by what a user sees of it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from feeding import shallow

from refnet import Network, build, compare, probe, random_params, write_pack
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.changes import Mistake
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.bugs.layers.knobs import KNOBS
from refnet.graph import SOURCE
from refnet.judge import compare as comparing
from refnet.judge import declared
from refnet.judge.causes import search
from refnet.judge.causes.acceptance import Acceptance
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.cause import Cause
from refnet.judge.causes.together import likely_pairs
from refnet.judge.causes.ways import Extent, Way, Ways
from refnet.judge.integers import rules
from refnet.judge.integers.rules import IntegerCause
from refnet.judge.judging import Judging
from refnet.judge.measures import yardstick
from refnet.judge.tensors import Reference, judge_tensors
from refnet.judge.verdicts import Judgement
from refnet.readings.bounds import Bound, Precision
from refnet.report.mistakes.bugs import of_port

NET, _ = shallow((32, 32))
GRAPH = NET.graph
X = probe(GRAPH, 1)
TRACE = NET.trace(X)
REFERENCE = Reference.of(GRAPH, NET.params, {SOURCE: X, **TRACE})
FLOAT32 = Precision.of("float32")
EPS = next(knob for knob in KNOBS if knob.bug == "bn-eps")


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("rules") / "golden"
    write_pack(NET, X, path)
    return path


def wide(tensors):
    """The same numbers in float64, the last tensor with digits that float32 does not have."""
    return {name: y.astype(np.float64) * (1 + 1e-12) for name, y in tensors.items()}


# ------------------------------------------------------------------------------------------------------------- compare


def test_a_tensor_that_one_of_two_dumps_lacks_is_not_compared(pack):
    other = {name: y for name, y in TRACE.items() if name != "stem.bn"} | {"more": np.zeros(3, np.float32)}
    assert compare(pack, TRACE, again=other).unsteady == ()


def test_the_time_that_a_user_gives_is_the_searchs(pack):
    wrong = {**TRACE, "stem.bn": TRACE["stem.bn"] * np.float32(1.1)}
    assert compare(pack, wrong, seconds=1e-9).judged.search.ended == "time"


def test_the_user_is_told_how_the_search_goes_on(pack):
    told = []
    compare(pack, {**TRACE, "stem.bn": TRACE["stem.bn"] * np.float32(1.1)}, tell=lambda *each: told.append(each))
    assert told


def test_arrays_of_float64_that_hold_float32_arithmetic_are_judged_as_float32(pack):
    """In float64 nothing of it is right; whether it is so is asked without looking for causes."""
    found = compare(pack, wide(TRACE))
    assert found.holds
    assert found.shown.narrow
    assert not compare(pack, wide(TRACE), precision="float64", explain=False).holds


def test_one_array_of_another_type_says_what_the_port_computes_in(pack):
    mixed = {**wide(TRACE), "stem.conv": TRACE["stem.conv"]}
    assert not compare(pack, mixed, explain=False).shown.narrow


def test_a_number_that_is_none_is_one_of_float32_too(pack):
    y = TRACE["stem.conv"].astype(np.float64)
    y[0, 0, 0, 0] = np.nan
    assert compare(pack, {"stem.conv": y}, partial=True, explain=False).shown.narrow


def test_causes_are_looked_for_once(pack, monkeypatch):
    asked, real = [], comparing.judge_tensors

    def judged(*given, **how):
        asked.append(how["explain"])
        return real(*given, **how)

    for module in (declared, comparing):
        monkeypatch.setattr(module, "judge_tensors", judged)
    compare(pack, wide(TRACE))
    assert asked == [False, False, True]


# ------------------------------------------------------------------------------------------------------------- tensors


def test_what_only_follows_a_number_that_is_none_is_not_among_the_wrong():
    name = "block3.expand.act"
    broken = {each: np.full_like(y, np.nan) for each, y in list(TRACE.items())[list(TRACE).index(name) :]}
    found = judge_tensors(REFERENCE, {**TRACE, **broken}, explain=False)
    assert found.wrong() == [name]
    assert {each.judgement.verdict for each in found.findings if each.name in broken} == {"nonfinite"}


def test_an_input_with_a_number_that_is_none_is_not_used():
    x = X.copy()
    x[0, 0, 0, 0] = np.nan
    assert judge_tensors(REFERENCE, {SOURCE: x, **TRACE}, explain=False).wrong() == [SOURCE]


def test_a_short_segment_has_no_evidence_but_its_bound():
    found = judge_tensors(REFERENCE, {**TRACE, "stem.bn": TRACE["stem.bn"] * np.float32(1.1)})
    assert "stem.bn" in found.causes
    assert found.evidence == {}


def test_numbers_that_are_none_have_sums_beyond_float16_as_their_cause():
    """A port in float16, of weights 1e6 times too large: where a sum is beyond the format, it is infinite."""
    params = {**NET.params, "stem.conv.w": NET.params["stem.conv.w"] * np.float32(1e6)}
    trace = Network(GRAPH, params).trace(X)
    y = trace["stem.conv"]
    reference = Reference.of(GRAPH, params, {SOURCE: X, **trace})
    broken = {"stem.conv": np.where(np.abs(y) > 65504, np.inf * np.sign(y), y)}
    found = judge_tensors(reference, broken, partial=True)
    assert found.wrong() == ["stem.conv"]
    assert {cause.ids for cause in found.causes["stem.conv"]} == {("sum-overflow",)}


def test_sums_beyond_a_number_that_is_no_formats_are_told_by_what_they_exceed():
    """A port that scales what it sums: a pool in units of 1 / 300 leaves float16 from 218 on."""
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(64, 96), classes=10)
    net, x = Network(graph, random_params(graph)), probe(graph, 1)
    trace, name = net.trace(x), "block4.se.pool"
    sums = np.abs(trace[name]) * np.prod(graph[name].attrs["kernel"])
    limit = np.sort(sums, axis=None)[-8]
    broken = {**trace, name: np.where(sums >= limit, np.inf, trace[name]).astype(np.float32)}
    found = judge_tensors(Reference.of(graph, net.params, {SOURCE: x, **trace}), broken)
    (cause,) = found.causes[name]
    (mistake,) = cause.mistakes
    assert (mistake.bug, mistake.form) == ("sum-overflow", "pool from")
    assert mistake.facts["most"] < mistake.facts["least"] == pytest.approx(float(limit), rel=1e-6)


def test_channels_of_a_batch_norm_that_are_no_numbers_are_told():
    name = "block3.expand.bn"
    broken = dict(TRACE)
    broken[name] = broken[name].copy()
    broken[name][:, [1, 4]] = np.nan
    found = judge_tensors(REFERENCE, broken)
    (cause,) = found.causes[name]
    assert (cause.ids, cause.mistakes[0].facts["channels"]) == (("bn-root",), (1, 4))


def test_variances_of_zero_under_an_eps_that_is_left_out_are_told():
    name = "block3.expand.bn"
    node = REFERENCE.graph[name]
    x, (gamma, beta, mean, var) = TRACE[node.inputs[0]], (REFERENCE.params[f"{name}.{slot}"] for slot in node.params)
    root = np.sqrt(np.where(np.isin(np.arange(len(var)), [1, 4]), 0, var))
    with np.errstate(all="ignore"):
        scale = np.stack([gamma / root, beta, mean]).reshape(3, -1, 1, 1).astype(np.float32)
        broken = TRACE | {name: (x - scale[2]) * scale[0] + scale[1]}
    (cause,) = judge_tensors(REFERENCE, broken).causes[name]
    assert cause.ids == ("bn-root", "bn-eps")


def test_a_channel_without_variance_is_divided_by_zero_where_eps_is_left_out():
    """As of a channel that died in training: all others are right with another eps."""
    name = "block3.expand.bn"
    node = REFERENCE.graph[name]
    params = {key: array.copy() for key, array in NET.params.items()}
    for key in (f"{node.inputs[0]}.w", f"{name}.mean", f"{name}.var"):
        params[key][4] = 0
    trace = Network(GRAPH, params).trace(X)
    x, (gamma, beta, mean, var) = trace[node.inputs[0]], (params[f"{name}.{slot}"] for slot in node.params)
    with np.errstate(all="ignore"):
        scale = np.stack([gamma / np.sqrt(var), beta, mean]).reshape(3, -1, 1, 1).astype(np.float32)
        broken = trace | {name: ((x - scale[2]) * scale[0] + scale[1]).astype(np.float32)}
    (cause,) = judge_tensors(Reference.of(GRAPH, params, {SOURCE: X, **trace}), broken).causes[name]
    assert cause.ids == ("bn-root", "bn-eps")
    assert of_port(cause.mistakes[0]).startswith("the variance is zero in channel 4 of")


def test_elements_that_are_no_numbers_of_no_pattern_have_no_cause():
    name = "block3.expand.bn"
    y = TRACE[name].copy()
    y.ravel()[np.random.default_rng(0).choice(y.size, 40, replace=False)] = np.nan
    assert name not in judge_tensors(REFERENCE, {**TRACE, name: y}).causes


def test_the_picture_of_a_pack_goes_with_every_segment():
    image = np.zeros((4, 4, 3), np.uint8)
    judging = Judging(replace(REFERENCE, image=image, slack={"a": 1}), TRACE, FLOAT32._replace(span=(0.0, 6.0)), True)
    segment = judging._with_pack(cut(Parts(GRAPH), NET.params, "stem.conv", {SOURCE: X, **TRACE}), "stem.conv")
    assert segment.image is image
    assert (segment.slack, segment.span) == ({"a": 1}, (0.0, 6.0))


# ----------------------------------------------------------------------------------------------------------- yardstick


@pytest.mark.parametrize("what", [{"step": 0.1}, {"levels": 127}, {"u": 2.0**-11}, {"u_store": 1.0}])
def test_refnet_has_no_honest_runs_of_integers_and_of_sums_in_short_formats(what):
    assert list(yardstick._runs(None, FLOAT32._replace(**what))) == []


def test_honest_runs_are_twice_as_far_apart_as_any_two_of_them():
    """Of (0, 0), (3, 4) and (0, 4) the first two are 4 apart at most, and sqrt((9 + 16) / 2) on average."""
    bound = yardstick._apart(np.zeros(2), [np.array([3.0, 4.0]), np.array([0.0, 4.0])])
    assert bound.expected.tolist() == [8, 8]
    assert bound.worst.tolist() == [math.inf, math.inf]
    assert bound.rms == pytest.approx(2 * math.sqrt(12.5))


@pytest.mark.parametrize(
    ("nodes", "rms", "says"),
    [
        (7, 0.3, True),  # of a few nodes any
        (8, 0.09, True),  # narrower than a tenth of the result
        (8, 0.1, False),
        (7, math.inf, False),
    ],
)
def test_a_bound_in_coarse_steps_says_something_up_to_a_tenth_of_the_result(nodes, rms, says):
    """Half a step is the finest rounding, far more than float32's."""
    bound = Bound.given(np.ones(4), np.ones(4), np.ones(4), rms)
    assert yardstick.says(nodes, bound, FLOAT32._replace(step=0.01)) is says


def test_a_bound_of_floats_says_something_up_to_a_thousand_roundings():
    """2^-24 of a result of 2."""
    for rms, says in ((999, True), (1001, False)):
        bound = Bound.given(np.full(4, 2.0), np.ones(4), np.ones(4), rms * 2 * FLOAT32.u_store)
        assert yardstick.says(8, bound, FLOAT32) is says


# ---------------------------------------------------------------------------------------------------------- two at once


def way(bug, residual, extent=None):
    return Way(Mistake(bug, "there", "", {}), extent, residual, None, None)


@pytest.mark.parametrize(("least", "told"), [(0.004, "relu6-relu"), (0.011, None)])
def test_what_leaves_a_hundredth_of_the_error_is_told_though_it_is_no_cause(least, told):
    """The likelier of two that leave about as little."""
    segment = SimpleNamespace(graph=GRAPH, parts=Parts(GRAPH), candidate=None)
    looked = [way("bn-eps", 0.5), way("relu6-relu", 1.5 * least), way("act-curve", least)]
    one = SimpleNamespace(long=True, segment=segment, ways=SimpleNamespace(looked=looked, before=1.0, counts={}))
    nearest = search.evidence(one, []).nearest
    assert (nearest and nearest[0].bug) == told


def accepting(budget=None, yardstick="spread", **ways):
    """Ways that are not those of a segment, held to a yardstick."""
    return Acceptance(SimpleNamespace(segment=None, budget=budget, **ways), FLOAT32, yardstick)


def test_two_bugs_are_looked_for_on_top_of_each_that_comes_closer_and_said_once(monkeypatch):
    """Not on top of what comes no closer, is at many places or is one of precision; and no bug is its own second."""
    looked = [
        way("bn-eps", 0.5),
        way("kernel-flip", 0.2),
        way("act-missing", 1.0),
        way("weights-fp16", 0.1),
        way("pad-same", 0.1, Extent(None, ("here", "there"))),
    ]
    tried, budget = [], SearchBudget()

    def on_top(first, bugs, is_open):
        tried.append(first)
        return looked[:2]

    holds = Judgement("rounding")
    monkeypatch.setattr(Acceptance, "fitting", lambda self, some: (Cause((each.mistake,), holds) for each in some))
    causes = list(accepting(budget, "bound", looked=looked, before=1.0, on_top=on_top).pairs())
    assert [each.mistake.bug for each in tried] == ["kernel-flip", "bn-eps"]
    assert [cause.ids for cause in causes] == [("kernel-flip", "bn-eps")]
    assert (budget.looked, budget.ways) == (2, 2)


def test_once_one_change_fits_only_others_at_its_place_are_tried(monkeypatch):
    """After the second way, which fits, the places that are left are its own: of the bugs that come later too."""
    asked = []
    bugs, others = [way("act-missing", 0.5), way("bn-eps", 0.0), way("kernel-flip", 0.5)], [way("pad-same", 0.5)]

    def singles(tried, at=()):
        for each in tried:
            yield each
            asked.append((each.mistake.bug, tuple(at)))

    def close(self, some):
        return (Cause((each.mistake,), Judgement("rounding"), (None,)) for each in some if not each.residual)

    monkeypatch.setattr(Acceptance, "close", close)
    found = list(accepting(singles=singles).one_by_one(bugs, others))
    assert [cause.ids for cause in found] == [("bn-eps",)]
    assert asked == [
        ("act-missing", ()),
        ("bn-eps", ("there",)),
        ("kernel-flip", ("there",)),
        ("pad-same", ("there",)),
    ]


def test_of_a_long_segment_what_leaves_less_than_a_hundredth_is_held_to_the_spread_the_closest_first(monkeypatch):
    monkeypatch.setattr(Acceptance, "fitting", lambda self, tried: iter(tried))
    tried = [way("act-missing", 0.019), way("bn-eps", 0.02), way("kernel-flip", 0.001), way("pad-same", 0.01)]
    assert [each.residual for each in accepting(before=2.0, rounding=0.0).close(tried)] == [0.001, 0.01, 0.019]


def long_segment(causes, counts=None, start=SOURCE):
    tensors = {SOURCE: X, **({start: TRACE[start]} if start != SOURCE else {})}
    segment = cut(Parts(GRAPH), NET.params, GRAPH.output, tensors, judged=False)
    one = SimpleNamespace(segment=segment, ways=SimpleNamespace(counts=counts or {}))
    return search._dump(one, [Cause((Mistake("act-missing", name, "", {}),), Judgement("rounding")) for name in causes])


def test_a_tensor_before_all_that_is_left_is_not_worth_a_dump():
    """What lies in the last node shows in nothing inside."""
    assert long_segment([GRAPH.output]) == ""


def test_the_tensor_in_the_middle_of_what_is_left_is_worth_a_dump():
    """Between two causes, the end of a block before others; where none fits, between the places of all ways."""
    assert long_segment(["block2.depthwise.act", "block4.depthwise.act"]) == "block2.project.bn"
    assert long_segment([], {"block2.depthwise.act": 3, "block4.depthwise.act": 3}) == "block2.project.bn"


def test_what_may_be_wrong_before_a_segment_shows_from_its_first_node_on():
    """Two ways in what it reads and two in its last node: the pool between them tells them apart."""
    counts = {"input": 2, GRAPH.output: 2}
    assert long_segment([], counts, "head.act") == "head.pool"


# ----------------------------------------------------------------------------------------------------------- many ways


def test_the_eps_of_a_batch_norm_is_solved_for():
    """Of a port with an eps of 0.004 instead of 1e-5, to six digits."""
    name = "stem.bn"
    known = GRAPH[name]
    other = GRAPH.replaced(name, replace(known, attrs={**known.attrs, "eps": 0.004}))
    dumped = {each: Network(other, NET.params).trace(X)[each] for each in ("stem.conv", name)}
    segment = cut(Parts(GRAPH), NET.params, name, {SOURCE: X, **dumped})
    assert Ways(segment, SearchBudget(), long=False)._number(EPS, [known]) == pytest.approx(0.004, rel=1e-4)


@pytest.mark.parametrize("name", ["stem.bn", "block1.depthwise.bn", "block1.project.bn"])
def test_an_eps_that_rounding_does_not_tell_from_0_is_not_solved_for(name):
    known = GRAPH[name]
    none = GRAPH.replaced(name, replace(known, attrs={**known.attrs, "eps": 0.0}))
    dumped = Network(none, NET.params).trace(X)
    segment = cut(
        Parts(GRAPH), NET.params, name, {SOURCE: X, known.inputs[0]: dumped[known.inputs[0]], name: dumped[name]}
    )
    assert [change.form for change in BUGS["bn-eps"].changes(segment)] == ["0.001", "0"]


def test_an_eps_in_all_batch_norms_is_solved_for():
    graph = GRAPH
    for name in ("stem.bn", "block1.depthwise.bn"):
        graph = graph.replaced(name, replace(graph[name], attrs={**graph[name].attrs, "eps": 0.004}))
    y = Network(graph, NET.params).trace(X)["block1.depthwise.bn"]
    segment = cut(Parts(GRAPH), NET.params, "block1.depthwise.bn", {SOURCE: X, "block1.depthwise.bn": y})
    found = min(Ways(segment, SearchBudget(), long=False).solved(EPS), key=lambda way: way.residual)
    assert found.mistake == Mistake("bn-eps", "stem.bn", "0.004", {"found": 0.004, "known": 1e-5})
    assert found.extent.nodes == ("stem.bn", "block1.depthwise.bn")


def effect(node, *values):
    return SimpleNamespace(mistake=Mistake("bug", node, "", {}), extent=None, effect=np.array(values))


def test_two_effects_whose_plane_holds_the_error_are_a_pair():
    """An error along x and y: the first two explain it all, either with the third one half; effects of 0 none."""
    one, other, third = effect("a", 2.0, 0, 0), effect("b", 0, -3.0, 0), effect("c", 0, 0, 1.0)
    ways = [one, effect("d", 0, 0, 0), other, effect("e", np.nan, 0, 0), third]
    error = np.array([5.0, 5.0, 0])
    assert list(likely_pairs(error, ways, 0.9, 9)) == [(one, other)]
    assert list(likely_pairs(error, ways, 0.4, 9)) == [(one, other), (one, third), (other, third)]
    assert list(likely_pairs(error, ways, 0.4, 1)) == [(one, other)]


def test_pairs_of_many_effects_are_ranked_as_all_at_once():
    rng = np.random.default_rng(0)
    ways, error = [effect(str(each), *rng.standard_normal(4)) for each in range(300)], rng.standard_normal(4)
    found = [(int(one.mistake.node), int(other.mistake.node)) for one, other in likely_pairs(error, ways, 0.4, 50)]
    shares = {}
    for one, other in itertools.combinations(range(300), 2):
        basis, _ = np.linalg.qr(np.stack([ways[one].effect, ways[other].effect], axis=1))
        shares[one, other] = float(((basis.T @ error) ** 2).sum())
    assert found == sorted(shares, key=lambda pair: -shares[pair])[:50]


def test_two_ways_at_one_place_are_no_pair():
    assert list(likely_pairs(np.ones(2), [effect("a", 1.0, 0), effect("a", 0, 1.0)], 0.5, 9)) == []


# ------------------------------------------------------------------------------------------------------------ integers


@pytest.mark.parametrize(("left", "near"), [(0, 1), (1, 1), (2, 0)])
def test_a_rule_that_leaves_a_tenth_of_what_differs_comes_near(left, near, monkeypatch):
    """Of ten integers that differ from the reference; one that leaves none is the cause."""
    mine = np.arange(10)
    made = {"rule": np.where(np.arange(10) < left, 99, mine)}
    monkeypatch.setattr(rules, "_tried", lambda node: made)
    found = rules.causes_of(SimpleNamespace(reference=mine + 1, of_integers=False), mine)
    assert found == [IntegerCause("rule", left, 10)] * near
