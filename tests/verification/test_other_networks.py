"""What explains all differences of two graphs at once: another network, another width, widths rounded otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest
from exporting import checkpoint

from refnet import build, random_params
from refnet.alignment.differences import Difference, Standing
from refnet.files.identify.notes import rounding_note
from refnet.networks.plan import WidthRule
from refnet.report.verdict import other_words, sentence
from refnet.verification.array_findings import ArrayFinding
from refnet.verification.behaviour import Behaviour
from refnet.verification.other_networks import other_network
from refnet.verification.sides import pair
from refnet.verification.structure import structure_differences
from refnet.verification.verify import Verified

V2, V3 = "torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small"


def file(model=V2, width=0.3, divisor=None):
    graph = build(model, width=width, size=(32, 32), classes=10, divisor=divisor)
    by = divisor if divisor is None or isinstance(divisor, WidthRule) else WidthRule.to(divisor)
    notes = () if by is None else (rounding_note(width, by),)
    return checkpoint(graph, random_params(graph), standing=Standing("known", model, width), notes=notes)


def found(original, copy):
    return other_network(original, copy, structure_differences(original, copy))


@pytest.mark.parametrize(
    ("original", "copy", "words"),
    [
        (file(), file(width=0.5), "the copy is of width 0.5, the original of width 0.3"),
        (
            file(width=0.29),  # whose channels are those of 0.3
            file(divisor=4),
            "both are of width 0.3, and the copy's channels are rounded to multiples of 4, "
            "the original's rounded to multiples of 8",
        ),
        (
            file(divisor=0),
            file(),
            "both are of width 0.3, and the copy's channels are rounded to multiples of 8, the original's cut off to "
            "whole numbers",
        ),
        (
            file(width=0.5),
            file(divisor=4),
            "the copy is of width 0.3, with channels rounded to multiples of 4, the original of width 0.5, with "
            "channels rounded to multiples of 8",
        ),
        (
            file(width=0.35),
            file(width=0.35, divisor=WidthRule(8, "plain")),  # whose first block has a shortcut
            "both are of width 0.35, and the copy's channels are rounded to multiples of 8 even where over 10 % is "
            "lost, the original's rounded to multiples of 8",
        ),
        (file(), file(V3), f"the copy is {V3}, the original {V2}"),
    ],
)
def test_what_explains_all_differences_is_said_at_once(original, copy, words):
    assert other_words(found(original, copy)) == words


def test_where_another_thing_differs_too_the_width_explains_not_all():
    copy = file(width=0.5)
    nodes = [replace(node, attrs={"eps": 0.1}) if node.op == "batch_norm" else node for node in copy.graph.nodes]
    assert found(file(), replace(copy, graph=replace(copy.graph, nodes=tuple(nodes)))) is None
    assert found(file(), file()) is None


def test_arrays_of_another_width_are_no_cause_of_their_own():
    sides, shape = pair(file(), file(width=0.5)), ArrayFinding("stem.conv.w", "shape", True)
    structure = structure_differences(sides.original, sides.copy)
    said = sentence(Verified(sides.original, sides, structure, (shape,), Behaviour(), (), ()))
    assert said.endswith("the original of width 0.3, so that their arrays cannot be held against each other")


def test_one_difference_at_many_nodes_is_said_once():
    one = file()
    structure = [Difference(name, "op", {"op": "relu6"}, {"op": "relu"}) for name in "abcde"]
    said = sentence(Verified(one, pair(one, one), tuple(structure), (), Behaviour(), (), ()))
    assert said == "not the same network: a is relu, not relu6, and likewise b, c, d, e"
