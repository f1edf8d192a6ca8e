"""The port of the second chapter: wrong with each of its mistakes, right without, and compare says so."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from support import CHECKOUT

from refnet import Network, build, random_params
from refnet.judge.compare import compare
from refnet.pack.pack import write_pack
from refnet.pack.probe import probe

CC = shutil.which("cc")
FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
SOURCE = CHECKOUT / "docs/c/block.c"

pytestmark = pytest.mark.skipif(CC is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """The chapter's pack."""
    path = tmp_path_factory.mktemp("pack") / "v3.pack"
    graph = build("torchvision/mobilenet_v3_small", width=0.35, size=(48, 64), classes=10)
    net = Network(graph, random_params(graph))
    write_pack(net, probe(graph, 1), path, format="raw", only="block[34].*", origin={})
    return path


def ported(folder, pack, *flags):
    """What the port dumps, compiled with these flags."""
    program, out = folder / "block", folder / "out"
    out.mkdir()
    subprocess.run([CC, *FLAGS, *flags, "-o", program, SOURCE, "-lm"], check=True)
    subprocess.run([program, pack, out], check=True)
    return out


MISTAKES = {"-DSAME_PADDING": ("block4.depthwise", "pad-same"), "-DKERAS_GATE": ("block4.se.gate", "hsigmoid-slope")}


@pytest.mark.parametrize(
    "flags", [(), *((flag,) for flag in MISTAKES), tuple(MISTAKES)], ids=lambda f: " ".join(f) or "right"
)
def test_exactly_the_mistakes_are_found_and_named(tmp_path, pack, flags):
    found = compare(pack, ported(tmp_path, pack, "-O2", *flags))
    assert found.wrong() == [MISTAKES[flag][0] for flag in flags]
    assert [found.causes[name][0].ids for name in found.wrong()] == [(MISTAKES[flag][1],) for flag in flags]
    assert found.holds is (not flags)


@pytest.mark.parametrize("flags", [["-O0"], ["-O3"], ["-O3", "-ffast-math"]], ids=" ".join)
def test_it_holds_however_it_is_compiled(tmp_path, pack, flags):
    assert compare(pack, ported(tmp_path, pack, *flags)).holds


def test_every_tensor_of_the_block_is_dumped(tmp_path, pack):
    out = ported(tmp_path, pack)
    nodes = {path.name for path in (pack / "tensors").glob("block4.*")} | {"block3.add.bin"}
    assert {path.name for path in out.iterdir()} == nodes


def test_a_bad_pack_or_folder_is_exit_2(tmp_path, pack):
    ported(tmp_path, pack)
    for words in ([], [tmp_path, tmp_path], [pack, tmp_path / "none"]):
        done = subprocess.run([tmp_path / "block", *words], capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
