"""Bugs of batch norm and of folding it.

All but one are of its arrays before the fold; what only a fold can show, and no port was seen to do, is `rare`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.language.arrays import UnitArrays
from refnet.bugs.language.changes import Change, Deferred, with_attrs, without
from refnet.bugs.language.segments import Segment
from refnet.graph import Node
from refnet.readings.carried import channel

Array = npt.NDArray[Any]

_EPS = (1e-3, 1e-5, 0.0)  # of the frameworks
# By activation, between which results it has kept what it was given.
_KEPT = {"relu": (0.0, np.inf), "relu6": (0.0, 6.0), "hard_swish": (3.0, np.inf)}
# By what share a factor gamma / sqrt(var + eps) is rounded in float32; and how many times as far as that moves eps one
# must be from 0 to be told from it.
_STEP, _SURE = 2.0**-23, 4.0
_RARE_EPS = (1e-4, 1e-6, 1e-2, 1e-7, 1e-8, 1e-12)


def bn_eps(part: Segment | UnitArrays) -> Iterator[Change]:
    """another eps in batch norm.

    The frameworks' own, and the one that the candidate's numbers show. In a fold rarer ones are tried too, and the one
    that the weights themselves show.

    Source: https://github.com/Tencent/ncnn/issues/218
    """
    if isinstance(part, UnitArrays):
        yield from _other_eps(part, (*_EPS, *_RARE_EPS, *_shown(part, _inside)))
        return
    for unit in part.units:
        found = _solved(part, unit, _inside)
        yield from _other_eps(unit, (*_EPS, *found))


def _inside(divisor: Array, var: Array) -> Array:
    """eps where sqrt(var + eps) is what divides."""
    eps: Array = divisor**2 - var
    return eps


def _outside(divisor: Array, var: Array) -> Array:
    """eps where sqrt(var) + eps is what divides."""
    eps: Array = divisor - np.sqrt(var)
    return eps


def _other_eps(unit: UnitArrays, tried: Iterable[float]) -> Iterator[Change]:
    if unit.norm is None:
        return
    for other in dict.fromkeys(tried):
        if other != unit.eps:
            facts = {"found": other, "known": unit.eps}
            rare = other not in _EPS and bool(unit.seen)
            yield Change(unit.norm.name, f"{other:g}", facts, nodes=with_attrs(unit.norm, eps=other), rare=rare)


def _solved(segment: Segment, unit: UnitArrays, rule: Callable[[Array, Array], Array]) -> Iterator[float]:
    """eps in round figures, solved for from a batch norm's result, or from where an activation keeps it.

    t = s (x - mean) + beta gives s for each channel, and gamma / s is what a channel was divided by; the rule makes
    eps of that and the variance. Channels of small variance tell most: an error of s moves eps by (var + eps) times as
    much.
    """
    t, norm, act = segment.candidate, unit.norm, unit.unit.act
    if t is None or norm is None or t.ndim != 4 or segment.end not in (norm.name, act.name if act else ""):
        return
    kept = np.isfinite(t)
    if act is not None and segment.end == act.name:
        if act.op not in _KEPT:
            return
        low, high = _KEPT[act.op]
        kept &= (t > low) & (t < high)
    for _, x in segment.values({norm.inputs[0]}):
        if x.shape != t.shape:
            return
        centred, above = x - channel(unit["mean"]), t.astype(np.float64)
        above -= channel(unit["beta"])
        if not kept.all():
            centred[~kept] = above[~kept] = 0
        with np.errstate(all="ignore"):
            energy = np.einsum("nchw,nchw->c", centred, centred)
            s = np.einsum("nchw,nchw->c", centred, above) / energy
            eps = rule(unit["gamma"] / s, unit["var"])
            weight = energy / (unit["var"] + np.maximum(eps, 0)) ** 2
            rounded = np.abs(rule(unit["gamma"] / s * (1 + _STEP), unit["var"]) - eps)
            finite = np.isfinite(eps) & np.isfinite(weight)
            share = weight[finite] / weight[finite].sum()
            found, off = float(eps[finite] @ share), float(np.linalg.norm(rounded[finite] * share))
        if np.isfinite(found) and found > _SURE * off:
            yield from round_eps(found)


def round_eps(eps: float) -> tuple[float, ...]:
    """What people write for an eps that was solved for: the nearest power of ten, one figure, two figures."""
    if not eps > 0:
        return ()
    decade = float(f"1e{round(np.log10(eps))}")
    return tuple(dict.fromkeys((decade, float(f"{eps:.1g}"), float(f"{eps:.2g}"))))


def bn_eps_outside(part: Segment | UnitArrays) -> Iterator[Change]:
    """eps outside the root.

    sqrt(var) + eps divides instead of sqrt(var + eps).

    Source: https://github.com/pjreddie/darknet/blob/master/src/blas.c
    """
    for unit in part.units if isinstance(part, Segment) else (part,):
        if unit.norm is not None:
            for eps in dict.fromkeys((unit.eps, 1e-6, 1e-5, 1e-3, *eps_seen(part, unit, _outside))):
                yield replace(with_eps_outside(unit, f"{eps:g}", eps), facts={"eps": eps})


def eps_seen(part: Segment | UnitArrays, unit: UnitArrays, rule: Callable[[Array, Array], Array]) -> Iterable[float]:
    """eps in round figures, as a port's tensor or the weights of a fold show it.

    Parameters
    ----------
    rule : makes eps of what gamma is divided by and of the variance
    """
    return _solved(part, unit, rule) if isinstance(part, Segment) else _shown(part, rule)


def with_eps_outside(unit: UnitArrays, form: str, eps: float) -> Change:
    """A batch norm that divides by sqrt(var) + eps."""
    with np.errstate(all="ignore"):
        gamma = unit["gamma"] * np.sqrt(unit["var"] + unit.eps) / (np.sqrt(np.maximum(unit["var"], 0)) + eps)
    return _with(unit, form, gamma=gamma)


def already_normalised(segment: Segment) -> Iterator[Change]:
    """a tensor dumped too late.

    Under the name of a convolution are the values that batch norm, or the activation behind it, makes of it; under that
    of a block's result the sum with its shortcut, and under that of what a gate scales what it makes of it, in place.
    """
    node = segment.graph.nodes[-1]
    unit = segment.parts.unit(node.name)
    own = [] if unit is None else [each.name for each in unit.nodes]
    if unit is None or node.op != segment.whole[node.name].op:
        return
    made, params, last = [replace(node, name=f"{node.name}.bare")], dict[str, Array](), own[-1]
    # In place: so what is scaled is the map, not its gate.
    sides = {"add": slice(None), "scale": slice(1)}
    joined = [each for each in segment.whole.nodes if each.op in sides and last in each.inputs[sides[each.op]]]
    for index, later in enumerate([*unit.nodes[own.index(node.name) + 1 :], *joined[:1]]):
        before = own[-1] if later in joined else later.inputs[0]
        given = {name: segment.available[name] for name in later.inputs if name != before and name in segment.available}
        if len(given) < len({*later.inputs} - {before}):
            return
        if later.op == "add" and any(y.shape[1:] != segment.sizes[node.name] for y in given.values()):
            return  # a port of other sizes, which adds nothing here
        inputs = tuple(made[-1].name if name == before else name for name in later.inputs)
        made.append(replace(later, name=f"{node.name}.{index}", inputs=inputs))
        params |= {f"{made[-1].name}.{slot}": segment.param(later, slot) for slot in later.params}
        changed = {f"{node.name}.{slot}": segment.param(later, slot) for slot in later.params}
        form = {"batch_norm": "norm", "add": "sum", "scale": "gate"}.get(later.op, "act")
        nodes = {node.name: (*made[:-1], replace(made[-1], name=node.name))}
        facts = {"held": later.name}
        yield Change(node.name, form, facts, nodes=nodes, params={**params, **changed}, given=given, lone=True)


def _shown(unit: UnitArrays, rule: Callable[[Array, Array], Array]) -> Iterator[float]:
    """eps in two figures: the rule makes it of what a fold divides by and of the variance."""
    divisors = fold_divisors(unit)
    if divisors is None:
        return
    with np.errstate(all="ignore"):
        found = np.median(rule(divisors, unit["var"]))
    if np.isfinite(found) and found > 0:
        yield float(f"{found:.2g}")
        yield float(f"{found:.1g}")


def fold_divisors(unit: UnitArrays) -> Array | None:
    """By channel what gamma was divided by in a fold, by the size of each filter; None where no fold is seen."""
    if not unit.foldable or unit.seen.get("w", _NONE).shape != unit["w"].shape:
        return None
    w, copy = (array.reshape(len(array), -1) for array in (unit["w"], unit.seen["w"]))
    with np.errstate(all="ignore"):
        divisors: Array = unit["gamma"] / (unit.factor * (copy * w).sum(axis=1) / (w**2).sum(axis=1))
    return divisors


_NONE = np.zeros(0)


def bn_batch_stats(segment: Segment) -> Iterator[Change]:
    """statistics of the batch.

    Mean and variance are those of what is normalised, as in training; or the variance is of one point fewer (unbiased).

    Source: https://github.com/pytorch/pytorch/issues/35644
    """
    readers = {node.inputs[0]: node for node in segment.nodes("batch_norm")}
    made = cache(lambda: dict(moments(segment, readers)))  # of all of them in one run
    for name in (*segment.given, *segment.graph.by_name):
        if name in readers:
            node = readers[name].name
            slots = [f"{node}.{slot}" for slot in ("mean", "var")]
            yield Change(node, params=Deferred(slots, made), on_batch=dict.fromkeys(slots, 1.0), fed=True)
            points = segment.batch * math.prod(segment.sizes.get(node, ())[1:])
            if points > 1:
                unbiased = partial(_unbiased, slots, points, made)
                factors = dict(zip(slots, (1.0, points / (points - 1)), strict=True))
                yield Change(node, "unbiased", params=Deferred(slots, unbiased), on_batch=factors, fed=True)


def _unbiased(slots: list[str], points: int, made: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
    mean, var = slots
    return {mean: made()[mean], var: made()[var] * (points / (points - 1))}


def moments(segment: Segment, readers: Mapping[str, Node]) -> Iterator[tuple[str, Array]]:
    """Mean and variance of what each batch norm is given."""
    for name, x in segment.values(readers.keys()):
        axes = (0, *range(2, x.ndim))
        yield f"{readers[name].name}.mean", x.mean(axis=axes)
        yield f"{readers[name].name}.var", x.var(axis=axes)


def bn_fix_gamma(unit: UnitArrays) -> Iterator[Change]:
    """stored gamma ignored.

    Source: https://github.com/apache/mxnet/issues/15717
    """
    if unit.norm is not None:
        yield _with(unit, gamma=np.ones_like(unit["gamma"]))


def bn_missing(unit: UnitArrays) -> Iterator[Change]:
    """batch norm skipped."""
    if unit.norm is not None:
        yield Change(unit.norm.name, nodes=without(unit.norm))


def bn_var_std(unit: UnitArrays) -> Iterator[Change]:
    """variance used as the standard deviation."""
    if unit.norm is None:
        return
    with np.errstate(all="ignore"):
        gamma, var, root = unit["gamma"], unit["var"], np.sqrt(unit["var"] + unit.eps)
        yield _with(unit, "with-eps", gamma=gamma / root)
        yield _with(unit, "alone", gamma=gamma * root / np.maximum(var, 1e-30))
        yield _with(unit, "multiplied", rare=True, gamma=gamma * root**2)


def bn_fold_axis(unit: UnitArrays) -> Iterator[Change]:
    """folded along the wrong axis.

    The factors of batch norm scale a kernel point by point, cycling through it, instead of channel by channel.

    Source: https://github.com/CODAIT/graph_def_editor/issues/15
    """
    if unit.norm is None or not unit.foldable:
        return
    s, w = unit.factor, unit["w"]
    yield _scaled(unit, "", np.resize(s, w.size).reshape(w.shape), rare=unit.op != "depthwise_conv2d")
    if w.ndim > 1 and w.shape[1] == len(s):
        yield _scaled(unit, "inputs", s.reshape(1, -1, *(1,) * (w.ndim - 2)), rare=True)


def _scaled(unit: UnitArrays, form: str, factors: Array, rare: bool) -> Change:
    """Weights that the fold multiplies by these factors, and not by its own: they are divided by its own here.

    Of a channel whose own factor is 0, gamma is what makes it 1, and beta makes up for that.
    """
    assert unit.norm is not None
    s, root = unit.factor, np.sqrt(unit["var"] + unit.eps)
    none = s == 0
    own = np.where(none, 1, s).reshape(-1, *(1,) * (unit["w"].ndim - 1))
    gamma = np.where(none, root, unit["gamma"])
    beta = np.where(none, unit["beta"] + unit["mean"] - unit.bias, unit["beta"])
    with np.errstate(all="ignore"):
        arrays = {"w": unit["w"] * factors / own} | ({"gamma": gamma, "beta": beta} if none.any() else {})
    return _with(unit, form, rare, **arrays)


def bn_fold_bias(unit: UnitArrays) -> Iterator[Change]:
    """the fold forgets part of the bias.

    Or it makes the bias by another formula than s (b - mean) + beta.
    """
    if unit.norm is None:
        return
    mean, beta = unit["mean"], unit["beta"]
    zero, root = np.zeros_like(mean), np.sqrt(np.maximum(unit["var"] + unit.eps, 0))
    yield _with(unit, "mean", mean=zero)
    yield _with(unit, "no-root", mean=mean * root)
    if beta.any() and mean.any():
        own = {"b": zero} if unit.foldable and "b" in unit else {}
        yield _with(unit, "lost", False, mean=zero, beta=zero, **own)
    if unit.foldable and "b" in unit:
        yield _with(unit, "own", b=zero)
    yield _with(unit, "beta", rare=True, beta=zero)
    yield _with(unit, "var", rare=True, var=np.ones_like(mean))
    if mean.any() and (unit["var"] != 1).any():
        yield _with(unit, "unwritten", mean=zero, var=np.ones_like(mean))
    yield _with(unit, "mean-added", rare=True, mean=-mean)
    if unit.foldable:
        own = {"b": zero} if "b" in unit else {}
        yield _with(unit, "mean-alone", rare=True, **own, mean=zero, beta=unit.bias - mean)
        if unit.bias.any():
            yield _with(unit, "own-unscaled", rare=True, **own, beta=unit.bias + beta)
    if mean.any():
        yield _with(unit, "no-gamma", rare=True, beta=beta + unit.factor * mean - mean / root)
    with np.errstate(all="ignore"):
        yield _with(unit, "beta-first", rare=True, beta=beta * unit["gamma"] / root)
    yield _with(unit, "beta-away", rare=True, beta=-beta)


def bn_swapped(unit: UnitArrays) -> Iterator[Change]:
    """arrays of batch norm exchanged on import."""
    if unit.norm is None:
        return
    vectors = [slot for slot in ("b", "gamma", "beta", "mean", "var") if slot in unit]
    likely = [("beta", "mean"), ("gamma", "beta")]
    likely += [("gamma", "var")] if (unit["gamma"] > 0).all() else []
    likely += [("mean", "var")] if (unit["mean"] + unit.eps > 0).all() else []
    pairs = dict.fromkeys([*likely, *itertools.combinations(vectors, 2)])
    for one, other in pairs:
        mine, theirs = (other, one) if other == unit.slot else (one, other)
        made = _with(unit, f"{one}-{other}", (one, other) not in likely, **{one: unit[other], other: unit[one]})
        yield replace(made, facts={"one": mine, "other": theirs})


def _with(unit: UnitArrays, form: str = "", rare: bool = False, **arrays: Array) -> Change:
    """Some arrays of a unit replaced; the place is the batch norm."""
    assert unit.norm is not None
    return Change(unit.norm.name, form, params={unit.names[slot]: array for slot, array in arrays.items()}, rare=rare)
