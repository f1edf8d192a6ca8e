"""Where the points of a search come from: three ways that are told each point's reward before they propose the next.

Each is a generator that yields a point and is sent its reward, so that a search knows nothing of how points are made,
and one that is made again with the same seed and sent the same rewards yields the same points.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from itertools import count

import numpy as np

from refnet.search.controller import Adam, initial_policy, policy_loss, sampled
from refnet.search.space import Point

__all__ = ["PROPOSERS", "Proposer", "by_chance", "by_controller", "by_evolution"]

Points = Generator[Point, float, None]
Proposer = Callable[[Sequence[int], np.random.Generator], Points]

_HIDDEN = 32  # tuned with _RATE, _BATCH and _ENTROPY: docs/searches.md has the table
_RATE = 0.01
_BATCH = 4
_ENTROPY = 0.1  # of the bonus, in deviations of the reward
_DECAY = 0.9  # of the moving baseline and deviation, for each batch
_POPULATION, _TOURNAMENT = 24, 6


def by_chance(options: Sequence[int], rng: np.random.Generator) -> Points:
    """Every option of every decision as likely as another: what a search has to beat.

    Parameters
    ----------
    options : how many each decision has
    """
    while True:
        yield _drawn(options, rng)


def by_controller(options: Sequence[int], rng: np.random.Generator) -> Points:
    """A recurrent policy draws points in batches and follows the gradient of their reward.

    An advantage is the reward less a moving mean, over a moving deviation, so that the unit of the reward is no matter.

    Notes
    -----
    Zoph and Le, arXiv 1611.01578, sec. 3.2: REINFORCE with a baseline that is a moving average.
    """
    params, optimiser = initial_policy(options, _HIDDEN, rng), Adam(_RATE)
    mean = square = 0.0
    for batch in count():
        decided = sampled(params, options, _BATCH, rng)
        rewards = np.zeros(_BATCH)
        for index, row in enumerate(decided.tolist()):
            rewards[index] = yield tuple(row)
        share = 1 - _DECAY if batch else 1.0
        mean += share * (rewards.mean() - mean)
        square += share * (np.square(rewards - mean).mean() - square)
        if square > 0:
            advantages = (rewards - mean) / np.sqrt(square)
            optimiser.step(params, policy_loss(params, options, decided, advantages, _ENTROPY)[1])


def by_evolution(options: Sequence[int], rng: np.random.Generator) -> Points:
    """Regularised evolution: the best of a few has a child with one option changed, and the oldest dies.

    Notes
    -----
    Real et al., arXiv 1802.01548, algorithm 1.
    """
    population: deque[tuple[float, Point]] = deque(maxlen=_POPULATION)
    while True:
        if len(population) < _POPULATION:
            point = _drawn(options, rng)
        else:
            some = rng.choice(_POPULATION, _TOURNAMENT, replace=False)
            point = _mutated(max(population[index] for index in some)[1], options, rng)
        reward = yield point
        population.append((reward, point))


PROPOSERS: dict[str, Proposer] = {"controller": by_controller, "evolution": by_evolution, "random": by_chance}


def _drawn(options: Sequence[int], rng: np.random.Generator) -> Point:
    return tuple(int(rng.integers(most)) for most in options)


def _mutated(point: Point, options: Sequence[int], rng: np.random.Generator) -> Point:
    """The point with another option for one decision that has several."""
    open_ones = [index for index, most in enumerate(options) if most > 1]
    if not open_ones:
        return point
    index = int(rng.choice(open_ones))
    other = (point[index] + int(rng.integers(1, options[index]))) % options[index]
    return (*point[:index], other, *point[index + 1 :])
