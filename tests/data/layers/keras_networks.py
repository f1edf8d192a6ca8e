"""Small networks of Keras' layers, nested and not: the same in Keras 2 and 3, in float32 and float64.

Weights are functions of their place: normal numbers scaled by the fan-in, of five bits, so that files compress.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NETWORKS", "SIZES", "fill", "pixels"]

Array = npt.NDArray[Any]
BATCH = 2
SIZES = {"teachable": (37, 45), "shared": (19, 26), "layers": (21, 30), "deep": (17, 22), "heatmap": (33, 41)}


def pixels(name: str) -> Array:
    """The input, (N, C, H, W)."""
    rng = np.random.default_rng(len(name))
    return rng.uniform(-1, 1, (BATCH, 3, *SIZES[name])).astype(np.float32)


def fill(model: Any) -> None:
    """Give every weight its numbers, by the names of its layer and of itself, which both versions share."""
    for weight in model.weights:
        layer, name = getattr(weight, "path", weight.name).partition(":")[0].split("/")[-2:]
        name = {"depthwise_kernel": "kernel"}.get(name, name)
        if name == "count":
            continue
        shape = tuple(weight.shape)
        drawn = np.random.default_rng([*map(ord, layer + name)]).standard_normal(shape)
        if name in ("moving_variance", "variance"):
            drawn = 1 + np.abs(drawn)
        elif name == "gamma":
            drawn = 1 + drawn / 4
        elif name in ("bias", "beta", "mean", "moving_mean", "alpha"):
            drawn = drawn / 4
        else:
            drawn = drawn * np.sqrt(2 / max(int(np.prod(shape[:-1])), 1))
        step = 2.0 ** np.floor(np.log2(np.abs(drawn).max()) - 4)
        weight.assign(np.round(drawn / step) * step)


def teachable(keras: Any) -> Any:
    """Two sequential models in one, the first with a functional backbone, as Teachable Machine writes them."""
    L = keras.layers
    height, width = SIZES["teachable"]
    whole = keras.applications.MobileNetV2(input_shape=(height, width, 3), alpha=0.1, include_top=False, weights=None)
    backbone = keras.Model(whole.input, whole.get_layer("block_6_project_BN").output, name="model1")
    features = keras.Sequential([backbone, L.GlobalAveragePooling2D(name="pool")], name="sequential_1")
    head = keras.Sequential(
        [
            L.Dense(12, activation="relu", name="dense_Dense1"),
            L.Dense(3, activation="softmax", use_bias=False, name="dense_Dense2"),
        ],
        name="sequential_3",
    )
    model = keras.Sequential([features, head], name="sequential_4")
    model.build((None, height, width, 3))
    return model


def shared(keras: Any) -> Any:
    """A model called twice, behind layers that only training needs and a normalization; arithmetic in between."""
    L = keras.layers
    x = keras.Input((*SIZES["shared"], 3), name="pixels")
    turn = [L.RandomRotation(0.1, name="turn")] if keras.backend.floatx() == "float32" else []  # Keras 2 has no other
    augment = keras.Sequential(
        [L.RandomFlip("horizontal", name="flip"), *turn, L.GaussianNoise(0.1, name="noise")], name="augment"
    )
    normal = L.Normalization(name="normal", mean=[0.125, -0.25, 0.0625], variance=[0.5, 1.25, 2.0])
    block = keras.Sequential(
        [
            L.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="conv"),
            L.BatchNormalization(name="bn"),
            L.ReLU(6.0, name="act"),
            L.SpatialDropout2D(0.2, name="drop"),
        ],
        name="block",
    )
    seen = normal(augment(x))
    one, two = block(seen), block(seen * 2.0 - 1.0)
    both = L.Concatenate(name="both")([one, two])
    less = L.Subtract(name="less")([one, two])
    joined = L.Concatenate(name="joined")([both, 0.5 - less])
    y = L.Dense(5, name="logits")(L.GlobalMaxPooling2D(name="largest")(joined))
    return keras.Model(x, y, name="shared")


def layers(keras: Any) -> Any:
    """One of every layer."""
    L = keras.layers
    x = keras.Input((*SIZES["layers"], 3), name="pixels")
    y = L.Rescaling(2.0, offset=-0.5, name="rescale")(x)
    y = L.ZeroPadding2D(((0, 1), (2, 1)), name="border")(y)
    y = L.Conv2D(8, 3, strides=2, name="stem")(y)
    y = L.PReLU(shared_axes=[1, 2], name="slopes")(y)
    y = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="several")(y)
    y = L.BatchNormalization(name="bn", scale=False)(y)
    y = L.LeakyReLU(0.1, name="leaky")(y)
    y = L.SeparableConv2D(8, (3, 5), padding="same", activation="tanh", name="separable")(y)
    wide = L.Conv2D(8, 3, dilation_rate=(2, 3), padding="same", use_bias=False, name="dilated")(y)
    y = L.Add(name="sum")([y, wide])
    small = L.MaxPooling2D(2, padding="same", name="largest")(y)
    mean = L.AveragePooling2D((3, 2), strides=2, padding="same", name="mean")(y)
    small = L.Average(name="average")([small, mean])
    small = L.PReLU(name="points")(small)
    near = L.UpSampling2D((2, 2), name="near")(small)
    smooth = L.UpSampling2D((2, 2), interpolation="bilinear", name="smooth")(small)
    y = L.Concatenate(name="joined")([near, smooth])
    y = L.Dense(8, activation="sigmoid", name="mixed")(y)
    gate = L.GlobalAveragePooling2D(keepdims=True, name="pool")(y)
    gate = L.Dense(8, activation="hard_sigmoid", name="gate")(gate)
    y = L.Multiply(name="gated")([y, gate])
    y = L.Conv2D(6, 3, strides=3, groups=2, name="grouped")(y)
    y = L.ReLU(max_value=3.0, negative_slope=0.25, name="limited")(y)
    y = L.Flatten(name="flat")(y)
    y = L.Dropout(0.3, name="drop")(y)
    y = L.Dense(5, name="logits")(y)
    return keras.Model(x, L.Softmax(name="answer")(y), name="layers")


def deep(keras: Any) -> Any:
    """Models in models in models, one of two inputs and two outputs, with layers of one name in each."""
    L = keras.layers
    height, width = SIZES["deep"]
    inner = keras.Sequential([L.Conv2D(4, 1, name="conv"), L.ReLU(name="act")], name="inner")
    a = keras.Input((height, width, 3), name="a")
    b = keras.Input((height, width, 4), name="b")
    conv = L.Conv2D(4, 3, padding="same", name="conv")(a)
    pair = keras.Model([b, a], [L.Add(name="sum")([conv, b]), inner(conv)], name="pair")
    x = keras.Input((height, width, 3), name="x")
    first, second = pair([L.Conv2D(4, 3, padding="same", name="conv")(x), x])
    middle = keras.Model(x, L.Concatenate(name="both")([first, second]), name="middle")
    outer = keras.Sequential([middle, L.Conv2D(4, 3, strides=2, name="conv"), L.GlobalAveragePooling2D(name="pool")],
                             name="outer")  # fmt: skip
    image = keras.Input((height, width, 3), name="image")
    return keras.Model(image, L.Dense(2, name="conv")(outer(image)), name="deep")


def heatmap(keras: Any) -> Any:
    """A network cut off early, whose answer is a map of classes."""
    L = keras.layers
    height, width = SIZES["heatmap"]
    whole = keras.applications.MobileNetV2(input_shape=(height, width, 3), alpha=0.1, include_top=False, weights=None)
    y = L.Conv2D(8, 1, activation="relu", name="head")(whole.get_layer("block_3_expand_relu").output)
    y = L.Conv2D(3, 1, name="logits")(y)
    return keras.Model(whole.input, L.Softmax(name="classes")(y), name="heatmap")


NETWORKS: dict[str, Callable[[Any], Any]] = {each.__name__: each for each in (teachable, shared, layers, deep, heatmap)}
