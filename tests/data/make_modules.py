"""Make modules/modules.tar.xz and modules/expected.npz: PyTorch files as people have them, and what is in them.

    python tests/data/make_modules.py     needs torch 2.13, torchvision 0.28, timm 1.0.31, transformers 5.24, NumPy

No test runs this file. All networks are narrow, with weights of few digits, so that the archive is small.
`expected.npz` holds `format`, `version` and `origin`, and for every file `name/digest`, the SHA-256 of PyTorch's own
state dict, see `digest`, and `name/y`, what the module makes of `x` in float64, of many channels every fortieth. State
dicts are mostly in the legacy format, which takes less room.
"""

from __future__ import annotations

import argparse
import collections
import copy
import hashlib
import pathlib
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

# Operators that torchvision expects of its compiled part; no classifier uses them.
library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm  # noqa: E402
import torchvision  # noqa: E402
import transformers  # noqa: E402
from timm.models.mobilenetv3 import _gen_mobilenet_v3  # noqa: E402
from torchvision.models import mobilenet_v2, mobilenet_v3_small  # noqa: E402
from torchvision.models.quantization import mobilenet_v2 as quantizable_v2  # noqa: E402

FOLDER = pathlib.Path(__file__).with_name("modules")
LEGACY = {"_use_new_zipfile_serialization": False}


def seeded(net: nn.Module) -> nn.Module:
    """The module with weights that are a function of their shapes and order, of few digits, and in inference."""
    numbers = torch.Generator().manual_seed(7)

    def steps(shape: Any, low: float, high: float) -> torch.Tensor:
        return (torch.rand(shape, generator=numbers) * (high - low) + low).mul(16).round().div(16)

    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if tensor.dim() > 1:
            reach = (6 / tensor[0].numel()) ** 0.5
            tensor.data = (torch.rand(tensor.shape, generator=numbers) * 2 - 1).mul(2).round().mul(reach / 2)
        elif tensor.dim() == 1 and tensor.is_floating_point():
            positive = name.endswith(("weight", "running_var"))
            tensor.data = steps(tensor.shape, 0.5, 1.5) if positive else steps(tensor.shape, -0.25, 0.25)
    return net.eval()


def images() -> torch.Tensor:
    """What every module is run on, in float64."""
    numbers = torch.Generator().manual_seed(3)
    return (torch.rand(2, 3, 48, 48, generator=numbers, dtype=torch.float64) * 2 - 1).mul(4).round().div(4)


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """Of the name, dtype, shape and bytes of every array in order."""
    found = hashlib.sha256()
    for name, tensor in tensors.items():
        array = tensor.detach().contiguous().numpy()
        found.update(f"{name} {array.dtype} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()


class Writer:
    """Saves files, and remembers what is in them."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.expected = folder, {}

    def __call__(
        self,
        name: str,
        saved: Any,
        net: nn.Module,
        state: Any = None,
        run: Callable[..., Any] | None = None,
        **how: Any,
    ) -> None:
        """One file: what is saved, the module that it is of, and its state dict where that is another."""
        torch.save(saved, self.folder / name, **how)
        self.remember(name, net, net.state_dict() if state is None else state, run)

    def remember(self, name: str, net: nn.Module, state: dict[str, torch.Tensor], run: Any = None) -> None:
        with torch.no_grad():
            y = (run or copy.deepcopy(net).double())(images())
        y = getattr(y, "logits", y).numpy()
        made = {"digest": digest(state), "y": y[:, :: 40 if y.shape[1] > 40 else 1]}
        self.expected |= {f"{name}/{key}": value for key, value in made.items()}


# ---------------------------------------------------------------------------------------------------- modules by hand


class OwnHead(nn.Module):
    """A part of torchvision's network with a head behind it, and what hand-written modules carry around."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = mobilenet_v2(width_mult=0.1).features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1280, 4)
        self.register_buffer("scratch", torch.ones(3), persistent=False)
        self.register_buffer("nothing", None)
        self.callback, self.kind, self.device = self.helper, torch.float32, torch.device("cpu")
        self.tags, self.table, self.itself = {"a", ("b", 1)}, {(1, 2): 3, None: 4, 1.5: 5}, [self]

    def helper(self) -> None:
        """A bound method is saved by its name."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.fc(self.pool(self.backbone(x)).flatten(1))


class Inside(nn.Module):
    """A network as a part of another module, as in Lightning."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.model = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the network makes."""
        return self.model(x)


class Average:
    """A running average that is no module itself, as in timm."""

    def __init__(self, net: nn.Module) -> None:
        self.ema, self.decay, self.updates = net, len, 3


class Callback:
    """What a trainer remembers."""

    def __init__(self) -> None:
        self.best, self.path, self.table = torch.tensor(3.0), pathlib.Path("last.ckpt"), {(1, 2): 3}
        self.score, self.itself, self.count = np.float64(3.5), self, collections.Counter("abca")


def stages(act: Callable[[], nn.Module], width: float = 0.25) -> tuple[list[nn.Module], int]:
    """The V1 that marvis wrote and others copied: each block a sequence, as a list; and its last width."""
    strides = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
    inputs = int(32 * width)
    made = [nn.Sequential(nn.Conv2d(3, inputs, 3, 2, 1, bias=False), nn.BatchNorm2d(inputs), act())]
    for full, stride in strides:
        out = int(full * width)
        filtering = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        mixing = nn.Conv2d(inputs, out, 1, 1, 0, bias=False)
        made.append(nn.Sequential(filtering, nn.BatchNorm2d(inputs), act(), mixing, nn.BatchNorm2d(out), act()))
        inputs = out
    return made, inputs


class Marvis(nn.Module):
    """marvis' V1."""

    def __init__(self) -> None:
        super().__init__()
        blocks, width = stages(partial(nn.ReLU, inplace=True))
        self.model = nn.Sequential(*blocks, nn.AvgPool2d(2))
        self.fc = nn.Linear(width, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.fc(self.model(x).flatten(1))


class Biubug6(nn.Module):
    """The V1 of biubug6's Pytorch_Retinaface."""

    def __init__(self) -> None:
        super().__init__()
        blocks, width = stages(partial(nn.LeakyReLU, 0.1, inplace=True))
        self.stage1, self.stage2 = nn.Sequential(*blocks[:6]), nn.Sequential(*blocks[6:12])
        self.stage3, self.avg, self.fc = nn.Sequential(*blocks[12:]), nn.AdaptiveAvgPool2d(1), nn.Linear(width, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.fc(self.avg(self.stage3(self.stage2(self.stage1(x)))).flatten(1))


class Tonylins(nn.Module):
    """tonylins' V2, as far as names go: d-li14's blocks are torchvision's in one sequence."""

    def __init__(self) -> None:
        super().__init__()
        features = []
        for part in mobilenet_v2(width_mult=0.1).features:
            if hasattr(part, "conv"):
                layers = [one for each in part.conv for one in (each if isinstance(each, nn.Sequential) else [each])]
                part.conv = nn.Sequential(*layers)
            features.append(part)
        self.features, self.classifier = nn.Sequential(*features), nn.Linear(1280, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.classifier(self.features(x).mean(3).mean(2))


# -------------------------------------------------------------------------------------------------------------- files


def whole(write: Writer, v3: nn.Module) -> None:
    """Modules saved as objects, in every format and protocol."""
    for protocol in (2, 5):
        write(f"v3-protocol{protocol}.pth", v3, v3, pickle_protocol=protocol)
    write("v3-legacy.pth", v3, v3, **LEGACY)
    write("v3-legacy-protocol4.pth", v3, v3, pickle_protocol=4, **LEGACY)
    parallel, compiled = nn.DataParallel(v3), torch.compile(v3)
    write("v3-parallel.pth", parallel, v3, parallel.state_dict())
    write("v3-compiled.pth", compiled, v3, compiled.state_dict())
    write("v3-traced-graph.pth", torch.fx.symbolic_trace(v3), v3)
    own = seeded(OwnHead())
    write("own.pth", own, own)
    write("own-legacy.pth", own, own, **LEGACY)
    narrow = partial(_gen_mobilenet_v3, channel_multiplier=0.1, num_classes=5)
    for name, habits in (
        ("mobilenetv3_small_100", {}),
        ("tf_mobilenetv3_small_100", {"bn_eps": 1e-3, "pad_type": "same"}),
    ):
        net = seeded(narrow(name, **habits))
        write(f"timm_{name}.pth", net, net)
    net = seeded(quantizable_v2(width_mult=0.1, num_classes=5, quantize=False))
    write("quantizable_v2.pth", net, net)
    write("quantizable_v2-state.pth", net.state_dict(), net, **LEGACY)


def scripts(write: Writer, v3: nn.Module) -> None:
    """TorchScript archives."""
    small = seeded(nn.Sequential(collections.OrderedDict(conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), act=nn.ReLU())))
    traced = torch.jit.trace(small, images().float())
    for name, net, script in (("v3-script.pt", v3, torch.jit.script(v3)), ("traced.pt", small, traced)):
        torch.jit.save(script, write.folder / name)
        write.remember(name, net, script.state_dict())
    torch.jit.save(torch.jit.freeze(torch.jit.script(small)), write.folder / "frozen.pt")


def wrapped(write: Writer, v3: nn.Module) -> None:
    """What training saves beside a network, and around it."""
    module = Inside(copy.deepcopy(v3))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0, momentum=0.9)
    module(images().float()).sum().backward()
    optimizer.step()
    lightning = {
        "epoch": 3,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": module.state_dict(),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val'}": {"best_model_score": torch.tensor(1.0), "own": Callback()}},
        "optimizer_states": [{**optimizer.state_dict(), "state": {}}],
        "hyper_parameters": argparse.Namespace(rate=0.1, sizes=np.arange(3), options=collections.OrderedDict(a=1)),
    }
    write("lightning.ckpt", lightning, module)
    write("lightning-legacy.ckpt", lightning, module, **LEGACY)
    write("model-and-average.pth", {"epoch": 1, "model": v3, "ema": Average(v3), "optimizer": None}, v3)
    write("average-object.pth", {"model": None, "ema": Average(v3)}, v3)
    counted = copy.deepcopy(v3)
    for part in counted.modules():
        for counter in ("total_ops", "total_params"):
            part.register_buffer(counter, torch.zeros(1, dtype=torch.float64))
    write("counted.pth", counted.state_dict(), v3, counted.state_dict(), **LEGACY)
    twice = {f"{name}.{key}": value for name in ("student", "teacher") for key, value in v3.state_dict().items()}
    write("student-and-teacher.pth", twice, v3, twice, **LEGACY)
    beside = {**{f"model.{key}": value for key, value in v3.state_dict().items()}, "criterion.weight": torch.ones(5)}
    write("criterion.pth", {"state_dict": beside}, v3, beside, **LEGACY)


def heads(write: Writer, v3: nn.Module) -> None:
    """Heads of one's own, and none."""

    def with_head(head: nn.Module, base: nn.Module) -> nn.Module:
        net = copy.deepcopy(base)
        net.classifier = head
        return seeded(net)

    v2, width = mobilenet_v2(width_mult=0.1, num_classes=5), v3.classifier[0].in_features
    for name, head in {
        "linear": nn.Linear(1280, 7),
        "adjacent": nn.Sequential(nn.Linear(1280, 16), nn.Linear(16, 3)),
        "two": nn.Sequential(nn.Dropout(), nn.Linear(1280, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 3)),
        "norm": nn.Sequential(
            nn.Linear(1280, 16), nn.BatchNorm1d(16, 1e-4), nn.Hardswish(), nn.Linear(16, 3), nn.Sigmoid()
        ),
    }.items():
        net = with_head(head, v2)
        if name in ("two", "norm"):
            write(f"v2-{name}.pth", net, net)
        write(f"v2-{name}-state.pth", net.state_dict(), net, **LEGACY)
    net = with_head(nn.Sequential(nn.Linear(width, 24), nn.Hardswish(), nn.Dropout(), nn.Linear(24, 3)), v3)
    write("v3-hidden.pth", net.state_dict(), net, **LEGACY)
    net = with_head(nn.Linear(width, 3), v3)
    write("v3-linear.pth", net.state_dict(), net, **LEGACY)
    net = copy.deepcopy(v3)
    net.classifier[3] = nn.Sequential(nn.Linear(net.classifier[3].in_features, 16), nn.ReLU(), nn.Linear(16, 2))
    write("v3-nested.pth", seeded(net), net)
    net = with_head(nn.Identity(), v2)
    write("v2-headless.pth", net, net)
    write("v2-headless-state.pth", net.state_dict(), net, **LEGACY)
    write("v2-features.pth", net.features.state_dict(), net.features, **LEGACY)
    write("v2-children.pth", (cut := nn.Sequential(*list(net.children())[:-1])).state_dict(), cut, **LEGACY)
    net = copy.deepcopy(v3)
    net.classifier[3] = nn.Identity()
    write("v3-headless.pth", net.state_dict(), net, **LEGACY)


def others(write: Writer) -> None:
    """Other vendors' names."""
    v1 = transformers.MobileNetV1Config(depth_multiplier=0.25, num_labels=7, image_size=48)
    v2 = transformers.MobileNetV2Config(depth_multiplier=0.1, num_labels=7, image_size=48)
    for name, net in {
        "transformers_v1": seeded(transformers.MobileNetV1ForImageClassification(v1)),
        "transformers_v2": seeded(transformers.MobileNetV2ForImageClassification(v2)),
        "marvis": seeded(Marvis()),
        "biubug6": seeded(Biubug6()),
        "tonylins": seeded(Tonylins()),
    }.items():
        parallel = name in ("marvis", "biubug6")
        state = nn.DataParallel(net).state_dict() if parallel else net.state_dict()
        write(f"{name}.pth", {"epoch": 1, "state_dict": state} if parallel else state, net, state, **LEGACY)
    base = seeded(transformers.MobileNetV2ForImageClassification(v2)).mobilenet_v2
    run = copy.deepcopy(base).double()
    write("transformers_v2-base.pth", base.state_dict(), base, run=lambda x: run(x).last_hidden_state, **LEGACY)


def main() -> None:
    """Write them all."""
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    versions = {module.__name__: module.__version__ for module in (torch, torchvision, timm, transformers)}
    with tempfile.TemporaryDirectory() as folder:
        write = Writer(pathlib.Path(folder))
        v3 = seeded(mobilenet_v3_small(width_mult=0.1, num_classes=5))
        whole(write, v3)
        scripts(write, v3)
        wrapped(write, v3)
        heads(write, v3)
        others(write)
        with tarfile.open(FOLDER / "modules.tar.xz", "w:xz", preset=9) as tar:
            for path in sorted(write.folder.iterdir()):
                info = tar.gettarinfo(path, path.name)
                info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
                with path.open("rb") as file:
                    tar.addfile(info, file)
    origin = ", ".join(f"{name} {version}" for name, version in versions.items())
    facts = {"format": "modules", "version": 1, "origin": origin, "x": images().numpy()}
    np.savez_compressed(FOLDER / "expected.npz", **facts, **write.expected)


if __name__ == "__main__":
    sys.exit(main())
