"""Write small PyTorch networks as ONNX, and what they compute in float64; run by itself, with PyTorch alone.

    python tests/data/layers/torch_networks.py FOLDER

Weights are normal numbers scaled by the fan-in, of five bits. `FOLDER/expected.npz` has `<file>|x` and `<file>|y64`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Layers(nn.Module):
    """One of every layer; the mean over width, then over height; a gate of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, (1, 2), bias=False)
        self.norm = nn.BatchNorm2d(8, eps=1e-3)
        self.slopes = nn.PReLU(8)
        self.grouped = nn.Conv2d(8, 12, 3, padding=(2, 4), dilation=(2, 4), groups=4)
        self.several = nn.Conv2d(12, 24, (3, 5), padding=(1, 2), groups=12)
        self.narrow = nn.Conv2d(24, 8, 1)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
        self.slope = nn.PReLU()
        self.hidden = nn.Linear(16, 10)
        self.vector = nn.BatchNorm1d(10)
        self.logits = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.slopes(self.norm(self.stem(x)))
        y = functional.leaky_relu(self.narrow(functional.hardtanh(self.several(self.grouped(y)), -2.0, 3.0)), 0.2)
        gate = functional.relu(self.squeeze(y.mean((2, 3), keepdim=True).permute(0, 2, 3, 1)))
        y = y * torch.sigmoid(self.excite(gate)).permute(0, 3, 1, 2)
        less = y - torch.tanh(y.clamp(max=1.5)).clamp(min=-0.5)
        y = torch.cat([self.slope(y), less], 1)
        y = y.mean(3).mean(2)
        return self.logits(functional.relu6(self.vector(self.hidden(y))))


class Sizes(nn.Module):
    """Enlarged and shrunk, nearest and bilinear, corners aligned or not; a linear layer on the whole map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.whole = nn.Linear(24 * 9 * 13, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.stem(x))
        near = functional.interpolate(y, scale_factor=2.0, mode="nearest")
        smooth = functional.interpolate(y, size=(22, 30), mode="bilinear", align_corners=False)
        corners = functional.interpolate(y, size=(22, 30), mode="bilinear", align_corners=True)
        other = functional.interpolate(y, size=(22, 30), mode="nearest")
        y = torch.cat([other, smooth, corners, functional.max_pool2d(near, 1)], 1)
        y = functional.avg_pool2d(functional.max_pool2d(y, 3, 2), 1)
        return self.whole(functional.interpolate(y, size=(9, 13), mode="nearest").flatten(1))


def fill(module: nn.Module) -> None:
    """Give every weight its numbers."""
    for place, (name, array) in enumerate(module.state_dict().items()):
        if not array.dtype.is_floating_point:
            continue
        drawn = np.random.default_rng(place).standard_normal(tuple(array.shape))
        if name.endswith("running_var"):
            drawn = 1 + np.abs(drawn)
        elif array.ndim == 1:
            drawn = (1.0 if "norm.weight" in name or "vector.weight" in name else 0.0) + drawn / 4
        else:
            drawn *= np.sqrt(2 / np.prod(array.shape[1:]))
        step = 2.0 ** np.floor(np.log2(np.abs(drawn).max()) - 4)
        array.copy_(torch.from_numpy(np.round(drawn / step) * step))


def main() -> None:
    """Write every network in several opsets."""
    folder, arrays = Path(sys.argv[1]), {}
    folder.mkdir(exist_ok=True)
    networks: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
        "layers-torch": (Layers, (1, 3, 19, 27), (11, 13, 17)),
        "sizes-torch": (Sizes, (1, 3, 22, 30), (11, 18)),
    }
    for name, (make, shape, opsets) in networks.items():
        module = make().eval()
        fill(module)
        x = torch.from_numpy(np.random.default_rng(7).uniform(-1, 1, shape).astype(np.float32))
        for opset in opsets:
            file = f"{name}{opset}.onnx"
            torch.onnx.export(
                module, (x,), str(folder / file), dynamo=False, opset_version=opset, do_constant_folding=False,
                training=torch.onnx.TrainingMode.PRESERVE, input_names=["pixels"], output_names=["y"],
            )  # fmt: skip
            arrays[f"{file}|x"] = x.numpy()
            with torch.no_grad():
                arrays[f"{file}|y64"] = make_double(make, module)(x.double()).numpy()
    np.savez(folder / "expected.npz", **arrays)
    (folder / "versions.json").write_text(json.dumps({"torch": torch.__version__}))


def make_double(make: Callable[[], nn.Module], module: nn.Module) -> nn.Module:
    """The same module in float64."""
    twin = make().double().eval()
    twin.load_state_dict(module.state_dict())
    return twin


if __name__ == "__main__":
    main()
