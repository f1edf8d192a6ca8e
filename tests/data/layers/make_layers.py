"""Make networks.tar.xz and expected.npz: small networks of many layers as vendors write them, and what they compute.

    PYTHONPATH=.:weights:tests/data/exports:tests/data/tensorflow python tests/data/layers/make_layers.py

The networks of `keras_networks`, whose weights are functions of their names, by Keras 3 and TF-Keras 2 themselves, by
TensorFlow Lite's, TensorFlow.js' and tf2onnx's converters; and those of `torch_networks`, made by another run of
Python, see there: its folder is the only argument. Random numbers alone, no one else's weights. `expected.npz` holds

    <file>|y64               what the vendor's own module makes in float64; of tf2onnx's files, what ONNX' reference
                             evaluator makes in float64 of the file's own numbers
    <file>|rounded           what Keras' module makes in float64, of files whose converter folded and rounded
    <file>|float32|<tensor>  the runtime's own tensors of the first image
    <file>|x                 the input, where it is another than `keras_networks.pixels`

Needs tensorflow-cpu, tf_keras, keras, tensorflowjs (without its dependencies, see `absent_packages`), tf2onnx, onnx.
No test runs it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import absent_packages  # noqa: F401  (first)
import keras
import numpy as np
import numpy.typing as npt
import onnx_float64
import tensorflow as tf
import tf2onnx
import tf_keras
from configurations import versions
from keras_networks import NETWORKS, SIZES, fill, pixels
from make_tensorflow import pack
from tensorflowjs import converters

from refnet.files.containers import npz

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

HERE = Path(__file__).resolve().parent


def last(x: Array) -> Array:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def first(y: Array) -> Array:
    return np.ascontiguousarray(y.transpose(0, 3, 1, 2)) if y.ndim == 4 else y


def made(framework: Any, name: str) -> tuple[Any, Array]:
    """A network, and what its twin in float64 makes of the pixels, channels first."""
    framework.backend.clear_session()
    model = NETWORKS[name](framework)
    fill(model)
    framework.backend.set_floatx("float64")
    framework.backend.clear_session()
    twin = NETWORKS[name](framework)
    twin.set_weights(model.get_weights())
    y = np.asarray(twin(last(pixels(name)).astype(np.float64), training=False))
    framework.backend.set_floatx("float32")
    return model, first(y)


def of_keras(folder: Path) -> Arrays:
    """What both versions of Keras save; of layers of one name in a layer's place only .keras can."""
    arrays = {}
    for version, framework in (("2", tf_keras), ("3", keras)):
        for name in NETWORKS:
            model, y = made(framework, name)
            for kind in ("keras",) if name == "deep" else ("h5", "keras"):
                file = f"{name}-keras{version}.{kind}"
                model.save(folder / file)
                arrays[f"{file}|y64"] = y
        model, y = made(framework, "heatmap")
        model.save_weights(folder / f"heatmap-keras{version}.weights.h5")
    return arrays


def of_converters(folder: Path) -> Arrays:
    """TensorFlow.js' layers and graph models, TensorFlow Lite's files, ONNX by tf2onnx; all of TF-Keras' networks."""
    arrays = {}
    for name in NETWORKS:
        model, y = made(tf_keras, name)
        x = last(pixels(name))
        if name not in ("deep", "shared"):  # names there are twice, or are functions
            converters.save_keras_model(model, str(folder / f"{name}-tfjs"))
            arrays[f"{name}-tfjs|y64"] = y
        if name in ("teachable", "heatmap"):  # the converter refuses, or loses, what the others hold
            with tempfile.TemporaryDirectory() as temporary:
                model.export(temporary)
                converters.convert_tf_saved_model(temporary, str(folder / f"{name}-graph"))
            arrays[f"{name}-graph|rounded"] = y
        arrays |= _tflite(folder / f"{name}.tflite", tf.lite.TFLiteConverter.from_keras_model(model), x[:1])
        given = [tf.TensorSpec((None, *SIZES[name], 3), tf.float32, name="pixels")]
        function = tf.function(partial(model, training=False), input_signature=given)
        for opset in () if name in ("layers", "shared") else (9, 13):  # tf2onnx loses what those compute with
            path = folder / f"{name}-{opset}.onnx"
            try:
                tf2onnx.convert.from_function(function, given, opset=opset, output_path=str(path))
            except Exception as error:  # an operation that this opset has not
                print(f"{path.name}: {str(error)[:80]}")
                path.unlink(missing_ok=True)
                continue
            try:
                arrays[f"{path.name}|y64"] = first(onnx_float64.run(path, x))
            except RuntimeError:  # its nodes are not in an order that the evaluator takes
                arrays[f"{path.name}|rounded"] = y
    return arrays


def of_tensorflow1(folder: Path) -> Arrays:
    """Operations of TensorFlow 1 in a TFLite file: resized from corners, dilated in blocks, slopes, limits."""
    rng = np.random.default_rng(9)

    def weights(*shape: int) -> tf.Tensor:
        drawn = rng.standard_normal(shape) * np.sqrt(2 / max(np.prod(shape[:-1]), 1))
        return tf.constant(np.round(drawn * 64) / 64, tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, 15, 22, 3), tf.float32, name="pixels")])
    def network(x: tf.Tensor) -> tf.Tensor:
        y = tf.nn.conv2d((x - 0.25) * tf.constant([1.0, 2.0, 0.5]), weights(3, 3, 3, 6), 1, "SAME")
        y = tf.space_to_batch_nd(y, [2, 3], [[2, 3], [3, 5]])
        y = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(y, weights(3, 3, 6, 6), 1, "VALID"), weights(6)))
        y = tf.batch_to_space(y, [2, 3], [[0, 1], [0, 2]])
        y = tf.raw_ops.ResizeBilinear(images=y, size=[20, 33], align_corners=False, half_pixel_centers=False)
        y = tf.nn.leaky_relu(y - 0.125, 0.1)
        z = tf.raw_ops.ResizeNearestNeighbor(images=x, size=[20, 33], align_corners=False, half_pixel_centers=True)
        y = tf.concat([y, z, tf.raw_ops.ResizeNearestNeighbor(images=x, size=[20, 33])], 3)
        y = tf.maximum(tf.minimum(y, 1.5), -0.75) - tf.tanh(y)
        return tf.nn.relu6(tf.matmul(tf.reshape(y, (1, -1)), weights(20 * 33 * 12, 3)) + weights(3))

    file = folder / "tensorflow1.tflite"
    x = np.random.default_rng(10).uniform(-1, 1, (1, 15, 22, 3)).astype(np.float32)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    return {"tensorflow1.tflite|x": first(x), **_tflite(file, converter, x)}


def _tflite(file: Path, converter: Any, x: Array) -> Arrays:
    """Write a file; the runtime's own tensors that are small, and the answer."""
    file.write_bytes(converter.convert())
    kernels = tf.lite.experimental.OpResolverType.BUILTIN_REF
    runtime = tf.lite.Interpreter(
        str(file), experimental_preserve_all_tensors=True, num_threads=1, experimental_op_resolver_type=kernels
    )
    runtime.resize_tensor_input(runtime.get_input_details()[0]["index"], x.shape)
    runtime.allocate_tensors()
    runtime.set_tensor(runtime.get_input_details()[0]["index"], x)
    runtime.invoke()
    made = {}
    for operation in runtime._get_ops_details():
        for index in operation["outputs"]:
            details = runtime._get_tensor_details(index, 0)
            y = runtime.get_tensor(index)
            if y.dtype == np.float32 and (y.size <= 4000 or y.ndim == 2):
                made[f"{file.name}|float32|{details['name']}"] = first(y)
    return made


def main() -> None:
    """Write the archive, and what its files compute."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        arrays = of_keras(folder) | of_converters(folder) | of_tensorflow1(folder)
        torch = Path(sys.argv[1])
        for file in sorted(torch.glob("*.onnx")):
            shutil.copy(file, folder / file.name)
        arrays |= dict(np.load(torch / "expected.npz"))
        pack(folder, HERE / "networks.tar.xz")
    meta = {
        "format": "refnet layers 1",
        "origin": "Keras 2 and 3, TensorFlow's converters, tf2onnx and PyTorch, of random weights",
        "script": "tests/data/layers/make_layers.py",
        "versions": {**versions("keras", "tf_keras", "tensorflow-cpu", "tensorflowjs", "tf2onnx", "onnx"),
                     **json.loads((torch / "versions.json").read_text())},
    }  # fmt: skip
    npz.write(HERE / "expected.npz", {**arrays, "meta": np.array(json.dumps(meta))}, compressed=True)
    print(f"expected.npz: {len(arrays)} arrays, {(HERE / 'expected.npz').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
