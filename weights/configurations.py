"""Which networks the saved outputs and traces beside this file cover, and how those archives are laid out.

The scripts that make the archives and the tests that read them share these lists. Importing the file imports no
framework; it runs no network. It leaves out the models that no vendor's module stands behind (`paper/`, `refnet/`).
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.networks.build import models
from refnet.networks.dialects import MODELS

__all__ = [
    "BATCH",
    "CLASSES",
    "SIZES",
    "STEP",
    "TRACES",
    "WIDTHS",
    "Trace",
    "import_torchvision",
    "key",
    "networks",
    "versions",
    "write",
]

HERE = Path(__file__).resolve().parent

SIZES = ((224, 224), (97, 131))  # (height, width): the vendors' own, and one that is odd and not square
BATCH = 2
CLASSES = 10  # of the traces; the outputs have the vendor's number

# The width multipliers of each model. A model that is not here has 1 only: its name fixes the width (mnasnet_050), or
# its variants differ otherwise (@dilated).
WIDTHS: Mapping[str, tuple[float, ...]] = {
    "torchvision/mobilenet_v2": (0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    "torchvision/mobilenet_v3_large": (0.35, 0.5, 0.75, 1.0, 1.25, 1.4),
    "torchvision/mobilenet_v3_small": (0.35, 0.5, 0.75, 1.0, 1.25, 1.4),
    "keras/MobileNet": (0.25, 0.5, 0.75, 1.0),
    "keras/MobileNetV2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    "keras/MobileNetV3Large": (0.5, 0.75, 1.0, 1.25),
    "keras/MobileNetV3Small": (0.5, 0.75, 1.0, 1.25),
    "d-li14/mobilenetv2": (0.1, 0.25, 0.35, 0.5, 0.75, 1.0),
    "d-li14/mobilenetv3_large": (0.75, 1.0),
    "d-li14/mobilenetv3_small": (0.75, 1.0),
    "kuan-wang/mobilenetv3_large": (0.75, 1.0),
    "kuan-wang/mobilenetv3_small": (0.75, 1.0),
}

# Of a map, these outputs hold every ninth row and column: few, and of each phase of an eightfold enlargement some.
STEP = 9

_NOBODYS = ("paper", "refnet")


class Trace(NamedTuple):
    """A network whose every tensor is saved, in `trace_<short name>.npz`."""

    model: str
    width: float
    size: tuple[int, int]


# One of each family: an even height, an odd width, and both so small that the files together stay below 3.5 MB.
TRACES: Mapping[str, Trace] = {
    "v1": Trace("timm/mobilenetv1_100", 0.25, (10, 13)),
    "v2": Trace("torchvision/mobilenet_v2", 0.1, (10, 13)),
    "mnasnet_b1": Trace("torchvision/mnasnet0_5", 0.2, (10, 13)),
    "mnasnet_a1": Trace("timm/semnasnet_050", 0.5, (8, 11)),  # narrower, a layer would be dead: all zeros
    "v3_large": Trace("torchvision/mobilenet_v3_large", 0.1, (10, 15)),
    "v3_small": Trace("torchvision/mobilenet_v3_small", 0.1, (14, 21)),
    "v3_small_minimal": Trace("timm/tf_mobilenetv3_small_minimal_100", 0.25, (10, 15)),
    "v3_small_keras": Trace("keras/MobileNetV3Small", 0.1, (10, 15)),
}


def networks(*vendors: str, maps: bool = False) -> list[tuple[str, float]]:
    """(model, width) of every classifier of these vendors, 'timm' or 'd-li14'; of all of them where none is named.

    Parameters
    ----------
    maps : of those networks instead that give every pixel a class

    Examples
    --------
    >>> networks("d-li14")[-2:]
    [('d-li14/mobilenetv3_small', 0.75), ('d-li14/mobilenetv3_small', 1.0)]
    """
    known = [
        name for name in models() if not name.startswith(_NOBODYS) and (MODELS[name].table.decoder is not None) == maps
    ]
    chosen = [name for name in known if not vendors or name.split("/")[0] in vendors]
    return [(name, width) for name in chosen for width in WIDTHS.get(name, (1.0,))]


def key(model: str, width: float, size: tuple[int, int], what: str) -> str:
    """The name of an array in `outputs_*.npz`.

    Examples
    --------
    >>> key("torchvision/mobilenet_v2", 1.0, (97, 131), "logits64")
    'torchvision/mobilenet_v2|1|97x131|logits64'
    """
    height, breadth = size
    return f"{model}|{width:g}|{height}x{breadth}|{what}"


def import_torchvision() -> ModuleType:
    """Return torchvision, also where its compiled operators are missing.

    No network here uses them, but the import gives shapes to two, and fails where they were never defined.
    """
    import torch

    try:
        import torchvision
    except (RuntimeError, AttributeError) as error:
        if "nms" not in str(error):
            raise
        operators = torch.library.Library("torchvision", "DEF")
        for name in "nms", "qnms":
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.operators = operators  # the definitions live as long as this object
    return torchvision


def versions(*packages: str) -> dict[str, str]:
    """The versions of these packages, of NumPy and of Python."""
    return {**{package: version(package) for package in (*packages, "numpy")}, "python": platform.python_version()}


def write(name: str, arrays: Mapping[str, npt.NDArray[Any]], **meta: Any) -> None:
    """Write an archive beside this file: the arrays in their order, then `meta`, JSON in a 0-d string array."""
    path = HERE / name
    contents: dict[str, Any] = {**arrays, "meta": np.array(json.dumps(meta))}
    np.savez_compressed(path, **contents)
    print(f"{name}: {len(arrays)} arrays, {path.stat().st_size / 1e6:.2f} MB", flush=True)
