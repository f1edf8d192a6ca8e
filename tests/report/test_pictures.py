"""Pictures can be read: no words lie over others or beyond the edge, and a vector is bars on both sides of zero."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
from support import CHECKOUT

import refnet
from refnet.alignment.costs import diff_graphs
from refnet.report.explained import explanation_picture
from refnet.report.pictures.histograms import histogram_picture
from refnet.report.pictures.tiles import tiles_picture
from refnet.report.rows import network_picture
from refnet.report.side_by_side import diff_picture
from refnet.study.explain import explain_number
from refnet.study.histograms import node_histogram
from refnet.study.rows import layer_rows
from refnet.study.tiles import Tile, kernel_tiles, map_tiles

NET = refnet.load()
X = refnet.random_input(NET.graph, batch=1)
NUMBER = r"(-?[\d.]+)"


def pictures():
    for name in ("block1.depthwise", "block4.project", "block5.se.gate", "stem.bn"):
        yield f"explain {name}", explanation_picture(explain_number(NET, X, name))
    for model in ("refnet/digits", "torchvision/lraspp_mobilenet_v3_large", "timm/mobilenetv1_100"):
        graph = refnet.build(model)
        yield f"draw {model}", network_picture(graph, layer_rows(graph), model)
    for name in ("block1.depthwise", "block4.se.gate", "head.flatten"):
        yield f"show {name}", tiles_picture(map_tiles(NET, X, name), name)
    for name in ("block1.depthwise", "block4.se.gate", "head.logits"):
        yield f"show {name} --histogram", histogram_picture(node_histogram(NET, X, name), name)
    for pair in (
        ("article/torch_large", "paper/mobilenet_v3_large"),
        ("torchvision/lraspp_mobilenet_v3_large", "keras/MobileNet"),
        ("refnet/digits", "refnet/digits"),
    ):
        one, other = map(refnet.build, pair)
        yield f"diff {' '.join(pair)}", diff_picture(one, other, diff_graphs(one, other))
    for name in ("stem.conv", "block4.depthwise"):
        yield f"show {name} --kernels", tiles_picture(kernel_tiles(NET, name), name)


PICTURES = dict(pictures()) | {path.name: path.read_text() for path in (CHECKOUT / "docs/learn").glob("*.svg")}


@pytest.mark.parametrize("name", PICTURES)
def test_no_words_lie_over_others_or_beyond_the_edge(name):
    picture = PICTURES[name]
    width, height = (float(re.search(rf'{side}="{NUMBER}"', picture)[1]) for side in ("width", "height"))
    boxes = []
    for x, y, kind, words in re.findall(
        rf'<text x="{NUMBER}" y="{NUMBER}"(?: class="([^"]*)")?>([^<]*)</text>', picture
    ):
        size = 9.0 if "small" in kind else 12.0  # monospaced: a letter is six tenths of that wide
        wide = 0.6 * size * len(words.replace("&#x27;", "'"))
        left = float(x) - {"end": wide, "middle": wide / 2}.get(next(iter({"end", "middle"} & {*kind.split()}), ""), 0)
        boxes.append((left, float(y) - 0.75 * size, left + wide, float(y), words))
    assert len(boxes) > 2
    for left, top, right, bottom, words in boxes:
        assert 0 <= left <= right <= width, words
        assert 0 <= top <= bottom <= height, words
    for one, other in combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one[4], other[4])


def test_a_vector_is_bars_on_both_sides_of_zero():
    picture = tiles_picture([Tile("v", np.array([[2.0, -1.0, 0.0, 1.0]]))], "v")
    bars = [
        tuple(map(float, each))
        for each in re.findall(rf'<rect x="{NUMBER}" y="{NUMBER}" width="{NUMBER}" height="{NUMBER}"', picture)
    ]
    *bars, axis = bars
    zero = axis[1] + axis[3] / 2
    assert [round(height, 2) for *_, height in bars] == [64, 32, 0, 32]
    assert [top < zero - 1 for _, top, *_ in bars] == [True, False, False, True]


def test_letters_say_what_the_colours_of_two_graphs_say():
    one, other = refnet.build("paper/mobilenet_v3_large@wide_stem"), refnet.build("paper/mobilenet_v3_large")
    picture = diff_picture(one, other, diff_graphs(one, other))
    assert re.findall(r'class="small middle">(\S+)<', picture) == ["wa", "w", "+"]
    legend = {words[0]: words for words in re.findall(r">(\S  [^<]+: \d+)<", picture)}
    assert legend == {
        "+": "+  only the second has it: 1",
        "w": "w  other channels or kernel: 2",
        "a": "a  another activation: 1",
    }
    assert picture.count('stroke-dasharray="2 1"') == 1  # the layer that the first lacks
