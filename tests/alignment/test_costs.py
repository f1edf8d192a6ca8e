"""Two graphs side by side: what each node costs, and what is saved."""

from __future__ import annotations

import pytest

from refnet import build
from refnet.alignment.costs import diff_graphs
from refnet.networks.rewrite import fold_graph
from refnet.readings.cost import cost

LARGE = "paper/mobilenet_v3_large"


def found(pairs):
    return {(pair.one and pair.one.node.name, pair.other and pair.other.node.name): pair.macs for pair in pairs}


def test_the_last_stage_saves_what_the_paper_says():
    made = diff_graphs(build(f"{LARGE}@original_last_stage"), build(LARGE))
    assert made.macs == -34_317_760
    saved = {names: macs for names, macs in found(made.pairs).items() if macs}
    assert saved == {
        ("block16.depthwise", None): -960 * 9 * 49,
        ("block16.project", None): -960 * 320 * 49,
        ("head.conv", "head.hidden"): 960 * 1280 - 320 * 1280 * 49,
    }


def test_the_narrow_stem_saves_what_the_paper_says():
    made = diff_graphs(build(f"{LARGE}@wide_stem"), build(LARGE))
    assert made.macs == -10_436_608
    assert {name for (name, _), macs in found(made.pairs).items() if macs} == {
        "stem.conv",
        "block1.depthwise",
        "block1.project",
    }
    assert [each.node for each in made.differences if each.key == "extra"] == ["block1.add"]


def test_both_redesigns_together_save_the_sum():
    made = diff_graphs(build(f"{LARGE}@original_last_stage+wide_stem"), build(LARGE))
    assert made.macs == -34_317_760 - 10_436_608


@pytest.mark.parametrize("other", ["torchvision/mobilenet_v2", "keras/MobileNet", "paper/lraspp_mobilenet_v3_small"])
def test_every_node_of_either_comes_once_and_the_totals_are_theirs(other):
    one, other = build("torchvision/mobilenet_v3_small", size=64), build(other, size=64)
    made = diff_graphs(one, other)
    assert [pair.one.node.name for pair in made.pairs if pair.one] == [node.name for node in one.nodes]
    names = [pair.other.node.name for pair in made.pairs if pair.other]
    assert sorted(names) == sorted(node.name for node in other.nodes)
    assert made.macs == sum(row.macs for row in cost(other)) - sum(row.macs for row in cost(one))
    assert made.params == sum(row.trainable for row in cost(other)) - sum(row.trainable for row in cost(one))


def test_a_folded_network_is_the_same_network():
    graph = build("torchvision/mobilenet_v3_small", size=64)
    made = diff_graphs(graph, fold_graph(graph))
    assert (made.macs, made.differences) == (0, ())
