"""The C of the docs and of C packs compiles without a warning and does what it says."""

from __future__ import annotations

import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from support import CHECKOUT

from refnet import Network, build, random_input, random_params
from refnet.pack.pack import read_pack, write_pack

CC = shutil.which("cc")
FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
GRAPH = build("torchvision/mobilenet_v3_small", width=0.35, size=(33, 48), classes=10)
NET = Network(GRAPH, random_params(GRAPH))
X = random_input(GRAPH, 1)

pytestmark = pytest.mark.skipif(CC is None, reason="needs a C compiler")


def file_of(folder, name):
    """The tensor's file, .npy or .bin."""
    return next(file for file in folder.iterdir() if file.stem == name)


def compiled(folder, *sources) -> str:
    out = str(folder / "program")
    subprocess.run([CC, *FLAGS, "-O2", "-o", out, *map(str, sources), "-lm"], check=True)
    return out


@pytest.fixture(scope="module")
def compare(tmp_path_factory):
    """The comparer of the docs, as a function: exit status, lines of the table, last line."""
    program = compiled(tmp_path_factory.mktemp("c"), CHECKOUT / "docs/c/compare.c")

    def run(pack, candidate):
        done = subprocess.run([program, pack, candidate], capture_output=True, text=True)
        assert done.returncode < 2, done.stderr
        *rows, last = done.stdout.splitlines()
        return done.returncode, {row.split()[0]: row.split()[1:] for row in rows}, last

    run.program = program
    return run


@pytest.fixture(params=["npy", "raw"])
def pack(request, tmp_path):
    write_pack(NET, X, tmp_path / "pack", format=request.param, origin={})
    return tmp_path / "pack"


@pytest.fixture
def candidate(tmp_path):
    """A port's float32 tensors, some as .npy, some as raw floats."""
    folder = tmp_path / "candidate"
    folder.mkdir()
    for index, (name, y) in enumerate(NET.trace(X).items()):
        if index % 2:
            np.save(folder / f"{name}.npy", np.ascontiguousarray(y))
        else:
            y.tofile(folder / f"{name}.bin")
    return folder


def test_a_pack_is_exactly_itself(compare, pack):
    status, rows, last = compare(pack, pack / "tensors")
    assert (status, last) == (0, f"{len(GRAPH) + 1} compared, 0 failed; the first that differs: none")
    assert {row[0] for row in rows.values()} == {"exact"}


def test_the_figures_are_numpys(compare, pack, candidate):
    status, rows, _ = compare(pack, candidate)
    assert status == 0
    golden = read_pack(pack)
    assert list(rows) == list(golden.names[1:])
    for name, y in NET.trace(X).items():
        error = y.astype(np.float64) - golden.tensor(name)
        word, _, largest, _, rms = rows[name]
        assert word == ("differs" if error.any() else "exact")
        # Printed with three decimals: half a unit of the last one.
        assert math.isclose(float(largest), np.abs(error).max(), rel_tol=5.01e-4)
        assert math.isclose(float(rms), np.sqrt(np.mean(error**2)), rel_tol=5.01e-4)


def test_the_first_that_differs_is_named(compare, pack):
    for name in ("block3.add", "block2.expand"):
        file = file_of(pack / "tensors", name)
        copy = pack.parent / "copy"
        shutil.copytree(pack / "tensors", copy, dirs_exist_ok=True)
        data = bytearray((copy / file.name).read_bytes())
        data[-1] ^= 0x80  # the sign of the last number
        (copy / file.name).write_bytes(data)
        status, rows, last = compare(pack, copy)
        assert (status, rows[name][0], last.split()[-1]) == (0, "differs", name)


def test_a_missing_tensor_fails(compare, pack, candidate):
    file_of(candidate, "block2.expand").unlink()
    status, rows, _ = compare(pack, candidate)
    assert (status, rows["block2.expand"]) == (1, ["missing"])


def test_a_tensor_of_another_size_fails(compare, pack, candidate):
    file_of(candidate, "stem.conv").unlink()
    np.save(candidate / "stem.conv.npy", np.zeros(5, np.float32))
    status, rows, _ = compare(pack, candidate)
    assert (status, rows["stem.conv"][:2]) == (1, ["size", "5"])


@pytest.mark.parametrize("array", [np.zeros(5), np.zeros((4, 4), np.float32).T[1:]], ids=["float64", "Fortran order"])
def test_what_is_not_float32_in_c_order_does_not_count(compare, pack, candidate, array):
    file_of(candidate, "stem.conv").unlink()
    np.save(candidate / "stem.conv.npy", array)
    assert compare(pack, candidate)[1]["stem.conv"][0] in ("missing", "size")


def test_nan_fails(compare, pack, candidate):
    file_of(candidate, "stem.conv").unlink()
    y = read_pack(pack).tensor("stem.conv").copy()
    y[0, 0, 0, 0] = np.nan
    np.save(candidate / "stem.conv.npy", y)
    status, rows, _ = compare(pack, candidate)
    assert (status, rows["stem.conv"][0]) == (1, "nonfinite")


def test_what_cannot_be_read_is_exit_2(compare, pack, candidate, tmp_path):
    file_of(pack / "tensors", "stem.conv").write_bytes(b"junk")
    write_pack(NET, X, tmp_path / "wide", dtype="float64", origin={})
    for path in (pack, tmp_path / "wide", tmp_path):
        done = subprocess.run([compare.program, path, candidate], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_c_pack_compiles_and_holds_the_numbers(tmp_path, dtype):
    write_pack(NET, X, tmp_path / "c", format="c", dtype=dtype, only="stem.*", origin={})
    write_pack(NET, X, tmp_path / "npy", dtype=dtype, only="stem.*", origin={})
    golden = read_pack(tmp_path / "npy")
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "golden.h"\n'
        "int main(void) { int shape[GOLDEN_STEM_CONV_RANK] = GOLDEN_STEM_CONV_SHAPE;\n"
        "fwrite(shape, sizeof *shape, GOLDEN_STEM_CONV_RANK, stdout);\n"
        "fwrite(golden_stem_conv, sizeof *golden_stem_conv, GOLDEN_STEM_CONV_SIZE, stdout);\n"
        "fwrite(golden_stem_conv_w, sizeof *golden_stem_conv_w, GOLDEN_STEM_CONV_W_SIZE, stdout); return 0; }\n"
    )
    program = compiled(tmp_path, f"-I{tmp_path / 'c'}", tmp_path / "main.c", tmp_path / "c/golden.c")
    out = subprocess.run([program], capture_output=True, check=True).stdout
    y, w = golden.tensor("stem.conv"), golden.params["stem.conv.w"]
    assert out == np.array(y.shape, np.int32).tobytes() + y.tobytes() + w.tobytes()


def test_the_line_that_the_docs_show_is_the_readers():
    shown = re.search(r"^sscanf\((.*)\)$", (CHECKOUT / "docs/pack-format.md").read_text(), re.MULTILINE)
    assert "sscanf" in (source := (CHECKOUT / "docs/c/compare.c").read_text())
    assert shown[1].split(", name")[0] in source
