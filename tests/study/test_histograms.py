"""Counts of numbers: each number in one bar, zero an edge, and the same counts as picture, pixels and table."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from refnet import load
from refnet.cli import main
from refnet.files.digits import digits
from refnet.study.histograms import histogram_of

NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 6.0])


@given(arrays(np.float32, st.integers(1, 60), elements=NUMBERS))
def test_every_finite_number_is_counted_once_in_a_bar_that_has_it(values):
    found = histogram_of(values)
    finite = values[np.isfinite(values)].astype(np.float64)
    assert sum(found.counts) == len(finite) == found.size - found.others
    assert found.zeros == (finite == 0).sum()
    assert len(found.counts) <= 34
    below = sum(count for bar, count in enumerate(found.counts) if found.first + bar < 0)
    assert below == (finite < 0).sum()


def test_a_number_on_an_edge_belongs_above_it():
    found = histogram_of(np.arange(-16.0, 17.0))
    assert (found.step, found.first, found.counts) == (1.0, -16, (1,) * 33)
    assert (found.edges(0), found.edges(16)) == ((-16.0, -15.0), (0.0, 1.0))


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_numbers_that_are_all_alike_are_one_bar(value):
    assert histogram_of(np.full(5, value)).counts == (5,)


def test_the_counts_are_those_of_the_run(capsys):
    _, x, _ = digits().example()
    y = load().trace(x)["block2.depthwise"][0]
    assert main(["show", "block2.depthwise", "--histogram", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["numbers"] == y.size == sum(bar["count"] for bar in said["bars"])
    for bar in said["bars"]:
        inside = (y.astype(np.float64) >= bar["from"] - 1e-9) & (y.astype(np.float64) < bar["to"] - 1e-9)
        assert abs(int(inside.sum()) - bar["count"]) <= 1


def test_weights_are_counted_too_and_the_table_has_what_the_picture_has(tmp_path, capsys):
    assert main(["show", "stem.conv", "--kernels", "--histogram", "-o", str(tmp_path / "w.svg")]) == 0
    said = capsys.readouterr().out
    shown = ElementTree.parse(tmp_path / "w.svg").getroot()
    hovers = [each.text for each in shown.iter("{http://www.w3.org/2000/svg}title")][1:]
    rows = re.findall(r"^ *(-?[\d.e-]+) +(-?[\d.e-]+) +([\d,]+) ", said, re.MULTILINE)
    assert hovers == [f"{low} to {high}: {count}" for low, high, count in rows]
    assert sum(int(count.replace(",", "")) for *_, count in rows) == load().params["stem.conv.w"].size


def test_bars_below_zero_are_blue_in_a_png(tmp_path, capsys):
    assert main(["show", "stem.conv", "--kernels", "--histogram", "-o", str(tmp_path / "w.png")]) == 0
    pixels = np.array(Image.open(tmp_path / "w.png")).astype(int)
    blue, orange = (pixels == (33, 102, 172)).all(axis=2), (pixels == (179, 88, 6)).all(axis=2)
    assert blue.any()
    assert orange.any()
    assert np.nonzero(blue)[1].max() < np.nonzero(orange)[1].min()


def test_a_node_without_weights_is_refused_in_one_line(capsys):
    assert main(["show", "stem.act", "--kernels", "--histogram"]) == 2
    assert "has no weights" in capsys.readouterr().err
