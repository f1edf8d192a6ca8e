"""refnet diff: names and files, sizes, and what is refused."""

from __future__ import annotations

import json

import pytest

from refnet import build, convert, random_params, write_weights
from refnet.cli import main


def test_a_file_and_the_model_that_it_is_do_not_differ(tmp_path, capsys):
    graph = build("torchvision/mobilenet_v3_small", width=0.1, size=32)
    write_weights(graph, random_params(graph), tmp_path / "net.npz")
    asked = ["diff", "torchvision/mobilenet_v3_small", str(tmp_path / "net.npz"), "--width", "0.1", "--size", "32,32"]
    assert main(asked) == 0
    assert "no difference of structure" in capsys.readouterr().out


def test_a_network_and_its_fold_do_not_differ_in_either_order(tmp_path, capsys):
    graph = build("torchvision/mobilenet_v2", width=0.1, size=32)
    write_weights(graph, random_params(graph), tmp_path / "net.pth")
    convert(tmp_path / "net.pth", tmp_path / "net.onnx", fold=True)
    for files in (("net.pth", "net.onnx"), ("net.onnx", "net.pth")):
        assert main(["diff", *(str(tmp_path / file) for file in files), "--size", "32,32"]) == 0
        assert "no difference of structure" in capsys.readouterr().out


def test_the_second_is_moved_to_the_size_of_the_first(capsys):
    assert main(["diff", "keras/MobileNet", "paper/lraspp_mobilenet_v3_small", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [network["size"] for network in said["networks"]] == [[224, 224], [224, 224]]
    assert said["macs"] == said["networks"][1]["macs"] - said["networks"][0]["macs"]


def test_widths_may_be_two(capsys):
    name = "torchvision/mobilenet_v2"
    assert main(["diff", name, name, "--width", "1.0", "--other-width", "0.5", "--size", "64,64", "--json"]) == 1
    assert [each["width"] for each in json.loads(capsys.readouterr().out)["networks"]] == [1.0, 0.5]


@pytest.mark.parametrize("one", ["paper/mobilenet_v9", "nothing.npz"])
def test_what_is_neither_model_nor_file_is_refused_in_one_line(one, capsys):
    assert main(["diff", one, "keras/MobileNet"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_picture_is_written_alike_twice_and_its_description_counts_the_layers(tmp_path, capsys):
    name = "torchvision/mobilenet_v3_small"
    drawn = []
    for path in (tmp_path / "one.svg", tmp_path / "other.svg"):
        assert main(["diff", name, f"{name}@reduced_tail", "--width", "0.5", "--svg", str(path)]) == 1
        drawn.append(path.read_bytes())
    assert drawn[0] == drawn[1]
    assert b'<desc id="d">80 layers, 13 differ; refnet diff lists each difference in words</desc>' in drawn[0]
    assert "channels, not" in capsys.readouterr().out


def test_a_picture_that_is_no_svg_is_refused_in_one_line(capsys):
    assert main(["diff", "keras/MobileNet", "keras/MobileNet", "--svg", "x.png"]) == 2
    assert "written as .svg" in capsys.readouterr().err
