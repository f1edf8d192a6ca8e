"""Save what keras.applications' own models make of known weights and inputs.

Writes `outputs_keras.npz` beside this script: the logits of every Keras network in `configurations`, in float64 and in
float32, and of keras/MobileNetV3Small the softmax too, in float64. Weights and inputs are `refnet.random_params` and
`refnet.random_input` (channels last for Keras), so the archive holds neither. A key is
`<model>|<width>|<height>x<width>|logits64`, and `meta` says what made the file.

It refuses a model whose variables are not, name by name and shape by shape, what `refnet.files.schemes` says they
are, and one in which any layer computes in another precision than asked. It downloads and compares nothing: the
tests compare. No test runs it.

    PYTHONPATH=. python weights/make_outputs_keras.py

Needs keras and tensorflow-cpu. Other versions may differ in the last bits.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from configurations import BATCH, SIZES, key, networks, versions, write

from refnet.files.schemes import entries
from refnet.graph import Graph
from refnet.networks.build import build
from refnet.networks.random import random_input, random_params

THREADS = 2
SOFTMAX = "keras/MobileNetV3Small"  # the one network whose softmax is saved too


def use(dtype: str) -> None:
    """Let all that is built from here on be of this precision."""
    keras.config.set_floatx(dtype)
    keras.utils.clear_session()  # the old precision is remembered beside floatx


def application(model: str, width: float, size: tuple[int, int], **options: Any) -> keras.Model:
    """Keras' own model, without trained weights, in the precision of keras.config.floatx().

    Parameters
    ----------
    model : refnet's name of it: 'keras/MobileNetV3Large_minimalistic', '@raw' (takes inputs in [-1, 1]), '@anysize'
        (built without a size)
    size : (height, width)
    options : further arguments of Keras' function
    """
    name, _, variant = model.removeprefix("keras/").partition("@")
    name, _, minimalistic = name.partition("_")
    options = {"input_shape": None if variant == "anysize" else (*size, 3), **options}
    if name.startswith("MobileNetV3"):
        options |= {"minimalistic": bool(minimalistic), "include_preprocessing": variant != "raw"}
    return getattr(keras.applications, name)(alpha=width, weights=None, **options)


def fill(net: keras.Model, graph: Graph) -> keras.Model:
    """Load `random_params` into a model, strictly, and return it.

    Raises
    ------
    SystemExit
        naming the variables that the model has and the scheme has not, or the other way round, or the layers that
        compute in another precision.
    """
    params = random_params(graph)
    arrays = {entry.key: entry.theirs(params[name]) for name, entry in entries(graph).items()}
    variables = {f"{layer.name}/{variable.name}": variable for layer in net.layers for variable in layer.weights}
    if odd := sorted(arrays.keys() ^ variables.keys()):
        raise SystemExit(f"{graph.recipe.model}: {', '.join(odd)}: not on both sides")
    for name, variable in variables.items():
        if variable.shape != arrays[name].shape:
            raise SystemExit(f"{graph.recipe.model}: {name} has shape {variable.shape}, not {arrays[name].shape}")
        variable.assign(arrays[name])
    wanted = {keras.config.floatx()}
    if odd := [layer.name for layer in net.layers if {layer.compute_dtype, layer.variable_dtype} != wanted]:
        raise SystemExit(f"{graph.recipe.model}: {', '.join(odd)}: not in {keras.config.floatx()}")
    return net


def pixels(graph: Graph) -> npt.NDArray[Any]:
    """`random_input` as Keras takes it, (N, H, W, C), in the precision of keras.config.floatx()."""
    x = random_input(graph, BATCH, keras.config.floatx())
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def main() -> None:
    """Write the archive."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    arrays = {}
    for model, width in networks("keras"):
        for dtype, bits in ("float64", 64), ("float32", 32):
            use(dtype)
            for size in SIZES:
                graph = build(model, width=width, size=size)
                x = pixels(graph)
                net = fill(application(model, width, size, classifier_activation=None), graph)
                arrays[key(model, width, size, f"logits{bits}")] = np.asarray(net(x, training=False))
                if (model, width, bits) == (SOFTMAX, 1.0, 64):
                    net = fill(application(model, width, size), graph)
                    arrays[key(model, width, size, "softmax64")] = np.asarray(net(x, training=False))
        print(f"{model} {width:g}", flush=True)
    write(
        "outputs_keras.npz",
        arrays,
        format="refnet outputs 1",
        versions=versions("keras", "tensorflow-cpu"),
        origin="keras.applications' own models, run eagerly in TensorFlow on a CPU, weights random_params(graph)",
        script="weights/make_outputs_keras.py",
        batch_rule=f"random_input(graph, {BATCH}), moved to channels last",
    )


if __name__ == "__main__":
    main()
