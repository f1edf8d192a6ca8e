"""Ports that compute the same by other numbers hold, with what they hold otherwise; what nothing takes back fails."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from exporting import network
from rearranging import both, copied, halves, moved, reversed_block, scaled

from refnet import Network, compare, probe, write_pack
from refnet.report.comparison import comparison_document
from refnet.report.mistakes.channels import otherwise_words

SAME = {
    "a block's channels": ("v2", False, reversed_block("block3"), "block3.expand to block3.depthwise.act the channels"),
    "past a gate": ("v3-small", True, reversed_block("block4"), "block4.expand to block4.se.scale the channels are in"),
    "past a sum": ("v2", False, halves, "block2.project to block3.add the halves of the channels are exchanged"),
    "equalised": (
        "mnasnet",
        False,
        partial(scaled, one="block3.depthwise", other="block3.project"),
        "block3.depthwise.bn to block3.depthwise.act channels are scaled, by 0.2268 to 4.401",
    ),
    "ordered and equalised": ("mnasnet", True, both, "in reverse order and channels are scaled, by 0.2"),
    "a bias that moved on": ("v2", True, moved, "In block1.project 8 of 8 channels have something added"),
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The pack of a family, folded or not, made once."""
    made = {}

    def of(family, fold):
        if (family, fold) not in made:
            graph, params = network(family)
            net = Network(graph, params)
            made[family, fold] = tmp_path_factory.mktemp("packs") / "pack"
            write_pack(net.fold() if fold else net, probe(graph, 1), made[family, fold])
        return made[family, fold]

    return of


def dumped(family, edit, fold=False):
    _, copy = copied(family, edit, fold=fold)
    x = probe(copy.graph, 1)
    return {"input": x, **Network(copy.graph, copy.params).astype(np.float32).trace(x)}


@pytest.mark.parametrize("name", SAME)
def test_a_port_that_takes_back_what_it_holds_otherwise_holds(name, packed):
    family, fold, edit, words = SAME[name]
    found = compare(packed(family, fold), dumped(family, edit, fold))
    assert found.holds
    (one,) = found.otherwise
    assert words in otherwise_words(one)
    assert otherwise_words(one) in comparison_document(found, pack="", candidate="", precision="")["notes"]


def test_a_tensor_that_is_scaled_alone_was_dumped_so_and_is_wrong(packed):
    tensors = dumped("v2", lambda params: None)
    act = "block3.expand.act"
    found = compare(packed("v2", False), {**tensors, act: 2 * tensors[act]}, explain=False)
    assert not found.otherwise
    assert found.wrong() == [act]


def test_what_is_not_taken_back_is_wrong(packed):
    found = compare(packed("mnasnet", False), dumped("mnasnet", one_side), explain=False)
    assert not found.otherwise
    assert "block3.depthwise" in found.wrong()


def one_side(params):
    params["block3.depthwise.w"] = params["block3.depthwise.w"][::-1]
