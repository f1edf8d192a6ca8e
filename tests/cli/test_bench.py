"""refnet bench: that it runs and measures what it says; never how fast."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from refnet import interrupts
from refnet.bench import commands
from refnet.bench.turns import Workload, measure
from refnet.cli import main
from refnet.errors import RequestError
from refnet.machine import has_older_kernels
from refnet.shares import cores

SMALL = ["torchvision/mobilenet_v3_small", "--width", "0.35", "--size", "32,40", "--rounds", "2", "--threads", "1"]


def test_a_small_run_reports_every_peer_that_is_installed(capsys):
    assert main(["bench", *SMALL, "--batch", "1", "2", "--against", "onnx-reference", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [case["batch"] for case in document["cases"]] == [1, 2]
    for case in document["cases"]:
        names = [row["peer"] for row in case["peers"]]
        assert names == ["refnet", *({"onnx-reference"} - set(document["left_out"]))]
        # Two rounds of three runs, or of one where the first call takes a second or more.
        assert all(len(row["seconds"]) == (6 if row["first"] < 1 else 2) for row in case["peers"])
        assert all(row["median"] > 0 for row in case["peers"])
        assert all(row["differs"] < 1e-3 for row in case["peers"])  # the same network, not the same bits


def test_a_peer_that_is_not_installed_is_left_out_by_name(capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    assert main(["bench", *SMALL, "--against", "torch"]) == 0
    out, err = capsys.readouterr()
    assert "refnet" in out
    assert "torch is left out: torch is not installed" in err


TIMED = ["bench", "torchvision/mobilenet_v3_small", "--commands", "--size", "32,40", "--rounds", "1"]


def test_everyday_commands_are_run_on_the_files_that_are_made_for_them(capsys, monkeypatch):
    """In this process; the check of all saved outputs, which needs no file, is none of them."""
    answers = {}

    def run(argv, folder):
        monkeypatch.chdir(folder)
        shutil.rmtree("made", ignore_errors=True)
        name, status = argv[0], 0 if argv == ("check",) else main(list(argv))
        answers.setdefault(name, []).append(status)
        capsys.readouterr()
        return 1.0, 1.0

    monkeypatch.setattr(commands, "_timed", run)
    here = Path.cwd()
    commands.time_commands(model="timm/mobilenetv3_small_050", size=(32, 40), rounds=1)
    monkeypatch.chdir(here)
    assert answers.pop("compare") == [0, 1]
    assert answers.keys() == {"summary", "golden", "probe", "verify", "convert", "check"}
    assert all(status == 0 for each in answers.values() for status in each)


def test_everyday_commands_are_timed(capsys, monkeypatch):
    few = {name: argv for name, argv in commands._COMMANDS.items() if name in ("summary", "convert")}
    monkeypatch.setattr(commands, "_COMMANDS", few)
    assert main([*TIMED, "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["commands"]}
    assert [row["command"].split()[1] for row in rows.values()] == ["summary", "convert"]
    assert all(len(row["processor"]) == len(row["clock"]) == 1 and row["clock"][0] > 0 for row in rows.values())
    if sys.platform != "win32":
        assert all(row["processor"][0] > 0 for row in rows.values())


def test_while_a_command_is_timed_busy_a_loop_runs_on_each_core_and_none_after(monkeypatch):
    started, real = [], subprocess.Popen

    def popen(*args, **keys):
        started.append(real(*args, **keys))
        return started[-1]

    monkeypatch.setattr(commands.subprocess, "Popen", popen)
    with commands._loops():
        assert len(started) == cores()
        assert all(loop.poll() is None for loop in started)
    assert all(loop.returncode is not None for loop in started)


@pytest.mark.parametrize(("newer", "peers"), [(True, ["refnet", "refnet-avx2"]), (False, ["refnet"])])
def test_older_kernels_are_timed_too_where_the_processor_has_newer_ones(newer, peers, monkeypatch, capsys):
    monkeypatch.setattr("refnet.cli.bench.has_older_kernels", lambda: newer)
    assert main(["bench", *SMALL, "--against", "refnet-avx2", "--json"]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert [row["peer"] for row in case["peers"]] == peers


def test_kernels_are_known_without_threadpoolctl_too(monkeypatch):
    """An installation without extras has none; what NumPy's own OpenBLAS says is enough."""
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    monkeypatch.setattr("refnet.machine.numpy_kernels", lambda: "SkylakeX")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert has_older_kernels()
    monkeypatch.setattr("refnet.machine.numpy_kernels", lambda: "Zen")
    assert not has_older_kernels()


def test_kernels_that_a_variable_has_chosen_are_the_only_ones(monkeypatch):
    monkeypatch.setattr("refnet.machine.blas_kernels", lambda: "openblas 0.3 SkylakeX, 1 threads")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert has_older_kernels()
    monkeypatch.setenv("OPENBLAS_CORETYPE", "SkylakeX")
    assert not has_older_kernels()


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--commands", "--batch", "2"], "--commands goes with one network"),
        (["--busy"], "--busy goes with --commands"),
        (["nosuchnet", "--commands"], "no model is called 'nosuchnet'"),
        (["--against", "tensorrt"], "'tensorrt' is none of refnet-avx2, torch"),
        (["--batch", "0"], "'0' is not a positive whole number"),
        (["nosuchnet"], "no model is called 'nosuchnet'"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_2(argv, complaint, capsys):
    try:
        status = main(["bench", *argv])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert complaint in capsys.readouterr().err


def test_a_peer_that_dies_is_named(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RequestError, match=r"refnet: failed, see above"):
        measure(Workload("torchvision/mobilenet_v3_small", 0.35, (32, 32), 1, 1), [])


def test_files_that_commands_are_timed_on_leave_the_command_to_be_interrupted():
    with interrupts.ending_in_order():
        with interrupts.on_the_way(), interrupts.taking_place():
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
