"""Arrays of a copy, in round numbers: on which formats and grids they lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exporting import checkpoint, network

from refnet.bugs.language.arrays import Expected
from refnet.networks.rewrite import fold_batch_norm, fold_graph, norms
from refnet.readings.orders import rounded
from refnet.verification import verify
from refnet.verification.roundings import Rounding, on_grid, roundings


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
    np.testing.assert_allclose(made.slack, [1.25, 1.125], rtol=2.0**-22)  # half a step, and what float32 leaves


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


def test_steps_counted_from_the_least_value_leave_what_float32_rounds_when_that_is_taken_away():
    """As converters to integers of 16 bits count them."""
    w = np.random.default_rng(8).uniform(-0.3, 0.9, 20_000).astype(np.float32)
    step = np.ptp(w) / np.float32(2**16 - 1)
    copy = np.rint((w - w.min()) / step).astype(np.float64) * np.float64(step) + w.min()
    (only,) = roundings(copy, steps=np.full(w.shape, np.float64(step)))
    apart = np.abs(copy - w)
    assert apart.max() > 0.5005 * step
    assert (apart <= only.widen(Expected.exactly(w.astype(np.float64))).slack).all()


@pytest.mark.parametrize(("levels", "kind"), [((127, 100), "int8"), ((127, 127), "damaged")])
def test_two_grids_of_8_bits_lie_half_a_step_of_each_apart_where_they_are_two(levels, kind):
    graph, params = network("v2")
    name, w = "block5.expand.w", params["block5.expand.w"]
    steps = np.abs(w).max() / np.float32(levels)
    first, second = (np.rint(w / step) * step for step in steps)
    second[3, 4] += steps[1] * (kind == "damaged")
    found = verify.verify(checkpoint(graph, params | {name: first}), checkpoint(graph, params | {name: second}))
    assert next(value.kind for value in found.values if value.name == name) == kind
