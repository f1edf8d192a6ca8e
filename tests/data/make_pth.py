"""Make pth/: small checkpoints as PyTorch itself writes them, and pth/expected.npz with the values in them.

    python tests/data/make_pth.py       needs torch 2.13

No test runs this file. A key of the archive is `name/key`, for name.pt and name.legacy.pt (the format from before
1.6); bfloat16 is there as float32. Files that the archive does not name must be refused: a program, a whole module, an
optimizer alone. The numbers are small counts, so that every type holds them exactly.
"""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).with_name("pth")


def counted(*shape: int, dtype: torch.dtype = torch.float32, start: int = 0) -> torch.Tensor:
    """start, start + 1, ... in the shape."""
    return torch.arange(start, start + int(np.prod(shape)), dtype=torch.float64).reshape(shape).to(dtype)


def small_net() -> nn.Module:
    """A convolution and a batch norm after one step of training, so that no value is its default."""
    torch.manual_seed(0)
    net = nn.Sequential(OrderedDict(conv=nn.Conv2d(2, 3, 3, bias=False), bn=nn.BatchNorm2d(3)))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(counted(*parameter.shape, start=1) / 8)
    net(counted(1, 2, 4, 4))
    return net


def shared_and_offset() -> dict[str, torch.Tensor]:
    """Two names for one storage, a view of its middle, and a transposed view of it."""
    whole = counted(12)
    return {"whole": whole, "again": whole, "middle": whole[5:9].view(2, 2), "turned": whole.view(3, 4).t()}


def every_dtype() -> dict[str, torch.Tensor]:
    dtypes = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    dtypes += (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    tensors = {str(dtype).removeprefix("torch."): counted(2, 3, dtype=dtype) for dtype in dtypes}
    return {**tensors, "bool": counted(2, 2, dtype=torch.bool), "scalar": torch.tensor(7.5), "empty": torch.empty(0, 3)}


def good() -> dict[str, tuple[Any, dict[str, torch.Tensor]]]:
    """(what is saved, the tensors that a reader is to find) by file."""
    plain = {"second.w": counted(2, 3), "first.w": counted(3, start=6)}  # not in the order of the alphabet
    strided = {"conv.w": counted(4, 3, 2, 2).to(memory_format=torch.channels_last)}
    module = small_net().state_dict()
    parameters = list(small_net().parameters())
    optimizer = torch.optim.Adam(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    wrapped = {"epoch": 3, "state_dict": {f"module.{key}": t for key, t in plain.items()}, "best": 71.5}
    return {
        "plain": (plain, plain),
        "channels_last": (strided, strided),
        "shared": (shared_and_offset(), shared_and_offset()),
        "module": (module, module),
        "wrapped": (wrapped, plain),
        "training": ({"optimizer": optimizer.state_dict(), "model": plain}, plain),
        "dtypes": (every_dtype(), every_dtype()),
        "parameter": ({"w": nn.Parameter(counted(2, 2))}, {"w": counted(2, 2)}),
    }


def values(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().contiguous().numpy()


def save_script(net: nn.Module, path: Path) -> None:
    """A TorchScript archive without its debug members, which name the folders of the machine."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(net), buffer)
    with zipfile.ZipFile(buffer) as whole, zipfile.ZipFile(path, "w") as archive:
        for member in whole.infolist():
            if not member.filename.endswith(".debug_pkl"):
                archive.writestr(member, whole.read(member))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    expected: dict[str, np.ndarray] = {"origin": np.array(f"torch {torch.__version__}")}
    for name, (saved, tensors) in good().items():
        torch.save(saved, FOLDER / f"{name}.pt")
        torch.save(saved, FOLDER / f"{name}.legacy.pt", _use_new_zipfile_serialization=False)
        expected |= {f"{name}/{key}": values(tensor) for key, tensor in tensors.items()}
    torch.save(good()["plain"][0], FOLDER / "protocol4.pt", pickle_protocol=4)
    expected |= {f"protocol4/{key}": values(tensor) for key, tensor in good()["plain"][1].items()}
    np.savez_compressed(FOLDER / "expected.npz", **expected)

    net = small_net()
    save_script(net, FOLDER / "script.pt")
    torch.save(net, FOLDER / "whole.pt")
    torch.save(torch.optim.SGD(net.parameters(), 0.1).state_dict(), FOLDER / "optimizer.pt")
    torch.save(counted(2, 2), FOLDER / "tensor.pt")


if __name__ == "__main__":
    main()
