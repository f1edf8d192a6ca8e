"""What can be seen in an error that no bug of the catalogue explains: where it is, and of what form."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.probabilities import is_saturated
from refnet.bugs.language.regions import FILLED, lines_off
from refnet.bugs.language.segments import Segment, limit
from refnet.bugs.memory.stored import is_at_limits
from refnet.judge.causes.fast_algorithms import fast_algorithms
from refnet.judge.causes.feature import Feature
from refnet.judge.causes.in_classes import class_offsets
from refnet.judge.causes.linear_layers import before_sum
from refnet.judge.causes.lookup_table import looked_up
from refnet.judge.causes.own_weights import own_weights
from refnet.judge.causes.parts_off import share_off
from refnet.judge.causes.refit import has_points, refit
from refnet.judge.measures.yardstick import says, useful_limit
from refnet.judge.verdicts import root_mean_square
from refnet.readings.bounds import Bound, Precision

__all__ = ["describe", "of_other_weights"]

Array = npt.NDArray[Any]

# Of an error that no bound holds: what a form may leave of it. Tuned, on the table in tests/judge/test_long.py: the
# smallest power of ten that no right form leaves more than.
_FORM = 1e-3
_CHANNELS = ("channels", "channel-step", "channel-run")
_FRACTION = 8  # of the channels: such a part is looked at first
_REACH = 2  # points to each side that the kernels of the family see, 5 x 5 at most
_INNER = (..., slice(_REACH, -_REACH), slice(_REACH, -_REACH))


def describe(
    segment: Segment, precision: Precision, honest: Bound | None = None, algorithms: Sequence[str] | None = None
) -> tuple[Feature, ...]:
    """What can be seen in the error of a segment's tensor; nothing where nothing stands out.

    Parameters
    ----------
    honest : the segment's `limit`, where that is known
    algorithms : the fast algorithms that explain it, where that is known

    An error has a form (a factor, a line for each channel, a shift, another order) if undoing it takes away most of the
    error and leaves no more than rounding does, by the same rms as for verdicts. Neither a fit by least squares nor a
    sort can leave more of an honest error than there is: a projection and a sort move no two tensors apart.
    """
    assert segment.candidate is not None
    made = honest or useful_limit(segment, precision)
    if made.y.shape != segment.candidate.shape:
        return ()
    if is_saturated(segment):
        return (Feature("saturated", {}),)
    if is_at_limits(segment.graph.nodes[-1].op, segment.candidate):
        return (Feature("limits", {}),)
    sure = says(len(segment.graph), made, precision)
    if not sure and (offsets := class_offsets(segment)):
        return (offsets,)
    if names := fast_algorithms(segment, precision) if algorithms is None else tuple(algorithms):
        return (Feature("algorithm", {"names": names}),)
    target = np.empty_like(made.y)
    target[...] = segment.candidate  # which lies in memory as the exact result does
    beyond = np.abs(target - made.y) > made.expected
    part = share_off(beyond) if sure else None  # within a bound that says nothing no image and no channel is right
    found = [_cut_off(beyond, target, made.y), part, (_lines(beyond, target) or _border(beyond)) if sure else None]
    found += _forms(segment, precision, made, target, whole=part is None)
    found.append(looked_up(segment, precision))
    if sure:
        found = _told_by_weights([*filter(None, found)], segment, made, target, _stored(precision, target))
    return tuple(feature for feature in found if feature is not None)


def _told_by_weights(
    found: Sequence[Feature], segment: Segment, made: Bound, target: Array, own: float
) -> list[Feature | None]:
    """The same, or what a layer's weights say instead: of a part that is off, only what explains why it is that."""
    kinds = {feature.kind for feature in found}
    if not kinds <= {"affine", *_CHANNELS}:
        return [*found]
    told = _own_weights(segment, made, target, own)
    mistake = told.facts.get("mistake") if told is not None else None
    if told is not None and (not kinds & {*_CHANNELS} or (mistake is not None and mistake.bug == "scales-moved")):
        return [told]
    return [*found] or [_weights(segment, made, target, own)]


def _forms(
    segment: Segment, precision: Precision, made: Bound, target: Array, *, whole: bool
) -> Iterator[Feature | None]:
    """The forms that an error has; of lines for each channel only where no part is off alone and no plainer form fits.

    Of a batch norm by itself such lines are its own arrays, others.
    """
    error, own = target - made.y, _stored(precision, target)
    before, beyond = root_mean_square(error), np.abs(error) > made.expected
    sure = says(len(segment.graph), made, precision)
    # Where a bound says nothing, a form takes away all but a part of the error that tells it from chance.
    rounding = made.rms if sure else _FORM * before
    ratio = _undoing(_ratio(target, made.y, before), rounding, own)
    offset = _undoing(_offset(2 * precision.dumped.step, target, made.y, before), rounding, own)
    yield from (ratio, offset, _undoing(_shift(target, made.y), rounding, own))
    moved = beyond if sure and beyond.any() else np.ones_like(beyond)
    yield _undoing(_permuted(moved, target, made.y), rounding, own)
    if whole and not (ratio or offset) and [node.op for node in segment.graph.nodes] != ["batch_norm"]:
        yield _undoing(_affine(target, made.y, before), rounding, own)


def _stored(precision: Precision, target: Array) -> float:
    """The rms of one rounding: what gave an error its form may have rounded once more than the layer does."""
    held = precision.dumped
    return max(held.u, held.u_store) * root_mean_square(target)


def _own_weights(
    segment: Segment, made: Bound, target: Array, own: float, shifts: Collection[int] = ()
) -> Feature | None:
    """How a layer's own weights are taken, where they leave no more than rounding does so; or that its biases are.

    Nothing where one rounding of so large numbers is as large as what weights make.
    """
    layer, added = before_sum(segment)

    def undone() -> Iterator[_Undone]:
        for way in own_weights(layer, shifts):
            before = root_mean_square((target - made.y)[:, way.channels])
            if own < _FORM * way.size:
                left = root_mean_square((target - added)[:, way.channels] - way.y)
                yield _Undone(way.feature, before, left, way.slope)

    return _undoing(undone(), made.rms, own)


def _weights(segment: Segment, made: Bound, target: Array, own: float) -> Feature | None:
    """Other weights, where a layer with them leaves no more than rounding does."""
    layer, added = before_sum(segment)
    if (other := refit(layer)) is None:
        return None
    left = root_mean_square((target - added)[:, other.channels] - other.y)
    before = root_mean_square((target - made.y)[:, other.channels])
    if left > made.rms + own or 2 * left >= before:
        return None
    if other.moved is None and other.shift:
        told = _own_weights(segment, made, target, own, [other.shift])
        if told is not None:
            return told
    if other.has_own:
        return Feature("biases", {})
    if other.slopes is not None and other.slopes.size and other.moved is None and other.slopes.min() > 0:
        return Feature("norms", {"least": float(other.slopes.min()), "most": float(other.slopes.max())})
    return Feature("weights", {"alike": other.alike, "moved": other.moved, "store": other.store})


def _undoing(forms: Iterable[_Undone], rounding: float, own: float) -> Feature | None:
    """The first form of error that takes away most of it, and leaves no more than rounding does."""
    fits = (each for each in forms if 2 * each.left < each.before)
    return next((each.feature for each in fits if each.left <= each.slope * rounding + own), None)


def of_other_weights(
    features: Mapping[str, tuple[Feature, ...]],
    coarse: Collection[str],
    failing: Mapping[str, tuple[Segment, Precision]],
) -> dict[str, tuple[Feature, ...]]:
    """The same with layers that have too few points to tell by themselves: other weights would explain them.

    Where sums in float16 would too, or a function of several pieces, those count that are more; nor is it said where
    more layers with points enough have no such weights than have. Weights that stand as far from their places as those
    of another layer do are told first, where that explains them.

    Parameters
    ----------
    features : by the name of a tensor that no bug explains
    coarse : names of tensors that only what errors of any kind fit explains
    failing : the segments of all, and what they are computed in
    """
    features = dict(features) | dict(_shifted_alike(features, failing))
    told = [name for name, found in features.items() if any(each.kind in ("weights", "own-weights") for each in found)]
    points = {name: has_points(failing[name][0]) for name, found in features.items() if not found}
    if sum(each is True for each in points.values()) > len(told):  # then it is something else, in all layers
        return features
    open_ = [name for name, each in points.items() if each is False]
    if len(told) + len(open_) > len(coarse):
        open_ += [name for name in coarse if has_points(failing[name][0]) is False]
    return {**features, **dict.fromkeys(open_, (Feature("weights", {"alike": None, "moved": None, "store": ""}),))}


def _shifted_alike(
    features: Mapping[str, tuple[Feature, ...]], failing: Mapping[str, tuple[Segment, Precision]]
) -> Iterator[tuple[str, tuple[Feature, ...]]]:
    """Layers whose weights stand as far from their places as those of another one."""
    mistakes = [each.facts["mistake"] for found in features.values() for each in found if each.kind == "own-weights"]
    shifted = [mistake for mistake in mistakes if mistake.bug == "weights-shifted"]
    shifts = {mistake.facts["by"] * (1 if mistake.form == "early" else -1) for mistake in shifted}
    for name in features if shifts else ():
        segment, precision = failing[name]
        made = limit(segment, precision)
        if segment.candidate is None or segment.candidate.shape != made.y.shape:
            continue
        told = _own_weights(segment, made, segment.candidate, _stored(precision, segment.candidate), shifts)
        if told is not None:
            yield name, (told,)


class _Undone(NamedTuple):
    """A form of error: the rms before and after it is undone, and the largest slope that it multiplies errors by."""

    feature: Feature
    before: float
    left: float
    slope: float = 1.0


def _cut_off(beyond: Array, target: Array, y: Array) -> Feature | None:
    """All that is off lies beyond the largest or smallest value that the port has: a scale that does not reach."""
    least, most = float(target.min()), float(target.max())
    over, under = beyond & (y > most) & (target == most), beyond & (y < least) & (target == least)
    if not beyond.any() or not np.array_equal(beyond, over | under):
        return None
    ends = {"above": most} if over.any() else {}
    return Feature("cut-off", ends | ({"below": least} if under.any() else {}))


def _lines(beyond: Array, target: Array) -> Feature | None:
    """The first or last rows, or columns, that are off while no other is: many, or any that all hold one number."""
    if beyond.ndim != 4:
        return None
    for axis, kind in ((2, "rows"), (3, "columns")):
        count = beyond.shape[axis]
        lines = lines_off(beyond, axis)
        if not 0 < len(lines) <= count // 2 or lines[-1] - lines[0] + 1 != len(lines):
            continue
        part = beyond.take(lines, axis)
        if (lines[0] == 0 or lines[-1] == count - 1) and part.mean() > FILLED:
            values = target.take(lines, axis)
            held = {"value": float(values.flat[0])} if np.ptp(values) == 0 else {}
            if not held and len(lines) <= _REACH:  # of which a border tells more
                continue
            return Feature("lines", {"axis": kind, "first": int(lines[0]), "count": len(lines), "of": count} | held)
    return None


def _border(beyond: Array) -> Feature | None:
    if beyond.ndim != 4 or min(beyond.shape[2:]) <= 2 * _REACH or not beyond.any() or beyond[_INNER].any():
        return None
    top, bottom, left, right = beyond[:, :, :2], beyond[:, :, -2:], beyond[..., :2], beyond[..., -2:]
    sides = {"top": top, "bottom": bottom, "left": left, "right": right}
    return Feature("border", {"sides": tuple(side for side, part in sides.items() if part.any())})


def _ratio(target: Array, y: Array, before: float) -> Iterator[_Undone]:
    """One factor throughout."""
    if square := float((y * y).sum()):
        factor = float((target * y).sum()) / square
        yield _Undone(Feature("ratio", {"factor": factor}), before, root_mean_square(target - factor * y), abs(factor))


def _offset(step: float, target: Array, y: Array, before: float) -> Iterator[_Undone]:
    """One number that is added throughout; of integers, a number of steps."""
    error = target - y
    constant = float(error.mean())
    steps = {"steps": round(constant / step)} if step and round(constant / step) else {}
    error -= constant
    yield _Undone(Feature("offset", {"constant": constant, **steps}), before, root_mean_square(error))


def _affine(target: Array, y: Array, before: float) -> Iterator[_Undone]:
    """One slope and one offset a channel, of more points than two."""
    if y.ndim != 4 or y.shape[0] * y.shape[2] * y.shape[3] <= 2:
        return
    axes = (0, 2, 3)
    centred = y - y.mean(axis=axes, keepdims=True)
    square = (centred**2).sum(axis=axes, keepdims=True)
    slope = (target * centred).sum(axis=axes, keepdims=True) / np.where(square > 0, square, 1)
    offset = target.mean(axis=axes, keepdims=True) - slope * y.mean(axis=axes, keepdims=True)
    left = root_mean_square(target - slope * y - offset)
    # Errors grow by the slopes; a channel that is nearly constant has any slope, and hardly an error.
    grown = root_mean_square(slope * centred) / (root_mean_square(centred) or 1.0)
    yield _Undone(Feature("affine", {}), before, left, max(grown, 1.0))


def _shift(target: Array, y: Array) -> Iterator[_Undone]:
    """Every point is another one's, as far away as kernels reach; not the shifts that the first channels refute."""
    if y.ndim != 4 or min(y.shape[2:]) <= 2 * _REACH:
        return
    H, W = y.shape[2:]
    inner, around = target[_INNER], range(-_REACH, _REACH + 1)
    before = root_mean_square(inner - y[_INNER])
    few = (slice(None), slice(0, max(1, y.shape[1] // _FRACTION)))
    part = inner[few].size / inner.size
    for pixels in ((dy, dx) for dy in around for dx in around):
        rows, columns = (slice(_REACH - by, side - _REACH - by) for by, side in zip(pixels, (H, W), strict=True))
        moved = y[:, :, rows, columns]
        if 2 * math.sqrt(part) * root_mean_square(inner[few] - moved[few]) < before:
            yield _Undone(Feature("shift", {"pixels": pixels}), before, root_mean_square(inner - moved))


def _permuted(moved: Array, target: Array, y: Array) -> Iterator[_Undone]:
    """The same values in another order; only values that are off count, since right ones say nothing."""
    own, other = target[moved].ravel(), y[moved].ravel()
    before, apart = root_mean_square(own - other), root_mean_square(np.sort(own) - np.sort(other))
    yield _Undone(Feature("permuted", {}), before, apart)
