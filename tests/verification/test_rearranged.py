"""Copies that compute the same by other numbers: each is told with what takes it back, and a part of one is a fault."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from exporting import checkpoint, network
from rearranging import block_ordered, both, copied, halves, moved, ordered, reversed_block, scaled, taken_back

from refnet.graph import Node
from refnet.report.mistakes.channels import rearrangement_words
from refnet.report.verdict import sentence
from refnet.report.verification import verification_document
from refnet.verification.verify import verify

SAME = {
    "a block's channels": ("v2", False, reversed_block("block3"), "of block3.expand the channels are in reverse order"),
    "folded": ("v2", True, reversed_block("block3"), ", which block3.project takes back"),
    "past a gate": ("v3-small", True, reversed_block("block4"), "of block4.expand, block4.se.expand the channels"),
    "past a sum": ("v2", False, halves, "of block2.project, block3.project the halves of the channels are exchanged"),
    "equalised": ("mnasnet", True, partial(scaled, one="block3.expand", other="block3.depthwise"), "scaled, by 0.2"),
    "equalised, not folded": (
        "mnasnet",
        False,
        partial(scaled, one="block3.depthwise", other="block3.project"),
        "of block3.depthwise channels are scaled, by 0.2268 to 4.401, which block3.project takes back",
    ),
    "ordered and equalised": ("mnasnet", True, both, "in reverse order and channels are scaled"),
    "signs of a linear pair": (
        "v2",
        False,
        partial(scaled, one="block1.project", other="block2.expand", signs=True),
        "channels have the opposite sign, which block2.expand takes back",
    ),
    "a bias that moved on": ("v2", True, moved, "of block1.project 8 of 8 channels have something added"),
    "in the norm": ("v2", False, taken_back, "the weights of block3.expand are scaled, which its own batch norm"),
}


@pytest.mark.parametrize("name", SAME)
def test_what_layers_take_back_is_the_same_network_and_is_told(name):
    family, fold, edit, words = SAME[name]
    found = verify(*copied(family, edit, fold=fold))
    assert found.holds
    assert "rearranged" in found.needs
    (one,) = found.rearranged.found
    assert words in rearrangement_words(one)
    assert rearrangement_words(one) in sentence(found)
    assert verification_document(found)["rearranged"][0]["made"] == one.made
    assert found.behaviour.counts["rounding"] > 20


def test_a_policy_may_refuse_it():
    found = verify(*copied("v2", reversed_block("block3")), allow=("folded",))
    assert not found.holds
    assert found.unmeant == ("rearranged",)
    assert "of block3.expand the channels are in reverse order" in sentence(found)


def test_factors_are_told_within_float16():
    edit = partial(scaled, one="block3.expand", other="block3.depthwise")
    found = verify(*copied("mnasnet", edit, fold=True, store=np.float16), allow=("folded", "float16", "rearranged"))
    assert found.holds
    assert found.rearranged.found[0].made == ("block3.expand",)


NOT_BACK = {
    "inputs alone": (
        "v2",
        lambda p: ordered(p, np.arange(48)[::-1], (), ("block3.project",)),
        "block3.project.w is permuted",
    ),
    "past relu6": ("v1", partial(scaled, one="block3.depthwise", other="block3.project"), "block3.depthwise"),
    "signs past relu": (
        "mnasnet",
        partial(scaled, one="block3.expand", other="block3.depthwise", signs=True),
        "block3.expand",
    ),
    "classes": ("v2", lambda p: ordered(p, np.arange(10)[::-1], ("head.logits",), ()), "head.logits.w is permuted"),
    "a kernel alone": (
        "v2",
        lambda p: p.update({"block3.depthwise.w": p["block3.depthwise.w"][::-1]}),
        "block3.depthwise.w is permuted",
    ),
    "a layer alone": ("v2", lambda p: ordered(p, np.arange(48)[::-1], ("block3.expand",), ()), "5 arrays of 2"),
    "colours": ("v2", lambda p: ordered(p, np.arange(3)[::-1], (), ("stem.conv",)), "stem.conv.w is permuted"),
}


@pytest.mark.parametrize("name", NOT_BACK)
def test_what_nothing_takes_back_is_a_fault(name):
    family, edit, words = NOT_BACK[name]
    found = verify(*copied(family, edit))
    assert found.rearranged is None
    assert words in sentence(found)


def test_a_fault_elsewhere_stays_one():
    def edit(p):
        block_ordered(p, "block3", lambda count: np.roll(np.arange(count), 1))
        p["block9.depthwise.w"] = p["block9.depthwise.w"][:, ::-1]

    found = verify(*copied("v2", edit))
    assert [value.name for value in found.faults] == ["block9.depthwise.w"]
    assert [each.made for each in found.rearranged.found] == [("block3.expand",)]


def without(name, *slots):
    """The channels of a block in reverse order, but for some arrays."""

    def edit(p):
        own = {f"{name}.{slot}": p[f"{name}.{slot}"] for slot in slots}
        reversed_block("block3")(p)
        p |= own

    return edit


NORM = ("gamma", "beta", "mean", "var")
LEFT = {
    "a norm": (False, "block3.depthwise.bn", NORM),
    "a first norm": (False, "block3.expand.bn", NORM),
    "statistics": (False, "block3.depthwise.bn", ("mean", "var")),
    "a bias": (True, "block3.depthwise", ("b",)),
    "weights beside a bias": (True, "block3.depthwise", ("w",)),
    "a middle layer": (True, "block3.depthwise", ("w", "b")),
    "a first layer": (True, "block3.expand", ("w", "b")),
    "a last layer": (False, "block3.project", ("w",)),
}


@pytest.mark.parametrize("name", LEFT)
def test_arrays_that_were_left_in_the_old_order_are_named_and_no_others(name):
    fold, layer, slots = LEFT[name]
    found = verify(*copied("v2", without(layer, *slots), fold=fold))
    assert {value.name for value in found.faults} == {f"{layer}.{slot}" for slot in slots}
    assert {value.kind for value in found.faults} == {"left-behind"}
    assert "left" in sentence(found)


@pytest.mark.parametrize(("divisor", "words"), [(4, ""), (6, "head.pool is 0.666667 times the mean of its map")])
def test_a_sum_whose_factor_is_in_the_weights_behind_it_is_the_mean(divisor, words):
    """Over 2 x 2 points; by another factor than a quarter the pool is off."""
    graph, params = network("v2")
    affine = Node("own", "affine", ("head.pool",), {}, {"slope": 4.0, "offset": 0.0})
    w = params["head.logits.w"] * np.float32(1 / divisor)
    copy = checkpoint(graph.inserted(affine, after="head.pool"), {**params, "head.logits.w": w}, "copy")
    found = verify(checkpoint(graph, params), copy)
    assert rearrangement_words(found.rearranged.found[0]).startswith(
        f"of head.pool channels are scaled, by {divisor}, which"
    )
    assert not found.faults
    assert found.holds is (not words)
    assert words in sentence(found)
