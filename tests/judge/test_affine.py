"""What was done to the input, told from the end of a network alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.ways import Ways
from refnet.judge.scorecard import FAMILIES, subject
from refnet.judge.tensors import judge_tensors


@pytest.fixture(scope="module")
def small():
    return subject(FAMILIES["V1"], 1)


def ways(small, x):
    end = small.net.trace(x.astype(np.float32))[small.graph.output]
    given = {SOURCE: small.tensors[SOURCE], small.graph.output: end}
    return Ways(cut(Parts(small.graph), small.net.params, small.graph.output, given), SearchBudget(), long=True)


def pixels(small):
    pre = small.graph.recipe.preprocessing
    column = [np.reshape(each, (3, 1, 1)) for each in (pre.std, pre.mean)]
    return (small.tensors[SOURCE].astype(np.float64) * column[0] + column[1]) * pre.scale


def test_a_factor_and_an_offset_are_solved_for(small):
    (way,) = ways(small, 1.02 * small.tensors[SOURCE] + 0.1).scaled()
    assert way.mistake.bug == "input-solved"
    assert way.mistake.form == "times"
    assert way.mistake.facts == {"factor": 1.02, "offset": 0.1}


def test_a_small_factor_is_solved_for_through_weights_that_magnify_it():
    """Of a V2, whose result moves so wildly that no start of a coarse grid is near enough."""
    graph = build("torchvision/mobilenet_v2", width=0.35, size=(72, 88), classes=20)
    many = SimpleNamespace(graph=graph, net=Network(graph, random_params(graph)), tensors={SOURCE: probe(graph, 2)})
    found = [way.mistake.facts for way in ways(many, 1.05 * many.tensors[SOURCE]).scaled()]
    assert {"factor": 1.05, "offset": 0.0} in found


def test_a_rule_of_pixels_in_use_is_told_with_its_numbers(small):
    way = next(ways(small, (pixels(small) / 256 - 0.5) / 0.226).scaled())
    assert way.mistake.form == "rule"
    assert way.mistake.facts == {"scale": 256.0, "mean": (0.5,) * 3, "std": (0.226,) * 3}


def test_of_a_batch_whose_first_image_says_enough_a_rule_of_pixels_is_told_too():
    graph = build("timm/mobilenetv1_100", width=0.25, size=(32, 32), classes=200)
    many = SimpleNamespace(graph=graph, net=Network(graph, random_params(graph)), tensors={SOURCE: probe(graph, 2)})
    way = next(ways(many, (pixels(many) / 256 - 0.5) / 0.226).scaled())
    assert way.mistake.facts == {"scale": 256.0, "mean": (0.5,) * 3, "std": (0.226,) * 3}


def test_weights_that_are_wrong_are_no_rule_of_pixels(small):
    net = small.net
    params = {name: y * 1.5 if name == "block3.depthwise.bn.gamma" else y for name, y in net.params.items()}
    end = type(net)(net.graph, params).trace(small.tensors[SOURCE])[small.graph.output]
    given = {SOURCE: small.tensors[SOURCE], small.graph.output: end}
    whole = cut(Parts(small.graph), net.params, small.graph.output, given)
    assert not list(Ways(whole, SearchBudget(), long=True).scaled())


def test_the_input_is_looked_at_before_all_layers(small):
    """Where the colours are exchanged nothing else is run: that explains the end."""
    end = small.net.trace(np.ascontiguousarray(small.tensors[SOURCE][:, ::-1]))[small.graph.output]
    found = judge_tensors(small.reference, {small.graph.output: end}, partial=True)
    assert found.causes[small.graph.output][0].ids == ("input-bgr",)
    assert found.search.looked < found.search.ways / 4
