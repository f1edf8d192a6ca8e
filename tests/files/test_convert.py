"""Weights as another kind of file, in other names, folded, in float16: all of them, bit for bit, or nothing at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import refnet
from refnet.cli import main
from refnet.errors import FormatError, RefnetError, RequestError
from refnet.files import containers
from refnet.files import write as writing
from refnet.files.checkpoint import identify, settled
from refnet.files.containers import npz, safetensors
from refnet.files.containers.atomic import atomic_file, atomic_path
from refnet.files.schemes import entries, schemes_of
from refnet.files.write import convert, write_weights
from refnet.graph import SOURCE, Graph, Node, Recipe
from refnet.networks.rewrite import fold_batch_norm

pytest.importorskip("h5py")


@cache
def network(model: str, width: float = 0.35, classes: int = 5) -> tuple[Any, dict[str, Any]]:
    graph = refnet.build(model, width=width, size=(64, 64), classes=classes)
    return graph, refnet.random_params(graph)


V2 = network("torchvision/mobilenet_v2")
V3 = network("torchvision/mobilenet_v3_small", 1.0)
KERAS = network("keras/MobileNetV3Small", 0.75)


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name].dtype == array.dtype and found[name].tobytes() == array.tobytes() for name, array in wanted.items()
    )


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
@pytest.mark.parametrize("folded", [False, True], ids=["", "folded"])
@pytest.mark.parametrize(
    "model",
    [
        "torchvision/mobilenet_v2",
        "torchvision/mobilenet_v3_large",
        "torchvision/mnasnet1_0",
        "timm/mobilenetv1_100",
        "timm/semnasnet_100",
        "keras/MobileNetV2",
        "d-li14/mobilenetv3_small",
        "kuan-wang/mobilenetv3_large",
        "article/torch_small",
        "paper/mobilenet_v3_small",
    ],
)
def test_what_is_written_reads_back_bit_for_bit(tmp_path: Path, model: str, suffix: str, folded: bool) -> None:
    graph, params = network(model, 0.1)
    written = write_weights(graph, params, tmp_path / f"w{suffix}", fold=folded)
    assert (written.model, written.folded, written.scheme) == (model, folded, schemes_of(model)[0])
    if folded:
        graph, params = fold_batch_norm(graph, params)
    arrays = containers.read(tmp_path / f"w{suffix}").arrays
    found = {ours: entry.ours(arrays[entry.key], params[ours].shape) for ours, entry in entries(graph).items()}
    assert same(found, params)
    assert len(arrays) == written.arrays


@pytest.mark.parametrize("model", ["keras/MobileNet", "keras/MobileNetV2", "keras/MobileNetV3Large_minimalistic"])
def test_keras_own_format_reads_back_bit_for_bit(tmp_path: Path, model: str) -> None:
    graph, params = network(model)
    write_weights(graph, params, tmp_path / "w.weights.h5")
    found = identify(tmp_path / "w.weights.h5", model=model)
    assert same(found.params, params)
    assert found.graph.recipe.width == 0.35


def test_counters_that_strict_loading_asks_for_are_written(tmp_path: Path) -> None:
    write_weights(*V2, tmp_path / "w.safetensors")
    arrays = safetensors.read(tmp_path / "w.safetensors")
    assert arrays["features.0.1.num_batches_tracked"].dtype == np.int64
    assert arrays["features.0.1.num_batches_tracked"].shape == ()
    write_weights(*V2, tmp_path / "folded.safetensors", fold=True)
    assert not any("num_batches" in key for key in safetensors.read(tmp_path / "folded.safetensors"))


def test_layers_that_the_article_never_runs_are_written(tmp_path: Path) -> None:
    write_weights(*network("article/torch_small"), tmp_path / "w.pth")
    assert not containers.read(tmp_path / "w.pth").arrays["stack.1.semodule.1.weight"].any()


def test_a_network_that_another_vendor_computes_alike_takes_its_names(tmp_path: Path) -> None:
    written = write_weights(*V2, tmp_path / "w.safetensors", names="timm")
    assert (written.model, written.differences) == ("timm/mobilenetv2_100", ())
    graph, params = settled(identify(tmp_path / "w.safetensors", model="timm/mobilenetv2_100", size=64))
    x = refnet.random_input(graph)
    assert np.array_equal(refnet.Network(graph, params)(x), refnet.Network(*V2)(x))


def test_the_name_that_stands_for_a_width_is_taken(tmp_path: Path) -> None:
    mnasnet = network("torchvision/mnasnet0_75", 1.0)
    assert write_weights(*mnasnet, tmp_path / "w.npz", names="timm").model == "timm/mnasnet_075"


def test_a_network_that_the_other_vendor_computes_otherwise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(RequestError, match=r"computes otherwise \(stem.conv has pad .*\); take its names .* --force"):
        write_weights(*V3, path, names="timm")
    assert not list(tmp_path.iterdir())
    written = write_weights(*V3, path, names="timm", force=True)
    assert written.differences
    assert "conv_stem.weight" in safetensors.read(path)


def test_folding_takes_the_eps_out_of_the_way(tmp_path: Path) -> None:
    """torchvision's eps is not timm's; in folded weights there is none."""
    assert write_weights(*V3, tmp_path / "w.npz", names="timm", fold=True).model == "timm/mobilenetv3_small_100"


def test_names_of_a_vendor_without_such_a_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"no network of article has the layers of torchvision/mobilenet_v2, width 0\.35"
    ):
        write_weights(*V2, tmp_path / "w.npz", names="article")


@pytest.mark.parametrize(
    ("file", "names", "why"),
    [
        ("w.h5", None, r"its ending must tell the kind of file: \.npz, \.safetensors, \.pth, \.weights\.h5"),
        ("w.npz", "caffe", "no names are called 'caffe': torchvision"),
        ("w.weights.h5", "torchvision", "its names are Keras', not torchvision"),
        ("missing/w.npz", None, "missing: is no folder"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path: Path, file: str, names: str | None, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        write_weights(*V2, tmp_path / file, names=names)
    assert not list(tmp_path.iterdir())


def test_a_value_beyond_float16_is_said_before_anything_is_written(tmp_path: Path) -> None:
    graph, params = V2
    large = {**params, "stem.conv.w": params["stem.conv.w"] * np.float32(1e6)}
    with pytest.raises(RequestError, match=r"stem\.conv\.w: \d+ of its values are beyond float16, the largest "):
        write_weights(graph, large, tmp_path / "w.npz", dtype="float16")
    assert not list(tmp_path.iterdir())


def test_values_that_float16_loses_are_counted(tmp_path: Path) -> None:
    graph, params = V2
    w = params["stem.conv.w"].copy()
    w.flat[:5] = [1e-9, -1e-9, 0, 1.0001e-5, 2.0**-24]  # two vanish, one loses digits, two are exact
    w.flat[5:] = 0.5
    written = write_weights(graph, {**params, "stem.conv.w": w}, tmp_path / "w.npz", dtype="float16")
    assert next(lost for lost in written.lost if lost.name == "stem.conv.w") == ("stem.conv.w", 2, 1)
    assert npz.read(tmp_path / "w.npz")["features.0.0.weight"].dtype == np.float16


def test_float16_reads_back_as_the_rounded_values(tmp_path: Path) -> None:
    graph, params = KERAS
    write_weights(graph, params, tmp_path / "w.weights.h5", dtype="float16")
    found = identify(tmp_path / "w.weights.h5", model="keras/MobileNetV3Small")
    assert set(found.stored.values()) == {"float16"}
    assert same(found.params, {name: array.astype("f2").astype("f4") for name, array in params.items()})


def test_a_file_that_does_not_read_back_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad(path: Path, _: Any, arrays: dict[str, Any], text: str) -> None:
        npz.write(path, {key: array if array.ndim != 4 else array + 1 for key, array in arrays.items()})

    (tmp_path / "w.npz").write_text("old")
    monkeypatch.setitem(writing._WRITERS, ".npz", bad)
    with pytest.raises(RefnetError, match=r"features\.0\.0\.weight does not read back as it was written"):
        write_weights(*V2, tmp_path / "w.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]
    assert (tmp_path / "w.npz").read_text() == "old"


def test_pth_tells_the_version_that_torchvisions_mnasnet_asks_for(tmp_path: Path) -> None:
    import zipfile

    for model, version in (("torchvision/mnasnet1_0", 2), ("torchvision/mobilenet_v2", 1)):
        write_weights(*network(model), tmp_path / "w.pth")
        with zipfile.ZipFile(tmp_path / "w.pth") as archive:
            data = archive.read("archive/data.pkl")
        assert data.endswith(b"X\x07\x00\x00\x00versionJ" + bytes([version, 0, 0, 0]) + b"sssb.")


# ----------------------------------------------------------------------------------------- the command


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_weights(*V2, tmp_path / "source.pth")
    return tmp_path / "source.pth"


def test_the_command_converts_and_says_so(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(source), str(tmp_path / "w.safetensors"), "--names", "timm"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("timm/mobilenetv2_100, 314 arrays in float32 by the names of timm: ")


def test_the_command_tells_programs(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(source), str(tmp_path / "w.npz"), "--fold", "--dtype", "float16", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["model"], said["folded"], said["dtype"]) == ("torchvision/mobilenet_v2", True, "float16")
    assert said["bytes"] == (tmp_path / "w.npz").stat().st_size


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_leaves_nothing_half_written(source: Path, tmp_path: Path, number: int) -> None:
    target = tmp_path / "o.npz"
    script = f"""
import os, sys
from refnet.cli import main
from refnet.files import write as writing
def halfway(path, graph, arrays, text):
    path.write_bytes(b"half")
    os.kill(os.getpid(), {int(number)})
writing._WRITERS[".npz"] = halfway
sys.exit(main(["convert", {str(source)!r}, {str(target)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")
    assert list(tmp_path.glob(".*")) == []
    assert not target.exists()


def test_a_full_disk_is_told_of_the_file_that_was_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "o.npz"
    with pytest.raises(RequestError) as raised, atomic_path(target) as temporary, atomic_file(temporary) as file:
        raise OSError(28, "No space left on device", str(file.name))
    assert str(raised.value) == f"{target}: cannot be written (No space left on device): give another path"
    assert list(tmp_path.iterdir()) == []


def test_the_source_is_never_overwritten(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = source.read_bytes()
    (tmp_path / "link.pth").symlink_to(source)
    for target in ("source.pth", "link.pth", "../" + tmp_path.name + "/source.pth"):
        assert main(["convert", str(source), str(tmp_path / target), "--fold"]) == 2
        assert "which is read; choose another name" in capsys.readouterr().err
    assert source.read_bytes() == before


@pytest.mark.parametrize("folded", [False, True], ids=["", "folded"])
@pytest.mark.parametrize("dtype", [None, "float16"])
def test_onnx_is_recognised_as_the_network_it_was_made_of(tmp_path: Path, folded: bool, dtype: str | None) -> None:
    pytest.importorskip("onnx")
    graph, params = V3
    written = write_weights(graph, params, tmp_path / "w.onnx", fold=folded, dtype=dtype)
    found = identify(tmp_path / "w.onnx")
    assert (written.model, written.scheme, written.folded) == (graph.recipe.model, "refnet", folded)
    assert (found.models[0], found.differences, found.folded) == (graph.recipe.model, (), folded)
    if folded:
        graph, params = fold_batch_norm(graph, params)
    if dtype is not None:
        params = {name: array.astype(dtype).astype(np.float32) for name, array in params.items()}
    assert same(found.params, params)
    assert found.graph == graph
    assert len(params) == written.arrays


OWN = refnet.Graph(
    refnet.Recipe("", 1.0, (2, 2), 2), (refnet.Node("mix", "pointwise_conv2d", ("input",), {"w": (2, 3)}),)
)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth", ".onnx"])
def test_a_network_of_ones_own_is_written_under_its_own_names(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("onnx")
    written = write_weights(OWN, {"mix.w": np.ones((2, 3))}, tmp_path / f"w{suffix}")
    assert (written.model, written.scheme, written.arrays) == ("", "refnet", 1)
    assert containers.read(tmp_path / f"w{suffix}").arrays["mix.w"].dtype == np.float64


def test_a_network_of_ones_own_has_no_vendors_names(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="a network of its own has no layers of timm: take --names refnet"):
        write_weights(OWN, {"mix.w": np.ones((2, 3))}, tmp_path / "w.npz", names="timm")


def test_onnx_takes_no_vendors_names(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"in ONNX tensors have the names of the graph's nodes, not those of timm"):
        write_weights(*V2, tmp_path / "w.onnx", names="timm")
    assert not list(tmp_path.iterdir())


def test_convert_writes_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    write_weights(*V2, tmp_path / "w.pth")
    assert main(["convert", str(tmp_path / "w.pth"), str(tmp_path / "w.onnx"), "--model", V2[0].recipe.model]) == 0
    assert "arrays in float32 by the names of refnet" in capsys.readouterr().out
    assert identify(tmp_path / "w.onnx", size=64).params.keys() == V2[1].keys()


def test_an_almost_known_network_is_whole_in_onnx(tmp_path: Path) -> None:
    """Names and shapes would not tell that one of its activations is another; the graph does."""
    pytest.importorskip("onnx")
    graph, params = V2
    almost = graph.replaced("stem.act", refnet.Node("stem.act", "relu", ("stem.bn",)))
    write_weights(almost, params, tmp_path / "a.onnx")
    made = convert(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert made.differences == ()
    assert [difference.node for difference in identify(tmp_path / "b.onnx").differences] == ["stem.act"]
    assert convert(tmp_path / "a.onnx", tmp_path / "c.pth").differences
    with pytest.raises(FormatError, match=r"almost torchvision/mobilenet_v2 x.*; it is taken as it is without strict="):
        convert(tmp_path / "a.onnx", tmp_path / "d.npz", strict=True)


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.onnx", "a.pth"])
def test_a_network_without_weights_is_not_written(name, tmp_path):
    node = Node("output", "relu", (SOURCE,))
    with pytest.raises(RequestError, match=rf"^{name}: the network has no weights, so there is nothing to write$"):
        write_weights(Graph(Recipe("handmade", 1.0, (4, 6), 1), (node,)), {}, tmp_path / name)
    assert not list(tmp_path.iterdir())
