"""Weights of which signs, powers of two or few values are left, in all layers; and other weights that are so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exporting import beginning, checkpoint, exported, network

from refnet.report.verdict import sentence
from refnet.verification.sides import pair
from refnet.verification.values import match_arrays
from refnet.verification.verify import verify

END = "block6.project.act"  # so many layers tell what was done to all


def clustered(w, count=16):
    """Each weight the nearest of so many quantiles."""
    values = np.unique(np.quantile(w, (np.arange(count) + 0.5) / count).astype(np.float32))
    return values[np.searchsorted((values[1:] + values[:-1]) / 2, w)]


def binned(w):
    """Each weight the mean of its tenth part of them all."""
    order = w.ravel().argsort()
    made = np.empty_like(w.ravel())
    for part in np.array_split(order, 10):
        made[part] = w.ravel()[part].mean()
    return made.reshape(w.shape)


def sized(w, per):
    return np.abs(w).mean(axis=tuple(range(1, w.ndim)) if per == "channel" else None, keepdims=True)


def power(w, exponent=np.rint):
    return np.sign(w) * 2.0 ** exponent(np.log2(np.abs(w)))


def few_powers(w):
    """Seven powers and zero, as incremental quantisation takes them."""
    most = np.floor(np.log2(4 / 3 * np.abs(w).max()))
    nearest = np.floor(np.log2(4 / 3 * np.abs(w)))
    return np.where(nearest < most - 6, 0, np.sign(w) * 2.0 ** np.minimum(nearest, most))


MADE = {
    "mean": (lambda w: np.sign(w) * sized(w, "tensor"), "times the mean of their sizes, one for all"),
    "means": (lambda w: np.sign(w) * sized(w, "channel"), "times the mean of their sizes, one for each channel"),
    "signs": (np.sign, "only the signs of its weights are left, times a number, one for all"),
    "three": (lambda w: np.sign(w) * (np.abs(w) > 0.7 * sized(w, "")), "and zero for the smallest"),
    "exponent": (power, "every weight is a power of two, the exponent rounded"),
    "down": (lambda w: power(w, np.floor), "every weight is a power of two, cut off toward zero"),
    "up": (lambda w: power(w, np.ceil), "every weight is a power of two, the next larger one"),
    "powers": (few_powers, "every weight is the nearest power of two"),
    "nearest": (clustered, "each weight is the nearest of 16 values"),
    "bins": (binned, "each weight is one of 10 values, that of its place in the order of all"),
}


def made_so(file, move):
    moved = {
        name: move(array).astype(np.float32) if name.endswith(".w") else array for name, array in file.params.items()
    }
    return replace(file, params=moved)


@pytest.mark.parametrize("name", MADE)
def test_what_is_left_of_all_weights_is_one_sentence(name):
    move, words = MADE[name]
    graph, params = beginning("v1", END)
    copy = made_so(checkpoint(graph, params, "copy"), move)
    said = sentence(verify(checkpoint(graph, params), copy))
    count = sum(name.endswith(".w") for name in params)
    assert f"{count} arrays of weights of {count} of {count} layers have one fault: " in said
    assert said.endswith(words) or words in said


@pytest.mark.parametrize("name", ["means", "exponent", "nearest"])
def test_the_same_is_told_of_folded_weights(name):
    move, words = MADE[name]
    graph, params = beginning("v1", END)
    assert words in sentence(verify(checkpoint(graph, params), made_so(exported(graph, params), move)))


@pytest.mark.parametrize("name", MADE)
def test_other_weights_of_which_as_much_is_left_are_stale(name):
    """Trained on by a twentieth of themselves, and some signs are others."""
    rng, (move, _) = np.random.default_rng(0), MADE[name]
    graph, params = beginning("v1", END)
    other = {key: y * (1 + 0.5 * rng.normal(size=y.shape)) if key.endswith(".w") else y for key, y in params.items()}
    copy = made_so(checkpoint(graph, other, "copy"), move)
    kinds = {each.kind for each in match_arrays(pair(checkpoint(graph, params), copy)) if each.name.endswith(".w")}
    assert kinds <= {"stale", "retrained"}


def test_weights_of_which_few_became_equal_are_clustered_where_the_others_are_what_they_were():
    graph, params = network("v1")
    name = "stem.conv.w"
    w = params[name]
    copy = w.ravel().copy()
    for one in range(0, 20, 2):
        both = w.ravel().argsort()[one : one + 2]
        copy[both] = copy[both].mean()
    two = pair(checkpoint(graph, params), checkpoint(graph, {**params, name: copy.reshape(w.shape)}, "copy"))
    (value,) = [each for each in match_arrays(two) if each.name == name]
    assert (value.kind, value.mistake.form) == ("clustered", "order")
