"""What a search judges by: layers' times by any table, the proxy of accuracy, and the command. No time is asserted."""

from __future__ import annotations

import json
import signal
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet import RequestError, build
from refnet.cli import main
from refnet.search.latency import LatencyTable, read_latencies, this_machine
from refnet.search.layers import layers
from refnet.search.models import LayerClock
from refnet.search.on_digits import held_out_accuracy, layers_of_space, proxy_accuracy
from refnet.search.space import DIGITS, decisions, table_of

SMALLEST = table_of(DIGITS, (0,) * 24)


@pytest.fixture(scope="module")
def listed():
    return {layer.name: layer for layer in layers_of_space(DIGITS, (32, 32), 10)}


@pytest.fixture(scope="module")
def chip(listed, tmp_path_factory):
    """A table of another machine, with every layer that it is asked for."""
    path = tmp_path_factory.mktemp("chip") / "chip.json"
    known = {name: layer.macs / 2e6 + 0.01 for name, layer in listed.items()}
    known |= {layer.name: 0.05 for layer in layers(build("refnet/digits"))}
    LatencyTable("a chip", known).write(path)
    return path


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_every_layer_of_every_point_is_listed(listed, data):
    point = tuple(data.draw(st.integers(0, len(decision.options) - 1)) for decision in decisions(DIGITS))
    graph = build(table_of(DIGITS, point), size=(32, 32), classes=10)
    assert {layer.name for layer in layers(graph)} <= listed.keys()


def test_the_proxy_is_a_share_that_is_better_than_chance():
    graph = build(SMALLEST, size=(32, 32), classes=10)
    assert 0.2 < proxy_accuracy(graph) < 1
    assert 0.2 < held_out_accuracy(graph) < 1


def test_a_clock_of_this_machine_measures_what_it_lacks_and_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setattr("refnet.search.latency._SECONDS", 0.0)
    graph, path = build(SMALLEST, size=(32, 32), classes=10), tmp_path / "here.json"
    clock = LayerClock(grown=lambda table, times: table.write(path))
    took = clock(graph)
    assert took == clock(graph) > 0
    assert read_latencies(path) == clock.table
    assert clock.table.machine == this_machine()


def test_a_clock_of_another_machine_measures_nothing():
    graph = build(SMALLEST, size=(32, 32), classes=10)
    known = {layer.name: 1.0 for layer in layers(graph)}
    missing = known.popitem()[0]
    with pytest.raises(RequestError) as refused:
        LayerClock(LatencyTable("a chip", known))(graph)
    assert f"the table of a chip has no time of the layer {missing!r}" in str(refused.value)


def test_a_search_can_be_ended_once_it_has_written_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr("refnet.search.latency._time_layer", lambda layer: layer.macs / 1e5)
    monkeypatch.setattr("refnet.search.on_digits.proxy_accuracy", lambda graph: signal.raise_signal(signal.SIGTERM))
    table = tmp_path / "here.json"
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["search", "--budget", "1", "--table", str(table)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 128 + signal.SIGTERM
    assert read_latencies(table).layers


def test_the_command_searches_keeps_a_log_goes_on_and_draws(chip, tmp_path, capsys, monkeypatch):
    for name in ("proxy_accuracy", "held_out_accuracy"):  # which have a test of their own, and take seconds
        monkeypatch.setattr(f"refnet.search.on_digits.{name}", lambda graph: 1 - 1 / len(layers(graph)))
    log, picture = tmp_path / "log.jsonl", tmp_path / "front.svg"
    asked = ["search", "--table", str(chip), "--budget", "2", "--log", str(log)]
    assert main([*asked, "-o", str(picture)]) == 0
    said = capsys.readouterr()
    assert "on a chip" in said.out
    assert "trial 1 of 2" in said.err
    assert "accuracy" in ET.parse(picture).getroot()[0].text.lower()
    log.write_bytes(b"\n".join(log.read_bytes().split(b"\n")[:2]) + b"\n")  # killed after the first
    assert main([*asked, "--resume", "--beside", str(log), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    mine, beside = document["searches"]
    assert mine["trials"][0] == beside["trials"][0]
    assert (len(mine["trials"]), len(beside["trials"])) == (2, 1)
    assert all(0 <= trial["held_out"] <= 1 for trial in document["front"])


def test_what_a_latency_must_buy_is_drawn(tmp_path):
    assert main(["search", "--objective", str(tmp_path / "why.svg")]) == 0
    words = ET.parse(tmp_path / "why.svg").getroot()[1].text
    assert "5.0% at w = -0.07 and 11.0% at w = -0.15" in words
    assert "0.10 for Large and 0.15 for Small" in words


def test_what_is_listed_is_what_a_table_needs(listed, capsys):
    assert main(["search", "--layers"]) == 0
    said = {layer["layer"] for layer in json.loads(capsys.readouterr().out)["layers"]}
    assert said == listed.keys() | {layer.name for layer in layers(build("refnet/digits"))}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "0"], "the target is 0.0"),
        (["--target", "-3"], "the target is -3.0"),
        (["--target", "nan"], "the target is nan"),
        (["--exponent", "0.07"], "the exponent is 0.07"),
        (["--exponent", "nan"], "the exponent is nan"),
        (["--budget", "0"], "the budget is 0"),
        (["--seed", "-1"], "the seed is -1"),
        (["--by", "luck"], "nothing proposes by 'luck'"),
        (["-o", "front.png"], "the picture is written as .svg"),
        (["--objective", "nowhere/why.svg"], "is no folder to write into"),
        (["--beside", "nothing.jsonl"], "cannot be read"),
        (["--log", "nowhere/log.jsonl"], "is no folder to write into"),
        (["--resume"], "--resume goes with --log"),
    ],
)
def test_what_is_no_search_is_one_line(words, said, chip, capsys):
    assert main(["search", "--table", str(chip), *words]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


def test_a_table_without_a_layer_names_the_trial_and_keeps_the_log(chip, tmp_path, capsys):
    known = json.loads(chip.read_text())
    graph = build("refnet/digits")
    known["layers"] = {layer.name: 1.0 for layer in layers(graph)}
    (tmp_path / "t.json").write_text(json.dumps(known))
    log = tmp_path / "log.jsonl"
    assert main(["search", "--table", str(tmp_path / "t.json"), "--log", str(log)]) == 2
    line = capsys.readouterr().err
    assert "trial 1 (" in line
    assert "the table of a chip has no time of the layer" in line
    assert len(log.read_text().splitlines()) == 1
    assert np.isfinite(json.loads(log.read_text())["target_ms"])
