"""Functions that stand in an activation's place are what their names say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, ndtr

from refnet.bugs.layers.functions import FUNCTIONS
from refnet.graph import SOURCE, Graph, Node, Recipe, interpret
from refnet.readings import fast
from refnet.readings.bounds import Precision, bound


def elu(x):
    return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


FORMULAS = {
    "gelu": lambda x: x * ndtr(x),
    "gelu tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "gelu sigmoid": lambda x: x * expit(1.702 * x),
    "hard fifth": lambda x: x * (0.2 * x + 0.5).clip(0, 1),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "elu": elu,
    "selu": lambda x: 1.0507009873554805 * np.where(x < 0, 1.6732632423543772 * elu(x), x),
}


X = np.concatenate([np.linspace(-40, 40, 8001), [-1e4, 1e4]]).reshape(1, 1, 1, -1)


def nodes_of(name):
    return Graph(Recipe("", 1.0, (1, X.size), 1, 1), FUNCTIONS[name](Node("act", "relu", (SOURCE,))))


@pytest.mark.parametrize("name", FORMULAS)
def test_a_function_made_of_nodes_is_its_formula_but_for_what_float32_leaves(name):
    y = interpret(nodes_of(name), fast, {}, {SOURCE: X})
    assert np.abs(y - FORMULAS[name](X)).max() < 1e-7


@pytest.mark.parametrize("name", FORMULAS)
def test_no_function_has_room_for_another_one(name):
    """Rounding of its nodes leaves a small part of a tensor of usual size, however far from zero some numbers are."""
    made = bound(nodes_of(name), {}, {SOURCE: X}, Precision.of("float32"))
    near = np.abs(X) <= 40
    assert (np.asarray(made.expected) <= 1e-3 * np.maximum(np.abs(X), 1))[near].all()
