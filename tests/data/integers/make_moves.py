"""Make moves.npz: an int8 network of operations that MobileNets hold less often, and what LiteRT made of it.

    python tests/data/integers/make_moves.py convert FOLDER     needs TensorFlow
    python tests/data/integers/make_moves.py run FOLDER         needs ai-edge-litert

The network has random weights; TensorFlow's converter quantises it on random images. `model` is the file, `input0` an
image, `name` and `crc32` those of what BUILTIN_REF made of every operation, channels last. Nothing of refnet is used,
and no test runs it.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import numpy as np

OUT = Path(__file__).with_name("moves.npz")


def images():
    rng = np.random.default_rng(1)
    for _ in range(8):
        blocks = np.kron(rng.random((1, 9, 11, 3)), np.ones((1, 4, 4, 1)))
        yield [blocks[:, :33, :41].astype(np.float32) * 2 - 1]


def convert(path: Path) -> None:
    import tensorflow as tf

    rng = np.random.default_rng(0)

    def weights(*shape):
        return tf.constant(rng.normal(0, 0.3, shape).astype(np.float32))

    w, dilated, point, depth, slopes = (
        weights(*shape) for shape in ((3, 3, 3, 16), (3, 3, 16, 16), (1, 1, 8, 12), (3, 3, 16, 1), (1, 1, 16))
    )

    @tf.function(input_signature=[tf.TensorSpec((1, 33, 41, 3), tf.float32)])
    def network(x):
        y = tf.nn.relu6(tf.nn.conv2d(tf.pad(x, [[0, 0], [1, 1], [2, 0], [0, 0]]), w, 2, "VALID"))
        y = tf.nn.conv2d(tf.space_to_batch(y, [2, 2], [[1, 2], [1, 2]]), dilated, 1, "SAME")
        y = tf.nn.leaky_relu(tf.batch_to_space(y, [2, 2], [[1, 2], [1, 2]]), 0.1)
        one, other = tf.split(y, 2, axis=3)
        y = tf.concat([tf.tanh(one), tf.sigmoid(other) * other], 3)
        y = tf.nn.depthwise_conv2d(y, depth, [1, 1, 1, 1], "SAME", dilations=[2, 2])
        y = (tf.nn.relu(y) + (-slopes) * tf.nn.relu(-y))[:, 1:16:2, :20, 4:12]
        y = y * tf.sigmoid(tf.reduce_mean(y, [1, 2], keepdims=True))
        y = tf.maximum(tf.nn.conv2d(y, point, 1, "SAME"), -0.5)
        y = tf.image.resize(y, (16, 40), "nearest")
        y = y[:, :, :, :3] + y[:, :, :, 5:8]
        y = y + tf.tile(tf.reduce_max(y, [1, 2], keepdims=True), [1, 16, 40, 1])
        y = tf.compat.v1.image.resize_bilinear(y, (33, 41), align_corners=True)
        return tf.nn.softmax(y), tf.argmax(y, 3, output_type=tf.int32)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = images
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())


def run(path: Path) -> None:
    from ai_edge_litert import interpreter

    reference = interpreter.OpResolverType.BUILTIN_REF
    work = interpreter.Interpreter(
        str(path), experimental_op_resolver_type=reference, experimental_preserve_all_tensors=True
    )
    work.allocate_tensors()
    (entry,) = work.get_input_details()
    scale, zero_point = entry["quantization"]
    image = next(images())[0]
    x = np.clip(np.round(image / scale) + zero_point, -128, 127).astype(np.int8)
    work.set_tensor(entry["index"], x)
    work.invoke()
    names = {each["index"]: each["name"] for each in work.get_tensor_details()}
    made = [index for op in work._get_ops_details() for index in op["outputs"]]
    sums = [zlib.crc32(np.ascontiguousarray(work.get_tensor(index)).tobytes()) for index in made]
    model = np.frombuffer(path.read_bytes(), np.uint8)
    np.savez_compressed(OUT, model=model, input0=x, name=np.array([names[i] for i in made]), crc32=np.array(sums))


if __name__ == "__main__":
    {"convert": convert, "run": run}[sys.argv[1]](Path(sys.argv[2], "moves.tflite"))
