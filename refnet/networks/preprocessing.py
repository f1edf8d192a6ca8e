"""What every vendor does to an image before its network sees it, as constants.

The numbers are the vendor's own integers and decimals; `files.images` acts on them. This file reads no image and
imports nothing of refnet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "ARTICLE",
    "DIGITS",
    "INTERPOLATIONS",
    "KERAS",
    "KERAS_RAW",
    "NAMED",
    "PAPER",
    "PAPER_SEGMENTATION",
    "RAW",
    "TIMM_BICUBIC",
    "TIMM_BICUBIC_HALF",
    "TIMM_BICUBIC_HALF_90",
    "TIMM_BICUBIC_HALF_95",
    "TIMM_BILINEAR_HALF",
    "TIMM_BILINEAR_UNIT",
    "TORCHVISION_SEGMENTATION",
    "TORCHVISION_V1",
    "TORCHVISION_V2",
    "UNIT",
    "Preprocessing",
]

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "bilinear-tf1")  # of those who publish networks


@dataclass(frozen=True)
class Preprocessing:
    """How the pixels of an image become the input of a network.

    In order: keep a central part, resize, crop the centre, then, per channel,

        x = (pixel / scale - mean) / std

    Attributes
    ----------
    origin : whose rule this is, and where it is stated
    resize : (side, crop): the shorter side becomes `side` pixels when the network takes `crop`, and
        floor(size * side / crop) when it takes `size`; the longer side keeps the aspect ratio, rounded down, and
        the centre is cropped. None: the image is resized to the network's size at once, whatever its aspect ratio
    interpolation : 'nearest', 'bilinear' and 'bicubic' as Pillow has them: the last two widen their kernel when
        they shrink an image ("antialias") and round to whole pixel values. 'bilinear-tf1' mixes the four pixels
        around (p * H / P, q * W / Q), however much it shrinks the image, and rounds nothing. Or one of
        `files.resample.KERNELS`, where somebody else made the input
    scale : what a pixel, 0 to 255, is divided by
    mean, std : of the three channels (red, green, blue), in units of pixel / scale
    keep : (kept, of): the central part of each side that is kept before the resize, a fraction; (1, 1) is all
    cut_first : whether the centre is cropped before the resize, in the network's proportions: of all that fits in the
        image, crop / side; no vendor does so

    Examples
    --------
    >>> (255 / KERAS.scale - KERAS.mean[0]) / KERAS.std[0]
    1.0
    """

    origin: str
    resize: tuple[int, int] | None
    interpolation: str
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    keep: tuple[int, int] = (1, 1)
    cut_first: bool = False

    def apply(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Scale pixels: x[n,k,p,q] = (pixel[n,k,p,q] / scale - mean[k]) / std[k], in this order.

        Parameters
        ----------
        pixels : (..., 3, H, W) array of floats, 0 to 255

        Returns
        -------
        x : array of this shape, dtype of `pixels`
        """
        mean, std = self._per_channel(pixels.dtype)
        x: npt.NDArray[Any] = (pixels / pixels.dtype.type(self.scale) - mean) / std
        return x

    def undo(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Which pixels was this input made of? pixel[n,k,p,q] = (x[n,k,p,q] * std[k] + mean[k]) * scale.

        Parameters
        ----------
        x : (..., 3, H, W) array of floats

        Returns
        -------
        pixels : array of this shape, dtype of x, not rounded: 0 to 255 if x was made by this preprocessing

        Examples
        --------
        >>> KERAS.undo(np.ones((1, 3, 1, 1))).ravel().tolist()
        [255.0, 255.0, 255.0]
        """
        mean, std = self._per_channel(x.dtype)
        pixels: npt.NDArray[Any] = (x * std + mean) * x.dtype.type(self.scale)
        return pixels

    def _per_channel(self, dtype: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Mean and standard deviation as (3, 1, 1) arrays."""
        mean, std = np.array([self.mean, self.std], dtype).reshape(2, 3, 1, 1)
        return mean, std


_ZERO, _HALF, _ONE = (0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)

TORCHVISION_V1 = Preprocessing(
    origin="torchvision 0.28, ImageClassification(crop_size=224), the IMAGENET1K_V1 weights",
    resize=(256, 224),
    interpolation="bilinear",
    scale=255.0,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
TORCHVISION_V2 = replace(
    TORCHVISION_V1,
    origin="torchvision 0.28, ImageClassification(crop_size=224, resize_size=232), the IMAGENET1K_V2 weights",
    resize=(232, 224),
)
TORCHVISION_SEGMENTATION = replace(
    # torchvision crops nothing and lets the width vary. A graph has one size, so here what sticks out is cropped.
    TORCHVISION_V1,
    origin="torchvision 0.28, SemanticSegmentation(resize_size=520), LR-ASPP",
    resize=(1, 1),
)

# timm states crop_pct = crop / side: floor(size / 0.875) is floor(size * 8 / 7), and 0.95 is 19 / 20.
TIMM_BICUBIC = replace(
    TORCHVISION_V1,
    origin="timm 1.0.31, crop_pct 0.875, bicubic, ImageNet mean and std",
    resize=(8, 7),
    interpolation="bicubic",
)
TIMM_BICUBIC_HALF = replace(
    TIMM_BICUBIC,
    origin="timm 1.0.31, crop_pct 0.875, bicubic, mean and std 0.5: mobilenetv1_100",
    mean=_HALF,
    std=_HALF,
)
TIMM_BICUBIC_HALF_90 = replace(
    TIMM_BICUBIC_HALF, origin="timm 1.0.31, crop_pct 0.9, bicubic, mean and std 0.5: mobilenetv1_125", resize=(10, 9)
)
TIMM_BICUBIC_HALF_95 = replace(
    TIMM_BICUBIC_HALF,
    origin="timm 1.0.31, crop_pct 0.95, bicubic, mean and std 0.5: mobilenetv3_large_100.ra4_e3600_r224_in1k",
    resize=(20, 19),
)
TIMM_BILINEAR_HALF = replace(
    TIMM_BICUBIC_HALF,
    origin="timm 1.0.31, crop_pct 0.875, bilinear, mean and std 0.5: tf_mobilenetv3_*",
    interpolation="bilinear",
)
TIMM_BILINEAR_UNIT = replace(
    TIMM_BILINEAR_HALF,
    origin="timm 1.0.31, crop_pct 0.875, bilinear, mean 0 and std 1: mobilenetv3_large_100.miil_*",
    mean=_ZERO,
    std=_ONE,
)

KERAS = Preprocessing(
    origin="Keras 3.15, utils.load_img(target_size=...) with its default interpolation, then preprocess_input: V1, V2",
    resize=None,
    interpolation="nearest",
    scale=127.5,
    mean=_ONE,
    std=_ONE,
)
KERAS_RAW = replace(
    KERAS,
    origin="Keras 3.15, utils.load_img(target_size=...): V3, whose network scales the pixels itself",
    scale=1.0,
    mean=_ZERO,
)

PAPER = replace(
    # The papers state none. This is what the authors' own code does.
    KERAS,
    origin="TF-slim, inception_preprocessing.preprocess_for_eval: central fraction 0.875, then resize_bilinear",
    interpolation="bilinear-tf1",
    keep=(7, 8),
)

PAPER_SEGMENTATION = replace(
    KERAS,
    origin="the paper states none; pixels from -1 to 1 as its classifiers', the whole image: LR-ASPP on Cityscapes",
    interpolation="bilinear",
)

ARTICLE = replace(TORCHVISION_V1, origin="the article states none: torchvision's is assumed")

DIGITS = replace(
    # 'nearest' repeats each pixel of an 8x8 scan 4x4 times at 32x32.
    KERAS,
    origin="refnet: 8x8 scans of digits, black paper and white ink, every pixel repeated",
)

RAW = Preprocessing(
    origin="pixels from 0 to 255; the whole image, resized",
    resize=None,
    interpolation="bilinear",
    scale=1.0,
    mean=_ZERO,
    std=_ONE,
)
UNIT = replace(RAW, origin="pixels from 0 to 1; the whole image, resized", scale=255.0)

# What a caller may say of a network that nobody has said it of.
NAMED: Mapping[str, Preprocessing] = {
    "raw": RAW,
    "unit": UNIT,
    "signed": replace(RAW, origin="pixels from -1 to 1; the whole image, resized", scale=127.5, mean=_ONE),
    "imagenet": replace(TORCHVISION_V1, origin="ImageNet's mean and deviation; the centre of the image"),
}
