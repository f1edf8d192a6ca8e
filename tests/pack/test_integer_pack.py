"""Packs of integers: all that a port needs to be checked node by node, in its own integers."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from integer_files import write_vww

import refnet
from refnet.cli import main
from refnet.errors import FormatError, RequestError
from refnet.pack.integers import read_integer_pack, write_integer_pack
from refnet.readings.integer.derived import SUMMED
from refnet.readings.integer.fixedpoint import mbqm, rescale, round_away


@pytest.fixture(scope="module")
def vww(tmp_path_factory):
    path, golden = write_vww(tmp_path_factory.mktemp("vww"))
    return path, refnet.load(path), np.moveaxis(golden["input0"], -1, 1)


@pytest.fixture(scope="module")
def pack(vww, tmp_path_factory):
    _, net, x = vww
    folder = tmp_path_factory.mktemp("packs") / "pack"
    write_integer_pack(net, x, folder, accumulators=True)
    return read_integer_pack(folder)


def test_a_pack_holds_the_integers_of_every_node(vww, pack):
    _, net, x = vww
    trace = net.trace(x)
    assert pack.names == ("input", *trace)
    assert all(np.array_equal(pack.tensor(name), y) for name, y in trace.items())
    assert np.array_equal(pack.tensor("input"), x)


def test_the_network_of_a_pack_makes_its_integers_again(pack):
    trace = pack.net.trace(pack.tensor("input"))
    assert all(np.array_equal(pack.tensor(name), y) for name, y in trace.items())


def test_accumulators_multipliers_and_shifts_make_the_integers_by_hand(pack):
    """What a port does with them: clip(MBQM(sum, multiplier, shift) + zero point), or a factor of float64."""
    for node in pack.net.graph.nodes:
        if node.op not in SUMMED:
            continue
        total = pack.accumulators(node.name).astype(np.int64)
        assert pack.accumulators(node.name).dtype == np.int32
        low, high = (int(pack.constant(f"{node.name}.activation_{end}")) for end in ("min", "max"))
        zero = pack.manifest["tensors"][node.name]["zero_point"]
        if node.op == "fully_connected":
            y = round_away(total * pack.constant(f"{node.name}.factor").reshape(-1, 1, 1)).astype(np.int64)
        else:
            m, e = (pack.constant(f"{node.name}.{key}").astype(np.int64) for key in ("multiplier", "shift"))
            y = mbqm(total, m.reshape(-1, 1, 1), e.reshape(-1, 1, 1))
        assert np.array_equal(np.clip(y + zero, low, high), pack.tensor(node.name))


def test_factors_of_xnnpack_make_its_integers_by_hand(vww, tmp_path):
    _, net, x = vww
    write_integer_pack(net.under("xnnpack"), x, tmp_path / "pack", accumulators=True)
    pack = read_integer_pack(tmp_path / "pack")
    name = "block5.project.act"
    y = rescale(pack.accumulators(name), pack.constant(f"{name}.factor").reshape(-1, 1, 1))
    low, high = (int(pack.constant(f"{name}.activation_{end}")) for end in ("min", "max"))
    zero = pack.manifest["tensors"][name]["zero_point"]
    assert np.array_equal(np.clip(y.astype(np.int64) + zero, low, high), pack.tensor(name))


def test_channels_last_is_a_layout_of_the_tensors(vww, pack, tmp_path):
    _, net, x = vww
    write_integer_pack(net, x, tmp_path / "pack", layout="nhwc", form="raw", accumulators=True)
    other = read_integer_pack(tmp_path / "pack")
    assert other.manifest["tensors"]["stem.act"]["shape"] == [1, 48, 48, 8]
    assert np.array_equal(other.tensor("stem.act"), pack.tensor("stem.act"))
    assert np.array_equal(other.accumulators("stem.act"), pack.accumulators("stem.act"))


def test_c_source_of_a_pack_holds_the_integers(vww, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    path, net, x = vww
    np.save(tmp_path / "x.npy", x)
    command = ["golden", str(path), "--input", str(tmp_path / "x.npy"), "-o", str(tmp_path / "pack")]
    assert main([*command, "--format", "c", "--accumulators", "--only", "head.*"]) == 0
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "pack/golden.h"\nint main(void) {\n'
        'for (int i = 0; i < GOLDEN_HEAD_LOGITS_SIZE; i++) printf("%d %d\\n", golden_head_logits[i], '
        "golden_accumulators_head_logits[i]);\n"
        'printf("%d %d\\n", golden_block1_project_act_multiplier[3], golden_block1_project_act_shift[3]);\n'
        "return 0;\n}\n"
    )
    binary = tmp_path / "main"
    subprocess.run(["cc", "-Wall", "-Werror", "-o", binary, "main.c", "pack/golden.c"], cwd=tmp_path, check=True)
    said = subprocess.run([binary], capture_output=True, text=True, check=True).stdout.split()
    numbers = list(map(int, said))
    assert numbers[:4:2] == net.trace(x)["head.logits"].ravel().tolist()
    assert 2**30 <= numbers[4] < 2**31
    assert -31 <= numbers[5] <= 0


def test_the_manifest_says_what_integers_stand_for(pack):
    entries = json.loads((pack.path / "manifest.json").read_text())
    assert entries["format"] == "refnet integer pack 1"
    assert entries["tensors"]["output"]["scale"] == 1 / 256
    assert entries["tensors"]["output"]["zero_point"] == -128
    assert len(entries["params"]["stem.act.w"]["scale"]) == 8


def test_a_pack_that_was_changed_is_refused(vww, tmp_path):
    _, net, x = vww
    write_integer_pack(net, x, tmp_path / "pack", only="head.*")
    file = tmp_path / "pack" / "tensors" / "head.pool.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\x55")
    with pytest.raises(FormatError, match="does not have the hash"):
        read_integer_pack(tmp_path / "pack").tensor("head.pool")
    manifest = tmp_path / "pack" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"zero_point": -128', '"zero_point": -129'))
    with pytest.raises(FormatError, match="a zero point of -129: int8 does not hold it"):
        read_integer_pack(tmp_path / "pack")


def test_a_pattern_that_no_tensor_has_is_refused(vww, tmp_path):
    _, net, x = vww
    with pytest.raises(RequestError, match="no tensor matches 'nothing'"):
        write_integer_pack(net, x, tmp_path / "pack", only="nothing")
    assert not (tmp_path / "pack").exists()


def test_verify_says_which_command_takes_a_pack_of_integers(pack, capsys):
    assert main(["verify", str(pack.path)]) == 2
    assert "refnet compare holds ports against it" in capsys.readouterr().err
