"""A scaling of the input where only a long segment shows it: from the end alone.

First every rule of pixels that joins a divisor, a mean and a standard deviation in use. Then x' = a x + o is solved
for: one factor and one offset for all colours, then one of each a colour. The segment is no line in these, so a grid of
them is run, among them numbers that people write, and from the best places least squares go down. What they arrive at
is said in pixels, with round numbers, as where the first layer shows it. Through random weights the result may move
with a number so wildly that no start is near enough: then nothing is said.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pixels import fed
from refnet.bugs.inputs.solved import ColourMap, SolvedMap, rules_in_use, said
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.graph import SOURCE
from refnet.judge.measures.yardstick import NEAR
from refnet.judge.verdicts import root_mean_square
from refnet.networks.preprocessing import Preprocessing

__all__ = ["scaled_inputs"]

Array = npt.NDArray[Any]
Left = Callable[[Sequence[Array]], Iterator[Array | None]]  # inputs -> what each leaves of the error
Rests = Callable[[Sequence[Array]], list[Array | None]]  # factors and offsets -> what each leaves

_FACTORS = (0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 2.0)
_OFFSETS = (-1.0, -0.4, -0.1, -0.03, 0.0, 0.03, 0.1, 0.4, 1.0)  # of the input's own spread
# Numbers that people write, as they are: of these even a network is found in which no start is near enough.
_WRITTEN_FACTORS = (0.9, 0.95, 0.98, 0.99, 1.0, 1.01, 1.02, 1.05, 1.1)
_WRITTEN_OFFSETS = (-0.5, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.5)
_STARTS, _STEPS = 3, 24
_MOVE = 1e-3  # by which a number is moved to see what moves with it: far above float32's rounding, far below the grid's
_SPARE = 4  # numbers of the result that must be left over to say that a fit is none by chance
_BOTH, _EACH = np.repeat(np.eye(2), 3, axis=0), np.eye(6)  # one factor and one offset; one of each a colour
# Of the error: what a fit leaves. Tuned, on the table in tests/judge/test_long.py: the smallest power of ten that keeps
# 19 of 20 right ones.
_FITS = 1e-4
_SLOW = 0.1  # of the squares that are left: what a step must take away, to go on
_SURE, _FINEST = 8.0, 2e-5  # standard errors of a number; and what float32 leaves of one through a whole network


class _Fit(NamedTuple):
    """Three factors, three offsets in units of the input's spread, and the error that they leave."""

    numbers: Array
    rest: Array

    @property
    def size(self) -> float:
        """Its rms."""
        return root_mean_square(self.rest)


def scaled_inputs(segment: Segment, left: Left, before: float) -> Iterator[Change]:
    """Changes of the input that leave nearly nothing of the error, the simplest way to say it first.

    Parameters
    ----------
    segment : with the candidate's tensor
    left : what the segment leaves of the error when it is given other inputs; None where it cannot be run on one
    before : the rms of the error
    """
    x = segment.given.get(SOURCE)
    if x is None or segment.given.keys() != {SOURCE} or x.shape[1] != 3 or not before > 0:
        return
    wide, own = x.astype(np.float64), segment.whole.recipe.preprocessing
    spread = float(wide.std()) or 1.0
    if own is not None:
        yield from _in_use(segment, own, wide, left, before)
    for order in (slice(None), slice(None, None, -1)):
        eye = np.eye(3)[:, order]

        def mapped(numbers: Array, eye: Array = eye) -> ColourMap:
            return ColourMap(eye * numbers[:3, None], spread * numbers[3:])

        def rests(tried: Sequence[Array], mapped: Callable[[Array], ColourMap] = mapped) -> list[Array | None]:
            made = left([mapped(numbers).of(wide) for numbers in tried])
            return [None if rest is None else rest.ravel() for rest in made]

        grid = _grid(spread if eye[0, 0] else 0.0)
        if (found := _best(rests, before, grid, (_BOTH, _EACH) if eye[0, 0] else (_BOTH,))) is not None:
            fit, off = found
            solved = SolvedMap(mapped(fit.numbers), mapped(off))
            rules = () if solved.has_a_name(own) else said(solved, own)
            for form, facts, made in (rule for rule in rules if solved.allows(rule[2])):
                (rest,) = left([other := made.of(wide)])
                if rest is not None and root_mean_square(rest) < _FITS * before:  # else its numbers are too round
                    yield from fed(segment, form, other, **facts)
                    return


def _in_use(segment: Segment, own: Preprocessing, x: Array, left: Left, before: float) -> Iterator[Change]:
    """The rules of pixels that leave little of the error, that which leaves least first."""
    rules, found = list(rules_in_use(own)), []
    for (form, facts, made), rest in zip(rules, left([made.of(x) for *_, made in rules]), strict=True):
        size = before if rest is None else root_mean_square(rest)
        if size < NEAR * before:
            found.append((size, form, facts, made))
    for _, form, facts, made in sorted(found, key=lambda each: each[0])[:_STARTS]:
        yield from fed(segment, form, made.of(x), **facts)


def _grid(spread: float) -> list[Array]:
    """Factors and offsets to start from; and those that people write, where the spread of the input is given."""
    grid = [*itertools.product(_FACTORS, _OFFSETS)]
    if spread:
        written = itertools.product(_WRITTEN_FACTORS, (offset / spread for offset in _WRITTEN_OFFSETS))
        grid += [each for each in written if each not in grid]
    return [_BOTH @ each for each in grid]


def _best(rests: Rests, before: float, grid: list[Array], bases: tuple[Array, ...]) -> tuple[_Fit, Array] | None:
    """The fit that leaves next to nothing, and how far its numbers may be off."""
    run = [_Fit(numbers, rest) for numbers, rest in zip(grid, rests(grid), strict=True) if rest is not None]
    starts = sorted(run, key=lambda fit: fit.size)[:_STARTS]
    for basis in bases:
        if not starts or len(starts[0].rest) < basis.shape[1] + _SPARE:
            return None
        found = [_down(rests, start, basis) for start in starts]
        fit, off = min(found, key=lambda each: each[0].size)
        if fit.size < _FITS * before:
            return fit, off
        starts = [fit]
    return None


def _down(rests: Rests, start: _Fit, basis: Array) -> tuple[_Fit, Array]:
    """The fit that is nearest to a start, and how far its numbers may be off."""
    from scipy.optimize import least_squares

    nowhere = np.full(start.rest.size, np.inf)  # where the segment cannot be run; no step is made there

    def errors(tried: Array) -> Array:
        return np.array([nowhere if rest is None else rest for rest in rests(list(tried @ basis.T))])

    def error(numbers: Array) -> Array:
        alone: Array = errors(numbers[None])[0]
        return alone

    def slopes(numbers: Array) -> Array:
        here, *there = errors(numbers + np.vstack([np.zeros_like(numbers), _MOVE * np.eye(len(numbers))]))
        made: Array = np.nan_to_num((np.array(there) - here).T / _MOVE, posinf=0.0)
        return made

    own = start.numbers @ basis / basis.sum(axis=0)
    found = least_squares(error, own, slopes, x_scale="jac", ftol=_SLOW, xtol=None, gtol=None, max_nfev=_STEPS)
    fit = _Fit(basis @ found.x, found.fun)
    return fit, _errors(fit, found.jac, basis)


def _errors(fit: _Fit, slopes: Array, basis: Array) -> Array:
    """How far each number may be off: by the scatter of what is left, and by float32."""
    freedom = max(len(fit.rest) - basis.shape[1], 1)
    sigma = float(np.sqrt((fit.rest**2).sum() / freedom))
    scatter = np.sqrt(np.diag(np.linalg.pinv(slopes.T @ slopes)))
    off: Array = _SURE * sigma * np.abs(basis) @ scatter + _FINEST * float(np.abs(fit.numbers).max())
    return off
