"""Bugs of batch norm and of folding it.

All but one are of its arrays before the fold; what only a fold can show, and no port was seen to do, is `rare`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.arrays import UnitArrays
from refnet.bugs.changes import Change, with_attrs, without
from refnet.bugs.segments import Segment

Array = npt.NDArray[Any]

_EPS = (1e-3, 1e-5, 0.0)  # of the frameworks
_RARE_EPS = (1e-4, 1e-6, 1e-2, 1e-7, 1e-8, 1e-12)


def bn_eps(unit: UnitArrays) -> Iterator[Change]:
    """another eps in batch norm.

    In a fold rarer ones are tried too, and the one that the weights themselves show.

    Source: https://github.com/Tencent/ncnn/issues/218
    """
    if unit.norm is None:
        return
    for other in (*_EPS, *_RARE_EPS, *_shown(unit)):
        if other != unit.eps:
            facts = {"found": other, "known": unit.eps}
            rare = other not in _EPS
            yield Change(unit.norm.name, f"{other:g}", facts, nodes=with_attrs(unit.norm, eps=other), rare=rare)


def _shown(unit: UnitArrays) -> Iterator[float]:
    """eps in two figures, solved for from the size of each filter: s' = gamma / sqrt(var + eps)."""
    if not unit.foldable or unit.seen.get("w", _NONE).shape != unit["w"].shape:
        return
    w, copy = (array.reshape(len(array), -1) for array in (unit["w"], unit.seen["w"]))
    with np.errstate(all="ignore"):
        s = unit.factor * (copy * w).sum(axis=1) / (w**2).sum(axis=1)
        found = np.median((unit["gamma"] / s) ** 2 - unit["var"])
    if np.isfinite(found) and found > 0:
        yield float(f"{found:.2g}")
        yield float(f"{found:.1g}")


_NONE = np.zeros(0)


def bn_batch_stats(segment: Segment) -> Iterator[Change]:
    """statistics of the batch.

    Mean and variance are those of what is normalised, as in training.

    Source: https://github.com/pytorch/pytorch/issues/35644
    """
    readers = {node.inputs[0]: node for node in segment.nodes("batch_norm")}
    for name, x in segment.values(readers.keys()):
        node, axes = readers[name], (0, *range(2, x.ndim))
        params = {f"{node.name}.mean": x.mean(axis=axes), f"{node.name}.var": x.var(axis=axes)}
        yield Change(node.name, params=params, fed=True)


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
    yield _with(unit, "mean-added", rare=True, mean=-mean)
    if unit.foldable:
        own = {"b": zero} if "b" in unit else {}
        yield _with(unit, "mean-alone", rare=True, **own, mean=zero, beta=unit.bias - mean)
        yield _with(unit, "own-unscaled", rare=True, **own, beta=unit.bias + beta)
        yield _with(unit, "beta-first", rare=True, mean=mean - beta, beta=zero)
    yield _with(unit, "beta-away", rare=True, beta=-beta)


def bn_swapped(unit: UnitArrays) -> Iterator[Change]:
    """arrays of batch norm exchanged on import."""
    if unit.norm is None:
        return
    vectors = [slot for slot in ("b", "gamma", "beta", "mean", "var") if slot in unit]
    likely = [("beta", "mean"), *([("gamma", "var")] if (unit["gamma"] > 0).all() else [])]
    pairs = dict.fromkeys([*likely, *itertools.combinations(vectors, 2)])
    for one, other in pairs:
        mine, theirs = (other, one) if other == unit.slot else (one, other)
        made = _with(unit, f"{one}-{other}", (one, other) not in likely, **{one: unit[other], other: unit[one]})
        yield replace(made, facts={"one": mine, "other": theirs})


def _with(unit: UnitArrays, form: str = "", rare: bool = False, **arrays: Array) -> Change:
    """Some arrays of a unit replaced; the place is the batch norm."""
    assert unit.norm is not None
    return Change(unit.norm.name, form, params={unit.names[slot]: array for slot, array in arrays.items()}, rare=rare)
