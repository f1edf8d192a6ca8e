"""The controller: its gradient by differences, its likelihoods as probabilities, and points better than chance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet.search.controller import Adam, initial_policy, log_likelihoods, policy_loss, sampled
from refnet.search.proposers import PROPOSERS, by_chance, by_controller, by_evolution
from refnet.search.space import DIGITS, decisions

OPTIONS = st.lists(st.integers(1, 4), min_size=1, max_size=5)
SEEDS = st.integers(0, 2**32 - 1)


@given(OPTIONS, st.integers(1, 4), SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_gradient_is_that_of_the_loss(options, hidden, seed):
    rng = np.random.default_rng(seed)
    params = {name: 6 * array for name, array in initial_policy(options, hidden, rng).items()}  # far from uniform
    decided, advantages = sampled(params, options, 3, rng), rng.standard_normal(3)
    _, grads = policy_loss(params, options, decided, advantages, 0.3)
    assert grads.keys() == params.keys()
    direction = {name: rng.standard_normal(array.shape) for name, array in params.items()}
    step = 1e-5
    ahead, behind = (
        policy_loss({n: a + sign * step * direction[n] for n, a in params.items()}, options, decided, advantages, 0.3)[
            0
        ]
        for sign in (1, -1)
    )
    along = sum(float((grads[name] * direction[name]).sum()) for name in params)
    assert (ahead - behind) / (2 * step) == pytest.approx(along, rel=1e-6, abs=1e-7)


def test_each_entry_of_the_gradient_is_that_of_the_loss():
    rng, options = np.random.default_rng(5), [2, 3, 2]
    params = {name: 4 * array for name, array in initial_policy(options, 3, rng).items()}
    decided, advantages = sampled(params, options, 4, rng), rng.standard_normal(4)
    _, grads = policy_loss(params, options, decided, advantages, 0.2)
    for name, array in params.items():
        for at in np.ndindex(array.shape):
            values, kept = [], array[at]
            for sign in (1, -1):
                array[at] = kept + sign * 1e-5
                values.append(policy_loss(params, options, decided, advantages, 0.2)[0])
            array[at] = kept
            assert (values[0] - values[1]) / 2e-5 == pytest.approx(grads[name][at], rel=1e-5, abs=1e-8), (name, at)


@given(OPTIONS, SEEDS)
@settings(max_examples=20, deadline=None)
def test_likelihoods_are_probabilities_and_draws_follow_them(options, seed):
    rng = np.random.default_rng(seed)
    params = {name: 8 * array for name, array in initial_policy(options, 3, rng).items()}
    every = np.array(list(itertools.product(*map(range, options))))
    p = np.exp(log_likelihoods(params, options, every))
    assert p.sum() == pytest.approx(1, rel=1e-12)
    drawn = sampled(params, options, 2000, rng)
    assert (drawn >= 0).all()
    assert (drawn < options).all()
    counts = np.array([(drawn == row).all(axis=1).sum() for row in every])
    assert (np.abs(counts - 2000 * p) <= 7 * np.sqrt(2000 * p * (1 - p)) + 7).all()  # seven deviations


def test_a_policy_that_is_rewarded_for_one_point_draws_it():
    rng, options = np.random.default_rng(0), [3, 2, 4]
    params, adam = initial_policy(options, 8, rng), Adam(0.05)
    for _ in range(60):
        decided = sampled(params, options, 16, rng)
        rewards = (decided == [2, 0, 3]).mean(axis=1)
        adam.step(params, policy_loss(params, options, decided, rewards - rewards.mean(), 0.0)[1])
    assert log_likelihoods(params, options, np.array([[2, 0, 3]]))[0] > np.log(0.9)


OPTIONS_OF_DIGITS = [len(decision.options) for decision in decisions(DIGITS)]


def agreement(seed):
    """A reward with a known optimum, 1: how many decisions are those of a secret point, and how many pairs of them."""
    secret = np.random.default_rng(900 + seed).integers(OPTIONS_OF_DIGITS)

    def reward(point):
        right = np.array(point) == secret
        return 0.5 * right.mean() + 0.5 * (right[1:] & right[:-1]).mean()

    return reward


def best(propose, reward, budget, seed):
    points = propose(OPTIONS_OF_DIGITS, np.random.default_rng(seed))
    point, found = next(points), -np.inf
    for _ in range(budget):
        value = reward(point)
        found, point = max(found, value), points.send(value)
    return found


@pytest.mark.parametrize("propose", [by_controller, by_evolution])
def test_a_search_beats_chance_on_the_same_budget(propose):
    budget, seeds = 120, range(10)
    better = [best(propose, agreement(s), budget, s) > best(by_chance, agreement(s), budget, s) for s in seeds]
    assert sum(better) >= 8


@pytest.mark.parametrize("by", PROPOSERS)
def test_the_same_seed_and_rewards_give_the_same_points(by):
    def first(count, scale=1.0):
        points = PROPOSERS[by]([2, 3, 4], np.random.default_rng(3))
        made = [next(points)]
        made += [points.send(scale * sum(made[-1])) for _ in range(count - 1)]
        return made

    made = first(60)
    assert made == first(60)
    assert made == first(60, scale=1024.0)  # the unit of the reward is no matter


@pytest.mark.parametrize("by", PROPOSERS)
@pytest.mark.parametrize("options", [[1], [1, 1, 1], [2], [1, 3, 1]])
def test_a_decision_with_one_option_is_no_trouble(by, options):
    points = PROPOSERS[by](options, np.random.default_rng(0))
    point = next(points)
    for _ in range(50):
        assert all(0 <= index < most for index, most in zip(point, options, strict=True))
        point = points.send(0.5)


def test_evolution_changes_one_option_of_a_point_it_knows():
    points = by_evolution([4] * 8, np.random.default_rng(1))
    made = [next(points)]
    for _ in range(60):
        made.append(points.send(float(sum(made[-1]))))
    for index in range(24, len(made)):
        lately = made[index - 24 : index]
        assert min(sum(a != b for a, b in zip(made[index], other, strict=True)) for other in lately) <= 1
