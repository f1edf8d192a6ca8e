"""Load what `refnet convert` writes with the vendors' own strict loading, and compare the logits.

For each network: weights are `refnet.random_params`, converted by `refnet.files.writing`; then torchvision's and timm's
`load_state_dict(strict=True)` of `safetensors.torch.load_file` and of `torch.load(weights_only=True)`, Keras'
`load_weights` of `.weights.h5`. The logits of the vendor's module in float64 must be refnet's to 1e-11 of the largest.
It writes nothing that stays. No test runs it.

    PYTHONPATH=.:weights python weights/check_convert.py

Needs torch, torchvision, timm, keras, tensorflow-cpu. With torch 2.13, torchvision 0.28, timm 1.0.31 and Keras 3.15 all
26 files loaded, and the largest distance that it printed was 7.5e-14 (timm/semnasnet_050).
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt
import torch
from make_outputs_keras import application, use
from make_outputs_torch import module
from safetensors.torch import load_file

from refnet import Network
from refnet.files.writing import write_weights
from refnet.networks.build import build
from refnet.networks.random import random_input, random_params

Array = npt.NDArray[Any]

# (network that the weights are of, width, whose names, the vendor's network that they then are)
TORCH = (
    ("torchvision/mobilenet_v2", 0.35, None, "torchvision/mobilenet_v2"),
    ("torchvision/mobilenet_v3_small", 0.35, None, "torchvision/mobilenet_v3_small"),
    ("torchvision/mobilenet_v3_large", 0.35, None, "torchvision/mobilenet_v3_large"),
    ("torchvision/mnasnet0_5", 1.0, None, "torchvision/mnasnet0_5"),
    ("timm/mobilenetv1_100", 1.0, None, "timm/mobilenetv1_100"),
    ("timm/mobilenetv3_small_050", 1.0, None, "timm/mobilenetv3_small_050"),
    ("timm/tf_mobilenetv3_small_075", 1.0, None, "timm/tf_mobilenetv3_small_075"),
    ("timm/semnasnet_050", 1.0, None, "timm/semnasnet_050"),
    ("torchvision/mobilenet_v2", 1.0, "timm", "timm/mobilenetv2_100"),
    ("torchvision/mnasnet1_0", 1.0, "timm", "timm/mnasnet_100"),
    ("timm/mobilenetv2_100", 1.0, "torchvision", "torchvision/mobilenet_v2"),
)
KERAS = (
    ("keras/MobileNet", 0.25),
    ("keras/MobileNetV2", 0.35),
    ("keras/MobileNetV3Small", 0.75),
    ("keras/MobileNetV3Large_minimalistic", 1.0),
)
SIZE = (64, 64)


def furthest(ours: Array, theirs: Array) -> float:
    """The largest difference, in parts of the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def torch_case(model: str, width: float, names: str | None, theirs: str, suffix: str, folder: Path) -> float:
    """Convert, load strictly, run."""
    graph = build(model, width=width, size=SIZE)
    params = random_params(graph)
    path = folder / f"weights{suffix}"
    written = write_weights(graph, params, path, names=names)
    if written.model != theirs:
        raise SystemExit(f"{model}: became {written.model}, not {theirs}")
    net = module(theirs, width).eval()
    if suffix == ".pth":
        state = torch.load(path, weights_only=True)
    else:
        state = load_file(path)
        if "mnasnet" in theirs and theirs.startswith("torchvision/"):
            # torchvision asks for the version of MnasNet's stem, which safetensors cannot hold.
            state = OrderedDict(state)
            state._metadata = {"": {"version": 2}}
    net.load_state_dict(state, strict=True)
    x = random_input(graph, 2, np.float64)
    with torch.no_grad():
        return furthest(Network(graph, params).astype(np.float64)(x), net.double()(torch.from_numpy(x)).numpy())


def keras_case(model: str, width: float, folder: Path) -> float:
    """Convert, load, run."""
    graph = build(model, width=width, size=SIZE)
    params = random_params(graph)
    path = folder / "model.weights.h5"
    write_weights(graph, params, path)
    use("float64")
    net = application(model, width, SIZE)
    net.load_weights(path)
    x = random_input(graph, 2, np.float64)
    theirs = np.asarray(net(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), training=False))
    return furthest(Network(graph, params).astype(np.float64)(x), theirs)


def main() -> None:
    """Check every case; print a line for each; fail with the first that does not hold."""
    with tempfile.TemporaryDirectory() as made:
        for model, width, names, theirs in TORCH:
            for suffix in (".safetensors", ".pth"):
                told(
                    f"{model} {width:g} -> {theirs}{suffix}",
                    torch_case(model, width, names, theirs, suffix, Path(made)),
                )
        for model, width in KERAS:
            told(f"{model} {width:g} -> .weights.h5", keras_case(model, width, Path(made)))


def told(what: str, distance: float) -> None:
    """Print a case, or fail with it."""
    print(f"{what}: {distance:.1e}")
    if not distance < 1e-11:
        raise SystemExit(f"{what}: computes otherwise")


if __name__ == "__main__":
    main()
