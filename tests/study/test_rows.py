"""A network row by row: the paper's integers, every node once, and drawn to scale."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from refnet import build
from refnet.cli import main
from refnet.networks.dialects import MODELS
from refnet.networks.tables import V2, V3_SMALL
from refnet.readings.cost import cost
from refnet.study.rows import layer_rows


@pytest.mark.parametrize(
    ("name", "source"), [("torchvision/mobilenet_v3_small", V3_SMALL), ("torchvision/mobilenet_v2", V2)]
)
def test_the_rows_of_blocks_are_the_papers(name, source):
    blocks = [row for row in layer_rows(build(name)) if row.block]
    assert len(blocks) == len(source.rows)
    for row, paper in zip(blocks, source.rows, strict=True):
        assert (row.kernel, row.out, row.stride) == ((paper.kernel,) * 2, paper.out, (paper.stride,) * 2)
        assert (row.expanded or row.source[0], bool(row.squeeze), row.act) == (paper.expanded, paper.se, paper.act)


@pytest.mark.parametrize("name", sorted({model for model in MODELS if "lraspp" not in model})[::7])
def test_every_node_is_in_one_row_and_costs_add_up(name):
    graph = build(name, size=(64, 64))
    rows, costs = layer_rows(graph), cost(graph)
    assert [node for row in rows for node in row.nodes] == [node.name for node in graph.nodes]
    assert sum(row.macs for row in rows) == sum(each.macs for each in costs)
    assert sum(row.params for row in rows) == sum(each.params for each in costs)


def test_a_shortcut_is_said_where_there_is_one():
    shortcuts = [row.block for row in layer_rows(build("torchvision/mobilenet_v3_small")) if row.shortcut]
    assert shortcuts == [3, 5, 6, 8, 10, 11]


def test_a_picture_has_a_box_for_each_layer_that_says_its_cost(tmp_path, capsys):
    paths = [tmp_path / "one.svg", tmp_path / "other.svg"]
    for path in paths:
        assert main(["draw", "torchvision/mobilenet_v3_small", "-o", str(path)]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    graph = build("torchvision/mobilenet_v3_small")
    hovers = [each.text for each in ElementTree.parse(paths[0]).getroot().iterfind(".//{*}rect/{*}title")]
    assert len(hovers) == len(graph.units())
    macs = sum(int(re.search(r"([\d,]+) MACs", text)[1].replace(",", "")) for text in hovers)
    assert macs == sum(row.macs for row in cost(graph))


def test_the_table_stands_for_the_picture(capsys):
    assert main(["draw", "torchvision/mobilenet_v3_small"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"block 4 +24x28x28 +5x5 +96 +40 +24 +hard_swish +2 ", out)


def test_summary_shows_the_rows_first_and_the_nodes_when_asked(capsys):
    assert main(["summary", "torchvision/mobilenet_v3_small"]) == 0
    assert "block 4 " in (first := capsys.readouterr().out)
    assert "block4.depthwise" not in first
    assert main(["summary", "torchvision/mobilenet_v3_small", "--nodes"]) == 0
    assert "block4.depthwise" in capsys.readouterr().out
    assert main(["summary", "torchvision/mobilenet_v3_small", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 16


def test_a_picture_that_is_no_svg_is_refused(capsys):
    assert main(["draw", "torchvision/mobilenet_v3_small", "-o", "x.png"]) == 2
    assert "written as .svg" in capsys.readouterr().err
