"""Make `torch_*.pth` and `torch_networks.npz` of this folder: networks that PyTorch quantised, and its integers.

    python tests/data/integers/make_torch.py  # with torch 2.13.0 and torchvision 0.28.0

torchvision's quantisable MobileNetV2 x0.25 (engine qnnpack: one scale a tensor) and V3-Small x0.25 (fbgemm: one a
filter), random weights, ten classes, calibrated on noise of 32 x 32. `torch_networks.npz` has an input of each, its
output, and the CRC-32 of what every module made of it. The processor had VNNI; fbgemm's activations have 7 bits.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch

LIBRARY = torch.library.Library("torchvision", "DEF")  # where torchvision's own operators are missing
for _name in ("nms", "qnms"):
    LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from torchvision.models.mobilenetv3 import _mobilenet_v3_conf  # noqa: E402
from torchvision.models.quantization import mobilenetv2, mobilenetv3  # noqa: E402
from torchvision.models.quantization.utils import _replace_relu  # noqa: E402

HERE = Path(__file__).parent


def networks():
    yield (
        "v2_qnnpack",
        "qnnpack",
        mobilenetv2.QuantizableMobileNetV2(
            block=mobilenetv2.QuantizableInvertedResidual, num_classes=10, width_mult=0.25
        ),
    )
    setting, last = _mobilenet_v3_conf("mobilenet_v3_small", width_mult=0.25)
    yield (
        "v3_small_fbgemm",
        "fbgemm",
        mobilenetv3.QuantizableMobileNetV3(
            setting, last, num_classes=10, block=mobilenetv3.QuantizableInvertedResidual
        ),
    )


def quantised(model: torch.nn.Module, engine: str) -> torch.nn.Module:
    torch.backends.quantized.engine = engine
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
    _replace_relu(model)
    model.eval()
    model.fuse_model(is_qat=False)
    model.qconfig = torch.ao.quantization.get_default_qconfig(engine)
    torch.ao.quantization.prepare(model, inplace=True)
    model(torch.randn(4, 3, 32, 32))
    return torch.ao.quantization.convert(model, inplace=True)


def saving(checks: list[int]):
    """A hook that keeps the checksum of what a module makes."""

    def hook(module, x, y):
        if isinstance(y, torch.Tensor) and y.is_quantized:
            checks.append(zlib.crc32(y.int_repr().contiguous().numpy().tobytes()))

    return hook


def main() -> None:
    torch.manual_seed(0)
    made: dict[str, np.ndarray] = {"versions": np.array([f"torch {torch.__version__}"])}
    for name, engine, model in networks():
        model = quantised(model, engine)
        torch.save(model.state_dict(), HERE / f"torch_{name}.pth")
        checks: list[int] = []
        for module in model.modules():
            module.register_forward_hook(saving(checks))
        x = torch.randn(2, 3, 32, 32)
        made |= {f"{name}|x": x.numpy(), f"{name}|y": model(x).detach().numpy()}
        made[f"{name}|crc32"] = np.array(sorted(set(checks)), np.uint32)
    np.savez_compressed(HERE / "torch_networks.npz", **made)


if __name__ == "__main__":
    main()
