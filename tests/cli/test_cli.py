"""The command line: what it prints, and one line with exit 2 for every bad request."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from support import CHECKOUT

import refnet
from refnet.cli import _COMMANDS, main


def refused(capsys, *argv: str) -> str:
    """Run a command that must be refused: exit 2, nothing on stdout, one line on stderr."""
    try:
        status = main(list(argv))
    except SystemExit as leaving:  # argparse
        status = leaving.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def document(capsys, *argv: str):
    """Run a command with --json and read what it prints."""
    status = main([*argv, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--help"])
    assert leaving.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in _COMMANDS)


@pytest.mark.parametrize("name", _COMMANDS)
def test_a_module_is_the_command_of_its_name(name):
    command = importlib.import_module(f"refnet.cli.{name}").COMMAND
    assert command.name == name
    assert command.line


def test_a_command_imports_no_other(capsys):
    line = "import sys; from refnet.cli import main; main(['fetch', '--json']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    loaded = {name for name in _COMMANDS if f"refnet.cli.{name}" in done.stdout.split()}
    assert loaded == {"fetch"}


@pytest.mark.parametrize("argv", [("verify", "one", "a copy"), ("verify", "one", "--size", "32,32", "a copy")])
def test_a_second_file_to_verify_is_told_its_option(capsys, argv):
    said = refused(capsys, *argv)
    assert "the second file has an option of its own: refnet verify one --against 'a copy'" in said


@pytest.mark.parametrize(
    "argv", [("verify", "a", "b", "--against", "c"), ("verify", "a", "b", "c"), ("summary", "a", "b")]
)
def test_words_that_no_command_takes_are_named(capsys, argv):
    assert "unrecognized arguments: b" in refused(capsys, *argv)


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as leaving:
        main([command, "--help"])
    assert leaving.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "refnet", "--version"], capture_output=True, text=True, check=True)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert said["refnet"] == refnet.__version__
    assert said["numpy"] == np.__version__
    assert {"python", "system", "processor", "cores", "blas", "scipy"} <= said.keys()


@pytest.mark.parametrize("command", [["summary"], ["verify"], ["run", "--weights"]])
def test_what_a_terminal_would_obey_is_written_out(tmp_path, capsys, command):
    path = tmp_path / "a\x1b[31mred\nb.pth"
    path.touch()
    assert "a\\x1b[31mred b.pth: the file is empty" in refused(capsys, *command, str(path))


def test_a_name_of_a_file_in_a_report_is_written_out_too(tmp_path, capsys):
    path = tmp_path / "a\x1b[31mred.npz"
    assert main(["convert", str(CHECKOUT / "weights" / "digits_weights.npz"), str(path)]) == 0
    assert main(["summary", str(path)]) == 0
    assert main(["verify", str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_path_that_is_no_file_is_no_unknown_model(tmp_path, capsys):
    assert refused(capsys, "summary", str(tmp_path / "gone.onnx")).endswith("gone.onnx: No such file\n")
    os.mkfifo(tmp_path / "pipe")
    assert refused(capsys, "summary", str(tmp_path / "pipe")).endswith("pipe: not a regular file\n")
    assert "is a folder" in refused(capsys, "summary", str(tmp_path))


def test_output_that_nobody_reads_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m refnet models | head -1", shell=True, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_models_are_listed_and_filtered(capsys):
    status, models = document(capsys, "models", "tf_mobilenetv3")
    assert status == 0
    assert {model["name"] for model in models} > {"timm/tf_mobilenetv3_small_075"}
    assert all("tf_mobilenetv3" in model["name"] for model in models)


def test_summary_shows_every_node_and_the_totals(capsys):
    assert main(["summary", "torchvision/mobilenet_v3_small"]) == 0
    out = capsys.readouterr().out
    assert "stem.conv" in out
    assert "2,542,856 trained, 12,112 batch-norm statistics" in out
    assert "multiply-adds  56,510,400" in out


def test_summary_in_json_has_what_the_table_has(capsys):
    _, summary = document(
        capsys, "summary", "keras/MobileNet", "--width", "0.25", "--size", "225,191", "--classes", "3"
    )
    assert summary["input"] == [3, 225, 191]
    assert summary["nodes"][-1] == {
        "name": "output",
        "op": "softmax",
        "inputs": ["head.flatten"],
        "attrs": {},
        "params": {},
        "shape": [3],
        "parameters": 0,
        "macs": 0,
    }
    assert summary["totals"]["macs"] == sum(node["macs"] for node in summary["nodes"])


def test_run_without_arguments_reads_the_digit_that_ships(capsys):
    status, answer = document(capsys, "run")
    assert status == 0
    assert answer["images"][0][0]["name"] in answer["input"]
    assert sum(entry["probability"] for entry in answer["images"][0]) <= 1 + 1e-6


def test_run_on_an_array_takes_its_size_and_its_precision(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 40, 56)))
    assert main(["run", str(tmp_path / "x.npy"), "--top", "2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith("2 x 3 x 40 x 56: x.npy")
    assert len(out) == 1 + 2 * (1 + 2)


def test_run_takes_an_array_of_either_byte_order(tmp_path, capsys):
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32))
    for name, dtype in (("big", ">f8"), ("little", "<f8")):
        np.save(tmp_path / f"{name}.npy", x.astype(dtype))
    big, little = (document(capsys, "run", str(tmp_path / f"{name}.npy"))[1]["images"] for name in ("big", "little"))
    assert big == little


def test_run_on_an_image_of_a_digit(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    from refnet.files.digits import digits

    index, _, label = digits().example()
    image.fromarray((digits().scans[index] * 15.9375).astype(np.uint8)).save(tmp_path / "scan.png")
    status, answer = document(capsys, "run", str(tmp_path / "scan.png"))
    assert status == 0
    assert answer["images"][0][0]["class"] == label


def test_check_compares_with_the_saved_outputs(capsys):
    status, answer = document(capsys, "check", "timm/mnasnet_small")
    assert status == 0
    assert answer["verdict"] == "agrees"
    assert {tuple(network["size"]) for network in answer["networks"]} == {(224, 224), (97, 131)}
    assert all(network["error64"] <= 1e-11 for network in answer["networks"])


def test_check_says_the_same_on_any_number_of_processes(capsys):
    models = ["timm/mnasnet_small", "timm/mobilenetv3_small_050"]
    rows = [document(capsys, "check", *models, "--jobs", jobs) for jobs in ("1", "2")]
    assert rows[0] == rows[1]
    assert len(rows[0][1]["networks"]) >= 2


def test_check_fails_when_the_arithmetic_is_wrong(capsys, monkeypatch):
    from refnet.readings import fast

    monkeypatch.setattr(fast, "hard_sigmoid", lambda x, *, slope, offset: np.clip(0.2 * x + 0.5, 0, 1))
    assert main(["check", "d-li14/mobilenetv3_small"]) == 1
    assert "differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("sumary", "x"), "invalid choice: 'sumary'"),
        (("summary",), "required: network"),
        (
            ("summary", "torchvision/mobilenet_v4"),
            "no model is called 'torchvision/mobilenet_v4'; nearest: torchvision/",
        ),
        (("summary", "keras/MobileNet", "--width", "0.01"), "without channels"),
        (("summary", "keras/MobileNet", "--size", "big"), "'big' is not H,W in pixels"),
        (("summary", "keras/MobileNet", "--size", "1"), "too small"),
        (("check", "paper/mobilenet_v1"), "no outputs are saved for paper/mobilenet_v1"),
        (("check", "mobilenet_v1"), "no model is called"),
        (("run", "--model", "keras/MobileNet"), "no weights of keras/MobileNet ship with refnet"),
        (("run", "no-such-file.npy"), "no-such-file.npy: No such file"),
        (("run", "--weights", "no-such-file.pth"), "no-such-file.pth: No such file"),
        (("run", "--top", "0"), "--top 0"),
        (("run", "--weights", "."), "is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_bad_request_gets_one_line(capsys, argv, complaint):
    assert complaint in refused(capsys, *argv)


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((1, 32, 32, 3), np.float32), "channels last; take (N, 3, 32, 32): x.transpose(0, 3, 1, 2)"),
        (np.zeros((3, 32, 32), np.float32), "lacks the batch axis"),
        (np.zeros((1, 1, 32, 32), np.float32), "take (N, 3, 32, 32)"),
        (np.zeros((1, 3, 32, 32), np.uint8), "holds uint8; take float32 or float64"),
        (np.full((1, 3, 32, 32), np.nan, np.float32), "NaN or infinity"),
        (np.array([{}]), "not a readable .npy array"),
    ],
    ids=["channels last", "no batch", "one channel", "integers", "nan", "objects"],
)
def test_a_bad_array_gets_one_line(tmp_path, capsys, array, complaint):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    assert complaint in refused(capsys, "run", str(tmp_path / "x.npy"))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"junk"], ids=["empty", "cut short", "junk"])
def test_a_file_that_is_no_array_gets_one_line(tmp_path, capsys, content):
    (tmp_path / "x.npy").write_bytes(content)
    assert "not a readable .npy array" in refused(capsys, "run", str(tmp_path / "x.npy"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"junk"], ids=["empty", "cut short", "junk"])
def test_a_file_that_is_no_checkpoint_gets_one_line(tmp_path, capsys, content):
    (tmp_path / "w.pth").write_bytes(content)
    assert str(tmp_path / "w.pth") in refused(capsys, "run", "--weights", str(tmp_path / "w.pth"))


def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "cat.png").write_bytes(b"\x89PNG")
    assert "pip install 'refnet[tools]'" in refused(capsys, "run", str(tmp_path / "cat.png"))
