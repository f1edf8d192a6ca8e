"""refnet evaluate: what it prints, what it says of a set that is not quite right, and one line for a bad request."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from imagefolder import write_scans

from refnet.cli import main
from refnet.files import shipped
from refnet.files.digits import digits


def refused(capsys, *argv: object) -> str:
    """Run a request that must be refused: exit 2, nothing on stdout, one line on stderr."""
    status = main(["evaluate", *map(str, argv)])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    return err


def document(capsys, *argv: object):
    """Run with --json: exit status, what it prints, the lines on stderr."""
    status = main(["evaluate", *map(str, argv), "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out), err.splitlines()


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_scans(tmp_path / "set")


@pytest.fixture
def arrays(tmp_path) -> Path:
    """The held-out scans as an .npy file, ready for the network, with labels beside it."""
    held_out = digits().held_out
    np.save(tmp_path / "x.npy", digits().inputs()[held_out])
    np.save(tmp_path / "y.npy", digits().labels[held_out])
    return tmp_path


def test_without_arguments_it_judges_the_network_that_ships(capsys):
    assert main(["evaluate"]) == 0
    out, err = capsys.readouterr()
    assert "top-1   99.00%  593 of 599" in out
    assert "top-5  100.00%  599 of 599" in out
    assert "a picture of  was taken for  times" in out
    assert err == ""


def test_json_has_what_the_tables_have(capsys):
    status, answer, _ = document(capsys)
    assert status == 0
    assert (answer["right"], answer["judged"], answer["k"], answer["right_k"]) == (593, 599, 5, 599)
    assert answer["top1"] == 593 / 599
    assert sum(row["right"] for row in answer["classes"]) == 593
    assert sum(pair["images"] for pair in answer["confusions"]) == 6


def test_a_folder_of_class_folders_is_judged(capsys, folder):
    status, answer, err = document(capsys, folder)
    assert status == 0
    assert (answer["images"], answer["right"], answer["notes"]) == (20, 20, [])
    assert [row["name"] for row in answer["classes"]] == list("0123456789")
    assert err == []


def test_a_folder_gives_what_its_scans_give_as_an_array(capsys, folder, tmp_path):
    main(["evaluate", str(folder), "--out", str(tmp_path / "folder.npz")])
    with np.load(tmp_path / "folder.npz") as saved:
        indices = [int(name.rpartition("_")[2].removesuffix(".png")) for name in saved["names"]]
        pixels = np.round(digits().scans[indices] * 15.9375).astype(np.uint8)[..., None].repeat(3, axis=3)
        np.savez(tmp_path / "set.npz", x=pixels, y=saved["labels"])
        main(["evaluate", str(tmp_path / "set.npz"), "--out", str(tmp_path / "array.npz")])
        with np.load(tmp_path / "array.npz") as other:
            assert other["logits"].tolist() == saved["logits"].tolist()


def test_an_array_with_labels_is_judged(capsys, arrays):
    status, answer, _ = document(capsys, arrays / "x.npy", "--labels", arrays / "y.npy")
    assert (status, answer["right"]) == (0, 593)


def test_a_bad_image_is_told_counted_and_makes_1(capsys, folder):
    broken = sorted((folder / "3").iterdir())
    broken[0].write_bytes(broken[0].read_bytes()[:50])
    broken[1].write_bytes(b"")
    status, answer, err = document(capsys, folder)
    assert status == 1
    assert (answer["images"], answer["judged"], answer["right"]) == (20, 18, 18)
    assert [failed["name"] for failed in answer["failed"]] == [f"3/{path.name}" for path in broken]
    assert len(err) == 2
    assert f"refnet: 3/{broken[0].name}: " in err[0]
    assert "the file is empty" in err[1]


def test_a_set_of_bad_images_has_no_accuracy(capsys, folder):
    for path in folder.glob("*/*.png"):
        path.write_bytes(b"")
    status, answer, err = document(capsys, folder)
    assert (status, answer["judged"], answer["top1"]) == (1, 0, None)
    assert len(err) == 20
    assert main(["evaluate", str(folder)]) == 1
    assert "top-1        -  0 of 0" in capsys.readouterr().out


def test_only_the_first_of_many_bad_images_are_listed(capsys, tmp_path):
    for path in write_scans(tmp_path, 3).glob("*/*.png"):
        path.write_bytes(b"")
    _, answer, err = document(capsys, tmp_path)
    assert len(answer["failed"]) == 30
    assert err[20:] == ["refnet: and 10 more; --json has them all"]


def test_what_is_left_out_is_said_and_is_no_failure(capsys, folder):
    (folder / "notes.txt").touch()
    (folder / "0" / ".hidden").touch()
    for path in (folder / "7").iterdir():
        path.unlink()
    status, answer, err = document(capsys, folder)
    assert (status, answer["images"], answer["right"]) == (0, 18, 18)
    assert answer["notes"] == [
        "1 class folder without images: 7",
        "left out 1 file not named as images: notes.txt",
        "left out 1 hidden file or folder",
    ]
    assert err == [f"refnet: {line}" for line in answer["notes"]]


def test_what_is_left_out_is_not_said_where_the_request_is_refused(capsys, folder):
    (folder / "notes.txt").touch()
    assert "--resume" in refused(capsys, folder, "--out", folder / "p.npz", "--resume")


def test_what_is_left_out_is_said_above_the_progress_bar(capsys, monkeypatch, folder):
    (folder / "notes.txt").touch()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    main(["evaluate", str(folder)])
    lines = capsys.readouterr().err.replace("\r", "\n").split("\n")
    assert "refnet: left out 1 file not named as images: notes.txt" in [line.strip() for line in lines]


def test_folders_with_other_names_are_found_in_a_classes_file(capsys, folder, tmp_path):
    for digit in range(10):
        (folder / str(digit)).rename(folder / f"n{9 - digit:08}")  # the order of names is not that of the classes
    assert document(capsys, folder)[1]["right"] == 0
    (tmp_path / "classes.txt").write_text("".join(f"n{9 - digit:08} {digit}\n" for digit in range(10)))
    status, answer, _ = document(capsys, folder, "--classes-file", tmp_path / "classes.txt")
    assert (status, answer["right"]) == (0, 20)


def test_labels_that_are_one_off_are_told(capsys, arrays):
    labels = np.load(arrays / "y.npy")
    np.save(arrays / "x.npy", np.load(arrays / "x.npy")[labels < 9])
    np.save(arrays / "y.npy", labels[labels < 9] + 1)
    _, answer, err = document(capsys, arrays / "x.npy", "--labels", arrays / "y.npy")
    assert "would be right if every label were one less: do labels and network both count" in err[0]
    assert err == [f"refnet: {line}" for line in answer["notes"]]


def test_many_classes_are_shown_from_the_worst_and_all_on_request(capsys, tmp_path):
    from refnet.files.containers import npz
    from refnet.networks.build import build
    from refnet.networks.random import random_params

    npz.write(tmp_path / "w.npz", random_params(build("torchvision/mobilenet_v2", width=0.1, classes=30)))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "set.npz", x=rng.standard_normal((60, 3, 32, 32)).astype(np.float32), y=np.arange(60) % 30)
    words = ["evaluate", str(tmp_path / "set.npz"), "--weights", str(tmp_path / "w.npz")]
    words += ["--model", "torchvision/mobilenet_v2", "--width", "0.1"]
    assert main(words) == 0
    few = capsys.readouterr().out
    assert "the 20 classes that are least often right, of 30; --all shows all" in few
    assert main([*words, "--all"]) == 0
    every = capsys.readouterr().out
    assert [f"class {label} " in every for label in range(30)] == [True] * 30
    assert every.count("class ") - few.count("class ") >= 10


def test_predictions_are_written_and_the_journal_is_gone(capsys, folder, tmp_path):
    status, answer, _ = document(capsys, folder, "--out", tmp_path / "p.npz")
    assert (status, answer["output"]) == (0, str(tmp_path / "p.npz"))
    with np.load(tmp_path / "p.npz", allow_pickle=False) as saved:
        assert saved["predicted"].tolist() == saved["labels"].tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.npz", "set"]


def test_a_command_that_is_killed_goes_on_when_it_is_given_again(capsys, arrays):
    words = ["evaluate", str(arrays / "x.npy"), "--labels", str(arrays / "y.npy"), "--batch", "1"]
    journal = arrays / "p.npz.journal"
    running = subprocess.Popen([sys.executable, "-m", "refnet", *words, "--out", str(arrays / "p.npz")])
    while running.poll() is None and not (journal.exists() and journal.stat().st_size > 2000):
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (arrays / "p.npz").exists()
    status, answer, _ = document(capsys, *words[1:], "--out", arrays / "p.npz")
    assert status == 0
    assert 0 < answer["resumed"] < 599
    assert (answer["right"], answer["images"]) == (593, 599)
    assert main([*words, "--out", str(arrays / "whole.npz")]) == 0
    assert (arrays / "p.npz").read_bytes() == (arrays / "whole.npz").read_bytes()


def test_a_terminal_gets_a_progress_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    main(["evaluate"])
    assert "/599 [" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm", None)
    main(["evaluate"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("missing",), "missing: no such file or folder"),
        (("missing.npz",), "missing.npz: no such file or folder"),
        (("missing.npy", "--labels", "y.txt"), "missing.npy: no such file or folder"),
        (("--labels", "y.txt"), "--labels goes with an .npy array"),
        (("--classes-file", "c.txt"), "--classes-file goes with a folder"),
        (("--weights", shipped.path("digits_weights.npz"), "--model", "refnet/digits"), "which images?"),
        (("--weights", "missing.pth", "x.npz"), "missing.pth: No such file"),
        (("--batch", "0"), "a batch of 0"),
        (("--out", "nowhere/p.npz"), "nowhere: is no folder to write into"),
        (("--out", "p.npy"), "take a name that ends so"),
        (("--resume",), "only a run with --out has a journal"),
        (("--resume", "--out", "p.npz"), "there is no interrupted run"),
        (("--cluster", "here"), "write tcp://HOST:PORT"),
        (("empty",), "empty: holds no class folders"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_bad_request_gets_one_line(capsys, tmp_path, monkeypatch, words, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert complaint in refused(capsys, *words)
    assert os.listdir(tmp_path) == ["empty"]


def test_an_array_keeps_its_precision_and_a_size_must_be_its_own(capsys, tmp_path):
    np.savez(tmp_path / "set.npz", x=np.zeros((2, 3, 40, 56)), y=np.array([1, 2]))
    assert document(capsys, tmp_path / "set.npz", "--size", "40,56")[1]["size"] == [40, 56]
    assert document(capsys, tmp_path / "set.npz")[1]["size"] == [40, 56]
    assert "images of (40, 56) for a network of (32, 32)" in refused(capsys, tmp_path / "set.npz", "--size", "32")


@pytest.mark.parametrize(
    ("x", "y", "complaint"),
    [
        (np.zeros((2, 3, 32, 32), np.float32), [0, 10], "image 1: has label 10, and the network's classes are 0 to 9"),
        (np.zeros((2, 3, 32, 32), np.float32), [0], "1 labels for 2 images"),
        (np.zeros((2, 32, 32, 3), np.float32), [0, 1], "channels last; take (N, 3, 32, 32)"),
        (np.zeros((2, 1, 32, 32), np.float32), [0, 1], "take (N, 3, 32, 32)"),
    ],
)
def test_a_bad_array_gets_one_line(capsys, tmp_path, x, y, complaint):
    np.savez(tmp_path / "set.npz", x=x, y=np.array(y))
    assert complaint in refused(capsys, tmp_path / "set.npz")


def test_nan_in_an_array_is_one_image_that_fails(capsys, arrays):
    x = np.load(arrays / "x.npy")
    x[5, 0, 0, 0] = np.nan
    np.save(arrays / "x.npy", x)
    status, answer, err = document(capsys, arrays / "x.npy", "--labels", arrays / "y.npy")
    assert (status, answer["judged"]) == (1, 598)
    assert err == ["refnet: image 5: input: holds NaN or infinity"]
