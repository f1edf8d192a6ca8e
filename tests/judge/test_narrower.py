"""Layers of fewer channels by another rule for their number are told from the end alone, by that rule."""

from __future__ import annotations

import pytest

from refnet import Network, build, probe, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.bugs.systematic import changes_by_place
from refnet.graph import SOURCE
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.causes.ways import Ways
from refnet.judge.measures.yardstick import NEAR

GRAPH = build("torchvision/mobilenet_v3_small", width=0.6, size=(32, 32), classes=10)
NARROWER = ("squeeze-narrower", "widths-narrower")
NET, X = Network(GRAPH, random_params(GRAPH)), probe(GRAPH, 1)


def narrow(counts):
    """The network with so many channels of some layers alone."""
    params = dict(NET.params)
    for unit in GRAPH.units():
        for name in [f"{node.name}.{slot}" for node in unit.nodes for slot in node.params]:
            if unit.conv.name in counts and not name.endswith((".mean", ".var")):
                params[name] = params[name].copy()
                params[name][counts[unit.conv.name] :] = 0
    return Network(GRAPH, params)


def nearest(port):
    """What explains the end of a port best, of all that makes layers narrower everywhere, and what it leaves."""
    segment = cut(Parts(GRAPH), NET.params, GRAPH.output, {SOURCE: X, GRAPH.output: port.trace(X)[GRAPH.output]})
    ways = Ways(segment, SearchBudget(), long=True)
    best = min(ways.everywhere(BUGS[bug] for bug in NARROWER), key=lambda way: way.residual)
    assert best.residual < NEAR * ways.before
    return best.mistake.bug, best.mistake.form


def test_squeezes_of_a_quarter_that_is_not_rounded_are_told():
    counts = {
        block.squeeze.reduce.name: block.squeeze.reduce.params["w"][1] // 4
        for block in Parts(GRAPH).blocks
        if block.squeeze is not None
    }
    assert nearest(narrow(counts)) == ("squeeze-narrower", "expanded 4 cut")


@pytest.mark.parametrize("divisor", [0, 4])
def test_widths_that_all_layers_round_otherwise_are_told(divisor):
    other = build("torchvision/mobilenet_v3_small", width=0.6, size=(32, 32), classes=10, divisor=divisor)
    counts = {node.name: node.params["w"][0] for node in other.nodes if "w" in node.params}
    assert nearest(narrow(counts)) == ("widths-narrower", str(divisor or "cut"))


def test_layers_that_a_rule_leaves_as_they_are_or_makes_wider_are_no_places():
    segment = cut(Parts(GRAPH), NET.params, GRAPH.output, {SOURCE: X}, judged=False)
    for bug in NARROWER:
        for changes in changes_by_place(BUGS[bug], segment).values():
            assert all(change.facts["found"] < change.facts["known"] for change in changes.values())
