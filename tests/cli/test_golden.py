"""refnet golden: packs from the command line."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest

from refnet import load, random_params
from refnet.cli import main
from refnet.pack.pack import read_pack

MODEL = ("torchvision/mobilenet_v3_small", "--width", "0.35", "--classes", "10")
QUICK = ("--no-detectability",)  # where what the input could show changes nothing of what is asked
FEW = ("--format", "safetensors")  # two files, where nothing is asked of those of each array


def refused(capsys, *argv: str) -> str:
    try:
        status = main(["golden", *argv])
    except SystemExit as leaving:  # argparse
        status = leaving.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    return err


@pytest.fixture
def pack(tmp_path):
    return tmp_path / "pack"


def test_a_model_gets_weights_drawn_from_their_names(pack, capsys):
    assert main(["golden", *MODEL, "--size", "32,40", "-o", str(pack)]) == 0
    assert "2 x 3 x 32 x 40: " in capsys.readouterr().out
    read = read_pack(pack)
    assert read.manifest["origin"]["weights"]["kind"] == "random"
    np.testing.assert_array_equal(read.params["stem.conv.w"], random_params(read.graph)["stem.conv.w"])


def test_the_size_is_the_arrays(tmp_path, pack):
    x = np.random.default_rng(1).standard_normal((2, 3, 33, 48)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert main(["golden", *MODEL, "--input", str(tmp_path / "x.npy"), "-o", str(pack), *QUICK, *FEW]) == 0
    read = read_pack(pack)
    assert read.graph.recipe.size == (33, 48)
    np.testing.assert_array_equal(read.tensor("input"), x)
    assert read.manifest["origin"]["input"] == {
        "kind": "array",
        "file": "x.npy",
        "sha256": hashlib.sha256((tmp_path / "x.npy").read_bytes()).hexdigest(),
    }


def test_a_checkpoint_gives_its_own_weights(tmp_path, pack):
    weights = tmp_path / "digits.npz"
    np.savez(weights, **load().params)
    argv = ["golden", str(weights), "--model", "refnet/digits", "-o", str(pack), "--dtype", "float64"]
    assert main([*argv, *QUICK, *FEW]) == 0
    read = read_pack(pack)
    assert read.dtype == np.float64
    assert read.manifest["origin"]["weights"]["kind"] == "trained"
    assert read.manifest["origin"]["weights"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    x = read.tensor("input")
    np.testing.assert_array_equal(read.tensor("head.flatten"), load().astype(np.float64).trace(x)["head.flatten"])


def test_an_image_is_made_input_as_the_vendor_makes_it(tmp_path, pack):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((50, 60, 3), 255, np.uint8)).save(tmp_path / "white.png")
    argv = ["golden", *MODEL, "--size", "32", "--input", str(tmp_path / "white.png"), "-o", str(pack)]
    assert main([*argv, *QUICK, *FEW]) == 0
    read = read_pack(pack)
    assert read.tensor("input")[0, 0, 0, 0] == pytest.approx((1 - 0.485) / 0.229)
    assert read.manifest["origin"]["input"]["kind"] == "image"


def test_fold_leaves_no_batch_norm(pack):
    assert main(["golden", *MODEL, "--size", "32", "--fold", "-o", str(pack), *FEW]) == 0
    read = read_pack(pack)
    assert not [name for name in read.names if name.endswith(".bn")]
    assert read.manifest["origin"]["folded"] is True


def test_layout_format_and_pattern_are_obeyed(pack):
    argv = ["golden", *MODEL, "--size", "32,40", "--layout", "nhwc", "--format", "raw", "--only", "stem.*"]
    assert main([*argv, "-o", str(pack), *QUICK]) == 0
    assert sorted(os.listdir(pack / "tensors")) == ["input.bin", "stem.act.bin", "stem.bn.bin", "stem.conv.bin"]
    assert read_pack(pack).manifest["tensors"]["input"]["shape"] == [2, 32, 40, 3]


def test_json_says_what_was_written(pack, capsys):
    assert main(["golden", *MODEL, "--size", "32", "--only", "head.*", "-o", str(pack), "--json", *QUICK]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["pack"] == str(pack)
    assert answer["tensors"] == len(read_pack(pack).names)
    assert answer["bytes"] == sum(file.stat().st_size for file in pack.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("torchvision/mobilenet_v4",), "no model is called"),
        ((*MODEL, "--dtype", "float16"), "invalid choice: 'float16'"),
        ((*MODEL, "--batch", "0"), "take at least 1"),
        ((*MODEL, "--batch", "2", "--input", "x.npy"), "leave it out with --input"),
        ((*MODEL, "--only", "nothing.*"), "no tensor matches 'nothing.*'"),
        ((*MODEL, "--input", "none.npy"), "none.npy: No such file"),
        ((*MODEL, "--input", "none.png"), "none.png: there is no such file"),
        ((*MODEL, "--model", "keras/MobileNet"), "--model goes with a checkpoint"),
        ((*MODEL, "-o", "no/such/folder"), "no/such: is no folder to write into"),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else value,
)
def test_a_bad_request_gets_one_line(tmp_path, pack, capsys, monkeypatch, argv, complaint):
    monkeypatch.chdir(tmp_path)
    assert complaint in refused(capsys, "-o", str(pack), *argv)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((1, 32, 32, 3), np.float32), "channels last"),
        (np.zeros((3, 32, 32), np.float32), "lacks the batch axis"),
        (np.zeros((1, 3, 32, 32), np.uint8), "take float32 or float64"),
        (np.full((1, 3, 32, 32), np.nan, np.float32), "NaN or infinity"),
        (np.zeros((0, 3, 32, 32), np.float32), "no images"),
        (np.array([{}]), "not a readable .npy array"),
    ],
    ids=["channels last", "no batch", "integers", "nan", "no images", "objects"],
)
def test_a_bad_array_gets_one_line(tmp_path, pack, capsys, array, complaint):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    assert complaint in refused(capsys, *MODEL, "--input", str(tmp_path / "x.npy"), "-o", str(pack))
    assert not pack.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"junk"], ids=["empty", "zip", "short", "junk"])
def test_a_file_that_is_no_array_gets_one_line(tmp_path, pack, capsys, content):
    (tmp_path / "x.npy").write_bytes(content)
    assert "not a readable .npy array" in refused(capsys, *MODEL, "--input", str(tmp_path / "x.npy"), "-o", str(pack))


def test_an_existing_pack_is_not_overwritten(pack, capsys):
    pack.mkdir()
    assert "exists already; remove it" in refused(capsys, *MODEL, "--size", "32", "-o", str(pack))
    assert os.listdir(pack) == []
