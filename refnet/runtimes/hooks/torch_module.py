"""Every tensor that the modules of a PyTorch model make, by forward hooks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["torch_tensors"]

Array = npt.NDArray[Any]


def torch_tensors(module: Any, x: Array) -> dict[str, Array]:
    """Run a module on x and return what each of its modules made, copied before a later one writes over it."""
    import torch

    found: dict[str, Array] = {"input": np.array(x)}

    def kept(name: str) -> Any:
        def keep(_: Any, __: Any, y: Any) -> None:
            if isinstance(y, torch.Tensor) and y.is_floating_point():
                wide = y.detach().cpu().to(torch.float64 if y.dtype == torch.float64 else torch.float32)
                found[_free(name, found)] = wide.numpy().copy()

        return keep

    hooks = [each.register_forward_hook(kept(name or "output")) for name, each in module.named_modules()]
    try:
        first = next(iter(module.parameters()), None)
        given = torch.from_numpy(np.array(x))
        with torch.no_grad():
            module(given if first is None else given.to(first.device, first.dtype))
    finally:
        for each in hooks:
            each.remove()
    return found


def _free(name: str, found: dict[str, Array]) -> str:
    """The name, or where it is taken, with the number of the call."""
    count = 1
    while (called := name if count == 1 else f"{name}:{count}") in found:
        count += 1
    return called
