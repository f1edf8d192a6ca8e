"""Faults planted in copies of networks: each is found, at the right tensor, with the right kind, and nothing else is.

`PLAIN` edits arrays of a copy with its batch norm; `FOLDED` folds one layer wrongly; `EDITED` edits arrays of a folded
copy; `GRAPHS` edits the graph. The exporter is the tests' own, in float32.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exporting import beginning, checkpoint, exported, network, put
from planted_arrays import PLAIN, noise
from planted_folds import FOLDED

from refnet.graph import Graph
from refnet.report.differences import line
from refnet.report.differences import words as texts
from refnet.report.mistakes.arrays import detail
from refnet.verification.sides import pair
from refnet.verification.structure import structure_differences
from refnet.verification.values import match_arrays
from refnet.verification.verify import verify


def eps_of(family: str, name: str) -> float:
    return network(family)[0][name].attrs["eps"]


def faults(original, copy) -> dict[str, tuple[str, str]]:
    return {value.name: (value.kind, detail(value)) for value in match_arrays(pair(original, copy)) if value.fault}


@pytest.mark.parametrize("fault", PLAIN)
def test_an_edited_array_is_named(fault):
    family, tensor, edit, kind, words = PLAIN[fault]
    graph, params = network(family)
    edited = {**params, tensor: np.ascontiguousarray(edit(params[tensor]))}
    found = faults(checkpoint(graph, params), checkpoint(graph, edited, "copy"))
    assert list(found) == [tensor]
    assert found[tensor][0] == kind
    assert words in found[tensor][1]


@pytest.mark.parametrize(
    ("edit", "kind", "words"),
    [
        (np.zeros_like, "zeroed", "of the original: all its elements are zero"),
        (lambda w: w.byteswap(), "misread", "of the original: the bytes of every number"),
        (lambda w: np.rint(w / (step := np.abs(w).max() / np.float32(7))) * step, "stepped", "of the original: it is"),
    ],
)
def test_what_happened_to_the_original_is_said_of_it(edit, kind, words):
    graph, params = network("v2")
    name = "block8.project.w"
    found = faults(checkpoint(graph, {**params, name: edit(params[name])}), checkpoint(graph, params, "copy"))
    assert list(found) == [name]
    assert found[name][0] == kind
    assert found[name][1].startswith(words)


@pytest.mark.parametrize("fault", FOLDED)
def test_a_wrong_fold_is_named(fault):
    family, layer, fold, kinds, words = FOLDED[fault]
    graph, params = network(family)
    found = faults(checkpoint(graph, params), exported(graph, params, only={layer: fold}))
    told = {name: kind for name, (kind, _) in found.items()}
    if told.get(f"{layer}.b") in ("coarse", "short-first"):  # of a bias the sum hides which of its terms were rounded
        del told[f"{layer}.b"]
    assert told == {f"{layer}.{slot}": kind for slot, kind in kinds.items()}
    assert words in next(iter(found.values()))[1]


# (family, tensor, what it becomes, kind, words)
EDITED = {
    "transposed": ("v1", "block5.project.w", lambda w: w.T, "transposed", "CK"),
    "turned": ("v3-small", "block3.depthwise.w", lambda w: w[:, ::-1, ::-1], "turned", "180"),
    "permuted": ("v2", "block12.project.w", lambda w: w[::-1], "permuted", "reverse"),
    "bias permuted": ("v2", "block12.project.b", lambda b: np.roll(b, 2), "permuted", "rolled by 2"),
    "bias lost": ("v2", "block12.project.b", np.zeros_like, "lost", ""),
    "scaled": ("v3-large", "stem.conv.w", lambda w: w / np.float32(127.5), "scaled", "1/127.5"),
    "stale": ("mnasnet", "block9.project.w", lambda w: w + noise(w, 3e-2), "stale", "step"),
    "infinite": ("mnasnet", "block9.project.b", lambda b: put(b, 3, np.inf), "damaged", "[3], not finite"),
}


@pytest.mark.parametrize("fault", EDITED)
def test_an_edited_array_of_a_folded_copy_is_named(fault):
    family, tensor, edit, kind, words = EDITED[fault]
    graph, params = network(family)
    copy = exported(graph, params)
    copy = replace(copy, params={**copy.params, tensor: np.ascontiguousarray(edit(copy.params[tensor]))})
    found = faults(checkpoint(graph, params), copy)
    assert list(found) == [tensor]
    assert found[tensor][0] == kind
    assert words in found[tensor][1]


# (family, two layers)
EXCHANGED = {
    "two projections": ("v2", "block9.project", "block10.project"),
    "two depthwise": ("v1", "block8.depthwise", "block9.depthwise"),
    "two squeezes": ("v3-small", "block5.se.reduce", "block6.se.reduce"),
}


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("fault", EXCHANGED)
def test_exchanged_layers_are_told_by_each_others_names(fault, folded):
    family, one, other = EXCHANGED[fault]
    graph, params = network(family)
    copy = exported(graph, params) if folded else checkpoint(graph, dict(params), "copy")
    moved = dict(copy.params)
    for name in copy.params:
        for mine, theirs in ((one, other), (other, one)):
            if name.startswith(f"{mine}."):
                moved[name] = copy.params[theirs + name.removeprefix(mine)]
    found = faults(checkpoint(graph, params), replace(copy, params=moved))
    assert found
    for name, (kind, words) in found.items():
        mine, theirs = (one, other) if name.startswith(f"{one}.") else (other, one)
        assert kind == "misplaced", name
        assert theirs in words


def test_squeeze_and_excite_exchanged_within_a_block_is_told():
    graph, params = network("v3-small")
    names = ("block6.se.reduce.w", "block6.se.expand.w")
    moved = {**params, names[0]: params[names[1]].T.copy(), names[1]: params[names[0]].T.copy()}
    found = faults(checkpoint(graph, params), checkpoint(graph, moved, "copy"))
    assert {name: kind for name, (kind, _) in found.items()} == dict.fromkeys(names, "misplaced")


def test_other_training_is_told_once_and_for_all():
    graph, params = beginning("v2", "block6.add")
    other = {name: array + noise(array, 0.05) for name, array in params.items()}
    found = faults(checkpoint(graph, params), checkpoint(graph, other, "copy"))
    assert {kind for kind, _ in found.values()} == {"retrained"}


def edited(graph: Graph, name: str, **fields) -> Graph:
    attrs = {**graph[name].attrs, **fields.pop("attrs", {})}
    return Graph(
        graph.recipe,
        tuple(replace(node, attrs=attrs, **fields) if node.name == name else node for node in graph.nodes),
    )


# (family, node, other fields, kind, words)
GRAPHS = {
    "stride": ("v2", "block4.depthwise", {"attrs": {"stride": (1, 1)}}, "attribute", "stride (1, 1), not (2, 2)"),
    "pad": ("v3-large", "block2.depthwise", {"attrs": {"pad": ((1, 1), (1, 1))}}, "attribute", "pad ((1, 1), (1, 1))"),
    "dilation": ("v2", "block14.depthwise", {"attrs": {"dilation": (2, 2)}}, "attribute", "dilation (2, 2)"),
    "activation": ("v2", "block3.expand.act", {"op": "relu"}, "operation", "relu, not relu6"),
    "slope": ("v3-small", "block5.se.gate", {"attrs": {"slope": 0.2}}, "attribute", "slope 0.2"),
    "gate": ("v3-small", "block5.se.gate", {"op": "sigmoid", "attrs": {}}, "operation", "sigmoid"),
    "eps": ("v2", "block3.expand.bn", {"attrs": {"eps": 1e-3}}, "attribute", "eps 0.001, not 1e-05"),
    "reads": ("v2", "block6.add", {"inputs": ("block6.project.bn", "block4.project.bn")}, "attribute", "has inputs"),
}


@pytest.mark.parametrize("fault", GRAPHS)
def test_an_edited_graph_is_named(fault):
    family, node, fields, kind, words = GRAPHS[fault]
    graph, params = network(family)
    if fields.get("attrs") == {}:
        other = Graph(graph.recipe, tuple(replace(n, **fields) if n.name == node else n for n in graph.nodes))
    else:
        other = edited(graph, node, **fields)
    (found,) = structure_differences(checkpoint(graph, params), checkpoint(other, params, "copy"))
    assert found.needs == "structure"
    assert (found.node, texts(found).kind) == (node, kind)
    assert words in line(found)


def test_a_node_more_and_a_node_less_are_named():
    graph, params = network("v2")
    shortcut = graph["block3.add"]
    without = Graph(
        graph.recipe,
        tuple(
            replace(node, inputs=tuple(shortcut.inputs[1] if name == shortcut.name else name for name in node.inputs))
            for node in graph.nodes
            if node is not shortcut
        ),
    )
    there = structure_differences(checkpoint(graph, params), checkpoint(without, params, "copy"))
    assert ("block3.add", "missing") in [(change.node, change.key) for change in there]
    back = structure_differences(checkpoint(without, params), checkpoint(graph, params, "copy"))
    assert ("block3.add", "extra") in [(change.node, change.key) for change in back]


@pytest.mark.parametrize("fault", ["stride", "pad", "activation", "slope", "reads"])
def test_an_edited_graph_computes_something_else_at_that_node(fault):
    family, node, fields, _, _ = GRAPHS[fault]
    graph, params = network(family)
    found = verify(checkpoint(graph, params), checkpoint(edited(graph, node, **fields), params, "copy"))
    assert not found.holds
    assert found.behaviour.wrong[0] == node


def test_how_many_faults_there_are():
    assert len(PLAIN) + len(FOLDED) + len(EDITED) + 2 * len(EXCHANGED) + len(GRAPHS) >= 70
