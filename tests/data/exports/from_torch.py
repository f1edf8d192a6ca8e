"""The PyTorch side of make_exports.py: the vendors' modules, what they write, what they make in float64.

d-li14's code is in no package; its module is written here anew, in plain nn, with that vendor's names of layers and its
spelling of hard swish. `weights/outputs_others.npz` holds what the vendor's own source makes of such weights.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from exports import Export, Network
from make_outputs_torch import fill, import_torchvision
from make_outputs_torch import module as published
from torch import nn
from torch.nn import functional

from refnet.graph import Graph
from refnet.networks.build import find
from refnet.networks.plan import Block, Plan, plan

__all__ = ["module", "outputs", "without_biases", "write"]

Array = npt.NDArray[Any]


def module(network: Network, graph: Graph) -> nn.Module:
    """The vendor's module in a width that its public functions may not offer, filled with `random_params`."""
    torchvision = import_torchvision()
    vendor, name = network.model.split("/")
    width = network.width * find(network.model).width
    if vendor == "d-li14":
        return fill(DLi14(plan(find(network.model), network.width), network.classes), graph)
    if name.startswith("mnasnet"):
        return fill(torchvision.models.MNASNet(width, num_classes=network.classes), graph)
    if vendor == "torchvision":
        return fill(published(network.model, network.width, num_classes=network.classes), graph)

    from timm.models import _efficientnet_builder, efficientnet, mobilenetv3

    tensorflow = {"bn_eps": _efficientnet_builder.BN_EPS_TF_DEFAULT, "pad_type": "same"}
    generate, options = {  # as timm's functions of these names have it, but for the width
        "mobilenetv1_100": (efficientnet._gen_mobilenet_v1, {}),
        "mobilenetv2_100": (efficientnet._gen_mobilenet_v2, {}),
        "semnasnet_100": (efficientnet._gen_mnasnet_a1, {}),
        "mobilenetv3_small_100": (mobilenetv3._gen_mobilenet_v3, {}),
        "tf_mobilenetv3_small_100": (mobilenetv3._gen_mobilenet_v3, tensorflow),
    }[name]
    return fill(generate(name, channel_multiplier=width, num_classes=network.classes, **options), graph)


def without_biases(net: nn.Module) -> nn.Module:
    """The same module with the biases of convolutions and linear layers zero, as they are before training."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return net


def outputs(net: nn.Module, x: Array) -> Array:
    """The logits in float64."""
    net.to(torch.float64)
    with torch.inference_mode():
        logits = net(torch.from_numpy(x.astype(np.float64))).numpy()
    net.to(torch.float32)  # the float64 weights are float32 numbers, so back again they are the same
    return logits


def write(export: Export, net: nn.Module, x: Array, path: Path) -> None:
    """Write a module as the vendor's users would."""
    match export.how:
        case "pth":
            torch.save(net.state_dict(), path)
        case "legacy":
            torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
        case "channels_last":
            torch.save(net.to(memory_format=torch.channels_last).state_dict(), path)
            net.to(memory_format=torch.contiguous_format)
        case "safetensors":
            from safetensors.torch import save_file

            save_file(net.state_dict(), path)
        case "onnx":
            _write_onnx(export, net, x, path)
        case _:
            raise SystemExit(f"{export.file}: PyTorch writes no {export.how}")


def _write_onnx(export: Export, net: nn.Module, x: Array, path: Path) -> None:
    options = {"external_data": False, **export.options}
    if "training" in options:
        options["training"] = getattr(torch.onnx.TrainingMode, str(options["training"]))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        torch.onnx.export(
            net, (torch.from_numpy(x),), str(path), dynamo=export.dynamo, opset_version=export.opset, **options
        )
        logging.disable(logging.NOTSET)
    _forget_the_machine(path)


def _forget_the_machine(path: Path) -> None:
    """Drop stack traces and the like, which name folders of the machine; nothing that a reader of networks reads."""
    model = onnx.load(path, load_external_data=False)
    parts = [model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info]
    for part in [*parts, *model.graph.input, *model.graph.output]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    path.write_bytes(model.SerializeToString())


# ---------------------------------------------------------------- d-li14


class HardSigmoid(nn.Module):
    """relu6(x + 3) / 6, spelled out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu6(x + 3) / 6


class HardSwish(nn.Module):
    """x relu6(x + 3) / 6, spelled out."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = HardSigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.sigmoid(x)


class Squeeze(nn.Module):
    """Squeeze-and-excite with linear layers."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        layers = (nn.Linear(channels, squeezed), nn.ReLU(), nn.Linear(squeezed, channels), HardSigmoid())
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        N, C, _, _ = x.shape
        return x * self.fc(self.avg_pool(x).view(N, C)).view(N, C, 1, 1)


def _conv(inputs: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out)]


class InvertedResidual(nn.Module):
    """A block; its squeeze-and-excite precedes the activation where there is an expansion."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        act = {"relu": nn.ReLU, "hard_swish": HardSwish}[block.act]
        squeeze = Squeeze(block.expanded, block.squeeze) if block.squeeze else nn.Identity()
        depthwise = _conv(block.expanded, block.expanded, block.kernel, block.stride, block.expanded)
        project = _conv(block.expanded, block.out)
        if block.expand:
            layers = [*_conv(block.inputs, block.expanded), act(), *depthwise, squeeze, act(), *project]
        else:
            layers = [*depthwise, act(), squeeze, *project]
        self.conv = nn.Sequential(*layers)
        self.shortcut = block.shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class DLi14(nn.Module):
    """MobileNetV3 with d-li14's names of layers."""

    def __init__(self, widths: Plan, classes: int) -> None:
        super().__init__()
        stem = nn.Sequential(*_conv(3, widths.stem, 3, 2), HardSwish())
        self.features = nn.Sequential(stem, *map(InvertedResidual, widths.blocks))
        self.conv = nn.Sequential(*_conv(widths.blocks[-1].out, widths.last), HardSwish())
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        hidden = nn.Linear(widths.last, widths.hidden)
        self.classifier = nn.Sequential(hidden, HardSwish(), nn.Dropout(0.2), nn.Linear(widths.hidden, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.avgpool(self.conv(self.features(x)))
        return self.classifier(x.view(x.size(0), -1))
