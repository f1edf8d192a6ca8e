"""One over the root of a variance, as processors and short programs estimate it."""

from __future__ import annotations

import numpy as np
import pytest
from few_ports import GRAPH, PARAMS, X, judged

from refnet.bugs.layers.roots import _of_bits, _of_table
from refnet.graph import SOURCE, walk
from refnet.readings import fast
from refnet.report.mistakes.bugs import of_port


def test_arms_table_has_the_entries_of_its_manual_at_its_ends_and_where_its_halves_meet():
    """511 of 512 for 1, the least for what is next to 4, and 361 of 512 for 2; a quarter of a number doubles it."""
    x = np.float32([1.0, np.nextafter(np.float32(4), np.float32(0)), 2.0, 0.25])
    assert _of_table(x).tolist() == [511 / 512, 256 / 512, 361 / 512, 511 / 256]


@pytest.mark.parametrize(("estimate", "share"), [(_of_bits, 2**-4.8), (_of_table, 2**-8)])
def test_an_estimate_is_off_by_a_share_at_most_and_seldom_by_less_than_a_tenth_of_that(estimate, share):
    x = np.geomspace(1e-6, 1e6, 10_001, dtype=np.float32)
    off = np.abs(estimate(x) * np.sqrt(x.astype(np.float64)) - 1)
    assert off.max() < share
    assert np.mean(off < share / 10) < 0.25


@pytest.mark.parametrize(
    ("estimate", "words"), [(_of_bits, "the bits of a float"), (_of_table, "Arm's table (vrsqrte)")]
)
def test_batch_norms_of_which_all_estimate_the_root_are_one_sentence(estimate, words):
    estimated = dict(PARAMS)
    for node in GRAPH.nodes:
        if node.op == "batch_norm":
            x = PARAMS[f"{node.name}.var"] + np.float32(node.attrs["eps"])
            estimated[f"{node.name}.gamma"] = PARAMS[f"{node.name}.gamma"] * estimate(x) * np.sqrt(x)
    (pattern,) = judged({node.name: y for node, y in walk(GRAPH, fast, estimated, {SOURCE: X})}).patterns
    assert of_port(pattern.mistake) == (
        f"1 over the root of variance and eps is estimated by {words}, with none of Newton's steps"
    )


@pytest.mark.parametrize(
    ("least", "words"),
    [
        (np.sqrt(1e-3), "0.001 is taken for every variance below it, and eps is not added"),
        (1e-3, "0.001 is taken for every deviation below it, and eps is not added"),
    ],
)
def test_eps_as_a_floor_is_one_sentence(least, words):
    own = {}
    for name, y in PARAMS.items():  # gammas as small as deviations, or maps would grow from layer to layer
        power = {"var": 1.0, "gamma": 0.5}.get(name.rpartition(".")[2], 0.0)
        own[name] = y if not power else y * np.geomspace(1e-7, 1, len(y), dtype=y.dtype) ** np.float32(power)
    floored = dict(own)
    for node in GRAPH.nodes:
        if node.op == "batch_norm":
            var = own[f"{node.name}.var"].astype(np.float64)
            factor = np.sqrt(var + node.attrs["eps"]) / np.maximum(np.sqrt(var), least)
            floored[f"{node.name}.gamma"] = (own[f"{node.name}.gamma"] * factor).astype(np.float32)
    tensors = {node.name: y for node, y in walk(GRAPH, fast, floored, {SOURCE: X})}
    (pattern,) = judged(tensors, own).patterns
    assert of_port(pattern.mistake) == words
