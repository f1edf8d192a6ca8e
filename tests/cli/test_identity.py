"""What the command line says of a file of weights, and that an almost known network runs as it is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from refnet import build, random_params
from refnet.cli import main
from refnet.files.containers import npz
from refnet.files.schemes import entries


def printed(capsys, *argv) -> str:
    assert main([str(word) for word in argv]) == 0
    return capsys.readouterr().out


@pytest.fixture
def twins(tmp_path):
    """Weights that timm's own network and the one from TensorFlow have in common."""
    params = random_params(graph := build("timm/mobilenetv3_small_075", classes=3))
    arrays = {entry.key: entry.theirs(params[ours]) for ours, entry in entries(graph).items()}
    npz.write(tmp_path / "twins.npz", arrays)
    return tmp_path / "twins.npz"


@pytest.fixture
def almost(exports, tmp_path):
    """torchvision's V3-Small x0.1 as PyTorch exports it, folded, with one stride of its own and ReLU for hard swish."""
    import onnx

    model = onnx.load(str(exports / "v3_small-old20-folded.onnx"))
    depthwise = [node for node in model.graph.node if any(a.name == "group" and a.i > 1 for a in node.attribute)]
    (stride,) = (a for a in depthwise[0].attribute if a.name == "strides")
    stride.ints[:] = [2, 1]
    for node in model.graph.node:
        node.op_type = node.op_type.replace("HardSwish", "Relu")
    onnx.save(model, str(tmp_path / "almost.onnx"))
    return tmp_path / "almost.onnx"


def test_summary_names_the_networks_that_a_file_may_be(capsys, twins):
    lines = printed(capsys, "summary", twins).splitlines()
    assert lines[-3:] == [
        "file           twins.npz: npz, float32, batch norm not folded, recognised by names of timm",
        "network        timm/mobilenetv3_small_075 x1",
        "it may be      timm/mobilenetv3_small_075 or timm/tf_mobilenetv3_small_075: they differ in pad, eps; "
        "say which with --model",
    ]
    assert "it may be" not in printed(capsys, "summary", twins, "--model", "timm/tf_mobilenetv3_small_075")


def test_summary_lists_the_differences_of_an_almost_known_network(capsys, almost):
    lines = printed(capsys, "summary", almost).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("file "))
    assert lines[start:] == [
        "file           almost.onnx: onnx, float32, batch norm folded, recognised by its structure",
        "network        almost torchvision/mobilenet_v3_small x0.1",
        "differences    20 from the known network",
        "  is relu, not hard_swish: stem.act, block4.expand.act, block4.depthwise.act and 16 more",
        "  block1.depthwise has stride (2, 1), not (2, 2)",
    ]


def test_summary_in_json_has_every_difference(capsys, almost):
    file = json.loads(printed(capsys, "summary", almost, "--json"))["file"]
    assert (file["kind"], file["scheme"], file["folded"], file["stored"]) == ("onnx", "structure", True, ["float32"])
    assert file["models"] == ["torchvision/mobilenet_v3_small"]
    assert len(file["differences"]) == 20
    assert file["differences"][1] == {
        "node": "block1.depthwise",
        "kind": "attribute",
        "known": "stride (2, 2)",
        "file": "stride (2, 1)",
        "line": "block1.depthwise has stride (2, 1), not (2, 2)",
    }


def test_summary_of_a_model_has_no_file(capsys):
    assert "file" not in json.loads(printed(capsys, "summary", "torchvision/mobilenet_v2", "--json"))


@pytest.mark.parametrize(
    "command",
    [("run", "--weights", "FILE"), ("golden", "FILE", "-o", "PACK"), ("probe", "FILE")],
    ids=lambda command: command[0],
)
def test_an_almost_known_network_is_refused_only_where_it_must_be_known(capsys, tmp_path, almost, command):
    argv = [{"FILE": str(almost), "PACK": str(tmp_path / "pack")}.get(word, word) for word in command]
    assert main([*argv, "--strict"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"refnet: {almost}: is almost torchvision/mobilenet_v3_small x0.1 with 20 differences, first: stem.act is "
        "relu, not hard_swish; it is taken as it is without strict=\n"
    )
    assert not (tmp_path / "pack").exists()
    assert main(argv) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_a_pack_of_an_almost_known_network_has_its_own_tensors(capsys, tmp_path, almost):
    printed(capsys, "golden", almost, "-o", tmp_path / "pack", "--no-detectability")
    tensors = next((tmp_path / "pack").rglob("block1.depthwise.npy")).parent
    assert np.load(tensors / "block1.depthwise.npy").shape[2:] == (9, 25)
    assert main(["compare", str(tmp_path / "pack"), str(tensors)]) == 0
