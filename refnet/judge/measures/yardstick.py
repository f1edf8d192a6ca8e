"""By what a segment is judged: by its bound, or where that says nothing by refnet's own spread; never by neither.

Comparison and diagnosis use the same yardstick, so that a cause is held to what the verdict was.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pixels import room
from refnet.bugs.language.narrow import first_channels
from refnet.bugs.language.probabilities import lens
from refnet.bugs.language.segments import Segment, limit, run
from refnet.graph import SOURCE
from refnet.judge.measures.sure import sure_verdict
from refnet.judge.verdicts import Judgement, judge, root_mean_square
from refnet.networks.rewrite import fold_batch_norm
from refnet.ops import CONVOLUTIONS
from refnet.readings import fast
from refnet.readings.bounds import Bound, Precision
from refnet.readings.orders import MOMENTS, ORDERS, factor_rules, rounded, short_rules
from refnet.readings.precision import FLOATS, Printed
from refnet.readings.short_sums import SHORT_SUMS

__all__ = [
    "NEAR",
    "fits",
    "is_coarse",
    "is_refuted",
    "judge_cause",
    "judge_segment",
    "near",
    "says",
    "surely",
    "useful_limit",
]

Array = npt.NDArray[Any]

_FLOAT32 = Precision.of("float32")
_SHORT_FACTORS = Precision.of("tf32")
_SHORT_SUMS = {Precision.of(name, accumulate=name): name for name in SHORT_SUMS}
_SHORT_MOST = 1e8  # products in them; only how long a verdict takes depends on it
# Until when a segment is judged by its bound. Tuned: a bound is a proof, a spread a measurement, so the bound is kept
# for as long as it finds 97 of 100 of the mistakes that the spread finds. On the table in tests/judge/test_yardstick.py
# each figure is the largest power of two, or of ten, for which that is so.
_SHORT = 8  # nodes: segments with fewer are always judged by their bound
_WIDE = 1000.0  # times the finest rounding: a bound as wide says nothing
_PART = 0.1  # of the result: nor does one as wide as that, in short formats

# Nodes from which on one image is asked first whether a bound says anything: only how long that takes depends on it.
_DEEP = 64
_SURE = 0.9  # of an rms that is made in float32; as of `sure`
# How many times beyond what honest runs so far allow a verdict is given without more of them. Tuned, on the table in
# tests/judge/test_yardstick.py: the smallest power of two of which no honest run of a block, folded or not, in any
# order of sums, is an eighth as far beyond the first of them. Of a block with a mistake in it the first run may lie
# nearer to the exact result by chance: an honest run of it is a quarter as far.
_HOPELESS = 64.0
# What share of the error a way may leave to be held to the spread. Tuned, on a table there: the smallest power of ten
# that leaves out no mistake that shows.
NEAR = 1e-2
# Where a library rounds pixels in its own way: which part of them lies a level away in runs that stand for a port's.
_MOVED = (1 / 64, 1 / 8, 2 / 3)
_FOLDED = 2.0**-20  # of a weight: how far a fold in float32 leaves it, by the nine units that a file may have and more
_ROUNDED = 4  # times the rounding of one input: what an input made of another may have of it, which is larger
_QUICK = ("fast", "lanes", "pairwise")
# Elements of a tensor from which on its first channels are looked at first: so many, then which part of them and how
# many at least; and how much wider its bound may be in all of it, where BLAS sums in another order.
_LARGE, _FIRST, _FRACTION, _CHANNELS, _ALIKE = 1 << 15, 2, 8, 16, 1 + 1e-9


def judge_segment(segment: Segment, precision: Precision, *, dumped: bool = True) -> Judgement:
    """The verdict on a segment's tensor.

    Parameters
    ----------
    dumped : whether a port wrote the tensors, and may have computed wider than it wrote; not so for refnet's own runs

    A bound grows with every node that it is carried through. Where it says nothing, the yardstick is how far honest
    runs of the segment in the declared precision lie apart, in several orders of summation, folded and not; a
    candidate may be as far beyond the outermost of them as that: twice the distance is allowed. Where refnet has no
    such runs (sums in short formats, integers), nothing vouches for the tensor: it is suspect if it is not exact. One
    of integers holds where some real numbers that they may have been made of are what runs in float32 make.
    """
    assert segment.candidate is not None
    own, made = segment.precision or precision, useful_limit(segment, precision)
    found = judge(segment.candidate, made)
    if says(len(segment.graph), made, own):
        if found.holds or not dumped or segment.candidate.shape != made.shape:
            return found
        # A port may compute wider than it dumps: then its own inputs are known to half a unit only.
        wider = judge(segment.candidate, limit(segment, precision, rounded=True))
        return wider if wider.holds else found
    ways = list(_runs(segment, own))
    if not ways or made.shape != segment.candidate.shape:
        if made.shape == segment.candidate.shape and _is_real_inside(segment, own):
            return Judgement("rounding", yardstick="spread")
        found = judge(segment.candidate, limit(segment, precision))
        doubtful = found.holds and found.verdict != "exact"
        return found._replace(verdict="suspect" if doubtful else found.verdict, yardstick="none")
    seen = lens(segment)
    with np.errstate(all="ignore"):
        target, y = seen(segment.candidate), seen(made.y)
    return _by_spread(segment, target, y, (seen(way()) for way in ways))


def _by_spread(segment: Segment, target: Array, y: Array, made: Iterator[Array]) -> Judgement:
    """The verdict by honest runs: the first alone where that leaves nothing open, else all; each as it is looked at."""
    with np.errstate(all="ignore"):
        first = next(made)
    found = _by_runs(target, y, [first])
    return _by_runs(target, y, [first, *made]) if _is_open(found) or is_coarse(segment) else found


def _is_real_inside(segment: Segment, own: Precision) -> bool:
    """Whether a tensor of integers is what honest runs in float32 make, rounded to its steps: nothing inside it is."""
    ways = list(_runs(segment, own._replace(step=0.0))) if own.step else []
    if not ways or segment.candidate is None:
        return False
    y, (low, high) = segment.result, own.span
    least = np.where(segment.candidate <= low, -np.inf, segment.candidate - own.step)
    most = np.where(segment.candidate >= high, np.inf, segment.candidate + own.step)
    return _by_spread(segment, np.clip(y, least, most), y, (way() for way in ways)).holds


def surely(segment: Segment, precision: Precision) -> str:
    """The verdict on a short segment in float32 that is right beyond doubt, else ''; see `sure`."""
    own = segment.precision or precision
    if len(segment.graph) >= _SHORT or own != _FLOAT32 or segment.slack or segment.view is not None:
        return ""
    assert segment.candidate is not None
    return sure_verdict(segment.graph, segment.params, segment.given, segment.candidate)


def fits(segment: Segment, precision: Precision) -> bool:
    """Whether the verdict on a segment holds: where its first channels alone say no, the others are not looked at."""
    return not is_refuted(segment, precision) and judge_segment(segment, precision).holds


def is_refuted(segment: Segment, precision: Precision) -> bool:
    """Whether an element of the first channels is beyond the widest bound that it can be judged by.

    Most of what is wrong shows in the very first ones; then no more are looked at.
    """
    y = segment.candidate
    if len(segment.graph) >= _SHORT or y is None or y.ndim != 4 or y.size < _LARGE:
        return False
    counts = (count for count in (_FIRST, max(_CHANNELS, y.shape[1] // _FRACTION)) if 2 * count <= y.shape[1])
    return any(_is_beyond(first_channels(segment, count), y[:, :count], precision) for count in counts)


def _is_beyond(part: Segment | None, seen: Array, precision: Precision) -> bool:
    """Whether an element is beyond the widest bound of the part of a segment that makes it."""
    if part is None:
        return False
    made = limit(part, precision, rounded=True)
    if made.shape != seen.shape or np.array_equal(made.y.astype(seen.dtype), seen):
        return False
    beyond = np.abs(seen.astype(np.float64) - made.y) > made.expected * _ALIKE
    return bool(beyond.any())


def judge_cause(
    segment: Segment, precision: Precision, yardstick: str, check: Callable[[], None], residual: float = 0.0
) -> Judgement | None:
    """The verdict on a segment run in another way, by the yardstick of the verdict on it; None if it is refuted.

    Where that is the spread, one honest run tells most ways apart: the others are made where it leaves that open.

    Parameters
    ----------
    yardstick : of the verdict
    check : called before each run; may end the search
    residual : the rms of the error that the way leaves, where that is known
    """
    if yardstick != "spread" or segment.precision is not None:
        refuted = _is_far(segment, precision, residual) or is_refuted(segment, precision)
        return None if refuted else judge_segment(segment, precision)
    assert segment.candidate is not None
    runs, y = list[Array](), run(segment)
    found = Judgement("suspect" if y.shape == segment.candidate.shape else "shape", yardstick="none")
    if found.verdict == "shape":
        return found
    seen, coarse = lens(segment), is_coarse(segment)
    target, y = seen(segment.candidate), seen(y)
    for made in _runs(segment, precision):
        check()
        with np.errstate(all="ignore"):
            runs.append(seen(made()))
        found = _by_runs(target, y, runs)
        if found.holds or not (coarse or _is_open(found)):
            return found
        if coarse and len(runs) == len(_MOVED):
            break
    return found


def _by_runs(target: Array, y: Array, runs: list[Array]) -> Judgement:
    """The verdict by how far honest runs lie apart, and from the exact result; each as it is looked at."""
    with np.errstate(all="ignore"):
        bound = _apart(y, runs)
    return judge(target, bound)._replace(yardstick="spread")


def _is_open(found: Judgement) -> bool:
    """Whether more runs may say something else than the first ones."""
    return max(found.rms, found.expected) < _HOPELESS


def useful_limit(segment: Segment, precision: Precision) -> Bound:
    """The segment's bound; of many nodes one without limits, which takes a part of the time, if it would say nothing.

    It would not where that of the first image is too wide, even if the others had none.
    """
    if len(segment.graph) < _DEEP or segment.view is not None:
        return limit(segment, precision)
    y = segment.result
    least = limit(segment.first, precision, dtype=np.float32).rms / math.sqrt(segment.batch)
    if not _widest(root_mean_square(y), segment.precision or precision) <= _SURE * least < math.inf:
        return limit(segment, precision)
    endless = np.full_like(y, np.inf)
    return Bound.given(y, endless, endless, math.inf)


def near(segment: Segment, precision: Precision, before: float, rounding: float = 0.0) -> float:
    """What share of its error a way of running a long segment may leave to be held to the spread.

    Of an error that is hardly larger than what sums round, or than what printing or steps of integers take, every way
    leaves that.

    Parameters
    ----------
    before : rms of the error
    rounding : rms of what refnet's own run of the segment rounds; the port's rounds as much again
    """
    if not before:
        return NEAR
    left = max(rounding, precision.step / math.sqrt(3))  # within half a step all errors are as likely
    if precision.printed is not None:
        seen, y = lens(segment), segment.result
        left = max(left, root_mean_square(seen(precision.printed.rounded(y)) - seen(y)))
    return max(NEAR, 2 * left / before)


def says(nodes: int, made: Bound, precision: Precision) -> bool:
    """Whether a bound is narrow enough to tell honest from wrong."""
    if not np.isfinite(made.rms) or nodes < _SHORT:
        return bool(np.isfinite(made.rms))
    return made.rms < _widest(root_mean_square(made.y), precision)


def _widest(size: float, precision: Precision) -> float:
    """The rms of the widest bound that says anything of a tensor that many nodes make, by the tensor's own."""
    held = precision.dumped
    finest = max(held.u, held.u_store) * size + held.step
    return min(_WIDE * finest, _PART * size)


def _is_far(segment: Segment, precision: Precision, residual: float) -> bool:
    """Whether a run of many nodes leaves so much that no bound which says anything has room for it.

    Twice as much is allowed: so far beyond honest runs a port may be where a bound says nothing.
    """
    if len(segment.graph) < _SHORT or segment.precision is not None or segment.slack:
        return False
    assert segment.candidate is not None
    return residual > 2 * _widest(root_mean_square(segment.candidate) + residual, precision)


def _runs(segment: Segment, precision: Precision) -> Iterator[Callable[[], Array]]:
    """Honest runs in the declared precision, the quickest first; none where refnet cannot compute in it."""
    if precision in _SHORT_SUMS:
        yield from _in_short_sums(segment, _SHORT_SUMS[precision])
        return
    if precision == _SHORT_FACTORS:
        yield from _of_short_factors(segment)
        return
    formats = ("float64", "float32", "float16", "bfloat16")
    store = next((name for name in formats if precision.u_store < 2.5 * FLOATS[name].u), "")
    if precision.step or precision.levels or precision.u > 2 * FLOATS["float32"].u or precision.u_factor or not store:
        return
    short = store in ("float16", "bfloat16")
    dtype = np.float64 if store == "float64" else np.float32
    ways = _folded_and_not(segment)
    if short:
        ways = [replace(each, params=dict(_in_store(each, store))) for each in ways]
    if is_coarse(segment):
        yield from _moved(segment)
    if segment.on_batch:  # whose statistics round, too
        for order, moments in itertools.product(_QUICK, MOMENTS):
            rules = short_rules(ORDERS[order], store) if short else ORDERS[order]
            made = partial(_widely, ways[0], dtype, rules, moments)
            yield made if precision.printed is None else partial(_written, made, precision.printed)
    for order in sorted(ORDERS, key=lambda name: (name not in _QUICK, name)):
        rules = ORDERS[order]
        for one in ways:
            made = partial(_widely, one, dtype, short_rules(rules, store) if short else rules)
            yield made if precision.printed is None else partial(_written, made, precision.printed)


def _of_short_factors(segment: Segment) -> Iterator[Callable[[], Array]]:
    """Runs of which the factors of products are in tf32: of all convolutions, or of those that are products alone."""
    wide = [op for op in CONVOLUTIONS if op != "depthwise_conv2d"]
    for order, ops, one in itertools.product(_QUICK, (wide, CONVOLUTIONS), _folded_and_not(segment)):
        yield partial(_widely, one, np.float32, factor_rules(ORDERS[order], "tf32", ops))


def _in_short_sums(segment: Segment, store: str) -> Iterator[Callable[[], Array]]:
    """Runs whose sums are kept in a short format throughout, which takes its time; none of what would take long."""
    layers = (node for node in segment.graph.nodes if "w" in node.params)
    products = (segment.param(node, "w").size * math.prod(segment.sizes[node.name][1:]) for node in layers)
    if segment.batch * sum(products) > _SHORT_MOST:
        return
    orders, dtype = SHORT_SUMS[store]
    ways = [replace(each, params=dict(_in_store(each, store))) for each in _folded_and_not(segment)]
    for order, one in itertools.product(orders, ways):
        yield partial(_widely, one, dtype, order)


def _in_store(segment: Segment, store: str) -> Iterator[tuple[str, Array]]:
    """A segment's params in a short format."""
    for name in segment.graph.params():
        yield name, rounded(np.asarray(segment.params[name], np.float32), store)


def _folded_and_not(segment: Segment) -> list[Segment]:
    """A segment as it is, and with batch norm worked into its convolutions."""
    graph, folded = fold_batch_norm(segment.graph, segment.params)
    return [segment, replace(segment, graph=graph, params={**segment.params, **folded})]


def is_coarse(segment: Segment) -> bool:
    """Whether a port's own input may lie farther from the segment's than sums and products of pixels round.

    It does where a library rounds pixels, or places of pixels, in its own way, which no order of sums explains. So do
    weights where a format rounds what a port's fold leaves near a tie.
    """
    if _ties(segment):
        return True
    far, x = segment.slack.get(SOURCE), segment.given.get(SOURCE)
    if far is None or x is None:
        return False
    near = room(x, x, segment.whole.recipe.preprocessing).max(initial=0.0)
    return bool(far.max(initial=0.0) > _ROUNDED * near)


def _ties(segment: Segment) -> dict[str, Array]:
    """How far weights may lie from a port's own, of those that may be farther than a fold in float32 leaves them."""
    if not segment.slack:
        return {}
    weights = (name for name in segment.graph.params() if name in segment.slack and name.endswith(".w"))
    own = {name: segment.slack[name] for name in weights}
    return {name: far for name, far in own.items() if (far > _FOLDED * np.abs(segment.params[name])).any()}


def _moved(segment: Segment) -> Iterator[Callable[[], Array]]:
    """Runs on inputs, and with weights, of which ever more are as far away as a port's own may be."""
    ties = _ties(segment)
    for seed, share in enumerate(_MOVED):
        as_far = partial(_as_far, np.random.Generator(np.random.PCG64(seed)), share)
        given = {SOURCE: as_far(segment.given[SOURCE], segment.slack[SOURCE])} if SOURCE in segment.slack else {}
        params = {name: as_far(segment.params[name], far) for name, far in ties.items()}
        one = replace(segment, given={**segment.given, **given}, params={**segment.params, **params})
        yield partial(_widely, one, np.float32, fast)


def _as_far(drawn: np.random.Generator, share: float, y: Array, far: Array) -> Array:
    """An array of which a share of the numbers is as far away as it may be, to either side."""
    signs = drawn.choice((-1.0, 1.0), y.shape) * (drawn.random(y.shape) < share)
    return np.asarray(np.asarray(y, np.float64) + far * signs)


def _widely(
    segment: Segment,
    dtype: npt.DTypeLike,
    rules: Any,
    moments: Callable[[Array], tuple[Array, Array]] | None = None,
) -> Array:
    return run(segment, dtype, rules, moments).astype(np.float64)


def _written(made: Callable[[], Array], printed: Printed) -> Array:
    return printed.rounded(made())


def _apart(y: Array, runs: list[Array]) -> Bound:
    """The distances between runs, and to the exact result, as a bound without a worst case."""
    pairs = list(itertools.combinations([y, *runs], 2))
    apart = max(float(np.abs(one - other).max()) for one, other in pairs)
    rms = max(root_mean_square(one - other) for one, other in pairs)
    return Bound.given(y, np.full_like(y, np.inf), np.full_like(y, 2 * apart), 2 * rms)
