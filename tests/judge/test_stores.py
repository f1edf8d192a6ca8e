"""A port that cuts every tensor off to a short format: some of its tensors do not show it by themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import build, probe, random_params
from refnet.bugs.catalogue import BUGS
from refnet.bugs.language.parts import Parts
from refnet.bugs.language.segments import cut
from refnet.bugs.numbers.manners import is_cut_off
from refnet.bugs.sites import styles
from refnet.graph import SOURCE, Graph, interpret
from refnet.judge.causes.stores import cut_off_stores
from refnet.judge.measures.yardstick import judge_segment
from refnet.judge.reference import Reference
from refnet.judge.tensors import judge_tensors
from refnet.network import Network
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings import fast
from refnet.readings.orders import half_away, rounded, truncated
from refnet.readings.precision import Precision

GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(32, 32), classes=10)
PARAMS = random_params(GRAPH)


X = probe(GRAPH, 1)
REFERENCE = Reference.of(GRAPH, PARAMS, Network(GRAPH, PARAMS).trace(X) | {SOURCE: X})


def cut_off(store):
    """What a port has that cuts every tensor off to a format."""
    kept, made = {*styles(GRAPH)["fused"]}, {SOURCE: X}
    for node in GRAPH.nodes:
        y = interpret(Graph(GRAPH.recipe, (node,)), fast, PARAMS, made)
        made[node.name] = truncated(y, store) if node.name in kept else y
    return {name: made[name] for name in kept}


def test_what_most_tensors_are_stored_in_explains_those_that_look_otherwise():
    store = "bfloat16"
    found = judge_tensors(REFERENCE, cut_off(store), partial=True)
    assert {cause.ids for name in found.wrong() for cause in found.causes[name]} == {("fp16-storage",)}
    (pattern,) = found.patterns
    assert (pattern.mistake.form, len(pattern.nodes)) == (f"{store} truncated", len(found.wrong()))
    assert found.misdumped == ()


def of_block(move, *, weights=None, folded=False):
    """What a port in bfloat16 has of a layer, as a segment: how its numbers and its weights were made short."""
    before, norm = GRAPH["block3.expand"].inputs[0], "block3.expand.bn"
    given = {before: rounded(REFERENCE.golden(before), "bfloat16")}
    segment = cut(Parts(GRAPH), PARAMS, norm, {**given, norm: REFERENCE.golden(norm)})
    graph, params = segment.graph, {name: PARAMS[name] for name in segment.graph.params()}
    if folded:
        graph, params = fold_batch_norm(graph, params)
    params = {name: weights(w.astype(np.float32), "bfloat16") if weights else w for name, w in params.items()}
    made = interpret(graph, fast, params, given).astype(np.float32)
    return replace(segment, candidate=move(made, "bfloat16"))


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("weights", [None, rounded, truncated])
@pytest.mark.parametrize(("move", "suspect"), [(truncated, True), (rounded, False), (half_away, False)])
def test_a_declared_format_has_no_room_for_what_is_cut_off_to_it(move, suspect, weights, folded):
    segment = of_block(move, weights=weights, folded=folded)
    found = cut_off_stores({segment.end: segment}, lambda _: Precision.of("bfloat16"))
    assert [cause.mistakes[0].form for cause in found.values()] == ["bfloat16 truncated"] * suspect


def test_few_numbers_may_lie_toward_zero_by_chance():
    segment = of_block(truncated)
    few = replace(segment, candidate=segment.candidate[:, :, :1, :1], view=lambda y: y[:, :, :1, :1])
    assert not is_cut_off(few, "bfloat16", Precision.of("bfloat16"))


def test_tensors_that_are_cut_off_to_the_declared_format_are_suspect_and_told_as_one():
    found = judge_tensors(REFERENCE, cut_off("bfloat16"), precision=Precision.of("bfloat16"), partial=True)
    assert len(found.wrong()) > len(cut_off("bfloat16")) / 2
    assert {cause.ids for name in found.wrong() for cause in found.causes[name]} == {("fp16-storage",)}
    (pattern,) = found.patterns
    assert pattern.mistake.form == "bfloat16 truncated"
    assert {*found.wrong()} <= {*pattern.nodes}


@pytest.mark.parametrize(("stored", "forms"), [(truncated, ["float16 truncated"]), (rounded, [])])
def test_arrays_of_float16_show_that_they_were_cut_off(stored, forms):
    trace = {SOURCE: X, "stem.conv": REFERENCE.golden("stem.conv")}
    trace["stem.conv"] = stored(trace["stem.conv"], "float16").astype(np.float16)
    segment = cut(Parts(GRAPH), PARAMS, "stem.conv", trace)
    assert [change.form for change in BUGS["fp16-storage"].changes(segment)] == forms


@pytest.mark.parametrize("short", [(0,), (1,), (0, 1)])
def test_what_a_gate_scales_may_be_read_in_a_short_format_or_the_gate_or_both(short):
    node = GRAPH["block1.se.scale"]
    read = [REFERENCE.golden(name) for name in node.inputs]
    y = np.multiply(*(rounded(x, "bfloat16") if index in short else x for index, x in enumerate(read)))
    segment = cut(Parts(GRAPH), PARAMS, node.name, {**dict(zip(node.inputs, read, strict=True)), node.name: y})
    fitting = [
        change.form
        for change in BUGS["factors-tf32"].changes(segment)
        if judge_segment(segment.changed(change), Precision.of("float32")).holds
    ]
    assert "read bfloat16" in fitting
    assert {*fitting} <= {"read bfloat16", "read bfloat16 truncated"}  # which are the same of few numbers


@pytest.mark.parametrize(("decimals", "ends"), [(6, ""), (4, ".w")])
def test_the_digits_of_several_layers_weights_are_said_too_where_much_else_explains_what_is_off(decimals, ends):
    """All arrays, or the weights alone."""
    few = {name: np.round(y.astype(np.float64), decimals).astype(np.float32) for name, y in PARAMS.items()}
    printed = {name: few[name] if name.endswith(ends) else y for name, y in PARAMS.items()}
    made = Network(GRAPH, printed).trace(X)
    found = judge_tensors(REFERENCE, {name: made[name] for name in styles(GRAPH)["fused"]}, partial=True)
    assert {found.causes[name][0].ids for name in found.wrong()} == {("weights-printed",)}
