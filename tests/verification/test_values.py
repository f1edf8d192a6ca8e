"""Arrays of a copy, in round numbers: how far apart, which formats they lie on, and what is said of two runs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from exporting import checkpoint, exported, network

from refnet import FormatError, RequestError
from refnet.bugs.language.arrays import Expected
from refnet.networks.resize import resize
from refnet.networks.rewrite import fold_batch_norm, fold_graph, norms
from refnet.readings.orders import rounded
from refnet.verification import behaviour, health, sides, values, verify
from refnet.verification.behaviour import Behaviour, Remark, behave, inputs, traced
from refnet.verification.policy import DEFAULT, policy
from refnet.verification.roundings import Rounding, on_grid, roundings
from refnet.verification.sides import pair
from refnet.verification.values import ArrayFinding

ULP = 2.0**-23  # of float32 at 1


def side_by_side(copy, wanted):
    return SimpleNamespace(copy=np.asarray(copy, float), wanted=Expected.exactly(np.asarray(wanted, float)))


# -------------------------------------------------------------------------------------------------------- how far apart


@pytest.mark.parametrize(
    ("copy", "wanted", "ulps", "at"),
    [
        ([1, 2, 3], [1, 2, 3], 0, (0,)),
        ([1 + ULP, 2, 3], [1, 2, 3], 1, (0,)),
        ([1, 2 - ULP, 3], [1, 2, 3], 0.5, (1,)),  # at 2 a unit is twice as large
        ([1 + ULP, 2 + 6 * ULP, 3], [1, 2, 3], 3, (1,)),
        ([[1, 1], [-1 - 5 * ULP, 1]], [[1, 1], [-1, 1]], 5, (1, 0)),
        ([0.0, 2.0**-149], [0, 0], 1, (1,)),  # below the smallest normal number a unit gets no smaller
        ([2.0**-126, 3 * 2.0**-149], [2.0**-126, 0], 3, (1,)),
        ([np.nan, 1], [1, 1], np.inf, (0,)),
        ([1, np.inf], [1, np.inf], 0, (0,)),
        ([1, -np.inf], [1, np.inf], np.inf, (1,)),
    ],
)
def test_two_arrays_are_apart_by_units_in_the_last_place_of_what_should_be_there(copy, wanted, ulps, at):
    assert values._apart(side_by_side(copy, wanted)) == (ulps, at)


def test_what_is_larger_than_float32_is_measured_by_its_last_unit():
    (ulps, at) = values._apart(side_by_side([2e39, 1], [1e39, 1]))
    assert at == (0,)
    assert ulps == pytest.approx(1e39 / 2.0**104)


def test_arrays_of_other_shapes_and_empty_ones_are_nowhere_apart():
    assert values._apart(side_by_side([1, 2], [1, 2, 3])) == (0, ())
    assert values._apart(side_by_side([], [])) == (0, ())


def test_an_array_that_is_unlike_says_how_much_of_it_is_off_and_how_much_alike():
    """An error of 1 beside 3 and 4: rms 1/5 of theirs; and the cosine of the angle between the two."""
    said = values._likeness(side_by_side([3, 5], [3, 4]), "a.w")
    assert (said.bug, said.node, said.form) == ("", "a.w", "unlike")
    assert said.facts["relative"] == pytest.approx(1 / 5)
    assert said.facts["alike"] == pytest.approx(29 / (34**0.5 * 5))
    assert values._likeness(side_by_side([3, 5], [0, 0]), "a.w").facts == {"relative": None, "alike": 0.0}
    assert values._likeness(side_by_side([-3, -4], [3, 4]), "a.w").facts["alike"] == pytest.approx(-1)


@pytest.mark.parametrize(("copy", "wanted"), [([np.inf, 1], [1, 1]), ([1, 1], [np.nan, 1])])
def test_of_what_is_not_finite_no_likeness_is_told(copy, wanted):
    assert values._likeness(side_by_side(copy, wanted), "a.w").form == "not-finite"


def test_an_array_agrees_within_its_slack_element_by_element():
    made = Expected(np.array([1.0, 2.0]), np.array([0.5, 0.0]))
    for copy, agrees in (([1.5, 2], True), ([0.5, 2], True), ([1.6, 2], False), ([1, 2.001], False), ([1], False)):
        assert values._agrees(np.array(copy, float), made) is agrees


def test_nan_and_infinity_agree_with_the_same_and_with_nothing_else():
    made = Expected.exactly(np.array([np.nan, np.inf]))
    for copy, agrees in (([np.nan, np.inf], True), ([1, np.inf], False), ([np.nan, -np.inf], False)):
        assert values._agrees(np.array(copy, float), made) is agrees


def test_the_elements_that_are_looked_at_first_are_those_that_are_off():
    copy = np.arange(12.0).reshape(3, 4)
    wanted = copy.copy()
    wanted[1, 2] = wanted[2, 0] = 99
    assert [index.tolist() for index in values._telling(side_by_side(copy, wanted))] == [[1, 2], [2, 0]]
    off = values._telling(side_by_side(copy, wanted[:2]))
    assert len(off[0]) == 12


def test_of_many_that_are_off_some_are_looked_at_from_all_over():
    (index,) = values._telling(side_by_side(np.ones(1000), np.zeros(1000)))
    assert len(index) == 64
    assert (index[0], index[1], index[-1]) == (0, 15, 945)


def stale(*kinds):
    return [ArrayFinding(str(index), kind, kind == "stale") for index, kind in enumerate(kinds)]


def test_where_more_than_half_is_unexplained_the_network_was_trained_otherwise():
    assert values._settled(stale("stale", "bit-equal")) == stale("stale", "bit-equal")
    kinds = [each.kind for each in values._settled(stale("stale", "stale", "bit-equal"))]
    assert kinds == ["retrained", "retrained", "bit-equal"]


# -------------------------------------------------------------------------------------------------------------- formats


def formats(copy, **how):
    return [(each.needs, each.form, dict(each.facts), each.fine) for each in roundings(np.array(copy, float), **how)]


EXACT = ((), "", {}, True)
FLOAT32 = (("float32",), "float", {"store": "float32"}, True)


def short(store):
    return (store,), "float", {"store": store}, False


def test_a_number_lies_on_the_grids_of_the_formats_that_have_it():
    assert formats([1 / 3]) == [EXACT]
    assert formats([1 + 2.0**-23]) == [EXACT, FLOAT32]
    assert formats([1 + 2.0**-10]) == [EXACT, FLOAT32, short("float16")]
    assert formats([2.0**20]) == [EXACT, FLOAT32, short("bfloat16")]  # beyond float16
    assert formats([1.5]) == [EXACT, FLOAT32, short("float16"), short("bfloat16")]


def test_what_is_not_finite_is_of_every_format():
    assert formats([np.nan, np.inf])[1] == FLOAT32
    assert on_grid(np.array([np.nan, np.inf, 1.0]), "float16")
    assert not on_grid(np.array([np.nan, 1 + 2.0**-12]), "float16")


def test_integers_have_their_own_steps_and_no_other_format():
    (only,) = roundings(np.array([1.0, 2.0]), steps=np.array([0.5, 0.25]))
    assert (only.needs, only.form, only.fine) == (("int8",), "integers", False)
    made = only.widen(Expected(np.zeros(2), np.ones(2)))
    np.testing.assert_array_equal(made.slack, [1.25, 1.125])


def test_a_bias_may_have_been_larger_by_a_constant():
    """3 + 2^-11 is no float16 and 2^-11 is; so is what is left of 3 + 2^-9."""
    moved = {each[0]: each for each in formats([2.0**-9], constant=3.0) if each[1] == "moved"}
    assert set(moved) == {("folded", "float16"), ("folded",)}
    assert moved[("folded",)][2:] == ({"constant": 3.0, "store": "float32"}, True)
    assert moved[("folded", "float16")][2:] == ({"constant": 3.0, "store": "float16"}, False)
    assert {each[0] for each in formats([2.0**-11], constant=3.0) if each[1] == "moved"} == {("folded",)}
    assert not [each for each in formats([2.0**-9]) if each[1] == "moved"]


def test_half_a_step_is_told_though_a_converter_divides_in_float32():
    """round((b + 3) / s), of float32: where the quotient is about 70,000, some lie beyond half a step."""
    rng = np.random.default_rng(0)
    b = rng.uniform(-1, 1, 4096).astype(np.float32)
    scale = np.float32(3) / np.float32(70_000) * rng.uniform(0.9, 1.1, 4096).astype(np.float32)
    stored = np.rint((b + np.float32(3)) / scale).astype(np.int32)
    steps = scale.astype(np.float64)
    copy = stored * steps - 3
    off = np.abs(copy - b.astype(np.float64)) / steps
    assert off.max() > 0.5
    moved = next(each for each in roundings(copy, steps=steps, constant=3.0) if each.form == "moved")
    made = moved.widen(Expected.exactly(b.astype(np.float64)))
    assert (np.abs(copy - made.value) <= made.slack).all()
    assert (made.slack < 0.54 * steps).all()


def of(form, copy, **how) -> Rounding:
    return next(each for each in roundings(np.array(copy, float), **how) if each.form == form)


def test_rounding_once_more_may_move_a_number_by_half_a_unit_in_the_last_place():
    half = next(each for each in roundings(np.array([1.5])) if each.needs == ("float16",))
    made = half.widen(Expected(np.array([4.0, 0.0]), np.array([1.0, 0.0])))
    np.testing.assert_array_equal(made.slack, [1 + 5 * 2.0**-11 + 2.0**-25, 2.0**-25])
    np.testing.assert_array_equal(of("", [1.5]).widen(made).slack, made.slack)


def test_a_constant_that_was_added_rounds_what_it_is_added_to():
    moved = next(each for each in roundings(np.array([2.0**-9]), constant=3.0) if each.needs == ("folded", "float16"))
    made = moved.widen(Expected(np.array([1.0]), np.array([0.5])))
    np.testing.assert_array_equal(made.slack, [0.5 + 4 * 2.0**-11 + 2.0**-24])


def test_weights_on_a_grid_of_8_bits_are_seen_by_channel_or_as_a_whole():
    """Of 127 steps, the second row's of half the size."""
    rows = np.array([[127.0, -3, 64], [127, 5, -1]])
    by_channel = rows / 127 * np.array([[1.0], [0.5]])
    assert [dict(each.facts)["per"] for each in roundings(by_channel) if each.form == "grid"] == ["channel"]
    whole = np.array([[127.0, -3, 64], [100, 5, -1]]) / 127
    assert [dict(each.facts)["per"] for each in roundings(whole) if each.form == "grid"] == ["tensor"]
    grid = of("grid", whole)
    slack = grid.widen(Expected.exactly(np.zeros((2, 3)))).slack
    assert slack.shape == (2, 3)
    half = np.full((2, 3), 0.5 / 127 * (1 + 6 * 2.0**-24 * 127))  # and two products
    half[0, 0] *= 2  # a scale of the largest / 128 cuts 128 to 127
    assert slack == pytest.approx(half, rel=1e-9)
    assert grid.needs == ("int8",)


@pytest.mark.parametrize(("off", "lies"), [(0.99, True), (1.01, False)])
def test_numbers_lie_on_a_grid_up_to_what_two_products_in_float32_round(off, lies):
    """6 u of the largest, which is 127 steps."""
    steps = np.array([[127.0, 64 + off * 6 * 2.0**-24 * 127], [100, -3]])
    assert [each.form for each in roundings(steps / 127) if each.form == "grid"] == (["grid"] if lies else [])


def test_a_grid_of_128_steps_is_one_too_and_a_vector_or_what_is_not_finite_lies_on_none():
    steps = np.array([[128.0, -3], [77, 5]]) / 128
    half = np.full((2, 2), 0.5 / 128 * (1 + 6 * 2.0**-24 * 128))
    assert of("grid", steps).widen(Expected.exactly(steps)).slack == pytest.approx(half, rel=1e-9)
    for none in (steps[0], np.where(steps == 1, np.nan, steps), steps + 1e-3):
        assert not [each for each in roundings(none) if each.form == "grid"]


@pytest.mark.parametrize("store", ["float16", "bfloat16"])
def test_a_fold_that_was_made_in_a_short_format_is_no_fault(store):
    graph, params = network("v2")
    cast = {name: rounded(array, store) for name, array in params.items()}
    arrays = dict(fold_batch_norm(graph, params)[1])
    for conv, norm in norms(graph).items():
        gamma, beta, mean, var = (cast[f"{norm.name}.{slot}"] for slot in ("gamma", "beta", "mean", "var"))
        root = rounded(1 / np.sqrt(rounded(var + np.float32(norm.attrs["eps"]), store)), store)
        s = rounded(gamma * root, store)
        w = cast[f"{conv}.w"]
        arrays[f"{conv}.w"] = rounded(w * s.reshape(-1, *(1,) * (w.ndim - 1)), store)
        arrays[f"{conv}.b"] = rounded(beta - rounded(mean * s, store), store)
    arrays |= {name: cast[name] for name in arrays if name in cast and name.startswith("head.logits")}
    folded = checkpoint(fold_graph(graph), arrays, "copy")
    found = verify.verify(checkpoint(graph, params), folded, allow=("folded", store))
    assert found.holds
    off = {**arrays, "block3.project.w": rounded(arrays["block3.project.w"] * np.float32(1.05), store)}
    found = verify.verify(checkpoint(graph, params), replace(folded, params=off), allow=("folded", store))
    assert [value.name for value in found.faults] == ["block3.project.w"]


def test_weights_whose_scale_is_the_largest_by_128_are_cut_at_127():
    graph, params = network("v2")
    w = params["block3.project.w"]
    step = np.abs(w).max(axis=1, keepdims=True) / np.float32(128)
    copy = np.clip(np.rint(w / step), -128, 127) * step
    found = verify.verify(
        checkpoint(graph, params), checkpoint(graph, {**params, "block3.project.w": copy}, "copy"), allow=("int8",)
    )
    assert found.holds
    assert found.needs == ("int8",)


# ----------------------------------------------------------------------------------------------------------- behaviour


@pytest.fixture(scope="module")
def runs():
    """An original with its trace, and an honest copy with its."""
    graph, params = network("v2")
    two = pair(checkpoint(graph, params), exported(graph, params))
    x = inputs(two.original)
    return two, x, traced(two.original, x), traced(two.copy, x)


def test_nothing_is_said_of_runs_that_were_not_compared():
    made = Behaviour()
    assert (made.images, made.size, made.agree, made.end, made.wrong, made.counts) == (0, (0, 0), 0, "", [], {})
    assert np.isnan(made.difference)
    assert np.isnan(made.spread)


def test_the_probe_is_of_two_images(runs):
    two, x, *_ = runs
    assert x.shape == (2, 3, 48, 40)
    assert inputs(two.original, 3).shape[0] == 3


def test_what_could_not_be_run_is_told_of_the_original_first(runs):
    two, x, first, second = runs
    one, other = Remark("not-run", {"file": "one"}), Remark("not-run", {"file": "other"})
    for given, remark in (((one, other), one), ((one, second), one), ((first, other), other)):
        found = behave(two, x, *given)
        assert (found.images, found.size, found.remark, found.end) == (2, (48, 40), remark, "")


def test_a_file_whose_network_does_not_fit_its_arrays_is_not_run(runs):
    two, x, *_ = runs
    params = {**two.original.params, "stem.conv.w": np.zeros((3, 3), np.float32)}
    found = traced(replace(two.original, params=params), x)
    assert isinstance(found, Remark)
    assert (found.kind, found.facts["file"]) == ("not-run", "file")
    assert found.facts["error"]


def test_ends_are_apart_relative_to_the_largest_of_the_original_and_agree_by_class(runs, monkeypatch):
    """One logit off by half the largest, so that one of two images has another class."""
    two, x, first, second = runs
    logits = np.zeros((2, 10), np.float32)
    logits[0, 3], logits[0, 7], logits[1, 4] = 2, -4, -1
    logits[1, 5] = 1
    other = logits.copy()
    other[1, 6] = 2
    monkeypatch.setattr(behaviour, "spread", lambda net, x, end: 0.25 if (len(x), end) == (1, "head.flatten") else 0)
    monkeypatch.setattr(behaviour, "_judged", lambda *args: {"a": "exact", "b": "wrong", "c": "wrong", "d": "suspect"})
    found = behave(two, x, {**first, "head.flatten": logits}, {**second, "head.flatten": other})
    assert (found.end, found.agree, found.difference, found.spread) == ("head.flatten", 1, 0.5, 0.0625)
    assert found.wrong == ["b", "c", "d"]
    assert found.counts == {"exact": 1, "wrong": 2, "suspect": 1}
    assert found.remark is None


def test_ends_of_zeros_are_apart_by_what_the_other_has(runs, monkeypatch):
    two, x, first, second = runs
    zeros, other = np.zeros((2, 10), np.float32), np.full((2, 10), 0.5, np.float32)
    monkeypatch.setattr(behaviour, "_judged", lambda *args: {})
    assert behave(two, x, {**first, "head.flatten": zeros}, {**second, "head.flatten": other}).difference == 0.5


def test_ends_of_other_shapes_are_not_compared(runs, monkeypatch):
    two, x, first, second = runs
    monkeypatch.setattr(behaviour, "_judged", lambda *args: {})
    found = behave(two, x, first, {**second, "head.flatten": np.zeros((2, 11))})
    assert found.remark == Remark("shape", {"node": "head.flatten", "copy": (2, 11), "original": (2, 10)})
    assert (found.end, found.agree) == ("head.flatten", 0)


def test_of_weights_in_8_bits_only_the_ends_are_compared(runs):
    two, x, first, second = runs
    found = behave(two, x, first, second, "int8")
    assert found.remark == Remark("int8", {})
    assert found.verdicts == {}
    assert found.agree == 2


def test_every_tensor_that_both_have_is_judged_and_the_originals_names_are_used(runs):
    two, x, first, second = runs
    found = behave(two, x, first, second)
    assert "stem.bn" in found.verdicts
    assert "stem.conv" not in found.verdicts  # the copy's, which is the batch norm's tensor
    assert "input" not in found.verdicts
    spoiled = {**second, "block3.expand.act": second["block3.expand.act"] + 1}
    assert behave(two, x, first, spoiled).wrong == ["block3.expand.act", "block3.depthwise.bn"]


# ------------------------------------------------------------------------------------------------------- health, policy


def kinds(array, slot="w", stored="float32"):
    array = np.asarray(array, float)
    with np.errstate(all="ignore"):
        masks = {kind: check.of(array, slot, stored) for kind, check in health._CHECKS.items()}
    return {kind: np.flatnonzero(mask).tolist() for kind, mask in masks.items() if mask is not None and mask.any()}


PLAIN = [0.5, -1.0, 2.0, 3.0, 1.5]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (65504.0, {}),
        (-65505.0, {"float16-overflow": [0]}),
        (2.0**-126, {}),
        (-0.9 * 2.0**-126, {"denormal": [0]}),
        (0.0, {}),
        (-np.inf, {"inf": [0]}),
        (np.nan, {"nan": [0]}),
    ],
)
def test_each_number_is_looked_at(value, found):
    assert kinds([value, *PLAIN]) == found


def test_a_denormal_number_is_below_the_smallest_normal_one_of_the_format_that_is_stored():
    assert kinds([2.0**-15, *PLAIN], stored="float16") == {"denormal": [0]}
    assert kinds([2.0**-14, *PLAIN], stored="float16") == {}
    assert kinds([2.0**-130, *PLAIN], stored="float64") == {}
    assert kinds([2.0**-130, *PLAIN], stored="int8") == {"denormal": [0]}


def test_only_a_variance_may_not_be_zero_or_less():
    assert kinds([0.0, *PLAIN[2:]], "var") == {"zero-variance": [0]}
    assert kinds([-0.1, *PLAIN[2:]], "var") == {"negative-variance": [0]}
    assert kinds([-0.1, *PLAIN[2:]], "mean") == {}


def test_four_numbers_that_are_all_the_same_are_constant_unless_they_are_zero():
    assert kinds([2.0] * 4) == {"constant": [0]}
    assert kinds([2.0] * 3) == {}
    assert kinds([2.0, 2.0, 2.0, 2.1]) == {}
    assert kinds([0.0] * 4) == {}
    assert kinds([0.0] * 4, "var") == {"zero-variance": [0, 1, 2, 3], "constant": [0]}
    assert "constant" not in kinds([np.inf] * 4)


def test_a_number_beside_which_all_others_are_lost_is_absurd():
    """2^24 times what nine in ten are below, here 3; of no more than one in a thousand."""
    assert kinds([3 * 2.0**24, *[3.0] * 9, 1.0])["float16-overflow"] == [0]
    assert "absurd" not in kinds([3 * 2.0**24, *[3.0] * 9, 1.0])
    assert kinds([3.1 * 2.0**24, *[3.0] * 9, 1.0])["absurd"] == [0]
    assert kinds([-3.1 * 2.0**24, *[3.0] * 9, 1.0])["absurd"] == [0]
    assert "absurd" not in kinds([1e9, 1.0, 1.0])
    assert kinds([1e9, 1.0, 1.0, 2.0])["absurd"] == [0]
    assert "absurd" not in kinds([1e9, 1e9, *[1.0] * 1997])
    assert kinds([1e9, 1e9, *[1.0] * 1998])["absurd"] == [0, 1]
    assert "absurd" not in kinds([1e9, *[0.0] * 20])


@pytest.mark.parametrize("inside", ["model.json", "saved_model.pb"])
def test_a_folder_that_is_a_model_is_read_as_one_and_any_other_as_a_pack(inside, tmp_path, monkeypatch):
    monkeypatch.setattr(sides, "identify", lambda path, **how: (path, how))
    with pytest.raises(FormatError, match="manifest"):
        sides.read_side(tmp_path)
    (tmp_path / inside).write_text("{}")
    how = {"model": "m", "width": 0.5, "size": (3, 4), "like": "another"}
    assert sides.read_side(tmp_path, **how) == (tmp_path, {**how, "contents": None})


@pytest.mark.parametrize("how", [{"model": "m"}, {"width": 1.0}, {"size": (3, 4)}])
def test_a_pack_is_told_nothing(how, tmp_path):
    with pytest.raises(RequestError, match="a golden pack knows its own model, width and size"):
        sides.read_side(tmp_path, **how)


def test_a_file_of_arrays_alone_is_taken_at_the_size_of_the_other_unless_a_size_is_given():
    graph, params = network("v2")
    one, other = checkpoint(graph, params), checkpoint(resize(graph, (64, 96)), params, "other")
    for size, sizes in ((None, [(64, 96)] * 2), ((48, 40), [(48, 40), (64, 96)])):
        two = pair(one, other, size=size)
        assert [two.original.graph.recipe.size, two.copy.graph.recipe.size] == sizes


def test_where_neither_of_two_files_can_tell_both_are_taken_for_the_first_network():
    graph, params = network("v2")
    one, other = (checkpoint(graph, params, path, models=("a", "b"), apart=("a pad",)) for path in ("one", "other"))
    (choice,) = pair(one, other).choices
    assert choice == sides.Choice(None, ("a", "b"), ("a pad",), "a")
    assert pair(one, replace(other, apart=())).choices == pair(other, one).choices
    assert pair(replace(one, apart=()), other).choices == ()


def test_of_two_files_that_which_tells_its_structure_decides_the_size():
    graph, params = network("v2")
    one = checkpoint(graph, params, scheme="structure")
    other = checkpoint(resize(graph, (64, 96)), params, "other")
    for first, second in ((one, other), (other, one)):
        two = pair(first, second)
        assert two.original.graph.recipe.size == two.copy.graph.recipe.size == (48, 40)


def test_a_policy_is_its_words_in_their_order_or_what_is_meant_by_default():
    assert policy(None) == DEFAULT == ("folded", "renamed", "rearranged")
    assert policy(" float16 ,folded,") == ("folded", "float16")
    assert policy("none") == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("folded,flat", "--allow: 'flat' is none of folded, renamed, rearranged, float32"),
        ("none,folded", "is no list of differences; say none alone"),
        ("", "'' is no list of differences"),
        (" , ", "is no list of differences"),
    ],
)
def test_a_policy_that_says_nothing_is_refused(text, complaint):
    with pytest.raises(RequestError, match=complaint):
        policy(text)


# -------------------------------------------------------------------------------------------------------------- verdict


def verified(**fields):
    graph, params = network("v2")
    file = checkpoint(graph, params)
    made = verify.Verified(file, pair(file, file), (), (), Behaviour(), (), ("folded",))
    return replace(made, **fields)


def test_two_files_are_the_same_but_for_what_needs_to_be_allowed():
    half = ArrayFinding("a.w", "folded+float16", needs=("folded", "float16"))
    wrong = ArrayFinding("b.w", "stale", True, needs=("int8",))
    assert verified().holds
    found = verified(values=(half,))
    assert (found.needs, found.unmeant, found.faults, found.holds) == (("float16", "folded"), ("float16",), [], False)
    assert verified(values=(half,), allowed=("folded", "float16")).holds
    found = verified(values=(wrong,))  # of what is wrong nothing needs to be allowed
    assert (found.needs, found.faults, found.holds) == ((), [wrong], False)


def test_a_run_that_differs_though_everything_holds_is_strange():
    off = Behaviour(verdicts={"a": "wrong"})
    assert verified(behaviour=off).strange
    assert not verified(behaviour=off).holds
    assert not verified(behaviour=off, values=(ArrayFinding("b.w", "stale", True),)).strange
    assert not verified(behaviour=Behaviour(verdicts={"a": "rounding"})).strange


def test_the_shortest_format_of_any_tensor_that_is_not_wrong_is_what_a_copy_was_rounded_to():
    def rounded(*needs, fault=False):
        return ArrayFinding("a.w", "", fault, needs)

    assert verify._short((rounded("folded"),)) == ""
    assert verify._short((rounded("float16"), rounded("folded"))) == "float16"
    assert verify._short((rounded("float16"), rounded("bfloat16"))) == "bfloat16"
    assert verify._short((rounded("float16"), rounded("folded", "int8"))) == "int8"
    assert verify._short((rounded("int8", fault=True), rounded("float16"))) == "float16"


def test_biases_that_were_moved_are_those_that_fit_with_a_constant():
    moved = Rounding(("folded",), "moved", {}, lambda made: made)
    found = (
        ArrayFinding("a.b", "folded", rounding=moved),
        ArrayFinding("b.b", "stale", True, rounding=moved),
        ArrayFinding("c.b", "folded", rounding=moved._replace(form="float")),
        ArrayFinding("d.b", "bit-equal"),
    )
    assert verify._moved(found) == {"a.b"}


# ------------------------------------------------------------------------------------------------- formulas of the fold


def folding(
    divisor=lambda var, eps: np.sqrt(var + eps), factor=np.divide, offset=lambda beta, mean, s: beta - mean * s
):
    """A fold by other formulas, in float64."""

    def fold(w, b, gamma, beta, mean, var, eps):
        gamma, beta, mean, var = (each.astype(np.float64) for each in (gamma, beta, mean, var))
        s = factor(gamma, divisor(var, eps))
        return w * s.reshape(-1, *(1,) * (w.ndim - 1)), s * b + offset(beta, mean, s)

    return fold


@pytest.mark.parametrize(
    ("fold", "bug", "form", "arrays"),
    [
        (folding(divisor=lambda var, eps: np.sqrt(var) + 3e-4), "bn-eps-outside", "0.0003", 104),
        (folding(divisor=lambda var, eps: np.sqrt(var) + 1e-5), "bn-eps-outside", "1e-05", 104),
        (folding(divisor=lambda var, eps: np.sqrt(var * 64 / 63 + eps)), "bn-statistics-scaled", "var", 104),
        (
            folding(lambda var, eps: np.sqrt(0.5 * var + eps), offset=lambda beta, mean, s: beta - 0.5 * mean * s),
            "bn-statistics-scaled",
            "both",
            104,
        ),
        (folding(offset=lambda beta, mean, s: beta - 0.9 * mean * s), "bn-statistics-scaled", "mean", 52),
        (folding(offset=lambda beta, mean, s: 2 * beta - mean * s), "bn-bias-terms", "2 1 0", 52),
        (folding(offset=lambda beta, mean, s: beta - mean), "norm-parts", "mean unscaled", 52),
        (folding(factor=lambda gamma, divisor: 1 / gamma / divisor), "norm-parts", "gamma divides", 104),
    ],
)
def test_a_fold_by_another_formula_is_one_fault_of_every_layer_that_was_folded(fold, bug, form, arrays):
    graph, params = network("v2")
    found = verify.verify(checkpoint(graph, params), exported(graph, params, fold))
    assert {(value.mistake.bug, value.mistake.form) for value in found.faults} == {(bug, form)}
    assert (len(found.faults), found.pattern.of, found.pattern.scope) == (arrays, 52, None)


def test_a_fold_that_is_made_twice_is_told_for_weights_alone_and_for_both():
    graph, params = network("v2")

    def again(w, b, gamma, beta, mean, var, eps):
        s = gamma.astype(np.float64) / np.sqrt(var.astype(np.float64) + eps)
        scale = s.reshape(-1, *(1,) * (w.ndim - 1))
        return w * scale**2, s * (s * (b - mean) + beta - mean) + beta

    for fold, form in ((again, "both"), (lambda *arrays: (again(*arrays)[0], folding()(*arrays)[1]), "weights")):
        found = verify.verify(checkpoint(graph, params), exported(graph, params, fold))
        assert {(value.mistake.bug, value.mistake.form) for value in found.faults} == {("fold-repeated", form)}


def test_the_fold_of_another_layer_names_that_layer():
    graph, params = network("v2")
    norm = [params[f"block2.depthwise.bn.{slot}"] for slot in ("gamma", "beta", "mean", "var")]
    only = {"block2.expand": lambda w, b, gamma, beta, mean, var, eps: folding()(w, b, *norm, eps)}
    faults = verify.verify(checkpoint(graph, params), exported(graph, params, only=only)).faults
    assert {(value.name, value.mistake.bug, value.mistake.facts["layer"]) for value in faults} == {
        (f"block2.expand.{slot}", "fold-elsewhere", "block2.depthwise") for slot in "wb"
    }


def test_pixels_normalisation_in_the_first_layer_is_told_in_pixels():
    graph, params = network("v2")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def within(w, b, *norm):
        w, b = folding()(w, b, *norm)
        w = w / std.reshape(1, -1, 1, 1)
        return w, b - (w * mean.reshape(1, -1, 1, 1)).sum(axis=(1, 2, 3))

    faults = verify.verify(checkpoint(graph, params), exported(graph, params, only={"stem.conv": within})).faults
    assert {value.name for value in faults} == {"stem.conv.w", "stem.conv.b"}
    assert [value.mistake.facts for value in faults] == [{"mean": tuple(mean), "std": tuple(std)}] * 2
