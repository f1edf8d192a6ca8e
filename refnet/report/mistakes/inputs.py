"""What a port does to its input, and to the order of its classes, in words: a part of the table in `bugs`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from refnet.bugs.inputs.pictures import TIMES_SMALLER

__all__ = ["PICTURE_FACTS", "PREPROCESSING"]

_DIRECTIONS = {"down": "farther down", "up": "farther up", "right": "to the right", "left": "to the left"}
_FILLS = {"edge": "its edge comes twice", "zero": "zeros come in", "wrap": "what leaves it comes in on the other side"}
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
    "limited": "the pixels are levels of video, from 16 to 235, taken for 0 to 255: 16 + 219/255 of each",
    "full": "the pixels are stretched, as if they were levels of video from 16 to 235",
    "full cut": "the pixels are stretched, as if they were levels of video from 16 to 235, and cut off",
    "reversed": "mean and standard deviation are applied in the order blue, green, red",
    "mean reversed": "the mean is applied in the order blue, green, red",
    "std reversed": "the standard deviation is applied in the order blue, green, red",
    "scale last": "mean and standard deviation are applied to pixels that are divided only after them",
    "no scale": "mean and standard deviation are applied to pixels that are not divided",
    "scale twice": "the pixels are divided twice before mean and standard deviation",
    "scaled constants": "mean and standard deviation are in units of a pixel, and applied to pixels that are divided",
    "scaled mean": "the mean is in units of a pixel, and subtracted from pixels that are divided",
    "negative": "the pixels are negatives: 255 less each",
    "other sign": "the pixels are subtracted from the mean, so that the input has the other sign",
    "std first": "the pixels are divided by the standard deviation before the mean is subtracted",
    "std times": "the standard deviation multiplies instead of dividing",
    "mean added": "the mean is added instead of subtracted",
    "variance": "the standard deviation divides twice",
    "exchanged": "mean and standard deviation are exchanged",
    "again": "the pixels are divided, and mean and standard deviation applied, twice",
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
    "planes": "the pixels' red, green and blue are {planes}",
}

_BARS = {
    "black": "black bars",
    "zero": "bars that are 0 behind mean and standard deviation",
    "grey": "grey bars",
    "114": "grey (114) bars",
    "white": "white bars",
    "mean": "bars of the colour that is the network's mean",
    "average": "bars of the picture's mean colour",
    "edge": "repetitions of its edge",
    "reflect": "its reflections",
    "symmetric": "its reflections, with its edge",
}
_BOXED = {
    f"{bars}{corner}": f"the whole picture lies between {of}{', in its corner' if corner else ''}"
    for bars, of in _BARS.items()
    for corner in ("", " corner")
}
_PLACED = {
    "cut first": "the middle of the picture is cut to the input's proportions before it is resized",
    "part first": "the part of the picture that is kept is cut before it is resized",
    "pitch": "the crop's rows are read on in the resized picture, whose rows are longer: each lies aslant",
    "pitch corner": "the resized picture is read from its first pixel as if its rows were as long as the crop's",
    "corner": "the crop begins at the picture's corner, not in its middle",
    "row": "the picture is resized to a row more before the crop",
    "column": "the picture is resized to a column more before the crop",
    "side": "the picture is resized to a pixel more on its shorter side before the crop",
    "unresized": "the crop is cut from the picture as it is, not resized",
    "left": "the picture is turned by 90 degrees to the left before it is resized",
    "right": "the picture is turned by 90 degrees to the right before it is resized",
}
_MOVED = {
    f"moved {down:+d} {right:+d}": f"the crop begins {down:+d} pixels down and {right:+d} to the right of its place"
    for down in (-1, 0, 1)
    for right in (-1, 0, 1)
}

_ORDERS = {
    "RBG": "red, blue, green",
    "GRB": "green, red, blue",
    "GBR": "green, blue, red",
    "BRG": "blue, red, green",
}
_HSV = "hue, saturation and value"
_REDUCED = {
    "1/2": "the JPEG is decoded at half its size",
    "1/4": "the JPEG is decoded at a quarter of its size",
    "1/8": "the JPEG is decoded at an eighth of its size",
    **{f"reduced {n}": f"the picture is made {n} times smaller, by means of {n} by {n} pixels," for n in TIMES_SMALLER},
}
_SMALLER = {
    f"{form}{whole}": f"{how} before it is resized{proportions}"
    for form, how in _REDUCED.items()
    for whole, proportions in (("", ""), (" whole", ", in the whole picture's proportions"))
}
_SPACES = {
    "HSV": f"OpenCV's {_HSV} (hue of 0 to 179)",
    "HSV 256": f"OpenCV's {_HSV} (hue of 0 to 255)",
    "HSV share": f"{_HSV}, each a share of 255",
    "HSV cut": f"{_HSV}, each a share of 255, cut off to whole numbers (Pillow)",
    "HLS": "OpenCV's hue, lightness and saturation",
    "Lab": "OpenCV's CIE Lab",
}

_CLASSES = {
    "text": "the classes are in the order of their numbers as text (0, 1, 10, 100, ...)",
    "back from text": "the classes are put in order as if they were in that of their numbers as text (0, 1, 10, ...)",
    "text from 1": "the classes are in the order of their numbers from 1 on as text (1, 10, 100, ..., 2, ...)",
    "back from text from 1": "the classes are put in order as if they were in that of their numbers from 1 on as text",
    "reversed": "the classes are in reverse order",
}

PREPROCESSING: Mapping[str, str | Mapping[str, str]] = {
    "input-range": {
        "0..1": "the pixels are in [0, 1]",
        "-1..1": "the pixels are in [-1, 1]",
        "0..255": "the pixels are in [0, 255]",
    },
    "input-meanstd": {
        "out": "mean and standard deviation are left out",
        "twice": "mean and standard deviation are applied twice",
    },
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
        "next": "each image of the batch is in the next one's place",
        "previous": "each image of the batch is in the one's place before it",
        "channels first": "the batch is written as (C, N, H, W), and read as (N, C, H, W)",
        "images first": "the batch is read as (C, N, H, W), and written as (N, C, H, W)",
    },
    "input-by-image": {
        "standardised": "each image is made of mean 0 and standard deviation 1 by its own numbers",
        "colours": "each colour of each image is made of mean 0 and standard deviation 1 by its own numbers",
        "0..1": "the pixels of each image are stretched to [0, 1]",
        "-1..1": "the pixels of each image are stretched to [-1, 1]",
        "largest": "the pixels of each image are divided by the largest of them",
        "0..1 first": "the pixels of each image are stretched to [0, 1] before mean and standard deviation",
        "largest first": "the pixels of each image are divided by the largest of them before mean and "
        "standard deviation",
    },
    "input-bytes": {
        "signed": "bytes of pixels are taken for signed ones, so that 128 to 255 become -128 to -1",
        "signed alone": "bytes of pixels are taken for signed ones, and only divided",
        "signed 128": "bytes of pixels are taken for signed ones, and divided by 128",
        "signed 127": "bytes of pixels are taken for signed ones, and divided by 127",
        "wrapped": "the mean is subtracted in bytes, so that what is below it wraps at 256",
        "wrapped up": "the mean, rounded up, is subtracted in bytes, so that what is below it wraps at 256",
        "wrapped nearest": "the mean, to the nearest byte, is subtracted in bytes, so that what is below wraps at 256",
        "whole": "the pixels are divided as whole numbers, and the rest is dropped",
        "565": "pixels have 5, 6 and 5 bits (RGB565), the rest being 0",
        "565 spread": "pixels have 5, 6 and 5 bits (RGB565), spread over 0 to 255",
    },
    "input-video": {
        "studio": "the colours are decoded as if luma was in [16, 235] (studio range), and it is in [0, 255]",
        "full": "the colours are decoded as if luma was in [0, 255], and it is in [16, 235] (studio range)",
        "swapped": "the two colours of YCbCr are exchanged (NV21 for NV12)",
        "709": "the colours are decoded by BT.709, not by BT.601",
        "YCbCr": "the pixels are in YCbCr, not decoded to red, green, blue",
        "YCrCb": "the pixels are in YCrCb, not decoded to red, green, blue",
    },
    "input-pitch": {
        form: words
        for aligned in (4, 8, 16, 32, 64)
        for form, words in (
            (f"tight {aligned}", "rows that are filled up to a multiple of {bytes} bytes are read without the filling"),
            (f"wide {aligned}", "rows without filling are read as if filled up to a multiple of {bytes} bytes"),
        )
    }
    | {
        "tight pixels black": "rows of {found} pixels in memory are read as rows of {known}",
        "tight pixels zero": "rows of {found} pixels in memory, filled with zero, are read as rows of {known}",
        "wide pixels black": "rows of {known} pixels in memory are read as rows of {found}",
        "wide pixels zero": "rows of {known} pixels in memory are read as rows of {found}, behind the end as zero",
        "four": "pixels of four bytes (red, green, blue, alpha) are read as of three",
        "four first": "pixels of four bytes (alpha, red, green, blue) are read as of three",
        "three": "pixels of three bytes are read as of four",
        "tight shown": "rows that are {gap} numbers longer in memory are read without the rest: each lies aslant",
        "wide shown": "rows are read as if they were {gap} numbers longer than they are: each lies aslant",
        "tight shown planes": "rows of planes, {gap} numbers longer in memory, are read without the rest",
        "wide shown planes": "rows of planes are read as if they were {gap} numbers longer than they are",
    },
    "input-space": {
        f"{form}{order}": f"the pixels are {words}{whose}, taken for red, green, blue"
        for form, words in _SPACES.items()
        for order, whose in (("", ""), (" bgr", " of colours in reverse order"))
    },
    "input-planes": {form: f"the colours are in the order {words}" for form, words in _ORDERS.items()}
    | {
        f"{form} first": f"the colours are in the order {words}, under constants for red, green, blue"
        for form, words in _ORDERS.items()
    }
    | {
        "ARG": "the pixels are the first three of alpha (255), red, green, blue",
        "ABG": "the pixels are the first three of alpha (255), blue, green, red",
        "GBA": "the pixels are the last three of red, green, blue, alpha (255)",
        "GRA": "the pixels are the last three of blue, green, red, alpha (255)",
    },
    "input-resize": {
        "half": "the image is resampled half a pixel away",
        "one": "the image is one pixel away",
        **{
            f"{direction} {fill}": f"the image is one pixel {where}, and {come}"
            for direction, where in _DIRECTIONS.items()
            for fill, come in _FILLS.items()
        },
    },
    "input-hw": "height and width of the image are exchanged: planes that lie row by row are read column by column",
    "input-decoded": {
        "white": "the picture's transparency is blended with white, not dropped",
        "black": "the picture's transparency is blended with black, not dropped",
        "grey": "the picture's transparency is blended with grey, not dropped",
        "stored": "the picture is not turned as its EXIF orientation says",
        "luma": "the picture is made grey before it is resized",
    },
    "input-pipeline": "{kernel}{join}{cut}{colours}{rule}",
    "input-grey": {
        "grey": "the image is grey",
        "bytes": "the image is grey, rounded to whole pixels",
        "709": "the image is grey, by the weights of ITU-R BT.709",
        "mean": "the image is grey, the mean of its colours",
        "input": "the image is made grey behind mean and standard deviation",
        "mean of input": "the image is made grey, the mean of its colours, behind mean and standard deviation",
        "red": "the red channel is in all three",
    },
    "input-order": {
        "HWC": "the input's numbers lie in HWC order under a CHW shape: reshaped, not transposed",
        "CHW": "the input's numbers lie in CHW order under an HWC shape: reshaped, not transposed",
    }
    | {
        f"{written} as {read}": "the input's numbers lie in {written} order and are read in {read} order"
        for one, other in itertools.product(("CHW", "HWC"), ("CWH", "WHC", "HCW"))
        for written, read in ((one, other), (other, one))
    },
    "input-quantised": {
        "rounded": "the resized pixels are rounded to whole numbers",
        "rounded up": "the resized pixels are rounded to whole numbers, halves up",
        "truncated": "the resized pixels are cut off to whole numbers",
        "cut": "the resized pixels are clipped to [0, 255]",
        "0..1": "the input is clipped to [0, 1]",
        "-1..1": "the input is clipped to [-1, 1]",
    },
    "input-stepped": "the input is held in 8 bits: {manner} to steps of {step:.4g}, from {low:.4g} to {high:.4g}",
    "input-turned": {
        "left-right": "the image is mirrored left to right",
        "top-bottom": "the image is upside down",
        "180": "the image is turned by 180 degrees",
        "90": "the image is turned by 90 degrees to the left",
        "270": "the image is turned by 90 degrees to the right",
    },
    "input-placed": "{kernel}{join}{cut}{filled}",
    "input-resample": "{kernel}{join}{cut}",
    "classes-order": _CLASSES,
    "input-solved": _SOLVED | {f"bgr {form}": f"{_BGR}, and {words}" for form, words in _SOLVED.items()},
}

_KERNELS = {
    "nearest": "the nearest pixel (Pillow, OpenCV's INTER_NEAREST_EXACT)",
    "bilinear": "Pillow's bilinear kernel, which is antialiased",
    "bicubic": "Pillow's bicubic kernel, which is antialiased",
    "bilinear-tf1": "TensorFlow 1's bilinear kernel",
    "opencv-bilinear": "OpenCV's bilinear kernel, which is not antialiased",
    "opencv-exact": "OpenCV's INTER_LINEAR_EXACT, which is not antialiased",
    "opencv-bicubic": "OpenCV's bicubic kernel, which is not antialiased",
    "opencv-area": "OpenCV's INTER_AREA",
    "float-area": "the mean of what lies under each pixel, not rounded (TensorFlow's area)",
    "first-nearest": "the nearest pixel at floor(p n / P) (OpenCV, TensorFlow 1)",
    "middle-nearest": "the nearest pixel at floor((p + 1/2) n / P) (PyTorch's nearest-exact, TensorFlow 2)",
    "float-bilinear": "a bilinear kernel without antialiasing or rounding (PyTorch's interpolate, TensorFlow 2)",
    "float-bicubic": "a bicubic kernel without antialiasing or rounding (PyTorch's interpolate)",
    "antialiased-bilinear": "an antialiased bilinear kernel without rounding (PyTorch on tensors)",
    "antialiased-bicubic": "an antialiased bicubic kernel without rounding (PyTorch on tensors)",
    "antialiased-lanczos": "an antialiased Lanczos kernel without rounding (TensorFlow 2, JAX)",
    "corners-bilinear": "a bilinear kernel with aligned corners",
    "opencv-lanczos": "OpenCV's INTER_LANCZOS4, which is not antialiased",
    "lanczos": "Pillow's Lanczos kernel, which is antialiased",
    "hamming": "Pillow's Hamming kernel, which is antialiased",
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
    "cut": {"": "", **_PLACED, **_MOVED, **_BOXED, **_SMALLER}
    | {name: f"the picture is {words}" for name, words in _CUTS.items()},
    "filled": {True: ", filled up so before it is resized", False: ""},
    "colours": {True: f", {_BGR}", False: ""},
    "rule": {"own": ""} | {name: f", and {words}" for name, words in _RULES.items()},
}
