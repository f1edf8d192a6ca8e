"""Make exports.tar.xz and expected.npz: small files as the vendors' own code writes them, and what they compute.

    PYTHONPATH=.:weights python tests/data/exports/make_exports.py [FILE ...]

Without names it makes all files of `exports.EXPORTS` and both archives; with names only prints how far each file's
float64 logits are from refnet's own. Weights are `random_params(graph)`, the input `random_input(graph, 2)`; of ONNX
files stack traces are dropped, since they name folders of the machine, and nothing else.

`expected.npz` holds for each file `<file>|logits64`, (2, classes): where the file holds the original weights, what the
vendor's own module makes of them in float64; where it holds folded or rounded ones, what the file's own arrays make in
float64 in another reading (`onnx_float64`: ONNX' reference evaluator; `tflite_float64`: a small interpreter). For some
files `<file>|float32|<name>`, the vendor's own float32 tensors for the first image, by the names in the file:
onnxruntime's with all optimisations and (`float32-plain`) with none, TensorFlow Lite's, Keras' layers', PyTorch's
modules'. `meta` says which file holds what.

Needs torch, torchvision, timm, safetensors, onnx, onnxruntime, onnxscript, keras, tensorflow-cpu, tf_keras, tflite.
Other versions may differ in the last bits. No test runs it.
"""

from __future__ import annotations

import io
import json
import lzma
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import from_keras
import from_torch
import numpy as np
import numpy.typing as npt
import onnx_float64
import tflite_float64
import torch
from configurations import versions
from exports import EXPORTS, NETWORKS, Export

from refnet import Network, build, random_input, random_params
from refnet.files.containers import npz
from refnet.graph import Graph
from refnet.runtimes.models import run_model

Arrays = dict[str, npt.NDArray[Any]]

HERE = Path(__file__).resolve().parent
BATCH = 2
PACKAGES = ("torch", "torchvision", "timm", "safetensors", "onnx", "onnxruntime", "onnxscript")
KERAS_PACKAGES = ("keras", "tensorflow", "tf_keras", "tflite", "h5py")
_DICTIONARY = {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26, "lc": 0, "lp": 2, "pb": 2, "nice_len": 273}


def is_keras(export: Export) -> bool:
    return NETWORKS[export.network].model.startswith("keras/")


def graph_of(export: Export) -> Graph:
    network = NETWORKS[export.network]
    return build(network.model, width=network.width, size=network.size, classes=network.classes)


def module(export: Export) -> torch.nn.Module:
    net = from_torch.module(NETWORKS[export.network], graph_of(export))
    return net if export.biases else from_torch.without_biases(net)


def write_file(export: Export, folder: Path) -> Path:
    """Write one file."""
    network, graph = NETWORKS[export.network], graph_of(export)
    path = folder / export.file
    if is_keras(export):
        from_keras.write(export, network, graph, path)
    else:
        from_torch.write(export, module(export), random_input(graph, BATCH), path)
    return path


def logits(export: Export, path: Path) -> npt.NDArray[Any]:
    """The float64 logits: the vendor's, or those of the file's own arrays."""
    network, graph = NETWORKS[export.network], graph_of(export)
    x = random_input(graph, BATCH)
    if export.how.startswith("tflite"):
        return tflite_float64.run(path, x)
    if is_keras(export):
        return from_keras.logits(network, graph, x)
    if export.folded:
        return onnx_float64.run(path, x)
    return from_torch.outputs(module(export), x)


def tensors(export: Export, path: Path) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The vendor's float32 tensors for the first image."""
    network, graph = NETWORKS[export.network], graph_of(export)
    x = random_input(graph, BATCH)[:1]
    if export.how == "keras":
        yield from (("float32|" + name, y) for name, y in from_keras.tensors(network, graph, x).items())
        return
    x = x if export.how.startswith("tflite") else np.repeat(x, BATCH, axis=0)  # ONNX' batch is fixed
    made = run_model(path, x).tensors
    yield from ((f"float32|{name}", y[:1]) for name, y in made.items())
    if export.how == "onnx":
        yield from ((f"float32-plain|{name}", y[:1]) for name, y in _plainly(path, x, list(made)).items())


def _plainly(path: Path, x: npt.NDArray[Any], names: list[str]) -> Arrays:
    """Some tensors of an ONNX file in onnxruntime without any optimisation."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    made = session.run(names, {session.get_inputs()[0].name: x})
    return dict(zip(names, made, strict=True))


def apart(export: Export, made: npt.NDArray[Any]) -> float:
    """How far logits are from refnet's own of the original weights, in units of the largest."""
    graph = graph_of(export)
    net = Network(graph, random_params(graph, np.float64))
    own = net.trace(random_input(graph, BATCH, np.float64))["head.flatten"]
    return float(np.abs(own - made).max() / np.abs(own).max())


def pack(folder: Path, path: Path) -> None:
    """A tar of the folder's files, without owners and times, with equal bytes found across files."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(folder.iterdir(), key=lambda file: (file.name.partition("-")[0], file.name)):
            member = tarfile.TarInfo(file.name)
            member.size = file.stat().st_size
            archive.addfile(member, io.BytesIO(file.read_bytes()))
    path.write_bytes(lzma.compress(tar.getvalue(), format=lzma.FORMAT_XZ, filters=[_DICTIONARY]))
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB of {tar.tell() / 1e6:.2f} MB", flush=True)


def main(names: list[str]) -> None:
    """Make the files; without names both archives too."""
    torch.set_num_threads(2)
    arrays: Arrays = {}
    files: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for export in EXPORTS:
            if names and export.file not in names:
                continue
            path = write_file(export, folder)
            made = logits(export, path)
            print(f"{export.file}: {path.stat().st_size / 1e3:.0f} kB, {apart(export, made):.1e} apart", flush=True)
            arrays[f"{export.file}|logits64"] = made
            network = NETWORKS[export.network]
            files[export.file] = {
                "model": network.model,
                "width": network.width,
                "size": network.size,
                "classes": network.classes,
                "folded": export.folded,
                "dtype": "float16" if export.how == "tflite16" else "float32",
                "how": export.how,
                "biases": export.biases,
            }
            if export.tensors:
                arrays |= {f"{export.file}|{name}": y for name, y in tensors(export, path)}
        if names:
            return
        pack(folder, HERE / "exports.tar.xz")
    meta = {
        "format": "refnet exports 1",
        "files": files,
        "versions": versions(*PACKAGES, *KERAS_PACKAGES),
        "origin": "the vendors' own modules on a CPU, weights random_params(graph), input random_input(graph, 2)",
        "script": "tests/data/exports/make_exports.py",
    }
    npz.write(HERE / "expected.npz", {**arrays, "meta": np.array(json.dumps(meta))}, compressed=True)
    print(f"expected.npz: {len(arrays)} arrays, {(HERE / 'expected.npz').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
