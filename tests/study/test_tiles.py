"""Maps and kernels as pictures and figures: the same numbers in each, and the same bytes again."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from refnet import load
from refnet.cli import main
from refnet.files.digits import digits


@pytest.mark.parametrize("arguments", [("block1.depthwise",), ("stem.conv", "--kernels"), ("head.logits", "--kernels")])
def test_a_picture_is_written_alike_twice_and_figures_stand_for_it(arguments, tmp_path, capsys):
    paths = [tmp_path / "one.svg", tmp_path / "other.svg"]
    for path in paths:
        assert main(["show", *arguments, "-o", str(path)]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert ElementTree.parse(paths[0]).getroot().find("{*}desc").text.startswith("blue: below zero")
    assert "largest" in capsys.readouterr().out


def test_the_numbers_are_those_of_the_run(capsys):
    net = load()
    _, x, _ = digits().example()
    y = net.trace(x)["block2.depthwise"][0]
    assert main(["show", "block2.depthwise", "--json"]) == 0
    np.testing.assert_array_equal([tile["values"] for tile in json.loads(capsys.readouterr().out)], y.tolist())


def test_colours_diverge_around_zero_in_a_png(tmp_path, capsys):
    assert main(["show", "stem.conv", "--kernels", "-o", str(tmp_path / "k.png")]) == 0
    pixels = np.array(Image.open(tmp_path / "k.png")).astype(int)
    first = load().params["stem.conv.w"][0, 0, 0, 0]
    red, _, blue = pixels[4, 4]
    assert (red < blue) == (first < 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no.such",), "no node 'no.such'"),
        (("stem.act", "--kernels"), "has no weights"),
        (("stem.conv", "-o", "x.gif"), "written as .svg or .png"),
    ],
)
def test_a_bad_request_is_refused_in_one_line(capsys, arguments, said):
    assert main(["show", *arguments]) == 2
    assert said in capsys.readouterr().err
