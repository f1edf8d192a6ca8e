"""One number in the open: its products make it, whatever the operation; the same picture for the same facts."""

from __future__ import annotations

import json
from contextlib import nullcontext
from xml.etree import ElementTree

import numpy as np
import pytest

from refnet import Network, RequestError, build, random_input, random_params
from refnet.cli import main
from refnet.study.explain import explain_number

GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(40, 48), classes=7)
NET = Network(GRAPH, random_params(GRAPH)).astype(np.float64)
X = random_input(GRAPH, 1, np.float64)
TENSORS = NET.trace(X)


def made(found):
    """What terms and bias make, by the kind alone."""
    products = [term.product for term in found.terms]
    if found.kind == "sum":
        return sum(products) + (found.bias or 0.0)
    return max(products) if found.kind == "largest" else products[0]


@pytest.mark.parametrize("name", [n.name for n in GRAPH.nodes if n.op not in ("relu", "hard_swish", "hard_sigmoid")])
def test_products_and_bias_make_the_number_at_every_corner(name):
    y = TENSORS[name][0]
    for at in {(0,) * y.ndim, tuple(side - 1 for side in y.shape), tuple(side // 2 for side in y.shape)}:
        if GRAPH[name].op == "scale":
            continue
        found = explain_number(NET, X, name, at)
        assert made(found) == pytest.approx(found.y, rel=1e-9, abs=1e-9)
        assert found.y == y[at]


def test_a_scale_is_a_number_times_its_gate():
    found = explain_number(NET, X, "block1.se.scale", (2, 1, 1))
    (term,) = found.terms
    assert (found.kind, term.product) == ("product", pytest.approx(found.y))


def test_what_follows_a_convolution_is_told():
    found = explain_number(NET, X, "block2.depthwise", (0, 1, 1))
    names = [node.name for node, _ in found.after]
    assert names == ["block2.depthwise.bn", "block2.depthwise.act"]
    assert [y for _, y in found.after] == [TENSORS[name][0, 0, 1, 1] for name in names]


def test_points_outside_the_image_are_counted():
    found = explain_number(NET, X, "stem.conv", (0, 0, 0))
    assert (len(found.terms), found.outside) == (3 * 4, 3 * 5)


def test_by_default_the_largest_number_is_taken():
    found = explain_number(NET, X, "block3.project")
    assert abs(found.y) == np.abs(TENSORS["block3.project"]).max()


def test_a_place_or_node_that_is_not_there_is_refused():
    with pytest.raises(RequestError, match="has no place 0,0,99"):
        explain_number(NET, X, "stem.conv", (0, 0, 99))
    with pytest.raises(RequestError, match=r"nearest: .*stem\.conv"):
        explain_number(NET, X, "stem.con")


def test_the_channel_is_enough_where_a_map_is_one_point():
    assert explain_number(NET, X, "head.logits", (3,)).at == explain_number(NET, X, "head.logits", (3, 0, 0)).at


def test_an_operation_whose_numbers_depend_on_all_others_is_refused():
    graph = build("keras/MobileNet", width=0.25, size=(32, 32), classes=4)
    with pytest.raises(RequestError, match="softmax makes no number of a few others"):
        explain_number(Network(graph, random_params(graph)), random_input(graph, 1), "output")


def test_the_command_prints_products_and_draws_them(capsys, tmp_path):
    paths = [tmp_path / "one.svg", tmp_path / "other.svg"]
    for path in paths:
        assert main(["explain", "block1.depthwise", "--at", "7,2,2", "-o", str(path)]) == 0
    out = capsys.readouterr().out
    assert "sum of 9 products" in out
    assert "batch_norm makes it" in out
    assert paths[0].read_bytes() == paths[1].read_bytes()
    root = ElementTree.parse(paths[0]).getroot()
    assert root.find("{*}title").text.startswith("block1.depthwise[7, 2, 2]")
    assert root.find("{*}desc").text
    assert main(["explain", "head.logits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(term["product"] for term in found["terms"]) + found["bias"] == pytest.approx(found["y"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--at", "a,b"), "is no place"),
        (("--at", "0"), "has no place 0"),
        (("--terms", "0"), "take at least 1"),
        (("-o", "x.jpg"), "written as .svg"),
    ],
)
def test_a_bad_request_is_refused_in_one_line(capsys, arguments, said):
    with pytest.raises(SystemExit) if arguments == ("--at", "a,b") else nullcontext() as caught:
        assert main(["explain", "block1.depthwise", *arguments]) == 2
    assert caught is None or caught.value.code == 2
    assert said in capsys.readouterr().err
