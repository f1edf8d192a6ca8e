"""Make pth/*.pth and pth/expected.npz: small checkpoints as PyTorch itself writes them, and what is in them.

    python tests/data/make_pth.py      needs torch 2.13, NumPy

No test runs this file. `expected.npz` holds `format`, `version` and `origin`, and `file/key` for every key that a
reader should give, bfloat16 as float32; `network_legacy.pth` and its like hold what `network.pth` does.
`module.pth` and `torchscript.pth` hold no weights and are to be refused.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).with_name("pth")
Tensors = dict[str, torch.Tensor]


def network() -> nn.Sequential:
    """A convolution and a batch norm that has seen something."""
    torch.manual_seed(20)
    net = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, (3, 2)), bn=nn.BatchNorm2d(4)))
    net(torch.randn(2, 3, 6, 6))
    return net.eval()


def views() -> Tensors:
    """One storage under many names."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    views = {"base": base, "tied": base, "rows": base[1:3], "last": base[3, 5], "turned": base.t()}
    return views | {"every_second": base[::2, 1::3], "repeated": base[2, :2].expand(3, 2)}


def types() -> Tensors:
    """Every type of storage, and tensors without axes and without elements."""
    numbers = torch.tensor([[0.0, 1.0, -2.5], [3.140625, 1e-3, -65504.0]])
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    integers = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    tensors = {str(dtype).removeprefix("torch."): numbers.to(dtype) for dtype in floats}
    tensors |= {str(dtype).removeprefix("torch."): torch.tensor([0, 1, 127]).to(dtype) for dtype in integers}
    special = torch.tensor([float("inf"), float("-inf"), float("nan"), -0.0], dtype=torch.bfloat16)
    tensors |= {"bool": torch.tensor([[True, False], [False, True]]).t(), "special": special}
    return tensors | {"scalar": torch.tensor(7), "empty": torch.zeros(0, 3), "none": torch.zeros(2, 0, 4).half()}


def save(name: str, checkpoint: Any, **options: Any) -> None:
    """Write one checkpoint."""
    torch.save(checkpoint, FOLDER / f"{name}.pth", **options)


def arrays(name: str, tensors: Tensors) -> dict[str, np.ndarray]:
    """What a reader should find."""
    wide = {key: tensor.float() if tensor.dtype == torch.bfloat16 else tensor for key, tensor in tensors.items()}
    return {f"{name}/{key}": tensor.detach().contiguous().numpy() for key, tensor in wide.items()}


def main() -> None:
    """Write them all."""
    FOLDER.mkdir(exist_ok=True)
    legacy = {"_use_new_zipfile_serialization": False}
    net = network()
    save("network", net.state_dict())
    save("network_protocol5", net.state_dict(), pickle_protocol=5)
    save("network_channels_last", network().to(memory_format=torch.channels_last).state_dict())
    save("network_legacy", net.state_dict(), **legacy)
    save("network_legacy_protocol4", net.state_dict(), pickle_protocol=4, **legacy)
    save("views", views())
    save("views_legacy", views(), **legacy)
    save("types", types())
    save("types_legacy", types(), **legacy)
    parameters = {"w": nn.Parameter(torch.ones(2, 3)), "frozen": nn.Parameter(torch.zeros(2), False)}
    save("parameters", parameters)

    parallel = nn.DataParallel(network())
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1, momentum=0.9)
    parallel(torch.ones(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    wrapped = {"epoch": 3, "best": 71.5, "arch": "small", "optimizer": optimizer.state_dict()}
    save("wrapped", wrapped | {"state_dict": parallel.state_dict()})

    save("module", nn.Sequential(nn.ReLU()))
    torch.jit.save(torch.jit.script(nn.ReLU()), FOLDER / "torchscript.pth")

    found: dict[str, Any] = {"format": "pth", "version": 1, "origin": f"torch {torch.__version__}"}
    found |= arrays("network", net.state_dict()) | arrays("views", views()) | arrays("types", types())
    found |= arrays("parameters", parameters) | arrays("wrapped", parallel.state_dict())
    np.savez_compressed(FOLDER / "expected.npz", **found)


if __name__ == "__main__":
    main()
