"""Folds gone wrong: eps, gamma, mean, variance, the wrong axis, arrays exchanged, a bias lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.verification.cases import Case, Reading
from refnet.verification.layers import Expected, Layer, scaled

Array = npt.NDArray[Any]

_EPS = (1e-3, 1e-5, 0.0, 1e-4, 1e-6, 1e-2, 1e-7, 1e-8, 1e-12)


def lost(case: Case) -> Iterator[Reading]:
    """A bias of zeros."""
    if case.slot in ("b", "beta"):
        yield Reading("the bias is lost", Expected.exactly(np.zeros_like(case.wanted.value)))


def zeroed(case: Case) -> Iterator[Reading]:
    """Zeros."""
    yield Reading("all its elements are zero", Expected.exactly(np.zeros_like(case.wanted.value)))


def eps(case: Case) -> Iterator[Reading]:
    """Another eps: those in use, and the one that the weights themselves tell."""
    if not (case.folded and case.layer.norm):
        return
    for other in (*_EPS, *_told(case)):
        if other != case.layer.eps:
            words = f"batch norm was folded with eps {other:g} instead of {case.layer.eps:g}"
            yield Reading(words, case.read(replace(case.layer, eps=other)))


def _told(case: Case) -> Iterator[float]:
    """eps in two figures, solved for from the size of each filter: s' = gamma / sqrt(var + eps)."""
    copy, arrays = case.mates.get("w"), case.layer.arrays
    if copy is None or copy.shape != arrays["w"].shape:
        return
    w = arrays["w"].reshape(len(copy), -1)
    with np.errstate(all="ignore"):
        s = (copy.reshape(w.shape) * w).sum(axis=1) / (w**2).sum(axis=1)
        found = np.median((arrays["gamma"] / s) ** 2 - arrays["var"])
    if np.isfinite(found) and found > 0:
        yield float(f"{found:.2g}")
        yield float(f"{found:.1g}")


def gamma_ignored(case: Case) -> Iterator[Reading]:
    """Gamma taken as 1."""
    if "gamma" in case.layer.arrays:
        ones = np.ones_like(case.layer.arrays["gamma"])
        if case.folded or case.slot == "gamma":
            yield Reading("gamma is taken as 1", case.read(case.layer.having(gamma=ones)))


def mean_forgotten(case: Case) -> Iterator[Reading]:
    """Something that the bias is made of left out."""
    words = {"mean": "the mean is", "b": "the convolution's own bias is", "beta": "beta is"}
    for slot in ("mean", "b", "beta"):
        if slot not in case.layer.arrays or not case.layer.norm:
            continue
        without = case.layer.having(**{slot: np.zeros_like(case.layer.arrays[slot])})
        if case.folded and case.slot == "b":
            yield Reading(f"{words[slot]} forgotten in the fold", case.read(without))
        elif not case.folded and case.slot == slot:
            yield Reading(f"{words[slot]} taken as 0", case.read(without))
    if not case.folded and case.slot == "var":
        yield Reading("the variance is taken as 1", Expected.exactly(np.ones_like(case.wanted.value)))


def bias_formulas(case: Case) -> Iterator[Reading]:
    """b' in other formulas than s (b - mean) + beta."""
    if not (case.folded and case.layer.norm and case.slot == "b"):
        return
    layer, arrays = case.layer, case.layer.arrays
    root = np.sqrt(np.maximum(arrays["var"] + layer.eps, 0))
    yield Reading("the mean is added instead of taken away", case.read(layer.having(mean=-arrays["mean"])))
    yield Reading(
        "the folded bias is beta - gamma mean, without the root", case.read(layer.having(mean=arrays["mean"] * root))
    )
    yield Reading("the folded bias is the mean taken away, unscaled", _bias(layer, layer.bias - arrays["mean"]))
    unscaled = layer.having(b=np.zeros_like(layer.bias))
    made = case.read(unscaled)
    yield Reading("the convolution's own bias is added unscaled", made._replace(value=made.value + layer.bias))
    yield Reading(
        "beta is added before the scaling",
        case.read(layer.having(b=layer.bias + arrays["beta"], beta=np.zeros_like(layer.bias))),
    )
    yield Reading("the folded bias is beta taken away", case.read(layer.having(beta=-arrays["beta"])))


def _bias(layer: Layer, value: Array) -> Expected:
    return Expected(value, layer.folded()["b"].slack)


def var_std(case: Case) -> Iterator[Reading]:
    """The root left out."""
    if not (case.folded and case.layer.norm):
        return
    layer, arrays = case.layer, case.layer.arrays
    with np.errstate(all="ignore"):
        root = np.sqrt(arrays["var"] + layer.eps)
        for words, gamma in (
            ("the variance plus eps divides instead of its root", arrays["gamma"] / root),
            ("the variance divides instead of the root of it and eps", arrays["gamma"] * root / arrays["var"]),
            (
                "the variance is taken for the deviation, eps added",
                arrays["gamma"] * root / (arrays["var"] + layer.eps),
            ),
            ("it is multiplied by the root instead of divided", arrays["gamma"] * root**2),
        ):
            yield Reading(words, case.read(layer.having(gamma=gamma)))


def not_folded(case: Case) -> Iterator[Reading]:
    """The convolution's own weights and bias."""
    if case.folded and case.layer.norm:
        own = case.layer.arrays["w"] if case.slot == "w" else case.layer.bias
        yield Reading("batch norm is gone without having been worked in", Expected.exactly(own))


def wrong_axis(case: Case) -> Iterator[Reading]:
    """The factors along another axis than that of the outputs."""
    if not (case.folded and case.layer.norm and case.slot == "w"):
        return
    s, w = case.layer.factor, case.layer.arrays["w"]
    cycled = w * np.resize(s, w.size).reshape(w.shape)
    yield Reading("batch norm is folded along the wrong axis of the kernel", scaled(cycled))
    if w.ndim > 1 and w.shape[1] == len(s):
        inputs = w * s.reshape(1, -1, *(1,) * (w.ndim - 2))
        yield Reading("batch norm is folded into the inputs instead of the outputs", scaled(inputs))


def swapped(case: Case) -> Iterator[Reading]:
    """Two arrays of batch norm, or a bias and one of them, exchanged."""
    arrays = case.layer.arrays
    vectors = [slot for slot in ("b", "gamma", "beta", "mean", "var") if slot in arrays]
    if not case.folded:
        for other in vectors:
            if other != case.slot and case.slot in vectors:
                yield Reading(f"it holds the layer's {other}", Expected.exactly(arrays[other]))
        return
    for i, one in enumerate(vectors):
        for other in vectors[i + 1 :]:
            with np.errstate(all="ignore"):
                made = case.read(case.layer.having(**{one: arrays[other], other: arrays[one]}))
            yield Reading(f"{one} and {other} are exchanged in the fold", made)
