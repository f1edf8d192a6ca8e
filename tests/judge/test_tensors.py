"""Which layer of a port is wrong by itself."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.bugs.sites import styles
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.measures.accumulated import accumulated_error
from refnet.judge.tensors import Reference, judge_tensors
from refnet.pack.probe import probe
from refnet.readings import fast
from refnet.readings.bounds import Precision
from refnet.readings.orders import rounded
from refnet.report.mistakes.features import feature_sentence

GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, 56), classes=6)
NET = Network(GRAPH, random_params(GRAPH))
X = probe(GRAPH, 2)
HONEST = NET.trace(X)
GOLDEN = {SOURCE: X} | {n: y.astype(np.float32) for n, y in NET.astype(np.float64).trace(X.astype(np.float64)).items()}
REFERENCE = Reference.of(GRAPH, NET.params, GOLDEN)


def rerun(change, **changed):
    """A run that goes on from changed tensors: all by `change`, some by their own; names with '__' for '.'."""
    tensors = {SOURCE: X}
    for node in GRAPH.nodes:
        y = interpret(Graph(GRAPH.recipe, (node,)), fast, NET.params, tensors)
        own = changed.get(node.name.replace(".", "__"), change)
        tensors[node.name] = own(y).astype(np.float32)
    del tensors[SOURCE]
    return tensors


def whole(end):
    """The segment that makes one tensor of an honest run."""
    return cut(Parts(GRAPH), NET.params, end, {SOURCE: X, **HONEST}, judged=False)


def same(y):
    return y


def verdicts(comparison):
    return {finding.name: finding.judgement.verdict for finding in comparison.findings}


def test_an_honest_run_holds_and_every_golden_tensor_has_its_entry():
    found = judge_tensors(REFERENCE, HONEST)
    assert found.holds
    assert set(verdicts(found)) == {SOURCE, *(node.name for node in GRAPH.nodes)}
    assert verdicts(found).pop(SOURCE) == "inside"
    assert {v for name, v in verdicts(found).items() if name != SOURCE} == {"exact", "rounding"}


def test_innocent_layers_behind_a_wrong_one_stay_innocent():
    candidate = rerun(same, block2__expand__bn=lambda y: y * 1.01)
    found = judge_tensors(REFERENCE, candidate, explain=False)
    assert found.wrong() == ["block2.expand.bn"]
    last = next(f for f in found.findings if f.name == "head.flatten")
    assert last.judgement.holds
    assert last.accumulated.relative > 1e-4


def test_a_chain_with_a_guessed_tolerance_blames_the_innocent():
    """What the same candidate looks like to a comparison of each tensor with the golden one."""
    candidate = rerun(same, block2__expand__bn=lambda y: y * 1.01)
    blamed = [n for n, y in candidate.items() if not np.allclose(y, GOLDEN[n], rtol=1e-5, atol=1e-5)]
    assert len(blamed) > 80


def test_two_wrong_layers_are_both_found():
    candidate = rerun(same, block1__depthwise__bn=lambda y: y + 0.1, block9__project=lambda y: y[:, ::-1])
    assert judge_tensors(REFERENCE, candidate, explain=False).wrong() == ["block1.depthwise.bn", "block9.project"]


@pytest.mark.parametrize("style", ["fused", "blocks"])
def test_a_candidate_may_lack_tensors_that_lie_inside_a_segment(style):
    names = styles(GRAPH)[style]
    found = judge_tensors(REFERENCE, {name: HONEST[name] for name in names})
    assert found.holds
    assert {name for name, verdict in verdicts(found).items() if verdict == "inside"} == {SOURCE, *HONEST} - set(names)


def test_a_wrong_node_inside_a_segment_makes_the_segment_wrong():
    candidate = rerun(same, block4__depthwise__bn=lambda y: y * 1.01)
    fused = {name: candidate[name] for name in styles(GRAPH)["fused"]}
    assert judge_tensors(REFERENCE, fused, explain=False).wrong() == ["block4.depthwise.act"]


def test_what_no_segment_covers_is_missing_and_fails_unless_partial():
    some = {name: HONEST[name] for name in list(HONEST)[:20]}
    found = judge_tensors(REFERENCE, some)
    assert not found.holds
    assert verdicts(found)["head.flatten"] == "missing"
    assert judge_tensors(REFERENCE, some, partial=True).holds


def test_a_tensor_of_another_shape_or_with_nan_is_a_verdict():
    broken = HONEST | {
        "block3.expand": HONEST["block3.expand"][:, :-1],
        "block5.add": np.full_like(HONEST["block5.add"], np.nan),
    }
    found = judge_tensors(REFERENCE, broken, explain=False)
    assert verdicts(found)["block3.expand"] == "shape"
    assert verdicts(found)["block5.add"] == "nonfinite"
    assert not found.holds


def test_the_first_nan_is_named_although_others_follow():
    candidate = rerun(same, block3__expand__act=lambda y: np.where(y > 0.5, np.nan, y))
    assert judge_tensors(REFERENCE, candidate, explain=False).wrong()[0] == "block3.expand.act"


def test_a_candidates_own_input_is_judged_and_used():
    wrong_input = X[:, ::-1].copy()
    candidate = {SOURCE: wrong_input, **NET.trace(wrong_input)}
    found = judge_tensors(REFERENCE, candidate)
    assert found.wrong() == [SOURCE]
    assert [cause.ids for cause in found.causes[SOURCE]] == [("input-bgr",)]


def test_a_tensor_laid_out_wrongly_does_not_spoil_those_behind_it():
    y = HONEST["block6.add"]
    dumped = HONEST | {"block6.add": np.ascontiguousarray(y.transpose(0, 2, 3, 1)).reshape(y.shape)}
    found = judge_tensors(REFERENCE, dumped)
    assert found.wrong() == ["block6.add"]
    assert [cause.ids for cause in found.causes["block6.add"]] == [("channels-last",)]


def test_a_declared_precision_widens_the_bounds_and_only_it_does():
    half = rerun(lambda y: rounded(y, "bfloat16"))
    assert judge_tensors(REFERENCE, half, precision=Precision.of("bfloat16"), explain=False).holds
    assert not judge_tensors(REFERENCE, half, explain=False).holds


def test_end_outputs_alone_are_measured_by_refnets_own_spread():
    found = judge_tensors(REFERENCE, {"head.flatten": HONEST["head.flatten"]})
    last = next(f for f in found.findings if f.name == "head.flatten")
    assert last.judgement.yardstick == "spread"
    assert last.judgement.verdict == "rounding"
    off = {"head.flatten": HONEST["head.flatten"] * np.float32(1.001)}
    assert judge_tensors(REFERENCE, off, explain=False).wrong() == ["head.flatten"]


@pytest.mark.parametrize(
    "precision",
    [("float32", None), ("float16", None), ("bfloat16", None), ("tf32", None), ("float32", "float16")],
    ids=lambda pair: "-".join(map(str, pair)),
)
def test_noise_holds_under_no_precision(precision):
    """A bound that has grown beyond all numbers vouches for nothing."""
    noise = np.random.default_rng(0).standard_normal(HONEST["head.flatten"].shape).astype(np.float32)
    candidate = {"head.flatten": noise}
    assert not judge_tensors(
        REFERENCE, candidate, precision=Precision.of(*precision), partial=True, explain=False
    ).holds


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_end_outputs_of_an_honest_run_in_the_declared_precision_hold(precision):
    run = HONEST if precision == "float32" else rerun(lambda y: rounded(y, precision))
    last = {"head.flatten": run["head.flatten"]}
    assert judge_tensors(REFERENCE, last, precision=Precision.of(precision), partial=True, explain=False).holds


@pytest.mark.parametrize(("x", "verdict"), [(np.where(X > 6, np.nan, X), "nonfinite"), (X[:, :2], "shape")])
def test_a_candidates_input_with_nan_or_of_another_shape_fails(x, verdict):
    found = judge_tensors(REFERENCE, HONEST | {SOURCE: x}, explain=False)
    assert verdicts(found)[SOURCE] == verdict
    assert not found.holds


def test_an_input_that_is_one_unit_off_is_not_the_input():
    off = np.nextafter(X, np.float32(99))
    assert judge_tensors(REFERENCE, NET.trace(off) | {SOURCE: off}, explain=False).wrong() == [SOURCE]


def test_a_port_that_computes_wider_than_it_dumps_holds():
    """The golden tensors themselves: float64 throughout, each rounded once."""
    assert judge_tensors(REFERENCE, GOLDEN).holds


def test_refnets_own_runs_compute_no_wider_than_they_write():
    assert not judge_tensors(REFERENCE, GOLDEN, explain=False, dumped=False).holds


def test_logits_of_another_scale_have_no_cause_but_are_described():
    port = {"head.pool": HONEST["head.pool"], "head.flatten": HONEST["head.flatten"] * np.float32(3)}
    found = judge_tensors(REFERENCE, port, partial=True)
    assert found.causes["head.flatten"] == []
    assert "times the reference throughout" in feature_sentence(found.features["head.flatten"][0])


# --------------------------------------------------------------------------------------- how far from the golden tensor


def test_the_distance_from_the_golden_tensor_is_rms_largest_and_relative():
    """Errors of 3, -4, 0, 0 beside values of 5: rms 2.5, half the values' own."""
    found = accumulated_error(np.array([[8.0, 1.0], [5.0, -5.0]]), np.array([[5.0, 5.0], [5.0, -5.0]]))
    assert (found.rms, found.max, found.relative) == (2.5, 4.0, 0.5)
    assert found.border is found.interior is None
    assert found.channels == pytest.approx((3 / 5 / 2**0.5, 4 / 5 / 2**0.5))


def test_the_distance_from_zeros_is_absolute():
    found = accumulated_error(np.array([[3.0, 0.0]]), np.zeros((1, 2)))
    assert found.relative == found.rms == pytest.approx(3 / 2**0.5)
    assert found.channels == (3.0, 0.0)


def test_two_rows_and_columns_are_the_border_and_the_rest_is_the_interior():
    """Of a map of 5 x 6 two points are inside. An error of 2 is in each of them and 1/2 in all others."""
    y = np.full((1, 1, 5, 6), 0.5, np.float32)
    y[0, 0, 2, 2:4] = 2
    found = accumulated_error(y, np.zeros_like(y))
    assert (found.border, found.interior) == (0.5, 2)


def test_an_error_inside_alone_leaves_a_border_of_zero():
    y = np.zeros((1, 1, 5, 5), np.float32)
    y[0, 0, 2, 2] = 0.1
    found = accumulated_error(y, np.zeros_like(y))
    assert (found.border, found.interior) == (0, pytest.approx(0.1))


def test_a_map_of_four_rows_has_no_interior():
    assert accumulated_error(np.ones((1, 1, 4, 9)), np.zeros((1, 1, 4, 9))).border is None
    assert accumulated_error(np.ones((1, 1, 9, 4)), np.zeros((1, 1, 9, 4))).interior is None


def test_a_tensor_of_another_shape_has_no_distance():
    assert accumulated_error(np.ones((1, 4)), np.ones((1, 5))) is None


# ---------------------------------------------------------------------------------------------- what is looked for when


def test_features_are_told_of_what_nothing_explains_and_of_nothing_else():
    candidate = rerun(same, block2__expand__bn=lambda y: y * 1.01, block5__project=lambda y: y[:, ::-1])
    found = judge_tensors(REFERENCE, candidate)
    assert found.wrong() == list(found.causes) == ["block2.expand.bn", "block5.project"]
    assert found.causes["block2.expand.bn"] == []
    assert list(found.features) == [name for name, causes in found.causes.items() if not causes]


def test_neither_causes_nor_features_are_looked_for_where_none_are_asked():
    candidate = rerun(same, block2__expand__bn=lambda y: y * 1.01)
    found = judge_tensors(REFERENCE, {**candidate, "block6.expand": candidate["block6.expand"][:, 1:]}, explain=False)
    assert found.causes == found.features == {}


def test_a_tensor_of_another_shape_has_the_cause_that_gives_it_and_is_no_input_of_what_follows():
    """A gate whose hidden layer is a quarter of what goes in, as some vendors reckon it."""
    bug = next(change for change in BUGS["se-width"].changes(whole("block4.se.reduce")) if change.shape)
    narrow = np.zeros(bug.shape, np.float32)
    found = judge_tensors(REFERENCE, {**HONEST, "block4.se.reduce": narrow})
    assert found.wrong() == ["block4.se.reduce"]
    assert [cause.ids for cause in found.causes["block4.se.reduce"]] == [("se-width",)]


def test_an_input_of_another_layout_that_lacks_nothing_is_relaid_for_what_reads_it():
    """A port dumps a tensor channels last, in the shape of channels first, and goes on with the right one."""
    name = "block3.add"
    moved = np.ascontiguousarray(HONEST[name].transpose(0, 2, 3, 1)).reshape(HONEST[name].shape)
    found = judge_tensors(REFERENCE, {**HONEST, name: moved}, explain=False)
    assert found.wrong() == [name]


def test_refnets_own_runs_are_not_relaid():
    """What was not dumped cannot have been dumped in another order: what reads it is wrong too."""
    name = "block3.add"
    moved = np.ascontiguousarray(HONEST[name].transpose(0, 2, 3, 1)).reshape(HONEST[name].shape)
    found = judge_tensors(REFERENCE, {**HONEST, name: moved}, explain=False, dumped=False)
    readers = [node.name for node in GRAPH.readers()[name]]
    assert found.wrong() == [name, *readers]


def test_a_finding_says_which_nodes_its_tensor_was_judged_by():
    found = judge_tensors(REFERENCE, {name: HONEST[name] for name in styles(GRAPH)["fused"]}, explain=False)
    segment = next(each.segment for each in found.findings if each.name == "block2.expand.act")
    assert segment == ("block2.expand", "block2.expand.bn", "block2.expand.act")


def test_a_golden_tensor_that_is_not_stored_has_no_distance():
    some = Reference.of(GRAPH, NET.params, {name: GOLDEN[name] for name in (SOURCE, "stem.conv")})
    found = {each.name: each for each in judge_tensors(some, HONEST, explain=False).findings}
    assert found["stem.conv"].accumulated.rms < 1e-6
    assert found["stem.bn"].accumulated is None


def test_a_precision_may_be_declared_for_some_tensors():
    half = rerun(lambda y: rounded(y, "bfloat16"))
    names = [name for name in half if name.startswith("block3")]
    found = judge_tensors(REFERENCE, half, precision={name: Precision.of("bfloat16") for name in names}, explain=False)
    held = {each.name for each in found.findings if each.judgement.holds}
    assert set(names) <= held
    assert not {name for name in half if name.startswith("block4.expand")} & held


SHIFTED = {
    "result-shifted": ("block5.expand.act", {"block5__expand__bn": lambda y: 2 * y}, {"factor": 2.0}),
    "channels-rolled": ("block5.depthwise", {"block5__depthwise": lambda y: np.roll(y, 3, axis=1)}, {"by": 3}),
}


@pytest.mark.parametrize("bug", SHIFTED)
def test_a_result_that_is_shifted_is_said(bug):
    """By a bit before its activation; or by some channels, as a ring buffer is that is read from another place."""
    name, changes, facts = SHIFTED[bug]
    kept = set(styles(GRAPH)["fused"]) | {name}
    found = judge_tensors(REFERENCE, {each: y for each, y in rerun(same, **changes).items() if each in kept})
    assert found.wrong() == [name]
    (mistake,) = found.causes[name][0].mistakes
    assert (mistake.bug, {key: mistake.facts[key] for key in facts}) == (bug, facts)
