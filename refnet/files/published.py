"""Which trained weights the vendors publish: where, under which name, and what is known of their hash.

Addresses and hashes are those in the vendors' own sources: torchvision 0.28 (models/mobilenetv2.py, mobilenetv3.py,
mnasnet.py, segmentation/lraspp.py), whose file names end in the first digits of the SHA-256; Keras 3.15
(applications/mobilenet.py, mobilenet_v2.py, mobilenet_v3.py), which states an MD5 of V3's files and none of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from refnet.errors import RequestError

__all__ = ["PUBLISHED", "Published", "find_published"]

_TORCHVISION = "https://download.pytorch.org/models/"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"


class Published(NamedTuple):
    """A file of trained weights.

    Attributes
    ----------
    model : refnet's name of the network
    file, url : its name, and where it is
    digest : 'sha256:' or 'md5:' and the first digits of it, or all; '' where the vendor states none
    release : the vendor's word for these weights, where there are several
    width : width multiplier
    size : (height, width) of the images that it was trained on
    """

    model: str
    file: str
    url: str
    digest: str
    release: str = ""
    width: float = 1.0
    size: tuple[int, int] = (224, 224)

    def __str__(self) -> str:
        words = [self.model, self.release, f"width {self.width:g}", f"size {self.size[0]}"]
        return ", ".join(word for word in words if word)


def _torchvision() -> Iterator[Published]:
    files = {
        ("mobilenet_v2", "V2"): "mobilenet_v2-7ebf99e0.pth",
        ("mobilenet_v2", "V1"): "mobilenet_v2-b0353104.pth",
        ("mobilenet_v3_large", "V2"): "mobilenet_v3_large-5c1a4163.pth",
        ("mobilenet_v3_large", "V1"): "mobilenet_v3_large-8738ca79.pth",
        ("mobilenet_v3_small", "V1"): "mobilenet_v3_small-047dcff4.pth",
        ("mnasnet0_5", "V1"): "mnasnet0.5_top1_67.823-3ffadce67e.pth",
        ("mnasnet0_75", "V1"): "mnasnet0_75-7090bc5f.pth",
        ("mnasnet1_0", "V1"): "mnasnet1.0_top1_73.512-f206786ef8.pth",
        ("mnasnet1_3", "V1"): "mnasnet1_3-a4c69d6f.pth",
        ("lraspp_mobilenet_v3_large", "V1"): "lraspp_mobilenet_v3_large-d234d4ea.pth",
    }
    for (model, release), file in files.items():
        digits = file.removesuffix(".pth").rpartition("-")[2]
        size = (520, 520) if model.startswith("lraspp") else (224, 224)
        yield Published(f"torchvision/{model}", file, _TORCHVISION + file, f"sha256:{digits}", release, size=size)


def _keras() -> Iterator[Published]:
    widths = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}
    for (width, text), side in product(widths.items(), (224, 192, 160, 128)):
        file = f"mobilenet_{text}_{side}_tf.h5"
        yield Published("keras/MobileNet", file, f"{_KERAS}mobilenet/{file}", "", "", width, (side, side))
    for width, side in [*product((1.0, 0.75, 0.5, 0.35), (224, 192, 160, 128, 96)), (1.3, 224), (1.4, 224)]:
        file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_{side}.h5"
        yield Published("keras/MobileNetV2", file, f"{_KERAS}mobilenet_v2/{file}", "", "", width, (side, side))
    md5 = {
        ("Large", 1.0): "59e551e166be033d707958cf9e29a6a7",
        ("Large", 0.75): "765b44a33ad4005b3ac83185abf1d0eb",
        ("Large_minimalistic", 1.0): "675e7b876c45c57e9e63e6d90a36599c",
        ("Small", 1.0): "8768d4c2e7dee89b9d02b2d03d65d862",
        ("Small", 0.75): "cb65d4e5be93758266aa0a7f2c6708b7",
        ("Small_minimalistic", 1.0): "99cd97fb2fcdad2bf028eb838de69e37",
    }
    for (name, width), digest in md5.items():
        file = f"weights_mobilenet_v3_{name.lower()}_224_{width}_float.h5"
        yield Published(f"keras/MobileNetV3{name}", file, f"{_KERAS}mobilenet_v3/{file}", f"md5:{digest}", "", width)


PUBLISHED: tuple[Published, ...] = (*_torchvision(), *_keras())


def find_published(
    model: str, *, release: str | None = None, width: float | None = None, size: tuple[int, int] | None = None
) -> Published:
    """The weights of a model; where several fit, the vendor's default, which is listed first.

    Parameters
    ----------
    model : 'torchvision/mobilenet_v2', or without the vendor where that is clear
    release, width, size : of `Published`; any where None

    Raises
    ------
    RequestError
        if there are none: names what there is.
    """
    named = [entry for entry in PUBLISHED if model in (entry.model, entry.model.split("/")[1])]
    if not named:
        known = ", ".join(dict.fromkeys(entry.model for entry in PUBLISHED))
        raise RequestError(f"no weights of {model!r} are published: there are those of {known}")
    for entry in named:
        if release in (None, entry.release) and width in (None, entry.width) and size in (None, entry.size):
            return entry
    raise RequestError(f"no such weights of {model} are published: there are {'; '.join(map(str, named))}")
