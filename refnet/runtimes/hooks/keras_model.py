"""Every tensor that the layers of a Keras model make: a model of as many outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["keras_tensors"]

Array = npt.NDArray[Any]


def keras_tensors(module: Any, x: Array) -> dict[str, Array]:
    """Run a functional or sequential model on x, (N, C, H, W), and return what each of its layers made, as it lies."""
    import keras

    last = len(module.input_shape) == 4 and module.input_shape[-1] == x.shape[1] != module.input_shape[1]
    layers = [layer for layer in module.layers if not isinstance(layer.output, list | tuple | dict)]
    many = keras.Model(module.inputs, [layer.output for layer in layers])
    made = many(np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if last else x, training=False)
    outputs = made if isinstance(made, list | tuple) else [made]
    found = {"input": np.array(x)}
    for layer, y in zip(layers, outputs, strict=True):
        if type(layer).__name__ != "InputLayer":
            found[layer.name] = np.asarray(y)
    return found
