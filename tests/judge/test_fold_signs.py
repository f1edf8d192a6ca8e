"""Folds that lose the sign of gamma are named, where only the folded arrays are known too."""

from __future__ import annotations

import numpy as np
import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE
from refnet.judge.measures.yardstick import fits
from refnet.judge.tensors import Reference, judge_tensors
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings.precision import Precision
from refnet.report.mistakes.bugs import of_port

GRAPH = build("torchvision/mobilenet_v2", width=0.5, size=(32, 40), classes=6)
PARAMS = random_params(GRAPH)
X = probe(GRAPH, 2)
NEGATIVE = (3, 11)
LOST = {"absolute": np.abs, "clipped": lambda gamma: np.maximum(gamma, 0)}


def traced(layer, change, fold):
    """A network of which some gammas are negative, with them changed: its graph, params and tensors."""
    name = f"{layer}.bn.gamma"
    gamma = PARAMS[name].copy()
    gamma[[*NEGATIVE]] *= -1
    graph, params = GRAPH, {**PARAMS, name: change(gamma)}
    graph, params = fold_batch_norm(graph, params) if fold else (graph, params)
    return graph, params, {SOURCE: X, **Network(graph, params).trace(X)}


def dumped(layer, form, end, *, fold=True):
    """A right network, and a port of which only the ends of blocks 3 and 4 are there."""
    graph, params, honest = traced(layer, lambda gamma: gamma, fold)
    *_, wrong = traced(layer, LOST[form], fold)
    names = ("block3.add", end)
    return Reference.of(graph, params, honest), {name: wrong[name] for name in names}


def changes(reference, held):
    """What may be wrong in block 4, by the error of its end; and which of it fits."""
    segment = cut(Parts(reference.graph), reference.params, "block4.project", {SOURCE: X, **held})
    found = list(BUGS["fold-sign"].changes(segment))
    return [change for change in found if fits(segment.changed(change), Precision.of("float32"))]


@pytest.mark.parametrize("form", LOST)
@pytest.mark.parametrize("layer", ["block4.expand", "block4.depthwise", "block4.project"])
def test_a_fold_that_loses_the_sign_of_gamma_is_told_at_the_end_of_its_block(layer, form):
    change = next(each for each in changes(*dumped(layer, form, "block4.project")) if each.node == layer)
    assert (change.form, change.facts["channels"]) == (form, NEGATIVE)
    assert "channels 3, 11 of" in of_port(change.of("fold-sign"))


def test_it_is_named_where_only_the_folded_arrays_are_known():
    reference, held = dumped("block4.depthwise", "absolute", "block4.project")
    (cause,) = judge_tensors(reference, held, partial=True).causes["block4.project"]
    assert (cause.ids, cause.nodes) == (("fold-sign",), ("block4.depthwise",))


def test_where_gamma_is_known_its_function_is_named():
    reference, held = dumped("block4.depthwise", "absolute", "block4.project.bn", fold=False)
    (cause,) = judge_tensors(reference, held, partial=True).causes["block4.project.bn"]
    assert [of_port(each) for each in cause.mistakes] == ["the absolute value of gamma is taken"]
    assert cause.nodes == ("block4.depthwise.bn",)


def test_channels_that_are_zero_are_not_said_to_have_lost_a_sign():
    graph, params, honest = traced("block4.depthwise", lambda gamma: gamma, True)
    zero = {f"block4.depthwise.{slot}": params[f"block4.depthwise.{slot}"].copy() for slot in "wb"}
    for array in zero.values():
        array[[*NEGATIVE]] = 0
    made = Network(graph, {**params, **zero}).trace(X)
    held = {name: made[name] for name in dumped("block4.depthwise", "absolute", "block4.project")[1]}
    assert changes(Reference.of(graph, params, honest), held) == []
