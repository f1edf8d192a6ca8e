"""One line that dumps every tensor of a port in PyTorch, Keras or ONNX Runtime, under names that `compare` understands.

Nothing of a framework is imported here: what is hooked is told by its class, and its own file does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError

__all__ = ["hook"]

Array = npt.NDArray[Any]

# By the package and the name of a class, the file that hooks it, and the function there.
_FRAMEWORKS = {
    ("torch", "Module"): ("torch_module", "torch_tensors"),
    ("keras", "Model"): ("keras_model", "keras_tensors"),
    ("onnxruntime", "InferenceSession"): ("onnx_session", "session_tensors"),
}


def hook(module: Any, folder: str | Path | None = None) -> Callable[[Array], dict[str, Array]]:
    """A function that runs a model of a framework and returns every tensor on the way.

    Parameters
    ----------
    module : a torch.nn.Module, a Keras model or an onnxruntime.InferenceSession
    folder : where each tensor is also written, as NAME.npy; made where it is not there

    Returns
    -------
    function
        (N, C, H, W) array -> {name: tensor}: the input under 'input', the output of every layer under the layer's own
        name; of a layer that is called again, NAME:2 and so on. `compare` takes the function itself as a candidate

    Raises
    ------
    RequestError
        if it is none of these.

    Examples
    --------
    With a model of PyTorch's, `compare("golden.pack", hook(model))` judges every layer.

    >>> from refnet import RequestError
    >>> try:
    ...     hook("model.pth")
    ... except RequestError as error:
    ...     print(error)
    hook: str is nothing that can be hooked; take a torch.nn.Module, a Keras model or an onnxruntime.InferenceSession
    """
    classes = {(each.__module__.partition(".")[0], each.__name__) for each in type(module).__mro__}
    found = next((place for known, place in _FRAMEWORKS.items() if known in classes), None)
    if found is None:
        kinds = "a torch.nn.Module, a Keras model or an onnxruntime.InferenceSession"
        raise RequestError(f"hook: {type(module).__name__} is nothing that can be hooked; take {kinds}")
    file, function = found
    run: Callable[[Any, Array], dict[str, Array]] = getattr(import_module(f"refnet.runtimes.hooks.{file}"), function)

    def dumped(x: Array) -> dict[str, Array]:
        tensors = run(module, np.asarray(x))
        if folder is not None:
            _write(tensors, Path(folder))
        return tensors

    return dumped


def _write(tensors: dict[str, Array], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, y in tensors.items():
        np.save(folder / f"{name.replace('/', '.').replace(':', '.')}.npy", y, allow_pickle=False)
