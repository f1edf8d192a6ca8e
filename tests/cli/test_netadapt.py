"""`refnet netadapt`: what it writes and says, that it goes on, and what it refuses."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from copy import copy
from io import StringIO
from xml.etree import ElementTree

import numpy as np
import pytest
from support import CHECKOUT

from refnet import load
from refnet.cli import main
from refnet.search.scan_task import accuracy_held_out, adaptation_scans

FEW = ("--kinds", "bottleneck", "--target", "0.985", "--jobs", "1")  # one step of three proposals
DIGITS = str(CHECKOUT / "weights/digits_weights.npz")


def use_few_scans(patch):
    """A tenth of the scans: what is asked here does not hang on how many there are."""
    scans = adaptation_scans()
    fewer = type(scans)(*(type(part)(part.x[::10], part.labels[::10]) for part in scans))
    patch.setattr("refnet.search.scan_task.adaptation_scans", lambda: fewer)
    patch.setattr("refnet.search.scan_task._targets", {})


@pytest.fixture(autouse=True)
def few_scans(monkeypatch):
    use_few_scans(monkeypatch)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with what a run wrote, and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        use_few_scans(patch)
        assert adapted(folder) == 0
    return folder, out.getvalue(), err.getvalue()


def adapted(folder, *words):
    return main(["netadapt", "--out", str(folder / "small.npz"), *FEW, *words])


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_writes_the_network_its_log_and_a_picture(run):
    folder, out, err = run
    assert sorted(files(folder)) == ["small.jsonl", "small.npz", "small.svg"]
    assert "block4.project" in out
    assert "all widths scaled" in out
    assert err.startswith("refnet: step 1: block4.project 16 -> 14, 98.5% of the latency, accuracy ")
    net = load(folder / "small.npz")
    assert net.graph["block4.project"].params["w"][0] == 14
    assert accuracy_held_out(net) > 0.9
    ElementTree.fromstring((folder / "small.svg").read_text())


def test_what_it_writes_goes_through_the_other_commands(run, tmp_path, capsys):
    small, made = str(run[0] / "small.npz"), str(tmp_path / "made.npz")
    assert main(["convert", small, made]) == 0
    assert main(["verify", made, "--against", small]) == 0
    assert main(["golden", small, "-o", str(tmp_path / "pack"), "--batch", "1", "--no-detectability"]) == 0
    capsys.readouterr()
    assert main(["verify", small, "--against", DIGITS]) == 1
    assert "block4.project has 16 channels, not 14, and likewise block5.project" in capsys.readouterr().out


def test_the_document_has_every_step_and_the_networks_side_by_side(tmp_path, capsys):
    adapted(tmp_path, "--json", "--quiet")
    said = json.loads(capsys.readouterr().out)
    assert [step["kept"] and step["kept"]["proposal"] for step in said["steps"]] == [None, "block4.project"]
    before, after, same, scaled = said["networks"]
    assert (before["latency"], after["latency"]) == (347496, 342184)
    assert max(same["latency"], scaled["latency"]) <= after["latency"]
    assert after["params"] < before["params"]


def test_a_run_that_lost_the_end_of_its_log_goes_on_to_the_same_files(run, tmp_path):
    whole = files(run[0])
    lines = whole["small.jsonl"].splitlines(keepends=True)
    (tmp_path / "small.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])
    assert adapted(tmp_path, "--resume") == 0
    assert files(tmp_path) == whole


def test_processes_make_the_same_bytes(tmp_path, capsys, monkeypatch):
    monkeypatch.undo()  # other processes would take all scans
    monkeypatch.setattr("refnet.search.scan_task.ScanTuning", lambda net: copy)
    for jobs in ("1", "2"):
        (tmp_path / jobs).mkdir()
        assert adapted(tmp_path / jobs, "--jobs", jobs) == 0
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_times_that_were_measured_are_in_the_log_and_are_not_measured_again(tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr("refnet.search.latency._time_layer", lambda layer: asked.append(layer) or layer.macs / 1e5)
    adapted(tmp_path, "--latency", "here")
    whole, count = files(tmp_path), len(asked)
    lines = [json.loads(line) for line in whole["small.jsonl"].splitlines()]
    names = [line["layer"] for line in lines if "layer" in line]
    assert len(set(names)) == len(names)
    assert len(names) <= count
    (tmp_path / "small.npz").unlink()
    assert adapted(tmp_path, "--latency", "here", "--resume") == 0
    assert [layer.name for layer in asked[count:] if layer.name in names] == []
    assert files(tmp_path) == whole


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--target", "0.2"), "the target 0.2 cannot be met: with every bottleneck at its smallest"),
        (("--target", "2"), "target 2.0: take a share of the latency between 0 and 1"),
        (("--latency", "cycles"), "cycles: no such table; latency is one of multiply-adds, bytes, here"),
        (("--metric", "speed"), "no metric is called 'speed'"),
        (("--kinds", "blocks"), "no kind of width is called 'blocks'"),
        (("--jobs", "0"), "--jobs 0: take at least 1"),
        (("--draw", "small.png"), "small.png: the picture is written as .svg"),
        (("--resume",), "no such log to go on with"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(words, line, tmp_path, capsys):
    assert adapted(tmp_path, *words) == 2
    said = capsys.readouterr()
    assert line in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "small.npz").exists()


def test_a_table_of_another_machine_is_told_with_the_proposal(tmp_path, capsys):
    from refnet.search.latency import LatencyTable
    from refnet.search.layers import layers

    LatencyTable("a chip", {layer.name: 1.0 for layer in layers(load().graph)}).write(tmp_path / "chip.json")
    assert adapted(tmp_path, "--latency", str(tmp_path / "chip.json")) == 2
    assert "step 1: block1.project 8 -> 4: the table of a chip has no time of the layer" in capsys.readouterr().err


def test_a_network_of_other_images_is_refused(tmp_path, capsys):
    from refnet import build, random_params, write_weights

    graph = build("torchvision/mobilenet_v3_small", width=0.25, size=64)
    write_weights(graph, random_params(graph, np.float32), tmp_path / "other.npz")
    assert adapted(tmp_path, "--weights", str(tmp_path / "other.npz"), "--width", "0.25", "--size", "64,64") == 2
    assert "give accuracy and fine_tune of your own" in capsys.readouterr().err
