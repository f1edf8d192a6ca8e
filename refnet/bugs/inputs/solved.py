"""What was done to the input, solved for: the first layer is linear, so its tensor tells any mixing of the colours.

A port's input is x' = M x + o, with M of 3 x 3 and o of 3 numbers; what its first layer makes of it is linear in
these twelve. Least squares give them; then they are said in pixels, the simplest rule that agrees with them: another
divisor, another mean or standard deviation, a factor, a mixture. The rule with its round numbers is what is replayed,
and accepted as any other bug is: within bounds alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pixels import fed, pixels_of
from refnet.bugs.inputs.preprocessing import GREY, RULES
from refnet.bugs.inputs.raster import ARRANGED, arranging
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment, run
from refnet.graph import SOURCE, Graph
from refnet.networks.preprocessing import Preprocessing
from refnet.ops import ACTIVATIONS, CONVOLUTIONS
from refnet.readings.precision import FLOATS

Array = npt.NDArray[Any]

_LINEAR = (*CONVOLUTIONS, "batch_norm", "affine", "pad", "avg_pool2d", "flatten")
_MOST = 20_000  # elements that are asked for twelve numbers
_SURE = 8.0  # standard errors of a number: it lies beyond them by chance never
# Relative, of a constant: 3 u (2 x + 4 t), as in `pixels.room`, is less than 16 u x of an input that is no smaller than
# t, its mean over its standard deviation.
_FINEST = 16 * FLOATS["float32"].u
_OF_MIXING = 12  # roundings: of three products and their two sums, with the constant, there and back
_SHORT = 8  # characters of a factor and an offset that somebody may have meant
# Relative: a fit that knows its numbers no better says nothing. Tuned, on the table in tests/bugs/test_tables.py:
# the least of 1, 2 or 5 times a power of ten that keeps 19 of 20 ports in integers of 8 bits.
_GUESSED = 2e-2


class ColourMap(NamedTuple):
    """x' = matrix x + offset."""

    matrix: Array
    offset: Array

    def of(self, x: Array) -> Array:
        """What becomes of an input."""
        made: Array = np.einsum("ij,njhw->nihw", self.matrix, x) + self.offset.reshape(-1, 1, 1)
        return made


_Said = tuple[str, Mapping[str, Any], ColourMap]  # form, facts, and the map of which they are


@dataclass(frozen=True)
class SolvedMap:
    """A map, and how far each of its numbers may be off."""

    map: ColourMap
    off: ColourMap

    def allows(self, other: ColourMap) -> bool:
        """Whether another map agrees with it."""
        return all(
            bool((np.abs(mine - theirs) <= off).all())
            for mine, theirs, off in zip(self.map, other, self.off, strict=True)
        )

    def has_a_name(self, own: Preprocessing | None) -> bool:
        """Whether it is no change at all, or a bug with a name of its own."""
        return any(self.allows(each) for each in _listed(own))


def input_solved(segment: Segment) -> Iterator[Change]:
    """another scaling or mixing of the input's colours.

    Solved for, and said in pixels.
    """
    if SOURCE not in segment.given or segment.given[SOURCE].shape[1] != 3:
        return
    if segment.candidate is None:
        yield from _examples(segment)
        return
    solved = _solve(segment)
    if solved is None:
        return
    own, x = segment.whole.recipe.preprocessing, segment.given[SOURCE].astype(np.float64)
    if solved.has_a_name(own):
        return
    for form, facts, made in said(solved, own):
        if solved.allows(made):
            away = _room_of_mixing(segment, made) if form == "mixed" else 0.0
            yield from fed(segment, form, made.of(x), away, **facts)
            return


def _room_of_mixing(segment: Segment, made: ColourMap) -> float:
    """How far, in pixels, a port's own mixing of colours may round: there may be another space of colours between."""
    own = segment.whole.recipe.preprocessing
    largest = 0.0 if own is None else float(np.abs(pixels_of(segment, own)).max(initial=0.0))
    return _OF_MIXING * FLOATS["float32"].u * float(np.abs(made.matrix).sum(axis=1).max()) * largest


def _examples(segment: Segment) -> Iterator[Change]:
    """One of each kind, where there is nothing to explain."""
    x = segment.given[SOURCE].astype(np.float64)
    yield from fed(segment, "times", lambda: 1.02 * x + 0.1, factor=1.02, offset=0.1)
    if len({*x.shape}) and segment.whole.recipe.preprocessing is not None:
        own = segment.whole.recipe.preprocessing
        scaled = _of_pixels(own, own.scale * 1.25, own.mean, own.std)
        yield from fed(segment, "divisor", partial(scaled.of, x), found=own.scale * 1.25, known=own.scale)


# -------------------------------------------------------------------------------------------------------- the fit


def _solve(segment: Segment) -> SolvedMap | None:
    """The map that leaves least of the error; None where the segment is not linear in its input, or says too little."""
    linear = _linear(segment)
    if linear is None:
        return None
    honest, act = linear
    assert segment.candidate is not None
    target, kept = _before(act, segment.candidate.astype(np.float64), segment.span)
    x = segment.given[SOURCE].astype(np.float64)

    def made(z: Array) -> Array:
        return run(replace(honest, given={SOURCE: z}))

    nothing = made(np.zeros_like(x))
    if nothing.shape != target.shape:
        return None
    rows = np.flatnonzero(kept)
    if len(rows) > _MOST:
        rows = np.random.Generator(np.random.PCG64(0)).choice(rows, _MOST, replace=False)
    columns = [(made(z) - nothing).ravel()[rows] for z in _probes(x)]
    return _least_squares(np.stack(columns, axis=1), (target - nothing).ravel()[rows])


def _probes(x: Array) -> Iterator[Array]:
    """The inputs whose sum is any map of x: x of colour j in channel i, then ones in channel i."""
    for i in range(3):
        for j in range(4):
            z = np.zeros_like(x)
            z[:, i] = x[:, j] if j < 3 else 1.0
            yield z


def _least_squares(A: Array, y: Array) -> SolvedMap | None:
    if len(y) < 4 * A.shape[1]:
        return None
    scale = np.sqrt((A**2).sum(axis=0))
    if not scale.all():
        return None
    found, _, rank, _ = np.linalg.lstsq(A / scale, y, rcond=1e-9)
    if rank < A.shape[1]:  # a grey image does not tell its colours apart
        return None
    left = y - (A / scale) @ found
    inverse = np.linalg.inv((A / scale).T @ (A / scale))
    sigma = float(np.sqrt((left**2).sum() / (len(y) - A.shape[1])))
    numbers = (found / scale).reshape(3, 4)
    errors = (_SURE * sigma * np.sqrt(np.diag(inverse)) / scale).reshape(3, 4)
    errors += _FINEST * np.abs(numbers).max()
    if (errors > _GUESSED * np.abs(numbers).max()).any():
        return None
    return SolvedMap(ColourMap(numbers[:, :3], numbers[:, 3]), ColourMap(errors[:, :3], errors[:, 3]))


def _linear(segment: Segment) -> tuple[Segment, str] | None:
    """The part of a segment that is linear in the input, and the activation behind it."""
    nodes = segment.graph.nodes
    act = nodes[-1].op if nodes[-1].op in ACTIVATIONS else ""
    head = nodes[:-1] if act else nodes
    if not head or set(segment.given) != {SOURCE} or segment.view is not None:
        return None
    if any(node.op not in _LINEAR or (node.op == "pad" and node.attrs["value"]) for node in head):
        return None
    return replace(segment, graph=Graph(segment.graph.recipe, head), span=(-np.inf, np.inf)), act


def _before(act: str, y: Array, span: tuple[float, float]) -> tuple[Array, Array]:
    """What went into an activation, and where its result tells that: where it is not cut off."""
    inside = (y > span[0]) & (y < span[1])
    if act == "":
        return y, inside
    if act == "hard_swish":  # x (x + 3) / 6 below 3, x above it
        x = np.where(y < 3, (np.sqrt(9 + 24 * np.maximum(y, 0)) - 3) / 2, y)
        return x, inside & (y > 0)
    return y, inside & (y > 0) & ((y < 6) if act == "relu6" else True)


# ------------------------------------------------------------------------------------------------------- its words


def _of_pixels(own: Preprocessing, scale: float, mean: Any, std: Any, order: slice = slice(None)) -> ColourMap:
    """(pixel / scale - mean) / std, of pixels in some order of colours, as a map of the network's own input."""
    mean, std = np.broadcast_to(mean, 3), np.broadcast_to(std, 3)
    back = np.diag(np.array(own.std) * own.scale)[order]  # pixels of the input, in order
    begin = (np.array(own.mean) * own.scale)[order]
    return ColourMap(back / (scale * std)[:, None], (begin / scale - mean) / std)


def _listed(own: Preprocessing | None) -> Iterator[ColourMap]:
    """What is no finding, or another bug's: the same input, or one in reverse; another rule of the list."""
    for colours in itertools.permutations(range(3)):
        yield ColourMap(np.eye(3)[list(colours)], np.zeros(3))
    for rule in RULES.values() if own is not None else ():
        for order in (slice(None), slice(None, None, -1)):
            yield _of_rule(own, rule, order)
    if own is not None:
        yield _of_pixels(own, own.scale, own.mean, own.std, slice(None, None, -1))
        unit, begin = np.array(own.std) * own.scale, np.array(own.mean) * own.scale
        for arranged in ARRANGED:
            chosen, more = arranging(arranged)
            yield ColourMap(chosen * unit / unit[:, None], (chosen @ begin + more - begin) / unit)
        mean, std = np.array(own.mean), np.array(own.std)
        for weights in (np.array(GREY), np.array((1.0, 0.0, 0.0))):
            yield ColourMap(np.outer(1 / std, weights * std), (weights @ mean - mean) / std)


def _of_rule(own: Any, rule: Callable[[Array, Preprocessing], Array], order: slice) -> ColourMap:
    with np.errstate(all="ignore"):  # where a mean of zero divides there is no such rule
        low, high = (np.broadcast_to(rule(np.full((3, 1, 1), each), own), (3, 1, 1)).ravel() for each in (0.0, 1.0))
        slope = high - low
    back = np.diag(np.array(own.std) * own.scale)[order]
    return ColourMap(back * slope[:, None], (np.array(own.mean) * own.scale)[order] * slope + low)


def said(solved: SolvedMap, own: Preprocessing | None) -> Iterator[_Said]:
    """The ways to say a map, the simplest first, each with its numbers made round where they may be."""
    M, o = solved.map
    for name, order in (("", slice(None)), ("bgr ", slice(None, None, -1))):
        straight, off = M[:, order], solved.off.matrix[:, order]
        if not (np.abs(straight - np.diag(np.diag(straight))) <= off - np.diag(np.diag(off)) + 1e-300).all():
            continue
        a, e = np.diag(straight), np.diag(off)
        if not (a == 0).any():
            yield from _by_channel(name, order, a, e, solved, own)
    if own is not None:
        yield from _planes(solved, own)
    rows, offsets = tuple(map(_each, M, solved.off.matrix)), _each(o, solved.off.offset)
    yield "mixed", {"rows": rows, "offsets": offsets}, ColourMap(np.array(rows), np.array(offsets))


def _planes(solved: SolvedMap, own: Preprocessing) -> Iterator[_Said]:
    """Each colour is one of the picture's, or one number at all pixels: of an alpha channel, or of a plane left out."""
    unit, begin = np.array(own.std) * own.scale, np.array(own.mean) * own.scale
    M = solved.map.matrix * unit[:, None] / unit
    taken, kept = np.abs(M).argmax(axis=1), np.abs(M).max(axis=1) > _GUESSED
    offset = np.rint(begin + unit * solved.map.offset - M @ begin)
    held = tuple(
        ("red", "green", "blue")[j] if use else float(o) for j, use, o in zip(taken, kept, offset, strict=True)
    )
    chosen = np.where(kept[:, None], np.eye(3)[taken], 0.0)
    made = ColourMap(chosen * unit / unit[:, None], (chosen @ begin + np.where(kept, 0.0, offset) - begin) / unit)
    yield "planes", {"planes": held}, made


def _by_channel(
    name: str, order: slice, a: Array, e: Array, solved: SolvedMap, own: Preprocessing | None
) -> Iterator[_Said]:
    """Each channel by itself: one constant of the network's rule, one factor for all, else what takes fewest digits."""
    o, eye = solved.map.offset, np.eye(3)[:, order]
    factor = fewest_digits(float(a.mean()), float(e.max()))
    offset = fewest_digits(float(o.mean()), float(solved.off.offset.max()))
    times = f"{name}times", {"factor": factor, "offset": offset}, ColourMap(factor * eye, np.full(3, offset))
    slopes, offsets = _each(a, e), _each(o, solved.off.offset)
    facts = {"slopes": slopes, "offsets": offsets}
    rules: list[_Said] = [times, (f"{name}channels", facts, ColourMap(np.diag(slopes)[:, order], np.array(offsets)))]
    if own is not None:
        *one, rule, raw = _in_pixels(name, order, a, solved, own, float(np.abs(e / a).max()))
        rules = [rule, raw, *rules]
        yield from one
    if len(f"{factor:g}{offset:g}") <= _SHORT:
        yield times
    yield from rules if len(rules) == 2 else sorted(rules, key=_digits)


def _digits(rule: _Said) -> int:
    """How much there is to say; a rule of pixels says what a factor of the input does not."""
    form, facts, _ = rule
    return len(f"{[*facts.values()]}") + (0 if form.endswith(("rule", "raw")) else _SHORT)


def _in_pixels(name: str, order: slice, a: Array, solved: SolvedMap, own: Preprocessing, rel: float) -> Iterator[_Said]:
    """The rules of pixels that differ from the network's in one constant, then in both."""
    begin, unit = (np.array(own.mean) * own.scale)[order], (np.array(own.std) * own.scale)[order]
    slope = a / unit  # of x' over pixels
    scales = 1 / (slope * np.array(own.std))
    scale = fewest_digits(float(scales.mean()), float(np.abs(scales).max()) * rel)
    if scale:
        facts = {"found": scale, "known": own.scale}
        yield f"{name}divisor", facts, _of_pixels(own, scale, own.mean, own.std, order)

    def means(scale: float, std: tuple[float, ...]) -> tuple[float, ...]:
        """The mean that goes with a standard deviation."""
        found = begin / scale - solved.map.offset * np.array(std)
        return _alike(found, solved.off.offset * np.abs(std))

    std = _alike(1 / (slope * own.scale), np.abs(1 / (slope * own.scale)) * rel)
    form = "one std" if len(set(std)) == 1 else "std"
    yield f"{name}{form}", {"found": std, "known": own.std}, _of_pixels(own, own.scale, own.mean, std, order)
    mean = means(own.scale, own.std)
    form = "one mean" if len(set(mean)) == 1 else "mean"
    yield f"{name}{form}", {"found": mean, "known": own.mean}, _of_pixels(own, own.scale, mean, own.std, order)
    raw = _alike(1 / slope, np.abs(1 / slope) * rel)
    for form, scale, divisor in (("rule", own.scale, std), ("raw", 1.0, raw)):
        mean = means(scale, divisor)
        rule = {"mean": mean, "std": divisor, "scale": scale}
        yield f"{name}{form}", rule, _of_pixels(own, scale, mean, divisor, order)


# What networks of any vendor are given: pixels over a divisor, less a mean, over a standard deviation.
_DIVISORS = (255.0, 256.0, 127.5, 128.0, 1.0)
_MEANS = ((0.0,) * 3, (0.5,) * 3, (0.485, 0.456, 0.406), (0.449,) * 3, (1.0,) * 3, (0.4914, 0.4822, 0.4465))
_STDS = ((1.0,) * 3, (0.5,) * 3, (0.229, 0.224, 0.225), (0.226,) * 3, (0.2023, 0.1994, 0.201))


def rules_in_use(own: Preprocessing) -> Iterator[_Said]:
    """Every rule of pixels that joins a divisor, a mean and a standard deviation in use, but for those with a name."""
    seen = np.array([_numbers(each) for each in _listed(own)]).reshape(-1, 12)
    for name, order in (("", slice(None)), ("bgr ", slice(None, None, -1))):
        for scale, mean, std in itertools.product(_DIVISORS, _MEANS, _STDS):
            made = _of_pixels(own, scale, mean, std, order)
            numbers = _numbers(made)
            if not np.isclose(numbers, seen).all(axis=1).any():
                seen = np.vstack([seen, numbers])
                yield f"{name}rule", {"mean": mean, "std": std, "scale": scale}, made


def _numbers(made: ColourMap) -> Array:
    """The twelve numbers of a map, in a row."""
    return np.concatenate([np.ravel(each) for each in made])


def _alike(values: Array, errors: Array) -> tuple[float, ...]:
    """Three numbers made round, and one number three times where they may be the same."""
    middle = fewest_digits(float(values.mean()), float(errors.min()))
    if (np.abs(values - middle) <= errors).all():
        return (middle,) * 3
    return _each(values, errors)


def _each(values: Array, errors: Array) -> tuple[float, ...]:
    return tuple(fewest_digits(float(value), float(error)) for value, error in zip(values, errors, strict=True))


def fewest_digits(value: float, error: float) -> float:
    """The number of fewest digits that is as near as the error."""
    tried = (0.0, *(float(f"{value:.{digits}g}") for digits in range(1, 12)))
    return next((near for near in tried if abs(near - value) <= error), value)
