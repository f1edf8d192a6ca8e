"""refnet compare, probe and scorecard as a porter meets them."""

from __future__ import annotations

import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from refnet import Network
from refnet.cli import main
from refnet.judge import scorecard
from refnet.judge.compare import compare
from refnet.judge.verdicts import FAILING
from refnet.pack.pack import read_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("packs") / "golden"
    argv = ["golden", "torchvision/mobilenet_v3_small", "--width", "0.35", "--size", "40,56", "--classes", "6"]
    assert main([*argv, "--batch", "1", "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def tensors(pack):
    golden = read_pack(pack)
    return Network(golden.graph, dict(golden.params)).trace(golden.tensor("input"))


def dumped(folder, tensors):
    folder.mkdir()
    for name, y in tensors.items():
        np.save(folder / f"{name}.npy", y)
    return str(folder)


def archived(folder, tensors):
    """The same in one file, where nothing is asked of the files."""
    path = folder.with_suffix(".npz")
    np.savez(path, **tensors)
    return str(path)


def compared(capsys, *argv):
    status = main(["compare", *argv, "--json"])
    out, err = capsys.readouterr()
    assert out, err
    return status, json.loads(out)


def refused(capsys, *argv):
    try:
        status = main(["compare", *argv])
    except SystemExit as leaving:
        status = leaving.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    return err


def test_an_honest_port_holds(pack, tensors, tmp_path, capsys):
    status, found = compared(capsys, str(pack), dumped(tmp_path / "port", tensors))
    assert (status, found["verdict"], found["causes"], found["unmatched"]) == (0, "holds", [], [])
    assert [entry["name"] for entry in found["tensors"]] == ["input", *tensors]


def test_a_wrong_port_is_told_which_layer_and_why(pack, tensors, tmp_path, capsys):
    x = tensors["block4.se.expand"]
    wrong = {**tensors, "block4.se.gate": np.clip(x * np.float32(0.2) + np.float32(0.5), 0, 1)}
    wrong["block4.se.scale"] = tensors["block4.depthwise.act"] * wrong["block4.se.gate"]
    wrong = {name: y for name, y in wrong.items() if name in list(tensors)[: list(tensors).index("block4.project")]}
    port = archived(tmp_path / "port", wrong)
    assert main(["compare", str(pack), port, "--partial"]) == 1
    words = "block4.se.gate: wrong. It equals the reference when the gate is clip(0.2 x + 0.5, 0, 1) [hsigmoid-slope]."
    assert words in capsys.readouterr().out
    _, found = compared(capsys, str(pack), port, "--partial")
    assert [entry["name"] for entry in found["tensors"] if entry["verdict"] in FAILING[:4]] == ["block4.se.gate"]
    assert found["causes"][0]["id"] == "hsigmoid-slope"
    assert found["causes"][0]["link"].startswith("https://")


def test_names_of_its_own_are_matched_by_content(pack, tensors, tmp_path, capsys):
    renamed = {f"t{index:03d}": y for index, y in enumerate(tensors.values())}
    status, found = compared(capsys, str(pack), archived(tmp_path / "port", renamed))
    assert status == 0
    assert {entry["source"] for entry in found["tensors"]} == {None, *renamed}


def test_a_map_names_what_is_what(pack, tensors, tmp_path, capsys):
    (tmp_path / "map.json").write_text(json.dumps({"conv1": "stem.conv"}))
    port = dumped(tmp_path / "port", {"conv1": tensors["stem.conv"]})
    status, found = compared(capsys, str(pack), port, "--map", str(tmp_path / "map.json"), "--partial")
    assert status == 0
    assert [entry["source"] for entry in found["tensors"] if entry["name"] == "stem.conv"] == ["conv1"]


def test_channels_last_tensors_are_recognised_and_said(pack, tensors, tmp_path, capsys):
    moved = {name: y.transpose(0, 2, 3, 1) if y.ndim == 4 else y for name, y in tensors.items()}
    status, found = compared(capsys, str(pack), archived(tmp_path / "port", moved))
    assert status == 0
    assert next(entry for entry in found["tensors"] if entry["name"] == "stem.conv")["layout"] == "nhwc"


def test_a_tensor_that_adds_nothing_is_listed_and_no_fault(pack, tensors, tmp_path, capsys):
    extra = {**tensors, "mystery": np.ones((3, 5), np.float32), "clone": tensors["stem.act"]}
    status, found = compared(capsys, str(pack), archived(tmp_path / "port", extra))
    assert (status, found["unmatched"]) == (0, [])
    assert {each["source"]: each["kind"] for each in found["extras"]} == {"mystery": "unknown", "clone": "copy"}


def test_a_border_around_an_input_that_is_not_dumped_is_told(pack, tensors, tmp_path, capsys):
    around = np.pad(read_pack(pack).tensor("input"), ((0, 0), (0, 0), (1, 1), (1, 1)))
    port = archived(tmp_path / "port", {**tensors, "pad": around})
    status, found = compared(capsys, str(pack), port)
    assert status == 0
    assert [(each["source"], each["kind"], each["node"]) for each in found["extras"]] == [("pad", "padded", "input")]


def test_a_tensor_that_may_be_a_missing_one_fails(pack, tensors, tmp_path, capsys):
    last = tensors["head.flatten"]
    some = {name: y for name, y in tensors.items() if not name.startswith("head.logits") and name != "head.flatten"}
    other = np.random.default_rng(0).standard_normal(last.shape).astype(np.float32)
    port = archived(tmp_path / "port", {**some, "mystery": other, "riddle": -other})
    status, found = compared(capsys, str(pack), port, "--partial")
    assert (status, found["unmatched"]) == (1, ["mystery", "riddle"])


def test_one_bad_file_does_not_refuse_the_others(pack, tensors, tmp_path, capsys):
    port = Path(dumped(tmp_path / "port", {**tensors, "argmax": np.arange(3)}))
    (port / "empty.npy").write_bytes(b"")
    status, found = compared(capsys, str(pack), str(port))
    assert status == 0
    assert {each["source"]: each["kind"] for each in found["extras"]} == {"argmax": "unread", "empty": "unread"}


def test_missing_tensors_fail_unless_partial(pack, tensors, tmp_path, capsys):
    port = dumped(tmp_path / "port", dict(list(tensors.items())[:9]))
    assert compared(capsys, str(pack), port)[0] == 1
    assert compared(capsys, str(pack), port, "--partial")[0] == 0


def test_missing_tensors_that_are_accepted_have_no_line_beside_a_wrong_one(pack, tensors, tmp_path, capsys):
    first = list(tensors)[1]
    port = dumped(tmp_path / "port", {**dict(list(tensors.items())[:9]), first: 2 * tensors[first]})
    assert main(["compare", str(pack), port, "--partial", "--junit", str(tmp_path / "found.xml")]) == 1
    assert "  missing  " not in (said := capsys.readouterr().out)
    assert re.search(r"fails: 1 wrong, \d+ missing \(accepted\)$", said.strip())
    assert 'failures="1"' in (tmp_path / "found.xml").read_text()


def test_integer_tensors_are_judged_by_their_scales(pack, tensors, tmp_path, capsys):
    y = tensors["stem.act"]
    scale = float(np.ptp(y) / 255)
    zero = round(float(-y.min() / scale)) - 128
    stored = np.clip(np.rint(y / scale) + zero, -128, 127).astype(np.int8)
    port = dumped(tmp_path / "port", {"stem.bn": tensors["stem.bn"], "stem.act": stored})
    assert "--scales" in refused(capsys, str(pack), port, "--partial")
    (tmp_path / "scales.json").write_text(json.dumps({"stem.act": {"scale": scale, "zero_point": zero}}))
    scales = ["--scales", str(tmp_path / "scales.json"), "--partial"]
    assert compared(capsys, str(pack), port, *scales)[0] == 0
    dumped(tmp_path / "off", {"stem.bn": tensors["stem.bn"], "stem.act": stored // 2})
    assert compared(capsys, str(pack), str(tmp_path / "off"), *scales)[0] == 1


@pytest.mark.parametrize(("most", "status"), [(127, 0), (100, 1)])
def test_integers_saturate_at_the_end_of_their_type_and_nowhere_before(most, status, pack, tensors, tmp_path, capsys):
    y = tensors["stem.act"]
    scale = float(np.abs(y).max()) / 200  # too narrow for the largest values
    stored = np.clip(np.rint(y / scale), -128, most).astype(np.int8)
    port = dumped(tmp_path / "narrow", {"stem.bn": tensors["stem.bn"], "stem.act": stored})
    (tmp_path / "scales.json").write_text(json.dumps({"stem.act": {"scale": scale, "zero_point": 0}}))
    assert compared(capsys, str(pack), port, "--scales", str(tmp_path / "scales.json"), "--partial")[0] == status


def int8(w):
    """Weights of 8 bits, symmetric, a scale for each filter; real again."""
    step = np.abs(w).reshape(len(w), -1).max(axis=1).reshape(-1, *[1] * (w.ndim - 1)) / np.float32(127)
    return np.rint(w / step) * step


def test_weights_of_8_bits_are_accepted_where_they_are_declared(pack, tmp_path, capsys):
    golden = read_pack(pack)
    convolutions = [node for node in golden.graph.nodes if node.op.endswith("conv2d")]
    params = dict(golden.params) | {f"{n.name}.w": int8(golden.params[f"{n.name}.w"]) for n in convolutions}
    port = archived(tmp_path / "port", Network(golden.graph, params).trace(golden.tensor("input")))
    status, found = compared(capsys, str(pack), port)
    assert status == 1
    assert any("declare it with --weights int8" in note for note in found["notes"])
    assert compared(capsys, str(pack), port, "--weights", "int8")[0] == 0


def test_a_port_that_stores_float16_is_told_once_how_to_say_so(pack, tensors, tmp_path, capsys):
    first = list(tensors)[: list(tensors).index("block4.expand")]
    short = {name: tensors[name].astype(np.float16).astype(np.float32) for name in first}
    status, found = compared(capsys, str(pack), archived(tmp_path / "port", short), "--partial")
    assert status == 1
    assert sum("--precision float16" in note for note in found["notes"]) == 1
    assert sum("before it is stored" in note for note in found["notes"]) == 1


@pytest.mark.parametrize("entry", ['{"scale": true}', '{"scale": 1, "zero": 5}', '{"scale": Infinity}', "1", "{}"])
def test_a_bad_scale_gets_one_line(pack, tensors, tmp_path, capsys, entry):
    port = dumped(tmp_path / "port", {"stem.act": tensors["stem.act"]})
    (tmp_path / "scales.json").write_text(f'{{"stem.act": {entry}}}')
    assert "'stem.act' is not" in refused(capsys, str(pack), port, "--scales", str(tmp_path / "scales.json"))


def test_a_report_that_cannot_be_written_is_refused_before_the_work(pack, tensors, tmp_path, capsys):
    port = dumped(tmp_path / "port", {"stem.act": tensors["stem.act"]})
    assert "is no folder to write into" in refused(capsys, str(pack), port, "--junit", str(tmp_path / "no/r.xml"))
    assert "is no file" in refused(capsys, str(pack), port, "--report", str(tmp_path))


def test_a_candidate_that_is_a_pipe_is_refused(pack, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert "is neither a file nor a folder" in refused(capsys, str(pack), str(tmp_path / "pipe"))


def test_a_callable_is_a_candidate_too(pack):
    golden = read_pack(pack)
    net = Network(golden.graph, dict(golden.params))
    assert compare(golden, net.trace).holds


def test_reports_are_written_whole(pack, tensors, tmp_path, capsys):
    wrong = {**tensors, "block1.depthwise.bn": tensors["block1.depthwise.bn"] + np.float32(1)}
    port = archived(tmp_path / "port", wrong)
    files = ["--junit", str(tmp_path / "r.xml"), "--report", str(tmp_path / "r.html")]
    assert main(["compare", str(pack), port, *files]) == 1
    capsys.readouterr()
    failures = ElementTree.parse(tmp_path / "r.xml").getroot().iter("failure")
    assert len(list(failures)) >= 1
    page = (tmp_path / "r.html").read_text()
    assert "block1.depthwise.bn" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("[1, 2]", "holds no JSON object"), ("{", "not JSON"), ('{"a": 3}', "'a' is mapped to something other")],
)
def test_a_bad_map_gets_one_line(pack, tensors, tmp_path, capsys, content, complaint):
    (tmp_path / "map.json").write_text(content)
    port = dumped(tmp_path / "port", {"stem.conv": tensors["stem.conv"]})
    assert complaint in refused(capsys, str(pack), port, "--map", str(tmp_path / "map.json"))


def test_bad_requests_get_one_line(pack, tensors, tmp_path, capsys):
    nothing = dumped(tmp_path / "nothing", {"a": np.ones((2, 2, 2), np.float32)})
    assert "nothing in the candidate is any tensor" in refused(capsys, str(pack), nothing)
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(capsys, str(pack), str(tmp_path / "empty"))
    assert "does not exist" in refused(capsys, str(tmp_path / "no-pack"), nothing)
    port = dumped(tmp_path / "port", {"stem.conv": tensors["stem.conv"]})
    assert "manifest" in refused(capsys, str(tmp_path / "empty"), port)


def test_probe_writes_its_input_and_reports(tmp_path, capsys):
    argv = ["probe", "torchvision/mobilenet_v3_small", "--width", "0.35", "--size", "40,56", "--json"]
    assert main([*argv, "-o", str(tmp_path / "x.npy")]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert np.load(tmp_path / "x.npy").shape == (2, 3, 40, 56)
    assert {row["id"] for row in rows} > {"pad-same", "bn-eps", "input-bgr"}


def test_the_manifest_says_what_the_input_could_show(pack):
    rows = {row["id"]: row for row in read_pack(pack).manifest["detectability"]}
    assert rows["bn-eps"]["visible"] == rows["bn-eps"]["places"] > 0


def test_scorecard_counts(capsys, monkeypatch):
    few = partial(scorecard.trials, bugs=("bn-eps", "pad-same", "act-missing", "input-bgr"))
    monkeypatch.setattr("refnet.cli.scorecard.trials", few)
    assert main(["scorecard", "V1", "--sample", "1", "--pairs", "2", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["families"]["V1"]["pairs_located"] == 2
    assert counts["total"]["injected"] == 4
    assert counts["total"]["located"] == counts["total"]["visible"]


def test_an_unknown_family_gets_one_line(capsys):
    assert main(["scorecard", "V9"]) == 2
    assert "no family is called 'V9'" in capsys.readouterr().err


def test_a_pack_holds_against_itself(pack, capsys):
    assert compared(capsys, str(pack), str(pack))[0] == 0


def test_a_pack_of_some_tensors_judges_a_port_that_dumps_all(tmp_path, tensors, capsys):
    argv = ["golden", "torchvision/mobilenet_v3_small", "--width", "0.35", "--size", "40,56", "--classes", "6"]
    assert main([*argv, "--batch", "1", "--only", "block3.*", "--no-detectability", "-o", str(tmp_path / "some")]) == 0
    capsys.readouterr()
    status, found = compared(capsys, str(tmp_path / "some"), archived(tmp_path / "port", tensors))
    assert (status, found["unmatched"]) == (0, [])


@pytest.mark.parametrize(
    "content",
    ['{"stem.act": {"scale": Infinity}}', '{"stem.act": {"scale": 1, "zero_point": Infinity}}', '{"stem.act": 3}'],
)
def test_bad_scales_get_one_line(pack, tensors, tmp_path, capsys, content):
    (tmp_path / "scales.json").write_text(content)
    port = dumped(tmp_path / "port", {"stem.act": tensors["stem.act"]})
    assert "'stem.act' is not" in refused(capsys, str(pack), port, "--scales", str(tmp_path / "scales.json"))


def test_reports_replace_no_link_and_no_device(pack, tensors, tmp_path, capsys):
    port = dumped(tmp_path / "port", {"stem.conv": tensors["stem.conv"]})
    (tmp_path / "real.xml").write_text("<testsuites></testsuites>")
    (tmp_path / "link.xml").symlink_to(tmp_path / "real.xml")
    main(["compare", str(pack), port, "--partial", "--junit", str(tmp_path / "link.xml")])
    capsys.readouterr()
    assert (tmp_path / "link.xml").is_symlink()
    assert "<testcase" in (tmp_path / "real.xml").read_text()
    same = ["--junit", "both", "--report", "both"]
    assert "name the same file" in refused(capsys, str(pack), port, *same)


def test_a_tensor_far_larger_than_its_node_is_a_verdict_and_is_not_read(pack, tensors, tmp_path, capsys):
    """40 GB that take no room on a disk."""
    port = dumped(tmp_path / "port", tensors)
    file = tmp_path / "port" / "block3.expand.npy"
    with open(file, "wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10_000, 1000, 1000)}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.truncate(stream.tell() + 4 * 10**10)
    status, found = compared(capsys, str(pack), port)
    assert status == 1
    assert {t["name"] for t in found["tensors"] if t["verdict"] in FAILING} == {"block3.expand"}
    assert {t["verdict"] for t in found["tensors"] if t["name"] == "block3.expand"} == {"shape"}


def test_integers_under_a_nodes_name_do_not_refuse_the_others(pack, tensors, tmp_path, capsys):
    port = archived(tmp_path / "port", {**tensors, "stem.conv": np.arange(5)})
    status, found = compared(capsys, str(pack), port)
    assert status == 0
    assert [(each["source"], each["kind"]) for each in found["extras"]] == [("stem.conv", "unread")]


def test_an_archive_with_masks_and_objects_is_read(pack, tensors, tmp_path, capsys):
    port = tmp_path / "port.npz"
    np.savez(port, **tensors, mask=np.ones(3, bool), names=np.array(["a"]), odd=np.array([None]), allow_pickle=True)
    status, found = compared(capsys, str(pack), str(port))
    assert status == 0
    assert {"mask", "names", "odd"} <= {each["source"] for each in found["extras"] if each["kind"] == "unread"}


def test_who_waits_at_a_terminal_is_told_at_once_what_is_off(pack, tensors, tmp_path, capsys, monkeypatch):
    wrong = {**tensors, "stem.act": tensors["stem.act"] + 1, "block3.add": tensors["block3.add"] + 1}
    port = archived(tmp_path / "port", wrong)
    for terminal, line in (
        (True, "2 tensors are off, stem.act first; looking for causes (Ctrl-C ends that)"),
        (False, ""),
    ):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        assert main(["compare", str(pack), port]) == 1
        assert capsys.readouterr().err.strip().splitlines()[:1] == ([line] if line else [])
