"""Names of a port's own that count blocks, of a port whose maps have other sizes: which layer each row is of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import Network, build, random_params
from refnet.graph import SOURCE, Graph
from refnet.pack.matching.match import match_tensors
from refnet.pack.matching.roles import by_roles
from refnet.readings.shapes import shapes

GRAPH = build("timm/tf_mobilenetv3_small_100", width=0.35, size=(101, 88), classes=10)
FULL = {SOURCE: (1, *GRAPH.input_shape)} | {name: (1, *side) for name, side in shapes(GRAPH).items()}
FUSED = {"expand.act": "pw", "depthwise.act": "dw", "se.scale": "se", "project.bn": "pwl", "add": "out"}
UNFUSED = {"expand": "e", "expand.bn": "en", "expand.act": "ea", "depthwise": "d", "depthwise.bn": "dn"}
UNFUSED |= {"depthwise.act": "da", "project": "p", "project.bn": "pn"}


def called(words, first=1):
    """The names of a dump, in order of execution, by node."""
    parts = {node: node.removeprefix("block").partition(".") for node in FULL if node.startswith("block")}
    return {f"ir{int(n) - 1 + first}_{words[layer]}": node for node, (n, _, layer) in parts.items() if layer in words}


def smaller(names, last=False):
    """Shapes of a port whose maps have a row less."""
    found = {}
    for name, node in names.items():
        N, C, H, W = FULL[node]
        found[name] = (N, H - 1, W, C) if last else (N, C, H - 1, W)
    return found


@pytest.mark.parametrize("words", [FUSED, UNFUSED], ids=["fused", "unfused"])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("last", [False, True])
def test_rows_of_numbered_names_are_layers_whatever_the_sizes(words, first, last):
    names = called(words, first)
    assert by_roles(GRAPH, smaller(names, last), FULL, names) == names


def test_rows_of_a_folder_that_sorts_its_names_are_told_by_their_sizes():
    names = called(FUSED)
    assert by_roles(GRAPH, smaller(names), FULL, sorted(names)) == names


@pytest.mark.parametrize("prefix", ["mbv3/", "t{:02}_"])
def test_a_number_before_that_of_the_block_counts_nothing(prefix):
    names = {prefix.format(index) + name: node for index, (name, node) in enumerate(called(FUSED).items())}
    assert by_roles(GRAPH, smaller(names), FULL, names) == names


def test_the_ends_of_the_network_are_there_with_the_blocks():
    names = {"first": "stem.act", **called(FUSED), "behind": "head.act"}
    assert by_roles(GRAPH, smaller(names), FULL, names) == names


def test_rows_that_may_be_these_layers_or_those_are_told_nothing():
    names = called({"expand.bn": "a", "expand.act": "b"})
    assert by_roles(GRAPH, smaller(names), FULL, names) == {}


def test_rows_that_are_of_no_layer_are_told_nothing():
    names = called(FUSED)
    found = {name: (1, 1 + int(np.prod(shape[:2])), 5, 5) for name, shape in smaller(names).items()}
    assert by_roles(GRAPH, found, FULL, names) == {}


def test_maps_of_other_sizes_are_read_channels_last_where_all_have_them_there():
    names = called(FUSED)
    dump = {name: np.zeros(shape) for name, shape in smaller(names, last=True).items()}
    network = Network(GRAPH, random_params(GRAPH))
    golden = {name: np.random.default_rng(index).random(side) for index, (name, side) in enumerate(FULL.items())}
    found = match_tensors(dump, FULL, golden.__getitem__, network=network)
    assert {found.tensors[node].array.shape[1] for node in names.values()} == {FULL[node][1] for node in names.values()}


def test_a_network_whose_layers_count_nothing_has_no_rows():
    whole = {name: name.translate(str.maketrans("0123456789", "abcdefghij")) for name in FULL}
    nodes = tuple(
        replace(node, name=whole[node.name], inputs=tuple(map(whole.get, node.inputs))) for node in GRAPH.nodes
    )
    names = called(FUSED)
    full = {whole[name]: shape for name, shape in FULL.items()}
    assert by_roles(Graph(GRAPH.recipe, nodes), smaller(names), full, names) == {}
