"""Weights that are a function of their names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import strategies as some
from hypothesis import given

from refnet import Graph, Node, Recipe, build, random_input, random_params


def test_the_first_numbers_of_a_name_never_change():
    """The saved outputs rest on these bits."""
    params = random_params(build("torchvision/mobilenet_v2", width=0.35), np.float64)
    assert params["stem.conv.w"].ravel()[:2].tolist() == [-0.4012414216995239, -0.08551871031522751]


@given(some.graphs())
def test_every_parameter_is_there_in_its_shape(graph):
    params = random_params(graph)
    assert {name: array.shape for name, array in params.items()} == graph.params()
    assert all(array.dtype == np.float32 for array in params.values())


def test_values_do_not_depend_on_the_precision_asked_for():
    graph = build("torchvision/mobilenet_v3_small", width=0.35)
    wide = random_params(graph, np.float64)
    for name, array in random_params(graph).items():
        assert np.array_equal(array, wide[name]), name


def test_weights_are_scaled_by_their_fan_in():
    params = random_params(build("torchvision/mobilenet_v2"))
    for name, fan_in in (("head.logits.w", 1280), ("block10.depthwise.w", 9), ("stem.conv.w", 27)):
        assert params[name].std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.1)


def test_a_network_that_rescales_pixels_is_given_pixels():
    inside, outside = (random_input(build(f"keras/MobileNetV3Small{form}", size=32)) for form in ("", "@raw"))
    assert np.allclose(inside / 127.5 - 1, outside, atol=1e-6)


def test_what_a_network_of_ones_own_does_to_its_input_first_is_undone():
    """Rescaled by the network, the input is uniform in [-2, 2) as it is without."""
    first = Node("scaling", "affine", ("input",), {}, {"slope": 1 / 64, "offset": -1.0})
    graph = Graph(Recipe("", 1.0, (5, 7), 1), (first, Node("act", "relu", ("scaling",))))
    bare = replace(graph, nodes=(Node("act", "relu", ("input",)),))
    assert np.allclose(random_input(graph) / 64 - 1, random_input(bare), rtol=0, atol=2.0**-22)


def test_an_affine_map_of_an_input_that_something_else_reads_too_is_no_rescaling():
    nodes = (Node("a", "affine", ("input",), {}, {"slope": 2.0, "offset": 0.0}), Node("sum", "add", ("a", "input")))
    assert Graph(Recipe("", 1.0, (5, 7), 1), nodes).rescaling is None
