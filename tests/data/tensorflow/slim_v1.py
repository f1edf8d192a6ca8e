"""MobileNet V1 in TF-slim, whole, as its authors write it: convolutions with batch norm under the published names.

tf_slim is the authors' own layers; only the list of layers is here, which the models' repository has and no package.
tf_slim asks for `tf.layers`, which tf_keras has under another name.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import tensorflow as tf

__all__ = ["LAYERS", "mobilenet_v1"]

LAYERS = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024), (1, 1024))


def _slim() -> Any:
    """tf_slim, given the layers that it asks for."""
    for part in ("", ".base", ".convolutional", ".core", ".normalization", ".pooling"):
        sys.modules[f"tf_keras.legacy_tf_layers{part}"] = importlib.import_module(
            f"tf_keras.src.legacy_tf_layers{part}"
        )
    return importlib.import_module("tf_slim")


def mobilenet_v1(
    x: Any, width: float, classes: int, *, fused: bool = True, output_stride: int = 32, least: int = 1
) -> tuple[Any, Any]:
    """The network's logits and predictions.

    Parameters
    ----------
    x : (N, H, W, 3)
    fused : whether batch norms are one operation, which float64 has not, or written out
    output_stride : strides beyond it are traded for dilation
    least : channels of a layer; the authors' is 8, unless asked otherwise
    """
    slim = _slim()
    norm = {"is_training": False, "decay": 0.9997, "epsilon": 0.001, "center": True, "scale": True, "fused": fused}
    convolutions = [slim.conv2d, slim.separable_conv2d]
    with (
        slim.arg_scope(convolutions, normalizer_fn=slim.batch_norm, normalizer_params=norm),
        slim.arg_scope(convolutions, activation_fn=tf.nn.relu6, padding="SAME"),
        tf.compat.v1.variable_scope("MobilenetV1"),
    ):
        x = slim.conv2d(x, max(int(32 * width), least), [3, 3], stride=2, scope="Conv2d_0")
        reached, rate = 2, 1
        for index, (stride, channels) in enumerate(LAYERS, 1):
            if stride > 1 and reached == output_stride:
                step, this, rate = 1, rate, rate * stride
            else:
                step, this, reached = stride, rate, reached * stride
            name = f"Conv2d_{index}"
            x = slim.separable_conv2d(
                x, None, [3, 3], depth_multiplier=1, stride=step, rate=this, scope=f"{name}_depthwise"
            )
            x = slim.conv2d(x, max(int(channels * width), least), [1, 1], scope=f"{name}_pointwise")
        with tf.compat.v1.variable_scope("Logits"):
            x = tf.reduce_mean(input_tensor=x, axis=[1, 2], keepdims=True, name="global_pool")
            x = slim.dropout(x, keep_prob=0.999, is_training=False, scope="Dropout_1b")
            x = slim.conv2d(x, classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="Conv2d_1c_1x1")
            logits = tf.squeeze(x, [1, 2], name="SpatialSqueeze")
        return logits, slim.softmax(logits, scope="Predictions")
