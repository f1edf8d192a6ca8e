"""Arrays that a loader gave to another block of the same shapes are told from the end alone, and between two sums."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from refnet import Network, Row, Table, build, probe, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.graph import SOURCE
from refnet.judge.causes.varying import kind_of, varying
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings.bounds import Precision
from refnet.report.mistakes.bugs import of_port

V3 = (  # blocks 2 to 5 are alike
    Row(3, 16, 8, False, "relu", 2),
    *4 * (Row(3, 24, 8, True, "hard_swish", 1),),
)
CHAIN = (  # blocks 2 to 6 are alike, and have no shortcut
    Row(3, 8, 8, False, "relu", 2),
    *5 * (Row(3, 16, 8, False, "relu", 1, False),),
)
V1 = Row(3, 8, 16, False, "relu", 2), *5 * (Row(3, 16, 16, False, "relu", 1),)  # blocks 2 to 6 are alike
TABLES = {"V3": V3, "chain": CHAIN, "V1": V1}


@cache
def network(kind):
    table = Table(stem=8, rows=TABLES[kind], last=None if kind == "V1" else 32, bottleneck=kind != "V1")
    graph = build(table, size=(24, 40), classes=12)
    return Network(graph, random_params(graph)), probe(graph, 1)


def loaded(kind, of, part=""):
    """A network whose blocks, or one layer of them, have the arrays of others."""
    net, _ = network(kind)
    params = dict(net.params)
    for block, other in of.items():
        mine, theirs = (f"block{number}.{part}" for number in (block, other))
        params |= {mine + name[len(theirs) :]: y for name, y in net.params.items() if name.startswith(theirs)}
    return Network(net.graph, params)


def said(kind, port, *dumped):
    """The one cause of each wrong tensor, in words, and what is right."""
    net, x = network(kind)
    exact = net.astype(np.float64).trace(x.astype(np.float64))
    tensors = {name: y for name, y in port.trace(x).items() if name in (dumped or ("head.flatten",))}
    reference = Reference.of(net.graph, net.params, {SOURCE: x, **exact})
    found = judge_tensors(reference, tensors, precision=Precision.of("float32"), partial=True)
    return {name: [[of_port(each) for each in one.mistakes] for one in found.causes[name]] for name in found.wrong()}


@pytest.mark.parametrize(
    ("kind", "of", "words"),
    [
        ("V3", {4: 3}, "block 4 has the weights of block 3"),
        ("chain", {3: 5, 5: 3}, "blocks 3 and 5 have each other's weights"),
        (
            "chain",
            {3: 2, 4: 3, 5: 4, 6: 5},
            "of blocks 2 to 6, each but the first has the weights of the one before",
        ),
        (
            "chain",
            {2: 3, 3: 4, 4: 5, 5: 6},
            "of blocks 2 to 6, each but the last has the weights of the one behind",
        ),
        ("chain", {2: 6, 3: 5, 5: 3, 6: 2}, "blocks 2 to 6 have their weights in reverse order"),
    ],
)
def test_blocks_with_weights_of_others_are_told_from_the_end_alone(kind, of, words):
    assert said(kind, loaded(kind, of)) == {"head.flatten": [[words]]}


@pytest.mark.parametrize(
    ("kind", "block", "other", "part", "words"),
    [
        ("V1", 5, 4, "depthwise", "it has the weights and the batch norm of block4.depthwise"),
        ("V3", 4, 2, "project.bn", "it has the batch norm of block2.project"),
        ("V3", 5, 3, "se.reduce", "it has the weights of block3.se.reduce"),
    ],
)
def test_a_layer_with_the_weights_of_another_block_is_told_from_the_end_alone(kind, block, other, part, words):
    assert said(kind, loaded(kind, {block: other}, part)) == {"head.flatten": [[words]]}


def test_a_block_between_two_dumped_sums_is_told_and_those_behind_it_are_right():
    sums = tuple(f"block{number}.add" for number in (2, 3, 4, 5))
    assert said("V3", loaded("V3", {3: 5}), *sums, "head.flatten") == {
        "block3.add": [["block 3 has the weights of block 5"]]
    }


def test_blocks_between_dumped_sums_that_each_have_the_weights_of_the_one_before_are_of_one_kind():
    net, x = network("V3")
    parts, params = Parts(net.graph), net.params
    tensors = {SOURCE: x, **net.trace(x)}
    kept = {name: tensors[name] for name in (SOURCE, "block2.add", "block3.add", "block4.add")}
    made = {}
    for end in ("block3.add", "block4.add"):
        changes = BUGS["block-elsewhere"].changes(cut(parts, params, end, kept))
        made[end] = next(each.of("block-elsewhere") for each in changes if each.kind == "before 1")
    assert len({kind_of(each) for each in made.values()}) == 1
    assert of_port(varying(made, parts)) == "all layers of its block have the numbers of those one block before"
