"""The Keras side of make_exports.py: Keras 3's and TF-Keras 2's applications, what they write, TFLite files of them.

TF-Keras 2 is given Keras 3's weights layer by layer, both in order, and refused where a layer has another class or its
logits in float64 are not Keras 3's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras
from exports import Export, Network
from make_outputs_keras import application, fill, use

from refnet.graph import Graph

__all__ = ["logits", "tensors", "tf_application", "vendors", "write"]

Array = npt.NDArray[Any]
AGREEMENT = 1e-11  # of the largest logit


def vendors(network: Network, graph: Graph, dtype: str = "float32", **options: Any) -> keras.Model:
    """Keras 3's model of this network with `random_params`."""
    use(dtype)
    return fill(application(network.model, network.width, network.size, classes=network.classes, **options), graph)


def tf_application(network: Network, net: keras.Model, dtype: str = "float32", **options: Any) -> tf_keras.Model:
    """TF-Keras 2's model of this network with the weights of Keras 3's."""
    tf_keras.backend.clear_session()
    tf_keras.backend.set_floatx(dtype)
    name = network.model.removeprefix("keras/")
    options |= {"alpha": network.width, "weights": None, "classes": network.classes}
    twin = getattr(tf_keras.applications, name)(input_shape=(*network.size, 3), **options)
    weighted = [[layer for layer in model.layers if layer.weights] for model in (net, twin)]
    for theirs, layer in zip(*weighted, strict=True):
        if type(theirs).__name__ != type(layer).__name__:
            raise SystemExit(f"{network.model}: {theirs.name} and {layer.name} are not of one class")
        layer.set_weights(theirs.get_weights())
    return twin


def logits(network: Network, graph: Graph, x: Array) -> Array:
    """What comes before the softmax, in float64; the same from both Keras."""
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1).astype(np.float64))
    net = vendors(network, graph, "float64", classifier_activation=None)
    made = np.asarray(net(x, training=False))
    twin = tf_application(network, net, "float64", classifier_activation=None)
    apart = np.abs(np.asarray(twin(x, training=False)) - made).max()
    if apart > AGREEMENT * np.abs(made).max():
        raise SystemExit(f"{network.model}: Keras 3 and TF-Keras 2 are {apart} apart")
    return made


def write(export: Export, network: Network, graph: Graph, path: Path) -> None:
    """Write a model as the vendor's users would."""
    net = vendors(network, graph)
    match export.how:
        case "keras" | "h5":
            net.save(path)
        case "weights":
            net.save_weights(path)
        case "tf_keras":
            tf_application(network, net).save(path)
        case "tf_keras_weights":
            tf_application(network, net).save_weights(path)
        case "tflite":
            path.write_bytes(_convert(net))
        case "tflite16":
            path.write_bytes(_convert(tf_application(network, net), half=True))
        case _:
            raise SystemExit(f"{export.file}: Keras writes no {export.how}")


def _convert(net: Any, *, half: bool = False) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    if half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def tensors(network: Network, graph: Graph, x: Array) -> dict[str, Array]:
    """The float32 output of every layer of Keras 3's model, by the layer's name, channels first."""
    net = vendors(network, graph)
    layers = net.layers[1:]
    made = keras.Model(net.inputs, [layer.output for layer in layers])(x.transpose(0, 2, 3, 1), training=False)
    arrays = {layer.name: np.asarray(y) for layer, y in zip(layers, made, strict=True)}
    return {
        name: np.ascontiguousarray(y.transpose(0, 3, 1, 2)) if y.ndim == 4 else y
        for name, y in arrays.items()
        if not name.startswith(("dropout", "flatten"))
    }
