"""Bugs of the formula of batch norm that few ports have. Tried where nothing else fits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import FOLDED_BIAS, Expected, UnitArrays
from refnet.bugs.language.changes import Change
from refnet.bugs.language.segments import Segment
from refnet.bugs.layers.norms import eps_seen, fold_divisors
from refnet.readings.carried import channel
from refnet.readings.precision import FLOATS

Array = npt.NDArray[Any]

_CAFFE = 999.982  # to which the weights of Caffe's averages add up in the end
_SHOWN = 1e-5  # relative: how far from 1 a factor is that arrays in float32 show
# Relative: how near two factors are that are one. Tuned, on the table in tests/bugs/test_tables.py: the smallest
# power of ten that keeps 19 of 20 factors of a variance, as a port in float16 shows them.
_ALIKE = 1e-3
_KEPT = {"relu": (0.0, np.inf), "relu6": (0.0, 6.0), "hard_swish": (3.0, np.inf)}  # what an activation leaves as it is
# How often beta, the mean and the convolution's own bias are in a folded bias, where that is a bug by itself.
_BIASES = ((0, 0, 0), (1, 1, 0), (0, 1, 1), (-1, 1, 1))
_TWICE, _OWN = (2, 1, 1), (0, 0, 1)  # of others the likeliest: beta twice, and the convolution's own bias alone
_MOST_TERMS = 3  # times that one of them may be in it
_ROUNDINGS = 6  # of a batch norm
_FEW = 4  # points of a channel that its line is told from


def bn_beta_scaled(unit: UnitArrays) -> Iterator[Change]:
    """beta that is multiplied, too.

    gamma (x + beta), or what is divided by the deviation with beta in it.
    """
    if unit.norm is not None and unit["beta"].any():
        root = np.sqrt(np.maximum(unit["var"] + unit.eps, 1e-30))
        for form, factor in (("gamma", unit["gamma"]), ("deviation", 1 / root), ("both", unit["gamma"] / root)):
            yield _with(unit, form, {"beta": unit["beta"] * factor})


def bn_gamma_function(unit: UnitArrays) -> Iterator[Change]:
    """another function of gamma in its place.

    Its absolute value, 0 where it is negative, its square, or 1 more, as of layers that hold what it is beyond 1.

    Source: https://github.com/mapillary/inplace_abn
    """
    if unit.norm is not None and "gamma" in unit:
        gamma = unit["gamma"]
        ways = {"absolute": np.abs(gamma), "clipped": np.maximum(gamma, 0)} if (gamma < 0).any() else {}
        for form, made in {**ways, "squared": gamma**2, "one more": 1 + gamma}.items():
            yield _with(unit, form, {"gamma": made})


def bn_eps_inverse(part: Segment | UnitArrays) -> Iterator[Change]:
    """eps added to 1 over the root.

    1 / sqrt(var) + eps multiplies instead of 1 / sqrt(var + eps).
    """
    for unit in part.units if isinstance(part, Segment) else (part,):
        if unit.norm is not None and (unit["var"] > 0).all():
            roots = np.sqrt(unit["var"])
            for eps in dict.fromkeys((unit.eps, *eps_seen(part, unit, _inverse))):
                gamma = unit["gamma"] * np.sqrt(unit["var"] + unit.eps) * (1 / roots + eps)
                yield replace(_with(unit, f"{eps:g}", {"gamma": gamma}), facts={"eps": eps})


def _inverse(divisor: Array, var: Array) -> Array:
    """eps where 1 / sqrt(var) + eps is what multiplies."""
    eps: Array = 1 / divisor - 1 / np.sqrt(var)
    return eps


def bn_twice(segment: Segment) -> Iterator[Change]:
    """batch norm that is applied twice.

    It was folded into the convolution and still is run: all of it, its factors alone or its bias alone; or it is run
    again behind the activation. A port that dumps a convolution of folded weights has the batch norm's result there.
    """
    yield from _again_between(segment)
    for unit in segment.units:
        norm, act = unit.norm, unit.unit.act
        if norm is None or norm.name not in segment.graph:
            continue
        once = replace(norm, name=f"{norm.name}.once")
        yield Change(norm.name, "again", nodes={norm.name: (once, replace(norm, inputs=(once.name,)))})
        if unit.foldable:
            s = unit.factor
            bias = unit["beta"] + s * (unit.bias - unit["mean"])
            yield _with(unit, "factors", {"w": unit["w"] * s.reshape(-1, *(1,) * (unit["w"].ndim - 1))})
            yield _with(unit, "bias behind", {"beta": unit["beta"] + bias})
            yield _with(unit, "bias before", {"beta": unit["beta"] + s * bias})
        if act is not None and act.name in segment.graph:
            first, between = replace(act, name=f"{act.name}.once"), f"{act.name}.norm"
            again = replace(norm, name=between, inputs=(first.name,))
            params = {f"{between}.{slot}": segment.param(norm, slot) for slot in norm.params}
            nodes = {act.name: (first, again, replace(act, inputs=(between,)))}
            yield Change(act.name, "behind", nodes=nodes, params=params)


def _again_between(segment: Segment) -> Iterator[Change]:
    """Once more between what is given as its result, of folded weights, and the activation behind it."""
    for act in segment.graph.nodes:
        unit = segment.parts.unit(act.name)
        norm = None if unit is None or unit.act is None or unit.act.name != act.name else unit.norm
        if norm is not None and norm.name in segment.given and act.inputs == (norm.name,):
            again = replace(norm, name=f"{act.name}.norm", inputs=act.inputs)
            params = {f"{again.name}.{slot}": segment.param(norm, slot) for slot in norm.params}
            nodes = {act.name: (again, replace(act, inputs=(again.name,)))}
            yield Change(act.name, "between", nodes=nodes, params=params)


def bn_variance_stored(unit: UnitArrays) -> Iterator[Change]:
    """another form of the variance in its place.

    Its root, its inverse, or the inverse of its root, with eps in it or without, where the variance is read.
    """
    if unit.norm is None or "var" not in unit:
        return
    with np.errstate(all="ignore"):
        v, wide = unit["var"], unit["var"] + unit.eps
        forms = {
            "root": np.sqrt(v),
            "root with eps": np.sqrt(wide),
            "inverse root with eps": 1 / np.sqrt(wide),
            "inverse root": 1 / np.sqrt(v),
            "inverse": 1 / v,
            "inverse with eps": 1 / wide,
            "with eps": wide,
            "square": v * v,
        }
    for form, value in forms.items():
        if np.isfinite(value).all():
            held = Expected(value, _ROUNDINGS * FLOATS["float32"].u * np.abs(value))
            yield Change(unit.norm.name, form, params={unit.names["var"]: held})


def bn_statistics_scaled(part: Segment | UnitArrays) -> Iterator[Change]:
    """statistics that are scaled.

    Caffe keeps sums beside the sum of their weights, and means and variances are their quotients; others keep a
    variance that is divided by one point fewer.

    Source: https://github.com/BVLC/caffe/blob/master/src/caffe/layers/batch_norm_layer.cpp
    """
    if isinstance(part, UnitArrays):
        yield from _scaled_in_fold(part)
        return
    segment = part
    for unit in segment.units:
        if unit.norm is None:
            continue
        mean, var = _factors(segment, unit) or (_CAFFE, _CAFFE)
        if abs(mean - var) <= _ALIKE * abs(var) and abs(var - 1) > _ALIKE:
            yield _with(unit, "both", {"mean": unit["mean"] * var, "var": unit["var"] * var}, times=var)
        elif abs(var - 1) <= _ALIKE < abs(mean - 1):
            yield _with(unit, "mean", {"mean": unit["mean"] * mean}, times=mean)
        elif abs(mean - 1) <= _ALIKE < abs(var - 1):
            yield _with(unit, "var", {"var": unit["var"] * var}, times=var)


def _scaled_in_fold(unit: UnitArrays) -> Iterator[Change]:
    """One factor of the variances by what a fold divides by, and one of the means by its biases."""
    divisors = fold_divisors(unit)
    if divisors is None or "mean" not in unit:
        return
    with np.errstate(all="ignore"):
        var = float(np.median((divisors**2 - unit.eps) / unit["var"]))
        b, s, mean = unit.seen.get(FOLDED_BIAS), unit["gamma"] / divisors, 1.0
        if b is not None and b.shape == unit["mean"].shape:
            mean = float(np.median((unit.bias + (unit["beta"] - b) / s) / unit["mean"]))
    of_var = np.isfinite(var) and var > 0 and abs(var - 1) > _SHOWN
    if of_var and abs(mean - var) <= _ALIKE * var < abs(var - 1):
        yield _with(unit, "both", {"mean": unit["mean"] * var, "var": unit["var"] * var}, times=var)
    elif of_var:
        yield _with(unit, "var", {"var": unit["var"] * var}, times=var)
    elif np.isfinite(mean) and abs(mean - 1) > _SHOWN:
        yield _with(unit, "mean", {"mean": unit["mean"] * mean}, times=mean)


def bn_bias_terms(part: Segment | UnitArrays) -> Iterator[Change]:
    """terms of the folded bias left out, or added more than once.

    The bias is beta - s mean + s b, with s the factor and b the convolution's own bias; how often each is in it is
    solved for.
    """
    for unit in part.units if isinstance(part, Segment) else (part,):
        if unit.norm is None or not all(slot in unit for slot in ("gamma", "beta", "mean", "var")):
            continue
        own = _own_bias(unit)
        terms = np.stack([unit["beta"], -unit.factor * unit["mean"], unit.factor * own])
        shown = _bias_shown(part, unit) if isinstance(part, Segment) else unit.seen.get(FOLDED_BIAS)
        if shown is not None:
            counted = _counted(terms, shown) if shown.shape == own.shape else None
            found = [] if counted is None else [counted]
        else:  # of a port the likeliest, where nothing shows them
            found = [_TWICE, *[_OWN] * bool(own.any())] if isinstance(part, Segment) else []
        yield from (_summed(unit, terms, counts) for counts in found if _is_a_bug(counts))


def _own_bias(unit: UnitArrays) -> Array:
    """The convolution's own bias, by channel of the batch norm; zeros where it has none, or where there is none."""
    return unit["b"] if "b" in unit else np.zeros_like(unit["mean"])


def _is_a_bug(counts: tuple[int, ...]) -> bool:
    """Whether terms so often in a folded bias have no other name: with the mean's alone changed, that is scaled."""
    return counts not in _BIASES and not counts[0] == counts[2] == 1


def _summed(unit: UnitArrays, terms: Array, counts: tuple[int, ...]) -> Change:
    """A folded bias that has each of its terms so often."""
    scaled = zip(("beta", "mean", "b"), counts, strict=True)
    arrays = {slot: unit[slot] * n for slot, n in scaled if slot in unit}
    said = tuple(n if any(term) else 0 for n, term in zip(counts, terms, strict=True))
    return _with(unit, " ".join(map(str, said)), arrays, terms=said)


def _counted(terms: Array, bias: Array) -> tuple[int, ...] | None:
    """How often each of some terms is in a bias, of those that are not zero; None where it is not made of them."""
    there, counts = terms.any(axis=1), np.ones(len(terms), int)
    known = np.isfinite(bias) & np.isfinite(terms).all(axis=0)
    if known.sum() <= len(terms) or not there.any():
        return None
    found, *_ = np.linalg.lstsq(terms[there][:, known].T, bias[known], rcond=None)
    if not np.isfinite(found).all() or np.abs(np.rint(found)).max() > _MOST_TERMS:
        return None
    counts[there] = np.rint(found)
    left = np.linalg.norm((bias - counts @ terms)[known])
    return tuple(map(int, counts)) if left <= _ALIKE * np.linalg.norm(terms[:, known]) else None


def _shown(segment: Segment, unit: UnitArrays) -> tuple[Array, Array, Array] | None:
    """What a batch norm reads, what it makes as the port shows that, and where it is shown, (N, C, H, W).

    Of a hard swish that is above zero x (x + 3) / 6 is undone, where it is not x itself.
    """
    t, norm, act = segment.candidate, unit.norm, unit.unit.act
    if t is None or norm is None or t.ndim != 4 or segment.end not in (norm.name, act.name if act else ""):
        return None
    ((_, x),) = segment.values({norm.inputs[0]})
    if x.shape != t.shape:
        return None
    op = act.op if act is not None and segment.end == act.name else ""
    low, high = _KEPT.get(op, (np.inf, np.inf)) if op else (-np.inf, np.inf)
    if op == "hard_swish":
        t = np.where(t < low, (np.sqrt(9 + 24 * np.maximum(t.astype(np.float64), 0)) - 3) / 2, t)
        low = 0.0
    return x, t, np.isfinite(t) & (t > low) & (t < high)


def _bias_shown(segment: Segment, unit: UnitArrays) -> Array | None:
    """By channel what is added to a convolution without its own bias, once it is scaled; NaN where nothing shows it."""
    shown = _shown(segment, unit)
    if shown is None:
        return None
    x, t, kept = shown
    with np.errstate(all="ignore"):
        rest = np.where(kept, t - channel(unit.factor) * (x - channel(_own_bias(unit))), 0)
        bias: Array = np.einsum("nchw->c", rest) / np.einsum("nchw->c", kept.astype(np.float64))
    return bias


def bn_limited(segment: Segment) -> Iterator[Change]:
    """a variance that is limited.

    It is no less than some number, or no more; the other channels have their own.
    """
    for unit in segment.units:
        lines = _lines_of(segment, unit)
        if lines is None:
            continue
        var, own, weight = lines.var, unit["var"], lines.weight
        with np.errstate(all="ignore"):
            off = (weight > 0) & (np.abs(var / own - 1) > _ALIKE)
        for form, those in (("least", off & (var > own)), ("most", off & (var < own))):
            if those.any() and np.array_equal(those, off):
                figures = 3 if those.sum() > 1 else 2  # one channel has any variance, but a round one
                limit = float(f"{_middle(var, np.where(those, weight, 0)):.{figures}g}")
                limited = np.maximum(own, limit) if form == "least" else np.minimum(own, limit)
                yield _with(unit, form, {"var": limited}, limit=limit)


def bn_root(segment: Segment) -> Iterator[Change]:
    """the root of a number below zero in batch norm, or a division by zero.

    The variance of some channels has its sign changed, or one of their arrays holds what is no number.
    """
    target = segment.candidate
    if target is None or target.ndim != 4:
        return
    broken = ~np.isfinite(target)
    channels = np.flatnonzero(broken.all(axis=(0, 2, 3)))
    if not 0 < len(channels) < target.shape[1] or broken.sum() != broken[:, channels].sum():
        return
    for unit in segment.units:
        if unit.norm is not None and len(unit["var"]) == target.shape[1]:
            var = unit["var"].copy()
            var[channels] *= -1
            facts = {"channels": tuple(map(int, channels)), "of": len(var)}
            yield _with(unit, "nan" if np.isnan(target[broken]).all() else "infinite", {"var": var}, **facts)


class _Lines(NamedTuple):
    """By channel what a batch norm shows: by what its own mean and its variance are multiplied, and how surely.

    `sums` are those over points of each channel that a line is fitted from.
    """

    mean: Array
    var: Array
    weight: Array
    sums: tuple[Array, ...]


def _factors(segment: Segment, unit: UnitArrays) -> tuple[float, float] | None:
    """By what mean and variance are multiplied, all of them."""
    lines = _lines_of(segment, unit)
    if lines is None:
        return None
    with np.errstate(all="ignore"):
        ratios = lines.mean / unit["mean"], lines.var / unit["var"]
        weight = np.where(np.isfinite(ratios[0]) & np.isfinite(ratios[1]), lines.weight, 0)
    if not weight.any():
        return None
    found = [_middle(each, weight) for each in ratios]
    if not all(map(math.isfinite, found)) or found[1] <= 0:
        return None
    if abs(found[0] - found[1]) <= _ALIKE * found[1]:
        both = _sharpened(found[0], unit, *lines.sums)
        return both, both
    return found[0], found[1]


def _lines_of(segment: Segment, unit: UnitArrays) -> _Lines | None:
    """Mean and variance from the line of each channel, t = gamma (x - mean) / root + beta."""
    shown = _shown(segment, unit)
    if shown is None:
        return None
    x, t, those = shown
    kept, y = those.astype(np.float64), np.where(those, t, 0).astype(np.float64)
    with np.errstate(all="ignore"):
        n, sx, sy = (np.einsum("nchw->c", each) for each in (kept, kept * x, y))
        sxx, sxy = np.einsum("nchw,nchw->c", kept * x, x), np.einsum("nchw,nchw->c", x, y)
        across = sxx - sx**2 / n
        slope = (sxy - sx * sy / n) / across
        offset = (sy - slope * sx) / n
        var = (unit["gamma"] / slope) ** 2 - unit.eps
        mean = (unit["beta"] - offset) / slope
        weight = np.where((n >= _FEW) & np.isfinite(var) & np.isfinite(mean), across, 0)
    return _Lines(mean, var, weight, (n, sx, sy, sxx, sxy)) if weight.any() else None


def _sharpened(factor: float, unit: UnitArrays, n: Array, sx: Array, sy: Array, sxx: Array, sxy: Array) -> float:
    """One factor of mean and variance by all channels together: three steps of Gauss and Newton."""
    for _ in range(3):
        with np.errstate(all="ignore"):
            root = np.sqrt(unit["var"] * factor + unit.eps)
            slope = unit["gamma"] / root
            offset = unit["beta"] - slope * unit["mean"] * factor
            # d/df of slope x + offset is p x + q; the sums over points are those of the lines.
            p = -slope * unit["var"] / (2 * root**2)
            q = -p * unit["mean"] * factor - slope * unit["mean"]
            against = p * (sxy - slope * sxx - offset * sx) + q * (sy - slope * sx - offset * n)
            own = p**2 * sxx + 2 * p * q * sx + q**2 * n
            good = np.isfinite(against) & np.isfinite(own)
        if not own[good].sum() > 0:
            break
        factor += float(against[good].sum() / own[good].sum())
    return factor


def _middle(values: Array, weight: Array) -> float:
    """The weighted median."""
    order = np.argsort(np.where(weight > 0, values, np.inf))
    sums = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(sums, sums[-1] / 2)])


def _with(unit: UnitArrays, form: str, arrays: dict[str, Array], **facts: Any) -> Change:
    assert unit.norm is not None
    return Change(unit.norm.name, form, facts, params={unit.names[slot]: array for slot, array in arrays.items()})
