"""Folds by another formula are one fault of every layer that was folded."""

from __future__ import annotations

import numpy as np
import pytest
from exporting import beginning, checkpoint, exported

from refnet.verification import verify

END = "block6.add"  # a third of the layers: each is judged alone


def folding(
    divisor=lambda var, eps: np.sqrt(var + eps), factor=np.divide, offset=lambda beta, mean, s: beta - mean * s
):
    """A fold by other formulas, in float64."""

    def fold(w, b, gamma, beta, mean, var, eps):
        gamma, beta, mean, var = (each.astype(np.float64) for each in (gamma, beta, mean, var))
        s = factor(gamma, divisor(var, eps))
        return w * s.reshape(-1, *(1,) * (w.ndim - 1)), s * b + offset(beta, mean, s)

    return fold


def fast_inverse_root(x, steps):
    """As games computed it, with some of Newton's steps behind the bits."""
    x = x.astype(np.float32)
    y = (np.int32(0x5F3759DF) - (x.view(np.int32) >> 1)).view(np.float32)
    for _ in range(steps):
        y = y * (np.float32(1.5) - np.float32(0.5) * x * y * y)
    return y.astype(np.float64)


@pytest.mark.parametrize(
    ("fold", "bug", "form", "arrays"),
    [
        (folding(divisor=lambda var, eps: np.sqrt(var) + 3e-4), "bn-eps-outside", "0.0003", 36),
        (folding(divisor=lambda var, eps: np.sqrt(var) + 1e-5), "bn-eps-outside", "1e-05", 36),
        (folding(divisor=lambda var, eps: 1 / (1 / np.sqrt(var) + 2e-3)), "bn-eps-inverse", "0.002", 36),
        (folding(divisor=lambda var, eps: np.sqrt(var * 64 / 63 + eps)), "bn-statistics-scaled", "var", 36),
        (
            folding(lambda var, eps: np.sqrt(0.5 * var + eps), offset=lambda beta, mean, s: beta - 0.5 * mean * s),
            "bn-statistics-scaled",
            "both",
            36,
        ),
        (folding(offset=lambda beta, mean, s: beta - 0.9 * mean * s), "bn-statistics-scaled", "mean", 18),
        (folding(offset=lambda beta, mean, s: 2 * beta - mean * s), "bn-bias-terms", "2 1 0", 18),
        (folding(offset=lambda beta, mean, s: beta - mean), "norm-parts", "mean unscaled", 18),
        (folding(factor=lambda gamma, divisor: 1 / gamma / divisor), "norm-parts", "gamma divides", 36),
        (folding(lambda var, eps: 1 / fast_inverse_root(var + eps, 0)), "bn-root-estimated", "bits 0", 36),
        (folding(lambda var, eps: 1 / fast_inverse_root(var + eps, 1)), "bn-root-estimated", "bits 1", 36),
        (folding(factor=lambda gamma, divisor: gamma**2 / divisor), "bn-gamma-function", "squared", 36),
    ],
)
def test_a_fold_by_another_formula_is_one_fault_of_every_layer_that_was_folded(fold, bug, form, arrays):
    graph, params = beginning("v2", END)
    found = verify.verify(checkpoint(graph, params), exported(graph, params, fold))
    assert {(value.mistake.bug, value.mistake.form) for value in found.faults} == {(bug, form)}
    assert (len(found.faults), found.pattern.of, found.pattern.scope) == (arrays, 18, None)


@pytest.mark.parametrize(("made", "form"), [(np.abs, "absolute"), (lambda gamma: np.maximum(gamma, 0), "clipped")])
def test_a_fold_that_loses_the_sign_of_gamma_is_told_where_some_are_negative(made, form):
    graph, params = beginning("v2", END)
    gamma = "block2.depthwise.bn.gamma"
    params = {**params, gamma: np.where(np.arange(len(params[gamma])) % 5, params[gamma], -params[gamma])}
    fold = folding(factor=lambda gamma, divisor: made(gamma) / divisor)
    found = verify.verify(checkpoint(graph, params), exported(graph, params, only={"block2.depthwise": fold}))
    assert {(value.name, value.mistake.bug, value.mistake.form) for value in found.faults} == {
        (f"block2.depthwise.{slot}", "bn-gamma-function", form) for slot in "wb"
    }


def test_a_fold_that_is_made_twice_is_told_for_weights_alone_and_for_both():
    graph, params = beginning("v2", END)

    def again(w, b, gamma, beta, mean, var, eps):
        s = gamma.astype(np.float64) / np.sqrt(var.astype(np.float64) + eps)
        scale = s.reshape(-1, *(1,) * (w.ndim - 1))
        return w * scale**2, s * (s * (b - mean) + beta - mean) + beta

    for fold, form in ((again, "both"), (lambda *arrays: (again(*arrays)[0], folding()(*arrays)[1]), "weights")):
        found = verify.verify(checkpoint(graph, params), exported(graph, params, fold))
        assert {(value.mistake.bug, value.mistake.form) for value in found.faults} == {("fold-repeated", form)}


def test_the_fold_of_another_layer_names_that_layer():
    graph, params = beginning("v2", END)
    norm = [params[f"block2.depthwise.bn.{slot}"] for slot in ("gamma", "beta", "mean", "var")]
    only = {"block2.expand": lambda w, b, gamma, beta, mean, var, eps: folding()(w, b, *norm, eps)}
    faults = verify.verify(checkpoint(graph, params), exported(graph, params, only=only)).faults
    assert {(value.name, value.mistake.bug, value.mistake.facts["layer"]) for value in faults} == {
        (f"block2.expand.{slot}", "fold-elsewhere", "block2.depthwise") for slot in "wb"
    }


def test_pixels_normalisation_in_the_first_layer_is_told_in_pixels():
    graph, params = beginning("v2", END)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def within(w, b, *norm):
        w, b = folding()(w, b, *norm)
        w = w / std.reshape(1, -1, 1, 1)
        return w, b - (w * mean.reshape(1, -1, 1, 1)).sum(axis=(1, 2, 3))

    faults = verify.verify(checkpoint(graph, params), exported(graph, params, only={"stem.conv": within})).faults
    assert {value.name for value in faults} == {"stem.conv.w", "stem.conv.b"}
    assert [value.mistake.facts for value in faults] == [{"mean": tuple(mean), "std": tuple(std)}] * 2
