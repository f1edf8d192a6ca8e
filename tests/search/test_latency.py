"""Tables of layers' times: measured, kept, read, summed, refused. No time is asserted."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest

from refnet import FormatError, RequestError, build
from refnet.cli import main
from refnet.search.latency import LatencyTable, layer_times, measured, read_latencies, this_machine, time_network
from refnet.search.layers import layers


@pytest.fixture(autouse=True)
def few_runs(monkeypatch):
    """Times are measured as ever, in as few runs as may be."""
    monkeypatch.setattr("refnet.search.latency._SECONDS", 0.0)


@pytest.fixture
def graph():
    return build("torchvision/mobilenet_v3_small", width=0.1, size=(32, 32))


def table_of(graph, ms=1.0, machine="a chip"):
    return LatencyTable(machine, {layer.name: ms for layer in layers(graph)})


def test_a_network_takes_the_sum_of_its_layers(graph):
    times = {layer.name: 0.5**index for index, layer in enumerate(layers(graph))}
    made = layer_times(graph, LatencyTable("a chip", times))
    assert [each.layer for each in made] == layers(graph)
    assert math.fsum(each.ms for each in made) == math.fsum(times[layer.name] for layer in layers(graph))


def test_what_was_measured_is_kept_and_not_measured_again(graph, tmp_path):
    made = measured([graph])
    assert made.machine == this_machine()
    assert set(made.layers) == {layer.name for layer in layers(graph)}
    assert all(ms > 0 for ms in made.layers.values())
    made.write(tmp_path / "table.json")
    assert read_latencies(tmp_path / "table.json") == made
    asked = []
    assert measured([graph], made, lambda done, total: asked.append(done)) == made
    assert asked == []


def test_only_what_a_table_lacks_is_measured(graph):
    known = table_of(graph, 7.0, this_machine())
    wider = build("torchvision/mobilenet_v3_small", width=0.25, size=(32, 32))
    made = measured([graph, wider], known)
    new = {layer.name for layer in layers(wider)} - known.layers.keys()
    assert set(made.layers) == known.layers.keys() | new
    assert all(made.layers[name] == 7.0 for name in known.layers)


def test_a_whole_network_takes_time(graph):
    assert time_network(graph) > 0


def test_a_table_of_another_machine_foretells_and_is_not_added_to(graph):
    table = table_of(graph)
    assert sum(each.ms for each in layer_times(graph, table)) == len(layers(graph))
    assert measured([graph], table) == table  # nothing is missing
    with pytest.raises(RequestError, match=r"the table is of a chip, and this is .*: begin another table here"):
        measured([build("torchvision/mobilenet_v2", width=0.1, size=(32, 32))], table)


def test_a_layer_without_a_time_is_named(graph):
    table = table_of(graph)
    missing = layers(graph)[3].name
    del table.layers[missing]
    with pytest.raises(RequestError) as refused:
        layer_times(graph, table)
    assert repr(missing) in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"format": "another"}, "its format is 'another'"),
        ({"unit": "s"}, "its unit is 's', not 'ms'"),
        ({"machine": 3}, "'machine' is missing or malformed"),
        ({"layers": []}, "'layers' is missing or malformed"),
        ({"layers": {"a": -1}}, "the layer 'a' takes -1"),
        ({"layers": {"a": "1"}}, "the layer 'a' takes 1: give milliseconds"),
        ({"layers": {"a": None}}, "the layer 'a' takes None"),
        ({"layers": {"a": True}}, "the layer 'a' takes True"),
        ({"layers": {"a": 1e999}}, "the layer 'a' takes inf"),
    ],
)
def test_a_table_with_what_is_no_time_is_refused(changed, why, tmp_path):
    said = {"format": "refnet latency table 1", "machine": "a chip", "unit": "ms", "layers": {}, **changed}
    (tmp_path / "t.json").write_text(json.dumps(said).replace("Infinity", "1e999"))
    with pytest.raises(FormatError) as refused:
        read_latencies(tmp_path / "t.json")
    assert why in str(refused.value)


def test_the_command_makes_a_table_and_then_needs_no_clock(tmp_path, capsys):
    asked = ["latency", "torchvision/mobilenet_v3_small", "--width", "0.1", "--size", "32,32"]
    assert main([*asked, "--table", str(tmp_path / "t.json"), "--measure", "--whole"]) == 0
    assert "measured" in capsys.readouterr().out
    assert main([*asked, "--table", str(tmp_path / "t.json"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["predicted_ms"] == pytest.approx(sum(layer["ms"] for layer in said["layers"]), rel=1e-12)
    assert said["measured_ms"] is None


def test_the_document_without_times_is_what_a_table_is_filled_in_by(capsys):
    assert main(["latency", "torchvision/mobilenet_v2", "--size", "64,64", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {layer["ms"] for layer in said["layers"]} == {None}
    assert [layer["layer"] for layer in said["layers"]] == [
        layer.name for layer in layers(build("torchvision/mobilenet_v2", size=64))
    ]
    assert np.isfinite(said["bytes"])


def test_a_table_that_is_not_there_is_refused(capsys):
    assert main(["latency", "torchvision/mobilenet_v2", "--table", "nothing.json"]) == 2
    assert "no such table; --measure makes one" in capsys.readouterr().err


def test_a_table_is_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "t.json")
    with pytest.raises(FormatError, match="not a regular file"):
        read_latencies(tmp_path / "t.json")
