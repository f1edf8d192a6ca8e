"""Functions of `keras.ops` in the place of layers, as Keras 3.14 writes them."""

from __future__ import annotations

import numpy as np
import pytest
from importing import keras, op, refused, run, x64

from refnet.files.importers import import_graph

X = x64()  # (2, 4, 6, 5), whose axes Keras has as NHWC
PAIRS = [[0, 0], [1, 2], [0, 3], [0, 0]]
POOLED = X.reshape(2, 4, 3, 2, 5)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (op("Mean", "x", axis=(1, 2), keepdims=True), X.mean((2, 3), keepdims=True)),
        (op("Mean", "x", axis=(-3, -2), keepdims=False), X.mean((2, 3))),
        (op("Sum", "x", axis=(1, 2), keepdims=True), X.sum((2, 3), keepdims=True)),
        (op("Max", "x", axis=(2,), keepdims=True, initial=None), X.max(3, keepdims=True)),
        (op("Clip", "x", x_min=-0.5, x_max=0.25), X.clip(-0.5, 0.25)),
        (op("Maximum", "x", arguments=(None, 0.25)), np.maximum(X, 0.25)),
        (op("Minimum", "x", arguments=(0.25, None)), np.minimum(X, 0.25)),
        (op("LeakyRelu", "x", negative_slope=0.25), np.where(X < 0, 0.25 * X, X)),
        (op("Pad", "x", pad_width=PAIRS, mode="constant"), np.pad(X, ((0, 0), (0, 0), (1, 2), (0, 3)))),
        (
            op("Pad", "x", pad_width=PAIRS, mode="constant", keywords={"constant_values": 2.0}),
            np.pad(X, ((0, 0), (0, 0), (1, 2), (0, 3)), constant_values=2.0),
        ),
        (op("Pad", "x", pad_width=PAIRS, mode="reflect"), np.pad(X, ((0, 0), (0, 0), (1, 2), (0, 3)), mode="reflect")),
        (op("AveragePool", "x", pool_size=(2, 1), strides=None, padding="valid"), POOLED.mean(3)),
        (op("MaxPool", "x", pool_size=(2, 1), strides=(2, 1), padding="valid"), POOLED.max(3)),
        (op("Resize", "x", size=(3, 5), interpolation="nearest", data_format=None), X[:, :, 1::2]),
    ],
    ids=lambda value: getattr(value, "op", ""),
)
def test_a_function_is_what_numpy_makes_of_it(operation, expected):
    assert np.allclose(run(import_graph(keras(operation))), expected, rtol=1e-12, atol=1e-15)


def test_axes_of_length_one_may_come_and_go():
    made = (
        op("Mean", "x", "m", axis=(1, 2)),
        op("ExpandDims", "m", "e", axis=1),
        op("ExpandDims", "e", "f", axis=1),
        op("Squeeze", "f", "s", axis=(1, 2)),
        op("Reshape", "s", newshape=(-1, 4)),
    )
    assert np.allclose(run(import_graph(keras(*made))), X.mean((2, 3)), rtol=1e-12)


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (op("Mean", "x", axis=None, keepdims=False), "over all axes"),
        (op("Mean", "x", axis=(0,), keepdims=True), "only that over H and W"),
        (op("Maximum", "x", arguments=(None, (1.0, 2.0, 3.0, 4.0))), "a number for each channel"),
        (op("Minimum", "x x"), "of two tensors"),
        (op("Pad", "x", pad_width=2, mode="constant"), "with a pair for each"),
        (op("Pad", "x", pad_width=PAIRS, mode="wrap"), "the mode 'wrap'"),
        (op("Resize", "x", size=(3, 5), antialias=True), "smooths"),
        (op("Squeeze", "x", axis=None), "every axis of length 1"),
    ],
)
def test_what_refnet_cannot_do_is_refused(operation, why):
    refused(keras(operation), why)
