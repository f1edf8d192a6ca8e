"""A small network, what it makes, and what is said of dumps of it that few ports would make."""

from __future__ import annotations

import numpy as np

from refnet import Row, Table, build, probe, random_params
from refnet.graph import SOURCE, Graph, interpret, walk
from refnet.judge.causes.budget import SearchBudget
from refnet.judge.tensors import Reference, judge_tensors
from refnet.readings import fast
from refnet.report.mistakes.bugs import of_port

ROWS = (
    Row(3, 16, 8, True, "relu", 2),
    Row(3, 24, 12, False, "relu", 2),
    Row(3, 32, 12, False, "relu", 1),
    Row(5, 48, 16, True, "hard_swish", 2),
    *4 * (Row(5, 32, 16, True, "hard_swish", 1),),
)
GRAPH = build(
    Table(stem=16, stem_act="hard_swish", rows=ROWS, last=48, hidden=32, act="hard_swish"), size=(40, 48), classes=6
)
PARAMS = random_params(GRAPH)
X = probe(GRAPH, 2)


def ran(change):
    """What a port dumps, in float32, some of whose nodes are computed otherwise."""
    made = {SOURCE: X}
    for node in GRAPH.nodes:
        y = change(node, made)
        if y is None:
            y = interpret(Graph(GRAPH.recipe, (node,)), fast, PARAMS, {name: made[name] for name in node.inputs})
        made[node.name] = np.asarray(y, np.float32)
    return made


def judged(dumped, params=PARAMS):
    golden = {SOURCE: X, **{node.name: y for node, y in walk(GRAPH, fast, params, {SOURCE: X})}}
    return judge_tensors(Reference.of(GRAPH, params, golden), dumped, partial=True, budget=SearchBudget(60))


def named(dumped):
    """The first cause of each wrong tensor, in words."""
    found = judged(dumped)
    assert found.wrong()
    return {of_port(causes[0].mistakes[0]) for causes in found.causes.values() if causes}


def is_short(node):
    """Of the first blocks, so that little is searched."""
    return node.name.startswith(("stem", "block1.", "block2.", "block3.", "block4."))
