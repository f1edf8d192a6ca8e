"""Tables on which figures of the catalogue stand: what is told from what, and with which chance of error."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from refnet import build, probe, random_params
from refnet.bugs import answers, precision
from refnet.bugs.catalogue import BUGS
from refnet.bugs.parts import Parts
from refnet.bugs.segments import cut
from refnet.graph import SOURCE, walk
from refnet.readings import fast
from refnet.readings.orders import factor, rounded, truncated


@pytest.fixture(scope="module")
def tensors():
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(32, 32), classes=10)
    made = walk(graph, fast, random_params(graph), {SOURCE: probe(graph, 1)})
    return [y.ravel() for _, y in made if y.size >= 64]


def some(y, count, seed=0):
    return np.random.default_rng(seed).choice(y, count, replace=False)


# ------------------------------------------------------------------------------------------- fixed point, short floats


@pytest.mark.parametrize("move", [np.rint, np.floor])
@pytest.mark.parametrize("bits", [4, 8, 12])
def test_fixed_point_is_told_from_64_numbers_with_its_bits(tensors, bits, move):
    fixed = [move(some(y, 64).astype(float) * 2**bits) / 2**bits for y in tensors]
    told = [precision.fraction_bits(y.astype(np.float32)) for y in fixed if np.unique(y).size > 2]
    assert len(told) > 80
    assert set(told) <= {bits, None}
    assert np.mean([each == bits for each in told]) > 0.97


@pytest.mark.parametrize("count", [4, 16, 64])
@pytest.mark.parametrize("store", ["float16", "bfloat16", "tf32"])
def test_no_short_float_is_taken_for_fixed_point(tensors, store, count):
    move = factor if store == "tf32" else lambda y: rounded(y, store)
    short = [each(some(y, count)) for y in tensors for each in (move, lambda y: truncated(y, "bfloat16"))]
    assert not any(precision.fraction_bits(y) is not None for y in short)


def test_the_chance_that_is_allowed_is_that_by_which_floats_are_taken_for_it(monkeypatch):
    """Of few numbers that are as likely in each octave; each of the steps may be theirs by accident."""
    monkeypatch.setattr(precision, "_CHANCE", 1e-2)
    rng = np.random.default_rng(0)
    drawn = [rounded(np.exp2(rng.uniform(-5, 1, 3)).astype(np.float32), "bfloat16") for _ in range(4000)]
    taken = np.mean([precision.fraction_bits(y) is not None for y in drawn])
    assert 0 < taken < 1e-2 * precision._BITS


@pytest.mark.parametrize(("move", "manner"), [(np.floor, "cut off"), (np.trunc, "cut off"), (np.rint, "rounded")])
def test_what_is_cut_off_lies_on_the_other_side_of_the_middle(tensors, move, manner):
    """By half a step on average, and by a quarter: of 64 numbers no tensor is as far off as the middle."""
    for y in tensors:
        steps = some(y, 64).astype(float) * 2**10
        steps = steps[steps != np.rint(steps)]
        off = (
            float(np.abs(move(steps) - steps).mean()) if steps.size > 32 else {"cut off": 0.5, "rounded": 0.25}[manner]
        )
        assert (off > precision._HALFWAY) == (manner == "cut off")


def test_sums_in_float16_that_are_whole_steps_of_their_largest_are_still_such_sums():
    """They pass by large numbers, whose steps the small ones at the end still have."""
    rng = np.random.default_rng(0)
    terms = np.concatenate([rng.normal(0, 200, (15, 256)), np.zeros((1, 256))])
    terms[-1] = rng.normal(0, 5, 256) - terms.sum(axis=0)
    y = np.zeros(256, np.float16)
    for row in terms:
        y += row.astype(np.float16)
    assert precision.fraction_bits(y.astype(np.float32)) is not None
    assert precision._is_large(SimpleNamespace(candidate=y.astype(np.float32), result=terms.sum(axis=0)))
    in_steps = (np.rint(terms.sum(axis=0) * 4096) / 4096).astype(np.float32)
    assert not precision._is_large(SimpleNamespace(candidate=in_steps + 1, result=terms.sum(axis=0)))


# ---------------------------------------------------------------------------------------------------- order of classes


def shares():
    """Of what is left of an error once numbers are sorted: of right numbers in another order, and of wrong ones."""
    rng = np.random.default_rng(0)
    right, wrong = [], []

    def left(port, own):
        return np.linalg.norm(np.sort(port) - np.sort(own)) / np.linalg.norm(port - own)

    for classes in (5, 10, 100, 1000, 1000, 21843):
        for _ in range(100 if classes < 5000 else 10):
            own, order = rng.normal(size=classes), np.arange(classes)
            one, other = rng.choice(classes, 2, replace=False)
            while abs(own[one] - own[other]) < 0.01:  # so near it is their rounding that shows
                one, other = rng.choice(classes, 2, replace=False)
            order[[one, other]] = other, one  # any other order moves more
            right.append(left(own[order] * (1 + 2e-7 * rng.normal(size=classes)), own))
            wrong.append(left(own + 10 ** rng.uniform(-3, 1) * rng.normal(size=classes), own))
    return np.array(right), np.array(wrong)


def test_right_numbers_in_another_order_leave_less_than_wrong_ones_in_any():
    right, wrong = shares()
    assert right.max() < answers._ALIKE < 10 * answers._ALIKE < wrong.min()
    assert right.max() > answers._ALIKE / 10


@pytest.mark.parametrize(("spread", "told"), [(0.0, True), (1e-3, True), (0.04, False), (0.2, False)])
def test_a_factor_is_one_of_all_numbers_alike(spread, told):
    """What is left of the error of a factor by which classes differ so much is what its numbers are apart by."""
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(32, 32), classes=10)
    params, x = random_params(graph), probe(graph, 1)
    whole = cut(Parts(graph), params, graph.output, {SOURCE: x}, judged=False)
    factors = 1 - 0.5 * (1 + spread * np.random.default_rng(0).choice((-1, 1), 10))
    found = list(BUGS["answer-scaled"].changes(replace(whole, candidate=whole.result * factors)))
    assert bool(found) == told
