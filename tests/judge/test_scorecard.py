"""What the scorecard injects, and how it counts what became of it."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.changes import Mistake
from refnet.bugs.sites import sites, styles
from refnet.graph import SOURCE
from refnet.judge import scorecard
from refnet.judge.scorecard import FAMILIES, Family, Trial, false_alarms, inject, pairs, subject, tally, trial, trials
from refnet.judge.tensors import judge_tensors
from refnet.pack.probe import probe


@pytest.fixture(scope="module")
def one():
    return subject(Family("timm/mobilenetv1_100", 0.25, (32, 40)), batch=1)


def places(one, bug):
    return list(sites(one.graph, one.net.params, one.tensors.items(), [BUGS[bug]]))


def test_a_subject_is_an_honest_run_in_float32_on_the_probe(one):
    np.testing.assert_array_equal(one.tensors[SOURCE], probe(one.graph, 1))
    assert list(one.tensors) == [SOURCE, *(node.name for node in one.graph.nodes)]
    assert {y.dtype for y in one.tensors.values()} == {np.dtype(np.float32)}
    assert judge_tensors(one.reference, one.tensors).holds


def test_the_reference_is_the_float64_run_rounded_once(one):
    exact = one.net.astype(np.float64).trace(one.tensors[SOURCE].astype(np.float64))
    for name in ("stem.conv", "head.flatten"):
        np.testing.assert_array_equal(one.reference.golden(name), exact[name].astype(np.float32), strict=True)
    np.testing.assert_array_equal(one.reference.golden(SOURCE), one.tensors[SOURCE])


def test_a_subject_has_two_images_unless_it_is_asked_for_others():
    assert len(subject(Family("timm/mobilenetv1_100", 0.25, (32, 32))).tensors[SOURCE]) == 2


# -------------------------------------------------------------------------------------------------------------- inject


def test_without_a_bug_the_honest_run_is_dumped(one):
    candidate = inject(one)
    assert set(candidate) == {node.name for node in one.graph.nodes}
    for name, y in candidate.items():
        np.testing.assert_array_equal(y, one.tensors[name])


def test_a_bug_changes_its_segment_and_what_follows_and_nothing_before(one):
    site = next(site for site in places(one, "bn-eps") if site.segment.end == "block3.depthwise.bn")
    candidate, names = inject(one, site), [node.name for node in one.graph.nodes]
    assert list(candidate) == names
    changed = [name for name in names if not np.array_equal(candidate[name], one.tensors[name])]
    assert changed[0] == "block3.depthwise.bn"
    assert changed[-1] == "head.flatten"
    assert judge_tensors(one.reference, candidate, partial=True, explain=False).wrong() == ["block3.depthwise.bn"]


def test_what_follows_a_second_bug_is_made_from_what_the_first_one_left(one):
    first, second = (
        next(site for site in places(one, "bn-eps") if site.segment.end == f"block{number}.depthwise.bn")
        for number in (3, 5)
    )
    candidate = inject(one, first, second)
    assert judge_tensors(one.reference, candidate, partial=True, explain=False).wrong() == [
        "block3.depthwise.bn",
        "block5.depthwise.bn",
    ]
    assert not np.array_equal(candidate["block5.depthwise.bn"], inject(one, second)["block5.depthwise.bn"])


def test_a_bug_of_the_input_is_run_on_the_input_that_it_makes(one):
    (site, *_) = places(one, "input-bgr")
    candidate = inject(one, site)
    assert judge_tensors(one.reference, candidate, partial=True, explain=False).wrong() == [site.segment.end]
    assert SOURCE not in candidate


def test_bugs_are_dumped_as_the_most_sparing_of_them_is(one):
    dumped = styles(one.graph)
    by_style = {site.style: site for site in sites(one.graph, one.net.params, one.tensors.items())}
    assert set(by_style) >= {"all", "fused"}
    for style, site in by_style.items():
        assert tuple(inject(one, site)) == dumped[style]
    assert tuple(inject(one, by_style["all"], by_style["fused"])) == dumped["fused"]
    assert tuple(inject(one, by_style["fused"], by_style["all"])) == dumped["fused"]


# -------------------------------------------------------------------------------------------------------------- trials


def judged(*wrong, causes=()):
    """As if tensors were found wrong, and the first of them had causes."""
    found = {name: [SimpleNamespace(ids=ids) for ids in causes] for name in wrong[:1]}
    return SimpleNamespace(wrong=lambda: list(wrong), causes=found)


@pytest.mark.parametrize(
    ("causes", "named", "first"),
    [
        ([("bn-eps",)], "named", ("bn-eps",)),
        ([("bn-eps",), ("bn-fix-gamma",)], "named", ("bn-eps",)),
        ([("bn-fix-gamma",), ("bn-eps",)], "tied", ("bn-fix-gamma",)),
        ([("bn-fix-gamma",)], "missed", ("bn-fix-gamma",)),
        ([("bn-eps", "act-missing")], "missed", ("bn-eps", "act-missing")),  # a pair is not the one
        ([], "missed", ()),
    ],
)
def test_a_bug_is_named_if_it_comes_first_and_tied_if_it_comes_later(one, monkeypatch, causes, named, first):
    site = places(one, "bn-eps")[0]
    monkeypatch.setattr(scorecard, "judge_tensors", lambda *args, **how: judged(site.segment.end, causes=causes))
    assert trial(one, site, True) == Trial(site.mistake, site.style, True, True, True, named, first)


@pytest.mark.parametrize(
    ("wrong", "detected", "located"),
    [((), False, False), (("here",), True, True), (("elsewhere",), True, False), (("here", "elsewhere"), True, False)],
)
def test_a_bug_is_located_if_its_segment_alone_is_found_wrong(one, monkeypatch, wrong, detected, located):
    site = places(one, "bn-eps")[0]
    names = [site.segment.end if name == "here" else name for name in wrong]
    monkeypatch.setattr(scorecard, "judge_tensors", lambda *args, **how: judged(*names))
    found = trial(one, site, False)
    assert (found.visible, found.detected, found.located) == (False, detected, located)


def what(site):
    """A bug and its place, to compare."""
    return site.change.node, site.mistake.what


@pytest.fixture
def untried(monkeypatch):
    """The sites that are tried, with whether they show; none is judged."""
    tried = []
    monkeypatch.setattr(scorecard, "trial", lambda one, site, visible: tried.append((site, visible)) or site)
    return tried


def test_every_place_of_a_bug_is_tried_or_a_sample_of_them(one, untried):
    every = [what(site) for site in places(one, "bn-eps")]
    assert [what(site) for site in trials(one, bugs=("bn-eps",))] == every
    some = [what(site) for site in trials(one, sample=5, bugs=("bn-eps",))]
    assert len(some) == 5
    assert some == [place for place in every if place in some]  # in order
    assert [what(site) for site in trials(one, sample=5, bugs=("bn-eps",))] == some
    assert [what(site) for site in trials(one, sample=5, seed=1, bugs=("bn-eps",))] != some


def test_every_bug_that_is_asked_for_is_tried_as_often(one, untried):
    bugs = [site.bug for site in trials(one, sample=2, bugs=("bn-fix-gamma", "bn-eps", "gate-hswish"))]
    assert sorted(bugs) == ["bn-eps", "bn-eps", "bn-fix-gamma", "bn-fix-gamma"]
    assert {site.bug for site in trials(one, sample=1)} == {site.bug for site in places_of_all(one)}


def places_of_all(one):
    return sites(one.graph, one.net.params, one.tensors.items())


def test_a_bug_shows_if_it_moves_its_segment_by_more_than_four_times_what_rounding_explains(one, untried, monkeypatch):
    for seen, shows in ((3.99, False), (4.0, False), (4.01, True)):
        monkeypatch.setattr(scorecard, "visibility", lambda site, bound, seen=seen: seen)
        list(trials(one, sample=1, bugs=("bn-eps",)))
        assert untried.pop()[1] is shows


def test_a_bug_is_measured_by_the_bound_of_its_own_segment(one, untried, monkeypatch):
    """Two bugs in one segment share a bound; those of the same tensor in another style do not."""
    asked = []
    monkeypatch.setattr(scorecard, "limit", lambda segment, precision: asked.append(segment.graph) or segment.graph)
    monkeypatch.setattr(scorecard, "visibility", lambda site, bound: float(bound == site.segment.graph))
    list(trials(one, bugs=("bn-eps", "bn-fix-gamma", "act-missing", "bn-fold-bias")))
    keys = {(site.style, site.segment.end) for site, _ in untried}
    assert len(asked) == len(keys) < len(untried)


def row(visible, detected, located, named):
    return Trial(Mistake("bn-eps", "a", "", {}), "all", visible, detected, located, named, ())


def test_rates_are_of_what_shows_and_names_of_what_is_located():
    rows = [
        row(False, True, True, "named"),  # does not show: only injected
        row(True, True, True, "named"),
        row(True, True, True, "named"),
        row(True, True, True, "tied"),
        row(True, True, True, "missed"),
        row(True, True, False, "named"),
        row(True, False, False, "missed"),
    ]
    assert tally(rows) == {
        "injected": 7,
        "visible": 6,
        "detected": 5,
        "located": 4,
        "named": 2,
        "tied": 1,
        "missed": 3,
    }


def test_what_follows_a_bug_that_overflows_is_run_without_a_word(one, monkeypatch):
    monkeypatch.setattr(scorecard, "ported", lambda segment: np.full_like(one.tensors[segment.end], np.inf))
    site = next(site for site in places(one, "act-missing") if site.segment.end == "block3.depthwise.act")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        candidate = inject(one, site)
    assert np.isinf(candidate["block3.depthwise.act"]).all()
    assert np.isnan(candidate["block3.project"]).any()


# -------------------------------------------------------------------------------------------------- pairs, false alarms


def test_pairs_are_of_two_bugs_that_show_in_different_segments(one, monkeypatch):
    injected = []
    monkeypatch.setattr(scorecard, "inject", lambda one, *bugs: injected.append(bugs) or {})
    monkeypatch.setattr(scorecard, "judge_tensors", lambda *args, **how: judged(*(s.segment.end for s in injected[-1])))
    made = list(pairs(one, 6))
    assert made == [(True, (first.bug, second.bug)) for first, second in injected]
    assert len(made) == 6
    for first, second in injected:
        assert first.segment.end != second.segment.end
        assert first.style == second.style == "all"
    assert [names for _, names in pairs(one, 6)] == [names for _, names in made]
    assert [names for _, names in pairs(one, 6, seed=1)] != [names for _, names in made]


@pytest.mark.parametrize("found", [(), (0,), (1,), (0, 1, 2)])
def test_a_pair_is_located_if_both_and_nothing_else_are_found_wrong(one, monkeypatch, found):
    injected = []
    monkeypatch.setattr(scorecard, "inject", lambda one, *bugs: injected.append(bugs) or {})

    def ends():
        names = [*(site.segment.end for site in injected[-1]), "elsewhere"]
        return [names[index] for index in found]

    monkeypatch.setattr(scorecard, "judge_tensors", lambda *args, **how: judged(*ends()))
    assert [both for both, _ in pairs(one, 2)] == [False, False]


def test_no_pair_is_looked_for_without_end(one, monkeypatch):
    monkeypatch.setattr(scorecard, "visibility", lambda site, bound: 0.0)
    assert list(pairs(one, 1)) == []
    assert list(pairs(one, 0)) == list(pairs(one, -1)) == []


def test_a_pair_in_which_one_bug_does_not_show_is_left_out(one, monkeypatch):
    monkeypatch.setattr(scorecard, "visibility", lambda site, bound: 9.0 if site.bug == "bn-eps" else 4.0)
    assert {names for _, names in pairs(one, 1)} <= {("bn-eps", "bn-eps")}


def test_a_pair_of_which_one_bug_hides_the_other_is_left_out(one, monkeypatch):
    """A bug that shows in an honest run and not on what the candidate has made before it."""
    shows = iter([9.0, 9.0, 9.0, 0.0, 9.0, 9.0, 9.0, 9.0])  # both alone, then both together; twice
    injected = []
    monkeypatch.setattr(scorecard, "visibility", lambda site, bound: next(shows))
    monkeypatch.setattr(scorecard, "inject", lambda one, *bugs: injected.append(bugs) or {})
    monkeypatch.setattr(scorecard, "judge_tensors", lambda *args, **how: judged())
    ((_, names),) = pairs(one, 1)
    assert len(injected) == 2
    assert names == tuple(site.bug for site in injected[1])


def test_honest_runs_are_judged_in_every_order_folded_and_not_in_every_style(monkeypatch, one):
    dumps = []

    def judge(reference, tensors, **how):
        dumps.append(tensors)
        return judged(*tensors)

    monkeypatch.setattr(scorecard, "judge_tensors", judge)
    found = false_alarms(one)
    dumped = styles(one.graph)
    assert len(found) == len(scorecard.ORDERS) * 2 * len(dumped)
    assert set(found) >= {"fast, all", "sequential, folded, fused"}
    for style, names in dumped.items():
        assert found[f"lanes, {style}"] == list(names)
        convolutions = {unit.conv.name for unit in one.graph.units() if unit.norm is not None}
        # A folded convolution makes what its batch norm would.
        assert found[f"lanes, folded, {style}"] == [name for name in names if name not in convolutions]


def test_every_family_has_a_small_subject_of_its_own_whose_sides_differ():
    assert len({family.model for family in FAMILIES.values()}) == len(FAMILIES) >= 9
    assert all(height == 48 < width for height, width in (family.size for family in FAMILIES.values()))
    assert all(family.width <= 0.5 for family in FAMILIES.values())
