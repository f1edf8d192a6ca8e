"""Make images_torch.npz and images_keras.npz: what the vendors' own code makes of three small synthetic images.

    python tests/data/make_images.py torch      needs torch 2.13, torchvision 0.28, timm 1.0.31, Pillow
    python tests/data/make_images.py keras      needs tensorflow 2.21, keras 3.15, Pillow

Two runs, because the two stacks seldom live in one environment. No test runs this file. Each archive holds `format`,
`version` and `origin` (strings); the images `wide`, `tall`, `tiny`, (H, W, 3) uint8; and for every recipe and image
the network's input, `recipe/image`, (3, H, W) float32. `tests/files/test_images.py` says which recipe is which.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Recipe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def images() -> dict[str, NDArray[np.uint8]]:
    """Noise, so that no pixel can be mistaken for its neighbour."""
    rng = np.random.default_rng(20)
    shapes = {"wide": (20, 30, 3), "tall": (31, 21, 3), "tiny": (5, 9, 3)}
    return {name: rng.integers(0, 256, shape, dtype=np.uint8) for name, shape in shapes.items()}


def torch_recipes() -> dict[str, Recipe]:
    """torchvision's and timm's own transforms."""
    from timm.data import create_transform
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
    from torchvision.transforms._presets import ImageClassification, SemanticSegmentation

    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    half = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    unit = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    plain = [ToTensor(), Normalize(**imagenet)]
    transforms = {
        "torchvision_v1": ImageClassification(crop_size=16, resize_size=16 * 256 // 224),
        "torchvision_v2": ImageClassification(crop_size=31, resize_size=31 * 232 // 224),
        "torchvision_bicubic": ImageClassification(
            crop_size=16, resize_size=16 * 256 // 224, interpolation=InterpolationMode.BICUBIC
        ),
        "torchvision_segmentation": Compose([SemanticSegmentation(resize_size=16), CenterCrop(16)]),
        "torchvision_padded": Compose([Resize(8), CenterCrop(16), *plain]),
        "timm_bicubic": create_transform((3, 16, 16), interpolation="bicubic", crop_pct=0.875, **imagenet),
        "timm_bicubic_half": create_transform((3, 16, 16), interpolation="bicubic", crop_pct=0.875, **half),
        "timm_bicubic_half_95": create_transform((3, 24, 24), interpolation="bicubic", crop_pct=0.95, **half),
        "timm_bilinear_half": create_transform((3, 16, 16), interpolation="bilinear", crop_pct=0.875, **half),
        "timm_bilinear_unit": create_transform((3, 16, 16), interpolation="bilinear", crop_pct=0.875, **unit),
    }

    def apply(transform: Callable[..., NDArray[np.float32]]) -> Recipe:
        return lambda pixels: np.asarray(transform(Image.fromarray(pixels)))

    return {name: apply(transform) for name, transform in transforms.items()}


def keras_recipes() -> dict[str, Recipe]:
    """Keras' loading of a file, and TF-slim's preprocess_for_eval by the TensorFlow functions that it calls."""
    import keras
    import tensorflow as tf

    def raw(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "image.png"
            Image.fromarray(pixels).save(file)
            image = keras.utils.load_img(file, target_size=(16, 16))
            x = np.asarray(keras.utils.img_to_array(image), np.float32)  # (16, 16, 3)
            return x.transpose(2, 0, 1)

    def scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        batch = raw(pixels).transpose(1, 2, 0)[np.newaxis].copy()
        x = np.asarray(keras.applications.mobilenet_v2.preprocess_input(batch), np.float32)
        return x.squeeze(0).transpose(2, 0, 1)

    def slim(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        x = tf.image.central_crop(tf.image.convert_image_dtype(pixels, tf.float32), 0.875)
        x = tf.compat.v1.image.resize_bilinear(x[tf.newaxis], [16, 16], align_corners=False)[0]
        return np.asarray((x - 0.5) * 2.0, np.float32).transpose(2, 0, 1)

    return {"keras": scaled, "keras_raw": raw, "paper": slim}


def main(stack: str) -> None:
    """Write the archive of one stack beside this file."""
    recipes, packages = {
        "torch": (torch_recipes, ("torch", "torchvision", "timm", "pillow")),
        "keras": (keras_recipes, ("tensorflow-cpu", "keras", "pillow")),
    }[stack]
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    arrays: dict[str, Any] = {
        "format": np.array("refnet test images"),
        "version": np.array("1"),
        "origin": np.array(f"tests/data/make_images.py {stack}, with {versions}"),
        **images(),
    }
    for name, recipe in recipes().items():
        for image, pixels in images().items():
            arrays[f"{name}/{image}"] = np.ascontiguousarray(recipe(pixels), np.float32)
    np.savez_compressed(Path(__file__).with_name(f"images_{stack}.npz"), **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
