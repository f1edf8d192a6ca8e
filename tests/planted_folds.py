"""One layer folded wrongly: by which fold, of what kinds its arrays are, and the words."""

from __future__ import annotations

import numpy as np
from exporting import textbook


def other_eps(eps):
    return lambda w, b, gamma, beta, mean, var, _: textbook(w, b, gamma, beta, mean, var, eps)


def wrong_axis(w, b, gamma, beta, mean, var, eps):
    s = gamma / np.sqrt(var + np.float32(eps))
    return w * np.resize(s, w.size).reshape(w.shape), beta - mean * s


# (family, layer, how it is folded, {slot: kind}, words)
FOLDED = {
    "1e-3 for 1e-5": ("v2", "block3.project", other_eps(1e-3), {"w": "eps", "b": "eps"}, "eps 0.001 instead of 1e-05"),
    "1e-5 for 1e-3": ("v1", "block3.project", other_eps(1e-5), {"w": "eps", "b": "eps"}, "eps 1e-05 instead of 0.001"),
    "no eps": ("v3-large", "block5.expand", other_eps(0.0), {"w": "eps", "b": "eps"}, "eps 0 instead"),
    "an eps of its own": ("v2", "block3.project", other_eps(0.0037), {"w": "eps", "b": "eps"}, "eps 0.0037"),
    "gamma ignored": (
        "v3-small",
        "block6.depthwise",
        lambda w, b, gamma, *rest: textbook(w, b, np.ones_like(gamma), *rest),
        {"w": "gamma-ignored", "b": "gamma-ignored"},
        "gamma is taken as 1",
    ),
    "mean forgotten": (
        "mnasnet",
        "block2.depthwise",
        lambda w, b, gamma, beta, mean, *rest: textbook(w, b, gamma, beta, 0 * mean, *rest),
        {"b": "mean-forgotten"},
        "the mean is forgotten",
    ),
    "own bias forgotten": (
        "article",
        "block2.expand",
        lambda w, b, *rest: textbook(w, 0 * b, *rest),
        {"b": "mean-forgotten"},
        "own bias is forgotten",
    ),
    "own bias unscaled": (
        "article",
        "block3.expand",
        lambda w, b, *rest: (textbook(w, b, *rest)[0], textbook(w, 0 * b, *rest)[1] + b),
        {"b": "fold-bias"},
        "unscaled",
    ),
    "beta forgotten": (
        "v1",
        "block6.project",
        lambda w, b, gamma, beta, *rest: textbook(w, b, gamma, 0 * beta, *rest),
        {"b": "mean-forgotten"},
        "beta is forgotten",
    ),
    "mean added": (
        "v2",
        "block6.project",
        lambda w, b, gamma, beta, mean, *rest: textbook(w, b, gamma, beta, -mean, *rest),
        {"b": "fold-bias"},
        "added",
    ),
    "mean and beta exchanged": (
        "v3-large",
        "block6.project",
        lambda w, b, gamma, beta, mean, *rest: textbook(w, b, gamma, mean, beta, *rest),
        {"b": "swapped"},
        "beta and mean are exchanged",
    ),
    "gamma and var exchanged": (
        "v3-large",
        "block6.project",
        lambda w, b, gamma, beta, mean, var, eps: textbook(w, b, var, beta, mean, gamma, eps),
        {"w": "swapped", "b": "swapped"},
        "gamma and var are exchanged",
    ),
    "no root": (
        "v2",
        "block6.depthwise",
        lambda w, b, gamma, beta, mean, var, eps: textbook(w, b, gamma, beta, mean, (var + eps) ** 2, 0),
        {"w": "var-std", "b": "var-std"},
        "instead of its root",
    ),
    "not folded": (
        "mnasnet",
        "block6.depthwise",
        lambda w, b, *rest: (w, b),
        {"w": "not-folded", "b": "lost"},
        "",
    ),
    "wrong axis": ("v2", "block6.depthwise", wrong_axis, {"w": "fold-axis"}, "wrong axis"),
    "transposed before": (
        "v1",
        "block5.project",
        lambda w, *rest: textbook(w.T, *rest),
        {"w": "transposed"},
        "before batch norm was folded",
    ),
    "channels exchanged before": (
        "v1",
        "block5.project",
        lambda w, *rest: textbook(w[[1, 0, *range(2, len(w))]], *rest),
        {"w": "permuted"},
        "channels 0 and 1 are exchanged, before",
    ),
    "folded in float16": (
        "v2",
        "block4.project",
        lambda *a: textbook(*(np.float16(each) for each in a[:-1]), a[-1]),
        {"w": "coarse"},
        "bits",
    ),
}
