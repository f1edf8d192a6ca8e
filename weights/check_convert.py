"""Convert the vendors' small files with `refnet convert`, load them in the vendors' own code, strictly, and compare.

    PYTHONPATH=.:tests/data/exports python weights/check_convert.py

For every network of tests/data/exports: the file that holds its weights -> .pth and .safetensors by the vendor's names
for PyTorch's (`load_state_dict(strict=True)`), .weights.h5 for Keras' (`load_weights`, which refuses what is left
over or missing). Then the vendor's module runs in float64 and must agree with what it makes of the weights that it was
given in the first place: equal, since they are the same numbers. Also from torchvision's V2 as ONNX to timm's names.

Prints one line each and stops with 1 if any is not equal. Needs torch, torchvision, timm, safetensors, keras,
tensorflow-cpu. No test runs it.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import from_keras
import from_torch
import numpy as np
import numpy.typing as npt
import torch
from exports import NETWORKS, Network

from refnet import build, random_input
from refnet.cli import main as refnet
from refnet.graph import Graph

EXPORTS = Path(__file__).resolve().parent.parent / "tests" / "data" / "exports" / "exports.tar.xz"
SOURCES = {"d_li14": "d_li14.pth", "timm_tf": "timm_tf.safetensors"}  # the others: .safetensors and .keras


def graph_of(network: Network) -> Graph:
    return build(network.model, width=network.width, size=network.size, classes=network.classes)


def convert(source: Path, target: Path, network: Network, *options: str) -> None:
    """Run the command; stop where it does not do it."""
    if refnet(["convert", str(source), str(target), "--model", network.model, *options]):
        raise SystemExit(f"{source.name}: not converted to {target.name}")


def torch_outputs(network: Network, path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The vendor's module with the converted weights, and with the original ones."""
    graph = graph_of(network)
    x = random_input(graph, 2)
    net = from_torch.module(network, graph)
    original = from_torch.outputs(net, x)
    state = net.state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))  # nothing of the original may be left
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        held = OrderedDict(load_file(path))
        held._metadata = state._metadata  # torchvision's MNASNet asks for the version in it; safetensors holds none
    else:
        held = torch.load(path, weights_only=True)
    net.load_state_dict(held, strict=True)
    return from_torch.outputs(net, x), original


def keras_outputs(network: Network, path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Keras 3's model with the converted weights, and with the original ones."""
    graph = graph_of(network)
    x = np.ascontiguousarray(random_input(graph, 2).transpose(0, 2, 3, 1).astype(np.float64))
    net = from_keras.vendors(network, graph, "float64", classifier_activation=None)
    original = np.asarray(net(x, training=False))
    for layer in net.layers:
        layer.set_weights([np.full_like(array, np.nan) for array in layer.get_weights()])
    net.load_weights(path)
    return np.asarray(net(x, training=False)), original


def cases(folder: Path) -> Iterator[tuple[str, npt.NDArray[Any], npt.NDArray[Any]]]:
    """Every conversion: what it is called, the outputs, those they must equal."""
    for short, network in NETWORKS.items():
        keras = network.model.startswith("keras/")
        source = folder / SOURCES.get(short, f"{short}.keras" if keras else f"{short}.safetensors")
        for suffix in (".weights.h5",) if keras else (".pth", ".safetensors"):
            target = folder / f"converted_{short}{suffix}"
            convert(source, target, network)
            yield f"{source.name} -> {suffix}", *(keras_outputs if keras else torch_outputs)(network, target)
    v2, target = NETWORKS["v2"], folder / "v2_timm.safetensors"
    convert(folder / "v2-old20-unfolded.onnx", target, v2, "--names", "timm")
    yield "v2-old20-unfolded.onnx -> timm's names", *torch_outputs(v2._replace(model="timm/mobilenetv2_100"), target)


def main() -> int:
    """Convert, load and compare all."""
    status = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with tarfile.open(EXPORTS) as archive:
            archive.extractall(folder, filter="data")
        for name, made, original in cases(folder):
            apart = np.abs(made - original).max()
            print(f"{name}: loaded strictly, {apart:.1e} apart", flush=True)
            status |= int(apart != 0)  # NaN too
    return status


if __name__ == "__main__":
    sys.exit(main())
