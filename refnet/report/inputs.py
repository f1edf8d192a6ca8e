"""What a port does to its input, in words, by bug and form: a part of the table in `bugs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["PICTURE_FACTS", "PREPROCESSING"]

_BGR = "the colours are in the order blue, green, red"
# What is done to pixels, from a list; and what was solved for.
_RULES = {
    "0..1": "the pixels are in [0, 1]",
    "-1..1": "the pixels are in [-1, 1]",
    "0..255": "the pixels are in [0, 255]",
    "out": "mean and standard deviation are left out",
    "no mean": "the mean is not subtracted",
    "no std": "the standard deviation does not divide",
    "256": "the pixels are divided by {found:g}, not {known:g}",
    "torch": "mean and standard deviation are ImageNet's, (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225)",
    "-0.5..0.5": "the pixels are in [-0.5, 0.5]",
    "-128..127": "the pixels are in [-128, 127]",
    "caffe": "only the mean of the colours is subtracted, (123.68, 116.779, 103.939)",
    "caffe-scaled": "the pixels are (pixel - (123.68, 116.78, 103.94)) * 0.017",
    "reversed": "mean and standard deviation are applied in the order blue, green, red",
}
_SOLVED = {
    "divisor": "the pixels are divided by {found:.7g}, not {known:g}",
    "std": "the standard deviation is {found}, not {known}",
    "one std": "one standard deviation, {found}, is applied to all channels, not {known}",
    "mean": "the mean is {found}, not {known}",
    "one mean": "one mean, {found}, is applied to all channels, not {known}",
    "rule": "the pixels become (pixel / {scale:g} - {mean}) / {std}",
    "raw": "the pixels become (pixel - {mean}) / {std}",
    "times": "the input is {factor} times what it should be{offset}",
    "channels": "the input's channels are multiplied by {slopes}, plus {offsets}",
    "mixed": "the input's colours are mixed, by the matrix {rows}, plus {offsets}",
}

_BOXED = {
    bars: f"the whole picture lies between {of} bars"
    for bars, of in (("black", "black"), ("grey", "grey"), ("114", "grey (114)"))
}
_PLACED = {
    "corner": "the crop begins at the picture's corner, not in its middle",
    "row": "the picture is resized to a row more before the crop",
    "column": "the picture is resized to a column more before the crop",
    "left": "the picture is turned by 90 degrees to the left before it is resized",
    "right": "the picture is turned by 90 degrees to the right before it is resized",
}
_MOVED = {
    f"moved {down:+d} {right:+d}": "the crop begins {down:+d} pixels down and {right:+d} to the right of its place"
    for down in (-1, 0, 1)
    for right in (-1, 0, 1)
}

PREPROCESSING: Mapping[str, str | Mapping[str, str]] = {
    "input-constants": _RULES,
    "input-bgr": _BGR,
    "input-reversed": {"own": f"{_BGR}, under constants for red, green, blue"}
    | {form: f"{_BGR}, and {words}" for form, words in _RULES.items()}
    | {f"{form} first": f"{words}; then the colours are put in reverse order" for form, words in _RULES.items()},
    "input-gamma": {
        "light": "the pixels are made light of (sRGB undone) before they are normalised",
        "stored": "the pixels are taken for light, and encoded as sRGB",
        "power": "the pixels are raised to the power of 2.2",
        "root": "the pixels are raised to the power of 1 / 2.2",
    },
    "input-batch": {
        "reversed": "the images of the batch are in reverse order",
        "first": "every image of the batch is the first one",
    },
    "input-grey": {"grey": "the image is grey", "red": "the red channel is in all three"},
    "input-order": {
        "HWC": "the input's numbers lie in HWC order under a CHW shape: reshaped, not transposed",
        "CHW": "the input's numbers lie in CHW order under an HWC shape: reshaped, not transposed",
    },
    "input-quantised": {
        "rounded": "the resized pixels are rounded to whole numbers",
        "truncated": "the resized pixels are cut off to whole numbers",
        "cut": "the resized pixels are clipped to [0, 255]",
        "0..1": "the input is clipped to [0, 1]",
        "-1..1": "the input is clipped to [-1, 1]",
    },
    "input-turned": {
        "left-right": "the image is mirrored left to right",
        "top-bottom": "the image is upside down",
        "180": "the image is turned by 180 degrees",
        "90": "the image is turned by 90 degrees to the left",
        "270": "the image is turned by 90 degrees to the right",
    },
    "input-placed": _PLACED
    | _MOVED
    | _BOXED
    | {f"{bars} corner": f"{words}, in its corner" for bars, words in _BOXED.items()},
    "input-resample": "{kernel}{join}{cut}",
    "input-solved": _SOLVED | {f"bgr {form}": f"{_BGR}, and {words}" for form, words in _SOLVED.items()},
}

_KERNELS = {
    "nearest": "the nearest pixel (Pillow)",
    "bilinear": "Pillow's bilinear kernel, which is antialiased",
    "bicubic": "Pillow's bicubic kernel, which is antialiased",
    "bilinear-tf1": "TensorFlow 1's bilinear kernel",
    "opencv-bilinear": "OpenCV's bilinear kernel, which is not antialiased",
    "opencv-bicubic": "OpenCV's bicubic kernel, which is not antialiased",
    "opencv-area": "OpenCV's INTER_AREA",
    "first-nearest": "the nearest pixel at floor(p n / P) (OpenCV, TensorFlow 1)",
    "float-bilinear": "a bilinear kernel without antialiasing or rounding (PyTorch's interpolate, TensorFlow 2)",
    "float-bicubic": "a bicubic kernel without antialiasing or rounding (PyTorch's interpolate)",
    "antialiased-bilinear": "an antialiased bilinear kernel without rounding (PyTorch on tensors)",
    "antialiased-bicubic": "an antialiased bicubic kernel without rounding (PyTorch on tensors)",
    "corners-bilinear": "a bilinear kernel with aligned corners",
    "box": "Pillow's box kernel",
}
_CUTS = {
    "256": "resized to 256 before the crop of 224, in proportion",
    "232": "resized to 232 before the crop of 224, in proportion",
    "224": "resized to the size of the crop itself",
    "0.9": "resized so that the crop is 0.9 of it",
    "0.95": "resized so that the crop is 0.95 of it",
    "squashed": "squashed to the input's size, not cropped",
    "central": "cut to its central 0.875, then squashed",
}

# Facts of a picture as they stand in a sentence.
PICTURE_FACTS: Mapping[str, Mapping[Any, str]] = {
    "kernel": {"": ""} | {name: f"the picture is resized by {words}" for name, words in _KERNELS.items()},
    "join": {True: ", and ", False: ""},
    "cut": {"": ""} | {name: f"the picture is {words}" for name, words in _CUTS.items()},
}
